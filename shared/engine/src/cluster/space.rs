//! Shards by nearness: which shard of a collection a point belongs to when it is partitioned by space.
//!
//! Vectors are divided into *cells* by k-means on a sample, several to a shard, and cells are put together to shards of about equal
//! weight by cutting them in halves across the direction in which they spread most, again and again. Dense places get more cells, so
//! that shards are balanced although every point goes to its nearest cell. The same cuts, continued, give the few groups by which a
//! searcher knows a shard ([`Region`]).
//!
//! Everything that decides where a point goes is integer arithmetic on bytes, or double precision in a fixed order: builders on different
//! machines, with other instruction sets and numbers of threads, come to the same shards.

use rayon::prelude::*;

use super::region::Region;
use crate::{Error, Result, Watch, kernel, seed::SplitMix64};

/// Points of the sample per shard that are worth having.
pub const SAMPLE_PER_SHARD: usize = 256;
/// Points that a shard may have, over what it would have if all had as many. Beyond, a point goes to the next nearest shard with room.
pub const SHARD_SIZE_MAX: u64 = 2;
/// Cells per shard, while there are not more than [`CELLS_MAX`] in all.
const CELLS_PER_SHARD: usize = 8;
/// Cells for which every point is compared with all of them.
const CELLS_MAX: usize = 4_096;
/// Points of the sample that a cell should have at least.
const SAMPLE_PER_CELL: usize = 4;
/// Groups per shard, while all centroids together take no more than [`GROUPS_BYTES`].
const GROUPS_PER_SHARD: usize = 4;
/// Bytes of all groups' centroids, where there is more than one per shard: they stand in the documents that every reader fetches.
const GROUPS_BYTES: usize = 128 << 10;
/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 8;
/// Rounds of the power iteration that finds where cells spread most.
const POWER_ROUNDS: usize = 16;
/// Elements farther from their mean than so many standard deviations are taken to lie there.
const DEVIATIONS: f64 = 6.0;

/// How elements become bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f32,
    pub(super) step: f32,
}

impl Scale {
    fn of(values: &[f32]) -> Self {
        let count = values.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "a count, and a mean of it")]
        let count = count as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
        let reach = DEVIATIONS * variance.sqrt();
        let ends = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |ends, x| (ends.0.min(f64::from(*x)), ends.1.max(f64::from(*x))));
        let (low, high) = (ends.0.max(mean - reach), ends.1.min(mean + reach));
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let (low, step) = (low as f32, ((high - low) / 255.0) as f32);
        let usable = low.is_finite() && step.is_finite() && step > 0.0;
        if usable { Self { low, step } } else { Self { low: if low.is_finite() { low } else { 0.0 }, step: 1.0 } }
    }

    fn byte(self, value: f32) -> u8 {
        let at = ((value - self.low) / self.step).round().clamp(0.0, 255.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and clamped to a byte")]
        let byte = at as u8;
        byte
    }
}

/// Where points go.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    dim: usize,
    /// Whether only directions count.
    unit: bool,
    scale: Scale,
    /// `dim` bytes per cell.
    cells: Vec<u8>,
    /// The shard of each cell, and the group of all groups.
    homes: Vec<(u32, u32)>,
    /// The shard of each group, and its centroid.
    groups: Vec<(u32, Vec<u8>)>,
    shard_count: u32,
}

/// How much went to each shard and group: makes room, and the shards' regions.
#[derive(Clone, Debug)]
pub struct Dealt {
    room: Vec<u64>,
    /// Points of each group, and the sum of their squared distances from its centroid, in squared steps.
    groups: Vec<(u64, u64)>,
}

