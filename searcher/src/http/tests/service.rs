//! Endpoints about the server and about collections, and the server itself.

use std::sync::Arc;

use cairn_model::Distance;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{Fixture, http_settings, points, schema};
use crate::{
    api::route::{CLUSTERED, LATER, known},
    http::Server,
};

#[tokio::test]
async fn every_endpoint_is_routed_and_counted_under_its_own_name() {
    let fixture = Fixture::empty().await;
    for route in known() {
        let path = route.path.replace("{collection_name}", "c").replace(['{', '}'], "");
        let answer = fixture.call(route.method, &path, "{}").await;
        let message = answer.body["status"]["error"].as_str().unwrap_or_default();
        assert!(!message.contains("no endpoint") && !message.starts_with("Method"), "{route:?}: {}", answer.body);
    }
    let text = crate::telemetry::render(fixture.searcher.telemetry());
    for route in known() {
        let label = format!(r#"cairn_requests_total{{method="{}",endpoint="{}""#, route.method, route.path);
        assert!(text.contains(&label), "{label}");
    }
    assert!(!text.contains("unmatched"), "{text}");
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let fixture = Fixture::empty().await;
    for (routes, status, words) in [
        (LATER.as_slice(), 501, "is not supported yet by this version of Cairn"),
        (CLUSTERED.as_slice(), 405, "is for clusters, and this is standalone mode"),
    ] {
        for (route, what) in routes {
            let path = route.path.replace(['{', '}'], "");
            let answer = fixture.call(route.method, &path, "{}").await;
            let message = answer.body["status"]["error"].as_str().unwrap();
            assert_eq!(answer.status, status, "{route:?}: {message}");
            assert!(message.contains(what) && message.contains(words), "{route:?}: {message}");
        }
    }
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let fixture = Fixture::empty().await;
    let root = fixture.call("GET", "/", "").await.body;
    assert_eq!(
        root,
        json!({"title": "qdrant - vector search engine", "version": "1.19.0", "cairn": env!("CARGO_PKG_VERSION")})
    );
    for path in ["/healthz", "/livez"] {
        assert_eq!(fixture.call("GET", path, "").await.body, "healthz check passed");
    }
    assert_eq!(fixture.call("GET", "/readyz", "").await.body, "all shards are ready");
    let report = fixture.call("GET", "/telemetry", "").await.body;
    assert!(report["result"]["cairn"]["endpoints"]["GET /healthz"]["p99_us"].is_f64(), "{report}");
    assert!(report["result"]["app"]["startup"].as_str().unwrap().ends_with('Z'));
    let (_, text) = fixture.text(super::fixture::request("GET", "/metrics", "")).await;
    assert!(String::from_utf8(text).unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_collection_lives_and_dies() {
    let fixture = Fixture::empty().await;
    let exists = || async { fixture.call("GET", "/collections/c/exists", "").await.body["result"]["exists"].clone() };
    assert_eq!(exists().await, false);
    let body = json!({"vectors": {"": {"size": 4, "distance": "Cosine"}}, "sparse_vectors": {}, "shard_number": 2});
    let created = fixture.call("PUT", "/collections/c?timeout=10", body.to_string()).await;
    assert_eq!((created.status, &created.body["result"]), (200, &json!(true)), "{}", created.body);
    assert_eq!(exists().await, true);
    let info = fixture.call("GET", "/collections/c", "").await.body["result"].clone();
    assert_eq!(info["config"]["params"]["vectors"], json!({"size": 4, "distance": "Cosine"}));
    assert_eq!(
        (&info["points_count"], &info["segments_count"], &info["status"]),
        (&json!(0), &json!(0), &json!("green"))
    );
    // Empty, but there.
    let query = json!({"query": [1, 2, 3, 4]});
    assert_eq!(fixture.post("/collections/c/points/query", query).await, json!({"points": []}));
    assert_eq!(fixture.post("/collections/c/points", json!({"ids": [1]})).await, json!([]));
    let page = fixture.post("/collections/c/points/scroll", json!({})).await;
    assert_eq!(page, json!({"points": [], "next_page_offset": null}));

    fixture.publish("d", &schema("image", Distance::Dot, 2), &points(20)).await;
    let info = fixture.call("GET", "/collections/d", "").await.body["result"].clone();
    assert_eq!(info["config"]["params"]["vectors"], json!({"image": {"size": 4, "distance": "Dot"}}));
    assert_eq!((&info["points_count"], &info["segments_count"]), (&json!(20), &json!(4)));
    let names = fixture.call("GET", "/collections", "").await.body["result"].clone();
    assert_eq!(names, json!({"collections": [{"name": "c"}, {"name": "d"}]}));
    for expected in [true, false] {
        assert_eq!(fixture.call("DELETE", "/collections/c", "").await.body["result"], expected);
    }
    assert_eq!(exists().await, false);
}

#[tokio::test]
async fn a_server_answers_on_a_socket_and_stops_when_told() {
    let fixture = Fixture::empty().await;
    let server = Server::over(Arc::clone(&fixture.searcher), http_settings()).await.unwrap();
    let address = server.address();
    assert_ne!(address.port(), 0);
    let taken = Server::over(Arc::clone(&fixture.searcher), crate::HttpSettings { listen: address, ..http_settings() });
    assert!(taken.await.unwrap_err().to_string().starts_with(&format!("cannot listen on {address}")));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4_096];
    let bytes = socket.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..bytes]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("healthz check passed"), "{answer}");
    stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), running).await.unwrap().unwrap().unwrap();
}
