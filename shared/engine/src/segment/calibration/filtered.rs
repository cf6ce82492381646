//! The filters section: how much wider a walk has to be where a filter takes most of what it finds. See FORMAT.md.
//!
//! Filters that come later are not at hand either, so they are made: some let pass points at random, others whole neighbourhoods, which are runs of
//! ordinals. What a walk needs to find under the first kind depends on the share that passes; under the second, on the share around the query, and
//! that is only estimated: one factor says how much wider that makes it.

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::{Calibration, Entry, K, Parts, Question, WIDTHS, entry};
use crate::{
    Error, Result, Watch,
    graph::VisitedPool,
    seed::SplitMix64,
    segment::{
        layout::{f32_at, u32_at},
        search::bits::Bits,
    },
};

const SECTION: &str = "filters";
/// The shares that are measured.
const SHARES: [f32; 3] = [0.5, 0.2, 0.05];
/// Questions that are asked under every filter, at most.
const QUESTIONS: usize = 48;
/// The recall without a filter from which widths are measured.
const RECALL_WORTH: f32 = 0.9;
/// The recall at which wider searches are not measured any more: what the preset for recall aims at, with its margin.
const RECALL_ENOUGH: f32 = 0.9975;
/// Fewer points are scanned under most filters.
const POINTS_MIN: usize = 4_096;
/// Ordinals of a neighbourhood that passes or fails as a whole.
const NEIGHBOURHOOD: u32 = 192;
/// Recall that filters by neighbourhood have to reach, of widths that are chosen for [`TARGET`].
const TARGET: f32 = 0.99;
/// Factors that are tried for them.
const CAUTIONS: [f32; 4] = [1.0, 1.4, 2.0, 2.8];
/// Entries that a section may have, over all shares.
const ENTRIES_MAX: u32 = 4_096;
/// In the place of a width: a search outward by clusters.
const OUTWARD: u32 = 0;
/// Questions that are asked outward, at most.
const OUTWARD_QUESTIONS: usize = 16;
/// Candidates that a search outward keeps.
const OUTWARD_KEPT: usize = 256;
/// Bytes before the entries, and of an entry.
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

/// The section's contents; empty where nothing was measured.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::segment) struct Filtered {
    /// By descending share.
    shares: Vec<Share>,
    /// How much wider a walk has to be under a filter that goes by neighbourhoods.
    caution: f32,
}

/// What was measured under filters that let one share of all points pass.
#[derive(Clone, Debug, PartialEq)]
struct Share {
    share: f32,
    /// Walks.
    walks: Calibration,
    /// The part of the points that pass which a search outward by clusters scores.
    outward: Option<f32>,
}

impl Default for Filtered {
    fn default() -> Self {
        Self { shares: Vec::new(), caution: CAUTIONS[2] }
    }
}

impl Filtered {
    /// How many times as wide as without a filter a walk has to be, for a recall of `target`, under a filter that lets `share` of all points pass
    /// and `density` of those around the query; at least 1. `plain` is what was measured without.
    #[must_use]
    pub(in crate::segment) fn widening(&self, plain: &Calibration, target: f32, (share, density): (f64, f64)) -> f64 {
        let density = density.max(1e-6);
        let random = (density / share.max(1e-6)).ln().abs() < ALIKE;
        // Where nearly all pass, nothing is uncertain.
        let caution = if random { 1.0 } else { f64::from(self.caution).powf((1.0 - density).max(0.0)) };
        let Some(ef) = plain.ef(target, K) else { return unmeasured(density) * caution };
        #[expect(clippy::cast_precision_loss, reason = "widths are small")]
        let widening = |measured: &Calibration| measured.ef(target, K).map_or(1.0, |wide| wide as f64 / ef as f64);
        let mut before = (1.0, 1.0);
        for Share { share, walks, .. } in &self.shares {
            let here = (f64::from(*share), widening(walks));
            if density >= here.0 {
                // Between two shares that were measured, the width is a power of the share.
                let part = (density / before.0).ln() / (here.0 / before.0).ln();
                return (before.1 * (here.1 / before.1).powf(part.clamp(0.0, 1.0))).max(1.0) * caution;
            }
            before = here;
        }
        // Beyond them, twice as few that pass need a walk twice as wide.
        let beyond = if self.shares.is_empty() { unmeasured(density) } else { before.1 * before.0 / density };
        beyond.max(1.0) * caution
    }