impl Space {
    /// Learns from a sample of `dim` values per point, in no order. `unit` says that only directions count (Cosine).
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer points than shards; [`Error::Cancelled`].
    pub fn learn(
        sample: &[f32],
        (dim, unit): (usize, bool),
        shard_count: u32,
        (pool, watch): (&rayon::ThreadPool, &dyn Watch),
    ) -> Result<Self> {
        let (count, shards) = (sample.len() / dim.max(1), shard_count as usize);
        if count < shards {
            let why = format!("{shards} shards by space need at least as many points, there are {count}");
            return Err(Error::invalid("shards", why));
        }
        let mut vectors = sample.to_vec();
        if unit {
            vectors.chunks_exact_mut(dim).for_each(to_unit);
        }
        let scale = Scale::of(&vectors);
        let codes: Vec<u8> = vectors.iter().map(|value| scale.byte(*value)).collect();
        drop(vectors);
        let most = (shards * CELLS_PER_SHARD).min(CELLS_MAX).min(count / SAMPLE_PER_CELL);
        let (cells, weights) = pool.install(|| lloyd(&codes, dim, most.max(shards), watch))?;
        let per_shard = (GROUPS_BYTES / (shards * dim).max(1)).clamp(1, GROUPS_PER_SHARD);
        let bisection = Bisection { cells: &cells, weights: &weights, dim };
        let mut homes = vec![(0, 0); weights.len()];
        let mut groups = Vec::new();
        for (shard, mut own) in (0..).zip(bisection.cut((0..weights.len()).collect(), shards)) {
            let ways = per_shard.min(own.len());
            own.sort_unstable();
            for group in bisection.cut(own, ways) {
                let number = u32::try_from(groups.len()).unwrap_or(u32::MAX);
                group.iter().for_each(|&cell| homes[cell] = (shard, number));
                groups.push((shard, bisection.centroid(&group)));
            }
        }
        Ok(Self { dim, unit, scale, cells, homes, groups, shard_count })
    }

    /// Nothing dealt yet, of `points` in all.
    #[must_use]
    pub fn begin(&self, points: u64) -> Dealt {
        let room = points.saturating_mul(SHARD_SIZE_MAX).div_ceil(u64::from(self.shard_count.max(1)));
        Dealt { room: vec![room; self.shard_count as usize], groups: vec![(0, 0); self.groups.len()] }
    }

    /// The shard of each of some points, `dim` values each, in the order in which they come: a full shard passes on what comes later.
    pub fn deal(&self, vectors: &[f32], dealt: &mut Dealt, pool: &rayon::ThreadPool) -> Vec<u32> {
        let coded = |vector: &[f32]| {
            let mut vector = vector.to_vec();
            if self.unit {
                to_unit(&mut vector);
            }
            let code: Vec<u8> = vector.iter().map(|value| self.scale.byte(*value)).collect();
            let cell = nearest(&code, &self.cells, |_| true);
            (code, cell)
        };
        let coded: Vec<(Vec<u8>, usize)> =
            pool.install(|| vectors.par_chunks_exact(self.dim).with_min_len(16).map(coded).collect());
        let mut shards = Vec::with_capacity(coded.len());
        for (code, cell) in coded {
            let room = |cell: usize| dealt.room[self.homes[cell].0 as usize] > 0;
            let cell = if room(cell) { cell } else { nearest(&code, &self.cells, room) };
            let (shard, group) = self.homes[cell];
            let (points, squares) = &mut dealt.groups[group as usize];
            let (_, centroid) = &self.groups[group as usize];
            *points += 1;
            *squares = squares.saturating_add(u64::from((kernel::get().l2_u8)(&code, centroid)));
            let room = &mut dealt.room[shard as usize];
            *room = room.saturating_sub(1);
            shards.push(shard);
        }
        shards
    }

    /// What a searcher has to know of each shard, when all is dealt.
    #[must_use]
    pub fn regions(&self, dealt: &Dealt) -> Vec<Region> {
        let mut regions = vec![Region::new(self.dim, self.scale); self.shard_count as usize];
        for ((shard, centroid), &(points, squares)) in self.groups.iter().zip(&dealt.groups) {
            if points > 0 {
                let step = f64::from(self.scale.step);
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    reason = "a mean of f32 values"
                )]
                let spread = (squares as f64 / points as f64 * step * step) as f32;
                regions[*shard as usize].push(spread, centroid);
            }
        }
        regions
    }
}

/// Makes a vector one of length 1; one without a direction stays. In double precision and in order, so that it is the same everywhere.
pub(super) fn to_unit(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if squares > 0.0 {
        let scale = 1.0 / squares.sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    }
}

/// The nearest of the `cells` that pass; the first of equals, and of none.
fn nearest(code: &[u8], cells: &[u8], passes: impl Fn(usize) -> bool) -> usize {
    let l2 = kernel::get().l2_u8;
    let distances = cells.chunks_exact(code.len()).enumerate().filter(|(cell, _)| passes(*cell));
    distances.map(|(cell, centroid)| (l2(code, centroid), cell)).min().map_or(0, |(_, cell)| cell)
}

