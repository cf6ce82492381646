//! Point ids: ordinal to id, id to ordinal, and all ids in order.
//!
//! # Layout
//!
//! *Rank* is an id's place in id order (integers ascending, then UUIDs ascending).
//!
//! ```text
//! offset  bytes
//!      0  4   points
//!      4  4   numbers: how many ids are integers; their ranks come first
//!      8  8   base: the smallest integer id, 0 when there is none
//!     16  1   w: bytes of an integer, 0 to 8; 0 when the integers are consecutive
//!     17  1   o: bytes of an ordinal, 0 to 4
//!     18  6   zero
//!     24      numbers x w             integer id minus base, by rank (w = 0: the rank itself)
//!             (points - numbers) x 16 UUIDs, big-endian, by rank
//!             points x o              ordinal, by rank
//!             points x o              rank, by ordinal
//! ```

use cairn_model::{PointId, limits::SEGMENT_POINTS_MAX};
use roaring::RoaringBitmap;

use super::{
    bytes::Bytes,
    packed::{self, Packed},
};
use crate::{Error, Result, source::Region};

const SECTION: &str = "ids";
const HEADER_BYTES: usize = 24;
/// What opening reads.
pub(crate) const HEAD_BYTES: u64 = HEADER_BYTES as u64;
const UUID_BYTES: usize = 16;

/// Writes the section from ids in ordinal order.
///
/// # Errors
/// `Invalid` when an id occurs twice (it is named), or when there are more ids than a segment may have points.
pub fn write(ids: &[PointId]) -> Result<Vec<u8>> {
    let points = u32::try_from(ids.len()).ok().filter(|_| ids.len() <= SEGMENT_POINTS_MAX);
    let points = points.ok_or_else(|| {
        Error::invalid("ids", format!("{} points are given, a segment has at most {SEGMENT_POINTS_MAX}", ids.len()))
    })?;
    let mut ranked: Vec<(PointId, u32)> = ids.iter().copied().zip(0..points).collect();
    ranked.sort_unstable();
    if let Some(pair) = ranked.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::invalid("id", format!("{} occurs twice", pair[0].0)));
    }
    let numbers: Vec<u64> =
        ranked.iter().map_while(|(id, _)| if let PointId::Num(n) = id { Some(*n) } else { None }).collect();
    let base = numbers.first().copied().unwrap_or(0);
    let span = numbers.last().map_or(0, |last| last - base);
    let consecutive = span == (numbers.len() as u64).saturating_sub(1);
    let id_width = if consecutive { 0 } else { packed::width(span) };
    let ordinal_width = packed::width(u64::from(points.saturating_sub(1)));

    let mut out = Vec::with_capacity(HEADER_BYTES + ids.len() * UUID_BYTES);
    out.extend_from_slice(&points.to_le_bytes());
    out.extend_from_slice(&u32::try_from(numbers.len()).unwrap_or(points).to_le_bytes());
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&[id_width, ordinal_width, 0, 0, 0, 0, 0, 0]);
    if !consecutive {
        packed::put(&mut out, id_width, numbers.iter().map(|number| number - base));
    }
    for (id, _) in &ranked {
        if let PointId::Uuid(uuid) = id {
            out.extend_from_slice(uuid.as_bytes());
        }
    }
    let mut ranks = vec![0u32; ids.len()];
    for (rank, (_, ordinal)) in (0..points).zip(&ranked) {
        ranks[*ordinal as usize] = rank;
    }
    packed::put(&mut out, ordinal_width, ranked.iter().map(|(_, ordinal)| u64::from(*ordinal)));
    packed::put(&mut out, ordinal_width, ranks.into_iter().map(u64::from));
    Ok(out)
}

/// The section's reader.
#[derive(Clone, Copy, Debug)]
pub struct Ids<'a> {
    region: Region<'a>,
    points: u32,
    numbers: u32,
    base: u64,
    /// Bytes of an integer; 0 when they are consecutive.
    id_width: u8,
    ordinal_width: u8,
    /// Where the four arrays begin: integers, UUIDs, ordinals, ranks.
    starts: [u64; 4],
}

/// All of the section.
#[derive(Clone, Copy, Debug)]
struct Arrays<'a> {
    /// `None` when the integers are consecutive.
    offsets: Option<Packed<'a>>,
    uuids: &'a [[u8; UUID_BYTES]],
    ordinals: Packed<'a>,
    ranks: Packed<'a>,
}

