//! Writes that are wrong, by every endpoint, and how they are refused.

use std::time::Duration;

use cairn_model::Distance;
use serde_json::{Value, json};

use super::fixture::{Fixture, points, schema};
use crate::{error::Error, http::answer};

async fn fixture() -> Fixture {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 2), &points(10)).await;
    fixture.publish("named", &schema("image", Distance::Dot, 1), &points(4)).await;
    fixture
}

const POINTS: &str = "/collections/c/points";

/// Sends bodies, and compares the statuses and messages.
async fn refused(table: &[(&str, &str, &str, u16, &str)]) {
    let fixture = fixture().await;
    for (method, path, body, status, message) in table {
        let answer = fixture.call(method, path, *body).await;
        let found = (answer.status, &answer.body["status"]["error"]);
        assert_eq!(found, (*status, &json!(message)), "{method} {path} {body}");
    }
}

const DIMENSION: &str = "Wrong input: Vector dimension error: expected dim: 4, got 3";
const EMPTY: &str = "Bad request: Empty update request";
const NEITHER: &str = "Format error in JSON body: Either list of point ids or filter must be provided";

#[tokio::test]
async fn upserts_that_are_wrong() {
    let unknown = "Wrong input: Not existing vector name error: ";
    let inference = "Format error in JSON body: a vector given by `text` needs inference, which this version of Cairn does not do: \
        give its values at line 1 column 45";
    let unequal = "Validation error in JSON body: [batch.batch: number of ids and vectors must be equal (2 != 1)]";
    let named = "/collections/named/points";
    let nope = "Not found: Collection `nope` doesn't exist!";
    refused(&[
        ("PUT", POINTS, r#"{"points":[]}"#, 400, EMPTY),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#, 400, DIMENSION),
        ("PUT", POINTS, r#"{"batch":{"ids":[1],"vectors":[[1,2,3]]}}"#, 400, DIMENSION),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":{"x":[1,2,3,4]}}]}"#, 400, &format!("{unknown}x")),
        ("PUT", named, r#"{"points":[{"id":1,"vector":[1,2,3,4]}]}"#, 400, unknown),
        ("PUT", POINTS, r#"{"points":[{"id":1,"vector":{"text":"a stone","model":"m"}}]}"#, 400, inference),
        ("PUT", POINTS, r#"{"batch":{"ids":[1,2],"vectors":[[1,2,3,4]]}}"#, 422, unequal),
        ("PUT", "/collections/nope/points", r#"{"points":[{"id":1,"vector":[1]}]}"#, 404, nope),
    ])
    .await;
}

#[tokio::test]
async fn other_writes_that_are_wrong() {
    let at = |rest: &str| format!("{POINTS}/{rest}");
    let validation = |why: &str| format!("Validation error in JSON body: [{why}]");
    let batch = r#"{"operations":[{"delete":{"points":[1]}},{"upsert":{"points":[{"id":1,"vector":[1,2,3]}]}}]}"#;
    let none = validation("vector: must specify vector names to delete");
    refused(&[
        ("POST", &at("delete"), "{}", 400, NEITHER),
        ("POST", &at("payload"), r#"{"payload":{}}"#, 400, NEITHER),
        ("PUT", &at("payload"), r#"{"payload":{},"points":[]}"#, 400, EMPTY),
        ("POST", &at("payload/delete"), r#"{"keys":["a"]}"#, 400, NEITHER),
        ("POST", &at("payload/clear"), "{}", 400, NEITHER),
        ("PUT", &at("vectors"), r#"{"points":[]}"#, 422, &validation("points: must specify points to update")),
        ("PUT", &at("vectors"), r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#, 400, DIMENSION),
        ("POST", &at("vectors/delete"), r#"{"points":[1],"vector":[]}"#, 422, &none),
        ("POST", &at("batch"), batch, 400, DIMENSION),
    ])
    .await;
}

#[tokio::test]
async fn filters_that_say_nothing_are_refused() {
    let at = |rest: &str| format!("{POINTS}/{rest}");
    let says = |field: &str| {
        format!("Validation error in JSON body: [{field}.must[0]: At least one field condition must be specified]")
    };
    let (filter, update) = (says("filter"), says("update_filter"));
    let nothing = r#"{"must":[{"key":"a"}]}"#;
    let with = |rest: &str, field: &str| format!(r#"{{{rest}"{field}":{nothing}}}"#);
    let points = r#""points":[{"id":1,"vector":[1,2,3,4]}],"#;
    let deleted = with("", "filter");
    refused(&[
        ("POST", &at("delete"), &deleted, 422, &filter),
        ("POST", &at("payload/clear"), &deleted, 422, &filter),
        ("POST", &at("payload"), &with(r#""payload":{},"#, "filter"), 422, &filter),
        ("POST", &at("payload/delete"), &with(r#""keys":["a"],"#, "filter"), 422, &filter),
        ("POST", &at("vectors/delete"), &with(r#""vector":[""],"#, "filter"), 422, &filter),
        ("PUT", POINTS, &with(points, "update_filter"), 422, &update),
        ("PUT", &at("vectors"), &with(points, "update_filter"), 422, &update),
        ("POST", &at("batch"), &format!(r#"{{"operations":[{{"delete":{deleted}}}]}}"#), 422, &filter),
    ])
    .await;
}

#[tokio::test]
async fn every_write_is_seen_by_the_next_read() {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 2), &points(0)).await;
    let at = |rest: &str| format!("{POINTS}{rest}?wait=true");
    let vector = json!([1, 2, 3, 4]);
    let ids = |ids: &[u64]| json!({"points": ids});
    let by = |n: u64| json!({"filter": {"must": [{"key": "n", "match": {"value": n}}]}});
    let with = |payload: Value, selection: Value| {
        let mut body = json!({"payload": payload});
        body.as_object_mut().unwrap().extend(selection.as_object().unwrap().clone());
        body
    };
    let list = json!({"points": [{"id": 1, "vector": vector, "payload": {"n": 1}}, {"id": 2, "vector": {"": vector}}]});
    let columns =
        json!({"batch": {"ids": [3, 4], "vectors": [vector, vector], "payloads": [{"n": 3, "x": {"y": 1}}, null]}});
    let insert =
        json!({"points": [{"id": 1, "vector": vector}, {"id": 5, "vector": vector}], "update_mode": "insert_only"});
    let batch = json!({"operations": [{"set_payload": with(json!({"m": 1}), ids(&[5]))}, {"clear_payload": by(3)},
        {"upsert": {"points": [{"id": 6, "vector": vector}]}}, {"delete": ids(&[6])}]});
    let writes = [
        ("PUT", at(""), list, json!([[1, {"n": 1}], [2, {}]])),
        ("PUT", at(""), columns, json!([[1, {"n": 1}], [2, {}], [3, {"n": 3, "x": {"y": 1}}], [4, {}]])),
        (
            "POST",
            at("/payload"),
            with(json!({"z": 2}), by(3)),
            json!([[1, {"n": 1}], [2, {}], [3, {"n": 3, "x": {"y": 1}, "z": 2}], [4, {}]]),
        ),
        (
            "PUT",
            at("/payload"),
            with(json!({"n": 2}), ids(&[2])),
            json!([[1, {"n": 1}], [2, {"n": 2}], [3, {"n": 3, "x": {"y": 1}, "z": 2}], [4, {}]]),
        ),
        (
            "POST",
            at("/payload/delete"),
            json!({"keys": ["x.y", "z"], "points": [3]}),
            json!([[1, {"n": 1}], [2, {"n": 2}], [3, {"n": 3, "x": {}}], [4, {}]]),
        ),
        ("POST", at("/payload/clear"), ids(&[1]), json!([[1, {}], [2, {"n": 2}], [3, {"n": 3, "x": {}}], [4, {}]])),
        ("POST", at("/delete"), by(2), json!([[1, {}], [3, {"n": 3, "x": {}}], [4, {}]])),
        ("POST", at("/delete"), ids(&[4, 404]), json!([[1, {}], [3, {"n": 3, "x": {}}]])),
        ("PUT", at(""), insert, json!([[1, {}], [3, {"n": 3, "x": {}}], [5, {}]])),
        ("POST", at("/batch"), batch, json!([[1, {}], [3, {}], [5, {"m": 1}]])),
    ];
    for (method, path, body, wanted) in writes {
        let answer = fixture.call(method, &path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        let result = &answer.body["result"];
        let status = if path.contains("batch") { &result[3]["status"] } else { &result["status"] };
        assert_eq!(status, "completed", "{path}: {result}");
        let page = fixture.post("/collections/c/points/scroll", json!({"limit": 100})).await;
        let seen: Vec<_> =
            page["points"].as_array().unwrap().iter().map(|point| json!([point["id"], point["payload"]])).collect();
        assert_eq!(json!(seen), wanted, "{path} {body}");
    }
    let vectors = json!({"points": [{"id": 1, "vector": [9, 9, 9, 9]}]}).to_string();
    let accepted = fixture.call("PUT", &format!("{POINTS}/vectors"), vectors).await;
    assert_eq!((accepted.status, &accepted.body["result"]["status"]), (200, &json!("acknowledged")), "not waited for");
    let missing = json!({"points": [{"id": 404, "vector": [9, 9, 9, 9]}]}).to_string();
    let missing = fixture.call("PUT", &at("/vectors"), missing).await;
    assert_eq!(
        (missing.status, &missing.body["status"]["error"]),
        (404, &json!("Not found: No point with id 404 found"))
    );
}

#[tokio::test]
async fn a_batch_of_nothing_has_no_results() {
    let answer = fixture().await.call("POST", &format!("{POINTS}/batch?ordering=strong"), r#"{"operations":[]}"#).await;
    assert_eq!((answer.status, &answer.body["result"]), (200, &json!([])));
}

#[test]
fn who_writes_too_much_is_told_when_to_come_back() {
    for (pause, seconds) in [(Duration::ZERO, "1"), (Duration::from_secs(3), "3"), (Duration::from_millis(2_001), "3")]
    {
        let busy = Error::Busy { why: "the log's tail is full".into(), retry_after: pause };
        assert_eq!(busy.public(), "Rate limiting exceeded: the log's tail is full");
        let response = answer::error(&busy);
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &seconds.parse().unwrap()));
    }
}
