//! Balanced clusters of near vectors, and an order of all points in which near points have near row numbers.
//!
//! One decision serves three readers (DESIGN.md, section 6): a cold reader fetches a cluster as one range, link
//! deltas are small, and warm memory access is local. The partition is flat k-means: centroids are trained on a sample (`flat`), and
//! every point goes to the nearest of all of them, which block products of bytes make affordable (`levels`). Then clusters that are
//! too large are split and those that are too small dissolved. Their order comes from a tree of splits of their centroids (`tree`),
//! chained by nearness, so that neighbouring clusters are near one another too.
//!
//! A tree of splits of the points themselves costs less and was what came first. But it decides early: a point beside the boundary of a wide
//! split stays on its side, however many clusters on the other side are nearer in the end (decision 15 has the figures).

mod flat;
mod levels;
pub mod region;
pub mod space;
mod tree;

use rayon::prelude::*;

use crate::{Error, Result, Watch};

pub use region::Region;
pub use space::Space;

/// Points that a cluster is meant to have: ENGINE.md measured 256 as the best size to read cold.
pub const CLUSTER_POINTS: usize = 256;
/// Points that a cluster may have.
pub const CLUSTER_POINTS_MAX: usize = CLUSTER_POINTS * 3 / 2;
/// A cluster smaller than this is dissolved.
const CLUSTER_POINTS_MIN: usize = CLUSTER_POINTS / 8;

/// Vectors that can be read as f32, by row.
pub trait Rows: Sync {
    /// Rows.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Dimensions.
    fn dim(&self) -> usize;
    /// Widens row `row` into `out`, of `dim` elements.
    fn read(&self, row: u32, out: &mut [f32]);
}

/// A partition of all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Rows in cluster order: `order[ordinal]` is the input row that becomes `ordinal`.
    pub order: Vec<u32>,
    /// `starts[c]..starts[c + 1]` are the ordinals of cluster `c`; one longer than there are clusters.
    pub starts: Vec<u32>,
    /// Mean vectors, `dim` values per cluster.
    pub centroids: Vec<f32>,
}

impl Clusters {
    /// How many clusters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Partitions `rows` by L2 on `pool`. The same rows and seed give the same clusters on any number of threads.
///
/// # Errors
/// [`Error::Cancelled`].
pub fn partition(rows: &impl Rows, seed: u64, pool: &rayon::ThreadPool, watch: &dyn Watch) -> Result<Clusters> {
    u32::try_from(rows.len()).map_err(|_| Error::invalid("points", "too many for one segment"))?;
    if rows.is_empty() {
        return Ok(Clusters { order: Vec::new(), starts: vec![0], centroids: Vec::new() });
    }
    pool.install(|| {
        let parts = flat::divide(rows, seed, watch)?;
        let dim = rows.dim();
        let centroids: Vec<Vec<f32>> = parts.par_iter().map(|part| mean(rows, part)).collect();
        let mut clusters = Clusters { order: Vec::with_capacity(rows.len()), starts: vec![0], centroids: Vec::new() };
        for part in tree::order(&Centroids { values: &centroids, dim }, seed) {
            clusters.order.extend_from_slice(&parts[part]);
            clusters.starts.push(u32::try_from(clusters.order.len()).unwrap_or(u32::MAX));
            clusters.centroids.extend_from_slice(&centroids[part]);
        }
        Ok(clusters)
    })
}

/// Centroids as rows.
struct Centroids<'a> {
    values: &'a [Vec<f32>],
    dim: usize,
}

impl Rows for Centroids<'_> {
    fn len(&self) -> usize {
        self.values.len()
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn read(&self, row: u32, out: &mut [f32]) {
        out.copy_from_slice(&self.values[row as usize]);
    }
}

fn mean(rows: &impl Rows, part: &[u32]) -> Vec<f32> {
    let dim = rows.dim();
    let mut sum = vec![0.0f64; dim];
    let mut vector = vec![0.0; dim];
    for &row in part {
        rows.read(row, &mut vector);
        sum.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a mean of f32 values is one")]
    sum.iter().map(|sum| (sum / part.len().max(1) as f64) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::SplitMix64;

    struct Matrix(Vec<f32>, usize);

    impl Rows for Matrix {
        fn len(&self) -> usize {
            self.0.len() / self.1
        }
        fn dim(&self) -> usize {
            self.1
        }
        fn read(&self, row: u32, out: &mut [f32]) {
            out.copy_from_slice(&self.0[row as usize * self.1..][..self.1]);
        }
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    fn blobs(count: usize, dim: usize) -> Matrix {
        let mut random = SplitMix64::new(7);
        let centres: Vec<f32> = (0..20 * dim).map(|_| random.unit() as f32 * 10.0).collect();
        let values = (0..count).flat_map(|i| {
            let centre = (i * 7) % 20;
            (0..dim).map(|d| centres[centre * dim + d] + random.unit() as f32).collect::<Vec<_>>()
        });
        Matrix(values.collect(), dim)
    }

    #[test]
    fn every_row_is_in_exactly_one_bounded_cluster() {
        let rows = blobs(6_000, 12);
        let clusters = partition(&rows, 1, &pool(2), &crate::Unwatched).unwrap();
        let mut seen = clusters.order.clone();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..6_000));
        assert!(clusters.starts.windows(2).all(|w| (1..=CLUSTER_POINTS_MAX as u32).contains(&(w[1] - w[0]))));
        assert_eq!(clusters.centroids.len(), clusters.len() * 12);
        assert!(clusters.len() <= 6_000 / CLUSTER_POINTS_MIN);
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let rows = blobs(3_000, 8);
        let one = partition(&rows, 5, &pool(1), &crate::Unwatched).unwrap();
        assert_eq!(one, partition(&rows, 5, &pool(3), &crate::Unwatched).unwrap());
        assert_ne!(one.order, partition(&rows, 6, &pool(1), &crate::Unwatched).unwrap().order);
    }

    #[test]
    fn near_points_get_near_ordinals() {
        let rows = blobs(6_000, 12);
        let clusters = partition(&rows, 1, &pool(2), &crate::Unwatched).unwrap();
        // Rows i and i + 20 come from the same blob; in input order they are 20 apart, here mostly one cluster.
        let mut ordinal = vec![0i64; 6_000];
        clusters.order.iter().enumerate().for_each(|(o, &row)| ordinal[row as usize] = o as i64);
        let near = (0..5_980).filter(|&i| (ordinal[i] - ordinal[i + 20]).abs() < 512).count();
        assert!(near > 5_500, "{near} of 5980");
    }

    #[test]
    fn duplicates_and_few_points_are_divided_too() {
        let same = Matrix(vec![1.0; 2_000 * 3], 3);
        let clusters = partition(&same, 1, &pool(1), &crate::Unwatched).unwrap();
        assert!(clusters.starts.windows(2).all(|w| w[1] - w[0] <= CLUSTER_POINTS_MAX as u32));
        assert_eq!(partition(&Matrix(vec![1.0; 3], 3), 1, &pool(1), &crate::Unwatched).unwrap().len(), 1);
        assert!(partition(&Matrix(vec![], 3), 1, &pool(1), &crate::Unwatched).unwrap().is_empty());
    }

    #[test]
    fn cancellation_is_heard() {
        let stop = std::sync::atomic::AtomicBool::new(true);
        assert_eq!(partition(&blobs(2_000, 4), 1, &pool(1), &stop), Err(Error::Cancelled));
    }
}
