//! A store that is far away: it answers as the one below does, only later. For benchmarks and tests.
//!
//! Every request waits for its first byte, lognormally distributed; a body then comes no faster than one connection, and all bodies together no
//! faster than the bandwidth in all. The delays come from a seed: the n-th request of a store waits equally long in every run.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_model::ErrorKind;
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use rand::{SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, LogNormal};
use tokio::time::{Instant, sleep_until};

use crate::Error;

/// The standard normal distribution's 99th percentile.
const NORMAL_P99: f64 = 2.326_347_874_040_841;
/// Bytes that a connection takes of the common bandwidth at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// How late timers may be.
const TICK: Duration = Duration::from_millis(2);

/// How slow a store is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delays {
    first_byte_ms: LogNormal<f64>,
    connection_bytes_per_s: f64,
    all_bytes_per_s: f64,
}

impl Delays {
    /// Milliseconds to the first byte of an answer that make sense.
    pub const LATENCY_MS: RangeInclusive<f64> = 0.001..=60_000.0;
    /// Megabytes a second that make sense.
    pub const BANDWIDTH_MB_S: RangeInclusive<f64> = 0.1..=1_000_000.0;

    /// Median and 99th percentile of the time to a first byte, in milliseconds; then megabytes (10^6 bytes) a second over one connection, and over
    /// all together.
    ///
    /// # Errors
    /// `Invalid` when a figure is out of its range, or the percentile is below the median.
    pub fn new([p50_ms, p99_ms]: [f64; 2], [connection_mb_s, all_mb_s]: [f64; 2]) -> std::result::Result<Self, Error> {
        let invalid = |what: &str, why: String| Error::new(ErrorKind::Invalid, what, why);
        for ms in [p50_ms, p99_ms] {
            if !Self::LATENCY_MS.contains(&ms) {
                return Err(invalid("latency", format!("{ms} ms is not from {:?}", Self::LATENCY_MS)));
            }
        }
        for mb_s in [connection_mb_s, all_mb_s] {
            if !Self::BANDWIDTH_MB_S.contains(&mb_s) {
                return Err(invalid("bandwidth", format!("{mb_s} MB/s is not from {:?}", Self::BANDWIDTH_MB_S)));
            }
        }
        if p99_ms < p50_ms {
            return Err(invalid("latency", format!("the 99th percentile, {p99_ms} ms, is below the median, {p50_ms}")));
        }
        let first_byte_ms = LogNormal::new(p50_ms.ln(), (p99_ms / p50_ms).ln() / NORMAL_P99);
        let first_byte_ms = first_byte_ms.map_err(|error| invalid("latency", error.to_string()))?;
        Ok(Self { first_byte_ms, connection_bytes_per_s: connection_mb_s * 1e6, all_bytes_per_s: all_mb_s * 1e6 })
    }
}

/// A client behind delays.
#[derive(Debug)]
pub(super) struct Far {
    inner: Arc<dyn ObjectStore>,
    line: Arc<Line>,
}

/// What all requests share.
#[derive(Debug)]
struct Line {
    delays: Delays,
    draw: Mutex<StdRng>,
    /// When the common bandwidth is free again.
    free: Mutex<Instant>,
}

impl Far {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, delays: Delays, seed: u64) -> Self {
        let draw = Mutex::new(StdRng::seed_from_u64(seed));
        Self { inner, line: Arc::new(Line { delays, draw, free: Mutex::new(Instant::now()) }) }
    }
}

impl Line {
    /// When the first byte of a request that begins now arrives.
    fn first_byte(&self) -> Instant {
        let ms = self.delays.first_byte_ms.sample(&mut *self.draw.lock().unwrap_or_else(PoisonError::into_inner));
        Instant::now() + Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::MAX)
    }

    /// An answer without a body. What the store below takes is part of the delay, not added to it.
    async fn later<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let first_byte = self.first_byte();
        let answer = request.await;
        sleep_until(first_byte).await;
        answer
    }

    /// Until so many bytes have passed, of which the first goes now.
    async fn pass(&self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        let seconds = |bytes: usize, per_s: f64| Duration::from_secs_f64(bytes as f64 / per_s);
        let begun = Instant::now();
        let mut passed = 0;
        while passed < bytes {
            let chunk = CHUNK_BYTES.min(bytes - passed);
            passed += chunk;
            let common = {
                let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
                // Who is woken a tick late has not left the line idle.
                *free = (*free).max(Instant::now() - TICK) + seconds(chunk, self.delays.all_bytes_per_s);
                *free
            };
            sleep_until(common.max(begun + seconds(passed, self.delays.connection_bytes_per_s))).await;
        }
    }
}

