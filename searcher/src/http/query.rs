//! Endpoints that search.

use axum::{
    extract::{Request, State},
    response::Response,
};
use cairn_model::Usage;

use super::{
    App, Shared,
    answer::{Started, answer},
    parameters::Viewed,
};
use crate::{
    api::{
        past::agreed,
        points::ScoredPointBody,
        query::{ExplainResult, QueryBatch, QueryRequest, QueryResult, SearchBatch, SearchRequest},
    },
    error::Result,
    request::{self, ScoredPoint, View},
};

fn shown(points: &[ScoredPoint]) -> Vec<ScoredPointBody<'_>> {
    points.iter().map(Into::into).collect()
}

async fn one(app: &App, view: &View, asked: &request::Request) -> Result<(Vec<ScoredPoint>, Usage)> {
    let searcher = &app.searcher;
    searcher.by_name(view, |view| async move { searcher.query(&view, asked).await }).await
}

async fn all(app: &App, view: &View, asked: &[request::Request]) -> Result<(Vec<Vec<ScoredPoint>>, Usage)> {
    let searcher = &app.searcher;
    searcher.by_name(view, |view| async move { searcher.query_batch(&view, asked.to_vec()).await }).await
}

/// `POST /collections/{collection_name}/points/query`
pub(super) async fn query(
    State(app): Shared,
    started: Started,
    Viewed(url): Viewed,
    request: Request,
) -> Result<Response> {
    let (asked, view, explain) = app
        .body(request, |asked: QueryRequest| {
            let (view, explain) = (agreed(url, &[asked.past("")?])?, asked.explain);
            asked.check("").map(|asked| (asked, view, explain))
        })
        .await?;
    if explain {
        let (asked, searcher) = (&asked, &app.searcher);
        let explain = |view: View| async move { searcher.explain(&view, asked).await };
        let (estimate, usage) = searcher.by_name(&view, explain).await?;
        return answer(ExplainResult::from(estimate), started, Some(usage));
    }
    let (points, usage) = one(&app, &view, &asked).await?;
    app.points(points.len(), move || answer(QueryResult { points: shown(&points) }, started, Some(usage))).await
}

/// `POST /collections/{collection_name}/points/query/batch`
pub(super) async fn query_batch(
    State(app): Shared,
    started: Started,
    Viewed(url): Viewed,
    request: Request,
) -> Result<Response> {
    let (asked, view) = app
        .body(request, |asked: QueryBatch| {
            let view = agreed(url, &asked.pasts()?)?;
            asked.check().map(|asked| (asked, view))
        })
        .await?;
    let (answers, usage) = all(&app, &view, &asked).await?;
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
    Viewed(url): Viewed,
    request: Request,
) -> Result<Response> {
    let (asked, view) = app
        .body(request, |asked: SearchRequest| {
            let view = agreed(url, &[asked.past("")?])?;
            asked.check("").map(|asked| (asked, view))
        })
        .await?;
    let (points, usage) = one(&app, &view, &asked).await?;
    app.points(points.len(), move || answer(shown(&points), started, Some(usage))).await
}

/// `POST /collections/{collection_name}/points/search/batch`
pub(super) async fn search_batch(
    State(app): Shared,
    started: Started,
    Viewed(url): Viewed,
    request: Request,
) -> Result<Response> {
    let (asked, view) = app
        .body(request, |asked: SearchBatch| {
            let view = agreed(url, &asked.pasts()?)?;
            asked.check().map(|asked| (asked, view))
        })
        .await?;
    let (answers, usage) = all(&app, &view, &asked).await?;
    app.points(answers.iter().map(Vec::len).sum(), move || {
        let results: Vec<_> = answers.iter().map(|points| shown(points)).collect();
        answer(results, started, Some(usage))
    })
    .await
}
