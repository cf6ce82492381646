//! The clusters section: where each cluster begins, its centroid in half a byte per dimension, and how far its points spread.
//! See FORMAT.md.
//!
//! A cold reader fetches all centroids before it can choose, so they are as small as the choice allows: half a byte, counted from the mean of all
//! centroids, adds a tenth of what a cluster's own points deviate from what is expected of them. Files before version 3 have whole bytes.

use rayon::prelude::*;

use super::layout::{f32_at, u32_at};
use crate::{
    Error, Result,
    cluster::{Clusters, Rows},
    kernel,
};

const SECTION: &str = "clusters";

/// The root of the mean squared distance of a cluster's points from their mean, per cluster.
pub(super) fn spreads(clusters: &Clusters, rows: &impl Rows, pool: &rayon::ThreadPool) -> Vec<f32> {
    let dim = rows.dim();
    let l2 = kernel::get().l2_f32;
    let spread = |(range, centroid): (&[u32], &[f32])| {
        let mut vector = vec![0.0; dim];
        let squares = (range[0]..range[1]).map(|row| {
            rows.read(row, &mut vector);
            f64::from(l2(&vector, centroid))
        });
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let spread = (squares.sum::<f64>() / f64::from(range[1] - range[0]).max(1.0)).sqrt() as f32;
        spread.min(f32::MAX)
    };
    pool.install(|| clusters.starts.par_windows(2).zip(clusters.centroids.par_chunks_exact(dim)).map(spread).collect())
}

/// The section's bytes: `count + 1` starts, `count` scales, `count` spreads, the mean of all centroids, `count` rows of nibbles.
#[must_use]
pub(super) fn encode(clusters: &Clusters, dim: usize, spreads: &[f32]) -> Vec<u8> {
    let count = clusters.len();
    let mut sums = vec![0.0f64; dim];
    for centroid in clusters.centroids.chunks_exact(dim) {
        sums.iter_mut().zip(centroid).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a mean of f32 values is one")]
    let mean: Vec<f32> = sums.iter().map(|sum| (sum / count.max(1) as f64) as f32).collect();
    let mut bytes = Vec::with_capacity(clusters.starts.len() * 12 + dim * 4 + count * dim.div_ceil(2));
    bytes.extend(clusters.starts.iter().flat_map(|start| start.to_le_bytes()));
    let mut codes = Vec::with_capacity(count * dim.div_ceil(2));
    for centroid in clusters.centroids.chunks_exact(dim) {
        let off = || centroid.iter().zip(&mean).map(|(x, mean)| x - mean);
        let scale = off().fold(0.0f32, |max, x| max.max(x.abs())) / LEVEL_MAX;
        bytes.extend(scale.to_le_bytes());
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 15")]
        let nibbles: Vec<u8> =
            off().map(|x| ((x * inverse).round().clamp(-LEVEL_MAX, LEVEL_MAX) + f32::from(ZERO)) as u8).collect();
        codes.extend(nibbles.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |second| second << 4)));
    }
    bytes.extend(spreads.iter().flat_map(|spread| spread.to_le_bytes()));
    bytes.extend(mean.iter().flat_map(|x| x.to_le_bytes()));
    bytes.extend(codes);
    bytes
}

/// The largest level of a nibble, and what stands for level 0.
const LEVEL_MAX: f32 = 7.0;
const ZERO: i8 = 8;

/// How a file's version has centroids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Centroids {
    /// One signed byte per dimension, and no spreads: version 1.
    BytesAlone,
    /// The same, then spreads: version 2.
    Bytes,
    /// Spreads, a mean, and half a byte per dimension.
    Nibbles,
}

/// A view of the section.
#[derive(Clone, Copy, Debug)]
pub struct ClustersView<'a> {
    bytes: &'a [u8],
    count: u32,
    dim: usize,
    points: u32,
    centroids: Centroids,
}

