//! Which points the rows of a further vector are of, and the other way around. See FORMAT.md.

use roaring::RoaringBitmap;

use super::layout::u32_at;
use crate::{Error, Result, source::Region};

const SECTION: &str = "places";
/// What stands for no row.
const NONE: u32 = u32::MAX;
/// A set of points that is so many times smaller than the rows is translated point by point.
const SEEK: u64 = 16;

/// The section's bytes: the ordinal of each row, then the row of each of `points` ordinals.
#[must_use]
pub(super) fn encode(ordinals: &[u32], points: u32) -> Vec<u8> {
    let mut rows = vec![NONE; points as usize];
    for (row, &ordinal) in (0u32..).zip(ordinals) {
        rows[ordinal as usize] = row;
    }
    ordinals.iter().chain(&rows).flat_map(|number| number.to_le_bytes()).collect()
}

/// A view of the section, of which some may not be at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// The ordinals of rows.
    ordinals: Region<'a>,
    /// The rows of ordinals.
    rows: Region<'a>,
}

/// The ordinals of a run of rows. What a damaged section says can be anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordinals<'a>(&'a [u8]);

impl Ordinals<'_> {
    /// The ordinal of a row, counted from the first of the run.
    pub(super) fn get(self, row: u32) -> u32 {
        self.0.get(row as usize * 4..).and_then(|bytes| bytes.first_chunk()).map_or(NONE, |b| u32::from_le_bytes(*b))
    }

    fn len(self) -> u32 {
        u32::try_from(self.0.len() / 4).unwrap_or(u32::MAX)
    }
}

impl<'a> Places<'a> {
    /// How many rows a section has of a segment of `points` points: from 1 to all of them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a length that cannot be.
    pub(super) fn count(section: Region<'_>, points: u32) -> Result<u32> {
        let rows = section.len().checked_sub(u64::from(points) * 4).filter(|bytes| bytes.is_multiple_of(4));
        let rows = rows.and_then(|bytes| u32::try_from(bytes / 4).ok()).filter(|rows| (1..=points).contains(rows));
        rows.ok_or_else(|| section.corrupt(0, format!("{} bytes for {points} points", section.len())))
    }

    /// The section of a segment of `points` points.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a length that cannot be.
    pub(super) fn open(section: Region<'a>, points: u32) -> Result<Self> {
        let ordinals_bytes = u64::from(Self::count(section, points)?) * 4;
        Ok(Self {
            ordinals: section.part(0, ordinals_bytes)?,
            rows: section.part(ordinals_bytes, u64::from(points) * 4)?,
        })
    }

    /// Points of the segment.
    fn points(&self) -> u32 {
        u32::try_from(self.rows.len() / 4).unwrap_or(u32::MAX)
    }

