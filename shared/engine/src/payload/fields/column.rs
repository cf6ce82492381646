//! A field's numbers, sorted, each with its points; per cluster the smallest and the largest.
//!
//! # Layout
//!
//! A number is stored as a *key*: an unsigned integer that sorts as the number does. i64: its bits with the sign bit
//! flipped. f64: its bits, all flipped when the sign bit is set, else the sign bit alone.
//!
//! ```text
//! offset  bytes
//!      0  8                 keys
//!      8  8                 entries: pairs of a key and an ordinal, each once, ascending
//!     16  8                 base: the smallest key
//!     24  1                 k: bytes of a key, 0 to 8
//!     25  1                 e: bytes of an end, 0 when every entry has a key of its own (then keys = entries)
//!     26  1                 o: bytes of an ordinal, 0 to 4
//!     27  1                 zero
//!     28  4                 clusters
//!     32  keys x k          keys minus base, ascending; when e > 0 each key once
//!         keys x e          index of the entry after the key's last
//!         entries x o       ordinals
//!         clusters / 8, up  bit c % 8 of byte c / 8: cluster c has values
//!         clusters x 2 x k  smallest and largest key in each cluster minus base; 0 and 0 when there is none
//! ```

use std::ops::{ControlFlow, Range};

use roaring::RoaringBitmap;

use crate::{
    Result,
    payload::{
        bytes::Bytes,
        packed::{self, Packed},
    },
};

const HEADER_BYTES: usize = 32;
const SIGN: u64 = 1 << 63;
/// Points that are few at most: in all, and as one part in so many of the segment's.
const FEW_MAX: u64 = 65_536;
const FEW_PART: u64 = 8;

/// The key of an integer.
pub(super) fn key_of_i64(value: i64) -> u64 {
    value.cast_unsigned() ^ SIGN
}

/// The integer of a key.
pub(crate) fn i64_of_key(key: u64) -> i64 {
    (key ^ SIGN).cast_signed()
}

/// The key of a float.
pub(super) fn key_of_f64(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The float of a key.
pub(crate) fn f64_of_key(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

/// Writes pairs of a key and an ordinal, in any order; nothing when there are none.
pub(super) fn write(mut entries: Vec<(u64, u32)>, cluster_starts: &[u32]) -> Vec<u8> {
    entries.sort_unstable();
    entries.dedup();
    let (Some((base, _)), Some((largest, _))) = (entries.first().copied(), entries.last().copied()) else {
        return Vec::new();
    };
    let count = entries.len() as u64;
    let key_width = packed::width(largest - base);
    let ends: Vec<u64> = entries
        .iter()
        .zip(1u64..)
        .filter(|((key, _), next)| {
            usize::try_from(*next).is_ok_and(|next| entries.get(next).is_none_or(|(k, _)| k != key))
        })
        .map(|(_, next)| next)
        .collect();
    let mut end_width = packed::width(count);
    let grouped = ends.len() as u64 * u64::from(key_width + end_width);
    if grouped >= count * u64::from(key_width) && key_width > 0 {
        end_width = 0;
    }
    let ordinal_width = packed::width(entries.iter().map(|(_, ordinal)| u64::from(*ordinal)).max().unwrap_or(0));

    let keys = if end_width == 0 { count } else { ends.len() as u64 };
    let mut out = Vec::new();
    for word in [keys, count, base] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&[key_width, end_width, ordinal_width, 0]);
    out.extend_from_slice(&u32::try_from(cluster_starts.len()).unwrap_or(u32::MAX).to_le_bytes());
    if end_width == 0 {
        packed::put(&mut out, key_width, entries.iter().map(|(key, _)| key - base));
    } else {
        let last = |end: &u64| entries[usize::try_from(*end).unwrap_or(usize::MAX) - 1];
        packed::put(&mut out, key_width, ends.iter().map(|end| last(end).0 - base));
        packed::put(&mut out, end_width, ends.iter().copied());
    }
    packed::put(&mut out, ordinal_width, entries.iter().map(|(_, ordinal)| u64::from(*ordinal)));
    put_bounds(&mut out, &entries, key_width, cluster_starts);
    out
}

fn put_bounds(out: &mut Vec<u8>, entries: &[(u64, u32)], key_width: u8, cluster_starts: &[u32]) {
    let base = entries.first().map_or(0, |(key, _)| *key);
    let mut bounds: Vec<Option<(u64, u64)>> = vec![None; cluster_starts.len()];
    for (key, ordinal) in entries {
        let cluster = cluster_starts.partition_point(|start| start <= ordinal).saturating_sub(1);
        if let Some(bounds) = bounds.get_mut(cluster) {
            // Entries ascend by key: the first is the smallest, the latest the largest.
            *bounds = Some((bounds.map_or(*key, |(smallest, _)| smallest), *key));
        }
    }
    for eight in bounds.chunks(8) {
        out.push(eight.iter().rev().fold(0, |bits, bounds| bits << 1 | u8::from(bounds.is_some())));
    }
    let flat = bounds.into_iter().map(|bounds| bounds.unwrap_or((base, base)));
    packed::put(out, key_width, flat.flat_map(|(smallest, largest)| [smallest - base, largest - base]));
}

/// A field's column of one type of number.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    bytes: Bytes<'a>,
    points: u32,
    count: u64,
    base: u64,
    keys: Packed<'a>,
    key_count: u64,
    /// `None` when every entry has a key of its own.
    ends: Option<Packed<'a>>,
    ordinals: Packed<'a>,
    clusters: u32,
    present: &'a [u8],
    bounds: Packed<'a>,
}

