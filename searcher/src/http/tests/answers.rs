//! Answers against a brute-force oracle.

use cairn_model::{Distance, PointId};
use serde_json::{Value, json};

use super::fixture::{DIM, Fixture, Point, points, schema};

fn normalised(vector: &[f32]) -> Vec<f64> {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    vector.iter().map(|&x| f64::from(x) / norm).collect()
}

fn score(distance: Distance, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    match distance {
        Distance::Dot => pairs().map(|(x, y)| x * y).sum(),
        Distance::Cosine => normalised(a).iter().zip(normalised(b)).map(|(x, y)| x * y).sum(),
        Distance::Euclid => pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt(),
        Distance::Manhattan => pairs().map(|(x, y)| (x - y).abs()).sum(),
    }
}

/// All points that pass, best first, with their scores.
fn oracle(distance: Distance, points: &[Point], query: &[f32], keep: impl Fn(&Point) -> bool) -> Vec<(PointId, f64)> {
    let kept = points.iter().filter(|point| keep(point));
    let mut scored: Vec<_> = kept.map(|point| (point.id, score(distance, query, &point.vector))).collect();
    scored.sort_by(|a, b| {
        let nearer = if distance.larger_is_better() { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
        nearer.then(a.0.cmp(&b.0))
    });
    scored
}

/// Compares scores place by place, and each point's score with its own: points whose scores differ by less than `f32`
/// can tell may come in either order.
fn check(found: &Value, expected: &[(PointId, f64)], all: &[(PointId, f64)]) {
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
    let mut seen = std::collections::BTreeSet::new();
    for (point, (_, score)) in found.iter().zip(expected) {
        let (shown, id) = (point["score"].as_f64().unwrap(), &point["id"]);
        assert!((shown - score).abs() < 1e-5, "{shown} for {score}");
        let own = all.iter().find(|(own, _)| json!(own) == *id).unwrap_or_else(|| panic!("{id} should not be here"));
        assert!((shown - own.1).abs() < 1e-5, "{id} has {shown} for {}", own.1);
        assert!(seen.insert(id.to_string()), "{id} is here twice");
        assert_eq!(point["version"], 0);
    }
}

#[tokio::test]
async fn the_nearest_points_of_all_shards_and_segments() {
    let points = points(60);
    for distance in Distance::ALL {
        let fixture = Fixture::empty().await;
        fixture.publish("c", &schema("", distance, 3), &points).await;
        let query = [0.3, -0.1, 0.25, 0.5];
        let all = oracle(distance, &points, &query, |_| true);
        let path = "/collections/c/points/query";
        let result = fixture.post(path, json!({"query": query, "limit": 60, "params": {"exact": true}})).await;
        check(&result["points"], &all, &all);
        // Equal vectors come in twos; their ids decide.
        let shown = result["points"].as_array().unwrap();
        for pair in shown.windows(2).filter(|pair| pair[0]["score"] == pair[1]["score"]) {
            let id = |point: &Value| serde_json::from_value::<PointId>(point["id"].clone()).unwrap();
            assert!(id(&pair[0]) < id(&pair[1]));
        }
        let result = fixture.post(path, json!({"query": {"nearest": query}, "limit": 4, "offset": 6})).await;
        check(&result["points"], &all[6..10], &all);
        let threshold = all[19].1;
        let result = fixture.post(path, json!({"query": query, "limit": 60, "score_threshold": threshold})).await;
        let passing = result["points"].as_array().unwrap().len();
        assert!((18..=22).contains(&passing), "{passing} points pass");
        let filter =
            json!({"must": [{"key": "tag", "match": {"value": "odd"}}, {"key": "deep.x", "range": {"gte": 10}}]});
        let odd = |point: &Point| point.payload["tag"] == "odd" && point.payload["n"].as_u64().unwrap() >= 10;
        let kept = oracle(distance, &points, &query, odd);
        let result = fixture.post(path, json!({"query": query, "filter": filter, "limit": 60})).await;
        check(&result["points"], &kept, &kept);
        let legacy = json!({"vector": query, "filter": filter, "limit": 5});
        check(&fixture.post("/collections/c/points/search", legacy).await, &kept[..5], &kept);
        // By point, without that point.
        let near = &points[7];
        let others = oracle(distance, &points, &near.vector, |point| point.id != near.id);
        let result = fixture.post(path, json!({"query": near.id, "limit": 5, "params": {"exact": true}})).await;
        check(&result["points"], &others[..5], &others);
    }
}

#[tokio::test]
async fn batches_answer_in_order() {
    let fixture = Fixture::empty().await;
    let points = points(20);
    fixture.publish("c", &schema("", Distance::Euclid, 2), &points).await;
    let queries: Vec<_> = (0..3).map(|n| json!({"query": points[n * 4].vector, "limit": n + 1})).collect();
    let result = fixture.post("/collections/c/points/query/batch", json!({"searches": queries})).await;
    for (n, answer) in result.as_array().unwrap().iter().enumerate() {
        let all = oracle(Distance::Euclid, &points, &points[n * 4].vector, |_| true);
        check(&answer["points"], &all[..=n], &all);
    }
    let searches =
        json!({"searches": [{"vector": points[0].vector, "limit": 1}, {"vector": points[4].vector, "top": 2}]});
    let result = fixture.post("/collections/c/points/search/batch", searches).await;
    assert_eq!((result[0].as_array().unwrap().len(), result[1].as_array().unwrap().len()), (1, 2));
    assert_eq!(fixture.post("/collections/c/points/query/batch", json!({"searches": []})).await, json!([]));
}

#[tokio::test]
async fn answers_show_what_is_asked_for() {
    let fixture = Fixture::empty().await;
    let points = points(12);
    fixture.publish("c", &schema("", Distance::Cosine, 2), &points).await;
    fixture.publish("named", &schema("image", Distance::Dot, 1), &points).await;
    let one = |with: Value| {
        let mut body = json!({"query": points[0].vector, "limit": 1, "filter": {"must": [{"has_id": [0]}]}});
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        body
    };
    let path = "/collections/c/points/query";
    let bare = fixture.post(path, one(json!({}))).await;
    let keys: Vec<_> = bare["points"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["id", "score", "version"]);
    for (with, payload) in [
        (json!(true), json!({"n": 0, "tag": "even", "deep": {"x": 0, "y": [0, 1]}})),
        (json!(["tag", "deep.x"]), json!({"tag": "even", "deep": {"x": 0}})),
        (json!({"exclude": ["deep", "n"]}), json!({"tag": "even"})),
        (json!({"include": ["deep.y[]"]}), json!({"deep": {"y": [0, 1]}})),
    ] {
        let result = fixture.post(path, one(json!({"with_payload": with}))).await;
        assert_eq!(result["points"][0]["payload"], payload);
    }
    let result = fixture.post(path, one(json!({"with_vector": true}))).await;
    for (shown, wanted) in result["points"][0]["vector"].as_array().unwrap().iter().zip(normalised(&points[0].vector)) {
        assert!((shown.as_f64().unwrap() - wanted).abs() < 1e-6, "stored normalised");
    }
    let body = json!({"query": points[0].vector, "using": "image", "limit": 1, "with_vector": ["image"]});
    let result = fixture.post("/collections/named/points/query", body).await;
    assert_eq!(result["points"][0]["vector"]["image"].as_array().unwrap().len(), DIM);
    let body = json!({"vector": {"name": "image", "vector": points[0].vector}, "limit": 1, "with_vector": true});
    let result = fixture.post("/collections/named/points/search", body).await;
    assert!(result[0]["vector"]["image"].is_array());
}

#[tokio::test]
async fn numbers_are_written_as_short_as_can_be() {
    let fixture = Fixture::empty().await;
    let point = Point { vector: vec![0.1, 0.0, 0.0, 0.0], ..points(1)[0].clone() };
    fixture.publish("c", &schema("", Distance::Dot, 1), &[point]).await;
    let body = r#"{"query":[1,0,0,0],"with_vector":true}"#;
    let (_, text) = fixture.text(super::fixture::request("POST", "/collections/c/points/query", body)).await;
    let text = String::from_utf8(text).unwrap();
    let start =
        r#"{"result":{"points":[{"id":0,"version":0,"score":0.1,"vector":[0.1,0.0,0.0,0.0]}]},"status":"ok","time":"#;
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains(r#""usage":{"hardware":null,"inference":null,"cairn":{"vectors_scored":"#), "{text}");
}

#[tokio::test]
async fn points_are_listed_by_id() {
    let fixture = Fixture::empty().await;
    let mut points = points(25);
    fixture.publish("c", &schema("", Distance::Dot, 3), &points).await;
    points.sort_by_key(|point| point.id);
    let wanted: Vec<Value> = points.iter().map(|point| json!(point.id)).collect();
    let ids = |points: &Value| -> Vec<Value> { points.as_array().unwrap().iter().map(|p| p["id"].clone()).collect() };

    let (mut seen, mut next) = (Vec::new(), Value::Null);
    for page in 0.. {
        let result = fixture.post("/collections/c/points/scroll", json!({"limit": 7, "offset": next})).await;
        assert!(result["points"][0]["payload"]["n"].is_u64() && result["points"][0].get("vector").is_none());
        seen.extend(ids(&result["points"]));
        next = result["next_page_offset"].clone();
        if next.is_null() {
            assert_eq!(page, 3);
            break;
        }
    }
    assert_eq!(seen, wanted);
    let filter = json!({"must_not": [{"key": "tag", "match": {"value": "odd"}}]});
    let result = fixture.post("/collections/c/points/scroll", json!({"limit": 100, "filter": filter})).await;
    assert_eq!((result["points"].as_array().unwrap().len(), &result["next_page_offset"]), (13, &Value::Null));
    let result = fixture.post("/collections/c/points/query", json!({"limit": 5, "offset": 3})).await;
    assert_eq!(ids(&result["points"]), wanted[3..8]);
    let result = fixture.post("/collections/c/points/query", json!({"limit": 5, "offset": 30})).await;
    assert_eq!(result["points"], json!([]));

    let count = |body: Value| fixture.post("/collections/c/points/count", body);
    assert_eq!(count(json!({})).await["count"], 25);
    assert_eq!(count(json!({"filter": filter, "exact": false})).await["count"], 13);
    assert_eq!(count(json!({"filter": {"must": [{"key": "n", "range": {"lt": 4}}]}})).await["count"], 4);
}

#[tokio::test]
async fn points_are_retrieved_in_the_order_asked_for() {
    let fixture = Fixture::empty().await;
    let points = points(12);
    fixture.publish("c", &schema("", Distance::Dot, 3), &points).await;
    let uuid = json!(points[5].id);
    let result = fixture.post("/collections/c/points", json!({"ids": [9, 404, uuid, 0]})).await;
    let shown: Vec<_> = result.as_array().unwrap().iter().map(|point| point["payload"]["n"].clone()).collect();
    assert_eq!(shown, [9, 5, 0]);
    let PointId::Uuid(same) = points[5].id else { unreachable!("every third id is a UUID") };
    let spellings = json!({"ids": [same.urn().to_string(), 9, same.simple().to_string(), 9], "with_payload": false});
    let result = fixture.post("/collections/c/points", spellings).await;
    assert_eq!(result, json!([{"id": uuid}, {"id": 9}]), "each point once");
    let body = json!({"ids": [9], "with_payload": false, "with_vector": true});
    let result = fixture.post("/collections/c/points", body).await;
    let vector: Vec<f32> = serde_json::from_value(result[0]["vector"].clone()).unwrap();
    assert_eq!((vector, result[0].as_object().unwrap().len()), (points[9].vector.clone(), 2));
    let path = format!("/collections/c/points/{}", points[5].id);
    let answer = fixture.call("GET", &path, "").await;
    assert_eq!((answer.status, &answer.body["result"]["id"]), (200, &uuid));
    assert!(answer.body["result"]["vector"].is_array() && answer.body["result"]["payload"].is_object());
}
