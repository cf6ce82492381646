//! The clusters section: where each cluster begins, and its centroid in one byte per dimension. See FORMAT.md.

use super::layout::{f32_at, u32_at};
use crate::{Error, Result, cluster::Clusters};

const SECTION: &str = "clusters";

/// The section's bytes: `count + 1` starts, `count` scales, `count * dim` signed codes.
#[must_use]
pub(super) fn encode(clusters: &Clusters, dim: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(clusters.starts.len() * 8 + clusters.centroids.len());
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
    bytes
}

/// A view of the section.
#[derive(Clone, Copy, Debug)]
pub struct ClustersView<'a> {
    bytes: &'a [u8],
    count: u32,
    dim: usize,
    points: u32,
}

impl<'a> ClustersView<'a> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn open(bytes: &'a [u8], count: u32, dim: usize, points: u32) -> Result<Self> {
        let wanted = (u64::from(count) + 1) * 4 + u64::from(count) * (4 + dim as u64);
        if count == 0 || count > points || bytes.len() as u64 != wanted {
            return Err(Error::corrupt(SECTION, 0, format!("{} bytes for {count} clusters", bytes.len())));
        }
        Ok(Self { bytes, count, dim, points })
    }

    /// How many clusters there are; at least one.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// First ordinal of a cluster; of `count()`, the number of points.
    #[must_use]
    pub fn start(&self, cluster: u32) -> u32 {
        u32_at(self.bytes, cluster as usize * 4)
    }

    /// The centroid of a cluster, dequantized: `dim` values.
    #[must_use]
    pub fn centroid(&self, cluster: u32) -> Vec<f32> {
        let scales = (self.count as usize + 1) * 4;
        let scale = f32_at(self.bytes, scales + cluster as usize * 4);
        let codes = scales + self.count as usize * 4 + cluster as usize * self.dim;
        let codes = self.bytes.get(codes..codes + self.dim).unwrap_or(&[]);
        codes.iter().map(|&code| f32::from(code.cast_signed()) * scale).collect()
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
        let bytes = encode(&clusters, 3);
        let view = ClustersView::open(&bytes, 2, 3, 5).unwrap();
        view.verify().unwrap();
        assert_eq!((view.start(1), view.start(2), view.count()), (2, 5, 2));
        let centroid = view.centroid(0);
        assert!(centroid.iter().zip([1.0, -2.0, 0.5]).all(|(a, b): (&f32, f32)| (a - b).abs() <= 1.0 / 127.0));
        assert_eq!(view.centroid(1), [0.0; 3]);
        assert!(ClustersView::open(&bytes, 3, 3, 5).is_err());
        assert!(ClustersView::open(&bytes, 2, 3, 6).unwrap().verify().is_err());
    }
}