impl<'a> Column<'a> {
    /// Opens the part; `None` when the field has no such numbers.
    pub(super) fn open(bytes: Bytes<'a>, points: u32) -> Result<Option<Self>> {
        if bytes.len() == 0 {
            return Ok(None);
        }
        let (key_count, count, base) = (bytes.u64(0)?, bytes.u64(8)?, bytes.u64(16)?);
        let (key_width, end_width, ordinal_width) = (bytes.u8(24)?, bytes.u8(25)?, bytes.u8(26)?);
        let clusters = bytes.u32(28)?;
        if key_count == 0 || key_count > count || (end_width == 0 && key_count != count) {
            return Err(bytes.corrupt(0, format!("{key_count} keys of {count} entries")));
        }
        // A count must be bounded by the bytes that are there: without bytes for ordinals, keys are all different.
        let bounded = ordinal_width > 0 || (key_count == count && (key_width > 0 || count == 1));
        if ordinal_width > 4 || !bounded {
            return Err(bytes.corrupt(26, format!("{count} ordinals of {ordinal_width} bytes")));
        }
        let rest = bytes.tail(HEADER_BYTES)?;
        let (keys, rest) = Packed::open(rest, key_width, key_count)?;
        let (ends, rest) = Packed::open(rest, end_width, key_count)?;
        let (ordinals, rest) = Packed::open(rest, ordinal_width, count)?;
        let present = rest.slice(0, u64::from(clusters.div_ceil(8)))?;
        let (bounds, rest) = Packed::open(rest.tail(present.len())?, key_width, 2 * u64::from(clusters))?;
        if rest.len() > 0 {
            return Err(rest.corrupt(0, format!("{} bytes too many", rest.len())));
        }
        let ends = (end_width > 0).then_some(ends);
        let present = present.raw();
        Ok(Some(Self { bytes, points, count, base, keys, key_count, ends, ordinals, clusters, present, bounds }))
    }

    /// Pairs of a number and a point.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Points with a number in the run of those that are neither `below` nor above what `within` holds for. Both are
    /// asked about keys.
    pub(crate) fn find(&self, below: impl Fn(u64) -> bool, within: impl Fn(u64) -> bool) -> Result<RoaringBitmap> {
        let start = self.keys.partition_point(0..self.key_count, |key| below(self.key(key)));
        let end = self.keys.partition_point(start..self.key_count, |key| within(self.key(key)));
        self.points_of(start..end)
    }

    /// As [`Column::find`], where `all` are the points of the column and each has one number: when most points are found, it
    /// is the others that are looked up.
    pub(crate) fn find_among(
        &self,
        all: &RoaringBitmap,
        below: impl Fn(u64) -> bool,
        within: impl Fn(u64) -> bool,
    ) -> Result<RoaringBitmap> {
        let start = self.keys.partition_point(0..self.key_count, |key| below(self.key(key)));
        let end = self.keys.partition_point(start..self.key_count, |key| within(self.key(key)));
        let before = |key: u64| if key == 0 { 0 } else { self.end(key - 1) };
        // In a damaged column the ends need not ascend: any answer will do.
        let found = before(end).saturating_sub(before(start));
        if found <= self.count / 2 || all.len() != self.count {
            return self.points_of(start..end);
        }
        Ok(all - (self.points_of(0..start)? | self.points_of(end..self.key_count)?))
    }

    /// The points of [`Column::find`] in ascending order, each once, where they are few: neither sets nor what is made of sets pay then. `None` where
    /// they are many.
    pub(crate) fn few(&self, below: impl Fn(u64) -> bool, within: impl Fn(u64) -> bool) -> Result<Option<Vec<u32>>> {
        let start = self.keys.partition_point(0..self.key_count, |key| below(self.key(key)));
        let end = self.keys.partition_point(start..self.key_count, |key| within(self.key(key)));
        let entries = self.entries_of(start..end)?;
        let count = entries.end - entries.start;
        if count > FEW_MAX || count > u64::from(self.points) / FEW_PART {
            return Ok(None);
        }
        self.sorted(entries).map(Some)
    }

