//! Endpoints about how a collection is spread and kept in order: as a server without peers answers them.

use axum::{extract::State, http::Uri, response::Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    answer::{Started, answer},
    parameters::{Named, parameters},
};
use crate::{
    error::{Error, Result},
    request::View,
};

/// `GET /cluster`
pub(super) async fn status(started: Started) -> Result<Response> {
    answer(json!({"status": "disabled"}), started, None)
}

/// `GET /collections/{collection_name}/cluster`: every shard is as near to one process as to another, and so all are its own.
pub(super) async fn of_collection(State(app): Shared, started: Started, Named(name): Named) -> Result<Response> {
    let searcher = &app.searcher;
    let view = View::from(name);
    let count = |view: View| async move { searcher.points_by_shard(&view).await };
    let (counts, usage) = searcher.by_name(&view, count).await?;
    let shard = |(shard, points): (usize, &u64)| json!({"shard_id": shard, "points_count": points, "state": "Active"});
    let shards: Vec<Value> = counts.iter().enumerate().map(shard).collect();
    let info = json!({
        "peer_id": 0,
        "shard_count": shards.len(),
        "local_shards": shards,
        "remote_shards": [],
        "shard_transfers": [],
    });
    answer(info, started, Some(usage))
}

/// `GET /issues`: what Qdrant finds there are fields without an index, and here every field has one.
pub(super) async fn issues(started: Started) -> Result<Response> {
    answer(json!({"issues": []}), started, None)
}

/// `DELETE /issues`
pub(super) async fn clear_issues(started: Started) -> Result<Response> {
    answer(true, started, None)
}

#[derive(Deserialize)]
struct Shown {
    with: Option<String>,
    /// Accepted: what was done is not kept.
    #[serde(rename = "completed_limit")]
    _completed_limit: Option<u64>,
}

/// `GET /collections/{collection_name}/optimizations`: writes that wait to be folded into segments.
pub(super) async fn optimizations(
    State(app): Shared,
    started: Started,
    Named(name): Named,
    uri: Uri,
) -> Result<Response> {
    let Shown { with, .. } = parameters(&uri)?;
    let searcher = &app.searcher;
    let view = View::from(name);
    let open = |view: View| async move { searcher.collection(&view).await };
    let (seen, usage) = searcher.by_name(&view, open).await?;
    let waiting = || seen.fresh().filter(|fresh| !fresh.is_empty());
    let mut shown = json!({
        "summary": {
            "queued_optimizations": waiting().count(),
            "queued_segments": 0,
            "queued_points": waiting().map(|fresh| fresh.len_live()).sum::<usize>(),
            "idle_segments": seen.segments().count(),
        },
        "running": [],
    });
    for field in with.as_deref().unwrap_or_default().split(',').map(str::trim) {
        match field {
            "queued" => shown[field] = waiting().map(|_| json!({"optimizer": "fold", "segments": []})).collect(),
            "completed" => shown[field] = json!([]),
            // Segments are called by ULIDs, and Qdrant's by UUIDs.
            "" | "idle_segments" => {}
            _ => return Err(Error::Invalid(format!("Unknown field in 'with' parameter: {field}"))),
        }
    }
    answer(shown, started, Some(usage))
}
