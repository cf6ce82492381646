//! What browsers are told.

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use tower::ServiceExt;

use super::fixture::{Fixture, http_settings};
use crate::{
    HttpSettings,
    api::route::known,
    settings::{SearchSettings, Secret},
};

const PAGE: &str = "https://page.example";

async fn fixture(no_cors: bool) -> Fixture {
    let http = HttpSettings { api_key: Some(Secret("hush".to_owned())), no_cors, ..http_settings() };
    Fixture::with(http, SearchSettings { threads: Some(1), ..SearchSettings::default() }).await
}

/// Sends what a browser sends for a page: the status and the headers of the answer.
async fn sent(fixture: &Fixture, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap) {
    let mut request = Request::builder().method(method).uri(path).header(header::ORIGIN, PAGE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = fixture.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn browsers_may_ask_every_endpoint_and_need_no_key_for_that_question() {
    let fixture = fixture(false).await;
    for route in known() {
        let path = route.path.replace(['{', '}'], "");
        let question = [
            (header::ACCESS_CONTROL_REQUEST_METHOD.as_str(), route.method),
            (header::ACCESS_CONTROL_REQUEST_HEADERS.as_str(), "api-key,authorization,content-type"),
        ];
        let (status, headers) = sent(&fixture, "OPTIONS", &path, &question).await;
        assert_eq!(status, 200, "{route:?}");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{route:?}");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "*", "{route:?}");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "api-key,authorization,content-type", "{route:?}");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "{route:?}");
    }
}

#[tokio::test]
async fn pages_may_read_every_answer() {
    let fixture = fixture(false).await;
    let key = [("api-key", "hush")];
    for (method, path, headers, status) in [
        ("GET", "/", &[][..], 200),
        ("GET", "/collections", &key, 200),
        ("GET", "/collections", &[], 401),
        ("GET", "/collections/c", &key, 404),
        ("GET", "/nowhere", &key, 404),
        ("DELETE", "/collections", &key, 405),
        ("GET", "/collections?timeout=0", &key, 422),
    ] {
        let (found, headers) = sent(&fixture, method, path, headers).await;
        assert_eq!(found, status, "{method} {path}");
        let shown = [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::ACCESS_CONTROL_EXPOSE_HEADERS];
        assert_eq!(shown.map(|name| headers.get(name).cloned()), ["*", "*"].map(|all| all.parse().ok()), "{path}");
    }
}

#[tokio::test]
async fn a_server_can_keep_to_itself() {
    let fixture = fixture(true).await;
    let question = [(header::ACCESS_CONTROL_REQUEST_METHOD.as_str(), "GET"), ("api-key", "hush")];
    for (method, path, headers, status) in
        [("OPTIONS", "/collections", &question[..], 405), ("OPTIONS", "/collections", &[], 401), ("GET", "/", &[], 200)]
    {
        let (found, headers) = sent(&fixture, method, path, headers).await;
        assert_eq!(found, status, "{method} {path}");
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "{headers:?}");
    }
}
