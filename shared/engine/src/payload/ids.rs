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

use super::{
    bytes::Bytes,
    packed::{self, Packed},
};
use crate::{Error, Result};

const SECTION: &str = "ids";
const HEADER_BYTES: usize = 24;
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
    bytes: Bytes<'a>,
    points: u32,
    numbers: u32,
    base: u64,
    /// `None` when the integers are consecutive.
    offsets: Option<Packed<'a>>,
    uuids: &'a [[u8; UUID_BYTES]],
    ordinals: Packed<'a>,
    ranks: Packed<'a>,
}

impl<'a> Ids<'a> {
    /// Opens the section of a segment of `points` points, in constant time.
    ///
    /// # Errors
    /// `Corrupt` when the sizes contradict one another.
    pub fn open(bytes: &'a [u8], points: u32) -> Result<Self> {
        let bytes = Bytes::new(SECTION, bytes);
        let (found, numbers, base) = (bytes.u32(0)?, bytes.u32(4)?, bytes.u64(8)?);
        if found != points {
            return Err(bytes.corrupt(0, format!("{found} points, the segment has {points}")));
        }
        if numbers > points {
            return Err(bytes.corrupt(4, format!("{numbers} integers among {points} ids")));
        }
        let (id_width, ordinal_width) = (bytes.u8(16)?, bytes.u8(17)?);
        if ordinal_width != packed::width(u64::from(points.saturating_sub(1))) {
            return Err(bytes.corrupt(17, format!("ordinals of {ordinal_width} bytes")));
        }
        if id_width == 0 && base.checked_add(u64::from(numbers.saturating_sub(1))).is_none() {
            return Err(bytes.corrupt(8, "integers over 64 bits"));
        }
        let rest = bytes.tail(HEADER_BYTES)?;
        let (offsets, rest) = Packed::open(rest, id_width, u64::from(numbers))?;
        let uuids = rest.slice(0, u64::from(points - numbers) * UUID_BYTES as u64)?;
        let rest = rest.tail(uuids.len())?;
        let (ordinals, rest) = Packed::open(rest, ordinal_width, u64::from(points))?;
        let (ranks, rest) = Packed::open(rest, ordinal_width, u64::from(points))?;
        if rest.len() > 0 {
            return Err(rest.corrupt(0, format!("{} bytes too many", rest.len())));
        }
        let offsets = (id_width > 0).then_some(offsets);
        let (uuids, _) = uuids.raw().as_chunks();
        Ok(Self { bytes, points, numbers, base, offsets, uuids, ordinals, ranks })
    }

    /// The id of a row.
    ///
    /// # Errors
    /// `Corrupt`, also for an ordinal that the segment does not have: it came from other stored bytes.
    pub fn id(&self, ordinal: u32) -> Result<PointId> {
        if ordinal >= self.points {
            return Err(self.bytes.corrupt(0, format!("ordinal {ordinal} of {} points", self.points)));
        }
        self.at_rank(self.ranks.get(u64::from(ordinal)))
    }

    /// The row of an id.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn ordinal(&self, id: PointId) -> Result<Option<u32>> {
        let rank = self.rank_from(id)?;
        if rank < u64::from(self.points) && self.at_rank(rank)? == id {
            return self.ordinal_at(rank).map(Some);
        }
        Ok(None)
    }

    /// All ids at or above `from` with their rows, in id order: integers first, then UUIDs.
    pub fn from(&self, from: Option<PointId>) -> impl Iterator<Item = Result<(PointId, u32)>> + use<'a> {
        let ids = *self;
        let start = from.map_or(Ok(0), |id| ids.rank_from(id));
        let (start, failed) = match start {
            Ok(start) => (start, None),
            Err(error) => (u64::from(ids.points), Some(Err(error))),
        };
        let one = move |rank| Ok((ids.at_rank(rank)?, ids.ordinal_at(rank)?));
        failed.into_iter().chain((start..u64::from(ids.points)).map(one))
    }

    /// Checks that ids ascend and that both directions agree.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn verify(&self) -> Result<()> {
        let mut last = None;
        for rank in 0..u64::from(self.points) {
            let (id, ordinal) = (self.at_rank(rank)?, self.ordinal_at(rank)?);
            if last.is_some_and(|last| last >= id) {
                return Err(self.bytes.corrupt(HEADER_BYTES, format!("id {id} at rank {rank} is out of order")));
            }
            if self.ranks.get(u64::from(ordinal)) != rank {
                return Err(self.bytes.corrupt(HEADER_BYTES, format!("rank {rank} and ordinal {ordinal} disagree")));
            }
            last = Some(id);
        }
        Ok(())
    }

    fn at_rank(&self, rank: u64) -> Result<PointId> {
        if rank < u64::from(self.numbers) {
            let number = self.base.checked_add(self.offsets.map_or(rank, |offsets| offsets.get(rank)));
            return number.map(PointId::Num).ok_or_else(|| self.bytes.corrupt(8, "an integer over 64 bits"));
        }
        let uuid = usize::try_from(rank - u64::from(self.numbers)).ok().and_then(|at| self.uuids.get(at));
        let uuid = uuid.ok_or_else(|| self.bytes.corrupt(0, format!("rank {rank} of {} points", self.points)))?;
        Ok(PointId::Uuid(uuid::Uuid::from_bytes(*uuid)))
    }

    fn ordinal_at(&self, rank: u64) -> Result<u32> {
        let ordinal = u32::try_from(self.ordinals.get(rank)).ok().filter(|ordinal| *ordinal < self.points);
        ordinal.ok_or_else(|| self.bytes.corrupt(0, format!("no such ordinal at rank {rank}")))
    }

    /// The rank of the first id at or above `id`.
    fn rank_from(&self, id: PointId) -> Result<u64> {
        let (mut start, mut end) = match id {
            PointId::Num(_) => (0, u64::from(self.numbers)),
            PointId::Uuid(_) => (u64::from(self.numbers), u64::from(self.points)),
        };
        while start < end {
            let middle = start + (end - start) / 2;
            if self.at_rank(middle)? < id {
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
        if let Ok(ids) = Ids::open(bytes, points) {
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
            let ids = Ids::open(&bytes, u32::try_from(given.len()).unwrap()).unwrap();
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
    fn the_wrong_count_is_refused() {
        let bytes = write(&[PointId::Num(1)]).unwrap();
        assert!(Ids::open(&bytes, 2).is_err());
        assert!(Ids::open(&bytes, 1).unwrap().id(1).is_err());
    }
}
