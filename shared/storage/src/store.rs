//! Skeleton: the storage worktree replaces this.
use std::sync::Arc;

use cairn_model::Usage;

use crate::Result;

/// How to reach a store; every `None` falls back to the usual environment variables of its provider.
#[derive(Clone, Debug, Default)]
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
}

/// Counts requests, bytes and waves of one request. Thread-safe.
#[derive(Debug, Default)]
pub struct Meter {}

impl Meter {
    /// The counts so far: `waves`, `gets`, `puts`, `store_bytes`.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }
}

/// A bucket, a local directory or memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens `s3://bucket/prefix`, `gs://`, `az://`, `memory://`, `file:///dir` or a plain directory path.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Self> {
        let _ = (url, options);
        unimplemented!()
    }
    /// The same store, counting into `meter` as well.
    #[must_use]
    pub fn metered(&self, meter: Arc<Meter>) -> Self {
        let _ = meter;
        unimplemented!()
    }
    /// The URL it was opened with, without secrets.
    pub fn url(&self) -> &str {
        unimplemented!()
    }
    /// x
    pub async fn download(&self, to: &std::path::Path, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<u64> {
        let _ = (to, progress);
        unimplemented!()
    }
    /// Whether the store answers at all (one cheap request); for `/readyz`.
    pub async fn ping(&self) -> Result<()> {
        unimplemented!()
    }
}
