//! Balanced clusters of near vectors, and an order of all points in which near points have near row numbers.
//!
//! One decision serves three readers (DESIGN.md, section 6): a cold reader fetches a cluster as one range, link
//! deltas are small, and warm memory access is local. The partition is a tree of k-means splits, at most
//! 16 ways at a time, until a part has at most [`CLUSTER_POINTS_MAX`] points; the children of a
//! split are chained by nearness, so that neighbouring clusters are near one another too. A split costs
//! `n * branches * dim`, so the whole costs `n * 16 * log16(n / 256) * dim` multiplications and not
//! `n * (n / 256) * dim` as flat k-means would.

use rayon::prelude::*;

use crate::{Error, Phase, Result, Watch, kernel, seed::SplitMix64};

/// Points that a cluster is meant to have: ENGINE.md measured 256 as the best size to read cold.
pub const CLUSTER_POINTS: usize = 256;
/// Points that a cluster may have.
pub const CLUSTER_POINTS_MAX: usize = CLUSTER_POINTS * 3 / 2;
/// A part smaller than this joins its neighbours.
const CLUSTER_POINTS_MIN: usize = CLUSTER_POINTS / 8;
/// Ways of one split.
const BRANCHES_MAX: usize = 16;
/// Sampled points per way on which a split's centroids are trained.
const SAMPLE_PER_BRANCH: usize = 192;
/// Rounds of Lloyd's algorithm per split.
const ROUNDS: usize = 6;

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
    let count = u32::try_from(rows.len()).map_err(|_| Error::invalid("points", "too many for one segment"))?;
    let order: Vec<u32> = (0..count).collect();
    let done = std::sync::atomic::AtomicU64::new(0);
    let split = Split { rows, watch, done: &done };
    let parts = pool.install(|| split.divide(order, seed))?;
    let mut clusters = Clusters { order: Vec::with_capacity(rows.len()), starts: vec![0], centroids: Vec::new() };
    for part in &parts {
        clusters.order.extend_from_slice(part);
        clusters.starts.push(u32::try_from(clusters.order.len()).unwrap_or(u32::MAX));
    }
    let centroids: Vec<Vec<f32>> = pool.install(|| parts.par_iter().map(|part| mean(rows, part)).collect());
    clusters.centroids = centroids.concat();
    Ok(clusters)
}

struct Split<'a, R> {
    rows: &'a R,
    watch: &'a dyn Watch,
    done: &'a std::sync::atomic::AtomicU64,
}

