//! Rows and centroids as bytes, and which centroid is nearest to a row, by block products.
//!
//! All values have one scale and are counted from the mean of all rows, so that a byte `u` stands for the level `u - 128`. The nearest
//! centroid of a row `x` is the one with the least `|c|^2 / 2 - <x, c>`, and that is a matrix product of bytes. What rounding costs
//! is far below the distance between two centroids: a partition need not be exact.

use rayon::prelude::*;

use super::Rows;
use crate::kernel::tile::{self, Panel};

/// What the bytes of a row are rounded up to.
const WIDTH_MULTIPLE: usize = 64;
/// The largest level stands for at most so many root mean squares: one wild value does not take the resolution from all others.
const RANGE_MAX: f64 = 16.0;
/// Centroids of a group.
const GROUP: usize = 64;
/// Groups whose centroids a row is compared with: those with the nearest means.
const PROBES: usize = 12;
/// Rounds of Lloyd's algorithm that make groups.
const ROUNDS: usize = 4;
/// Rows that are multiplied before their products are looked at: those stay in the first-level cache.
const LEFT_ROWS: usize = 16;

/// How values become bytes.
pub(super) struct Levels {
    mean: Vec<f32>,
    /// Levels per unit.
    scale: f32,
}

impl Levels {
    /// What suits `sample`.
    pub(super) fn of(rows: &impl Rows, sample: &[u32]) -> Self {
        let mut vector = vec![0.0; rows.dim()];
        let mut sums = vec![0.0f64; rows.dim()];
        for &row in sample {
            rows.read(row, &mut vector);
            sums.iter_mut().zip(&vector).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        #[expect(clippy::cast_precision_loss, reason = "rows are below 2^32")]
        let count = sample.len().max(1) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 values is one")]
        let mean: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
        let (mut squares, mut most) = (0.0f64, 0.0f64);
        for &row in sample {
            rows.read(row, &mut vector);
            for (&x, &mean) in vector.iter().zip(&mean) {
                let off = f64::from(x) - f64::from(mean);
                squares += off * off;
                most = most.max(off.abs());
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "an embedding has some thousand dimensions")]
        let deviation = (squares / (count * rows.dim().max(1) as f64)).sqrt();
        let range = most.min(RANGE_MAX * deviation);
        #[expect(clippy::cast_possible_truncation, reason = "a scale needs no more precision")]
        let scale = if range > 0.0 { (127.0 / range) as f32 } else { 0.0 };
        Self { mean, scale: if scale.is_finite() { scale } else { 0.0 } }
    }

    /// Bytes of a row.
    pub(super) fn width(&self) -> usize {
        self.mean.len().next_multiple_of(WIDTH_MULTIPLE)
    }

    /// Writes the bytes of `rows[at]` for each of `chosen`, one row after another; `vector` has the rows' dimensions.
    pub(super) fn read(&self, rows: &impl Rows, chosen: &[u32], vector: &mut [f32], out: &mut [u8]) {
        for (&row, out) in chosen.iter().zip(out.chunks_exact_mut(self.width())) {
            rows.read(row, vector);
            let (values, padding) = out.split_at_mut(vector.len());
            for (out, (&x, &mean)) in values.iter_mut().zip(vector.iter().zip(&self.mean)) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
                let level = ((x - mean) * self.scale + 128.5).clamp(1.0, 255.0) as u8;
                *out = level;
            }
            // Level 0, which adds nothing to any product.
            padding.fill(128);
        }
    }
}

/// The mean of rows of bytes.
pub(super) fn mean<'a>(rows: impl Iterator<Item = &'a [u8]>, out: &mut [u8]) {
    let mut sums = vec![0u64; out.len()];
    let mut count = 0;
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += u64::from(byte));
        count += 1;
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = u8::try_from((sum + count / 2) / count.max(1)).unwrap_or(u8::MAX);
    }
}

/// Centroids side by side.
struct Side {
    panel: Panel,
    /// What a product is subtracted from.
    biases: Vec<f32>,
    /// What they are called.
    names: Vec<u32>,
}

impl Side {
    fn new(centroids: &[u8], width: usize, names: Vec<u32>) -> Self {
        let bytes: Vec<u8> =
            names.iter().flat_map(|&name| &centroids[name as usize * width..][..width]).copied().collect();
        let mut panel = Panel::default();
        (tile::get().pack)(&bytes, width, &mut panel);
        // The rows' bytes are 128 more than their levels, which adds 128 times the sum of the centroid's levels to a product.
        let bias = |centroid: &[u8]| {
            let levels = centroid.iter().map(|&byte| i64::from(byte) - 128);
            let twice: i64 = levels.map(|level| level * (level + 256)).sum();
            #[expect(clippy::cast_precision_loss, reason = "finer than the levels")]
            let bias = twice as f32 / 2.0;
            bias
        };
        Self { panel, biases: bytes.chunks_exact(width).map(bias).collect(), names }
    }

