//! One group of segments and those leaves that can answer for it: the first answer wins.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    Part, Raced,
    endpoint::{Endpoint, patience},
    transport::Transport,
};
use crate::error::Error;

/// Leaves that are asked because another is slow. Those asked because another failed are not counted.
pub(super) const HEDGES_MAX: usize = 2;

/// Who may run.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) endpoints: &'a [Arc<Endpoint>],
    pub(super) transport: &'a dyn Transport,
    /// How many are asked because another is slow.
    pub(super) hedges: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request is wrong: so it is everywhere.
    Refused(Error),
    /// This leaf did not answer; another may.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The first answer to `frame` from the leaves in `order`, within `limit`. Whoever is still at it then is dropped, and so stops.
pub(super) async fn first(
    field: Field<'_>,
    order: &[usize],
    (frame, queries): (Bytes, usize),
    limit: Duration,
) -> Raced {
    let raced = tokio::time::timeout(limit, race(field, order, &frame, queries)).await;
    let raced = raced.unwrap_or_else(|_| Err(Failure::Failed(format!("no answer within {} ms", limit.as_millis()))));
    if let (Err(Failure::Failed(why)), Some(first)) = (&raced, order.first()) {
        tracing::warn!(leaf = field.endpoints[*first].url, why, "segments without an answer");
    }
    raced
}

async fn race(field: Field<'_>, order: &[usize], frame: &Bytes, queries: usize) -> Raced {
    let Field { endpoints, transport, hedges } = field;
    // Those that failed a moment ago come last.
    let (down, up): (Vec<usize>, Vec<usize>) = order.iter().partition(|&&at| endpoints[at].is_down());
    let mut next = up.into_iter().chain(down).peekable();
    let mut running = FuturesUnordered::new();
    // Who is running, in the order in which they began.
    let mut began: Vec<usize> = Vec::new();
    let mut hedges = hedges;
    let mut failure = Failure::Failed("there are no leaves".to_owned());
    let mut overtake = Instant::now();
    loop {
        // Whoever is next begins, at first and then whenever one failed or is slow.
        if let Some(at) = next.next() {
            overtake = Instant::now() + patience(endpoints, at);
            began.push(at);
            running.push(ask(&endpoints[at], transport, at, (frame.clone(), queries)));
        }
        tokio::select! {
            biased;
            answer = running.next() => match answer {
                Some((at, Err(Failure::Failed(why)))) => {
                    began.retain(|other| *other != at);
                    failure = Failure::Failed(why);
                }
                Some((at, settled)) => {
                    let before = began.iter().take_while(|other| **other != at);
                    before.for_each(|slower| endpoints[*slower].overtaken());
                    return settled;
                }
                None => return Err(failure),
            },
            () = tokio::time::sleep_until(overtake), if hedges > 0 && next.peek().is_some() => {
                hedges -= 1;
            }
        }
        if running.is_empty() && next.peek().is_none() {
            return Err(failure);
        }
    }
}

async fn ask(
    endpoint: &Endpoint,
    transport: &dyn Transport,
    at: usize,
    (frame, queries): (Bytes, usize),
) -> (usize, Raced) {
    let began = Instant::now();
    let answer = transport.send(&endpoint.url, frame).await;
    let answer = answer.and_then(|frame| Part::decode(&frame, queries).map_err(|e| Failure::Failed(e.to_string())));
    match &answer {
        Ok(_) => endpoint.answered(began.elapsed()),
        Err(Failure::Refused(_)) => {}
        Err(Failure::Failed(why)) => {
            tracing::debug!(leaf = endpoint.url, why, "a leaf failed");
            endpoint.failed();
        }
    }
    (at, answer)
}
