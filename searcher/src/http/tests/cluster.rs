//! How a collection is spread, as a server without peers tells it, and what is kept in order.

use cairn_model::{Distance, PointId};
use serde_json::{Value, json};

use super::fixture::{Fixture, points, schema};

async fn get(fixture: &Fixture, path: &str) -> Value {
    let answer = fixture.call("GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body["result"].clone()
}

/// Points by shard, as the ids say.
fn spread(ids: impl IntoIterator<Item = PointId>, shards: u32) -> Vec<u64> {
    let mut counts = vec![0; shards as usize];
    ids.into_iter().for_each(|id| counts[id.shard(shards) as usize] += 1);
    counts
}

fn shown(info: &Value) -> Vec<u64> {
    let shards = info["local_shards"].as_array().unwrap();
    for (at, shard) in shards.iter().enumerate() {
        assert_eq!((&shard["shard_id"], &shard["state"]), (&json!(at), &json!("Active")));
    }
    shards.iter().map(|shard| shard["points_count"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn every_shard_is_here_and_tells_its_points() {
    let fixture = Fixture::empty().await;
    let given = points(40);
    fixture.publish("c", &schema("", Distance::Dot, 3), &given).await;
    assert_eq!(get(&fixture, "/cluster").await, json!({"status": "disabled"}));
    let info = get(&fixture, "/collections/c/cluster").await;
    let mut ids: Vec<_> = given.iter().map(|point| point.id).collect();
    assert_eq!(shown(&info), spread(ids.clone(), 3));
    let rest = [&info["shard_count"], &info["peer_id"], &info["remote_shards"], &info["shard_transfers"]];
    assert_eq!(rest, [&json!(3), &json!(0), &json!([]), &json!([])]);

    // New points, old ones again, and one less: all that is not in segments yet.
    let vector = json!([1, 2, 3, 4]);
    let written: Vec<_> = [0, 3, 100, 101, 102].map(|id| json!({"id": id, "vector": vector})).into();
    let put = fixture.call("PUT", "/collections/c/points?wait=true", json!({"points": written}).to_string()).await;
    assert_eq!(put.status, 200, "{}", put.body);
    fixture.post("/collections/c/points/delete?wait=true", json!({"points": [given[1].id]})).await;
    ids.remove(1);
    ids.extend([100, 101, 102].map(PointId::Num));
    let counts = shown(&get(&fixture, "/collections/c/cluster").await);
    assert_eq!(counts, spread(ids, 3));
    assert_eq!(get(&fixture, "/collections/c").await["points_count"], counts.iter().sum::<u64>());

    let alias = json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "a"}}]});
    fixture.post("/collections/aliases", alias).await;
    assert_eq!(shown(&get(&fixture, "/collections/a/cluster").await), counts);
    for path in ["/collections/nope/cluster", "/collections/nope/optimizations"] {
        let answer = fixture.call("GET", path, "").await;
        let message = "Not found: Collection `nope` doesn't exist!";
        assert_eq!((answer.status, &answer.body["status"]["error"]), (404, &json!(message)));
    }
}

#[tokio::test]
async fn writes_that_wait_are_told() {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 1), &points(10)).await;
    let path = "/collections/c/optimizations";
    let summary = |optimizations: u64, points: u64| json!({"queued_optimizations": optimizations, "queued_segments": 0, "queued_points": points, "idle_segments": 2});
    assert_eq!(get(&fixture, path).await, json!({"summary": summary(0, 0), "running": []}));
    let body = json!({"points": [{"id": 3, "vector": [1, 2, 3, 4]}, {"id": 77, "vector": [1, 2, 3, 4]}]});
    assert_eq!(fixture.call("PUT", "/collections/c/points?wait=true", body.to_string()).await.status, 200);
    let queued = json!([{"optimizer": "fold", "segments": []}]);
    let wanted = json!({"summary": summary(1, 2), "running": [], "queued": queued, "completed": []});
    assert_eq!(get(&fixture, &format!("{path}?with=queued,%20completed&completed_limit=3")).await, wanted);
    let wrong = fixture.call("GET", &format!("{path}?with=everything"), "").await;
    let message = "Wrong input: Unknown field in 'with' parameter: everything";
    assert_eq!((wrong.status, &wrong.body["status"]["error"]), (400, &json!(message)));
}

#[tokio::test]
async fn there_are_no_issues() {
    let fixture = Fixture::empty().await;
    assert_eq!(get(&fixture, "/issues").await, json!({"issues": []}));
    assert_eq!(fixture.call("DELETE", "/issues", "").await.body["result"], true);
}