/// Lloyd's algorithm on bytes: centroids, and how many points each has. Sums of integers do not depend on their order.
fn lloyd(codes: &[u8], dim: usize, count: usize, watch: &dyn Watch) -> Result<(Vec<u8>, Vec<u64>)> {
    let points = codes.len() / dim;
    // The sample has no order: any rows will do.
    let mut cells: Vec<u8> =
        (0..count).flat_map(|cell| &codes[cell * points / count * dim..][..dim]).copied().collect();
    let mut weights = vec![0u64; count];
    for _ in 0..ROUNDS {
        if watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let homes: Vec<usize> =
            codes.par_chunks_exact(dim).with_min_len(64).map(|code| nearest(code, &cells, |_| true)).collect();
        let mut sums = vec![0u64; count * dim];
        weights.fill(0);
        for (code, &home) in codes.chunks_exact(dim).zip(&homes) {
            weights[home] += 1;
            sums[home * dim..][..dim].iter_mut().zip(code).for_each(|(sum, byte)| *sum += u64::from(*byte));
        }
        let each = cells.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)).zip(&weights);
        each.filter(|(_, weight)| **weight > 0).for_each(|((cell, sums), &weight)| mean(cell, sums, weight));
    }
    Ok((cells, weights))
}

fn mean(to: &mut [u8], sums: &[u64], weight: u64) {
    to.iter_mut().zip(sums).for_each(|(to, sum)| *to = u8::try_from((sum + weight / 2) / weight).unwrap_or(u8::MAX));
}

/// Cuts cells into parts of about equal weight whose cells lie together.
struct Bisection<'a> {
    cells: &'a [u8],
    weights: &'a [u64],
    dim: usize,
}

