//! The reading section: which clusters a search that has seen no point yet has to read for which recall. See FORMAT.md.
//!
//! Such a search knows how many of the nearest points each cluster is expected to have, and reads those that are expected to have enough of
//! them: a rule that asks what the next cluster adds, not how much all others may hold together, since what is expected of thousands of far clusters
//! is little each, much in sum, and mostly not there. How much is enough, the questions say: their true neighbours are known, and so is what
//! was expected of the clusters that hold them.

use rayon::prelude::*;

use super::{K, Parts, Question, with_margin};
use crate::{
    Error, Result,
    segment::{
        layout::{f32_at, u32_at},
        ranking::{Ranking, Reach, expected},
    },
};

const SECTION: &str = "reading";
/// The recalls for which it is measured.
const RECALLS: [f32; 11] = [0.5, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995];
/// What is taken where nothing was measured: the middle of what five sets of 22 thousand to a million vectors have.
const DEVIATION: f32 = 0.12;
const USUAL: [(f32, f32); 5] = [(0.7, 0.5), (0.8, 0.2), (0.9, 0.06), (0.95, 0.03), (0.99, 0.008)];
/// Clusters whose points teach how far distances deviate: those with the nearest means.
const NEAR: usize = 8;
/// Entries that a section may have.
const ENTRIES_MAX: u32 = 1_024;
/// Bytes before the entries, and of an entry.
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 8;

/// The section's contents; what is usual where nothing was measured.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::segment) struct Reading {
    /// How far points deviate from the mean distance of their cluster, in units of its reach.
    deviation: f32,
    /// Recall, and how many of the [`K`] nearest points have to be expected in a cluster that is read for it; ascending by recall.
    entries: Vec<(f32, f32)>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { deviation: DEVIATION, entries: USUAL.to_vec() }
    }
}

impl Reading {
    /// How far points deviate from the mean distance of their cluster, in units of its reach.
    pub(in crate::segment) fn deviation(&self) -> f32 {
        self.deviation
    }

    /// How many of the [`K`] nearest points have to be expected in a cluster that is worth reading for a recall of `target`.
    pub(in crate::segment) fn least(&self, target: f32) -> f32 {
        let wanted = with_margin(target);
        let at = self.entries.partition_point(|&(recall, _)| recall < wanted);
        match (at.checked_sub(1).and_then(|below| self.entries.get(below)), self.entries.get(at)) {
            (None, None) => 0.0,
            (None, Some(&(_, least))) => least,
            // Beyond what was measured, misses fall in proportion.
            (Some(&(recall, least)), None) => least * (1.0 - wanted) / (1.0 - recall).max(f32::MIN_POSITIVE),
            // Between, the logarithm falls with recall.
            (Some(&(low, more)), Some(&(high, less))) => more * (less / more).powf((wanted - low) / (high - low)),
        }
    }

    /// Measures on `pool`; what is usual where clusters cannot be ranked.
    pub(super) fn measure(parts: &Parts<'_>, questions: &[Question], pool: &rayon::ThreadPool) -> Self {
        let Some(ranking) = parts.ranking else { return Self::default() };
        let clusters: Vec<Vec<(u32, Reach)>> = pool.install(|| {
            let reaches = |question: &Question| {
                let reaches = (0..).zip(ranking.reaches(question.vector()));
                reaches.map(|(cluster, reach)| (points(ranking.ordinals(cluster)), reach)).collect()
            };
            questions.par_iter().map(reaches).collect()
        });
        let squares: Vec<(f64, f64)> = pool.install(|| {
            questions
                .par_iter()
                .zip(&clusters)
                .map(|(question, clusters)| squares(parts, ranking, question, clusters))
                .collect()
        });
        let (sum, weight) = squares.iter().fold((0.0, 0.0), |(sum, weight), one| (sum + one.0, weight + one.1));
        #[expect(clippy::cast_possible_truncation, reason = "a factor around a tenth")]
        let deviation = (sum / weight).sqrt() as f32;
        if !(deviation.is_finite() && deviation > 0.0) {
            return Self::default();
        }
        let mut found: Vec<f32> = pool.install(|| {
            let found = |(question, clusters): (&Question, &Vec<(u32, Reach)>)| {
                let expected = expected(clusters, K, deviation);
                let home = |&ordinal: &u32| expected.get(ranking.cluster(ordinal)).copied().unwrap_or(0.0);
                question.nearest().iter().map(home).collect::<Vec<f32>>()
            };
            questions.par_iter().zip(&clusters).flat_map_iter(found).collect()
        });
        found.sort_unstable_by(|a, b| b.total_cmp(a));
        let least = |recall: f32| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "a share of some thousand"
            )]
            let at = (recall * found.len() as f32).ceil() as usize;
            found[at.clamp(1, found.len()) - 1].max(f32::MIN_POSITIVE)
        };
        if found.is_empty() {
            return Self::default();
        }
        Self { deviation, entries: RECALLS.iter().map(|&recall| (recall, least(recall))).collect() }
    }

    pub(in crate::segment) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len() * ENTRY_BYTES);
        bytes.extend(u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(u32::try_from(K).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(self.deviation.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for (recall, least) in &self.entries {
            bytes.extend(recall.to_le_bytes());
            bytes.extend(least.to_le_bytes());
        }
        bytes
    }

    /// Reads the section, whose checksum was checked.
    pub(in crate::segment) fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |at, why: &str| Error::corrupt(SECTION, at, why);
        if bytes.len() < HEADER_BYTES {
            return Err(corrupt(bytes.len(), "cut off"));
        }
        let count = u32_at(bytes, 0);
        if count > ENTRIES_MAX || bytes.len() != HEADER_BYTES + count as usize * ENTRY_BYTES {
            return Err(corrupt(0, "wrong length"));
        }
        let entry = |at| (f32_at(bytes, at), f32_at(bytes, at + 4));
        let reading = Self {
            deviation: f32_at(bytes, 8),
            entries: (0..count as usize).map(|i| entry(HEADER_BYTES + i * ENTRY_BYTES)).collect(),
        };
        let sane = |&(recall, least): &(f32, f32)| (0.0..1.0).contains(&recall) && least > 0.0 && least.is_finite();
        let rising = reading.entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 >= pair[1].1);
        let deviates = reading.deviation > 0.0 && reading.deviation.is_finite();
        if !(deviates && rising && reading.entries.iter().all(sane)) {
            return Err(corrupt(HEADER_BYTES, "impossible entries"));
        }
        Ok(reading)
    }
}

