//! Plans that look at every allowed point, in the order of the file.

use super::{
    Allowed, Hit, Search,
    nearest::{Ascending, Nearest},
    rescore::hits,
    walk::{ByCode, ByOriginal},
};
use crate::{
    Error, Result, Watch,
    graph::Scorer,
    segment::places::{Ordinals, Places},
};

/// Points scored in one batch; the next batch is prefetched while one is scored.
const BATCH: usize = 16;
/// Points between two looks at the watch.
const WATCH_EVERY: usize = 2_048;

impl Search<'_> {
    /// Exact distances to all allowed points.
    pub(super) fn exhaustive(&mut self, allowed: Option<&Allowed>) -> Result<Vec<Hit>> {
        let mut scorer = ByOriginal { exact: &self.exact, scored: 0, failed: None };
        let mut batch = Batch::new(self.k);
        if let Some(places) = &self.places {
            // By ordinals from the start, which decide between points at the same distance.
            batch.ordinals = Some(Places::run(places.ordinals())?);
        }
        let found = self.every(&mut scorer, allowed, batch);
        let ByOriginal { scored, failed, .. } = scorer;
        self.scored += scored;
        let found = failed.map_or(found, Err)?.first(self.k);
        if let Some(places) = &self.places {
            // Checked of those alone that leave.
            found.iter().try_for_each(|&(_, ordinal)| places.check(ordinal))?;
        }
        Ok(hits(found))
    }

    /// Coarse distances to all allowed points, then rescoring.
    pub(super) fn scan(&mut self, allowed: Option<&Allowed>) -> Result<Vec<Hit>> {
        let codes = self.codes()?;
        let mut scorer = ByCode { codes: &codes, scored: 0 };
        let found = self.every(&mut scorer, allowed, Batch::new(self.coarse_count()))?;
        self.scored += scorer.scored;
        self.rescore(found, &codes)
    }

    /// The nearest of all allowed rows, as many as the batch keeps.
    fn every(&self, scorer: &mut impl Scorer, allowed: Option<&Allowed>, mut batch: Batch<'_>) -> Result<Ascending> {
        let points = self.dense.rows();
        if let Some(few) = allowed.and_then(Allowed::few) {
            let inside = few.partition_point(|&ordinal| ordinal < points);
            let parts = few[..inside].chunks(WATCH_EVERY);
            parts.into_iter().try_for_each(|part| score((&mut *scorer, &mut batch), part, self.watch))?;
            return Ok(batch.nearest.ascending());
        }
        let mut some = [0u32; WATCH_EVERY];
        match allowed {
            Some(allowed) => {
                let mut all = allowed.set().iter();
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
        Ok(batch.nearest.ascending())
    }
}

/// Scores `ordinals` and offers them; leaves their distances in the batch.
pub(super) fn score(
    (scorer, batch): (&mut impl Scorer, &mut Batch<'_>),
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
        let scored = ordinals.iter().zip(&*distances);
        match batch.ordinals {
            None => scored.for_each(|(&row, &distance)| batch.nearest.offer((distance, row))),
            Some(ordinals) => scored.for_each(|(&row, &distance)| batch.nearest.offer((distance, ordinals.get(row)))),
        }
    }
    Ok(())
}

/// What scoring many points fills.
pub(super) struct Batch<'a> {
    pub(super) nearest: Nearest,
    pub(super) distances: Vec<f32>,
    /// Which ordinals stand for the rows among the nearest; `None`: the rows themselves.
    ordinals: Option<Ordinals<'a>>,
}

impl Batch<'_> {
    pub(super) fn new(size: usize) -> Self {
        Self { nearest: Nearest::new(size), distances: Vec::new(), ordinals: None }
    }
}
