//! Sets of ordinals: short delta lists and Roaring bitmaps, see the layout of slots.

use roaring::RoaringBitmap;

use super::CLUSTERED_BYTES;
use crate::{
    Result,
    payload::bytes::{Bytes, Cursor, put_varint},
};

/// Ordinals up to which a set is a list: cheaper to decode than a bitmap, and smaller.
const LIST_MAX: u64 = 64;
/// Bytes of a list that stays with its key.
const INLINE_BYTES_MAX: usize = 24;

const INLINE: u64 = 0;
const LIST: u64 = 1;
const BITMAP: u64 = 2;

/// Collects the postings and cluster bitmaps of one field.
#[derive(Debug)]
pub(super) struct Postings<'a> {
    cluster_starts: &'a [u32],
    pub(super) postings: Vec<u8>,
    pub(super) clusters: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> Postings<'a> {
    pub(super) fn new(cluster_starts: &'a [u32]) -> Self {
        Self { cluster_starts, postings: Vec::new(), clusters: Vec::new(), scratch: Vec::new() }
    }

    /// Stores a set and appends its slot to `out`.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, mut set: RoaringBitmap) {
        if set.len() <= LIST_MAX {
            return self.put_sorted(out, &set.iter().collect::<Vec<_>>());
        }
        set.optimize();
        let bytes = set.serialized_size();
        put_varint(out, (bytes as u64) << 2 | BITMAP);
        put_varint(out, self.postings.len() as u64);
        put_varint(out, self.clusters.len() as u64);
        write_bitmap(&mut self.postings, &set);
        let before = self.clusters.len();
        if bytes >= CLUSTERED_BYTES && !self.cluster_starts.is_empty() {
            let mut clusters = clusters_of(&set, self.cluster_starts);
            clusters.optimize();
            write_bitmap(&mut self.clusters, &clusters);
        }
        put_varint(out, (self.clusters.len() - before) as u64);
    }

    /// The same for ordinals that ascend.
    pub(super) fn put_sorted(&mut self, out: &mut Vec<u8>, ordinals: &[u32]) {
        if ordinals.len() as u64 > LIST_MAX {
            return self.put(out, RoaringBitmap::from_sorted_iter(ordinals.iter().copied()).unwrap_or_default());
        }
        self.scratch.clear();
        let mut next = 0;
        for ordinal in ordinals {
            put_varint(&mut self.scratch, u64::from(*ordinal) - next);
            next = u64::from(*ordinal) + 1;
        }
        let inline = self.scratch.len() <= INLINE_BYTES_MAX;
        put_varint(out, (self.scratch.len() as u64) << 2 | if inline { INLINE } else { LIST });
        if inline {
            out.extend_from_slice(&self.scratch);
        } else {
            put_varint(out, self.postings.len() as u64);
            self.postings.extend_from_slice(&self.scratch);
        }
    }
}

#[expect(clippy::unwrap_used, reason = "writing to a Vec cannot fail")]
fn write_bitmap(out: &mut Vec<u8>, set: &RoaringBitmap) {
    set.serialize_into(out).unwrap();
}

/// The clusters in which `set` has points.
pub(super) fn clusters_of(set: &RoaringBitmap, cluster_starts: &[u32]) -> RoaringBitmap {
    let mut clusters = RoaringBitmap::new();
    let mut ordinals = set.iter();
    while let Some(ordinal) = ordinals.next() {
        let after = cluster_starts.partition_point(|start| *start <= ordinal);
        clusters.insert(u32::try_from(after.saturating_sub(1)).unwrap_or(u32::MAX));
        let Some(next) = cluster_starts.get(after) else { break };
        ordinals.advance_to(*next);
    }
    clusters
}

/// A set of ordinals that is not decoded yet.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    posting: Bytes<'a>,
    is_list: bool,
    clusters: Option<Bytes<'a>>,
    points: u32,
}

/// Where a field's slots point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Areas<'a> {
    pub(super) postings: Bytes<'a>,
    pub(super) clusters: Bytes<'a>,
    pub(super) points: u32,
    pub(super) cluster_count: u32,
}

impl<'a> Slot<'a> {
    /// Reads the slot at `cursor`.
    pub(super) fn read(cursor: &mut Cursor<'a>, areas: &Areas<'a>) -> Result<Self> {
        let head = cursor.varint()?;
        let (kind, bytes) = (head & 3, head >> 2);
        let (posting, clusters) = match kind {
            INLINE => (cursor.take(bytes)?, None),
            LIST => (areas.postings.slice(cursor.varint()?, bytes)?, None),
            BITMAP => {
                let posting = areas.postings.slice(cursor.varint()?, bytes)?;
                let clusters = areas.clusters.slice(cursor.varint()?, cursor.varint()?)?;
                (posting, (clusters.len() > 0).then_some(clusters))
            }
            _ => return Err(cursor.corrupt("a set of unknown kind")),
        };
        Ok(Self { posting, is_list: kind != BITMAP, clusters, points: areas.points })
    }

    /// The ordinals.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn ordinals(&self) -> Result<RoaringBitmap> {
        if !self.is_list {
            return read_bitmap(self.posting, self.points);
        }
        let mut cursor = Cursor::new(self.posting);
        let mut set = RoaringBitmap::new();
        let mut next = 0u64;
        while !cursor.is_at_end() {
            let ordinal = next.saturating_add(cursor.varint()?);
            match u32::try_from(ordinal) {
                Ok(ordinal) if ordinal < self.points => set.insert(ordinal),
                _ => return Err(cursor.corrupt(format!("ordinal {ordinal} of {} points", self.points))),
            };
            next = ordinal + 1;
        }
        Ok(set)
    }

    /// Adds the ordinals to `set`.
    pub(crate) fn add_to(&self, set: &mut RoaringBitmap) -> Result<()> {
        *set |= self.ordinals()?;
        Ok(())
    }

    /// The clusters in which the set has points; `cluster_starts` are those that the section was written with.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn clusters(&self, cluster_starts: &[u32]) -> Result<RoaringBitmap> {
        match self.clusters {
            Some(clusters) => read_bitmap(clusters, u32::try_from(cluster_starts.len()).unwrap_or(u32::MAX)),
            None => Ok(clusters_of(&self.ordinals()?, cluster_starts)),
        }
    }

    /// Checks the set and its clusters' bounds.
    pub(super) fn verify(&self, areas: &Areas<'_>) -> Result<RoaringBitmap> {
        if let Some(clusters) = self.clusters {
            read_bitmap(clusters, areas.cluster_count)?;
        }
        self.ordinals()
    }
}

/// Reads a Roaring bitmap whose values are below `bound`. The deserialiser checks every container and never allocates
/// more than a container ahead of what it has read (plus at most 512 KiB for the header).
fn read_bitmap(bytes: Bytes<'_>, bound: u32) -> Result<RoaringBitmap> {
    let mut raw = bytes.raw();
    let set = RoaringBitmap::deserialize_from(&mut raw).map_err(|error| bytes.corrupt(0, error.to_string()))?;
    if !raw.is_empty() {
        return Err(bytes.corrupt(0, format!("{} bytes after a bitmap", raw.len())));
    }
    match set.max() {
        Some(max) if max >= bound => Err(bytes.corrupt(0, format!("{max} in a bitmap of values below {bound}"))),
        _ => Ok(set),
    }
}