    /// All that tells ordinals of rows, at hand or not.
    pub(super) const fn ordinals(&self) -> Region<'a> {
        self.ordinals
    }

    /// The part of it that tells those of some rows.
    pub(super) fn ordinals_part(&self, rows: std::ops::Range<u32>) -> Result<Region<'a>> {
        self.ordinals.part(u64::from(rows.start) * 4, u64::from(rows.end.saturating_sub(rows.start)) * 4)
    }

    /// All that tells rows of ordinals, at hand or not.
    pub(super) const fn rows(&self) -> Region<'a> {
        self.rows
    }

    /// The ordinals of a run of rows, whose part is at hand.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub(super) fn run(part: Region<'a>) -> Result<Ordinals<'a>> {
        part.all().map(Ordinals)
    }

    /// The ordinal of a row.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the section says what cannot be, [`Error::Absent`].
    pub(super) fn ordinal(&self, row: u32) -> Result<u32> {
        let at = u64::from(row) * 4;
        match u32_at(self.ordinals.bytes(at, 4)?, 0) {
            ordinal if ordinal < self.points() => Ok(ordinal),
            ordinal => Err(self.ordinals.corrupt(at, format!("row {row} of point {ordinal}"))),
        }
    }

    /// Checks that an ordinal, which was read from a run, is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn check(&self, ordinal: u32) -> Result<()> {
        if ordinal < self.points() {
            Ok(())
        } else {
            Err(self.ordinals.corrupt(0, format!("a row of point {ordinal}")))
        }
    }

    /// The row of an ordinal; `None` where the point does not have the vector.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for an ordinal past the end, [`Error::Absent`].
    pub(super) fn row(&self, ordinal: u32) -> Result<Option<u32>> {
        let at = u64::from(ordinal) * 4;
        match u32_at(self.rows.bytes(at, 4)?, 0) {
            NONE => Ok(None),
            row if u64::from(row) < self.ordinals.len() / 4 => Ok(Some(row)),
            row => Err(self.rows.corrupt(at, format!("point {ordinal} in row {row}"))),
        }
    }

    /// The points that have the vector.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub(super) fn holders(&self) -> Result<RoaringBitmap> {
        let rows = self.rows.all()?.chunks_exact(4);
        let holds = |row: &[u8]| u32_at(row, 0) != NONE;
        Ok(RoaringBitmap::from_lsb0_bytes(0, &packed(rows.map(holds))))
    }

    /// The rows of those of `points` that have the vector. It takes the ordinals of rows, [`Places::ordinals`].
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn rows_of(&self, points: &RoaringBitmap) -> Result<RoaringBitmap> {
        let ordinals = Self::run(self.ordinals)?;
        if points.len() * SEEK < u64::from(ordinals.len()) && self.rows.is_at_hand() {
            let inside = points.iter().take_while(|&ordinal| ordinal < self.points());
            return inside.filter_map(|ordinal| self.row(ordinal).transpose()).collect();
        }
        let bits = super::search::bits::Bits::new(points, self.points());
        let holds = |row: u32| bits.contains(ordinals.get(row));
        Ok(RoaringBitmap::from_lsb0_bytes(0, &packed((0..ordinals.len()).map(holds))))
    }

    /// Checks that both halves say the same.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn verify(&self) -> Result<()> {
        let mut holders = 0;
        for ordinal in 0..self.points() {
            if let Some(row) = self.row(ordinal)? {
                holders += 1;
                if self.ordinal(row)? != ordinal {
                    return Err(Error::corrupt(
                        SECTION,
                        ordinal as usize * 4,
                        format!("row {row} is of another point"),
                    ));
                }
            }
        }
        // Each of these rows is of its own point, so as many of them as there are rows are all rows.
        if holders == self.ordinals.len() / 4 {
            Ok(())
        } else {
            Err(Error::corrupt(SECTION, 0, format!("{holders} points have {} rows", self.ordinals.len() / 4)))
        }
    }
}

/// Bits, the first in the lowest of the first byte.
fn packed(bits: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut bytes = vec![0; bits.len().div_ceil(8)];
    for (at, bit) in bits.enumerate() {
        bytes[at / 8] |= u8::from(bit) << (at % 8);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(numbers: impl IntoIterator<Item = u32>) -> RoaringBitmap {
        numbers.into_iter().collect()
    }

    proptest! {
        #[test]
        fn rows_and_ordinals_are_told_of_one_another(
            points in 1u32..400, holders in prop::collection::hash_set(0u32..400, 1..60), asked in prop::collection::hash_set(0u32..500, 0..200),
        ) {
            let ordinals: Vec<u32> = holders.into_iter().map(|ordinal| ordinal % points).collect::<std::collections::HashSet<_>>().into_iter().collect();
            let bytes = encode(&ordinals, points);
            let places = Places::open(Region::whole(&bytes, SECTION), points).unwrap();
            places.verify().unwrap();
            prop_assert_eq!(places.holders().unwrap(), set(ordinals.iter().copied()));
            for (row, &ordinal) in (0..).zip(&ordinals) {
                prop_assert_eq!((places.ordinal(row).unwrap(), places.row(ordinal).unwrap()), (ordinal, Some(row)));
            }
            let rows = (0..).zip(&ordinals).filter(|(_, ordinal)| asked.contains(ordinal)).map(|(row, _)| row);
            prop_assert_eq!(places.rows_of(&set(asked.iter().copied())).unwrap(), set(rows));
            prop_assert!(places.row(points).is_err() && places.ordinal(ordinals.len() as u32).is_err());
        }

        #[test]
        fn damage_is_found_and_never_leads_outside(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20), cut in 0usize..30,
        ) {
            let whole = encode(&[7, 0, 3, 5], 9);
            let mut bytes = whole.clone();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let places = Places::open(Region::whole(&bytes, SECTION), 9).unwrap();
            prop_assert_eq!(places.verify().is_ok(), bytes == whole);
            for at in 0..12 {
                prop_assert!(places.ordinal(at).is_ok_and(|ordinal| ordinal < 9) || places.ordinal(at).is_err());
                prop_assert!(places.row(at).is_ok_and(|row| row.is_none_or(|row| row < 4)) || places.row(at).is_err());
            }
            prop_assert!(places.holders().unwrap().max().is_none_or(|last| last < 9));
            prop_assert!(places.rows_of(&set(0..9)).unwrap().max().is_none_or(|last| last < 4));
            let cut = &bytes[..bytes.len() - cut - 1];
            prop_assert!(Places::open(Region::whole(&cut, SECTION), 9).map_or(true, |places| places.verify().is_err()));
        }
    }
}