    /// Points with the integer or datetime `value`.
    pub(crate) fn find_i64(&self, value: i64) -> Result<RoaringBitmap> {
        let wanted = key_of_i64(value);
        self.find(|key| key < wanted, |key| key == wanted)
    }

    /// Smallest and largest key in a cluster; `None` when it has no values.
    pub(crate) fn bounds(&self, cluster: u32) -> Option<(u64, u64)> {
        let byte = self.present.get(cluster as usize / 8).filter(|_| cluster < self.clusters)?;
        let at = 2 * u64::from(cluster);
        (byte >> (cluster % 8) & 1 == 1).then(|| (self.key(self.bounds.get(at)), self.key(self.bounds.get(at + 1))))
    }

    /// Smallest and largest integer (or datetime) in a cluster, if this column holds such.
    #[must_use]
    pub fn integer_bounds(&self, cluster: u32) -> Option<(i64, i64)> {
        self.bounds(cluster).map(|(smallest, largest)| (i64_of_key(smallest), i64_of_key(largest)))
    }

    /// Smallest and largest float in a cluster, if this column holds such.
    #[must_use]
    pub fn float_bounds(&self, cluster: u32) -> Option<(f64, f64)> {
        self.bounds(cluster).map(|(smallest, largest)| (f64_of_key(smallest), f64_of_key(largest)))
    }

    /// A key from its distance to the base. Wraps only in a damaged column, where any key will do.
    fn key(&self, offset: u64) -> u64 {
        self.base.wrapping_add(offset)
    }

