//! Flat k-means: centroids from a sample, every point to the nearest of all, sizes within bounds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rayon::prelude::*;

use super::{
    CLUSTER_POINTS, CLUSTER_POINTS_MIN, Rows,
    levels::{self, Grouped, Levels, Memory},
    tree::Split,
};
use crate::{Error, Phase, Result, Watch, seed::SplitMix64};

/// Points per centroid on which centroids are trained.
const SAMPLE_PER_CENTROID: usize = 64;
/// Rounds of Lloyd's algorithm on the sample.
const SAMPLE_ROUNDS: usize = 8;
/// Rounds on all points; sizes are put within bounds after each.
const ROUNDS: usize = 2;
/// Points of one task.
const BATCH: usize = 1_024;

/// Divides all rows into parts of some [`CLUSTER_POINTS`] near ones, in no order; there is at least one.
pub(super) fn divide<R: Rows>(rows: &R, seed: u64, watch: &dyn Watch) -> Result<Vec<Vec<u32>>> {
    let mut random = SplitMix64::new(seed);
    let count = rows.len();
    let all: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    let clusters = count.div_ceil(CLUSTER_POINTS);
    let sample = strided(&all, clusters * SAMPLE_PER_CENTROID, &mut random);
    let levels = Levels::of(rows, &sample);
    let total = (sample.len() * SAMPLE_ROUNDS + count * ROUNDS) as u64;
    let flat = Flat { rows, levels, watch, done: AtomicU64::new(0), total };
    let mut centroids = flat.train(&sample, clusters, &mut random)?;
    drop(sample);
    let mut parts = Vec::new();
    for round in 0..ROUNDS {
        parts = flat.bounded(flat.assigned(&all, &centroids)?, &centroids, &mut random)?;
        if round + 1 < ROUNDS {
            centroids = flat.means(&parts);
        }
    }
    Ok(parts)
}

/// At most `count` of `all`, evenly spread from a random place on.
fn strided(all: &[u32], count: usize, random: &mut SplitMix64) -> Vec<u32> {
    #[expect(clippy::cast_possible_truncation, reason = "below a length, which is a usize")]
    let phase = random.below(all.len() as u64) as usize;
    let count = count.min(all.len());
    (0..count).map(|i| all[(i * all.len() / count + phase) % all.len()]).collect()
}

struct Flat<'a, R> {
    rows: &'a R,
    levels: Levels,
    watch: &'a dyn Watch,
    /// Rows of all rounds so far.
    done: AtomicU64,
    total: u64,
}