impl<'a> Ids<'a> {
    /// Opens the section of a segment of `points` points, in constant time. Reads its first [`HEAD_BYTES`] bytes.
    ///
    /// # Errors
    /// `Corrupt` when the sizes contradict one another, `Absent`.
    pub(crate) fn open(region: Region<'a>, points: u32) -> Result<Self> {
        let bytes = Bytes::new(SECTION, region.bytes(0, HEADER_BYTES as u64)?);
        let (found, numbers, base) = (bytes.u32(0)?, bytes.u32(4)?, bytes.u64(8)?);
        if found != points {
            return Err(bytes.corrupt(0, format!("{found} points, the segment has {points}")));
        }
        if numbers > points {
            return Err(bytes.corrupt(4, format!("{numbers} integers among {points} ids")));
        }
        let (id_width, ordinal_width) = (bytes.u8(16)?, bytes.u8(17)?);
        if id_width > 8 {
            return Err(bytes.corrupt(16, format!("integers of {id_width} bytes")));
        }
        if ordinal_width != packed::width(u64::from(points.saturating_sub(1))) {
            return Err(bytes.corrupt(17, format!("ordinals of {ordinal_width} bytes")));
        }
        if id_width == 0 && base.checked_add(u64::from(numbers.saturating_sub(1))).is_none() {
            return Err(bytes.corrupt(8, "integers over 64 bits"));
        }
        // None of these can overflow: 2^32 points of at most 16 bytes each.
        let (points_, order_bytes) = (u64::from(points), u64::from(points) * u64::from(ordinal_width));
        let uuids = HEADER_BYTES as u64 + u64::from(numbers) * u64::from(id_width);
        let ordinals = uuids + (points_ - u64::from(numbers)) * UUID_BYTES as u64;
        let starts = [HEADER_BYTES as u64, uuids, ordinals, ordinals + order_bytes];
        let end = starts[3] + order_bytes;
        if end != region.len() {
            return Err(bytes.corrupt(0, format!("{} bytes, its ids need {end}", region.len())));
        }
        Ok(Self { region, points, numbers, base, id_width, ordinal_width, starts })
    }

    /// The id of a row. Reads no more than it needs.
    ///
    /// # Errors
    /// `Corrupt`, also for an ordinal that the segment does not have: it came from other stored bytes. `Absent`.
    pub fn id(&self, ordinal: u32) -> Result<PointId> {
        let width = u64::from(self.ordinal_width);
        let rank = self.region.bytes(self.rank_at(ordinal)?, width)?;
        let rank = packed::value(rank);
        if rank < u64::from(self.numbers) {
            let width = u64::from(self.id_width);
            let offset = match width {
                0 => rank,
                width => packed::value(self.region.bytes(self.starts[0] + rank * width, width)?),
            };
            return self.number(offset);
        }
        if rank >= u64::from(self.points) {
            return Err(self.no_rank(rank));
        }
        let at = self.starts[1] + (rank - u64::from(self.numbers)) * UUID_BYTES as u64;
        let bytes = self.region.bytes(at, UUID_BYTES as u64)?;
        let uuid = uuid::Uuid::from_slice(bytes).map_err(|error| self.region.corrupt(at, error.to_string()))?;
        Ok(PointId::Uuid(uuid))
    }

