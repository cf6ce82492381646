//! A graph expanded in memory: beside each node its neighbours' one-bit codes, so that a hop reads one place.
//!
//! A walk over compact codes touches one cache line for a list and several for each neighbour, all over the segment. Here
//! each node is one *block* of consecutive lines with everything that expanding it needs, neighbours' codes included, as in
//! SymphonyQG (arXiv 2411.12229). It costs several times the memory, so it is made for segments that are asked often, from
//! the codes and links of the segment as it is; nothing of it is ever stored.
//!
//! # Estimates
//!
//! Let `P` be the codec's rotation, `m` its centre, `c` a node, `y` its neighbour, `r = y - c` and `b` the signs of `P r`;
//! both vectors as their 8-bit codes say, in rotated space and relative to `m`. RaBitQ (arXiv 2405.12497) estimates
//! `<r, v> ~= f <b, P v>` with `f = |r|^2 / <b, P r>`, without bias over rotations. So, for a query `q`,
//!
//! ```text
//! Euclid        |y - q|^2 = |c - q|^2 + |r|^2 - 2 <r, q - c>
//! Dot, Cosine     -<y, q> = -<c, q> - <r, c> - <r, q - c>
//!               <r, q - c> ~= f (<b, P(q - m)> - <b, P(c - m)>)
//! ```
//!
//! The first term is exact but for the 8-bit code, because `c` is being visited; `<b, P(q - m)>` comes from a table for all
//! neighbours at once; everything else belongs to the edge. The error grows with `|q - c|`, and nearly vanishes where the
//! walk ends. For Dot the query is scaled to the length of the stored vectors, which keeps the order of distances and makes
//! `q - c` short.
//!
//! # Where walks start
//!
//! The first block is the *root*: a node at `m` whose neighbours are up to [`ENTRIES_MAX`] points, taken at equal distances
//! in the order of ordinals, which is the order of clusters. Expanding it finds the entries of a walk by the same scan.

mod block;
mod expansion;
mod pool;
mod query;
mod search;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use crate::{codec::Codec, graph::Links, kernel::fastscan::FastScan};
use block::Shape;
use search::Scratch;

pub use expansion::Plan;
pub use search::{Options, Walked};

/// Neighbours of the root at most.
pub const ENTRIES_MAX: u32 = 2_048;
/// Walks' memory kept for reuse at most.
const SCRATCH_MAX: usize = 64;

/// Memory that the caller brings; best at a line's boundary and on huge pages.
pub trait Memory: Send + Sync {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it, to be filled.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl<T: AsRef<[u8]> + AsMut<[u8]> + Send + Sync> Memory for T {
    fn bytes(&self) -> &[u8] {
        self.as_ref()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut()
    }
}

/// What is expanded: one segment's codes and links.
#[derive(Clone, Copy)]
pub struct Compact<'a> {
    /// Reads the codes.
    pub codec: &'a Codec,
    /// Level 0 is expanded.
    pub links: Links<'a>,
    /// The high records of all points.
    pub high: &'a [u8],
    /// The low records of all points.
    pub low: &'a [u8],
}

/// An expanded graph.
pub struct Hot {
    memory: Box<dyn Memory>,
    /// Bytes in use.
    bytes: usize,
    shape: Shape,
    points: u32,
    scan: &'static FastScan,
    /// The codec's centre, rotated.
    centre: Vec<f32>,
    /// The root mean square of the stored vectors' lengths.
    length: f32,
    scratch: Mutex<Vec<Scratch>>,
}

impl std::fmt::Debug for Hot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hot").field("points", &self.points).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Hot {
    /// Points.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.points
    }

    /// Never, because no segment is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// Bytes of all blocks.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn lease(&self) -> Scratch {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        let mut kept = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < SCRATCH_MAX {
            kept.push(scratch);
        }
    }
}