impl<R: Rows> Split<'_, R> {
    /// Divides `part` into clusters, in order of nearness.
    fn divide(&self, part: Vec<u32>, seed: u64) -> Result<Vec<Vec<u32>>> {
        if self.watch.cancelled() {
            return Err(Error::Cancelled);
        }
        if part.len() <= CLUSTER_POINTS_MAX {
            let done = self.done.fetch_add(part.len() as u64, std::sync::atomic::Ordering::Relaxed) + part.len() as u64;
            self.watch.progress(Phase::Cluster, done, self.rows.len() as u64);
            return Ok(if part.is_empty() { Vec::new() } else { vec![part] });
        }
        let mut random = SplitMix64::new(seed);
        let children = self.split(&part, &mut random);
        let seeds: Vec<u64> = children.iter().map(|_| random.next()).collect();
        let parts: Vec<Vec<Vec<u32>>> =
            children.into_par_iter().zip(seeds).map(|(child, seed)| self.divide(child, seed)).collect::<Result<_>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// One split: k-means on a sample, every point to its nearest centroid, small parts dissolved, parts chained.
    fn split(&self, part: &[u32], random: &mut SplitMix64) -> Vec<Vec<u32>> {
        let branches = part.len().div_ceil(CLUSTER_POINTS).clamp(2, BRANCHES_MAX);
        let centroids = self.train(part, branches, random);
        let nearest = self.assign(part, &centroids);
        let mut sizes = vec![0usize; branches];
        nearest.iter().for_each(|&c| sizes[c] += 1);
        let keep: Vec<usize> = (0..branches).filter(|&c| sizes[c] >= CLUSTER_POINTS_MIN).collect();
        if keep.len() < 2 {
            // Points that k-means cannot tell apart (duplicates, say): any cut is as good as another.
            return part.chunks(CLUSTER_POINTS).map(<[u32]>::to_vec).collect();
        }
        let dim = self.rows.dim();
        let kept: Vec<f32> = keep.iter().flat_map(|&c| centroids[c * dim..][..dim].to_vec()).collect();
        let nearest = if keep.len() == branches { nearest } else { self.assign(part, &kept) };
        let mut children = vec![Vec::new(); keep.len()];
        for (&row, &c) in part.iter().zip(&nearest) {
            children[c].push(row);
        }
        chain(&kept, dim).into_iter().map(|c| std::mem::take(&mut children[c])).collect()
    }

    /// Lloyd's algorithm on a sample of `part`; `branches * dim` values.
    fn train(&self, part: &[u32], branches: usize, random: &mut SplitMix64) -> Vec<f32> {
        let dim = self.rows.dim();
        let sample_count = part.len().min(branches * SAMPLE_PER_BRANCH);
        // A stride with a random phase samples without repetition.
        #[expect(clippy::cast_possible_truncation, reason = "below a length, which is a usize")]
        let phase = random.below(part.len() as u64) as usize;
        let sample: Vec<u32> =
            (0..sample_count).map(|i| part[(i * part.len() / sample_count + phase) % part.len()]).collect();
        let mut vectors = vec![0.0; sample_count * dim];
        for (row, out) in sample.iter().zip(vectors.chunks_exact_mut(dim)) {
            self.rows.read(*row, out);
        }
        let mut centroids = spread(&vectors, dim, branches, random);
        for _ in 0..ROUNDS {
            let mut sums = vec![0.0f32; branches * dim];
            let mut counts = vec![0u32; branches];
            for vector in vectors.chunks_exact(dim) {
                let c = nearest_of(vector, &centroids, dim).0;
                counts[c] += 1;
                sums[c * dim..][..dim].iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
            }
            for (c, &count) in counts.iter().enumerate() {
                if count > 0 {
                    #[expect(clippy::cast_precision_loss, reason = "a sample has at most a few thousand points")]
                    let scale = 1.0 / count as f32;
                    for (to, sum) in centroids[c * dim..][..dim].iter_mut().zip(&sums[c * dim..][..dim]) {
                        *to = sum * scale;
                    }
                }
            }
        }
        centroids
    }

    /// The nearest centroid of every point of `part`.
    fn assign(&self, part: &[u32], centroids: &[f32]) -> Vec<usize> {
        let dim = self.rows.dim();
        part.par_chunks(1_024)
            .flat_map_iter(|rows| {
                let mut vector = vec![0.0; dim];
                rows.iter()
                    .map(|&row| {
                        self.rows.read(row, &mut vector);
                        nearest_of(&vector, centroids, dim).0
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Index and squared distance of the centroid nearest to `vector`.
fn nearest_of(vector: &[f32], centroids: &[f32], dim: usize) -> (usize, f32) {
    let l2 = kernel::get().l2_f32;
    let mut best = (0, f32::INFINITY);
    for (c, centroid) in centroids.chunks_exact(dim).enumerate() {
        let distance = l2(vector, centroid);
        if distance < best.1 {
            best = (c, distance);
        }
    }
    best
}

/// k-means++ seeding (Arthur and Vassilvitskii, 2007): each next centroid with probability by squared distance.
fn spread(vectors: &[f32], dim: usize, branches: usize, random: &mut SplitMix64) -> Vec<f32> {
    let count = vectors.len() / dim;
    let l2 = kernel::get().l2_f32;
    let vector = |i: usize| &vectors[i * dim..][..dim];
    #[expect(clippy::cast_possible_truncation, reason = "below count, which is a usize")]
    let first = random.below(count as u64) as usize;
    let mut centroids = vector(first).to_vec();
    let mut distances: Vec<f32> = (0..count).map(|i| l2(vector(i), vector(first))).collect();
    while centroids.len() < branches * dim {
        let total: f64 = distances.iter().map(|&d| f64::from(d)).sum();
        let mut left = random.unit() * total;
        let next = distances
            .iter()
            .position(|&d| {
                left -= f64::from(d);
                left < 0.0
            })
            .unwrap_or(count - 1);
        centroids.extend_from_slice(vector(next));
        for (i, distance) in distances.iter_mut().enumerate() {
            *distance = distance.min(l2(vector(i), vector(next)));
        }
    }
    centroids
}

/// Visits all centroids, each time the nearest not yet visited, from the one farthest from their mean.
fn chain(centroids: &[f32], dim: usize) -> Vec<usize> {
    let l2 = kernel::get().l2_f32;
    let centroid = |c: usize| &centroids[c * dim..][..dim];
    let mut left: Vec<usize> = (0..centroids.len() / dim).collect();
    #[expect(clippy::cast_precision_loss, reason = "at most 16 centroids")]
    let scale = 1.0 / left.len() as f32;
    let mean: Vec<f32> = (0..dim).map(|i| left.iter().map(|&c| centroids[c * dim + i]).sum::<f32>() * scale).collect();
    let mut chain = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let order = |from: &[f32], sign: f32| {
            let key = |&i: &usize| sign * l2(centroid(left[i]), from);
            (0..left.len()).min_by(|a, b| key(a).total_cmp(&key(b))).unwrap_or(0)
        };
        let next = match chain.last() {
            None => order(&mean, -1.0),
            Some(&last) => order(centroid(last), 1.0),
        };
        chain.push(left.swap_remove(next));
    }
    chain
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
