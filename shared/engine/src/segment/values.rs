//! Vectors that are stored and not searched: several a point, or a few of many dimensions. See FORMAT.md.

use std::io;

use cairn_model::{SparseVectorParams, Vector, VectorKind};
use roaring::RoaringBitmap;

use super::{
    head::{ValuesHead, ValuesKind},
    layout::{SectionKind, u32_at, u64_at},
    originals::widened,
    stored::Stored,
    writer::Writer,
};
use crate::{Error, Result, source::Region};

const SECTION: &str = "values";
/// Bytes of an offset.
const OFFSET_BYTES: u64 = 8;
/// Bytes before a row's values: how many there are.
const COUNT_BYTES: usize = 4;
/// Bytes of a row that are written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// The vectors of one name, as the builder collects them.
#[derive(Debug)]
pub(super) struct ValuesColumn {
    head: ValuesHead,
    /// Rows as the file has them.
    data: Vec<u8>,
    /// Of each row the point, by the order of pushing, and its end in `data`.
    rows: Vec<(u32, usize)>,
}

impl ValuesColumn {
    pub(super) const fn new(name: String, kind: ValuesKind) -> Self {
        Self { head: ValuesHead { name, kind }, data: Vec::new(), rows: Vec::new() }
    }

    pub(super) const fn head(&self) -> &ValuesHead {
        &self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory that the rows hold, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + size_of_val(self.rows.as_slice())
    }

    /// Adds the vector of a point, the latest so far.
    ///
    /// # Errors
    /// As [`Stored::new`], or where it `again` is one that was stored before [`Stored::again`].
    pub(super) fn push(&mut self, point: u32, vector: &Vector, again: bool) -> Result<()> {
        let sparse = SparseVectorParams::default();
        let kind = match &self.head.kind {
            ValuesKind::Multi(params) => VectorKind::Multi(params),
            ValuesKind::Sparse => VectorKind::Sparse(&sparse),
        };
        let stored = if again { Stored::again(vector, kind)? } else { Stored::new(vector, kind)? };
        let too_long = |_| Error::invalid("vector", "too many values");
        match &stored {
            Stored::Dense(rows) | Stored::Multi(rows) => {
                self.data.extend(u32::try_from(rows.len()).map_err(too_long)?.to_le_bytes());
                self.data.extend(rows.bytes());
            }
            Stored::Sparse(indices, values) => {
                self.data.extend(u32::try_from(values.len()).map_err(too_long)?.to_le_bytes());
                self.data.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
                self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        self.rows.push((point, self.data.len()));
        Ok(())
    }

    /// Takes back the vector of a point, if it was the latest.
    pub(super) fn pop(&mut self, point: u32) {
        if self.rows.pop_if(|row| row.0 == point).is_some() {
            self.data.truncate(self.rows.last().map_or(0, |row| row.1));
        }
    }

    /// Writes the section; `order` gives the point, by the order of pushing, of each ordinal.
    pub(super) fn write(&self, group: u16, order: &[u32], writer: &mut Writer<'_>) -> io::Result<()> {
        let mut of_points = vec![0..0; order.len()];
        let mut start = 0;
        for &(point, end) in &self.rows {
            of_points[point as usize] = start..end;
            start = end;
        }
        let mut part = writer.begin(group, SectionKind::Values);
        let mut bytes = Vec::with_capacity(WRITE_BYTES);
        let mut offset = 0u64;
        let lengths = order.iter().map(|&point| of_points[point as usize].len());
        for length in std::iter::once(0).chain(lengths) {
            offset += length as u64;
            bytes.extend(offset.to_le_bytes());
        }
        writer.append(&mut part, &bytes)?;
        bytes.clear();
        for &point in order {
            bytes.extend(&self.data[of_points[point as usize].clone()]);
            if bytes.len() >= WRITE_BYTES {
                writer.append(&mut part, &bytes)?;
                bytes.clear();
            }
        }
        writer.append(&mut part, &bytes)?;
        writer.end(&part)
    }
}

/// A view of the section, of which some may not be at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    kind: ValuesKind,
    /// One more than there are points.
    offsets: Region<'a>,
    data: Region<'a>,
}

impl<'a> Values<'a> {
    /// The section of a segment of `points` points.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for one that is too short.
    pub(super) fn open(section: Region<'a>, kind: ValuesKind, points: u32) -> Result<Self> {
        let offsets_bytes = (u64::from(points) + 1) * OFFSET_BYTES;
        let offsets = section.part(0, offsets_bytes)?;
        Ok(Self { kind, offsets, data: section.part(offsets_bytes, section.len() - offsets_bytes)? })
    }