    /// Calls `each(i, scores)` for every `left[i]`, a row of `rows`; the least score is that of the nearest.
    fn scores(
        &self,
        rows: &[u8],
        left: &[u32],
        memory: &mut (Vec<i32>, Vec<f32>),
        mut each: impl FnMut(usize, &[f32]),
    ) {
        let columns = self.panel.columns();
        let (products, scores) = memory;
        products.resize(columns * LEFT_ROWS, 0);
        scores.resize(self.biases.len(), 0.0);
        for (chunk, left) in left.chunks(LEFT_ROWS).enumerate() {
            let products = &mut products[..columns * left.len()];
            (tile::get().block)(rows, left, &self.panel, products);
            for (i, products) in products.chunks_exact(columns.max(1)).enumerate() {
                for (score, (bias, &product)) in scores.iter_mut().zip(self.biases.iter().zip(products)) {
                    #[expect(clippy::cast_precision_loss, reason = "finer than the levels")]
                    let score_now = bias - product as f32;
                    *score = score_now;
                }
                each(chunk * LEFT_ROWS + i, scores);
            }
        }
    }
}

/// Centroids in groups of near ones.
pub(super) struct Grouped {
    means: Side,
    groups: Vec<Side>,
}

/// One thread's buffers.
#[derive(Default)]
pub(super) struct Memory {
    products: (Vec<i32>, Vec<f32>),
    ranked: Vec<(f32, u32)>,
    /// Group, row.
    wanted: Vec<(u32, u32)>,
    left: Vec<u32>,
    best: Vec<(f32, u32)>,
}

impl Grouped {
    /// Groups the rows of `centroids`, of `width` bytes each.
    pub(super) fn new(centroids: &[u8], width: usize) -> Self {
        let count = centroids.len() / width;
        let names = 0..u32::try_from(count).unwrap_or(u32::MAX);
        let groups = count.div_ceil(GROUP).max(1);
        let mut means: Vec<u8> =
            (0..groups).flat_map(|g| &centroids[g * count / groups * width..][..width]).copied().collect();
        let mut members: Vec<Vec<u32>> = vec![names.clone().collect()];
        for _ in 0..if groups > 1 { ROUNDS } else { 0 } {
            let side = Side::new(&means, width, (0..u32::try_from(means.len() / width).unwrap_or(u32::MAX)).collect());
            members = vec![Vec::new(); side.names.len()];
            let all: Vec<u32> = names.clone().collect();
            side.scores(centroids, &all, &mut Default::default(), |centroid, scores| {
                members[least(scores).1].push(all[centroid]);
            });
            members.retain(|members| !members.is_empty());
            means = vec![0; members.len() * width];
            for (members, out) in members.iter().zip(means.chunks_exact_mut(width)) {
                mean(members.iter().map(|&centroid| &centroids[centroid as usize * width..][..width]), out);
            }
        }
        let names = (0..u32::try_from(members.len()).unwrap_or(u32::MAX)).collect();
        Self {
            means: Side::new(&means, width, names),
            groups: members.into_par_iter().map(|members| Side::new(centroids, width, members)).collect(),
        }
    }

