//! The codes of a segment under one query, and the last steps of every plan over them.

use super::{
    Hit, Search,
    nearest::{Ascending, Candidate, nearer},
};
use crate::{
    Error, Result,
    codec::Query,
    segment::originals::{Exact, Records},
};

/// Candidates per hit that a scan of codes keeps, and the least of them. Where a filter leaves only what is far from the query, distances
/// are nearly equal and coarse codes confuse many: on CVE with filters against the query, recall is .966 with 96 candidates and .992 with
/// 256, at the same speed, because only as many are rescored as the errors demand.
const COARSE_PER_HIT: usize = 24;
const COARSE_MIN: usize = 256;
/// Candidates beyond the hits that are rescored before the errors of the estimates are trusted.
const MORE_MIN: usize = 4;
/// Candidates that are settled by their originals at once, as a multiple of those that are rescored in any case.
const DIRECT_MAX: (usize, usize) = (3, 2);
/// Standard deviations of its estimate by which a candidate may be too far and is rescored all the same.
const DEVIATIONS: f32 = 3.0;
/// Candidates whose bytes are on their way while one is rescored.
const AHEAD: usize = 8;

impl<'a> Search<'a> {
    /// Candidates by high nibble that a scan keeps: what a filter leaves can lie far from the query and at nearly equal distances, which
    /// coarse codes confuse.
    pub(super) fn coarse_count(&self) -> usize {
        self.k.saturating_mul(COARSE_PER_HIT).max(COARSE_MIN).max(self.oversampled().unwrap_or(0))
    }

    /// The best candidates by full code, the best of those by original vector, unless the request wants the codes' order.
    ///
    /// How many are scored again follows from the errors that come to light: see [`refine`].
    pub(super) fn rescore(&mut self, mut found: Ascending, codes: &Codes<'_>) -> Result<Vec<Hit>> {
        let oversampled = self.oversampled();
        let by_originals = self.by_originals();
        if by_originals && oversampled.is_none() && found.len() <= (self.k + MORE_MIN) * DIRECT_MAX.0 / DIRECT_MAX.1 {
            // Nearly all would be looked at twice.
            return self.settle(found.sorted());
        }
        let found = refine(
            &mut found,
            (self.k, oversampled.unwrap_or(0)),
            |ordinal| crate::kernel::prefetch(codes.low(ordinal)),
            |ordinal| {
                if by_originals {
                    // Nearly all that come so far are looked at once more.
                    self.exact.prefetch(ordinal);
                }
                Ok(codes.query.fine(codes.high(ordinal), codes.low(ordinal)))
            },
        )?;
        self.scored += found.len() as u64;
        self.settle(found)
    }

    /// The last step: the best of `found`, which is sorted by full code, by their originals.
    pub(super) fn settle(&mut self, mut found: Vec<Candidate>) -> Result<Vec<Hit>> {
        let oversampled = self.oversampled();
        if self.by_originals() {
            found.truncate(oversampled.unwrap_or(usize::MAX));
            found = refine(
                &mut Ascending::of_sorted(found),
                (self.k, oversampled.unwrap_or(0)),
                |ordinal| self.exact.prefetch(ordinal),
                |ordinal| self.exact.distance(ordinal),
            )?;
            self.scored += found.len() as u64;
        }
        found.truncate(self.k);
        self.hits(found)
    }

    /// Whether originals settle the order in the end.
    fn by_originals(&self) -> bool {
        let rescored = self.quantization.rescore != Some(false) || self.quantization.ignore;
        rescored && matches!(self.exact, Exact::Originals(_))
    }

    /// Rows as the points that they are of: nearest first, ties by ordinal.
    pub(super) fn hits(&self, mut found: Vec<Candidate>) -> Result<Vec<Hit>> {
        if let Some(places) = &self.places {
            for (_, row) in &mut found {
                *row = places.ordinal(*row)?;
            }
            found.sort_unstable_by(nearer);
        }
        Ok(hits(found))
    }

    /// Candidates to rescore, where the request says how many: never fewer than the hits, nor more than there are points.
    pub(super) fn oversampled(&self) -> Option<usize> {
        let factor = self.quantization.oversampling.filter(|_| !self.quantization.ignore)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; 0 for what is no number"
        )]
        let wanted = (self.k as f64 * f64::from(factor)).ceil() as usize;
        Some(wanted.clamp(self.k, self.dense.rows() as usize))
    }

    pub(super) fn codes(&self) -> Result<Codes<'a>> {
        let Some(codec) = self.dense.codec() else {
            return Err(Error::corrupt("head", 6, "a segment without codes was to be scored by codes"));
        };
        Ok(Codes { query: codec.query(self.coded), records: self.dense.records(codec)? })
    }
}