impl<'a> ClustersView<'a> {
    /// Checks the length of the section of a file of `version`, for `count` clusters of `points` points.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn open(bytes: &'a [u8], version: u32, count: u32, dim: usize, points: u32) -> Result<Self> {
        let (all, width) = (u64::from(count), dim as u64);
        let first = (all + 1) * 4 + all * (4 + width);
        let (centroids, wanted) = match version {
            ..3 if bytes.len() as u64 == first => (Centroids::BytesAlone, first),
            ..3 => (Centroids::Bytes, first + all * 4),
            _ => (Centroids::Nibbles, (all + 1) * 4 + all * 8 + width * 4 + all * width.div_ceil(2)),
        };
        if count == 0 || count > points || bytes.len() as u64 != wanted {
            return Err(Error::corrupt(SECTION, 0, format!("{} bytes for {count} clusters", bytes.len())));
        }
        Ok(Self { bytes, count, dim, points, centroids })
    }

    /// How many clusters there are; at least one.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many points they partition.
    #[must_use]
    pub(super) const fn points(&self) -> u32 {
        self.points
    }

    /// First ordinal of a cluster; of `count()`, the number of points.
    #[must_use]
    pub fn start(&self, cluster: u32) -> u32 {
        u32_at(self.bytes, cluster as usize * 4)
    }

    /// The centroid of a cluster, dequantized: `dim` values.
    #[must_use]
    pub fn centroid(&self, cluster: u32) -> Vec<f32> {
        let scale = self.scale(cluster);
        self.mean().zip(self.levels(cluster)).map(|(mean, level)| mean + f32::from(level) * scale).collect()
    }

    /// What the levels of a centroid are multiplied by.
    #[must_use]
    pub(super) fn scale(&self, cluster: u32) -> f32 {
        f32_at(self.bytes, (self.count as usize + 1 + cluster as usize) * 4)
    }

    /// What centroids are counted from: `dim` values, all zero before version 3.
    pub(super) fn mean(&self) -> impl Iterator<Item = f32> + use<'a> {
        let (bytes, at) = (self.bytes, (self.count as usize * 3 + 1) * 4);
        let stored = self.centroids == Centroids::Nibbles;
        (0..self.dim).map(move |d| if stored { f32_at(bytes, at + d * 4) } else { 0.0 })
    }

    /// The levels of a centroid: `dim` values.
    pub(super) fn levels(&self, cluster: u32) -> impl Iterator<Item = i8> + use<'a> {
        let (count, cluster, dim) = (self.count as usize, cluster as usize, self.dim);
        let is_nibbles = self.centroids == Centroids::Nibbles;
        let row = if is_nibbles {
            let width = dim.div_ceil(2);
            let rows = (count * 3 + 1 + dim) * 4;
            self.bytes.get(rows + cluster * width..rows + (cluster + 1) * width)
        } else {
            let rows = (count * 2 + 1) * 4;
            self.bytes.get(rows + cluster * dim..rows + (cluster + 1) * dim)
        };
        let row = row.unwrap_or(&[]);
        (0..dim).map_while(move |d| {
            if is_nibbles {
                let byte = row.get(d / 2)?;
                Some((byte >> (d % 2 * 4) & 15).cast_signed() - ZERO)
            } else {
                row.get(d).map(|byte| byte.cast_signed())
            }
        })
    }

    /// The root of the mean squared distance of a cluster's points from their mean, if the section has it and it is a
    /// length.
    #[must_use]
    pub(super) fn spread(&self, cluster: u32) -> Option<f32> {
        let count = self.count as usize;
        let spreads = match self.centroids {
            Centroids::BytesAlone => return None,
            Centroids::Bytes => (count * 2 + 1) * 4 + count * self.dim,
            Centroids::Nibbles => (count * 2 + 1) * 4,
        };
        let spread = f32_at(self.bytes, spreads + cluster as usize * 4);
        (spread.is_finite() && spread >= 0.0).then_some(spread)
    }

    /// Checks that the clusters are a partition of all points and that every centroid is finite.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn verify(&self) -> Result<()> {
        let ordered = (0..self.count).all(|c| self.start(c) < self.start(c + 1));
        if self.start(0) != 0 || self.start(self.count) != self.points || !ordered {
            return Err(Error::corrupt(SECTION, 0, "the clusters do not partition the points"));
        }
        match (0..self.count).find(|&c| !self.centroid(c).iter().all(|x| x.is_finite())) {
            Some(c) => Err(Error::corrupt(SECTION, c as usize, "a centroid is not finite")),
            None if self.centroids != Centroids::BytesAlone && (0..self.count).any(|c| self.spread(c).is_none()) => {
                Err(Error::corrupt(SECTION, self.bytes.len(), "a spread is not a length"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters() -> Clusters {
        Clusters { order: vec![], starts: vec![0, 2, 5], centroids: vec![1.0, -2.0, 0.5, 0.0, 0.0, 0.0] }
    }

    #[test]
    fn centroids_come_back_within_half_a_step() {
        let bytes = encode(&clusters(), 3, &[0.5, 2.0]);
        let view = ClustersView::open(&bytes, 3, 2, 3, 5).unwrap();
        view.verify().unwrap();
        assert_eq!((view.start(1), view.start(2), view.count()), (2, 5, 2));
        // The mean is half of the first centroid; the largest value off it is 1.
        for (cluster, stored) in clusters().centroids.chunks(3).enumerate() {
            let centroid = view.centroid(cluster as u32);
            assert!(centroid.iter().zip(stored).all(|(a, b)| (a - b).abs() <= 0.5 / 7.0 + 1e-6), "{centroid:?}");
        }
        assert_eq!((view.spread(0), view.spread(1), view.points()), (Some(0.5), Some(2.0), 5));
        for len in 0..bytes.len() {
            assert!(ClustersView::open(&bytes[..len], 3, 2, 3, 5).is_err());
        }
        let damaged = encode(&clusters(), 3, &[0.5, f32::NAN]);
        assert!(ClustersView::open(&damaged, 3, 2, 3, 5).unwrap().verify().is_err());
        assert!(ClustersView::open(&bytes, 3, 3, 3, 5).is_err());
        assert!(ClustersView::open(&bytes, 3, 2, 3, 6).unwrap().verify().is_err());
    }

    #[test]
    fn centroids_of_older_files_are_whole_bytes() {
        let mut bytes: Vec<u8> = [0u32, 2, 5].iter().flat_map(|start| start.to_le_bytes()).collect();
        bytes.extend([0.5f32, 0.25].iter().flat_map(|scale| scale.to_le_bytes()));
        bytes.extend([2i8, -4, 1, 0, 127, -127].map(i8::cast_unsigned));
        let first = ClustersView::open(&bytes, 1, 2, 3, 5).unwrap();
        first.verify().unwrap();
        assert_eq!((first.spread(1), first.centroid(0)), (None, vec![1.0, -2.0, 0.5]));
        bytes.extend([0.5f32, 2.0].iter().flat_map(|spread| spread.to_le_bytes()));
        let second = ClustersView::open(&bytes, 2, 2, 3, 5).unwrap();
        second.verify().unwrap();
        assert_eq!((second.spread(1), second.centroid(1)), (Some(2.0), vec![0.0, 31.75, -31.75]));
        assert!(ClustersView::open(&bytes, 3, 2, 3, 5).is_err());
    }
}
