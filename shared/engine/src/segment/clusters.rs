//! The clusters section: where each cluster begins, its centroid in one byte per dimension, and how far its points spread.
//! See FORMAT.md.

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

/// The section's bytes: `count + 1` starts, `count` scales, `count * dim` signed codes, `count` spreads.
#[must_use]
pub(super) fn encode(clusters: &Clusters, dim: usize, spreads: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(clusters.starts.len() * 12 + clusters.centroids.len());
    bytes.extend(clusters.starts.iter().flat_map(|start| start.to_le_bytes()));
    let mut codes = Vec::with_capacity(clusters.centroids.len());
    for centroid in clusters.centroids.chunks_exact(dim) {
        let scale = centroid.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
        bytes.extend(scale.to_le_bytes());
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "rounded and clamped to an i8")]
        codes.extend(centroid.iter().map(|x| ((x * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned()));
    }
    bytes.extend(codes);
    bytes.extend(spreads.iter().flat_map(|spread| spread.to_le_bytes()));
    bytes
}

/// A view of the section.
#[derive(Clone, Copy, Debug)]
pub struct ClustersView<'a> {
    bytes: &'a [u8],
    count: u32,
    dim: usize,
    points: u32,
    /// Whether spreads follow the centroids: they do since version 2.
    has_spreads: bool,
}

impl<'a> ClustersView<'a> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn open(bytes: &'a [u8], count: u32, dim: usize, points: u32) -> Result<Self> {
        let wanted = (u64::from(count) + 1) * 4 + u64::from(count) * (4 + dim as u64);
        let has_spreads = bytes.len() as u64 == wanted + u64::from(count) * 4;
        if count == 0 || count > points || !(has_spreads || bytes.len() as u64 == wanted) {
            return Err(Error::corrupt(SECTION, 0, format!("{} bytes for {count} clusters", bytes.len())));
        }
        Ok(Self { bytes, count, dim, points, has_spreads })
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
        let (scale, codes) = self.coded(cluster);
        codes.iter().map(|&code| f32::from(code.cast_signed()) * scale).collect()
    }

    /// The scale of a centroid and its signed bytes, which it multiplies.
    #[must_use]
    pub(super) fn coded(&self, cluster: u32) -> (f32, &'a [u8]) {
        let scales = (self.count as usize + 1) * 4;
        let scale = f32_at(self.bytes, scales + cluster as usize * 4);
        let codes = scales + self.count as usize * 4 + cluster as usize * self.dim;
        (scale, self.bytes.get(codes..codes + self.dim).unwrap_or(&[]))
    }

    /// The root of the mean squared distance of a cluster's points from their mean, if the section has it and it is a
    /// length.
    #[must_use]
    pub(super) fn spread(&self, cluster: u32) -> Option<f32> {
        let spreads = (self.count as usize * 2 + 1) * 4 + self.count as usize * self.dim;
        let spread = self.has_spreads.then(|| f32_at(self.bytes, spreads + cluster as usize * 4))?;
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
            None if self.has_spreads && (0..self.count).any(|c| self.spread(c).is_none()) => {
                Err(Error::corrupt(SECTION, self.bytes.len(), "a spread is not a length"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centroids_come_back_within_half_a_step() {
        let clusters =
            Clusters { order: vec![], starts: vec![0, 2, 5], centroids: vec![1.0, -2.0, 0.5, 0.0, 0.0, 0.0] };
        let bytes = encode(&clusters, 3, &[0.5, 2.0]);
        let view = ClustersView::open(&bytes, 2, 3, 5).unwrap();
        view.verify().unwrap();
        assert_eq!((view.start(1), view.start(2), view.count()), (2, 5, 2));
        let centroid = view.centroid(0);
        assert!(centroid.iter().zip([1.0, -2.0, 0.5]).all(|(a, b): (&f32, f32)| (a - b).abs() <= 1.0 / 127.0));
        assert_eq!(view.centroid(1), [0.0; 3]);
        assert_eq!((view.spread(0), view.spread(1), view.points()), (Some(0.5), Some(2.0), 5));
        let first = ClustersView::open(&bytes[..bytes.len() - 8], 2, 3, 5).unwrap();
        first.verify().unwrap();
        assert_eq!((first.spread(1), first.centroid(0)), (None, centroid), "version 1 has no spreads");
        let damaged = encode(&clusters, 3, &[0.5, f32::NAN]);
        assert!(ClustersView::open(&damaged, 2, 3, 5).unwrap().verify().is_err());
        assert!(ClustersView::open(&bytes, 3, 3, 5).is_err());
        assert!(ClustersView::open(&bytes, 2, 3, 6).unwrap().verify().is_err());
    }
}
