//! How well points are found: the nearest neighbours of a sample, by brute force and by search.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Builder, Memory};
use crate::{
    Error, Result,
    graph::{
        build::FromPoint,
        candidates::Nearest,
        coded::Block,
        tasks::{Progress, each},
        visited::Scratch,
        walk::Walk,
    },
    kernel::tile::Panel,
    seed::SplitMix64,
};

/// Points in the sample.
const SAMPLE: usize = 256;
/// Points of the sample per task.
const SHARE: usize = 32;
/// Neighbours to find.
const NEAREST: usize = 10;
/// Width of the search.
const EF: usize = 32;
/// Points that are packed at a time.
const PANEL: u32 = 256;

impl Builder<'_> {
    /// The share of a sample's nearest neighbours that a narrow search finds. A neighbour counts by its distance, so that
    /// duplicates are as good as one another.
    pub(super) fn recall(&self, seed: u64) -> Result<f32> {
        let points = u64::from(self.hnsw.len());
        let mut random = SplitMix64::new(seed);
        #[expect(clippy::cast_possible_truncation, reason = "below a u32")]
        let sample: Vec<u32> = (0..SAMPLE).map(|_| random.below(points) as u32).collect();
        let (found, wanted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let progress =
            Progress { watch: self.progress.watch, before: self.progress.before, total: self.progress.total };
        each(SAMPLE / SHARE, Some(self.pool), &progress, &|share, memory: &mut Memory| {
            let sample = &sample[share * SHARE..][..SHARE];
            for (&point, truth) in sample.iter().zip(self.truth(sample)?) {
                self.look()?;
                let last = truth.last().copied().unwrap_or(f32::NEG_INFINITY);
                let near = self.search(point, memory)?.into_iter().filter(|&distance| distance <= last);
                found.fetch_add(near.count(), Relaxed);
                wanted.fetch_add(truth.len(), Relaxed);
            }
            Ok(0)
        })?;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let recall = found.into_inner() as f32 / wanted.into_inner().max(1) as f32;
        Ok(recall)
    }

    /// The distances of the nearest to a point that a search finds, without itself.
    fn search(&self, point: u32, memory: &mut Memory) -> Result<Vec<f32>> {
        let Scratch { visited, sorted, batch, .. } = &mut memory.scratch;
        let mut scorer = FromPoint::new(self.coded, point);
        visited.reset(self.hnsw.len());
        sorted.reset(EF);
        let mut walk = Walk { scorer: &mut scorer, visited, batch, watch: self.progress.watch };
        let entry = self.hnsw.entry_point();
        let mut nearest = (walk.key(entry), entry);
        for level in (1..=self.hnsw.level(entry)).rev() {
            nearest = walk.descend(&self.hnsw.on(level), nearest, Ok)?;
        }
        walk.enter(&[nearest.1], sorted, |_| true);
        walk.run(&self.hnsw.on(0), sorted, |_| true)?;
        let others = sorted.keys().filter(|key| key.ordinal() != point);
        Ok(others.take(NEAREST).map(|key| key.distance()).collect())
    }

    /// The distances of each sampled point's nearest others, ascending.
    fn truth(&self, sample: &[u32]) -> Result<Vec<Vec<f32>>> {
        let (coded, points) = (self.coded, self.hnsw.len());
        let mut nearest: Vec<Nearest> = std::iter::repeat_with(Nearest::default).take(sample.len()).collect();
        // One more than asked for: a point finds itself.
        nearest.iter_mut().for_each(|nearest| nearest.reset(NEAREST + 1));
        let (mut panel, mut block) = (Panel::default(), Block::default());
        for from in (0..points).step_by(PANEL as usize) {
            self.look()?;
            let to = points.min(from + PANEL);
            coded.pack(from, to, &mut panel);
            coded
                .block(sample, (coded, from, to), &panel, &mut block, |i, distances| nearest[i].offer(from, distances));
        }
        let others = |(mut nearest, &point): (Nearest, &u32)| {
            let others = nearest.sorted().iter().filter(|key| key.ordinal() != point);
            others.take(NEAREST).map(|key| key.distance()).collect()
        };
        Ok(nearest.into_iter().zip(sample).map(others).collect())
    }

    /// An error once the build is cancelled.
    pub(super) fn look(&self) -> Result<()> {
        if self.progress.watch.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
