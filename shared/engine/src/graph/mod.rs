//! HNSW (Malkov and Yashunin, arXiv 1603.09320): building the graph, its compressed links, and searching it.
//!
//! The graph does not know vectors. It sees points as ordinals, and distances through two traits: [`Pairs`] between stored
//! points, for building, and [`Scorer`] from one query, for [`search`].
//!
//! There are two ways to build one. [`build`] inserts point by point, as in the paper, with whatever measures distances: it is the
//! reference, and serves few points and points without codes. [`build_clustered`] takes points that are in cluster order and
//! [`Coded`], and is several times faster.
//!
//! [`Hnsw`] is the graph in memory, [`Links`] the view of its bytes in a segment; [`links`] specifies them.

mod build;
mod candidates;
mod clustered;
mod coded;
mod connect;
mod effort;
mod frontier;
mod hnsw;
mod level;
pub mod links;
mod search;
mod select;
mod tasks;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test sizes are small")]
mod tests;
mod visited;
mod walk;

pub use build::build;
pub use candidates::Clustered;
pub use clustered::build_clustered;
pub use coded::Coded;
pub use effort::Effort;
pub use hnsw::Hnsw;
pub use links::Links;
pub use search::{SearchOptions, search};
pub use visited::VisitedPool;

/// Distances between stored points, for building; smaller is nearer. Called from many threads.
///
/// Ordinals given are always below [`Pairs::len`].
pub trait Pairs: Sync {
    /// Points.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The distance of `a` and `b`; symmetric.
    fn distance(&self, a: u32, b: u32) -> f32;

    /// Sets `out[i]` to the distance of `a` and `others[i]`; both are equally long.
    fn distances(&self, a: u32, others: &[u32], out: &mut [f32]) {
        for (&b, out) in others.iter().zip(out) {
            *out = self.distance(a, b);
        }
    }

    /// Fetches a point into the cache; its distance is wanted soon.
    fn prefetch(&self, ordinal: u32) {
        let _ = ordinal;
    }
}

/// Distances from one query, for searching; smaller is nearer.
pub trait Scorer {
    /// Sets `out[i]` to the distance of `ordinals[i]`; both are equally long. Ordinals are always below the number of points,
    /// and no ordinal is scored twice on level 0.
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]);

    /// Fetches a point into the cache; it is scored soon.
    fn prefetch(&self, ordinal: u32) {
        let _ = ordinal;
    }
}
