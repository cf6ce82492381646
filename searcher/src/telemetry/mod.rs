//! What the searcher counts about itself, cheaply enough to count always.
//!
//! Every counter lives in a table whose size is fixed when the process starts: endpoints are those of the router,
//! statuses and strategies are enums. Nothing a client sends can add a label.

mod histogram;
mod prometheus;
mod report;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cairn_engine::segment::Strategy;
use cairn_model::Usage;
use crossbeam_utils::CachePadded;

use crate::api::route::Route;

pub use histogram::{Counts, Histogram};
pub use prometheus::render;

/// The statuses that this server answers with; others are counted as the last, 0.
const STATUSES: [u16; 16] = [200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 501, 503, 0];

const STRATEGIES: [Strategy; Strategy::ALL.len()] = Strategy::ALL;

/// Counters of one endpoint, on cache lines of their own.
#[derive(Debug, Default)]
struct EndpointCounters {
    durations: Histogram,
    statuses: CachePadded<[AtomicU64; STATUSES.len()]>,
}

/// Sums of [`Usage`] over all requests, in the order of [`Usage::counters`].
#[derive(Debug, Default)]
struct UsageCounters([CachePadded<AtomicU64>; Usage::COUNTERS]);

impl UsageCounters {
    fn add(&self, usage: &Usage) {
        let mut usage = *usage;
        for (counter, value) in self.0.iter().zip(usage.counters()) {
            if *value > 0 {
                counter.fetch_add(*value, Relaxed);
            }
        }
    }

    fn read(&self) -> Usage {
        let mut usage = Usage::default();
        usage.counters().into_iter().zip(&self.0).for_each(|(value, counter)| *value = counter.load(Relaxed));
        usage
    }
}

/// What the hot tier counts.
#[derive(Debug, Default)]
pub struct HeatCounters {
    /// Bytes of hot copies, those being made included.
    pub bytes: AtomicU64,
    /// Hot copies.
    pub segments: AtomicU64,
    /// Copies made so far.
    pub expansions: AtomicU64,
    /// Copies dropped so far for want of memory or for a hotter segment.
    pub drops: AtomicU64,
}

/// All counters of one process.
#[derive(Debug)]
pub struct Telemetry {
    started: std::time::Instant,
    started_unix_ms: i64,
    endpoints: Vec<(Route, EndpointCounters)>,
    /// Requests that no route took.
    unmatched: EndpointCounters,
    strategies: [Histogram; STRATEGIES.len()],
    in_flight: CachePadded<AtomicI64>,
    /// Requests whose client went away before the answer.
    abandoned: CachePadded<AtomicU64>,
    usage: UsageCounters,
    heat: Arc<HeatCounters>,
}

impl Telemetry {
    /// Counters for these endpoints.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = Route>) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            started: std::time::Instant::now(),
            started_unix_ms: i64::try_from(since.as_millis()).unwrap_or(0),
            endpoints: endpoints.into_iter().map(|endpoint| (endpoint, EndpointCounters::default())).collect(),
            unmatched: EndpointCounters::default(),
            strategies: Default::default(),
            in_flight: CachePadded::default(),
            abandoned: CachePadded::default(),
            usage: UsageCounters::default(),
            heat: Arc::default(),
        }
    }

    /// Counts a request as in flight until the guard is finished or dropped.
    pub fn begin(&self, method: &str, route: Option<&str>) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        let counters = route
            .and_then(|path| self.endpoints.iter().find(|(e, _)| e.path == path && e.method == method))
            .map_or(&self.unmatched, |(_, counters)| counters);
        InFlight { telemetry: self, counters, started: std::time::Instant::now(), finished: false }
    }

    /// Counts the search of one segment.
    pub fn searched(&self, strategy: Strategy, took: Duration) {
        if let Some(at) = STRATEGIES.iter().position(|known| *known == strategy) {
            self.strategies[at].record(micros(took));
        }
    }

    /// Counters of the hot tier, for whoever keeps it.
    #[must_use]
    pub fn heat(&self) -> &Arc<HeatCounters> {
        &self.heat
    }

    /// Adds what a request cost.
    pub fn used(&self, usage: &Usage) {
        self.usage.add(usage);
    }
}

/// A request that has not been answered yet.
#[derive(Debug)]
pub struct InFlight<'a> {
    telemetry: &'a Telemetry,
    counters: &'a EndpointCounters,
    started: std::time::Instant,
    finished: bool,
}

impl InFlight<'_> {
    /// The answer is ready.
    pub fn finish(mut self, status: u16) {
        let at = STATUSES.iter().position(|&known| known == status).unwrap_or(STATUSES.len() - 1);
        self.counters.statuses[at].fetch_add(1, Relaxed);
        self.counters.durations.record(micros(self.started.elapsed()));
        self.finished = true;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.telemetry.in_flight.fetch_sub(1, Relaxed);
        if !self.finished {
            self.telemetry.abandoned.fetch_add(1, Relaxed);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
