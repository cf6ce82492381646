//! Endpoints about the server itself.

use axum::{
    extract::State,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared,
    answer::{Started, answer, json},
    parameters::parameters,
};
use crate::{error::Result, telemetry};

/// The Qdrant version whose API this is: clients compare it with their own.
const QDRANT_VERSION: &str = "1.19.0";
const CAIRN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /`
pub(super) async fn root() -> Response {
    json(
        json!({
            "title": "qdrant - vector search engine",
            "version": QDRANT_VERSION,
            "cairn": CAIRN_VERSION,
        })
        .to_string()
        .into_bytes(),
    )
}

/// `GET /healthz`, `GET /livez`
pub(super) async fn alive() -> &'static str {
    "healthz check passed"
}

/// `GET /readyz`: whether the store answers.
pub(super) async fn ready(State(app): Shared) -> Result<&'static str> {
    app.searcher.store().ping().await?;
    Ok("all shards are ready")
}

/// How much is told: checked and not needed, because no label and no counter here is of a collection.
#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "anonymize")]
    _anonymize: Option<bool>,
    #[serde(rename = "per_collection")]
    _per_collection: Option<bool>,
    #[serde(rename = "details_level")]
    _details_level: Option<usize>,
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): Shared, uri: Uri) -> Result<Response> {
    parameters::<Detail>(&uri)?;
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], telemetry::render(app.searcher.telemetry())).into_response())
}

/// `GET /telemetry`
pub(super) async fn telemetry(State(app): Shared, started: Started, uri: Uri) -> Result<Response> {
    parameters::<Detail>(&uri)?;
    let report = app.searcher.telemetry().report(CAIRN_VERSION, app.searcher.known_collections());
    answer(report, started, None)
}