#[async_trait]
impl ObjectStore for Far {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.line.pass(payload.content_length()).await;
        self.line.later(self.inner.put_opts(location, payload, opts)).await
    }

    /// Only the beginning of an upload waits: what is measured here are reads.
    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.line.later(self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let line = Arc::clone(&self.line);
        let read = async {
            let mut found = self.inner.get_opts(location, options).await?;
            let (meta, range) = (found.meta.clone(), found.range.clone());
            let (attributes, extensions) = (found.attributes.clone(), std::mem::take(&mut found.extensions));
            Ok((found.bytes().await?, meta, range, attributes, extensions))
        };
        let (bytes, meta, range, attributes, extensions) = self.line.later(read).await?;
        let body = async move {
            line.pass(bytes.len()).await;
            Ok::<Bytes, object_store::Error>(bytes)
        };
        let payload = GetResultPayload::Stream(stream::once(body).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, line) = (Arc::clone(&self.inner), Arc::clone(&self.line));
        let deleted = locations.then(move |location| {
            let (inner, line) = (Arc::clone(&inner), Arc::clone(&line));
            async move {
                let location = location?;
                line.later(inner.delete(&location)).await?;
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (listing, line) = (self.inner.list(prefix), Arc::clone(&self.line));
        let all = async move { line.later(listing.try_collect::<Vec<_>>()).await };
        all.map_ok(|found| stream::iter(found.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.line.later(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.line.later(self.inner.copy_opts(from, to, options)).await
    }
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Far({})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Store, StoreOptions,
        store::{Fetched, Key},
        testing::conformance,
    };

    const USUAL: [f64; 2] = [30.0, 120.0];

    async fn memory() -> Store {
        Store::open("memory://", &StoreOptions::default()).await.unwrap()
    }

    /// Milliseconds that a reading of an object takes, time standing still but for waiting.
    async fn reading_ms(store: &Store, key: &Key) -> f64 {
        let begun = Instant::now();
        assert!(matches!(store.get(key, None, u64::MAX).await.unwrap(), Fetched::Found(_)));
        begun.elapsed().as_secs_f64() * 1e3
    }

    #[tokio::test]
    async fn a_store_that_is_far_conforms() {
        let delays = Delays::new([0.01, 0.02], [100_000.0, 100_000.0]).unwrap();
        conformance::check(&memory().await.far(delays, 1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn first_bytes_have_the_percentiles_that_were_asked_for_and_come_from_a_seed() {
        let near = memory().await;
        let key = Key::probe(ulid::Ulid::nil());
        near.put_if_absent(&key, Bytes::from_static(b"pebble")).await.unwrap();
        let drawn = async |seed| {
            let far = near.far(Delays::new(USUAL, [80.0, 600.0]).unwrap(), seed);
            let mut ms = Vec::new();
            for _ in 0..2_000 {
                ms.push(reading_ms(&far, &key).await);
            }
            ms
        };
        let (mut ms, again, other) = (drawn(7).await, drawn(7).await, drawn(8).await);
        assert_eq!(ms, again);
        assert_ne!(ms, other);
        ms.sort_unstable_by(f64::total_cmp);
        // Timers tick in milliseconds.
        assert!((28.0..34.0).contains(&ms[1_000]), "{}", ms[1_000]);
        assert!((100.0..145.0).contains(&ms[1_980]), "{}", ms[1_980]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_the_time_of_its_connection_and_of_all_together() {
        let near = memory().await;
        let key = Key::probe(ulid::Ulid::nil());
        near.put_if_absent(&key, vec![7u8; 8_000_000].into()).await.unwrap();
        let alone = near.far(Delays::new([1.0, 1.0], [80.0, 600.0]).unwrap(), 1);
        let ms = reading_ms(&alone, &key).await;
        assert!((100.0..106.0).contains(&ms), "8 MB at 80 MB/s: {ms}");
        let narrow = near.far(Delays::new([1.0, 1.0], [80.0, 160.0]).unwrap(), 1);
        let begun = Instant::now();
        futures::future::join_all((0..4).map(|_| reading_ms(&narrow, &key))).await;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        assert!((200.0..210.0).contains(&ms), "32 MB at 160 MB/s: {ms}");
    }

    #[test]
    fn impossible_delays_are_refused() {
        for (latency, bandwidth, word) in [
            ([0.0, 1.0], [1.0, 1.0], "latency"),
            ([2.0, 1.0], [1.0, 1.0], "latency"),
            ([1.0, f64::NAN], [1.0, 1.0], "latency"),
            ([1.0, 1e9], [1.0, 1.0], "latency"),
            ([1.0, 1.0], [0.0, 1.0], "bandwidth"),
            ([1.0, 1.0], [1.0, f64::INFINITY], "bandwidth"),
        ] {
            assert!(
                Delays::new(latency, bandwidth).unwrap_err().to_string().contains(word),
                "{latency:?} {bandwidth:?}"
            );
        }
    }
}
