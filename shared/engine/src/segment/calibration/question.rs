//! Questions made of a segment's own points, with their exact answers.

use std::ops::Range;

use super::{
    super::{
        originals::{Exact, Originals},
        ranking::Ranking,
        search::{
            bits::Bits,
            nearest::{Ascending, Nearest},
            outward,
            rescore::refine,
        },
        vectors::unit,
    },
    K, Parts,
};
use crate::{
    Error, Result, Watch,
    cluster::Rows,
    codec::{HighRecords, Query},
    graph::{self, Scorer, SearchOptions, VisitedPool},
    seed::SplitMix64,
};

/// The second point's share of a mixture.
const SHARE: f32 = 0.4;
/// Coarse candidates that are kept for a query's exact answers, without a filter and with some.
const TRUTH_CANDIDATES: usize = 512;

/// One made query and its exact answer.
pub(super) struct Question {
    /// As the codec and the originals take it.
    vector: Vec<f32>,
    /// The nearest points by their coarse codes, sorted.
    candidates: Vec<(f32, u32)>,
    /// Distance of the farthest true neighbour.
    bound: f32,
    /// The true neighbours.
    nearest: Vec<u32>,
}

impl Question {
    pub(super) fn new(parts: &Parts<'_>, seed: u64, watch: &dyn Watch) -> Result<Self> {
        if watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let points = u32::try_from(parts.vectors.len()).unwrap_or(u32::MAX);
        let mut random = SplitMix64::new(seed);
        let mut read = || {
            let mut row = vec![0.0; parts.vectors.dim()];
            let ordinal = u32::try_from(random.below(u64::from(points))).unwrap_or(0);
            parts.vectors.read(ordinal, &mut row);
            row
        };
        let (near, far) = (read(), read());
        let mixed: Vec<f32> = near.iter().zip(&far).map(|(near, far)| near * (1.0 - SHARE) + far * SHARE).collect();
        let vector = unit(&mixed, parts.vectors.params().distance).unwrap_or(mixed);
        let query = parts.codec.query(&vector);
        let mut nearest = Nearest::new(TRUTH_CANDIDATES);
        let (mut ordinals, mut distances) = (Vec::with_capacity(256), vec![0.0; 256]);
        for first in (0..points).step_by(256) {
            ordinals.clear();
            ordinals.extend(first..points.min(first + 256));
            let distances = &mut distances[..ordinals.len()];
            query.coarse_all(&parts.high, &ordinals, distances);
            ordinals.iter().zip(&*distances).for_each(|(&ordinal, &distance)| nearest.offer((distance, ordinal)));
        }
        let candidates = nearest.sorted();
        let (bound, nearest) = truth(parts, &vector, candidates.clone())?;
        Ok(Self { vector, candidates, bound, nearest })
    }

    /// The same question under a filter; `None` where too few of the nearest points pass it for the exact answer to be known.
    pub(super) fn filtered(&self, parts: &Parts<'_>, pass: impl Fn(u32) -> bool) -> Result<Option<Self>> {
        let candidates: Vec<(f32, u32)> = self.candidates.iter().copied().filter(|&(_, o)| pass(o)).collect();
        if candidates.len() < 2 * K {
            return Ok(None);
        }
        let (bound, nearest) = truth(parts, &self.vector, candidates)?;
        Ok(Some(Self { vector: self.vector.clone(), candidates: Vec::new(), bound, nearest }))
    }

    /// The share of the nearest points that pass.
    #[expect(clippy::cast_precision_loss, reason = "a share of some hundred")]
    pub(super) fn density(&self, pass: impl Fn(u32) -> bool) -> f32 {
        let passing = self.candidates.iter().filter(|&&(_, ordinal)| pass(ordinal)).count();
        passing as f32 / self.candidates.len().max(1) as f32
    }

    /// As the codec takes it.
    pub(super) fn vector(&self) -> &[f32] {
        &self.vector
    }

    /// The true neighbours.
    pub(super) fn nearest(&self) -> &[u32] {
        &self.nearest
    }

    /// The coarse distances of some consecutive points.
    pub(super) fn distances(&self, parts: &Parts<'_>, ordinals: Range<u32>) -> Vec<f32> {
        let ordinals: Vec<u32> = ordinals.collect();
        let mut distances = vec![0.0; ordinals.len()];
        parts.codec.query(&self.vector).coarse_all(&parts.high, &ordinals, &mut distances);
        distances
    }

    /// How many of the true neighbours a search of width `ef` finds, and how many points it scored.
    pub(super) fn ask(
        &self,
        parts: &Parts<'_>,
        ef: u32,
        visited: &VisitedPool,
        watch: &dyn Watch,
    ) -> Result<(usize, u64)> {
        self.ask_among(parts, ef, |_| true, visited, watch)
    }

    /// As [`Question::ask`], where a filter takes from what the search found.
    pub(super) fn ask_among(
        &self,
        parts: &Parts<'_>,
        ef: u32,
        pass: impl Fn(u32) -> bool,
        visited: &VisitedPool,
        watch: &dyn Watch,
    ) -> Result<(usize, u64)> {
        let query = parts.codec.query(&self.vector);
        let mut scorer = Coarse { query: &query, high: parts.high, scored: 0 };
        let mut found = graph::search(&parts.links, &mut scorer, &SearchOptions::new(ef as usize), visited, watch)?;
        let scored = scorer.scored;
        found.retain(|&(_, ordinal)| pass(ordinal));
        let found = answer(parts, &self.vector, found)?;
        let bound = self.bound + 1e-6 * self.bound.abs();
        let near = found.iter().filter(|candidate| candidate.0 <= bound).count();
        Ok((near.min(K), scored))
    }
}

impl Question {
    /// How many points a search outward by clusters scores, keeping so many candidates.
    pub(super) fn outward(
        &self,
        parts: &Parts<'_>,
        (bits, ranking): (&Bits, &Ranking),
        kept: usize,
        watch: &dyn Watch,
    ) -> Result<u64> {
        let query = parts.codec.query(&self.vector);
        let mut scorer = Coarse { query: &query, high: parts.high, scored: 0 };
        outward::clusters(&mut scorer, (bits, outward::open(bits, ranking, &self.vector)), (K, kept), watch)?;
        Ok(scorer.scored)
    }
}

/// The true neighbours among `candidates`, and the distance of the farthest.
fn truth(parts: &Parts<'_>, vector: &[f32], candidates: Vec<(f32, u32)>) -> Result<(f32, Vec<u32>)> {
    let candidates = answer(parts, vector, candidates)?;
    let bound = candidates.get(K - 1).map_or(f32::INFINITY, |candidate| candidate.0);
    Ok((bound, candidates.into_iter().map(|(_, ordinal)| ordinal).collect()))
}

/// Coarse candidates to exact ones, as a search does it, but for the step between: it only saves time.
fn answer(parts: &Parts<'_>, vector: &[f32], found: Vec<(f32, u32)>) -> Result<Vec<(f32, u32)>> {
    let exact = Exact::originals(Originals::new(parts.vectors.bytes(), parts.vectors.params()), vector);
    let mut found = refine(&mut Ascending::of_sorted(found), (K, 0), |_| (), |ordinal| exact.distance(ordinal))?;
    found.truncate(K);
    Ok(found)
}

struct Coarse<'a> {
    query: &'a Query,
    high: HighRecords<'a>,
    scored: u64,
}

impl Scorer for Coarse<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        self.query.coarse_all(&self.high, ordinals, out);
        self.scored += ordinals.len() as u64;
    }
}
