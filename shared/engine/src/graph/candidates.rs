//! Candidates for a point's neighbours: the nearest of all points in the clusters nearest to it, by block products.
//!
//! Points are worked on in *shares*, runs of whole clusters. The points of a share want mostly the same clusters, so each such
//! cluster is packed once for all of them, and its products with those that want it run at the speed of a matrix product.

use super::{Coded, Pairs, coded::Block, frontier::Key};
use crate::{Error, Result, Watch, kernel::tile::Panel};

/// Points that a share has at least, except the last.
const SHARE_POINTS: u32 = 1_024;

/// Clustered points: `starts[c]..starts[c + 1]` are the points of cluster `c`, as in [`crate::cluster::Clusters`].
#[derive(Clone, Copy)]
pub struct Clustered<'a> {
    /// The points, in cluster order.
    pub coded: &'a Coded,
    /// One longer than there are clusters, ascending from 0 to the number of points.
    pub starts: &'a [u32],
    /// The clusters' centroids, coded like the points.
    pub centroids: &'a Coded,
}

/// The nearest points of one, unordered while they are collected.
#[derive(Default)]
pub(super) struct Nearest {
    keys: Vec<Key>,
    /// Farther ones are not wanted.
    bound: f32,
    size: usize,
}

impl Nearest {
    pub(super) fn reset(&mut self, size: usize) {
        self.keys.clear();
        self.bound = f32::INFINITY;
        self.size = size.max(1);
    }

    /// Offers the points from `first` on.
    #[inline]
    pub(super) fn offer(&mut self, first: u32, distances: &[f32]) {
        for (ordinal, &distance) in (first..).zip(distances) {
            if distance < self.bound {
                self.keys.push(Key::new(distance, ordinal));
                if self.keys.len() >= 2 * self.size {
                    self.cut();
                }
            }
        }
    }

    fn cut(&mut self) {
        if self.keys.len() > self.size {
            let (_, last, _) = self.keys.select_nth_unstable(self.size - 1);
            self.bound = last.distance();
            self.keys.truncate(self.size);
        }
    }

    /// The nearest, sorted.
    pub(super) fn sorted(&mut self) -> &mut Vec<Key> {
        self.cut();
        self.keys.sort_unstable();
        &mut self.keys
    }
}

/// One thread's buffers.
#[derive(Default)]
pub(super) struct Memory {
    panel: Panel,
    block: Block,
    /// The points of the share.
    points: Vec<u32>,
    /// Who wants which cluster: cluster, point.
    wanted: Vec<(u32, u32)>,
    left: Vec<u32>,
    nearest: Vec<Nearest>,
}

/// Finds candidates.
pub(super) struct Candidates<'a> {
    clustered: Clustered<'a>,
    centroids: Panel,
    /// Clusters that each point is compared with.
    probes: usize,
    /// Candidates kept.
    size: usize,
    /// The first cluster of each share, and the end.
    shares: Vec<usize>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(clustered: Clustered<'a>, probes: usize, size: usize) -> Self {
        let mut centroids = Panel::default();
        let clusters = clustered.centroids.len();
        clustered.centroids.pack(0, u32::try_from(clusters).unwrap_or(u32::MAX), &mut centroids);
        let mut shares = vec![0];
        let mut from = 0;
        for (cluster, &end) in clustered.starts.iter().enumerate().skip(1) {
            if end - from >= SHARE_POINTS || cluster == clusters {
                shares.push(cluster);
                from = end;
            }
        }
        Self { clustered, centroids, probes: probes.clamp(1, clusters.max(1)), size, shares }
    }

    /// How many shares there are.
    pub(super) fn shares(&self) -> usize {
        self.shares.len() - 1
    }

    /// Calls `each(point, candidates)` for all points of a share, with their candidates nearest first; gives their number.
    ///
    /// # Errors
    /// `Cancelled`, and those of `each`.
    pub(super) fn find(
        &self,
        share: usize,
        memory: &mut Memory,
        watch: &dyn Watch,
        each: &mut dyn FnMut(u32, &[Key]) -> Result<()>,
    ) -> Result<usize> {
        let Clustered { coded, starts, .. } = self.clustered;
        let (from, to) = (starts[self.shares[share]], starts[self.shares[share + 1]]);
        let count = (to - from) as usize;
        memory.points.clear();
        memory.points.extend(from..to);
        memory.nearest.resize_with(memory.nearest.len().max(count), Nearest::default);
        self.want(share, memory);
        // One more than asked for: a point finds itself.
        memory.nearest[..count].iter_mut().for_each(|nearest| nearest.reset(self.size + 1));
        let Memory { panel, block, wanted, left, nearest, .. } = memory;
        for wanted in wanted.chunk_by(|a, b| a.0 == b.0) {
            if watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let cluster = wanted[0].0 as usize;
            let (first, end) = (starts[cluster], starts[cluster + 1]);
            coded.pack(first, end, panel);
            left.clear();
            left.extend(wanted.iter().map(|&(_, point)| point));
            coded.block(left, (coded, first, end), panel, block, |i, distances| {
                nearest[(wanted[i].1 - from) as usize].offer(first, distances);
            });
        }
        for (point, nearest) in (from..to).zip(nearest) {
            let keys = nearest.sorted();
            keys.retain(|key| key.ordinal() != point);
            each(point, keys)?;
        }
        Ok(count)
    }

    /// Fills `memory.wanted`, sorted by cluster.
    fn want(&self, share: usize, memory: &mut Memory) {
        let Clustered { coded, starts, centroids } = self.clustered;
        let Memory { block, points, wanted, nearest, .. } = memory;
        wanted.clear();
        for own in self.shares[share]..self.shares[share + 1] {
            let own = u32::try_from(own).unwrap_or(u32::MAX);
            wanted.extend((starts[own as usize]..starts[own as usize + 1]).map(|point| (own, point)));
        }
        let clusters = u32::try_from(centroids.len()).unwrap_or(u32::MAX);
        coded.block(points, (centroids, 0, clusters), &self.centroids, block, |i, distances| {
            let nearest = &mut nearest[0];
            nearest.reset(self.probes);
            nearest.offer(0, distances);
            wanted.extend(nearest.sorted().iter().map(|key| (key.ordinal(), points[i])));
        });
        wanted.sort_unstable();
        wanted.dedup();
    }
}
