//! Endpoints that read points without searching.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};

use super::{
    Shared,
    answer::{Started, answer},
    parameters::Viewed,
};
use crate::{
    api::{
        facet::{FacetRequest, FacetResult},
        point_id,
        points::{CountRequest, CountResult, Listing, PointRequest, RecordBody, ScrollRequest, ScrollResult},
    },
    error::{Error, Result},
    request::View,
    select::{PayloadSelector, VectorSelector},
};

/// `POST /collections/{collection_name}/points`
pub(super) async fn retrieve(
    State(app): Shared,
    started: Started,
    Viewed(view): Viewed,
    request: Request,
) -> Result<Response> {
    let asked = app.body(request, PointRequest::check).await?;
    let (asked, searcher) = (&asked, &app.searcher);
    let retrieve = |view: View| async move {
        searcher.retrieve(&view, asked.ids.clone(), asked.with_payload.clone(), asked.with_vector.clone()).await
    };
    let (records, usage) = searcher.by_name(&view, retrieve).await?;
    app.points(records.len(), move || {
        let result: Vec<RecordBody<'_>> = records.iter().map(Into::into).collect();
        answer(result, started, Some(usage))
    })
    .await
}

/// `GET /collections/{collection_name}/points/{id}`
pub(super) async fn point(
    State(app): Shared,
    started: Started,
    Viewed(view): Viewed,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response> {
    let id = point_id(&id)?;
    let searcher = &app.searcher;
    let retrieve =
        |view: View| async move { searcher.retrieve(&view, vec![id], PayloadSelector::All, VectorSelector::All).await };
    let (records, usage) = searcher.by_name(&view, retrieve).await?;
    let record = records.first().ok_or(Error::NoRecord(id))?;
    answer(RecordBody::from(record), started, Some(usage))
}

/// `POST /collections/{collection_name}/points/scroll`
pub(super) async fn scroll(
    State(app): Shared,
    started: Started,
    Viewed(view): Viewed,
    request: Request,
) -> Result<Response> {
    let asked = app.body(request, ScrollRequest::check).await?;
    let searcher = &app.searcher;
    let asked = match &asked {
        Listing::ById(asked) => asked,
        Listing::Ordered(asked) => {
            let query = |view: View| async move { searcher.query(&view, asked).await };
            let (points, usage) = searcher.by_name(&view, query).await?;
            let count = points.len();
            let answer = move || {
                let points = points.iter().map(RecordBody::ordered).collect();
                answer(ScrollResult { points, next_page_offset: None }, started, Some(usage))
            };
            return app.points(count, answer).await;
        }
    };
    let scroll = |view: View| async move { searcher.scroll(&view, asked.clone()).await };
    let (page, usage) = searcher.by_name(&view, scroll).await?;
    app.points(page.points.len(), move || {
        let points = page.points.iter().map(Into::into).collect();
        answer(ScrollResult { points, next_page_offset: page.next }, started, Some(usage))
    })
    .await
}

/// `POST /collections/{collection_name}/points/count`
pub(super) async fn count(
    State(app): Shared,
    started: Started,
    Viewed(view): Viewed,
    request: Request,
) -> Result<Response> {
    let filter = app.body(request, CountRequest::check).await?;
    let (filter, searcher) = (&filter, &app.searcher);
    let count = |view: View| async move { searcher.count(&view, filter.clone()).await };
    let (count, usage) = searcher.by_name(&view, count).await?;
    answer(CountResult { count }, started, Some(usage))
}

/// `POST /collections/{collection_name}/facet`
pub(super) async fn facet(
    State(app): Shared,
    started: Started,
    Viewed(view): Viewed,
    request: Request,
) -> Result<Response> {
    let asked = app.body(request, FacetRequest::check).await?;
    let (asked, searcher) = (&asked, &app.searcher);
    let facet = |view: View| async move { searcher.facet(&view, asked.clone()).await };
    let (counts, usage) = searcher.by_name(&view, facet).await?;
    app.points(counts.len(), move || answer(FacetResult::from(counts), started, Some(usage))).await
}
