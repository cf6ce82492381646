//! Parameters of the URL: what is heeded, what is only checked, and how mistakes are named.

use cairn_model::Distance;
use serde_json::json;

use super::fixture::{Fixture, points, schema};

async fn fixture() -> Fixture {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 1), &points(10)).await;
    fixture
}

const COUNT: &str = "/collections/c/points/count";
const PAYLOAD: &str = "/collections/c/points/payload";
const SET: &str = r#"{"payload":{"a":1},"points":[1]}"#;

#[tokio::test]
async fn what_qdrant_takes_is_taken() {
    let fixture = fixture().await;
    for query in ["", "consistency=", "consistency=2", "consistency=all", "consistency=quorum&timeout=5", "colour=red"]
    {
        assert_eq!(fixture.call("POST", &format!("{COUNT}?{query}"), "{}").await.status, 200, "{query}");
    }
    for query in ["wait=true", "wait=false&ordering=weak", "ordering=medium&timeout=7", "ordering=strong&colour=red"] {
        assert_eq!(fixture.call("POST", &format!("{PAYLOAD}?{query}"), SET).await.status, 200, "{query}");
    }
    for path in ["/telemetry?details_level=10&anonymize=true", "/metrics?anonymize=false&per_collection=true&timeout=3"]
    {
        assert_eq!(fixture.call("GET", path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn mistakes_are_named() {
    let fixture = fixture().await;
    let consistency = "consistency: failed to deserialize read consistency query parameter value";
    let wait = "wait: provided string was not `true` or `false`";
    let ordering = "ordering: unknown variant `loose`, expected one of `weak`, `medium`, `strong`";
    for (method, path, body, why) in [
        ("POST", format!("{COUNT}?consistency=0"), "{}", consistency),
        ("POST", format!("{COUNT}?consistency=some"), "{}", consistency),
        ("GET", "/collections/c/points/1?consistency=-1".into(), "", consistency),
        ("POST", format!("{COUNT}?timeout=-1"), "{}", "timeout: invalid digit found in string"),
        ("POST", format!("{COUNT}?timeout=1.5"), "{}", "timeout: invalid digit found in string"),
        ("POST", format!("{COUNT}?timeout="), "{}", "timeout: cannot parse integer from empty string"),
        ("GET", "/collections?timeout=soon".into(), "", "timeout: invalid digit found in string"),
        ("POST", format!("{PAYLOAD}?wait=maybe"), SET, wait),
        ("PUT", "/collections/c/index?wait=1".into(), "{}", wait),
        ("DELETE", "/collections/c/index/a?wait=".into(), "", wait),
        ("POST", format!("{PAYLOAD}?wait=true&wait=true"), SET, "duplicate field `wait`"),
        ("POST", format!("{PAYLOAD}?ordering=loose"), SET, ordering),
        ("GET", "/telemetry?details_level=all".into(), "", "details_level: invalid digit found in string"),
        ("GET", "/metrics?anonymize=maybe".into(), "", "anonymize: provided string was not `true` or `false`"),
    ] {
        let answer = fixture.call(method, &path, body).await;
        let message = json!(format!("Deserialize error in query parameters: {why}"));
        assert_eq!((answer.status, &answer.body["status"]["error"]), (400, &message), "{method} {path}");
    }
    let none = "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]";
    for (method, path) in
        [("POST", COUNT), ("PUT", "/collections/d"), ("DELETE", "/collections/c"), ("GET", "/aliases")]
    {
        let answer = fixture.call(method, &format!("{path}?timeout=0"), "{}").await;
        assert_eq!((answer.status, &answer.body["status"]["error"]), (422, &json!(none)), "{method} {path}");
    }
}
