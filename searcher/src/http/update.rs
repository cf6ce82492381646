//! Endpoints that write points.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    response::Response,
    routing::{MethodFilter, MethodRouter, on, post},
};
use cairn_model::Operation;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    App, Shared,
    answer::{Started, answer},
    parameters::{Named, parameters},
};
use crate::{
    api::{
        route::POINTS,
        update::{
            DeletePayload, DeleteVectors, PointsSelector, SetPayload, UpdateBatch, UpdateBody, UpdateVectors,
            UpsertRequest,
        },
    },
    error::{Error, Result},
    update::UpdateParams,
};

/// The URL's parameters of a write.
#[derive(Deserialize)]
struct Parameters {
    wait: Option<bool>,
    /// Accepted and not needed: writes to a point have one order, whoever takes them.
    #[serde(rename = "ordering")]
    _ordering: Option<Ordering>,
    /// Whole seconds; whoever watches deadlines has checked them.
    timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ordering {
    Weak,
    Medium,
    Strong,
}

/// How a write is to be answered.
pub(super) struct Writing(UpdateParams);

impl<S: Sync> FromRequestParts<S> for Writing {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let Parameters { wait, timeout, .. } = parameters(&parts.uri)?;
        Ok(Self(UpdateParams { wait: wait.unwrap_or(false), timeout: timeout.map(Duration::from_secs) }))
    }
}

/// All endpoints that write points.
pub(super) fn routes() -> Router<Arc<App>> {
    let payload = update(MethodFilter::POST, SetPayload::set).merge(update(MethodFilter::PUT, SetPayload::overwrite));
    let at = |rest: &str| format!("{POINTS}/{rest}");
    Router::new()
        .route(POINTS, update(MethodFilter::PUT, UpsertRequest::operations))
        .route(&at("delete"), update(MethodFilter::POST, PointsSelector::delete))
        .route(&at("payload"), payload)
        .route(&at("payload/delete"), update(MethodFilter::POST, DeletePayload::operations))
        .route(&at("payload/clear"), update(MethodFilter::POST, PointsSelector::clear_payload))
        .route(&at("vectors"), update(MethodFilter::PUT, UpdateVectors::operations))
        .route(&at("vectors/delete"), update(MethodFilter::POST, DeleteVectors::operations))
        .route(&at("batch"), post(batch))
}

/// The endpoint of one kind of update.
fn update<T: DeserializeOwned + 'static>(
    method: MethodFilter,
    operations: fn(T) -> Result<Vec<Operation>>,
) -> MethodRouter<Arc<App>> {
    let handler = move |State(app): Shared,
                        started: Started,
                        Writing(params): Writing,
                        Named(name): Named,
                        request: Request| async move {
        let operations = app.body(request, operations).await?;
        let (result, usage) = app.searcher.update(&name, operations, params).await?;
        answer(UpdateBody::from(result), started, Some(usage))
    };
    on(method, handler)
}

/// `POST /collections/{collection_name}/points/batch`: one result for each operation.
async fn batch(
    State(app): Shared,
    started: Started,
    Writing(params): Writing,
    Named(name): Named,
    request: Request,
) -> Result<Response> {
    let (operations, asked) = app.body(request, UpdateBatch::operations).await?;
    if operations.is_empty() {
        return answer::<[UpdateBody; 0]>([], started, None);
    }
    let (result, usage) = app.searcher.update(&name, operations, params).await?;
    answer(vec![UpdateBody::from(result); asked], started, Some(usage))
}
