//! What a request sees of a collection that changes, and what it costs.

use std::sync::Arc;

use cairn_model::Distance;
use serde_json::json;

use super::fixture::{Fixture, http_settings, points, request, schema};
use crate::settings::SearchSettings;

const COUNT: &str = "/collections/c/points/count";

#[tokio::test]
async fn the_next_read_sees_what_was_published() {
    let fixture = Fixture::empty().await;
    let schema = schema("", Distance::Dot, 2);
    assert_eq!(fixture.call("POST", COUNT, "{}").await.status, 404);
    for count in [4, 10, 7] {
        fixture.publish("c", &schema, &points(count)).await;
        assert_eq!(fixture.post(COUNT, json!({})).await["count"], count);
        let result = fixture.post("/collections/c/points/query", json!({"query": [1, 0, 0, 0], "limit": 100})).await;
        assert_eq!(result["points"].as_array().unwrap().len() as u64, count);
    }
    let catalog = cairn_storage::Catalog::new(fixture.store.clone());
    catalog.delete(&cairn_model::CollectionName::parse("c").unwrap()).await.unwrap();
    assert_eq!(fixture.call("POST", COUNT, "{}").await.status, 404);
    assert_eq!(fixture.searcher.known_collections(), 0);
}

#[tokio::test]
async fn a_warm_query_is_one_conditional_get() {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 3), &points(30)).await;
    let query = json!({"query": [1, 0, 0, 0]}).to_string();
    let cold = fixture.call("POST", "/collections/c/points/query", query.clone()).await;
    let usage = &cold.body["usage"]["cairn"];
    assert_eq!((&usage["cache_misses"], &usage["cache_hits"]), (&json!(6), &json!(0)), "{usage}");
    let warm = fixture.call("POST", "/collections/c/points/query", query).await;
    let usage = &warm.body["usage"]["cairn"];
    // collection.json, in which the manifests stand.
    let expected = json!({"waves": 1, "gets": 1, "cache_hits": 6, "cache_misses": 0, "segments": 6, "puts": 0});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&usage[key], value, "{key} of {usage}");
    }
    assert!(usage["vectors_scored"].as_u64().unwrap() >= 10 && usage["cache_bytes"].as_u64().unwrap() > 0);
    assert_eq!(warm.body["usage"]["hardware"], json!(null));
}

#[tokio::test]
async fn a_stale_read_is_served_only_where_it_is_allowed() {
    let search = SearchSettings { refresh_ms: 600_000, ..SearchSettings::default() };
    let fixture = Fixture::with(http_settings(), search).await;
    let schema = schema("", Distance::Dot, 1);
    fixture.publish("c", &schema, &points(4)).await;
    assert_eq!(fixture.post(COUNT, json!({})).await["count"], 4);
    fixture.publish("c", &schema, &points(9)).await;
    let answer = fixture.call("POST", COUNT, "{}").await;
    assert_eq!((&answer.body["result"]["count"], &answer.body["usage"]["cairn"]["gets"]), (&json!(4), &json!(0)));
}

#[tokio::test]
async fn names_that_do_not_exist_take_no_memory() {
    let fixture = Fixture::empty().await;
    for n in 0..100 {
        let answer = fixture.call("POST", &format!("/collections/x{n}/points/query"), "{}").await;
        assert_eq!(answer.status, 404);
    }
    assert_eq!(fixture.searcher.known_collections(), 0);
    let text = crate::telemetry::render(fixture.searcher.telemetry());
    assert!(!text.contains("x42") && text.contains(r#"endpoint="/collections/{collection_name}/points/query""#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_come_together_share_and_never_see_the_past() {
    let fixture = Arc::new(Fixture::empty().await);
    let schema = schema("", Distance::Dot, 1);
    fixture.publish("c", &schema, &points(1)).await;
    for count in 2..12 {
        fixture.publish("c", &schema, &points(count)).await;
        let readers: Vec<_> = (0..32)
            .map(|_| {
                let fixture = Arc::clone(&fixture);
                tokio::spawn(async move { fixture.post(COUNT, json!({})).await["count"].as_u64() })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Some(count));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_client_is_gone_stops_computing() {
    let fixture =
        Fixture::with(http_settings(), SearchSettings { threads: Some(1), ..SearchSettings::default() }).await;
    fixture.publish("c", &schema("", Distance::Dot, 1), &points(4_000)).await;
    let search = json!({"query": [0.1, 0.2, 0.3, 0.4], "limit": 100, "params": {"exact": true}, "with_payload": true});
    let body = json!({"searches": vec![search; 1_000]}).to_string();
    let path = "/collections/c/points/query/batch";
    let sent = |body: &str| {
        let router = fixture.router.clone();
        let sent = request("POST", path, body);
        async move { tower::ServiceExt::oneshot(router, sent).await }
    };
    // Opens the segments, so that the next request spends its time computing.
    let warm = sent(&json!({"searches": [{"query": [1, 0, 0, 0]}]}).to_string()).await.unwrap();
    assert_eq!(warm.status(), 200);
    let searched = || {
        let report = fixture.searcher.telemetry().report("", 0);
        let strategies = report["cairn"]["strategies"].as_object().unwrap().clone();
        strategies.values().map(|strategy| strategy["count"].as_u64().unwrap()).sum::<u64>()
    };
    let before = searched();
    let running = tokio::spawn(sent(&body));
    while searched() < before + 4 {
        assert!(!running.is_finished(), "too fast to be stopped: give it more work");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // The one search thread is free when what it was doing has stopped.
    fixture.searcher.workers.run(|_| Ok(())).await.unwrap();
    let done = searched() - before;
    assert!(done < 2 * 1_000, "all {done} searches were done for nobody");
    let report = fixture.searcher.telemetry().report("", 0);
    assert_eq!(
        (&report["cairn"]["requests_abandoned"], &report["cairn"]["requests_in_flight"]),
        (&json!(1), &json!(0))
    );
}
