//! The codes of a segment under one query, and the last steps of every plan over them.

use super::{
    Hit, Search,
    nearest::{Candidate, nearer},
};
use crate::{
    Error, Result,
    codec::{Codec, Query},
    segment::SectionKind,
};

/// Candidates per hit that are scored by the full code, and the least of them.
const FINE_PER_HIT: usize = 4;
const FINE_MIN: usize = 48;
/// Candidates per hit that are scored by the original vector, and the least of them.
const EXACT_PER_HIT: usize = 2;
const EXACT_MIN: usize = 24;

impl<'a> Search<'a> {
    /// The best candidates by full code, the best of those by original vector, unless the request wants the codes' order.
    pub(super) fn rescore(&mut self, mut found: Vec<Candidate>, codes: &Codes<'_>) -> Result<Vec<Hit>> {
        found.truncate((self.k * FINE_PER_HIT).max(FINE_MIN).max(self.oversampled().unwrap_or(0)));
        for &(_, ordinal) in &found {
            crate::kernel::prefetch(codes.low(ordinal));
        }
        for candidate in &mut found {
            candidate.0 = codes.query.fine(codes.high(candidate.1), codes.low(candidate.1));
        }
        self.scored += found.len() as u64;
        found.sort_unstable_by(nearer);
        if self.quantization.rescore == Some(false) && !self.quantization.ignore {
            found.truncate(self.k);
            return Ok(hits(found));
        }
        found.truncate(self.oversampled().unwrap_or((self.k * EXACT_PER_HIT).max(EXACT_MIN)));
        for &(_, ordinal) in &found {
            self.exact.prefetch(ordinal);
        }
        for candidate in &mut found {
            candidate.0 = self.exact.distance(candidate.1)?;
        }
        self.scored += found.len() as u64;
        found.sort_unstable_by(nearer);
        found.truncate(self.k);
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
        Some(wanted.clamp(self.k, self.segment.len() as usize))
    }

    pub(super) fn codes(&self) -> Result<Codes<'a>> {
        let dim = self.segment.params().size as usize;
        let Some(codec) = &self.segment.codec else {
            return Err(Error::corrupt("head", 6, "a segment without codes was to be scored by codes"));
        };
        Ok(Codes {
            query: codec.query(self.coded),
            high: self.segment.bytes(SectionKind::CodesHigh)?,
            low: self.segment.bytes(SectionKind::CodesLow)?,
            high_bytes: Codec::high_bytes(dim),
            low_bytes: Codec::low_bytes(dim),
        })
    }
}

pub(super) fn hits(candidates: Vec<Candidate>) -> Vec<Hit> {
    candidates.into_iter().map(|(distance, ordinal)| Hit { ordinal, distance }).collect()
}

/// A prepared query and the codes that it scores.
pub(super) struct Codes<'a> {
    pub(super) query: Query,
    pub(super) high: &'a [u8],
    pub(super) low: &'a [u8],
    high_bytes: usize,
    low_bytes: usize,
}

impl<'a> Codes<'a> {
    pub(super) fn high(&self, ordinal: u32) -> &'a [u8] {
        let at = ordinal as usize * self.high_bytes;
        self.high.get(at..at + self.high_bytes).unwrap_or(&[])
    }

    pub(super) fn low(&self, ordinal: u32) -> &'a [u8] {
        let at = ordinal as usize * self.low_bytes;
        self.low.get(at..at + self.low_bytes).unwrap_or(&[])
    }
}
