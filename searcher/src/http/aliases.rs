//! Endpoints about aliases.

use axum::{
    extract::{Request, State},
    response::Response,
};
use cairn_model::CollectionName;

use super::{
    Shared,
    answer::{Started, answer},
    parameters::Named,
};
use crate::{
    api::aliases::{AliasesResult, ChangeAliases},
    error::Result,
};

/// `POST /collections/aliases`
pub(super) async fn change(State(app): Shared, started: Started, request: Request) -> Result<Response> {
    let actions = app.body(request, ChangeAliases::check).await?;
    let usage = app.searcher.change_aliases(&actions).await?;
    answer(true, started, Some(usage))
}

/// `GET /aliases`
pub(super) async fn all(app: Shared, started: Started) -> Result<Response> {
    list(app, started, None).await
}

/// `GET /collections/{collection_name}/aliases`
pub(super) async fn of_collection(app: Shared, started: Started, Named(name): Named) -> Result<Response> {
    list(app, started, Some(name)).await
}

async fn list(State(app): Shared, started: Started, of: Option<CollectionName>) -> Result<Response> {
    let (aliases, usage) = app.searcher.list_aliases(of.as_ref()).await?;
    let aliases = aliases.into_iter().map(Into::into).collect();
    answer(AliasesResult { aliases }, started, Some(usage))
}