impl<R: Rows> Flat<'_, R> {
    /// Lloyd's algorithm on the sample; the bytes of the centroids. Those that no point is nearest to vanish.
    fn train(&self, sample: &[u32], clusters: usize, random: &mut SplitMix64) -> Result<Vec<u8>> {
        let width = self.levels.width();
        let mut codes = vec![0; sample.len() * width];
        codes.par_chunks_mut(BATCH * width).zip(sample.par_chunks(BATCH)).for_each(|(out, rows)| {
            self.levels.read(self.rows, rows, &mut vec![0.0; self.rows.dim()], out);
        });
        let places: Vec<u32> = (0..u32::try_from(sample.len()).unwrap_or(u32::MAX)).collect();
        let code = |&place: &u32| &codes[place as usize * width..][..width];
        let mut centroids: Vec<u8> = strided(&places, clusters, random).iter().flat_map(code).copied().collect();
        for _ in 0..SAMPLE_ROUNDS {
            let grouped = Grouped::new(&centroids, width);
            let nearest: Vec<Vec<u32>> = codes
                .par_chunks(BATCH * width)
                .map_init(Memory::default, |memory, rows| self.nearest(&grouped, rows, memory))
                .collect::<Result<_>>()?;
            let parts = gathered(&places, &nearest, centroids.len() / width);
            centroids = parts
                .par_iter()
                .filter(|part| !part.is_empty())
                .flat_map_iter(|part| {
                    let mut centroid = vec![0; width];
                    levels::mean(part.iter().map(code), &mut centroid);
                    centroid
                })
                .collect();
        }
        Ok(centroids)
    }

    /// The nearest centroid of each row of bytes.
    fn nearest(&self, grouped: &Grouped, rows: &[u8], memory: &mut Memory) -> Result<Vec<u32>> {
        if self.watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let count = rows.len() / self.levels.width();
        let mut nearest = Vec::new();
        grouped.nearest(rows, u32::try_from(count).unwrap_or(u32::MAX), memory, &mut nearest);
        let done = self.done.fetch_add(count as u64, Relaxed) + count as u64;
        self.watch.progress(Phase::Cluster, done.min(self.total), self.total);
        Ok(nearest)
    }

    /// The rows that are nearest to each of `centroids`.
    fn assigned(&self, rows: &[u32], centroids: &[u8]) -> Result<Vec<Vec<u32>>> {
        let width = self.levels.width();
        let grouped = Grouped::new(centroids, width);
        let nearest: Vec<Vec<u32>> = rows
            .par_chunks(BATCH)
            .map_init(
                || (Memory::default(), vec![0.0; self.rows.dim()], vec![0; BATCH * width]),
                |(memory, vector, codes), rows| {
                    let codes = &mut codes[..rows.len() * width];
                    self.levels.read(self.rows, rows, vector, codes);
                    self.nearest(&grouped, codes, memory)
                },
            )
            .collect::<Result<_>>()?;
        Ok(gathered(rows, &nearest, centroids.len() / width))
    }

    /// The bytes of the means of `parts`.
    fn means(&self, parts: &[Vec<u32>]) -> Vec<u8> {
        let width = self.levels.width();
        parts
            .par_iter()
            .map_init(
                || (vec![0.0; self.rows.dim()], Vec::new()),
                |(vector, codes), part| {
                    codes.resize(part.len() * width, 0);
                    self.levels.read(self.rows, part, vector, codes);
                    let mut centroid = vec![0; width];
                    levels::mean(codes.chunks_exact(width), &mut centroid);
                    centroid
                },
            )
            .flatten_iter()
            .collect()
    }

    /// Dissolves parts that are too small, splits those that are too large. `centroids` are what the rows were assigned to.
    fn bounded(&self, mut parts: Vec<Vec<u32>>, centroids: &[u8], random: &mut SplitMix64) -> Result<Vec<Vec<u32>>> {
        let width = self.levels.width();
        let large = |part: &Vec<u32>| part.len() >= CLUSTER_POINTS_MIN;
        if parts.iter().any(large) && !parts.iter().all(large) {
            let kept = centroids.chunks_exact(width).zip(&parts).filter(|(_, part)| large(part));
            let kept: Vec<u8> = kept.flat_map(|(centroid, _)| centroid).copied().collect();
            let loose: Vec<u32> = parts.iter().filter(|part| !large(part)).flatten().copied().collect();
            parts.retain(large);
            for (part, more) in parts.iter_mut().zip(self.assigned(&loose, &kept)?) {
                part.extend(more);
            }
        }
        let split = Split { rows: self.rows, size: CLUSTER_POINTS };
        let seeds: Vec<u64> = parts.iter().map(|_| random.next()).collect();
        let parts: Vec<Vec<Vec<u32>>> =
            parts.into_par_iter().zip(seeds).map(|(part, seed)| split.divide(part, seed)).collect();
        Ok(parts.into_iter().flatten().collect())
    }
}

/// `rows` by the place that each was assigned; batches follow one another.
fn gathered(rows: &[u32], nearest: &[Vec<u32>], places: usize) -> Vec<Vec<u32>> {
    let mut parts = vec![Vec::new(); places];
    for (&row, &place) in rows.iter().zip(nearest.iter().flatten()) {
        parts[place as usize].push(row);
    }
    parts
}