    /// All of the section.
    pub(crate) const fn region(&self) -> Region<'a> {
        self.region
    }

    /// What [`Ids::id`] reads first of all for this row.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn needed(&self, ordinal: u32) -> Result<Region<'a>> {
        self.region.part(self.rank_at(ordinal)?, u64::from(self.ordinal_width))
    }

    /// Where the rank of a row is.
    fn rank_at(&self, ordinal: u32) -> Result<u64> {
        if ordinal >= self.points {
            return Err(self.region.corrupt(0, format!("ordinal {ordinal} of {} points", self.points)));
        }
        Ok(self.starts[3] + u64::from(ordinal) * u64::from(self.ordinal_width))
    }

    /// The row of an id. Needs all of the section, as do those that follow.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub fn ordinal(&self, id: PointId) -> Result<Option<u32>> {
        self.ordinal_in(&self.arrays()?, id)
    }

    fn ordinal_in(&self, arrays: &Arrays<'_>, id: PointId) -> Result<Option<u32>> {
        let rank = self.rank_from(arrays, id)?;
        if rank < u64::from(self.points) && self.at_rank(arrays, rank)? == id {
            return self.ordinal_at(arrays, rank).map(Some);
        }
        Ok(None)
    }

    /// The rows of those of `ids` that there are. Needs all of the section, unless its first bytes say that it has none of them.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub fn ordinals(&self, ids: &mut dyn Iterator<Item = PointId>) -> Result<RoaringBitmap> {
        let mut found = RoaringBitmap::new();
        let mut arrays = None;
        for id in ids.filter(|&id| self.may_have(id)) {
            let arrays = match &arrays {
                Some(arrays) => arrays,
                None => arrays.insert(self.arrays()?),
            };
            found.extend(self.ordinal_in(arrays, id)?);
        }
        Ok(found)
    }

    /// Whether the first bytes of the section allow for an id.
    fn may_have(&self, id: PointId) -> bool {
        match id {
            PointId::Uuid(_) => self.numbers < self.points,
            PointId::Num(number) => number
                .checked_sub(self.base)
                .is_some_and(|offset| self.numbers > 0 && (self.id_width > 0 || offset < u64::from(self.numbers))),
        }
    }

    /// All ids at or above `from` with their rows, in id order: integers first, then UUIDs.
    pub fn from(&self, from: Option<PointId>) -> impl Iterator<Item = Result<(PointId, u32)>> + use<'a> {
        let ids = *self;
        let begun = self.arrays().and_then(|arrays| {
            let start = from.map_or(Ok(0), |id| ids.rank_from(&arrays, id))?;
            Ok((arrays, start))
        });
        let (failed, all) = match begun {
            Ok((arrays, start)) => {
                let one = move |rank| Ok((ids.at_rank(&arrays, rank)?, ids.ordinal_at(&arrays, rank)?));
                (None, Some((start..u64::from(ids.points)).map(one)))
            }
            Err(error) => (Some(Err(error)), None),
        };
        failed.into_iter().chain(all.into_iter().flatten())
    }

    /// Checks that ids ascend and that both directions agree.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub fn verify(&self) -> Result<()> {
        let arrays = self.arrays()?;
        let corrupt = |why: String| self.region.corrupt(HEADER_BYTES as u64, why);
        let mut last = None;
        for rank in 0..u64::from(self.points) {
            let (id, ordinal) = (self.at_rank(&arrays, rank)?, self.ordinal_at(&arrays, rank)?);
            if last.is_some_and(|last| last >= id) {
                return Err(corrupt(format!("id {id} at rank {rank} is out of order")));
            }
            if arrays.ranks.get(u64::from(ordinal)) != rank {
                return Err(corrupt(format!("rank {rank} and ordinal {ordinal} disagree")));
            }
            last = Some(id);
        }
        Ok(())
    }

    fn arrays(&self) -> Result<Arrays<'a>> {
        let rest = Bytes::new(SECTION, self.region.all()?).tail(HEADER_BYTES)?;
        let (offsets, rest) = Packed::open(rest, self.id_width, u64::from(self.numbers))?;
        let uuids = rest.slice(0, u64::from(self.points - self.numbers) * UUID_BYTES as u64)?;
        let rest = rest.tail(uuids.len())?;
        let (ordinals, rest) = Packed::open(rest, self.ordinal_width, u64::from(self.points))?;
        let (ranks, _) = Packed::open(rest, self.ordinal_width, u64::from(self.points))?;
        let offsets = (self.id_width > 0).then_some(offsets);
        let (uuids, _) = uuids.raw().as_chunks();
        Ok(Arrays { offsets, uuids, ordinals, ranks })
    }

    fn number(&self, offset: u64) -> Result<PointId> {
        let number = self.base.checked_add(offset);
        number.map(PointId::Num).ok_or_else(|| self.region.corrupt(8, "an integer over 64 bits"))
    }

    fn no_rank(&self, rank: u64) -> Error {
        self.region.corrupt(0, format!("rank {rank} of {} points", self.points))
    }

    fn at_rank(&self, arrays: &Arrays<'_>, rank: u64) -> Result<PointId> {
        if rank < u64::from(self.numbers) {
            return self.number(arrays.offsets.map_or(rank, |offsets| offsets.get(rank)));
        }
        let uuid = usize::try_from(rank - u64::from(self.numbers)).ok().and_then(|at| arrays.uuids.get(at));
        Ok(PointId::Uuid(uuid::Uuid::from_bytes(*uuid.ok_or_else(|| self.no_rank(rank))?)))
    }

    fn ordinal_at(&self, arrays: &Arrays<'_>, rank: u64) -> Result<u32> {
        let ordinal = u32::try_from(arrays.ordinals.get(rank)).ok().filter(|ordinal| *ordinal < self.points);
        ordinal.ok_or_else(|| self.region.corrupt(0, format!("no such ordinal at rank {rank}")))
    }

    /// The rank of the first id at or above `id`.
    fn rank_from(&self, arrays: &Arrays<'_>, id: PointId) -> Result<u64> {
        let (mut start, mut end) = match id {
            PointId::Num(_) => (0, u64::from(self.numbers)),
            PointId::Uuid(_) => (u64::from(self.numbers), u64::from(self.points)),
        };
        while start < end {
            let middle = start + (end - start) / 2;
            if self.at_rank(arrays, middle)? < id {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = PointId> {
        prop_oneof![
            (0u64..50).prop_map(PointId::Num),
            any::<u64>().prop_map(PointId::Num),
            Just(PointId::Num(u64::MAX)),
            any::<u128>().prop_map(|bits| PointId::Uuid(uuid::Uuid::from_u128(bits))),
        ]
    }

    fn ids() -> impl Strategy<Value = Vec<PointId>> {
        proptest::collection::btree_set(id(), 0..80).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle()
    }

    fn touch_everything(bytes: &[u8], points: u32) {
        if let Ok(ids) = Ids::open(Region::whole(&bytes, SECTION), points) {
            let _ = ids.verify();
            for ordinal in 0..points + 2 {
                if let Ok(id) = ids.id(ordinal) {
                    let _ = ids.ordinal(id);
                }
            }
            let _ = ids.from(Some(PointId::Num(7))).count();
            let _ = ids.from(None).count();
        }
    }

    proptest! {
        #[test]
        fn ids_come_back_both_ways(given in ids(), other in id()) {
            let bytes = write(&given).unwrap();
            let ids = Ids::open(Region::whole(&bytes, SECTION), u32::try_from(given.len()).unwrap()).unwrap();
            ids.verify().unwrap();
            for (ordinal, id) in (0..).zip(&given) {
                prop_assert_eq!(ids.id(ordinal).unwrap(), *id);
                prop_assert_eq!(ids.ordinal(*id).unwrap(), Some(ordinal));
            }
            let at = (0..).zip(&given).find(|(_, id)| **id == other).map(|(ordinal, _)| ordinal);
            prop_assert_eq!(ids.ordinal(other).unwrap(), at);
            let mut expected: Vec<_> = given.iter().copied().zip(0u32..).filter(|(id, _)| *id >= other).collect();
            expected.sort_unstable();
            prop_assert_eq!(ids.from(Some(other)).collect::<Result<Vec<_>>>().unwrap(), expected);
            prop_assert_eq!(ids.from(None).count(), given.len());
            let some: Vec<PointId> = given.iter().copied().step_by(3).chain([other]).collect();
            let mut rows = RoaringBitmap::new();
            some.iter().for_each(|id| rows.extend(ids.ordinal(*id).unwrap()));
            prop_assert_eq!(ids.ordinals(&mut some.into_iter()).unwrap(), rows);
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(
            given in ids(),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = write(&given).unwrap();
            let points = u32::try_from(given.len()).unwrap();
            touch_everything(&bytes[..cut.index(bytes.len())], points);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            touch_everything(&bytes, points);
        }
    }

    #[test]
    fn an_id_that_occurs_twice_is_named() {
        let error = write(&[PointId::Num(4), PointId::Num(17), PointId::Num(4)]).unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: "id", why } if why == "4 occurs twice"), "{error}");
    }

    #[test]
    fn consecutive_integers_cost_only_their_order() {
        let ids: Vec<_> = (1_000..2_000).map(PointId::Num).collect();
        assert_eq!(write(&ids).unwrap().len(), HEADER_BYTES + 1_000 * 4);
    }

    #[test]
    fn the_first_bytes_rule_ids_out() {
        struct First(Vec<u8>);
        impl crate::source::Source for First {
            fn len(&self) -> u64 {
                self.0.len() as u64
            }

            fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
                let end = usize::try_from(offset + len).ok().filter(|&end| end <= HEADER_BYTES)?;
                self.0.get(usize::try_from(offset).ok()?..end)
            }
        }
        let ids: Vec<_> = (1_000..2_000).map(PointId::Num).collect();
        let first = First(write(&ids).unwrap());
        let ids = Ids::open(Region::whole(&first, SECTION), 1_000).unwrap();
        let mut outside =
            [0, 999, 2_000, u64::MAX].map(PointId::Num).into_iter().chain([PointId::Uuid(uuid::Uuid::nil())]);
        assert!(ids.ordinals(&mut outside).unwrap().is_empty());
        assert!(
            matches!(ids.ordinals(&mut [1_999].map(PointId::Num).into_iter()), Err(Error::Absent(all)) if all.len() == 1)
        );
    }

    #[test]
    fn the_wrong_count_is_refused() {
        let bytes = write(&[PointId::Num(1)]).unwrap();
        assert!(Ids::open(Region::whole(&bytes, SECTION), 2).is_err());
        assert!(Ids::open(Region::whole(&bytes, SECTION), 1).unwrap().id(1).is_err());
    }
}
