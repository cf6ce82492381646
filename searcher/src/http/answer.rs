//! Answers: good ones as text in the envelope, errors as a note that the outermost layer puts into it.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use cairn_model::{ErrorKind, Usage};
use serde::Serialize;

use super::App;
use crate::{
    api::envelope::{Envelope, error_text},
    error::{Error, Result},
};

/// Points above which an answer is written on a search thread: JSON of many points is computation.
const POINTS_INLINE_MAX: usize = 256;

/// When the request arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started(pub(super) Instant);

impl<S: Sync> FromRequestParts<S> for Started {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self(Instant::now())))
    }
}

/// Rides on a response without a body until [`render`] gives it one.
#[derive(Clone, Debug)]
struct Failure(Arc<str>);

/// An error by status and message.
pub(super) fn failure(status: u16, message: impl Into<Arc<str>>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    response.extensions_mut().insert(Failure(message.into()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An error of the searcher; what a client may not read goes to the log.
pub(super) fn error(error: &Error) -> Response {
    let status = status(error);
    if status >= 500 && status != 501 {
        tracing::error!(status, error = %error, "request failed");
    }
    let mut response = failure(status, error.public());
    if let Error::Busy { retry_after, .. } = error {
        // Whole seconds, and none is no pause.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        error(&self)
    }
}

/// The HTTP status of an error.
pub(super) fn status(error: &Error) -> u16 {
    match error {
        Error::Invalid(_)
        | Error::Bad(_)
        | Error::Format(_)
        | Error::Parameters(_)
        | Error::Unsupported(_)
        | Error::AliasExists(_) => 400,
        Error::NoCollection(_)
        | Error::NoAlias(_)
        | Error::NoPast(_)
        | Error::NoPoint(_)
        | Error::NoVector(_)
        | Error::NoRecord(_) => 404,
        Error::Standalone(_) => 405,
        Error::Cancelled => 408,
        Error::Exists(_) => 409,
        Error::TooLarge(_) => 413,
        Error::Validation { .. } => 422,
        Error::Busy { .. } => 429,
        Error::Segment { .. } | Error::Listen { .. } | Error::Internal(_) | Error::Absent(_) => 500,
        Error::Later(_) => 501,
        Error::Elsewhere(_) => 503,
        Error::Storage(error) => match error.kind {
            ErrorKind::Invalid => 400,
            ErrorKind::Cancelled => 408,
            ErrorKind::Conflict => 409,
            ErrorKind::TooLarge => 413,
            ErrorKind::Corrupt => 500,
            ErrorKind::Unsupported => 501,
            ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::NotFound => 503,
        },
    }
}

/// Gives an error its envelope; other responses pass. An error without a note is axum's own: a path that is not UTF-8.
pub(super) fn render(mut response: Response, started: Instant) -> Response {
    let status = response.status();
    let message = match response.extensions_mut().remove() {
        Some(Failure(message)) => message,
        None if status.is_client_error() => "Wrong input: the request's path cannot be read".into(),
        None => return response,
    };
    *response.body_mut() = Body::from(error_text(&message, started));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// A good answer.
pub(super) fn answer<T: Serialize>(result: T, started: Started, usage: Option<Usage>) -> Result<Response> {
    let text = Envelope::text(result, started.0, usage).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(json(text))
}

/// Text that is JSON already.
pub(super) fn json(text: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

impl App {
    /// A good answer with many points: `write` makes its text, on a search thread where it is long.
    pub(super) async fn points(
        &self,
        count: usize,
        write: impl FnOnce() -> Result<Response> + Send + 'static,
    ) -> Result<Response> {
        if count <= POINTS_INLINE_MAX { write() } else { self.searcher.workers.run(move |_| write()).await }
    }
}