    /// The part of the points that pass which a search outward by clusters scores, where `share` of all pass; `None` where it was not measured.
    #[must_use]
    pub(in crate::segment) fn outward(&self, share: f64) -> Option<f64> {
        let measured = self.shares.iter().filter_map(|at| Some((f64::from(at.share), f64::from(at.outward?))));
        let mut before: Option<(f64, f64)> = None;
        for here in measured {
            if share >= here.0 {
                return Some(before.map_or(here.1, |before| {
                    let part = (share / here.0).ln() / (before.0 / here.0).ln();
                    here.1 + (before.1 - here.1) * part.clamp(0.0, 1.0)
                }));
            }
            before = Some(here);
        }
        before.map(|(_, part)| part)
    }

    pub(in crate::segment) fn encode(&self) -> Vec<u8> {
        let walks = self.shares.iter().flat_map(|at| at.walks.entries.iter().map(|entry| (at.share, *entry)));
        let outward = self
            .shares
            .iter()
            .filter_map(|at| Some((at.share, Entry { ef: OUTWARD, recall: 0.0, scored: at.outward? })));
        let entries: Vec<(f32, Entry)> = walks.chain(outward).collect();
        let count = entries.len();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + count * ENTRY_BYTES);
        bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(u32::try_from(K).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(self.caution.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for (share, entry) in entries {
            bytes.extend(share.to_le_bytes());
            bytes.extend(entry.ef.to_le_bytes());
            bytes.extend(entry.recall.to_le_bytes());
            bytes.extend(entry.scored.to_le_bytes());
        }
        bytes
    }

    /// Reads the section, whose checksum was checked.
    pub(in crate::segment) fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |at, why: &str| Error::corrupt(SECTION, at, why);
        if bytes.len() < HEADER_BYTES {
            return Err(corrupt(bytes.len(), "cut off"));
        }
        let (count, caution) = (u32_at(bytes, 0), f32_at(bytes, 8));
        if count > ENTRIES_MAX || bytes.len() != HEADER_BYTES + count as usize * ENTRY_BYTES {
            return Err(corrupt(0, "wrong length"));
        }
        if !(1.0..=100.0).contains(&caution) {
            return Err(corrupt(8, "an impossible factor"));
        }
        let mut shares: Vec<Share> = Vec::new();
        for at in (HEADER_BYTES..bytes.len()).step_by(ENTRY_BYTES) {
            let share = f32_at(bytes, at);
            let entry =
                Entry { ef: u32_at(bytes, at + 4), recall: f32_at(bytes, at + 8), scored: f32_at(bytes, at + 12) };
            let known = shares.iter().position(|known| known.share.to_bits() == share.to_bits());
            if entry.ef == OUTWARD {
                let known = known.and_then(|known| shares.get_mut(known));
                match known {
                    Some(known) if (0.0..=1.0).contains(&entry.scored) => known.outward = Some(entry.scored),
                    _ => return Err(corrupt(at, "an impossible search outward")),
                }
            } else if let Some(known) = known.and_then(|known| shares.get_mut(known)) {
                known.walks.entries.push(entry);
            } else if share > 0.0 && share < shares.last().map_or(1.0, |last| last.share) {
                shares.push(Share { share, walks: Calibration { entries: vec![entry] }, outward: None });
            } else {
                return Err(corrupt(at, "an impossible share"));
            }
        }
        if !shares.iter().all(|known| known.walks.is_sane()) {
            return Err(corrupt(HEADER_BYTES, "impossible entries"));
        }
        Ok(Self { shares, caution })
    }

