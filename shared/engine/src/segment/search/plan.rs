//! Which plan searches, and how wide.

use cairn_model::{Preset, SearchParams};
use roaring::RoaringBitmap;

use super::{Search, Strategy, bits::Bits, outward::Open};
use crate::{Error, Result};

/// `ef` where neither the request nor `k` asks for more and nothing was measured.
const EF_DEFAULT: usize = 256;
/// `ef` at most where the request asks for neither `ef` nor recall.
const EF_USUAL_MAX: usize = 512;
/// Up to so many allowed points an exact scan costs less than scoring codes first, whose query has to be prepared.
const EXACT_POINTS_MAX: u64 = 80;
/// Candidates per hit that a walk or scan over codes keeps at least: the true nearest are practically always among twice
/// as many by high nibble, and often not among just as many.
const COARSE_PER_HIT: usize = 2;

// What plans cost, in points scored one after another; measured on sets of 22 to 60 thousand embeddings and images, see
// docs/decisions/0005-filter-plans.md. These are ratios of times on one machine, so they carry over better than times would.

/// A point scored in a walk: its code is anywhere in memory, and its place in the pool has to be found.
const COST_WALKED: f64 = 2.0;
/// Points that a walk scores per point of its pool.
const WALKED_PER_EF: f64 = 8.5;
/// A point of the pool in a walk through two hops, with all the lists that are read for it.
const COST_TWO_HOP: f64 = 120.0;
/// A cluster that is ranked.
const COST_RANKED: f64 = 1.0;
/// A search outward scores about so many times the square root of the points that match.
const OUTWARD_PER_ROOT: f64 = 56.0;
/// Points in the clusters around the query from which the density of matches there is taken, as a multiple of `ef`.
const NEIGHBOURHOOD_PER_EF: usize = 4;
/// Fewer matching points are scored at once: no plan could save what choosing it costs.
const SCAN_POINTS_MIN: u64 = 512;
/// The densities of matches around the query between which two hops lead somewhere, and are needed.
const TWO_HOP_DENSITY: std::ops::Range<f64> = 0.02..0.5;
/// What a walk with a filter keeps at least: per hit, and in all.
const FILTERED_PER_HIT: usize = 8;
const FILTERED_MIN: usize = 96;
/// What a walk through two hops keeps at least, per hit.
const TWO_HOP_PER_HIT: usize = 10;

/// A plan with what it needs.
pub(super) enum Plan {
    Nothing,
    Exact,
    Scan,
    Graph,
    FilteredGraph { bits: Bits, ef: usize },
    Clusters { bits: Bits, open: Vec<Open> },
    TwoHop { bits: Bits, open: Vec<Open>, ef: usize },
}

impl Plan {
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

impl Search<'_> {
    /// The plan for `allowed` points, or all; `strategy` where the caller chose one.
    pub(super) fn plan(
        &self,
        allowed: Option<&RoaringBitmap>,
        params: SearchParams,
        strategy: Option<Strategy>,
    ) -> Result<Plan> {
        let Some(allowed) = allowed else { return Ok(self.unfiltered(params, strategy)) };
        let matching = allowed.len();
        if matching == 0 {
            return Ok(Plan::Nothing);
        }
        let strategy = match strategy {
            None if params.exact || matching <= EXACT_POINTS_MAX => Some(Strategy::Exact),
            None if matching <= SCAN_POINTS_MIN => Some(Strategy::Scan),
            chosen => chosen,
        };
        match strategy {
            Some(Strategy::Exact | Strategy::Nothing) => return Ok(Plan::Exact),
            Some(Strategy::Scan) => return Ok(self.scan_of_all()),
            _ => {}
        }
        if self.watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let bits = Bits::new(allowed, self.segment.len());
        let mut open = self.segment.ranking().map(|ranking| self.open(&bits, ranking));
        let strategy = strategy.unwrap_or_else(|| self.cheapest(matching, open.as_deref_mut(), params));
        Ok(match (strategy, open) {
            (Strategy::Scan, _) => self.scan_of_all(),
            (Strategy::Clusters, Some(open)) => Plan::Clusters { bits, open },
            (Strategy::TwoHop, Some(open)) => {
                let ef = self.filtered_ef(params, matching).max(self.k.saturating_mul(TWO_HOP_PER_HIT));
                Plan::TwoHop { bits, open, ef }
            }
            _ => Plan::FilteredGraph { bits, ef: self.filtered_ef(params, matching) },
        })
    }

