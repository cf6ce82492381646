//! Plans that look at every allowed point, in the order of the file.

use roaring::RoaringBitmap;

use super::{
    Hit, Search,
    nearest::{Candidate, Nearest},
    rescore::hits,
    walk::{ByCode, ByOriginal},
};
use crate::{Error, Result, Watch, graph::Scorer};

/// Points scored in one batch; the next batch is prefetched while one is scored.
const BATCH: usize = 16;
/// Points between two looks at the watch.
const WATCH_EVERY: usize = 2_048;

impl Search<'_> {
    /// Exact distances to all allowed points.
    pub(super) fn exhaustive(&mut self, allowed: Option<&RoaringBitmap>) -> Result<Vec<Hit>> {
        let mut scorer = ByOriginal { exact: &self.exact, scored: 0, failed: None };
        let found = self.every(&mut scorer, allowed, self.k);
        let ByOriginal { scored, failed, .. } = scorer;
        self.scored += scored;
        failed.map_or(Ok(hits(found?)), Err)
    }

    /// Coarse distances to all allowed points, then rescoring.
    pub(super) fn scan(&mut self, allowed: Option<&RoaringBitmap>) -> Result<Vec<Hit>> {
        let codes = self.codes()?;
        let mut scorer = ByCode { codes: &codes, scored: 0 };
        let found = self.every(&mut scorer, allowed, self.coarse_count())?;
        self.scored += scorer.scored;
        self.rescore(found, &codes)
    }

    /// The `size` nearest of all allowed points, sorted.
    fn every(&self, scorer: &mut impl Scorer, allowed: Option<&RoaringBitmap>, size: usize) -> Result<Vec<Candidate>> {
        let points = self.segment.len();
        let mut batch = Batch::new(size);
        let mut some = [0u32; WATCH_EVERY];
        match allowed {
            Some(allowed) => {
                let mut all = allowed.iter();
                loop {
                    let next = all.next_many(&mut some);
                    // Ordinals ascend; a bitmap from a damaged file could go beyond the points.
                    let inside = next.partition_point(|&ordinal| ordinal < points);
                    if inside == 0 {
                        break;
                    }
                    score((scorer, &mut batch), &next[..inside], self.watch)?;
                }
            }
            None => {
                for start in (0..points).step_by(WATCH_EVERY) {
                    let mut count = 0;
                    for (slot, ordinal) in some.iter_mut().zip(start..points) {
                        *slot = ordinal;
                        count += 1;
                    }
                    score((scorer, &mut batch), &some[..count], self.watch)?;
                }
            }
        }
        Ok(batch.nearest.sorted())
    }
}

/// Scores `ordinals` and offers them; leaves their distances in the batch.
pub(super) fn score(
    (scorer, batch): (&mut impl Scorer, &mut Batch),
    ordinals: &[u32],
    watch: &dyn Watch,
) -> Result<()> {
    if watch.cancelled() {
        return Err(Error::Cancelled);
    }
    batch.distances.clear();
    batch.distances.resize(ordinals.len(), 0.0);
    let mut ahead = ordinals.chunks(BATCH).skip(1);
    for (ordinals, distances) in ordinals.chunks(BATCH).zip(batch.distances.chunks_mut(BATCH)) {
        for &ordinal in ahead.next().unwrap_or_default() {
            scorer.prefetch(ordinal);
        }
        scorer.score(ordinals, distances);
        for (&ordinal, &distance) in ordinals.iter().zip(&*distances) {
            batch.nearest.offer((distance, ordinal));
        }
    }
    Ok(())
}

/// What scoring many points fills.
pub(super) struct Batch {
    pub(super) nearest: Nearest,
    pub(super) distances: Vec<f32>,
}

impl Batch {
    pub(super) fn new(size: usize) -> Self {
        Self { nearest: Nearest::new(size), distances: Vec::new() }
    }
}
