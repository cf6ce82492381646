//! Which plan searches, and how wide.

use cairn_model::SearchParams;
use roaring::RoaringBitmap;

use super::{Search, Strategy, bits::Bits};
use crate::segment::ranking::Ranking;

/// `ef` where neither the request nor `k` asks for more.
const EF_DEFAULT: usize = 256;
/// Up to so many allowed points an exact scan costs less than scoring codes first.
const EXACT_POINTS_MAX: u64 = 256;
/// Candidates per hit that a walk or scan over codes keeps at least: the true nearest are practically always among twice
/// as many by high nibble, and often not among just as many.
const COARSE_PER_HIT: usize = 2;

/// A plan with what it needs.
pub(super) enum Plan<'a> {
    Nothing,
    Exact,
    Scan,
    Graph,
    FilteredGraph { bits: Bits, ef: usize },
    Clusters { bits: Bits, ranking: &'a Ranking },
    TwoHop { bits: Bits, ranking: &'a Ranking, ef: usize },
}

impl Plan<'_> {
    pub(super) const fn strategy(&self) -> Strategy {
        match self {
            Self::Nothing => Strategy::Nothing,
            Self::Exact => Strategy::Exact,
            Self::Scan => Strategy::Scan,
            Self::Graph => Strategy::Graph,
            Self::FilteredGraph { .. } => Strategy::FilteredGraph,
            Self::Clusters { .. } => Strategy::Clusters,
            Self::TwoHop { .. } => Strategy::TwoHop,
        }
    }
}

impl<'a> Search<'a> {
    /// The plan for `allowed` points, or all; `strategy` where the caller chose one.
    pub(super) fn plan(
        &self,
        allowed: Option<&RoaringBitmap>,
        params: SearchParams,
        strategy: Option<Strategy>,
    ) -> Plan<'a> {
        let points = u64::from(self.segment.len());
        let matching = allowed.map_or(points, RoaringBitmap::len);
        if matching == 0 {
            return Plan::Nothing;
        }
        let strategy = strategy.unwrap_or_else(|| self.strategy(allowed, params));
        let bits = |allowed| Bits::new(allowed, self.segment.len());
        match (strategy, allowed, self.segment.ranking()) {
            (Strategy::Nothing | Strategy::Exact, ..) => Plan::Exact,
            (Strategy::Scan, ..) => Plan::Scan,
            (_, None, _) | (Strategy::Graph, ..) => Plan::Graph,
            (Strategy::Clusters, Some(allowed), Some(ranking)) => Plan::Clusters { bits: bits(allowed), ranking },
            (Strategy::TwoHop, Some(allowed), Some(ranking)) => {
                Plan::TwoHop { bits: bits(allowed), ranking, ef: self.filtered_ef(params, matching) }
            }
            (_, Some(allowed), _) => {
                Plan::FilteredGraph { bits: bits(allowed), ef: self.filtered_ef(params, matching) }
            }
        }
    }

    /// Exact when asked for or when there is little to do; a scan below Qdrant's `full_scan_threshold` (kilobytes
    /// of f32 vectors); the graph otherwise.
    fn strategy(&self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Strategy {
        let segment = self.segment;
        let matching = allowed.map_or(u64::from(segment.len()), RoaringBitmap::len);
        let kilobytes = matching * u64::from(segment.params().size) * 4 / 1_024;
        let few = kilobytes <= u64::from(segment.params().hnsw.full_scan_threshold);
        match segment.codec.is_some() {
            _ if params.exact || matching <= EXACT_POINTS_MAX => Strategy::Exact,
            true if few => Strategy::Scan,
            false if few => Strategy::Exact,
            _ if allowed.is_some() => Strategy::FilteredGraph,
            _ => Strategy::Graph,
        }
    }

    /// Allowed points to keep in a walk. One that keeps `ef` of all points goes as far as one that keeps their share of
    /// the allowed.
    fn filtered_ef(&self, params: SearchParams, matching: u64) -> usize {
        let share = matching as f64 / f64::from(self.segment.len());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of ef")]
        let ef = (self.ef(params) as f64 * share).ceil() as usize;
        ef.max(self.fine_count())
    }

    /// Candidates to keep: what was asked for, but never fewer than the hits need.
    pub(super) fn ef(&self, params: SearchParams) -> usize {
        let built = self.segment.params().hnsw.ef_construct as usize;
        let asked = params.ef.map_or(EF_DEFAULT.max(built), |ef| ef as usize);
        let needed = if self.segment.codec.is_some() { self.k * COARSE_PER_HIT } else { self.k };
        asked.max(needed).min(self.segment.len() as usize)
    }
}
