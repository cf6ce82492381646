//! Keys: one that may do everything and one that may read.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq;

use super::{App, answer::failure};
use crate::{api::route::writes, settings::Secret};

/// Paths that need no key, as in Qdrant: they tell nothing but that the server is there.
const OPEN: [&str; 4] = ["/", "/healthz", "/livez", "/readyz"];

const NO_KEY: &str = "Must provide an API key or an Authorization bearer token";
const WRONG_KEY: &str = "Invalid API key or JWT";
const READ_ONLY: &str = "Forbidden: Global manage access is required";

/// Lets a request pass when its key allows it.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (full, read) = (&app.settings.api_key, &app.settings.read_only_api_key);
    if (full.is_none() && read.is_none()) || OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Some(key) = key(request.headers()) else { return failure(401, NO_KEY) };
    if is(full.as_ref(), key) {
        return next.run(request).await;
    }
    if !is(read.as_ref(), key) {
        return failure(401, WRONG_KEY);
    }
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if writes(request.method().as_str(), path) {
        return failure(403, READ_ONLY);
    }
    next.run(request).await
}

/// The key of a request: `api-key`, or a bearer token.
fn key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Whether this is the secret, in time that does not tell how much of it was right.
fn is(secret: Option<&Secret>, key: &[u8]) -> bool {
    secret.is_some_and(|secret| secret.0.as_bytes().ct_eq(key).into())
}
