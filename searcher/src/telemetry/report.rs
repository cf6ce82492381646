//! `/telemetry`: the counters as JSON, in the places where Qdrant's own report has them, and Cairn's beside them.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Map, Value, json};

use super::{Counts, EndpointCounters, STATUSES, STRATEGIES, Telemetry};

impl Telemetry {
    /// The report; `collection_count` is how many collections this process has open.
    #[must_use]
    pub fn report(&self, version: &str, collection_count: usize) -> Value {
        let mut responses = Map::new();
        let mut endpoints = Map::new();
        let named = self.endpoints.iter().map(|(e, counters)| (format!("{} {}", e.method, e.path), counters));
        for (name, counters) in named.chain([("unmatched".to_owned(), &self.unmatched)]) {
            let durations = counters.durations.read();
            if durations.count > 0 {
                responses.insert(name.clone(), by_status(counters));
                endpoints.insert(name, quantiles(&durations));
            }
        }
        let strategies: Map<String, Value> = STRATEGIES
            .iter()
            .zip(&self.strategies)
            .map(|(strategy, durations)| (strategy.name().to_owned(), quantiles(&durations.read())))
            .collect();
        let count = usize::try_from(self.in_flight.load(Relaxed)).unwrap_or(0);
        json!({
            "id": "cairn",
            "app": {"name": "cairn", "version": version, "startup": rfc3339(self.started_unix_ms)},
            "collections": {"number_of_collections": collection_count},
            "requests": {"rest": {"responses": responses}, "grpc": {"responses": {}}},
            "cairn": {
                "uptime_s": self.started.elapsed().as_secs(),
                "requests_in_flight": count,
                "requests_abandoned": self.abandoned.load(Relaxed),
                "endpoints": endpoints,
                "strategies": strategies,
                "hot": {
                    "bytes": self.heat.bytes.load(Relaxed),
                    "segments": self.heat.segments.load(Relaxed),
                    "expansions": self.heat.expansions.load(Relaxed),
                    "drops": self.heat.drops.load(Relaxed),
                },
                "usage": self.usage.read(),
            },
        })
    }
}

fn by_status(counters: &EndpointCounters) -> Value {
    let statuses = STATUSES.iter().zip(counters.statuses.iter());
    let counted = statuses.map(|(status, count)| (status.to_string(), count.load(Relaxed)));
    Value::Object(counted.filter(|(_, count)| *count > 0).map(|(k, count)| (k, json!({"count": count}))).collect())
}

fn quantiles(counts: &Counts) -> Value {
    json!({
        "count": counts.count,
        "p50_us": counts.quantile(0.5),
        "p90_us": counts.quantile(0.9),
        "p99_us": counts.quantile(0.99),
        "total_us": counts.sum,
    })
}

fn rfc3339(unix_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(unix_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
