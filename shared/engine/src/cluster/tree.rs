//! Splits by k-means, at most 16 ways at a time: of one part that is too large, and of centroids until their order is found.

use rayon::prelude::*;

use super::Rows;
use crate::{kernel, seed::SplitMix64};

/// Ways of one split.
const BRANCHES_MAX: usize = 16;
/// Sampled points per way on which a split's centroids are trained.
const SAMPLE_PER_BRANCH: usize = 192;
/// Rounds of Lloyd's algorithm per split.
const ROUNDS: usize = 6;
/// Rows that are chained one by one when an order is looked for.
const CHAIN: usize = 24;

/// All rows in an order in which near ones follow one another.
pub(super) fn order<R: Rows>(rows: &R, seed: u64) -> impl Iterator<Item = usize> + use<R> {
    let all = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
    let parts = Split { rows, size: CHAIN * 2 / 3 }.divide(all, seed);
    parts.into_iter().flatten().map(|row| row as usize)
}

/// Splits of some rows, down to parts of about `size`.
pub(super) struct Split<'a, R> {
    pub(super) rows: &'a R,
    pub(super) size: usize,
}

impl<R: Rows> Split<'_, R> {
    /// Rows that a part may have.
    fn size_max(&self) -> usize {
        self.size * 3 / 2
    }

    /// Divides `part`; parts are in order of nearness.
    pub(super) fn divide(&self, part: Vec<u32>, seed: u64) -> Vec<Vec<u32>> {
        if part.len() <= self.size_max() {
            return if part.is_empty() { Vec::new() } else { vec![part] };
        }
        let mut random = SplitMix64::new(seed);
        let children = self.split(&part, &mut random);
        let seeds: Vec<u64> = children.iter().map(|_| random.next()).collect();
        let parts: Vec<Vec<Vec<u32>>> =
            children.into_par_iter().zip(seeds).map(|(child, seed)| self.divide(child, seed)).collect();
        parts.into_iter().flatten().collect()
    }

    /// One split: k-means on a sample, every point to its nearest centroid, small parts dissolved, parts chained.
    fn split(&self, part: &[u32], random: &mut SplitMix64) -> Vec<Vec<u32>> {
        let branches = part.len().div_ceil(self.size).clamp(2, BRANCHES_MAX);
        let centroids = self.train(part, branches, random);
        let nearest = self.assign(part, &centroids);
        let mut sizes = vec![0usize; branches];
        nearest.iter().for_each(|&c| sizes[c] += 1);
        let keep: Vec<usize> = (0..branches).filter(|&c| sizes[c] >= self.size / 8).collect();
        if keep.len() < 2 {
            // Points that k-means cannot tell apart (duplicates, say): any cut is as good as another.
            return part.chunks(self.size).map(<[u32]>::to_vec).collect();
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