    /// Calls `visit` with each number for which `within` holds, as its key, and its points, until it says stop. From the smallest up,
    /// where `within` holds for no number and then for all; or from the largest down, where it is the other way round.
    pub(crate) fn each(
        &self,
        descending: bool,
        within: impl Fn(u64) -> bool,
        mut visit: impl FnMut(u64, &[u32]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let (mut start, mut end) = (0, self.key_count);
        if descending {
            end = self.keys.partition_point(start..end, |key| within(self.key(key)));
        } else {
            start = self.keys.partition_point(start..end, |key| !within(self.key(key)));
        }
        let mut ordinals = Vec::new();
        while start < end {
            // Where every entry has a key of its own, equal ones stand beside one another.
            let number = self.keys.get(if descending { end - 1 } else { start });
            let run = if descending {
                self.keys.partition_point(start..end, |key| key < number)..end
            } else {
                start..self.keys.partition_point(start..end, |key| key <= number)
            };
            if run.is_empty() {
                return Err(self.bytes.corrupt(HEADER_BYTES, format!("keys {start} to {end} are out of order")));
            }
            (start, end) = if descending { (start, run.start) } else { (run.end, end) };
            self.ordinals_of(run, &mut ordinals)?;
            if visit(self.key(number), &ordinals)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The ordinals of a run of keys.
    fn ordinals_of(&self, keys: Range<u64>, ordinals: &mut Vec<u32>) -> Result<()> {
        ordinals.clear();
        let from = if keys.start == 0 { 0 } else { self.end(keys.start - 1) };
        let to = self.end(keys.end - 1);
        if from > to || to > self.count {
            return Err(self.bytes.corrupt(HEADER_BYTES, format!("entries {from} to {to} of {}", self.count)));
        }
        for entry in from..to {
            let ordinal = self.ordinals.get(entry);
            match u32::try_from(ordinal).ok().filter(|ordinal| *ordinal < self.points) {
                Some(ordinal) => ordinals.push(ordinal),
                None => {
                    let why = format!("ordinal {ordinal} of {} points", self.points);
                    return Err(self.bytes.corrupt(HEADER_BYTES, why));
                }
            }
        }
        Ok(())
    }

    fn end(&self, key: u64) -> u64 {
        self.ends.map_or(key + 1, |ends| ends.get(key))
    }

    /// The entries of a run of keys.
    fn entries_of(&self, keys: Range<u64>) -> Result<Range<u64>> {
        if keys.is_empty() {
            return Ok(0..0);
        }
        let start = if keys.start == 0 { 0 } else { self.end(keys.start - 1) };
        let end = self.end(keys.end - 1);
        if start > end || end > self.count {
            return Err(self.bytes.corrupt(HEADER_BYTES, format!("entries {start} to {end} of {}", self.count)));
        }
        Ok(start..end)
    }

    /// The ordinals of a run of entries in ascending order, each once.
    fn sorted(&self, entries: Range<u64>) -> Result<Vec<u32>> {
        let mut ordinals = Vec::with_capacity(usize::try_from(entries.end - entries.start).unwrap_or(0));
        let mut largest = 0;
        if entries.end - entries.start < u64::from(self.points) / 128 {
            self.ordinals.for_each(entries, |ordinal| {
                largest = largest.max(ordinal);
                ordinals.push(u32::try_from(ordinal).unwrap_or(u32::MAX));
            });
            ordinals.sort_unstable();
            ordinals.dedup();
        } else {
            // Through one bit per point they come out sorted.
            let mut words = vec![0u64; (self.points as usize).div_ceil(64)];
            self.ordinals.for_each(entries, |ordinal| {
                largest = largest.max(ordinal);
                if let Some(word) = usize::try_from(ordinal / 64).ok().and_then(|at| words.get_mut(at)) {
                    *word |= 1 << (ordinal % 64);
                }
            });
            for (base, mut word) in (0u32..).step_by(64).zip(words) {
                while word != 0 {
                    ordinals.push(base + word.trailing_zeros());
                    word &= word - 1;
                }
            }
        }
        self.inside(largest)?;
        Ok(ordinals)
    }

    /// Checks the largest of some ordinals.
    fn inside(&self, largest: u64) -> Result<()> {
        if largest < u64::from(self.points) {
            return Ok(());
        }
        Err(self.bytes.corrupt(HEADER_BYTES, format!("ordinal {largest} of {} points", self.points)))
    }

    fn points_of(&self, keys: Range<u64>) -> Result<RoaringBitmap> {
        let Range { start, end } = self.entries_of(keys)?;
        let mut largest = 0;
        // A plain set is the fastest way from unsorted ordinals to a bitmap once they are not few; and once they are many, a
        // byte per point, which is only written, beats a bit, which has to be read and written.
        let set = if end - start >= u64::from(self.points) / 8 {
            let mut marks = vec![0u8; (self.points as usize).next_multiple_of(8)];
            self.ordinals.for_each(start..end, |ordinal| {
                largest = largest.max(ordinal);
                if let Some(mark) = usize::try_from(ordinal).ok().and_then(|at| marks.get_mut(at)) {
                    *mark = 1;
                }
            });
            let bits: Vec<u8> = marks.as_chunks().0.iter().map(|marks| bits_of(*marks)).collect();
            RoaringBitmap::from_lsb0_bytes(0, &bits)
        } else if end - start >= u64::from(self.points) / 128 {
            let mut bits = vec![0u8; self.points as usize / 8 + 1];
            self.ordinals.for_each(start..end, |ordinal| {
                largest = largest.max(ordinal);
                if let Some(byte) = usize::try_from(ordinal / 8).ok().and_then(|at| bits.get_mut(at)) {
                    *byte |= 1 << (ordinal % 8);
                }
            });
            RoaringBitmap::from_lsb0_bytes(0, &bits)
        } else {
            RoaringBitmap::from_sorted_iter(self.sorted(start..end)?).unwrap_or_default()
        };
        self.inside(largest)?;
        Ok(set)
    }

    /// Checks order and bounds, and that each cluster's bounds lie inside the column.
    pub(super) fn verify(&self, clusters: u32) -> Result<()> {
        let fail = |why: String| Err(self.bytes.corrupt(HEADER_BYTES, why));
        if self.clusters != clusters {
            return fail(format!("{} clusters, the section has {clusters}", self.clusters));
        }
        let mut last: Option<(u64, u64)> = None;
        let mut start = 0;
        for key in 0..self.key_count {
            let (offset, end) = (self.keys.get(key), self.end(key));
            if end <= start || end > self.count || self.base.checked_add(offset).is_none() {
                return fail(format!("key {key} with entries {start} to {end}"));
            }
            for entry in start..end {
                let pair = (offset, self.ordinals.get(entry));
                if pair.1 >= u64::from(self.points) || last.is_some_and(|last| last >= pair) {
                    return fail(format!("entry {entry} is out of order or bounds"));
                }
                last = Some(pair);
            }
            start = end;
        }
        if start != self.count {
            return fail(format!("{start} entries, {} in the header", self.count));
        }
        let (smallest, largest) = (self.base, self.key(self.keys.get(self.key_count - 1)));
        for cluster in 0..self.clusters {
            if self.bounds(cluster).is_some_and(|(low, high)| low > high || low < smallest || high > largest) {
                return fail(format!("bounds of cluster {cluster}"));
            }
        }
        Ok(())
    }
}
/// Eight marks of 0 or 1 as bits, the first the least significant.
fn bits_of(marks: [u8; 8]) -> u8 {
    // Mark `i` is bit `8 i`; the product brings it to bit `56 + i`, and nothing else there.
    (u64::from_le_bytes(marks).wrapping_mul(0x0102_0408_1020_4080) >> 56).to_le_bytes()[0]
}
