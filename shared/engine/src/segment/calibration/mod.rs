//! The calibration section: which recall which `ef` gives, measured when the segment is built. See FORMAT.md.
//!
//! Queries that are asked later are not at hand, and stored points ask too little: people ask with words of their own, and such
//! queries lie farther from all points than points from one another. So the queries are *mixtures*, of a random point and less of another:
//! on the sets at hand they need as much `ef` as real questions, within a factor of two either way, where stored points need a fifth. What is left
//! of that factor is [`Calibration::ef`]'s margin.

mod filtered;
mod question;
mod reading;

use rayon::prelude::*;

use self::question::Question;
pub(super) use self::{filtered::Filtered, reading::Reading};
use super::{
    layout::{f32_at, u32_at},
    ranking::Ranking,
    vectors::Vectors,
};
use crate::{
    Error, Phase, Result, Watch,
    codec::{Codec, HighRecords},
    graph::{Links, VisitedPool},
    seed::SplitMix64,
};

const SECTION: &str = "calibration";
/// Neighbours per query.
pub(super) const K: usize = 10;
/// Points that all queries' exact searches may score together; it bounds the time.
const SCORED_MAX: usize = 64 << 20;
/// The least and the most queries.
const QUERIES: (usize, usize) = (64, 192);
/// The widths that are measured, ascending, until recall is as good as it gets.
const WIDTHS: [u32; 14] = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 1024];
/// Recall at which wider searches are not measured any more.
const RECALL_ENOUGH: f32 = 0.9995;
/// Of the misses that a target allows, the share that is aimed at: real queries may be harder than mixtures.
const MARGIN: f32 = 0.5;
/// Entries that a section may have.
const ENTRIES_MAX: u32 = 1_024;
/// Bytes before the entries, and of an entry.
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

/// What was measured for one width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// HNSW's `ef`.
    pub ef: u32,
    /// Mean recall@10 of the queries, not below that of a smaller `ef`.
    pub recall: f32,
    /// Mean distances that a query computed on level 0 and above, without rescoring.
    pub scored: f32,
}

/// The section's contents; empty where nothing was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    entries: Vec<Entry>,
}

/// What a search needs of a segment that is being built.
pub(super) struct Parts<'a> {
    pub(super) vectors: &'a Vectors,
    pub(super) codec: &'a Codec,
    pub(super) high: HighRecords<'a>,
    pub(super) links: Links<'a>,
    /// `None` where clusters cannot be ranked.
    pub(super) ranking: Option<&'a Ranking>,
}

impl Calibration {
    /// The width for a recall@k of `target`; `None` where nothing was measured.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two widths, both small and positive"
    )]
    pub fn ef(&self, target: f32, k: usize) -> Option<usize> {
        let wanted = with_margin(target);
        let at = self.entries.partition_point(|entry| entry.recall < wanted);
        let ef = match (at.checked_sub(1).and_then(|below| self.entries.get(below)), self.entries.get(at)) {
            (None, first) => f64::from(first?.ef),
            (Some(last), None) => f64::from(last.ef),
            // Between two widths that were measured, recall grows with the logarithm of the width.
            (Some(below), Some(above)) => {
                let share = f64::from((wanted - below.recall) / (above.recall - below.recall));
                f64::from(below.ef) * (f64::from(above.ef) / f64::from(below.ef)).powf(share)
            }
        }
        .ceil() as usize;
        // More neighbours need a wider search, though not in proportion: the first ten of a wide one are safer than its last ten.
        Some(ef.max(ef.saturating_mul(k).div_ceil(2 * K)))
    }

    /// Points that a walk of width `ef` is expected to score; `None` where nothing was measured.
    pub(super) fn scored(&self, ef: usize) -> Option<f64> {
        let last = self.entries.last()?;
        let above = self.entries.iter().find(|entry| entry.ef as usize >= ef).unwrap_or(last);
        // Nearly in proportion, between widths and beyond them.
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = ef as f64 / f64::from(above.ef);
        Some(f64::from(above.scored) * share)
    }

    /// What was measured, by ascending `ef`.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len() * ENTRY_BYTES);
        bytes.extend(u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(u32::try_from(K).unwrap_or(u32::MAX).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for entry in &self.entries {
            bytes.extend(entry.ef.to_le_bytes());
            bytes.extend(entry.recall.to_le_bytes());
            bytes.extend(entry.scored.to_le_bytes());
            bytes.extend([0; 4]);
        }
        bytes
    }

    /// Reads the section, whose checksum was checked.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |at, why: &str| Error::corrupt(SECTION, at, why);
        if bytes.len() < HEADER_BYTES {
            return Err(corrupt(bytes.len(), "cut off"));
        }
        let count = u32_at(bytes, 0);
        if count > ENTRIES_MAX || bytes.len() != HEADER_BYTES + count as usize * ENTRY_BYTES {
            return Err(corrupt(0, "wrong length"));
        }
        let entry = |at| Entry { ef: u32_at(bytes, at), recall: f32_at(bytes, at + 4), scored: f32_at(bytes, at + 8) };
        let entries: Vec<Entry> = (0..count as usize).map(|i| entry(HEADER_BYTES + i * ENTRY_BYTES)).collect();
        let calibration = Self { entries };
        if !calibration.is_sane() {
            return Err(corrupt(HEADER_BYTES, "impossible entries"));
        }
        Ok(calibration)
    }

    fn is_sane(&self) -> bool {
        let rising = self.entries.windows(2).all(|pair| pair[0].ef < pair[1].ef && pair[0].recall <= pair[1].recall);
        let sane = |entry: &Entry| entry.ef > 0 && (0.0..=1.0).contains(&entry.recall) && entry.scored >= 0.0;
        rising && self.entries.iter().all(sane)
    }
}

