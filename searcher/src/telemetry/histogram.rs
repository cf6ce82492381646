//! A fixed-size histogram of durations that many threads fill at once.
//!
//! Log-linear: every power of two is cut into [`SPLIT`] equal buckets, so that a bucket is at most 1/32 of its lower
//! bound wide, and a quantile read from a bucket's middle is off by at most 1.6 %. The crates that do this either
//! take a lock for each value or allocate as the range grows; this one is one relaxed addition into memory that never
//! grows, which is what the hot path of every request should pay.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crossbeam_utils::CachePadded;

/// Buckets per power of two; a power of two itself.
const SPLIT: u64 = 32;
const SPLIT_BITS: u32 = SPLIT.ilog2();
/// Values are microseconds; all above 2^36 (19 hours) share the last bucket.
const VALUE_BITS: u32 = 36;
const BUCKETS: usize = ((VALUE_BITS - SPLIT_BITS + 1) as usize) << SPLIT_BITS;
/// Copies of a histogram, so that threads do not fight for a cache line. Four keep a histogram under 33 KB.
const STRIPES: usize = 4;

/// The bucket of a value. Values below [`SPLIT`] have one each.
fn bucket(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS) - 1);
    if value < SPLIT {
        return usize::try_from(value).unwrap_or(0);
    }
    let octave = value.ilog2() - SPLIT_BITS;
    let bucket = (u64::from(octave) << SPLIT_BITS) + (value >> octave);
    usize::try_from(bucket).unwrap_or(BUCKETS - 1)
}

/// The smallest value of a bucket, and how many values share it.
fn bounds(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < 2 * SPLIT {
        return (bucket, 1);
    }
    let octave = (bucket >> SPLIT_BITS) - 1;
    ((SPLIT + (bucket & (SPLIT - 1))) << octave, 1 << octave)
}

/// Which stripe this thread writes to: threads take turns when they first record anything.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Relaxed) % STRIPES;
    }
    MINE.with(|mine| *mine)
}

struct Stripe {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// Durations in microseconds. Memory is taken when the first value comes and never grows.
#[derive(Default)]
pub struct Histogram {
    stripes: OnceLock<Box<[CachePadded<Stripe>]>>,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&self, micros: u64) {
        let stripes = self.stripes.get_or_init(|| {
            let empty = || Stripe { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) };
            (0..STRIPES).map(|_| CachePadded::new(empty())).collect()
        });
        let stripe = &stripes[stripe()];
        stripe.counts[bucket(micros)].fetch_add(1, Relaxed);
        stripe.sum.fetch_add(micros, Relaxed);
    }

    /// What has been counted. Values recorded meanwhile may or may not be in it.
    pub fn read(&self) -> Counts {
        let mut counts = Counts { buckets: vec![0; BUCKETS], count: 0, sum: 0 };
        for stripe in self.stripes.get().into_iter().flatten() {
            for (total, count) in counts.buckets.iter_mut().zip(&stripe.counts) {
                *total += count.load(Relaxed);
            }
            counts.sum += stripe.sum.load(Relaxed);
        }
        counts.count = counts.buckets.iter().sum();
        counts
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("count", &self.read().count).finish_non_exhaustive()
    }
}

/// A histogram's content at one moment.
#[derive(Clone, Debug)]
pub struct Counts {
    buckets: Vec<u64>,
    /// Values counted.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum: u64,
}

impl Counts {
    /// The value below or at which the fraction `q` of all values lies, to 1.6 %; 0 when there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "q is a fraction: the rank fits")]
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let (low, width) = bounds(bucket);
                return low as f64 + (width - 1) as f64 / 2.0;
            }
        }
        0.0
    }

    /// How many values are at most `micros`, up to the width of a bucket.
    #[must_use]
    pub fn at_most(&self, micros: u64) -> u64 {
        self.buckets[..=bucket(micros)].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_tile_the_range() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let (low, width) = bounds(at);
            assert_eq!(low, next, "bucket {at}");
            assert_eq!((bucket(low), bucket(low + width - 1)), (at, at));
            assert!(width == 1 || width * SPLIT <= low, "bucket {at} is wider than 1/{SPLIT}");
            next = low + width;
        }
        assert_eq!(next, 1 << VALUE_BITS);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn an_empty_histogram_is_zero() {
        let counts = Histogram::default().read();
        assert_eq!((counts.count, counts.sum, counts.quantile(0.99), counts.at_most(u64::MAX)), (0, 0, 0.0, 0));
    }

    #[test]
    fn threads_lose_nothing() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|value| histogram.record(value)));
            }
        });
        let counts = histogram.read();
        assert_eq!((counts.count, counts.sum), (80_000, 8 * (9_999 * 10_000 / 2)));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_exact_ones(
            mut values in prop::collection::vec(prop_oneof![0u64..64, 0u64..100_000, 0u64..1 << 36], 1..500),
            q in 0.0f64..=1.0,
        ) {
            let histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            values.sort_unstable();
            #[expect(clippy::cast_possible_truncation, reason = "at most 500")]
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1] as f64;
            let found = histogram.read().quantile(q);
            prop_assert!((found - exact).abs() <= exact / SPLIT as f64, "{found} for {exact}");
        }
    }
}
