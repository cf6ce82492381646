//! Counts what one request (or one process) asks of a store.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use cairn_model::Usage;

/// Counts requests, bytes and waves. Thread-safe; every attempt of a retried request counts.
///
/// A request that starts after another one has finished may depend on it, so it belongs to a later wave:
/// its wave is one more than the highest wave of all that have finished. Requests in flight together share one.
#[derive(Debug, Default)]
pub struct Meter {
    gets: AtomicU64,
    hedged_gets: AtomicU64,
    puts: AtomicU64,
    bytes_received: AtomicU64,
    wave_started_max: AtomicU64,
    wave_finished_max: AtomicU64,
}

impl Meter {
    /// The counts so far: `waves`, `gets` (GET, HEAD and pages of listings), `hedged_gets`, `puts` (PUT, a part of an upload each)
    /// and `store_bytes`. The rest of the usage is zero: the store does not know it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            waves: self.wave_started_max.load(Relaxed),
            gets: self.gets.load(Relaxed),
            hedged_gets: self.hedged_gets.load(Relaxed),
            puts: self.puts.load(Relaxed),
            store_bytes: self.bytes_received.load(Relaxed),
            ..Usage::default()
        }
    }
}

/// What kind of request is counted. Deletions cost nothing anywhere: they only make a wave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Get,
    Put,
    Delete,
}

/// The meters that a store counts into.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters(Arc<[Arc<Meter>]>);

impl Meters {
    pub(super) fn with(&self, meter: Arc<Meter>) -> Self {
        Self(self.0.iter().cloned().chain([meter]).collect())
    }

    /// Counts a request that starts now. It finishes when the result is dropped, so an abandoned one finishes too.
    pub(super) async fn start(&self, verb: Verb) -> InFlight {
        let request = self.begin(verb);
        if !self.0.is_empty() {
            // A store in memory answers before the next request of the same wave has even started. This lets it start,
            // as it would with any store that takes time.
            tokio::task::yield_now().await;
        }
        request
    }

    fn begin(&self, verb: Verb) -> InFlight {
        let waves = self.0.iter().map(|meter| {
            match verb {
                Verb::Get => meter.gets.fetch_add(1, Relaxed),
                Verb::Put => meter.puts.fetch_add(1, Relaxed),
                Verb::Delete => 0,
            };
            let wave = meter.wave_finished_max.load(Relaxed) + 1;
            meter.wave_started_max.fetch_max(wave, Relaxed);
            wave
        });
        InFlight { waves: waves.collect(), meters: self.clone() }
    }
}

/// A request that has started.
#[derive(Debug)]
pub(super) struct InFlight {
    meters: Meters,
    waves: Vec<u64>,
}

impl InFlight {
    pub(super) fn received(&self, bytes: usize) {
        for meter in self.meters.0.iter() {
            meter.bytes_received.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// The same request a second time, beside the first: no wave of its own.
    pub(super) fn again(&self) {
        for meter in self.meters.0.iter() {
            meter.gets.fetch_add(1, Relaxed);
            meter.hedged_gets.fetch_add(1, Relaxed);
        }
    }

    /// More pages of the same listing.
    pub(super) fn pages(&self, more: u64) {
        for meter in self.meters.0.iter() {
            meter.gets.fetch_add(more, Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        for (meter, wave) in self.meters.0.iter().zip(&self.waves) {
            meter.wave_finished_max.fetch_max(*wave, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_together_is_one_wave() {
        let (meter, other) = (Arc::new(Meter::default()), Arc::new(Meter::default()));
        let meters = Meters::default().with(Arc::clone(&meter)).with(Arc::clone(&other));
        let first: Vec<_> = (0..5).map(|_| meters.begin(Verb::Get)).collect();
        assert_eq!(meter.usage().waves, 1);
        first[0].received(10);
        drop(first);
        let long = meters.begin(Verb::Put);
        drop(meters.begin(Verb::Get));
        let third = meters.begin(Verb::Delete);
        // `long` is of the second wave and still runs; `third` may depend on what finished meanwhile.
        assert_eq!(meter.usage(), Usage { waves: 3, gets: 6, puts: 1, store_bytes: 10, ..Usage::default() });
        drop((long, third));
        assert_eq!(meter.usage(), other.usage());
    }
}