/// What is aimed at for a recall of `target`.
fn with_margin(target: f32) -> f32 {
    1.0 - (1.0 - target) * MARGIN
}

/// All that is measured when a segment is built; nothing of it for a few points.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) calibration: Calibration,
    pub(super) filtered: Filtered,
    pub(super) reading: Reading,
}

impl Measured {
    /// Measures on `pool`, without filters and with some. The same parts and seed give the same sections on any number of threads.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(super) fn new(parts: &Parts<'_>, seed: u64, pool: &rayon::ThreadPool, watch: &dyn Watch) -> Result<Self> {
        let points = parts.vectors.len();
        if points <= 2 * K {
            return Ok(Self::default());
        }
        let count = (SCORED_MAX / points).clamp(QUERIES.0, QUERIES.1);
        let mut random = SplitMix64::new(seed);
        let seeds: Vec<u64> = (0..count).map(|_| random.next()).collect();
        let visited = VisitedPool::new();
        let done = std::sync::atomic::AtomicU64::new(0);
        let questions: Vec<Question> = pool.install(|| {
            let question = |&seed: &u64| {
                let question = Question::new(parts, seed, watch)?;
                let done = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                watch.progress(Phase::Calibrate, done, count as u64);
                Ok(question)
            };
            seeds.par_iter().map(question).collect::<Result<_>>()
        })?;
        let mut entries: Vec<Entry> = Vec::new();
        for ef in WIDTHS {
            let answers: Vec<(usize, u64)> = pool.install(|| {
                questions.par_iter().map(|question| question.ask(parts, ef, &visited, watch)).collect::<Result<_>>()
            })?;
            let entry = entry(ef, &answers, entries.last().map_or(0.0, |entry| entry.recall));
            entries.push(entry);
            if entry.recall >= RECALL_ENOUGH || ef as usize >= points {
                break;
            }
        }
        let calibration = Calibration { entries };
        let reading = Reading::measure(parts, &questions, pool);
        let filtered = Filtered::measure((parts, &visited), &questions, &calibration, (pool, watch))?;
        Ok(Self { calibration, filtered, reading })
    }
}

#[expect(clippy::cast_precision_loss, reason = "means of small counts")]
fn entry(ef: u32, answers: &[(usize, u64)], recall_before: f32) -> Entry {
    let found: usize = answers.iter().map(|(found, _)| found).sum();
    let scored: u64 = answers.iter().map(|(_, scored)| scored).sum();
    let recall = found as f32 / (answers.len() * K) as f32;
    Entry { ef, recall: recall.max(recall_before), scored: scored as f32 / answers.len() as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(entries: &[(u32, f32)]) -> Calibration {
        let entry = |&(ef, recall)| Entry { ef, recall, scored: 100.0 };
        Calibration { entries: entries.iter().map(entry).collect() }
    }

    #[test]
    fn a_target_is_met_with_a_margin() {
        let measured = calibration(&[(10, 0.9), (40, 0.98), (160, 0.995), (640, 0.998)]);
        assert_eq!(measured.ef(0.7, 10), Some(10));
        let (modest, high) = (measured.ef(0.95, 10).unwrap(), measured.ef(0.99, 10).unwrap());
        assert!(
            (28..40).contains(&modest) && (120..=165).contains(&high),
            "{modest} {high}: 0.975 and 0.995 are aimed at"
        );
        assert_eq!(measured.ef(0.9999, 10), Some(640), "what cannot be reached is approached");
        assert_eq!((measured.ef(0.99, 1), measured.ef(0.99, 100)), (Some(high), Some(high * 5)));
        assert_eq!(Calibration::default().ef(0.9, 10), None);
    }

    #[test]
    fn sections_round_trip_and_bad_ones_are_refused() {
        for entries in [&[][..], &[(10, 0.5)], &[(10, 0.5), (20, 0.5), (30, 1.0)]] {
            let section = calibration(entries);
            let bytes = section.encode();
            assert_eq!(Calibration::decode(&bytes), Ok(section));
            for len in 0..bytes.len() {
                assert!(Calibration::decode(&bytes[..len]).is_err());
            }
        }
        for bad in [&[(0, 0.5)][..], &[(10, 1.5)], &[(10, f32::NAN)], &[(10, 0.5), (10, 0.6)], &[(10, 0.5), (20, 0.4)]]
        {
            assert!(Calibration::decode(&calibration(bad).encode()).is_err(), "{bad:?}");
        }
    }
}
