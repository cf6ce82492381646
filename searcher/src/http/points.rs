//! Endpoints that read points without searching.

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
        collection_name, point_id,
        points::{CountRequest, CountResult, PointRequest, RecordBody, ScrollRequest, ScrollResult},
    },
    error::{Error, Result},
    select::{PayloadSelector, VectorSelector},
};

/// `POST /collections/{collection_name}/points`
pub(super) async fn retrieve(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let asked = app.body(request, PointRequest::check).await?;
    let (records, usage) = app.searcher.retrieve(&name, asked.ids, asked.with_payload, asked.with_vector).await?;
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
    Path((name, id)): Path<(String, String)>,
) -> Result<Response> {
    let (name, id) = (collection_name(&name)?, point_id(&id)?);
    let (records, usage) = app.searcher.retrieve(&name, vec![id], PayloadSelector::All, VectorSelector::All).await?;
    let record = records.first().ok_or(Error::NoRecord(id))?;
    answer(RecordBody::from(record), started, Some(usage))
}

/// `POST /collections/{collection_name}/points/scroll`
pub(super) async fn scroll(
    State(app): Shared,
    started: Started,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let asked = app.body(request, ScrollRequest::check).await?;
    let (page, usage) = app.searcher.scroll(&name, asked).await?;
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
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let name = collection_name(&name)?;
    let filter = app.body(request, |asked: CountRequest| Ok(asked.filter)).await?;
    let (count, usage) = app.searcher.count(&name, filter).await?;
    answer(CountResult { count }, started, Some(usage))
}
