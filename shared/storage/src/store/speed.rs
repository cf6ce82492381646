//! How fast a store answers: what decides between many small requests and few large ones.
//!
//! The rule: latency is the median time to the first byte, bandwidth the median rate after it, each over the last [`RECENT`] answers that say
//! something about it; what was assumed at first counts as so many answers. So neither follows fewer than five answers, however early, late, slow
//! or quick these were. (Bandwidth was once told from the whole time of an answer less the mean latency: an answer whose first byte came early then
//! looked several times as quick as it was.)

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Bytes of an answer from which its time says something about throughput.
const LARGE_BYTES: u64 = 256 << 10;
/// Answers that are remembered. Odd, so that one of them is the median.
const RECENT: usize = 9;
/// Of an answer's time its body takes at least this part: a body that came with its first byte does not show an endless bandwidth.
const BODY_SHARE: f64 = 0.1;

/// What a request costs in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Seconds until the first byte of an answer.
    pub latency_s: f64,
    /// Bytes a second over one connection, after that.
    pub bytes_per_s: f64,
}

impl Pace {
    /// An object store in the same region, as published: tens of milliseconds, and some 80 MB/s a connection.
    pub const REMOTE: Self = Self { latency_s: 0.03, bytes_per_s: 80e6 };
    /// A directory or memory of this machine.
    pub const LOCAL: Self = Self { latency_s: 0.000_1, bytes_per_s: 1.5e9 };

    /// Bytes that arrive in the time of one round trip: reading so many needlessly costs no more than asking once more.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    pub fn bytes_per_trip(&self) -> u64 {
        (self.latency_s * self.bytes_per_s).max(0.0) as u64
    }

    /// Seconds for so many bytes over so many connections.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn seconds(&self, bytes: u64, connections: u64) -> f64 {
        self.latency_s + bytes as f64 / (self.bytes_per_s * connections.max(1) as f64)
    }
}

/// The last few measurements of something.
#[derive(Debug)]
struct Recent {
    values: [f64; RECENT],
    oldest: usize,
}

impl Recent {
    fn new(assumed: f64) -> Self {
        Self { values: [assumed; RECENT], oldest: 0 }
    }

    fn learn(&mut self, value: f64) {
        self.values[self.oldest] = value;
        self.oldest = (self.oldest + 1) % RECENT;
    }

    fn median(&self) -> f64 {
        let mut sorted = self.values;
        sorted.sort_by(f64::total_cmp);
        sorted[RECENT / 2]
    }
}

/// What the last answers of a process took.
#[derive(Debug)]
pub(super) struct Speed(Mutex<(Recent, Recent)>);

impl Speed {
    pub(super) fn new(first: Pace) -> Self {
        Self(Mutex::new((Recent::new(first.latency_s), Recent::new(first.bytes_per_s))))
    }

    pub(super) fn pace(&self) -> Pace {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pace { latency_s: recent.0.median(), bytes_per_s: recent.1.median() }
    }

    /// Learns from an answer of so many bytes: how long its first byte took, and how long the rest after that.
    pub(super) fn learn(&self, bytes: u64, [first, rest]: [Duration; 2]) {
        let [first, rest] = [first, rest].map(|time| time.as_secs_f64());
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.0.learn(first);
        if bytes >= LARGE_BYTES {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let found = bytes as f64 / rest.max((first + rest) * BODY_SHARE).max(1e-6);
            recent.1.learn(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
    use rand_distr::{Distribution as _, LogNormal};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn paces_follow_what_is_measured() {
        let speed = Speed::new(Pace::REMOTE);
        for _ in 0..RECENT {
            speed.learn(1_000, [5 * MS, Duration::ZERO]);
            speed.learn(10 << 20, [5 * MS, 100 * MS]);
            // Says nothing about bandwidth.
            speed.learn(100 << 10, [5 * MS, 9_000 * MS]);
        }
        let pace = speed.pace();
        assert!((pace.latency_s - 0.005).abs() < 1e-4, "{pace:?}");
        assert!((pace.bytes_per_s / 1e6 - 104.9).abs() < 0.1, "{pace:?}");
        assert!((520_000..530_000).contains(&pace.bytes_per_trip()));
        assert!((pace.seconds(104_857_600, 1) - 1.005).abs() < 0.01);
    }

    #[test]
    fn four_answers_change_nothing_and_a_body_is_never_free() {
        let speed = Speed::new(Pace::REMOTE);
        (0..4).for_each(|_| speed.learn(1 << 20, [MS / 10, Duration::ZERO]));
        assert_eq!(speed.pace(), Pace::REMOTE);
        (0..4).for_each(|_| speed.learn(1 << 20, [100 * MS, Duration::ZERO]));
        let pace = speed.pace();
        assert!((pace.bytes_per_s - 1_048_576.0 / 0.01).abs() < 1.0, "a tenth of the whole time: {pace:?}");
    }

    /// Lognormal first bytes of 30 ms, 120 ms at the 99th percentile, and 80 MB/s after that: a file of 54 MB is read by ranges whatever came
    /// first. A process that has answered one query has read a manifest, a head, and ranges in two waves.
    #[test]
    fn latency_that_varies_is_not_taken_for_bandwidth() {
        const FILE_BYTES: u64 = 54 << 20;
        let first_byte_s = LogNormal::new(0.03_f64.ln(), 4_f64.ln() / 2.326).unwrap();
        for seed in 0..5_000 {
            let (mut random, speed) = (StdRng::seed_from_u64(seed), Speed::new(Pace::REMOTE));
            let mut sizes: Vec<u32> = vec![4 << 10, 900 << 10];
            sizes.extend((0..14).map(|_| random.random_range(20_000..600_000)));
            for bytes in sizes {
                let first = Duration::from_secs_f64(first_byte_s.sample(&mut random));
                // Timers are late.
                let rest = Duration::from_secs_f64(f64::from(bytes) / 80e6 + random.random_range(0.0..0.001));
                speed.learn(bytes.into(), [first, rest]);
            }
            let pace = speed.pace();
            // Less where small bodies came after late first bytes: that is on the safe side.
            assert!((40e6..=80.1e6).contains(&pace.bytes_per_s), "seed {seed}: {pace:?}");
            assert!((0.01..0.085).contains(&pace.latency_s), "seed {seed}: {pace:?}");
            let by_ranges = pace.seconds(4 << 20, 4) + 2.0 * pace.latency_s;
            assert!(by_ranges < pace.seconds(FILE_BYTES, 4), "seed {seed}: {pace:?}");
        }
    }
}
