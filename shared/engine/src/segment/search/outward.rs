//! Cluster by cluster, the most promising first, until those that are left can hardly matter.
//!
//! Only matching points are scored, wherever they are, so a filter that excludes the neighbourhood of the query costs a
//! few more clusters and not a walk through all that it excludes.

use std::ops::Range;

use super::{
    Hit, Search,
    bits::Bits,
    nearest::Ascending,
    scan::{Batch, score},
    walk::{ByCode, ByOriginal},
};
use crate::{
    Result, Watch,
    graph::Scorer,
    segment::ranking::{Ranking, Reach, tail},
};

/// Clusters are taken in the order of their mean distance less so many units: those whose points scatter come earlier.
const OPTIMISM: f32 = 0.3;
/// How far points deviate from their cluster's mean before any was scored, in units squared, and how many scored points
/// it takes to outweigh that.
const DEVIATION: f32 = 0.02;
const DEVIATION_WEIGHT: f32 = 32.0;
/// The search ends when so large a share of the hits is expected to be missing.
const MISSED: f32 = 0.002;
/// The nearest points lie in a heavier tail than a normal distribution has: it is taken to be so much wider.
const TAILS: f32 = 1.6;
/// At least so many times the square root of the points that match are scored, whatever is expected.
const SCORED_PER_ROOT: f32 = 40.0;
/// Between two estimates of what is missing, the scored points grow by one part in so many, and by so many at least.
const ESTIMATE_EVERY: usize = 16;
const ESTIMATE_MIN: usize = 64;

/// A cluster that is not scored yet.
#[derive(Clone, Copy)]
pub(in crate::segment) struct Open {
    /// Its ordinals.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Matching points in it.
    pub(super) matches: u32,
    reach: Reach,
}

impl Open {
    /// The more promising first.
    pub(super) fn promising(a: &Self, b: &Self) -> std::cmp::Ordering {
        let key = |open: &Self| open.reach.mean - OPTIMISM * open.reach.unit;
        key(a).total_cmp(&key(b)).then(a.start.cmp(&b.start))
    }
}

/// All clusters, with what matches in each, in no order, for a query as the codec takes it.
pub(in crate::segment) fn open(bits: &Bits, ranking: &Ranking, coded: &[f32]) -> Vec<Open> {
    let open = |(cluster, reach)| {
        let Range { start, end } = ranking.ordinals(cluster);
        Open { start, end, matches: bits.count(start..end), reach }
    };
    (0..).zip(ranking.reaches(coded)).map(open).collect()
}

impl Search<'_> {
    /// Scores matching points outward from the query, by codes and then more exactly, or by originals where there are
    /// no codes.
    pub(super) fn outward(&mut self, bits: &Bits, open: Vec<Open>) -> Result<Vec<Hit>> {
        if self.dense.codec().is_none() {
            let mut scorer = ByOriginal { exact: &self.exact, scored: 0, failed: None };
            let found = clusters(&mut scorer, (bits, open), (self.k, self.k), self.watch);
            let ByOriginal { scored, failed, .. } = scorer;
            self.scored += scored;
            return failed.map_or(found, Err).and_then(|found| self.hits(found.first(self.k)));
        }
        let codes = self.codes()?;
        let mut scorer = ByCode { codes: &codes, scored: 0 };
        let found = clusters(&mut scorer, (bits, open), (self.k, self.coarse_count()), self.watch)?;
        self.scored += scorer.scored;
        self.rescore(found, &codes)
    }
}

/// The `size` nearest matches by `scorer`, of which the first `k` matter, as far as the search goes.
pub(in crate::segment) fn clusters(
    scorer: &mut impl Scorer,
    (bits, mut open): (&Bits, Vec<Open>),
    (k, size): (usize, usize),
    watch: &dyn Watch,
) -> Result<Ascending> {
    open.retain(|open| open.matches > 0);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let missed = MISSED * k as f32;
    let mut order = Order { sorted: 0 };
    let mut batch = Batch::new(size);
    let mut ordinals = Vec::new();
    let mut deviation = Deviation { squares: DEVIATION * DEVIATION_WEIGHT, weight: DEVIATION_WEIGHT };
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rough")]
    let mut until_estimate = {
        let matches: u64 = open.iter().map(|open| u64::from(open.matches)).sum();
        (SCORED_PER_ROOT * (matches as f32).sqrt()) as usize
    };
    let mut scored = 0;
    for at in 0..open.len() {
        order.reach(&mut open, at);
        let Open { start, end, reach, .. } = open[at];
        ordinals.clear();
        bits.each(start..end, |ordinal| ordinals.push(ordinal));
        score((scorer, &mut batch), &ordinals, watch)?;
        deviation.learn(reach, &batch.distances);
        scored += ordinals.len();
        if scored >= until_estimate {
            let left = &open[at + 1..];
            if deviation.expected(left, batch.nearest.kth(k)) < missed {
                break;
            }
            // An estimate looks at every cluster that is left and at every candidate, which should cost little beside the scoring.
            until_estimate = scored + left.len().max(scored / ESTIMATE_EVERY).max(ESTIMATE_MIN);
        }
    }
    Ok(batch.nearest.ascending())
}

/// Sorts clusters as far as they are wanted: a search mostly needs few of many.
struct Order {
    sorted: usize,
}

impl Order {
    const FIRST: usize = 64;

    /// Makes sure that `open[at]` is in its place.
    fn reach(&mut self, open: &mut [Open], at: usize) {
        if at < self.sorted {
            return;
        }
        let rest = &mut open[self.sorted..];
        let wanted = self.sorted.max(Self::FIRST).min(rest.len());
        if wanted < rest.len() {
            rest.select_nth_unstable_by(wanted, Open::promising);
        }
        rest[..wanted].sort_unstable_by(Open::promising);
        self.sorted += wanted;
    }
}

/// How far scored points deviate from what their clusters let expect, in units.
struct Deviation {
    squares: f32,
    weight: f32,
}

impl Deviation {
    fn learn(&mut self, reach: Reach, distances: &[f32]) {
        if reach.unit <= 0.0 {
            return;
        }
        let inverse = 1.0 / reach.unit;
        let squares: f32 = distances.iter().map(|distance| ((distance - reach.mean) * inverse).powi(2)).sum();
        // An infinite distance, from a damaged record, teaches nothing.
        if squares.is_finite() {
            self.squares += squares;
            #[expect(clippy::cast_precision_loss, reason = "a weight")]
            let count = distances.len() as f32;
            self.weight += count;
        }
    }

    /// How many points of `open` are expected to be nearer than `bound`.
    fn expected(&self, open: &[Open], bound: f32) -> f32 {
        let root = (self.squares / self.weight).sqrt() * TAILS;
        open.iter()
            .map(|open| {
                #[expect(clippy::cast_precision_loss, reason = "a cluster has some hundred points")]
                let matches = open.matches as f32;
                let deviation = root * open.reach.unit;
                let gap = open.reach.mean - bound;
                if gap <= 0.0 { matches } else { matches * tail(gap / deviation) }
            })
            .sum()
    }
}
