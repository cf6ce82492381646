//! What a request cost, in counts that do not depend on a clock.

use serde::{Deserialize, Serialize};

/// Searches of one query in one segment, by how they were done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Strategies {
    /// By the graph, without a filter.
    pub graph: u64,
    /// By the graph, with a filter.
    pub filtered_graph: u64,
    /// By the graph as it is expanded in memory.
    pub hot: u64,
    /// Outward from the nearest clusters.
    pub clusters: u64,
    /// By all matching points' codes.
    pub scan: u64,
    /// By the originals of all matching points.
    pub exact: u64,
    /// By ranges of a segment that lies far away.
    pub ranges: u64,
    /// Nothing matched.
    pub nothing: u64,
}

/// Bytes of the segments that were searched, by where they lay; each segment of a request once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TierBytes {
    /// Files that are not on local disk.
    pub cold: u64,
    /// Files that are mapped.
    pub warm: u64,
    /// Copies that are expanded in memory.
    pub hot: u64,
}

/// Counters of one request; they add up over segments, shards and leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Distances computed, by quantized code or by original vector.
    pub vectors_scored: u64,
    /// Segments searched.
    pub segments: u64,
    /// Segments left out because of where they lie: of a collection partitioned by space.
    pub segments_skipped: u64,
    /// Dependent rounds of store requests.
    pub waves: u64,
    /// GET and HEAD requests to the store.
    pub gets: u64,
    /// Those of the GETs that were second ones, for what was late.
    pub hedged_gets: u64,
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
    /// How segments were searched.
    pub strategies: Strategies,
    /// Bytes of the segments that were searched, by tier.
    pub tier_bytes: TierBytes,
    /// Microseconds of processor time that searching segments took.
    pub cpu_us: u64,
    /// Billionths of a dollar, estimated by the server's table of prices.
    pub cost_nanodollars: u64,
    /// Other processes that searched segments for this request.
    #[serde(default)]
    pub leaves: u64,
    /// Those of them whose segments are missing in the answer, as the request allowed.
    #[serde(default)]
    pub leaves_failed: u64,
}

impl Usage {
    /// How many counters there are.
    pub const COUNTERS: usize = 26;

    /// All counters, in an order that only grows at its end: frames between a root and its leaves go by it.
    pub fn counters(&mut self) -> [&mut u64; Self::COUNTERS] {
        // Names all fields, so that a new one cannot be forgotten.
        let Self {
            vectors_scored,
            segments,
            segments_skipped,
            waves,
            gets,
            hedged_gets,
            puts,
            store_bytes,
            cache_bytes,
            cache_hits,
            cache_misses,
            strategies: Strategies { graph, filtered_graph, hot, clusters, scan, exact, ranges, nothing },
            tier_bytes: TierBytes { cold, warm, hot: hot_bytes },
            cpu_us,
            cost_nanodollars,
            leaves,
            leaves_failed,
        } = self;
        [
            vectors_scored,
            segments,
            segments_skipped,
            waves,
            gets,
            hedged_gets,
            puts,
            store_bytes,
            cache_bytes,
            cache_hits,
            cache_misses,
            graph,
            filtered_graph,
            hot,
            clusters,
            scan,
            exact,
            ranges,
            nothing,
            cold,
            warm,
            hot_bytes,
            cpu_us,
            cost_nanodollars,
            leaves,
            leaves_failed,
        ]
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, mut other: Self) {
        self.counters().into_iter().zip(other.counters()).for_each(|(sum, value)| *sum += *value);
    }
}
