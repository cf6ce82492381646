//! Plans that look at every allowed point.

use cairn_model::SearchParams;
use roaring::RoaringBitmap;

use super::{Hit, Search, nearest::Nearest, rescore::hits};
use crate::{Error, Result};

/// Points between two looks at the watch.
const WATCH_EVERY: usize = 2_048;

impl Search<'_> {
    /// Exact distances to all allowed points.
    pub(super) fn exhaustive(&mut self, allowed: Option<&RoaringBitmap>) -> Result<Vec<Hit>> {
        let mut nearest = Nearest::new(self.k);
        self.each(allowed, |search, ordinal| {
            nearest.offer((search.exact.distance(ordinal)?, ordinal));
            Ok(())
        })?;
        Ok(hits(nearest.sorted()))
    }

    /// Coarse distances to all allowed points, then rescoring.
    pub(super) fn scan(&mut self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Result<Vec<Hit>> {
        let codes = self.codes()?;
        let mut nearest = Nearest::new(self.ef(params));
        self.each(allowed, |_, ordinal| {
            nearest.offer((codes.query.coarse(codes.high(ordinal)), ordinal));
            Ok(())
        })?;
        self.rescore(nearest.sorted(), &codes)
    }

    /// Calls `score` for every allowed ordinal, in order.
    fn each(&mut self, allowed: Option<&RoaringBitmap>, mut score: impl FnMut(&Self, u32) -> Result<()>) -> Result<()> {
        let points = self.segment.len();
        let all = allowed.is_none().then_some(0..points).into_iter().flatten();
        let some = allowed.into_iter().flatten().take_while(|&ordinal| ordinal < points);
        let mut count = 0;
        for ordinal in all.chain(some) {
            if count % WATCH_EVERY == 0 && self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            count += 1;
            score(self, ordinal)?;
        }
        self.scored += count as u64;
        Ok(())
    }
}
