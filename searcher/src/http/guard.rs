//! What lies around every handler: counting, admission, the deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    App,
    answer::{Started, failure, render},
    parameters::parameters,
};
use crate::{
    error::{Error, Result},
    fanout::deadline::within,
};

/// A moment by which the request must be answered, set by whoever runs the router; the earlier deadline counts.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineAt(pub Instant);

/// Paths that are answered however busy the server is.
const ALWAYS: [&str; 5] = ["/", "/healthz", "/livez", "/metrics", "/telemetry"];

/// Outermost: counts the request, and gives errors their envelope.
pub(super) async fn measure(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    request.extensions_mut().insert(Started(started));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let telemetry = Arc::clone(app.searcher.telemetry());
    let in_flight = telemetry.begin(method.as_str(), route.as_ref().map(MatchedPath::as_str));
    let response = render(next.run(request).await, started);
    let status = response.status().as_u16();
    in_flight.finish(status);
    tracing::debug!(
        %method,
        route = route.as_ref().map_or("", MatchedPath::as_str),
        status,
        ms = started.elapsed().as_secs_f64() * 1e3,
        "request"
    );
    response
}

/// Refuses requests beyond the bound, so that memory is bounded by bodies and answers in flight.
pub(super) async fn admission(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if ALWAYS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match app.admission.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => failure(503, "Service unavailable: too many requests at once, please retry"),
    }
}

#[derive(Deserialize)]
struct Timeout {
    timeout: Option<String>,
}

/// Stops a request at its deadline: the server's, the client's `timeout` parameter, or the function's own, whichever is
/// first. Dropping the handler raises the flag of the work that it waits for.
pub(super) async fn deadline(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let asked = match asked(&request) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    let own = request.extensions().get::<DeadlineAt>().map(|at| at.0.saturating_duration_since(Instant::now()));
    let bounds = [Some(app.settings.deadline()), asked, own];
    let limit = bounds.into_iter().flatten().min().unwrap_or_default();
    let too_late =
        || failure(408, format!("Timeout error: the request was stopped after {} seconds", limit.as_secs_f64()));
    if limit.is_zero() {
        return too_late();
    }
    tokio::time::timeout(limit, within(limit, next.run(request))).await.unwrap_or_else(|_| too_late())
}

fn asked(request: &Request) -> Result<Option<Duration>> {
    let Timeout { timeout } = parameters(request.uri())?;
    let Some(text) = timeout else { return Ok(None) };
    match text.parse() {
        Ok(0) => {
            let why = "value 0 invalid, must be 1 or larger".to_owned();
            Err(Error::Validation { part: "query parameters", field: "timeout".into(), why })
        }
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(error) => Err(Error::Parameters(format!("timeout: {error}"))),
    }
}