    /// What tells where each point's values are, at hand or not.
    pub(super) const fn offsets(&self) -> Region<'a> {
        self.offsets
    }

    fn points(&self) -> u32 {
        u32::try_from(self.offsets.len() / OFFSET_BYTES).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// The vector of a point, if it has one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for an ordinal past the end, [`Error::Absent`].
    pub(super) fn get(&self, ordinal: u32) -> Result<Option<Vector>> {
        let at = u64::from(ordinal) * OFFSET_BYTES;
        let ends = self.offsets.bytes(at, 2 * OFFSET_BYTES)?;
        let (start, end) = (u64_at(ends, 0), u64_at(ends, 8));
        let len = end.checked_sub(start).ok_or_else(|| self.offsets.corrupt(at, "a row that ends before it begins"))?;
        if len == 0 {
            return Ok(None);
        }
        let row = self.data.bytes(start, len)?;
        let values = row.get(COUNT_BYTES..).ok_or_else(|| self.data.corrupt(start, "a row without a count"))?;
        let count = u64::from(u32_at(row, 0));
        let value_bytes = match self.kind {
            ValuesKind::Multi(params) => u64::from(params.size) * params.datatype.bytes() as u64,
            ValuesKind::Sparse => 8,
        };
        if count.checked_mul(value_bytes) != Some(values.len() as u64) {
            return Err(self.data.corrupt(start, format!("{} bytes for {count} values", values.len())));
        }
        Ok(Some(match self.kind {
            ValuesKind::Multi(params) => Vector::Multi { dim: params.size, values: widened(params.datatype, values) },
            ValuesKind::Sparse => {
                let (indices, values) = values.split_at(values.len() / 2);
                let indices = indices.chunks_exact(4).map(|bytes| u32_at(bytes, 0)).collect();
                Vector::Sparse { indices, values: widened(cairn_model::Datatype::Float32, values) }
            }
        }))
    }

    /// The points that have a vector.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub(super) fn holders(&self) -> Result<RoaringBitmap> {
        let offsets = self.offsets.all()?;
        let has = |ordinal: &u32| {
            let at = *ordinal as usize * 8;
            u64_at(offsets, at) != u64_at(offsets, at + 8)
        };
        Ok((0..self.points()).filter(has).collect())
    }

    /// How many points have a vector.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub(super) fn count(&self) -> Result<u64> {
        self.holders().map(|holders| holders.len())
    }

    /// Checks every row, and that rows follow one another without gaps from the first byte to the last.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn verify(&self) -> Result<()> {
        let offsets = self.offsets.all()?;
        let last = u64::from(self.points()) * OFFSET_BYTES;
        if u64_at(offsets, 0) != 0 || u64_at(offsets, usize::try_from(last).unwrap_or(0)) != self.data.len() {
            return Err(self.offsets.corrupt(0, "rows are not all of the section"));
        }
        for ordinal in 0..self.points() {
            let ascends = match self.get(ordinal)? {
                Some(Vector::Sparse { indices, .. }) => indices.is_sorted_by(|a, b| a < b),
                _ => true,
            };
            if !ascends {
                let why = format!("the dimensions of point {ordinal} do not ascend");
                return Err(Error::corrupt(SECTION, ordinal as usize * 8, why));
            }
        }
        Ok(())
    }
}
