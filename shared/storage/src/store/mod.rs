//! The bucket, local directory or memory that holds everything, behind one type.
//!
//! | file | what |
//! |---|---|
//! | `keys` | every object key |
//! | `open` | from a URL to a client |
//! | `read`, `write`, `upload` | the requests: conditional GET, ranges, listings; conditional PUT; large files |
//! | `download` | a file of somebody else's, named by a URL |
//! | `local` | a directory with compare-and-swap |
//! | `far` | the same objects, later: seeded delays and bandwidths, for benchmarks |
//! | `hedge` | asks again for what is late |
//! | `meter` | counts requests, bytes and waves |
//! | `speed` | how fast it answers |
//! | `retry`, `cause` | backoff and deadlines; what an error means |
//! | `probe` | refuses a store that ignores conditions |
//! | `doctor` | examines a store thoroughly, and says what is wrong with it |

mod cause;
pub mod doctor;
mod download;
#[cfg(any(test, feature = "far"))]
mod far;
mod hedge;
pub mod keys;
mod local;
mod meter;
mod open;
mod probe;
mod read;
mod retry;
mod speed;
#[cfg(test)]
mod tests;
mod upload;
mod write;

use std::{fmt, sync::Arc, time::Duration};

use object_store::{ObjectStore, path::Path};
use tokio::sync::OnceCell;

#[cfg(any(test, feature = "far"))]
pub use far::Delays;
pub use keys::Key;
pub use meter::Meter;
pub use read::{Fetched, Found, Object, Stat};
pub use retry::Retry;
pub use speed::Pace;
pub(crate) use upload::Expected;
pub use write::Put;

use crate::Result;
use hedge::Hedge;
use meter::Meters;
use speed::Speed;

/// Longest time for one request with all its retries, unless told otherwise.
pub const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// Most requests of one wave in flight at once.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// How to reach a store; every `None` falls back to the usual environment variables of its provider.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// S3 endpoint, for MinIO, LocalStack and others; `http://` is allowed.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Access key.
    pub access_key_id: Option<String>,
    /// Secret key.
    pub secret_access_key: Option<String>,
    /// Longest time for one request with all its retries, in milliseconds (default 30,000).
    pub request_timeout_ms: Option<u64>,
    /// Never ask again for what is late.
    pub no_hedge: bool,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options end up in logs; secrets must not.
        let secret = self.secret_access_key.as_ref().map(|_| "...");
        f.debug_struct("StoreOptions")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &secret)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("no_hedge", &self.no_hedge)
            .finish()
    }
}

/// Which version of an object: what a conditional request compares. Opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    etag: Option<String>,
    /// Google's generation number; other stores have none or do not need it.
    version: Option<String>,
}

impl Version {
    fn is_same(&self, other: &Self) -> bool {
        self.etag.is_some() && self.etag == other.etag
    }
}

/// A bucket, a local directory or memory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    meters: Meters,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    url: String,
    retry: Retry,
    speed: Speed,
    hedge: Hedge,
    /// Set once the store has proved that it honours conditions.
    safe: OnceCell<()>,
}

impl Store {
    /// Opens `s3://bucket/prefix`, `gs://`, `az://`, `memory://`, `file:///dir` or a plain directory path. Sends no
    /// request, creates no directory; every `memory://` is a new, empty store.
    ///
    /// # Errors
    /// `Invalid` names what is wrong with the URL or the options.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Self> {
        let timeout = Duration::from_millis(options.request_timeout_ms.unwrap_or(REQUEST_TIMEOUT_MS).max(1));
        let retry = Retry::new(timeout, rand::random());
        let (url, options, hedge) = (url.to_owned(), options.clone(), !options.no_hedge);
        // Building a client reads certificates and asks the file system: not on an async thread.
        let built =
            tokio::task::spawn_blocking(move || open::open(&url, &options, &retry).map(|opened| (opened, retry)));
        let (opened, retry) = built.await.map_err(|error| crate::Error::unavailable("store", error))??;
        Ok(Self::assemble(opened.objects, opened.root, opened.url, retry, hedge))
    }

    /// A store over any client, never asked twice for what is late: for tests that put faults in between.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, url: &str, retry: Retry) -> Self {
        Self::assemble(objects, Path::default(), url.to_owned(), retry, false)
    }

    /// The same objects far away: behind delays that come from `seed`, with nothing learnt yet of how fast it answers.
    #[cfg(any(test, feature = "far"))]
    #[must_use]
    pub fn far(&self, delays: Delays, seed: u64) -> Self {
        let Inner { objects, root, url, retry, .. } = &*self.inner;
        let inner = Inner {
            objects: Arc::new(far::Far::new(Arc::clone(objects), delays, seed)),
            root: root.clone(),
            url: url.clone(),
            retry: Retry::new(retry.timeout, seed),
            speed: Speed::new(Pace::REMOTE),
            hedge: Hedge::new(true),
            safe: OnceCell::new(),
        };
        Self { inner: Arc::new(inner), meters: self.meters.clone() }
    }

    fn assemble(objects: Arc<dyn ObjectStore>, root: Path, url: String, retry: Retry, hedge: bool) -> Self {
        let is_local = ["file:", "memory:", "/"].iter().any(|start| url.starts_with(start));
        let speed = Speed::new(if is_local { Pace::LOCAL } else { Pace::REMOTE });
        let hedge = Hedge::new(hedge && !is_local);
        let inner = Inner { objects, root, url, retry, speed, hedge, safe: OnceCell::new() };
        Self { inner: Arc::new(inner), meters: Meters::default() }
    }

    /// The same store, counting into `meter` as well.
    #[must_use]
    pub fn metered(&self, meter: Arc<Meter>) -> Self {
        Self { inner: Arc::clone(&self.inner), meters: self.meters.with(meter) }
    }

    /// The URL it was opened with, without secrets; a directory as an absolute path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// How fast it has been answering lately.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.inner.speed.pace()
    }

    /// An object's address, for messages.
    #[must_use]
    pub fn address(&self, key: &Key) -> String {
        format!("{}/{}", self.inner.url.trim_end_matches('/'), key.as_str())
    }

    /// A seed for others' jitter, which follows from this store's own.
    pub(crate) fn seed(&self) -> u64 {
        self.inner.retry.draw()
    }

    fn path(&self, key: &Key) -> Path {
        key.under(&self.inner.root)
    }
}

/// The client of a local directory, to put faults over.
#[cfg(test)]
pub(crate) fn local_client(root: &std::path::Path) -> Arc<dyn ObjectStore> {
    let prefix = Path::from_absolute_path(root).unwrap();
    Arc::new(object_store::prefix::PrefixStore::new(local::LocalStore::new(root.to_owned()), prefix))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.url).finish()
    }
}
