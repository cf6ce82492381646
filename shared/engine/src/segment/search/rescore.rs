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
    /// How many candidates by high nibble are of use.
    pub(super) fn fine_count(&self) -> usize {
        self.k.saturating_mul(FINE_PER_HIT).max(FINE_MIN) * self.fine_factor
    }

    /// The best candidates by full code, the best of those by original vector.
    pub(super) fn rescore(&mut self, mut found: Vec<Candidate>, codes: &Codes<'_>) -> Result<Vec<Hit>> {
        found.truncate(self.fine_count());
        for &(_, ordinal) in &found {
            crate::kernel::prefetch(codes.low(ordinal));
        }
        for candidate in &mut found {
            candidate.0 = codes.query.fine(codes.high(candidate.1), codes.low(candidate.1));
        }
        self.scored += found.len() as u64;
        found.sort_unstable_by(nearer);
        found.truncate((self.k * EXACT_PER_HIT).max(EXACT_MIN));
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
