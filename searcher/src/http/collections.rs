//! Endpoints about collections.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use serde_json::json;

use super::{
    Shared,
    answer::{Started, answer},
};
use crate::{
    api::{collection::CreateCollection, collection_name, info::collection_info},
    error::{Error, Result},
};

/// `GET /collections`
pub(super) async fn list(State(app): Shared, started: Started) -> Result<Response> {
    let (names, usage) = app.searcher.collections().await?;
    let collections: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    answer(json!({"collections": collections}), started, Some(usage))
}

/// `GET /collections/{collection_name}`
pub(super) async fn info(State(app): Shared, started: Started, Path(name): Path<String>) -> Result<Response> {
    let (collection, usage) = app.searcher.collection(&collection_name(&name)?).await?;
    answer(collection_info(&collection), started, Some(usage))
}

/// `GET /collections/{collection_name}/exists`
pub(super) async fn exists(State(app): Shared, started: Started, Path(name): Path<String>) -> Result<Response> {
    let (exists, usage) = match app.searcher.collection(&collection_name(&name)?).await {
        Ok((_, usage)) => (true, Some(usage)),
        Err(Error::NoCollection(_)) => (false, None),
        Err(error) => return Err(error),
    };
    answer(json!({"exists": exists}), started, usage)
}

/// `PUT /collections/{collection_name}`
pub(super) async fn create(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let schema = app.body(request, CreateCollection::check).await?;
    let usage = app.searcher.create(&name, &schema).await?;
    answer(true, started, Some(usage))
}

/// `DELETE /collections/{collection_name}`
pub(super) async fn delete(State(app): Shared, started: Started, Path(name): Path<String>) -> Result<Response> {
    let (deleted, usage) = app.searcher.delete(&collection_name(&name)?).await?;
    answer(deleted, started, Some(usage))
}
