//! Request bodies: bounded, parsed, checked.

use axum::{extract::Request, http::header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::App;
use crate::{
    api,
    error::{Error, Result},
};

/// Bytes above which a body is parsed on a search thread.
const BYTES_INLINE_MAX: usize = 64 << 10;

impl App {
    /// The body as `T`, checked and converted by `check`.
    pub(super) async fn body<T: DeserializeOwned, R: Send + 'static>(
        &self,
        request: Request,
        check: impl FnOnce(T) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let limit = usize::try_from(self.settings.max_body.0).unwrap_or(usize::MAX);
        let bytes = self.bytes(request, limit).await?;
        let inline = bytes.len() <= BYTES_INLINE_MAX;
        let parse = move || api::parse(&bytes).and_then(check);
        if inline { parse() } else { self.searcher.workers.run(move |_| parse()).await }
    }

    /// The body as it is.
    pub(super) async fn bytes(&self, request: Request, limit: usize) -> Result<Bytes> {
        let declared =
            request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(bytes) = declared.filter(|bytes: &usize| *bytes > limit) {
            return Err(too_large(&format!(" ({bytes} bytes)"), limit));
        }
        match Limited::new(request.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large("", limit)),
            Err(error) => Err(Error::Invalid(format!("the request body could not be read: {error}"))),
        }
    }
}

fn too_large(bytes: &str, limit: usize) -> Error {
    Error::TooLarge(format!("JSON payload{bytes} is larger than allowed (limit: {limit} bytes)"))
}