    /// Exact when asked for or when there is little to do; a scan below Qdrant's `full_scan_threshold`; else the graph.
    fn unfiltered(&self, params: SearchParams, strategy: Option<Strategy>) -> Plan {
        let points = u64::from(self.segment.len());
        match strategy {
            Some(Strategy::Exact) => Plan::Exact,
            Some(Strategy::Scan) => self.scan_of_all(),
            Some(_) => Plan::Graph,
            None if params.exact || points <= EXACT_POINTS_MAX => Plan::Exact,
            None if self.is_few(points) => self.scan_of_all(),
            None => Plan::Graph,
        }
    }

    /// Scores all matching points by codes, or exactly where there are none.
    const fn scan_of_all(&self) -> Plan {
        if self.segment.codec.is_some() { Plan::Scan } else { Plan::Exact }
    }

    /// Whether so many points are below Qdrant's `full_scan_threshold`, in kilobytes of f32 vectors: no graph then.
    fn is_few(&self, points: u64) -> bool {
        let params = self.segment.params();
        points * u64::from(params.size) * 4 / 1_024 <= u64::from(params.hnsw.full_scan_threshold)
    }

    /// The plan that costs least for `matching` points, known by cluster if the clusters could be ranked.
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    fn cheapest(&self, matching: u64, open: Option<&mut [Open]>, params: SearchParams) -> Strategy {
        let points = f64::from(self.segment.len());
        let matches = matching as f64;
        let mut plans = vec![(matches, Strategy::Scan)];
        let mut density = matches / points;
        let ranked = open.is_some();
        if let Some(open) = open {
            density = self.density(open, params);
            let outward = OUTWARD_PER_ROOT * matches.sqrt().min(matches / OUTWARD_PER_ROOT);
            plans.push((outward + COST_RANKED * open.len() as f64, Strategy::Clusters));
        }
        if !self.is_few(matching) {
            let ef = self.filtered_ef(params, matching) as f64;
            // A pool of `ef` matches costs `ef / density` points, as long as there are others to go through.
            let walked = (WALKED_PER_EF * ef / density.max(1e-9)).min(points);
            plans.push((COST_WALKED * walked, Strategy::FilteredGraph));
            if ranked && TWO_HOP_DENSITY.contains(&density) {
                plans.push((COST_TWO_HOP * ef, Strategy::TwoHop));
            }
        }
        plans.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(Strategy::Scan, |cheapest| cheapest.1)
    }

    /// The share of points that match in the clusters nearest to the query.
    fn density(&self, open: &mut [Open], params: SearchParams) -> f64 {
        let wanted = self.ef(params).saturating_mul(NEIGHBOURHOOD_PER_EF);
        let count = (wanted.saturating_mul(open.len()) / self.segment.len() as usize).clamp(1, open.len().max(1));
        if count < open.len() {
            open.select_nth_unstable_by(count, Open::promising);
        }
        let near = open.iter().take(count);
        let (points, matches) = near.fold((0u64, 0u64), |(points, matches), open| {
            (points + u64::from(open.end - open.start), matches + u64::from(open.matches))
        });
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let density = matches as f64 / points.max(1) as f64;
        density
    }

    /// Allowed points to keep in a walk. One that keeps their share of `ef` goes as far as one without a filter that keeps
    /// `ef`, where matches are spread evenly; where they are all around the query it has to keep `ef`. In between, then.
    fn filtered_ef(&self, params: SearchParams, matching: u64) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = matching as f64 / f64::from(self.segment.len());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of ef"
        )]
        let ef = (self.ef(params) as f64 * share.sqrt()).ceil() as usize;
        ef.max(self.k.saturating_mul(FILTERED_PER_HIT)).max(FILTERED_MIN)
    }

    /// Candidates to keep: what was asked for, else what the wanted recall was measured to need, but never fewer than the hits need.
    pub(super) fn ef(&self, params: SearchParams) -> usize {
        let segment = self.segment;
        let needed = if segment.codec.is_some() { self.k * COARSE_PER_HIT } else { self.k };
        let wanted = || {
            let unmeasured = EF_DEFAULT.max(segment.params().hnsw.ef_construct as usize);
            let measured = |recall| segment.calibration().ef(recall, self.k).unwrap_or(unmeasured);
            // Nobody asked for a recall that only a very wide search may give.
            let usual = || measured(recall(segment.params().preset)).min(EF_USUAL_MAX.max(self.k * COARSE_PER_HIT));
            params.recall.map_or_else(usual, measured).max(needed)
        };
        let ef = params.ef.map_or_else(wanted, |ef| ef as usize);
        ef.max(self.k).max(self.oversampled().unwrap_or(0)).min(segment.len() as usize)
    }
}

/// The recall@k that a search aims at when the request does not say.
const fn recall(preset: Preset) -> f32 {
    match preset {
        Preset::Recall => 0.995,
        Preset::Balanced => 0.99,
        Preset::Speed => 0.95,
    }
}
