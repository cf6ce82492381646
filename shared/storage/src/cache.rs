//! Skeleton: the storage worktree replaces this.
use std::{path::PathBuf, sync::Arc};

use crate::{Collection, Result, SegmentEntry, Store};

/// Where and how much.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Directory; `None` keeps segments in memory only.
    pub dir: Option<PathBuf>,
    /// Budget in bytes.
    pub bytes_max: u64,
    /// Ask the kernel to read mapped files ahead (`MADV_WILLNEED`).
    pub populate: bool,
}

/// A segment's bytes on local disk (mapped) or in memory.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Whether it was there already.
    pub hit: bool,
    bytes: Arc<Vec<u8>>,
}

impl AsRef<[u8]> for Cached {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Segment files on local disk, under a budget.
#[derive(Debug)]
pub struct Cache {}

impl Cache {
    /// Opens or creates the cache directory and sweeps what a dead process left.
    pub fn open(options: CacheOptions) -> Result<Self> {
        let _ = options;
        unimplemented!()
    }
    /// The bytes of a segment, fetched at most once however many ask. `store` may be metered.
    pub async fn segment(
        &self,
        store: &Store,
        collection: &Collection,
        shard: u32,
        entry: &SegmentEntry,
    ) -> Result<Cached> {
        let _ = (store, collection, shard, entry);
        unimplemented!()
    }
}
