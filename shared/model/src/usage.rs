//! What a request cost, in counts that do not depend on a clock.

use serde::{Deserialize, Serialize};

/// Counters of one request; they add up over segments, shards and leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Distances computed, by quantized code or by original vector.
    pub vectors_scored: u64,
    /// Segments searched.
    pub segments: u64,
    /// Dependent rounds of store requests.
    pub waves: u64,
    /// GET and HEAD requests to the store.
    pub gets: u64,
    /// PUT requests to the store.
    pub puts: u64,
    /// Bytes received from the store.
    pub store_bytes: u64,
    /// Bytes of segments served from local disk or memory instead of the store.
    pub cache_bytes: u64,
    /// Segments found in the cache.
    pub cache_hits: u64,
    /// Segments that had to be fetched.
    pub cache_misses: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.vectors_scored += other.vectors_scored;
        self.segments += other.segments;
        self.waves += other.waves;
        self.gets += other.gets;
        self.puts += other.puts;
        self.store_bytes += other.store_bytes;
        self.cache_bytes += other.cache_bytes;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
    }
}
