//! The memory bound: what it is by default, and how it is divided.
//!
//! Of a bound of B bytes ([`Budget`]):
//!
//! | share | for |
//! |---|---|
//! | 1/8 | rows that wait for their shard's turn; more of them go to a temporary file |
//! | 1/8 | ids while they are checked for repetition; more of them go to a temporary file |
//! | 5/8 | building one segment at a time: a shard that needs more becomes several segments |
//! | 1/8 | batches, buffers, the allocator's waste |
//!
//! Where points are partitioned by space, rows pass from one such memory to another, and a sample of them takes up to half of what building
//! may: all before anything is built.
//!
//! The first two and the third overlap little in time, which is where the slack of a real run comes from. Outside the bound are what a
//! source itself demands: its longest line or row, the window of a zstd file (8 MiB up to level 19) and the pages of a Parquet file; and the program (about 30 MiB).
//!
//! Building a segment holds the most at one of two times: while its points are put in the order of their clusters, and while the
//! graph is built. For each point of d dimensions, of e bytes each, with payloads of p bytes, and w the width of a code,
//! which is d rounded up to 64, that is taken to be
//!
//! ```text
//! max(2 * e * d,  e * d + [`BUILD_CODES`] * w + [`BUILD_BYTES_PER_LINK`] * 3m)  +  [`BUILD_PAYLOAD_FACTOR`] * p  +  [`BUILD_BYTES_PER_POINT`]
//! ```
//!
//! without codes for the few kinds of vectors that have none. Of several vectors a point all `e * d` are held, and the rest for one at a time;
//! sparse ones and multivectors count as payload. Vectors are held to the end even where the segment does not keep them. Outside
//! the formula are the candidates that each thread collects for the points of a few clusters at a time: about 3 MiB a
//! thread at an `ef_construct` of 100, in proportion to it. What the C allocator would hold back from one segment to the next it gives back
//! once [`crate::give_memory_back`] was called: with a bound of 64 MiB, five segments of 12,000 x 784 bytes peak at 53 MiB instead of 121.

use bytesize::ByteSize;
use cairn_model::VectorParams;
use cairn_storage::machine::Memory;

use crate::{Error, Result};

/// The smallest bound that is accepted.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// The default where the system does not say what it has.
const UNKNOWN_BYTES: u64 = 2 << 30;

/// What codes are rounded up to, in dimensions.
const CODE_DIMS: u64 = 64;
/// Bytes per dimension of a code: both planes, and the rows of whole bytes that they are joined to for the graph.
pub const BUILD_CODES: u64 = 2;
/// Per link: its place in the graph, in the choice of candidates, and in that list read backwards.
pub const BUILD_BYTES_PER_LINK: u64 = 12;
/// Per payload byte: the row as it waits, as it is indexed, as it is packed.
pub const BUILD_PAYLOAD_FACTOR: u64 = 4;
/// Per point: ids both ways, level, lock, visited marks, factors of codes.
pub const BUILD_BYTES_PER_POINT: u64 = 160;

/// How a memory bound is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rows that wait in memory.
    pub rows_bytes: usize,
    /// Ids that are checked.
    pub ids_bytes: usize,
    /// Building one segment.
    pub build_bytes: u64,
}

impl Budget {
    /// Divides a bound.
    #[must_use]
    pub fn of(memory_bytes: u64) -> Self {
        let eighth = usize::try_from(memory_bytes / 8).unwrap_or(usize::MAX);
        Self { rows_bytes: eighth, ids_bytes: eighth, build_bytes: memory_bytes / 8 * 5 }
    }
}

/// Memory for building a segment of `points` points with these dense vectors each and `payload_bytes` of payload in all; see the module's formula.
#[must_use]
pub fn build_bytes<'a>(points: u64, dense: impl IntoIterator<Item = &'a VectorParams>, payload_bytes: u64) -> u64 {
    let (mut vectors, mut most) = (0, 0);
    for params in dense {
        let dims = u64::from(params.size);
        let vector = params.datatype.bytes() as u64 * dims;
        let codes = if params.coded() { BUILD_CODES * dims.next_multiple_of(CODE_DIMS) } else { 0 };
        let links = BUILD_BYTES_PER_LINK * 3 * u64::from(params.hnsw.built().m);
        vectors += vector;
        most = vector.max(codes + links).max(most);
    }
    let point = vectors + most + BUILD_BYTES_PER_POINT;
    points.saturating_mul(point).saturating_add(payload_bytes.saturating_mul(BUILD_PAYLOAD_FACTOR))
}

/// Half of the memory that this process may have: see [`Memory::most_bytes`].
#[must_use]
pub fn default_bytes() -> u64 {
    (Memory::here().most_bytes().unwrap_or(UNKNOWN_BYTES) / 2).max(MEMORY_BYTES_MIN)
}

/// The bound that is asked for; without one, [`default_bytes`].
///
/// # Errors
/// [`Error::Invalid`] below [`MEMORY_BYTES_MIN`].
pub fn bound(asked: Option<ByteSize>) -> Result<u64> {
    match asked {
        None => Ok(default_bytes()),
        Some(ByteSize(bytes)) if bytes >= MEMORY_BYTES_MIN => Ok(bytes),
        Some(bytes) => {
            Err(Error::invalid("memory", format!("{bytes} is too little, at least {}", ByteSize(MEMORY_BYTES_MIN))))
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::{Distance, HnswConfig};

    use super::*;

    #[test]
    fn shares_stay_within_the_bound() {
        for bytes in [MEMORY_BYTES_MIN, 1 << 30, 1 << 40] {
            let budget = Budget::of(bytes);
            assert!(budget.rows_bytes as u64 + budget.ids_bytes as u64 + budget.build_bytes <= bytes * 7 / 8);
        }
        assert!(default_bytes() >= MEMORY_BYTES_MIN);
        let hnsw = HnswConfig { m: 256, ..HnswConfig::default() };
        let params = VectorParams { hnsw, ..VectorParams::new(65_536, Distance::Dot) };
        assert_eq!(build_bytes(u64::MAX, [&params], u64::MAX), u64::MAX);
        assert!(build_bytes(1, [&params], 100) > 2 * 4 * 65_536 + 300);
    }

    #[test]
    fn a_bound_below_the_smallest_is_refused() {
        for asked in [MEMORY_BYTES_MIN, 1 << 40] {
            assert_eq!(bound(Some(ByteSize(asked))).unwrap(), asked);
        }
        assert_eq!(bound(None).unwrap(), default_bytes());
        for asked in [0, MEMORY_BYTES_MIN - 1] {
            let error = bound(Some(ByteSize(asked))).unwrap_err().to_string();
            assert!(error.contains("memory: ") && error.contains("is too little, at least 64.0 MiB"), "{error}");
        }
    }
}