fn points(ordinals: std::ops::Range<u32>) -> u32 {
    ordinals.end - ordinals.start
}

/// Squared deviations of the points of the nearest clusters, and their number.
fn squares(parts: &Parts<'_>, ranking: &Ranking, question: &Question, clusters: &[(u32, Reach)]) -> (f64, f64) {
    let mut order: Vec<usize> = (0..clusters.len()).filter(|&cluster| clusters[cluster].1.unit > 0.0).collect();
    order.sort_unstable_by(|&a, &b| clusters[a].1.mean.total_cmp(&clusters[b].1.mean).then(a.cmp(&b)));
    let (mut sum, mut weight) = (0.0, 0.0);
    for &cluster in order.iter().take(NEAR) {
        let reach = clusters[cluster].1;
        for distance in question.distances(parts, ranking.ordinals(cluster)) {
            sum += f64::from((distance - reach.mean) / reach.unit).powi(2);
            weight += 1.0;
        }
    }
    (sum, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(entries: &[(f32, f32)]) -> Reading {
        Reading { deviation: 0.1, entries: entries.to_vec() }
    }

    #[test]
    fn less_is_enough_for_more_recall() {
        let measured = reading(&[(0.8, 0.4), (0.9, 0.1), (0.95, 0.025), (0.99, 0.01)]);
        assert!((measured.least(0.8) - 0.1).abs() < 1e-6, "0.9 is aimed at");
        assert!((measured.least(0.85) - 0.05).abs() < 1e-3, "halfway by the logarithm: {}", measured.least(0.85));
        assert!((measured.least(0.99) - 0.005).abs() < 1e-4, "half of the misses of 0.99: {}", measured.least(0.99));
        assert!((measured.least(0.5) - 0.4).abs() < 1e-6, "not below what was measured");
        let usual = Reading::default();
        assert!(usual.least(0.8) > usual.least(0.95) && usual.least(0.95) > usual.least(0.999));
        assert!(reading(&[]).least(0.9).abs() < 1e-9, "everything is read where nothing is known");
    }

    #[test]
    fn sections_round_trip_and_bad_ones_are_refused() {
        for entries in [&[][..], &[(0.5, 0.5)], &[(0.5, 0.5), (0.9, 0.5), (0.99, 0.001)]] {
            let section = reading(entries);
            let bytes = section.encode();
            assert_eq!(Reading::decode(&bytes), Ok(section));
            for len in 0..bytes.len() {
                assert!(Reading::decode(&bytes[..len]).is_err());
            }
        }
        let bad = [
            &[(1.5, 0.5)][..],
            &[(f32::NAN, 0.5)],
            &[(0.5, 0.0)],
            &[(0.5, f32::INFINITY)],
            &[(0.5, 0.5), (0.5, 0.4)],
            &[(0.5, 0.4), (0.6, 0.5)],
        ];
        for bad in bad {
            assert!(Reading::decode(&reading(bad).encode()).is_err(), "{bad:?}");
        }
        assert!(Reading::decode(&Reading { deviation: 0.0, entries: vec![] }.encode()).is_err());
    }
}