    /// The nearest centroid of each of `rows`.
    pub(super) fn nearest(&self, rows: &[u8], count: u32, memory: &mut Memory, out: &mut Vec<u32>) {
        let Memory { products, ranked, wanted, left, best } = memory;
        let all: Vec<u32> = (0..count).collect();
        wanted.clear();
        self.means.scores(rows, &all, products, |row, scores| {
            ranked.clear();
            ranked.extend(scores.iter().copied().zip(0..));
            if ranked.len() > PROBES {
                ranked.select_nth_unstable_by(PROBES, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                ranked.truncate(PROBES);
            }
            wanted.extend(ranked.iter().map(|&(_, group)| (group, all[row])));
        });
        wanted.sort_unstable();
        best.clear();
        best.resize(all.len(), (f32::INFINITY, u32::MAX));
        for wanted in wanted.chunk_by(|a, b| a.0 == b.0) {
            let group = &self.groups[wanted[0].0 as usize];
            left.clear();
            left.extend(wanted.iter().map(|&(_, row)| row));
            group.scores(rows, left, products, |i, scores| {
                let (score, at) = least(scores);
                let best = &mut best[left[i] as usize];
                let name = group.names[at];
                if score < best.0 || (score <= best.0 && name < best.1) {
                    *best = (score, name);
                }
            });
        }
        out.clear();
        out.extend(best.iter().map(|&(_, name)| name));
    }
}

/// The least score, the first of equals.
fn least(scores: &[f32]) -> (f32, usize) {
    let least = scores.iter().fold(f32::INFINITY, |least, &score| least.min(score));
    (least, scores.iter().position(|&score| score <= least).unwrap_or(0))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers in a test")]
mod tests {
    use super::*;
    use crate::seed::SplitMix64;

    const DIM: usize = 20;

    struct Values(Vec<f32>);

    impl Rows for Values {
        fn len(&self) -> usize {
            self.0.len() / DIM
        }
        fn dim(&self) -> usize {
            DIM
        }
        fn read(&self, row: u32, out: &mut [f32]) {
            out.copy_from_slice(&self.0[row as usize * DIM..][..DIM]);
        }
    }

    /// Points around centres that lie off the origin, and one wild value.
    fn values(count: usize) -> Values {
        let mut random = SplitMix64::new(3);
        let centres: Vec<f32> = (0..60 * DIM).map(|_| 50.0 + random.unit() as f32 * 8.0).collect();
        let value = |i: usize| centres[i / DIM * 7 % 60 * DIM + i % DIM];
        let mut values: Vec<f32> = (0..count * DIM).map(|i| value(i) + random.unit() as f32 * 4.0).collect();
        values[5] = 1e7;
        Values(values)
    }

    fn coded(values: &Values) -> (Levels, Vec<u8>) {
        let all: Vec<u32> = (0..values.len() as u32).collect();
        let levels = Levels::of(values, &all[1..]);
        let mut bytes = vec![0; all.len() * levels.width()];
        levels.read(values, &all, &mut [0.0; DIM], &mut bytes);
        (levels, bytes)
    }

    fn apart(a: &[u8], b: &[u8]) -> i64 {
        a.iter().zip(b).map(|(a, b)| (i64::from(*a) - i64::from(*b)).pow(2)).sum()
    }

    #[test]
    fn few_centroids_are_all_looked_at_and_many_nearly() {
        let values = values(6_000);
        let (levels, bytes) = coded(&values);
        let width = levels.width();
        for (count, exact) in [(1, true), (70, true), (PROBES * GROUP, true), (3_000, false)] {
            let centroids = &bytes[..count * width];
            let grouped = Grouped::new(centroids, width);
            let (mut memory, mut nearest) = (Memory::default(), Vec::new());
            let rows = &bytes[3_000 * width..];
            grouped.nearest(rows, 3_000, &mut memory, &mut nearest);
            assert_eq!(nearest.len(), 3_000);
            let mut wrong = 0;
            for (row, &found) in rows.chunks_exact(width).zip(&nearest) {
                let least = centroids.chunks_exact(width).map(|centroid| apart(row, centroid)).min().unwrap();
                wrong += usize::from(apart(row, &centroids[found as usize * width..][..width]) != least);
            }
            assert!(wrong <= if exact { 0 } else { 60 }, "{wrong} of 3000 among {count}");
        }
    }

    #[test]
    fn levels_keep_distances_and_a_wild_value_is_clamped() {
        let values = values(2_000);
        let (levels, bytes) = coded(&values);
        let width = levels.width();
        assert_eq!((width, bytes[5]), (64, 255));
        assert!(bytes.chunks_exact(width).all(|row| row[DIM..].iter().all(|&byte| byte == 128)));
        for (i, j) in [(10usize, 700usize), (33, 1_200), (400, 401)] {
            let exact: f32 = (0..DIM).map(|d| (values.0[i * DIM + d] - values.0[j * DIM + d]).powi(2)).sum();
            let coded = apart(&bytes[i * width..][..width], &bytes[j * width..][..width]) as f32;
            let coded = coded / levels.scale.powi(2);
            assert!((coded - exact).abs() <= 0.05 * exact + 0.1, "{exact} {coded}");
        }
        let same = Values(vec![1.0; 5 * DIM]);
        assert!(coded(&same).1.iter().all(|&byte| byte == 128), "nothing varies");
    }

    #[test]
    fn means_are_rounded() {
        let mut out = [0; 3];
        mean([[1u8, 2, 255].as_slice(), &[2, 2, 255]].into_iter(), &mut out);
        assert_eq!(out, [2, 2, 255]);
    }
}
