//! Which plan searches, and how wide.

use cairn_model::{Preset, SearchParams};

use super::{
    Search, Strategy,
    allowed::Allowed,
    outward::{Open, open},
};
use crate::{Error, Result, segment::ranking::Ranking};

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
/// Points that a walk scores per point of its pool, where nothing was measured.
const WALKED_PER_EF: f64 = 8.5;
/// A point scored outward, with what it takes to choose its cluster and to know when to stop.
const COST_OUTWARD: f64 = 1.15;
/// A cluster that is ranked.
const COST_RANKED: f64 = 1.0;
/// A search outward scores about so many times the square root of the points that match, where nothing was measured.
const OUTWARD_PER_ROOT: f64 = 56.0;
/// Points in the clusters around the query from which the density of matches there is taken, as a multiple of `ef`.
const NEIGHBOURHOOD_PER_EF: usize = 4;
/// Fewer matching points are scored at once: no plan could save what choosing it costs.
const SCAN_POINTS_MIN: u64 = 512;
/// Allowed points per hit that a walk with a filter has to come back with: fewer, and the filter leaves less around the query than was thought.
pub(super) const KEPT_PER_HIT: usize = 2;
/// A share of points that count below which dead points are planned for as a filter is.
const LIVING_MIN: f64 = 0.5;
/// Points that count which a walk past dead ones should come back with beyond those that it has to: dead ones are not spread evenly.
const LIVING_MORE: usize = 4;
/// What a walk with a filter over the graph as it is expanded in memory keeps at least: per hit, and in all.
const HOT_PER_HIT: usize = 8;
const HOT_MIN: usize = 96;
/// The widest walk with a filter; where more would be needed, looking at matches alone is cheaper.
pub(super) const FILTERED_EF_MAX: usize = 1_024;

/// A plan with what it needs.
pub(super) enum Plan {
    Nothing,
    Exact,
    Scan,
    Graph,
    FilteredGraph { ef: usize },
    Clusters { open: Vec<Open> },
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
        }
    }
}