impl Bisection<'_> {
    /// `ways` parts of `part`, each with a cell at least; there are as many.
    fn cut(&self, part: Vec<usize>, ways: usize) -> Vec<Vec<usize>> {
        if ways <= 1 {
            return vec![part];
        }
        let (few, count) = (ways / 2, part.len());
        let mut along: Vec<(f64, usize)> = self.along(&part).into_iter().zip(part).collect();
        along.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let total: u64 = along.iter().map(|(_, cell)| self.weights[*cell]).sum();
        let wanted = u128::from(total) * few as u128;
        let mut sum = 0u128;
        // The cut that is nearest to the share of the first half.
        let at = along.iter().position(|(_, cell)| {
            sum += u128::from(self.weights[*cell]);
            (2 * sum).saturating_sub(u128::from(self.weights[*cell])) * ways as u128 > 2 * wanted
        });
        let at = at.unwrap_or(count).clamp(few, count - (ways - few));
        let right = along.split_off(at);
        let cells = |half: Vec<(f64, usize)>| half.into_iter().map(|(_, cell)| cell).collect();
        let mut parts = self.cut(cells(along), few);
        parts.extend(self.cut(cells(right), ways - few));
        parts
    }

    /// How far along the direction in which they spread most the cells of `part` lie: their first principal component.
    fn along(&self, part: &[usize]) -> Vec<f64> {
        let mut mean = vec![0.0f64; self.dim];
        let total: u64 = part.iter().map(|&cell| self.weights[cell]).sum();
        #[expect(clippy::cast_precision_loss, reason = "points of a sample")]
        let share = |cell: usize| self.weights[cell] as f64 / total.max(1) as f64;
        for &cell in part {
            mean.iter_mut().zip(self.cell(cell)).for_each(|(mean, byte)| *mean += share(cell) * f64::from(*byte));
        }
        let project = |axis: &[f64], cell: usize| -> f64 {
            self.cell(cell)
                .iter()
                .zip(&mean)
                .zip(axis)
                .map(|((byte, mean), axis)| (f64::from(*byte) - mean) * axis)
                .sum()
        };
        let mut random = SplitMix64::new(part.len() as u64);
        let mut axis: Vec<f64> = mean.iter().map(|_| random.unit() - 0.5).collect();
        for _ in 0..POWER_ROUNDS {
            let mut next = vec![0.0f64; self.dim];
            for &cell in part {
                let by = share(cell) * project(&axis, cell);
                let row = self.cell(cell).iter().zip(&mean);
                next.iter_mut().zip(row).for_each(|(next, (byte, mean))| *next += by * (f64::from(*byte) - mean));
            }
            let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length <= 0.0 {
                break;
            }
            axis = next.into_iter().map(|x| x / length).collect();
        }
        part.iter().map(|&cell| project(&axis, cell)).collect()
    }

    fn cell(&self, cell: usize) -> &[u8] {
        &self.cells[cell * self.dim..][..self.dim]
    }

    /// The mean of cells by their weights; of all alike where none has any.
    fn centroid(&self, part: &[usize]) -> Vec<u8> {
        let empty = part.iter().all(|&cell| self.weights[cell] == 0);
        let weight = |cell: usize| if empty { 1 } else { self.weights[cell] };
        let mut sums = vec![0u64; self.dim];
        for &cell in part {
            sums.iter_mut().zip(self.cell(cell)).for_each(|(sum, byte)| *sum += weight(cell) * u64::from(*byte));
        }
        let mut centroid = vec![0; self.dim];
        mean(&mut centroid, &sums, part.iter().map(|&cell| weight(cell)).sum::<u64>().max(1));
        centroid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unwatched;

    const DIM: usize = 8;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    /// Points around 20 centres, the first of which has half of them.
    fn blobs(count: usize) -> Vec<f32> {
        let mut random = SplitMix64::new(3);
        let centres: Vec<f32> = (0..20 * DIM).map(|_| random.unit() as f32 * 10.0 - 5.0).collect();
        let one = |random: &mut SplitMix64| -> Vec<f32> {
            let centre = if random.below(2) == 0 { 0 } else { random.below(20) as usize };
            (0..DIM).map(|d| centres[centre * DIM + d] + random.unit() as f32).collect()
        };
        (0..count).flat_map(|_| one(&mut random)).collect()
    }

    fn learn(sample: &[f32], shards: u32, threads: usize) -> Space {
        Space::learn(sample, (DIM, false), shards, (&pool(threads), &Unwatched)).unwrap()
    }

    fn sizes(shards: &[u32], count: u32) -> Vec<usize> {
        (0..count).map(|shard| shards.iter().filter(|&&own| own == shard).count()).collect()
    }

    #[test]
    fn shards_are_balanced_and_the_same_on_any_number_of_threads() {
        let points = blobs(6_000);
        for shards in [1, 3, 16] {
            let (one, three) = (learn(&points[..2_000 * DIM], shards, 1), learn(&points[..2_000 * DIM], shards, 3));
            assert_eq!(one, three);
            let mut dealt = one.begin(6_000);
            let all = one.deal(&points, &mut dealt, &pool(2));
            let sizes = sizes(&all, shards);
            let mean = 6_000 / shards as usize;
            assert!(sizes.iter().all(|&size| size > mean / 3 && size < 2 * mean), "{sizes:?}");
            // In other portions the same.
            let mut again = one.begin(6_000);
            let parts: Vec<u32> =
                points.chunks(700 * DIM).flat_map(|part| one.deal(part, &mut again, &pool(1))).collect();
            assert_eq!(parts, all);
            assert_eq!(one.regions(&again), one.regions(&dealt));
        }
    }

    #[test]
    fn no_shard_outgrows_its_bound_whatever_comes() {
        let space = learn(&blobs(1_000), 4, 1);
        // All in one place, which no sample has told of.
        let same = vec![1.0; 1_000 * DIM];
        let mut dealt = space.begin(1_000);
        let sizes = sizes(&space.deal(&same, &mut dealt, &pool(1)), 4);
        assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (1_000, Some(&500)), "{sizes:?}");
        let alike = learn(&same, 4, 1);
        let mut dealt = alike.begin(1_000);
        assert_eq!(alike.deal(&same, &mut dealt, &pool(1)).len(), 1_000);
    }

    #[test]
    fn only_directions_count_where_they_do() {
        let mut points = blobs(1_000);
        let unit = |points: &[f32]| Space::learn(points, (DIM, true), 4, (&pool(1), &Unwatched)).unwrap();
        let space = unit(&points);
        let deal = |points: &[f32]| space.deal(points, &mut space.begin(1_000), &pool(1));
        let before = deal(&points);
        points.iter_mut().for_each(|x| *x *= 1_024.0);
        assert_eq!((unit(&points), deal(&points)), (space.clone(), before));
        assert_eq!(deal(&[0.0; DIM]).len(), 1, "a vector without a direction goes somewhere");
    }

    #[test]
    fn too_few_points_and_impatience_are_errors() {
        let few = Space::learn(&[0.0; 3 * DIM], (DIM, false), 4, (&pool(1), &Unwatched)).unwrap_err();
        assert!(few.to_string().contains("4 shards by space need at least as many points, there are 3"), "{few}");
        let stop = std::sync::atomic::AtomicBool::new(true);
        let stopped = Space::learn(&blobs(100), (DIM, false), 4, (&pool(1), &stop));
        assert_eq!(stopped, Err(Error::Cancelled));
    }
}
