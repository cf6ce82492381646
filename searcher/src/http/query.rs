//! Endpoints that search.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};

use super::{
    Shared,
    answer::{Started, answer},
};
use crate::{
    api::{
        collection_name,
        points::ScoredPointBody,
        query::{QueryBatch, QueryRequest, QueryResult, SearchBatch, SearchRequest},
    },
    error::Result,
    request::ScoredPoint,
};

fn shown(points: &[ScoredPoint]) -> Vec<ScoredPointBody<'_>> {
    points.iter().map(Into::into).collect()
}

/// `POST /collections/{collection_name}/points/query`
pub(super) async fn query(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let asked = app.body(request, |asked: QueryRequest| asked.check("")).await?;
    let (points, usage) = app.searcher.query(&name, &asked).await?;
    app.points(points.len(), move || answer(QueryResult { points: shown(&points) }, started, Some(usage))).await
}

/// `POST /collections/{collection_name}/points/query/batch`
pub(super) async fn query_batch(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let asked = app.body(request, QueryBatch::check).await?;
    let (answers, usage) = app.searcher.query_batch(&name, asked).await?;
    app.points(answers.iter().map(Vec::len).sum(), move || {
        let results: Vec<_> = answers.iter().map(|points| QueryResult { points: shown(points) }).collect();
        answer(results, started, Some(usage))
    })
    .await
}

/// `POST /collections/{collection_name}/points/search`
pub(super) async fn search(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let asked = app.body(request, |asked: SearchRequest| asked.check("")).await?;
    let (points, usage) = app.searcher.query(&name, &asked).await?;
    app.points(points.len(), move || answer(shown(&points), started, Some(usage))).await
}

/// `POST /collections/{collection_name}/points/search/batch`
pub(super) async fn search_batch(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let asked = app.body(request, SearchBatch::check).await?;
    let (answers, usage) = app.searcher.query_batch(&name, asked).await?;
    app.points(answers.iter().map(Vec::len).sum(), move || {
        let results: Vec<_> = answers.iter().map(|points| shown(points)).collect();
        answer(results, started, Some(usage))
    })
    .await
}