impl Search<'_> {
    /// The plan for `allowed` points, or all; `strategy` where the caller chose one.
    pub(super) fn plan(
        &self,
        allowed: Option<&Allowed>,
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
            None if matching <= SCAN_POINTS_MIN || self.scans(matching, params) => Some(Strategy::Scan),
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
        let mut open = self.dense.ranking().map(|ranking| open(allowed.bits(), ranking, self.coded));
        let density = self.density(params, matching, open.as_deref_mut());
        let ef = self.filtered_ef(params, (share(matching, self.dense.rows()), density));
        let strategy = strategy.unwrap_or_else(|| self.cheapest(matching, open.as_ref().map(Vec::len), ef));
        Ok(match (strategy, open) {
            (Strategy::Scan, _) => self.scan_of_all(),
            (Strategy::Clusters, Some(open)) => Plan::Clusters { open },
            _ => Plan::FilteredGraph { ef },
        })
    }

    /// The width of a walk without a filter in a segment of which only so many points count; `None` where they are better treated as what a
    /// filter lets pass.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate"
    )]
    pub(super) fn living_ef(&self, living: u64, params: SearchParams, strategy: Option<Strategy>) -> Option<usize> {
        let points = self.dense.rows();
        let share = share(living, points);
        let unplanned = !params.exact && living > EXACT_POINTS_MAX && !self.is_few(living) && share >= LIVING_MIN;
        let walks = match strategy {
            None => unplanned,
            chosen => chosen == Some(Strategy::Graph) && living > 0,
        };
        let wide = self.ef(params).max(KEPT_PER_HIT * self.k + LIVING_MORE) as f64 / share.max(1e-6);
        walks.then(|| (wide.ceil() as usize).min(points as usize))
    }

    /// Exact when asked for or when there is little to do; a scan below Qdrant's `full_scan_threshold`; else the graph.
    fn unfiltered(&self, params: SearchParams, strategy: Option<Strategy>) -> Plan {
        let points = u64::from(self.dense.rows());
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
        if self.dense.codec().is_some() { Plan::Scan } else { Plan::Exact }
    }

    /// Whether so many points are below Qdrant's `full_scan_threshold`, in kilobytes of f32 vectors: no graph then.
    fn is_few(&self, points: u64) -> bool {
        let params = self.dense.params();
        points * u64::from(params.size) * 4 / 1_024 <= u64::from(params.hnsw.full_scan_threshold)
    }

    /// Whether a scan of `matching` points costs least whatever the query is: that saves ranking the clusters for it.
    fn scans(&self, matching: u64, params: SearchParams) -> bool {
        let clusters = self.dense.ranking().map(Ranking::len);
        // No walk is narrower than one where all points around the query match.
        let ef = self.filtered_ef(params, (1.0, 1.0));
        self.cheapest(matching, clusters, ef) == Strategy::Scan
    }

    /// The plan that costs least for `matching` points in so many clusters, if those can be ranked, and a walk of width `ef`.
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    fn cheapest(&self, matching: u64, clusters: Option<usize>, ef: usize) -> Strategy {
        let points = f64::from(self.dense.rows());
        let matches = matching as f64;
        let mut plans = vec![(matches, Strategy::Scan)];
        if let Some(clusters) = clusters {
            let unmeasured = || OUTWARD_PER_ROOT * matches.sqrt().min(matches / OUTWARD_PER_ROOT);
            let outward =
                self.dense.filtered().outward(matches / points).map_or_else(unmeasured, |part| matches * part);
            plans.push((COST_OUTWARD * outward + COST_RANKED * clusters as f64, Strategy::Clusters));
        }
        if !self.is_few(matching) && ef <= FILTERED_EF_MAX {
            let walked = self.dense.calibration().scored(ef).unwrap_or(WALKED_PER_EF * ef as f64);
            plans.push((COST_WALKED * walked.min(points), Strategy::FilteredGraph));
        }
        plans.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(Strategy::Scan, |cheapest| cheapest.1)
    }

    /// The share of points that match: in the clusters nearest to the query, where they can be ranked.
    fn density(&self, params: SearchParams, matching: u64, open: Option<&mut [Open]>) -> f64 {
        let Some(open) = open else { return share(matching, self.dense.rows()) };
        let wanted = self.ef(params).saturating_mul(NEIGHBOURHOOD_PER_EF);
        let count = (wanted.saturating_mul(open.len()) / self.dense.rows() as usize).clamp(1, open.len().max(1));
        if count < open.len() {
            open.select_nth_unstable_by(count, Open::promising);
        }
        let near = open.iter().take(count);
        let (points, matches) = near.fold((0, 0u64), |(points, matches), open| {
            (points + (open.end - open.start), matches + u64::from(open.matches))
        });
        share(matches, points)
    }

    /// The width of a walk with a filter that lets so large shares pass: of all points, and of those around the query. The `k` nearest matches are
    /// among the `k / density` nearest points, so it takes a search for about so many, and the filter afterwards.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate"
    )]
    pub(super) fn filtered_ef(&self, params: SearchParams, shares: (f64, f64)) -> usize {
        let dense = self.dense;
        let target = params.recall.unwrap_or(recall(dense.params().preset));
        let widening = dense.filtered().widening(dense.calibration(), target, shares);
        // Twice as many have to be left as are asked for, and a few more, because an estimate is one.
        let least = 1.25 * (KEPT_PER_HIT * self.k) as f64 / shares.1.max(1e-6);
        let wide = (self.ef(params) as f64 * widening).max(least).ceil() as usize;
        wide.min(dense.rows() as usize)
    }

    /// The same for the graph as it is expanded in memory, whose estimates are coarser: what a filter takes from the pool is given back in part.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate"
    )]
    pub(super) fn hot_ef(&self, params: SearchParams, ef: usize, share: f64) -> usize {
        let wide = self.ef(params).max(self.k.saturating_mul(HOT_PER_HIT)).max(HOT_MIN);
        let wide = (wide as f64 / share.max(1e-6).sqrt()).ceil() as usize;
        wide.min(FILTERED_EF_MAX).max(ef)
    }

    /// Candidates to keep: what was asked for, else what the wanted recall was measured to need, but never fewer than the hits need.
    pub(super) fn ef(&self, params: SearchParams) -> usize {
        let dense = self.dense;
        let needed = if dense.codec().is_some() { self.k * COARSE_PER_HIT } else { self.k };
        let wanted = || {
            let unmeasured = EF_DEFAULT.max(dense.params().hnsw.ef_construct as usize);
            let measured = |recall| dense.calibration().ef(recall, self.k).unwrap_or(unmeasured);
            // Nobody asked for a recall that only a very wide search may give.
            let usual = || measured(recall(dense.params().preset)).min(EF_USUAL_MAX.max(self.k * COARSE_PER_HIT));
            params.recall.map_or_else(usual, measured).max(needed)
        };
        let ef = params.ef.map_or_else(wanted, |ef| ef as usize);
        ef.max(self.k).max(self.oversampled().unwrap_or(0)).min(dense.rows() as usize)
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

/// How large a part of `points` so many are.
#[expect(clippy::cast_precision_loss, reason = "a share")]
pub(super) fn share(matches: u64, points: u32) -> f64 {
    matches as f64 / f64::from(points.max(1))
}
