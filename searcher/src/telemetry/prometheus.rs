//! `/metrics`: the counters in Prometheus' text form.
//!
//! A custom collector over the counters that exist anyway, so that nothing is counted twice.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{Counts, STATUSES, STRATEGIES, Telemetry};

/// Upper bounds of the published buckets, in microseconds.
const BOUNDS: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug)]
struct Scrape(Arc<Telemetry>);

/// The text of a scrape.
#[must_use]
pub fn render(telemetry: &Arc<Telemetry>) -> String {
    let mut registry = Registry::with_prefix("cairn");
    registry.register_collector(Box::new(Scrape(Arc::clone(telemetry))));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    out
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let telemetry = &*self.0;
        let named = telemetry.endpoints.iter().map(|(e, counters)| (e.method, e.path, counters));
        let all: Vec<_> = named.chain([("", "unmatched", &telemetry.unmatched)]).collect();

        let mut requests = encoder.encode_descriptor("requests", "Requests answered", None, MetricType::Counter)?;
        for (method, endpoint, counters) in &all {
            for (status, count) in STATUSES.iter().zip(counters.statuses.iter()) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let status = status.to_string();
                    let labels: Labels<'_> = &[("method", method), ("endpoint", endpoint), ("status", &status)];
                    counter(requests.encode_family(&labels)?, count)?;
                }
            }
        }
        let help = "Time from a request's arrival to its answer";
        let mut durations = encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
        for (method, endpoint, counters) in &all {
            let labels: Labels<'_> = &[("method", method), ("endpoint", endpoint)];
            histogram(&mut durations, labels, &counters.durations.read())?;
        }
        let help = "Time to search one segment, by plan";
        let mut searches =
            encoder.encode_descriptor("segment_search_duration_seconds", help, None, MetricType::Histogram)?;
        for (strategy, durations) in STRATEGIES.iter().zip(&telemetry.strategies) {
            histogram(&mut searches, &[("strategy", strategy.name())], &durations.read())?;
        }
        let heat = &telemetry.heat;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("requests_in_flight", "Requests that are being answered", telemetry.in_flight.load(Relaxed)),
            ("hot_bytes", "Bytes of memory that expanded segments take", signed(heat.bytes.load(Relaxed))),
            ("hot_segments", "Segments that are expanded in memory", signed(heat.segments.load(Relaxed))),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        let usage = telemetry.usage.read();
        for (name, help, value) in [
            ("requests_abandoned", "Requests whose client left first", telemetry.abandoned.load(Relaxed)),
            ("hot_expansions", "Segments expanded in memory so far", heat.expansions.load(Relaxed)),
            ("hot_drops", "Expanded segments dropped for memory or a hotter one", heat.drops.load(Relaxed)),
            ("vectors_scored", "Distances computed", usage.vectors_scored),
            ("segments_searched", "Segments searched", usage.segments),
            ("segments_skipped", "Segments left out because of where they lie", usage.segments_skipped),
            ("store_waves", "Dependent rounds of store requests", usage.waves),
            ("store_gets", "GET, HEAD and LIST requests to the store", usage.gets),
            ("store_hedged_gets", "Second GETs for what was late, among the GETs", usage.hedged_gets),
            ("store_puts", "PUT requests to the store", usage.puts),
            ("store_received_bytes", "Bytes received from the store", usage.store_bytes),
            ("cache_served_bytes", "Bytes of segments served from local disk or memory", usage.cache_bytes),
            ("cache_hits", "Segments found in the cache", usage.cache_hits),
            ("cache_misses", "Segments that had to be fetched", usage.cache_misses),
            ("search_cpu_microseconds", "Processor time that searching segments took", usage.cpu_us),
            ("cost_nanodollars", "Estimated cost of requests, in billionths of a dollar", usage.cost_nanodollars),
        ] {
            counter(encoder.encode_descriptor(name, help, None, MetricType::Counter)?, value)?;
        }
        Ok(())
    }
}

fn counter(mut encoder: MetricEncoder<'_>, value: u64) -> std::fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

/// One labelled histogram; nothing while it is empty, to keep scrapes short.
fn histogram(encoder: &mut MetricEncoder<'_>, labels: Labels<'_>, counts: &Counts) -> std::fmt::Result {
    if counts.count == 0 {
        return Ok(());
    }
    let seconds = |micros: u64| micros as f64 / 1e6;
    let mut below = 0;
    let mut buckets = Vec::with_capacity(BOUNDS.len() + 1);
    for bound in BOUNDS {
        let at_most = counts.at_most(bound);
        buckets.push((seconds(bound), at_most - below));
        below = at_most;
    }
    buckets.push((f64::INFINITY, counts.count - below));
    encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds(counts.sum), counts.count, &buckets, None)
}
