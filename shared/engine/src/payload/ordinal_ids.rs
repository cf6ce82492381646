//! Ids by ordinal, in place: one read from a row to its id, where the ids section takes two that depend on one another. That matters to a
//! reader far away, to whom each is a round trip. A segment whose ids are consecutive integers needs it not: there a rank is an id.
//!
//! # Layout
//!
//! ```text
//! offset  bytes
//!      0  1           kind: 0 integers, 1 UUIDs, 2 either
//!      1  1           w: bytes of an entry; 1 to 8 for integers, 16 for UUIDs, 17 for either
//!      2  6           zero
//!      8  8           base: the smallest integer, 0 when there is none
//!     16  points x w  entries
//! ```
//!
//! An entry is an integer minus base; a UUID, big-endian; or a byte that is 0 before an integer (of 8 bytes, not minus base, then 8 zeros)
//! and 1 before a UUID.

use cairn_model::PointId;

use super::packed;
use crate::{Result, source::Region};

/// The section's name in errors.
pub(crate) const SECTION: &str = "ordinal_ids";
/// What opening reads.
pub(crate) const HEADER_BYTES: u64 = 16;
const NUMBERS: u8 = 0;
const UUIDS: u8 = 1;
const EITHER: u8 = 2;

/// Writes the section from ids in ordinal order; `None` where it is not needed.
#[must_use]
pub fn write(ids: &[PointId]) -> Option<Vec<u8>> {
    let numbers = || ids.iter().filter_map(|id| if let PointId::Num(number) = id { Some(*number) } else { None });
    let (base, last) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
    let count = numbers().count();
    let (kind, width) = match ids.len() - count {
        0 if last - base < ids.len() as u64 => return None,
        0 => (NUMBERS, packed::width(last - base)),
        all if all == ids.len() => (UUIDS, 16),
        _ => (EITHER, 17),
    };
    let mut out = vec![kind, width, 0, 0, 0, 0, 0, 0];
    out.extend(base.to_le_bytes());
    for id in ids {
        match (id, kind) {
            (PointId::Num(number), NUMBERS) => packed::put(&mut out, width, [number - base]),
            (PointId::Num(number), _) => {
                out.push(0);
                out.extend(number.to_le_bytes());
                out.extend([0; 8]);
            }
            (PointId::Uuid(uuid), kind) => {
                out.extend((kind == EITHER).then_some(1));
                out.extend(uuid.as_bytes());
            }
        }
    }
    Some(out)
}

/// The section's reader.
#[derive(Clone, Copy, Debug)]
pub struct OrdinalIds<'a> {
    region: Region<'a>,
    kind: u8,
    width: u8,
    base: u64,
}

impl<'a> OrdinalIds<'a> {
    /// Opens the section of a segment of `points` points.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub(crate) fn open(region: Region<'a>, points: u32) -> Result<Self> {
        let header = region.bytes(0, HEADER_BYTES)?;
        let (kind, width, base) = (header[0], header[1], packed::value(&header[8..]));
        if !matches!((kind, width), (NUMBERS, 1..=8) | (UUIDS, 16) | (EITHER, 17)) {
            return Err(region.corrupt(0, format!("entries of kind {kind} and {width} bytes")));
        }
        if region.len() != HEADER_BYTES + u64::from(points) * u64::from(width) {
            return Err(region.corrupt(0, format!("{} bytes for {points} ids of {width} bytes", region.len())));
        }
        Ok(Self { region, kind, width, base })
    }

    /// The bytes of one entry.
    ///
    /// # Errors
    /// `Corrupt` for an ordinal past the end.
    pub(crate) fn needed(&self, ordinal: u32) -> Result<Region<'a>> {
        let width = u64::from(self.width);
        self.region.part(HEADER_BYTES + u64::from(ordinal) * width, width)
    }

    /// The id of a row.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub fn id(&self, ordinal: u32) -> Result<PointId> {
        let place = self.needed(ordinal)?;
        let bytes = place.all()?;
        let uuid = |bytes: &[u8]| {
            let uuid = uuid::Uuid::from_slice(bytes).map_err(|error| place.corrupt(0, error.to_string()))?;
            Ok(PointId::Uuid(uuid))
        };
        match (self.kind, bytes) {
            (NUMBERS, bytes) => {
                let number = self.base.checked_add(packed::value(bytes));
                number.map(PointId::Num).ok_or_else(|| place.corrupt(0, "an integer over 64 bits"))
            }
            (EITHER, [0, number @ ..]) => Ok(PointId::Num(packed::value(number))),
            (EITHER, [1, bytes @ ..]) => uuid(bytes),
            (EITHER, _) => Err(place.corrupt(0, "an id that is neither integer nor UUID")),
            (_, bytes) => uuid(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = PointId> {
        prop_oneof![
            (0u64..5_000).prop_map(PointId::Num),
            Just(PointId::Num(u64::MAX)),
            any::<u128>().prop_map(|bits| PointId::Uuid(uuid::Uuid::from_u128(bits))),
        ]
    }

    proptest! {
        #[test]
        fn ids_come_back_and_damage_is_an_error(
            given in prop_oneof![
                proptest::collection::vec(id(), 1..40),
                proptest::collection::vec((7u64..90_000).prop_map(PointId::Num), 1..40),
                proptest::collection::vec(any::<u128>().prop_map(|b| PointId::Uuid(uuid::Uuid::from_u128(b))), 1..40),
            ],
            at in any::<prop::sample::Index>(), value: u8,
        ) {
            let points = u32::try_from(given.len()).unwrap();
            if let Some(mut bytes) = write(&given) {
                {
                    let ids = OrdinalIds::open(Region::whole(&bytes, SECTION), points).unwrap();
                    for (ordinal, id) in (0..).zip(&given) {
                        prop_assert_eq!(ids.id(ordinal).unwrap(), *id);
                    }
                    prop_assert!(ids.id(points).is_err());
                    prop_assert!(OrdinalIds::open(Region::whole(&bytes, SECTION), points + 1).is_err());
                }
                let at = at.index(bytes.len());
                bytes[at] = value;
                if let Ok(ids) = OrdinalIds::open(Region::whole(&bytes, SECTION), points) {
                    (0..points).for_each(|ordinal| drop(ids.id(ordinal)));
                }
            }
        }
    }

    #[test]
    fn consecutive_integers_need_none() {
        assert_eq!(write(&[PointId::Num(9), PointId::Num(7), PointId::Num(8)]), None);
        assert_eq!(write(&[PointId::Num(9), PointId::Num(7)]).map(|bytes| bytes.len()), Some(18));
    }
}
