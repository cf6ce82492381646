//! The endpoint that a root asks: frames, not JSON.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::Shared;
use crate::{
    error::Result,
    fanout::{ASK_BYTES_MAX, Ask, CONTENT_TYPE},
};

/// `POST /internal/v1/search`
pub(super) async fn search(State(app): Shared, request: Request) -> Result<Response> {
    let frame = app.bytes(request, ASK_BYTES_MAX).await?;
    let workers = &app.searcher.workers;
    let ask = workers.run(move |_| Ok(Ask::decode(&frame)?)).await?;
    let part = app.searcher.part(ask).await?;
    let frame = workers.run(move |_| Ok(part.encode()?)).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], frame).into_response())
}
