//! Which plan searches, and how wide.

use cairn_model::SearchParams;
use roaring::RoaringBitmap;

use super::{Search, Strategy};
use crate::segment::Segment;

/// `ef` where neither the request nor `k` asks for more.
const EF_DEFAULT: usize = 256;
/// Up to so many allowed points an exact scan costs less than scoring codes first.
const EXACT_POINTS_MAX: u64 = 256;
/// Candidates per hit that a walk or scan over codes keeps at least: the true nearest are practically always among twice
/// as many by high nibble, and often not among just as many.
const COARSE_PER_HIT: usize = 2;

impl Segment {
    /// Exact when asked for or when there is little to do; a scan below Qdrant's `full_scan_threshold` (kilobytes
    /// of f32 vectors); the graph otherwise.
    pub(super) fn plan(&self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Strategy {
        let matching = allowed.map_or(u64::from(self.len()), RoaringBitmap::len);
        let kilobytes = matching * u64::from(self.params().size) * 4 / 1_024;
        let few = kilobytes <= u64::from(self.params().hnsw.full_scan_threshold);
        match (matching, self.codec.is_some()) {
            (0, _) => Strategy::Nothing,
            _ if params.exact || matching <= EXACT_POINTS_MAX => Strategy::Exact,
            (_, true) if few => Strategy::Scan,
            (_, false) if few => Strategy::Exact,
            _ if allowed.is_some() => Strategy::FilteredGraph,
            _ => Strategy::Graph,
        }
    }
}

impl Search<'_> {
    /// Candidates to keep: what was asked for, but never fewer than the hits need.
    pub(super) fn ef(&self, params: SearchParams) -> usize {
        let built = self.segment.params().hnsw.ef_construct as usize;
        let coarse = if self.segment.codec.is_some() { self.k * COARSE_PER_HIT } else { self.k };
        let asked = params.ef.map_or(EF_DEFAULT.max(built).max(coarse), |ef| ef as usize);
        asked.max(self.k).max(self.oversampled().unwrap_or(0)).min(self.segment.len() as usize)
    }
}
