//! Endpoints about collections.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use cairn_model::{CollectionSchema, Usage};
use serde_json::json;

use super::{
    App, Shared,
    answer::{Started, answer},
    parameters::{Named, Viewed},
    update::Writing,
};
use crate::{
    api::{
        amendment::{CreateIndex, UpdateCollection},
        collection::CreateCollection,
        editions::{AddVector, remove_vector as remove_vector_name},
        info::collection_info,
        payload_path,
        update::UpdateBody,
    },
    error::{Error, Result},
    live::Seen,
    request::View,
    update::{UpdateResult, UpdateStatus},
};

/// `GET /collections`
pub(super) async fn list(State(app): Shared, started: Started) -> Result<Response> {
    let (names, usage) = app.searcher.collections().await?;
    let collections: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    answer(json!({"collections": collections}), started, Some(usage))
}

async fn open(app: &App, view: &View) -> Result<(Arc<Seen>, Usage)> {
    let searcher = &app.searcher;
    searcher.by_name(view, |view| async move { searcher.collection(&view).await }).await
}

/// `GET /collections/{collection_name}`
pub(super) async fn info(State(app): Shared, started: Started, Viewed(view): Viewed) -> Result<Response> {
    let (collection, usage) = open(&app, &view).await?;
    let points = if collection.has_writes() {
        let searcher = &app.searcher;
        searcher.by_name(&view, |view| async move { searcher.count(&view, None).await }).await?.0
    } else {
        collection.points()
    };
    answer(collection_info(&collection, points), started, Some(usage))
}

/// `GET /collections/{collection_name}/exists`
pub(super) async fn exists(State(app): Shared, started: Started, Viewed(view): Viewed) -> Result<Response> {
    let (exists, usage) = match open(&app, &view).await {
        Ok((_, usage)) => (true, Some(usage)),
        Err(Error::NoCollection(_) | Error::NoPast(_)) => (false, None),
        Err(error) => return Err(error),
    };
    answer(json!({"exists": exists}), started, usage)
}

/// `PUT /collections/{collection_name}`
pub(super) async fn create(
    State(app): Shared,
    started: Started,
    Named(name): Named,
    request: Request,
) -> Result<Response> {
    let schema = app.body(request, CreateCollection::check).await?;
    let usage = app.searcher.create(&name, &schema).await?;
    answer(true, started, Some(usage))
}

/// `PATCH /collections/{collection_name}`
pub(super) async fn update(
    State(app): Shared,
    started: Started,
    Named(name): Named,
    request: Request,
) -> Result<Response> {
    let change = app.body(request, UpdateCollection::check).await?;
    let usage = app.searcher.amend(&name, |schema| change.apply(schema)).await?;
    answer(true, started, Some(usage))
}

/// `PUT /collections/{collection_name}/index`
pub(super) async fn create_index(
    State(app): Shared,
    started: Started,
    _: Writing,
    Named(name): Named,
    request: Request,
) -> Result<Response> {
    let (field, index) = app.body(request, CreateIndex::check).await?;
    let declare = |schema: &mut CollectionSchema| {
        schema.payload_indexes.insert(field.clone(), index.clone());
        Ok(())
    };
    let usage = app.searcher.amend(&name, declare).await?;
    answer(UpdateBody::from(DECLARED), started, Some(usage))
}

/// `DELETE /collections/{collection_name}/index/{field_name}`: also where there is no such index.
pub(super) async fn delete_index(
    State(app): Shared,
    started: Started,
    _: Writing,
    Named(name): Named,
    Path((_, field)): Path<(String, String)>,
) -> Result<Response> {
    let field = payload_path(&field)?.to_string();
    let withdraw = |schema: &mut CollectionSchema| {
        schema.payload_indexes.remove(&field);
        Ok(())
    };
    let usage = app.searcher.amend(&name, withdraw).await?;
    answer(UpdateBody::from(DECLARED), started, Some(usage))
}

/// `PUT /collections/{collection_name}/vectors/{vector_name}`: also where there is that vector already, as it is asked for.
pub(super) async fn add_vector(
    State(app): Shared,
    started: Started,
    _: Writing,
    Named(name): Named,
    Path((_, vector)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = app.body(request, Ok::<AddVector, Error>).await?;
    let usage = app.searcher.amend_vectors(&name, |schema| params.apply(&vector, schema)).await?;
    answer(UpdateBody::from(DECLARED), started, Some(usage))
}

/// `DELETE /collections/{collection_name}/vectors/{vector_name}`: also where there is no such vector.
pub(super) async fn remove_vector(
    State(app): Shared,
    started: Started,
    _: Writing,
    Named(name): Named,
    Path((_, vector)): Path<(String, String)>,
) -> Result<Response> {
    let usage = app.searcher.amend_vectors(&name, |schema| remove_vector_name(schema, &vector)).await?;
    answer(UpdateBody::from(DECLARED), started, Some(usage))
}

/// The answer about a payload index or a vector, however it is waited for: a declaration is one document, and no number of an operation belongs to it.
const DECLARED: UpdateResult = UpdateResult { operation_id: None, status: UpdateStatus::Completed };

/// `DELETE /collections/{collection_name}`
pub(super) async fn delete(State(app): Shared, started: Started, Named(name): Named) -> Result<Response> {
    let (deleted, usage) = app.searcher.delete(&name).await?;
    answer(deleted, started, Some(usage))
}