    /// Measures on `pool`, with questions whose exact answers are known.
    pub(super) fn measure(
        (parts, visited): (&Parts<'_>, &VisitedPool),
        questions: &[Question],
        plain: &Calibration,
        (pool, watch): (&rayon::ThreadPool, &dyn Watch),
    ) -> Result<Self> {
        let mut measured = Self::default();
        if parts.vectors.len() < POINTS_MIN {
            return Ok(measured);
        }
        let questions = &questions[..questions.len().min(QUESTIONS)];
        let worth = plain.entries.iter().find(|entry| entry.recall >= RECALL_WORTH).map_or(WIDTHS[0], |entry| entry.ef);
        for share in SHARES {
            let asked: Vec<(u64, Question)> = pool.install(|| under(parts, questions, |seed| random(seed, share)))?;
            let mut entries: Vec<Entry> = Vec::new();
            for ef in WIDTHS.into_iter().filter(|&ef| ef >= worth && !asked.is_empty()) {
                let answers: Vec<(usize, u64)> = pool.install(|| {
                    let ask = |(seed, question): &(u64, Question)| {
                        question.ask_among(parts, ef, random(*seed, share), visited, watch)
                    };
                    asked.par_iter().map(ask).collect::<Result<_>>()
                })?;
                let entry = entry(ef, &answers, entries.last().map_or(0.0, |entry| entry.recall));
                entries.push(entry);
                if entry.recall >= RECALL_ENOUGH || ef as usize >= parts.vectors.len() {
                    break;
                }
            }
            if !entries.is_empty() {
                let outward = pool.install(|| scored_outward(parts, questions, share, watch))?;
                measured.shares.push(Share { share, walks: Calibration { entries }, outward });
            }
        }
        measured.caution = pool.install(|| measured.cautious((parts, visited), questions, plain, watch))?;
        Ok(measured)
    }

    /// The least factor with which filters by neighbourhood reach the recall that is aimed at.
    fn cautious(
        &self,
        (parts, visited): (&Parts<'_>, &VisitedPool),
        questions: &[Question],
        plain: &Calibration,
        watch: &dyn Watch,
    ) -> Result<f32> {
        let Some(ef) = plain.ef(TARGET, K) else { return Ok(Self::default().caution) };
        for caution in CAUTIONS {
            let (mut found, mut wanted) = (0, 0);
            for share in [SHARES[0], SHARES[1]] {
                let asked = under(parts, questions, |seed| by_neighbourhood(seed, share))?;
                let answers: Vec<usize> = asked
                    .par_iter()
                    .map(|(seed, question)| {
                        let pass = by_neighbourhood(*seed, share);
                        let density = f64::from(question.density(&pass));
                        let caution = f64::from(caution).powf(1.0 - density);
                        let wide = self.widening(plain, TARGET, (density, density)) * caution;
                        question.ask_among(parts, width(ef, wide), pass, visited, watch).map(|(found, _)| found)
                    })
                    .collect::<Result<_>>()?;
                found += answers.iter().sum::<usize>();
                wanted += answers.len() * K;
            }
            #[expect(clippy::cast_precision_loss, reason = "a share of some hundred")]
            if found as f32 >= TARGET * wanted as f32 {
                return Ok(caution);
            }
        }
        Ok(CAUTIONS[CAUTIONS.len() - 1])
    }
}

/// Logarithm of the factor between the densities around a query and in all up to which they count as the same.
const ALIKE: f64 = 0.25;

/// A walk's width, `times` as wide as `ef`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the widest that is measured")]
fn width(ef: usize, times: f64) -> u32 {
    let widest = f64::from(WIDTHS[WIDTHS.len() - 1]);
    #[expect(clippy::cast_precision_loss, reason = "widths are small")]
    let wide = ef as f64 * times;
    wide.clamp(1.0, widest) as u32
}

/// Where nothing was measured: the `k` nearest that pass are among the `k / density` nearest of all.
fn unmeasured(density: f64) -> f64 {
    (0.5 / density).max(1.0)
}

/// Every question under a filter of its own, with the filter's seed.
fn under<P: Fn(u32) -> bool>(
    parts: &Parts<'_>,
    questions: &[Question],
    filter: impl Fn(u64) -> P + Sync,
) -> Result<Vec<(u64, Question)>> {
    let ask = |(seed, question): (u64, &Question)| {
        Ok(question.filtered(parts, filter(seed))?.map(|question| (seed, question)))
    };
    let seeded: Vec<(u64, &Question)> = (1..).zip(questions).collect();
    let asked: Vec<Option<(u64, Question)>> = seeded.into_par_iter().map(ask).collect::<Result<_>>()?;
    Ok(asked.into_iter().flatten().collect())
}

/// The part of the points that pass which searches outward score; `None` where clusters cannot be ranked.
fn scored_outward(parts: &Parts<'_>, questions: &[Question], share: f32, watch: &dyn Watch) -> Result<Option<f32>> {
    let Some(ranking) = parts.ranking else { return Ok(None) };
    let points = u32::try_from(parts.vectors.len()).unwrap_or(u32::MAX);
    let questions = &questions[..questions.len().min(OUTWARD_QUESTIONS)];
    let counts: Vec<(u64, u64)> = questions
        .par_iter()
        .enumerate()
        .map(|(seed, question)| {
            let seed = seed as u64;
            let passing: RoaringBitmap = (0..points).filter(|&ordinal| random(seed, share)(ordinal)).collect();
            let bits = Bits::new(&passing, points);
            Ok((question.outward(parts, (&bits, ranking), OUTWARD_KEPT, watch)?, passing.len()))
        })
        .collect::<Result<_>>()?;
    let (scored, passing) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let part = scored as f32 / passing.max(1) as f32;
    Ok(Some(part.clamp(0.0, 1.0)))
}

/// A filter that `share` of all points pass, wherever they are.
fn random(seed: u64, share: f32) -> impl Fn(u32) -> bool {
    move |ordinal| SplitMix64::new(seed << 32 | u64::from(ordinal)).unit() < f64::from(share)
}

/// A filter that `share` of all neighbourhoods pass.
fn by_neighbourhood(seed: u64, share: f32) -> impl Fn(u32) -> bool {
    let pass = random(seed, share);
    move |ordinal| pass(ordinal / NEIGHBOURHOOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walks(entries: &[(u32, f32)]) -> Calibration {
        let entry = |&(ef, recall)| Entry { ef, recall, scored: 100.0 };
        Calibration { entries: entries.iter().map(entry).collect() }
    }

    fn measured() -> Filtered {
        let share = |share, scale: u32, outward| {
            let walks = walks(&[(10 * scale, 0.9), (40 * scale, 0.99), (80 * scale, 0.995)]);
            Share { share, walks, outward }
        };
        Filtered {
            shares: vec![share(0.5, 1, Some(0.5)), share(0.1, 4, Some(0.8)), share(0.05, 8, None)],
            caution: 2.0,
        }
    }

    #[test]
    fn walks_are_as_wide_as_the_share_around_the_query_demands() {
        let plain = walks(&[(10, 0.9), (40, 0.99), (80, 0.995)]);
        let widening = |share, density| measured().widening(&plain, 0.99, (share, density));
        for (density, expected) in [(1.0, 1.0), (0.7, 1.0), (0.5, 1.0), (0.1, 4.0), (0.05, 8.0), (0.025, 16.0)] {
            assert!((widening(density, density) - expected).abs() < 0.01, "{density}: {}", widening(density, density));
        }
        assert!((1.5..3.0).contains(&widening(0.22, 0.22)), "between two shares: {}", widening(0.22, 0.22));
        assert!((7.0..8.0).contains(&widening(0.9, 0.1)), "a filter that goes by neighbourhoods");
        assert!((widening(0.1, 1.0) - 1.0).abs() < 0.01, "and lets all pass here");
        let unknown = Filtered::default().widening(&Calibration::default(), 0.99, (0.05, 0.05));
        assert!((unknown - 10.0).abs() < 0.01, "{unknown}");
    }

    #[test]
    fn the_part_scored_outward_is_interpolated() {
        let outward = |share| measured().outward(share).unwrap();
        assert_eq!((outward(0.9), outward(0.001)), (0.5, f64::from(0.8f32)));
        assert!((0.55..0.75).contains(&outward(0.22)), "{}", outward(0.22));
        assert_eq!(Filtered::default().outward(0.5), None);
    }

    #[test]
    fn sections_round_trip_and_bad_ones_are_refused() {
        for section in [Filtered::default(), measured()] {
            let bytes = section.encode();
            assert_eq!(Filtered::decode(&bytes), Ok(section));
            for len in 0..bytes.len() {
                assert!(Filtered::decode(&bytes[..len]).is_err());
            }
        }
        let bytes = measured().encode();
        for (at, bad) in [(8, f32::NAN), (8, 0.0), (16, 1.5), (16, f32::NAN), (24, 2.0), (28, -1.0)] {
            let mut damaged = bytes.clone();
            damaged[at..at + 4].copy_from_slice(&bad.to_le_bytes());
            assert!(Filtered::decode(&damaged).is_err(), "{bad} at {at}");
        }
        let mut orphan = bytes;
        let last = orphan.len() - ENTRY_BYTES;
        orphan[last..last + 4].copy_from_slice(&0.3f32.to_le_bytes());
        assert!(Filtered::decode(&orphan).is_err(), "outward at a share without walks");
    }
}
