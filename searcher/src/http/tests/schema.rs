//! Changes of a collection's schema, and how it is shown.

use cairn_model::Distance;
use serde_json::{Value, json};

use super::fixture::{Fixture, points, schema};

async fn fixture() -> Fixture {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 2), &points(10)).await;
    fixture
}

async fn info(fixture: &Fixture) -> Value {
    fixture.call("GET", "/collections/c", "").await.body["result"].clone()
}

#[tokio::test]
async fn payload_indexes_come_and_go() {
    let fixture = fixture().await;
    let index = |body: Value| {
        let body = body.to_string();
        let fixture = &fixture;
        async move { fixture.call("PUT", "/collections/c/index?wait=true", body).await }
    };
    assert_eq!(info(&fixture).await["payload_schema"], json!({}));
    let created = index(json!({"field_name": "tag", "field_schema": "keyword"})).await;
    assert_eq!((created.status, &created.body["result"]), (200, &json!({"status": "completed"})), "{}", created.body);
    let text = json!({"type": "text", "tokenizer": "word", "lowercase": true});
    assert_eq!(index(json!({"field_name": "deep.y[]", "field_schema": text})).await.status, 200);
    let wanted = json!({
        "tag": {"data_type": "keyword", "points": 10},
        "deep.y[]": {"data_type": "text", "params": text, "points": 10},
    });
    assert_eq!(info(&fixture).await["payload_schema"], wanted);
    for (path, status) in [("tag", 200), ("nobody", 200), ("a..b", 422)] {
        let answer = fixture.call("DELETE", &format!("/collections/c/index/{path}"), "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    assert_eq!(fixture.call("DELETE", "/collections/c/index/deep.y%5B%5D", "").await.status, 200);
    assert_eq!(info(&fixture).await["payload_schema"], json!({}));
    for (body, status, message) in [
        (
            json!({"field_name": "a", "field_schema": {"type": "integer", "lookup": false, "range": false}}),
            422,
            "Validation error in JSON body: [field_schema: the 'lookup' and 'range' capabilities can't be both disabled]",
        ),
        (
            json!({"field_name": "a"}),
            400,
            "Wrong input: Can't auto-detect field type, please specify `field_schema` in the request",
        ),
    ] {
        let answer = index(body).await;
        assert_eq!((answer.status, &answer.body["status"]["error"]), (status, &json!(message)));
    }
    let nope = fixture.call("PUT", "/collections/nope/index", r#"{"field_name":"a","field_schema":"uuid"}"#).await;
    assert_eq!(
        (nope.status, &nope.body["status"]["error"]),
        (404, &json!("Not found: Collection `nope` doesn't exist!"))
    );
}

#[tokio::test]
async fn a_collection_is_changed_and_goes_on_serving_what_it_has() {
    let fixture = fixture().await;
    let patch = |body: Value| {
        let body = body.to_string();
        let fixture = &fixture;
        async move { fixture.call("PATCH", "/collections/c", body).await }
    };
    let before = info(&fixture).await;
    let nothing = patch(json!({})).await;
    assert_eq!((nothing.status, &nothing.body["result"]), (200, &json!(true)));
    assert_eq!((info(&fixture).await, nothing.body["usage"]["cairn"]["puts"].as_u64()), (before.clone(), Some(0)));
    let change = json!({"hnsw_config": {"m": 24}, "metadata": {"owner": "x"}, "quantization_config": {"binary": {}}});
    assert_eq!(patch(change).await.body["result"], true);
    let after = info(&fixture).await;
    let config = &after["config"];
    assert_eq!((&config["hnsw_config"]["m"], &config["metadata"]), (&json!(24), &json!({"owner": "x"})));
    assert_eq!(config["quantization_config"], json!({"binary": {}}));
    assert_eq!((&after["points_count"], &after["cairn"]["generation"]), (&json!(10), &before["cairn"]["generation"]));
    assert_eq!(fixture.post("/collections/c/points/count", json!({})).await["count"], 10);
    for (body, status, message) in [
        (json!({"vectors": {"x": {}}}), 400, "Wrong input: Not existing vector name error: x"),
        (
            json!({"hnsw_config": {"m": 257}}),
            422,
            "Validation error in JSON body: [vectors.hnsw_config.m: value 257 invalid, must be from 0 to 256]",
        ),
    ] {
        let answer = patch(body).await;
        assert_eq!((answer.status, &answer.body["status"]["error"]), (status, &json!(message)));
    }
    let alias = json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "a"}}]});
    fixture.post("/collections/aliases", alias).await;
    let through = fixture.call("PATCH", "/collections/a", r#"{"metadata": {"owner": null}}"#).await;
    assert_eq!((through.status, &info(&fixture).await["config"]["metadata"]), (200, &json!({})));
}

#[tokio::test]
async fn metadata_is_kept_from_the_beginning() {
    let fixture = Fixture::empty().await;
    let body = json!({"vectors": {"size": 4, "distance": "Dot"}, "metadata": {"a": [1]}, "on_disk_payload": true});
    assert_eq!(fixture.call("PUT", "/collections/c", body.to_string()).await.body["result"], true);
    assert_eq!(info(&fixture).await["config"]["metadata"], json!({"a": [1]}));
    let long = json!({"vectors": {"size": 4, "distance": "Dot"}, "metadata": {"a": "x".repeat(1 << 16)}});
    let refused = fixture.call("PUT", "/collections/d", long.to_string()).await;
    let message = "Validation error in JSON body: [metadata: 65544 bytes long, at most 65536 are allowed]";
    assert_eq!((refused.status, &refused.body["status"]["error"]), (422, &json!(message)));
}