/// Scores the first candidates again by something better, and gives those alone, sorted.
///
/// `found` is in the order of estimates. The first `wanted` and a few more show how the estimates err: mean and deviation. From then on a
/// candidate is scored only if its estimate, corrected by the mean, is at most three deviations beyond the `wanted`th best distance so
/// far. Estimates ascend, so the first that is farther ends it. At least `least` are scored in any case.
pub(in crate::segment) fn refine(
    found: &mut Ascending,
    (wanted, least): (usize, usize),
    prefetch: impl Fn(u32),
    mut score: impl FnMut(u32) -> Result<f32>,
) -> Result<Vec<Candidate>> {
    let trusted = (wanted + MORE_MIN).max(least);
    let mut scored: Vec<Candidate> = Vec::with_capacity(trusted.min(found.len()));
    for at in 0..AHEAD {
        if let Some((_, ahead)) = found.get(at) {
            prefetch(ahead);
        }
    }
    // The nearest `wanted` distances so far, sorted.
    let mut best: Vec<f32> = Vec::with_capacity(wanted.min(found.len()) + 1);
    let (mut sum, mut squares) = (0.0f32, 0.0f32);
    while let Some((estimate, ordinal)) = found.get(scored.len()) {
        let done = scored.len();
        if done >= trusted {
            #[expect(clippy::cast_precision_loss, reason = "a few dozen candidates, seldom thousands")]
            let count = done as f32;
            let mean = sum / count;
            // A few samples understate it more often than many.
            let deviation = (squares / count - mean * mean).max(0.0).sqrt() * (1.0 + 1.0 / count.sqrt());
            if best.last().is_none_or(|&last| estimate + mean - DEVIATIONS * deviation > last) {
                break;
            }
        }
        if let Some((_, ahead)) = found.get(done + AHEAD) {
            prefetch(ahead);
        }
        let distance = score(ordinal)?;
        let error = distance - estimate;
        // Infinities of damaged records or huge vectors say nothing about the others.
        if error.is_finite() {
            sum += error;
            squares += error * error;
        }
        if best.len() < wanted || best.last().is_some_and(|&last| distance < last) {
            best.truncate(wanted - 1);
            best.insert(best.partition_point(|&other| other <= distance), distance);
        }
        scored.push((distance, ordinal));
    }
    scored.sort_unstable_by(nearer);
    Ok(scored)
}

pub(super) fn hits(candidates: Vec<Candidate>) -> Vec<Hit> {
    candidates.into_iter().map(|(distance, ordinal)| Hit { ordinal, distance }).collect()
}

/// A prepared query and the codes that it scores.
pub(super) struct Codes<'a> {
    pub(super) query: Query,
    pub(super) records: Records<'a>,
}

impl<'a> Codes<'a> {
    pub(super) fn high(&self, ordinal: u32) -> &'a [u8] {
        self.records.high.get(ordinal)
    }

    pub(super) fn low(&self, ordinal: u32) -> &'a [u8] {
        self.records.low(ordinal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// With errors of any size, refining finds the nearest, and scores as many as that takes.
        #[test]
        fn refining_scores_as_many_as_the_errors_demand(
            truths in prop::collection::vec(0.0f32..100.0, 1..300), noise in 0.0f32..20.0, wanted in 1usize..20, seed: u64,
        ) {
            let mut random = crate::seed::SplitMix64::new(seed);
            let mut found: Vec<Candidate> = (0u32..)
                .zip(&truths)
                .map(|(ordinal, truth)| (truth + noise * (random.unit() as f32 - 0.5) + 7.0, ordinal))
                .collect();
            found.sort_unstable_by(nearer);
            let truth = |ordinal: u32| Ok(truths[ordinal as usize]);
            let mut all = Ascending::of_sorted(found);
            let found = refine(&mut all, (wanted, 0), |_| (), truth).unwrap();
            prop_assert!(found.len() >= (wanted + MORE_MIN).min(truths.len()));
            let mut sorted = truths.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            // The first estimates are low by more than the later ones, and few samples understate the deviation: seldom, one is missed.
            if wanted >= 10 {
                let bound = sorted.get(wanted - 1).copied().unwrap_or(f32::INFINITY);
                let right = found.iter().take(wanted).filter(|&&(distance, _)| distance <= bound).count();
                prop_assert!(right + 3 >= wanted.min(truths.len()), "{} of {} are right", right, wanted);
            }
            prop_assert_eq!(refine(&mut all, (wanted, truths.len()), |_| (), truth).unwrap().len(), truths.len());
        }
    }

    #[test]
    fn exact_estimates_need_no_second_look() {
        let scored = |found: &[Candidate], wanted: usize| {
            let mut found = Ascending::of_sorted(found.iter().copied());
            refine(&mut found, (wanted, 0), |_| (), |ordinal| Ok(ordinal as f32)).unwrap().len()
        };
        let found: Vec<Candidate> = (0..1_000u32).map(|ordinal| (ordinal as f32, ordinal)).collect();
        assert_eq!(scored(&found, 10), 14);
        assert_eq!(scored(&[(f32::NEG_INFINITY, 0), (1.0, 1), (f32::INFINITY, 2)], 1), 3);
        assert_eq!(scored(&[], 3), 0);
        let mut found = Ascending::of_sorted(found);
        assert!(refine(&mut found, (10, 0), |_| (), |_| Err(Error::Cancelled)).is_err());
    }
}
