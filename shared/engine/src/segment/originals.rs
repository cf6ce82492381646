//! Original vectors as the reader finds them, and exact distances from them.

use bytemuck::try_cast_slice;
use cairn_model::{Datatype, VectorParams};
use half::f16;

use super::vectors::{byte_distance, float_distance, quantize_u8};
use crate::{
    Error, Result,
    codec::{HighRecords, Query},
    kernel::{self, Kernel},
    source::Region,
};

/// The vectors section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Originals<'a> {
    place: Place<'a>,
    params: VectorParams,
}

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Whole(&'a [u8]),
    /// Some rows of it may be at hand.
    Parts(Region<'a>),
}

impl<'a> Originals<'a> {
    /// `bytes` holds whole rows; the segment checked that.
    pub(super) const fn new(bytes: &'a [u8], params: VectorParams) -> Self {
        Self { place: Place::Whole(bytes), params }
    }

    /// `region` holds whole rows; the segment checked that.
    pub(super) fn of_region(region: Region<'a>, params: VectorParams) -> Self {
        Self { place: region.all().map_or(Place::Parts(region), Place::Whole), params }
    }

    pub(super) fn row(&self, ordinal: u32) -> Result<&'a [u8]> {
        let row_bytes = self.params.size as usize * self.params.datatype.bytes();
        let at = ordinal as usize * row_bytes;
        match self.place {
            Place::Whole(bytes) => {
                bytes.get(at..at + row_bytes).ok_or_else(|| Error::corrupt("vectors", at, "row past the end"))
            }
            Place::Parts(region) => region.bytes(at as u64, row_bytes as u64),
        }
    }

    /// A row, widened.
    pub(super) fn vector(&self, ordinal: u32) -> Result<Vec<f32>> {
        self.row(ordinal).map(|row| widened(self.params.datatype, row))
    }
}

/// Both code sections, by ordinal.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    pub(super) high: HighRecords<'a>,
    pub(super) low: &'a [u8],
    pub(super) low_bytes: usize,
}

impl<'a> Records<'a> {
    pub(super) fn low(&self, ordinal: u32) -> &'a [u8] {
        let at = ordinal as usize * self.low_bytes;
        self.low.get(at..at + self.low_bytes).unwrap_or(&[])
    }
}

/// The most exact distances from one query that a segment can give: by its originals, else by both planes of its codes.
pub(super) enum Exact<'a> {
    /// Originals are kept.
    Originals(ByOriginals<'a>),
    /// They are not.
    Codes(Query, Records<'a>),
}

impl<'a> Exact<'a> {
    /// `query` is normalised already where the metric wants that.
    pub(super) fn originals(originals: Originals<'a>, query: &'a [f32]) -> Self {
        Self::Originals(ByOriginals::new(originals, query))
    }

    pub(super) fn distance(&self, ordinal: u32) -> Result<f32> {
        match self {
            Self::Originals(exact) => exact.distance(ordinal),
            Self::Codes(query, records) => Ok(query.fine(records.high.get(ordinal), records.low(ordinal))),
        }
    }

    pub(super) fn prefetch(&self, ordinal: u32) {
        match self {
            Self::Originals(exact) => exact.prefetch(ordinal),
            Self::Codes(_, records) => {
                kernel::prefetch(records.high.get(ordinal));
                kernel::prefetch(records.low(ordinal));
            }
        }
    }
}

/// Distances from one query to original vectors.
pub(super) struct ByOriginals<'a> {
    originals: Originals<'a>,
    query: ToStored<'a>,
}

impl<'a> ByOriginals<'a> {
    /// `query` is normalised already where the metric wants that.
    fn new(originals: Originals<'a>, query: &'a [f32]) -> Self {
        Self { originals, query: ToStored::new(originals.params, query) }
    }

    fn distance(&self, ordinal: u32) -> Result<f32> {
        Ok(self.query.distance(self.originals.row(ordinal)?))
    }

    fn prefetch(&self, ordinal: u32) {
        if let Ok(row) = self.originals.row(ordinal) {
            kernel::prefetch(row);
        }
    }
}

/// Distances from one query to vectors as segments store them.
pub(crate) struct ToStored<'a> {
    params: VectorParams,
    query: &'a [f32],
    query_bytes: Vec<u8>,
    kernel: &'static Kernel,
}

impl<'a> ToStored<'a> {
    /// `query` has the right dimension and is normalised already where the metric wants that.
    pub(crate) fn new(params: VectorParams, query: &'a [f32]) -> Self {
        let bytes = params.datatype == Datatype::Uint8;
        let query_bytes = if bytes { query.iter().map(|&x| quantize_u8(x)).collect() } else { Vec::new() };
        Self { params, query, query_bytes, kernel: kernel::get() }
    }

    /// The internal distance of one stored vector of the same dimension and datatype.
    pub(crate) fn distance(&self, row: &[u8]) -> f32 {
        let (metric, kernel) = (self.params.distance, self.kernel);
        match self.params.datatype {
            // Mapped files are aligned; a buffer in memory need not be, and is copied row by row then.
            Datatype::Float32 => {
                let kernels = (kernel.dot_f32, kernel.l2_f32, kernel.l1_f32);
                match try_cast_slice(row) {
                    Ok(row) => float_distance(metric, (self.query, row), kernels),
                    Err(_) => float_distance(metric, (self.query, &floats(row)), kernels),
                }
            }
            Datatype::Float16 => {
                let kernels = (kernel.dot_f32_f16, kernel.l2_f32_f16, kernel.l1_f32_f16);
                match try_cast_slice(row) {
                    Ok(row) => float_distance(metric, (self.query, row), kernels),
                    Err(_) => float_distance(metric, (self.query, &halves(row)), kernels),
                }
            }
            Datatype::Uint8 => byte_distance(kernel, metric, &self.query_bytes, row),
        }
    }
}

/// Little-endian values of a datatype, whole ones.
pub(super) fn widened(datatype: Datatype, bytes: &[u8]) -> Vec<f32> {
    match datatype {
        Datatype::Float32 => floats(bytes),
        Datatype::Float16 => halves(bytes).into_iter().map(f16::to_f32).collect(),
        Datatype::Uint8 => bytes.iter().map(|&x| f32::from(x)).collect(),
    }
}

fn floats(row: &[u8]) -> Vec<f32> {
    row.chunks_exact(4).filter_map(|b| b.first_chunk()).map(|b| f32::from_le_bytes(*b)).collect()
}

fn halves(row: &[u8]) -> Vec<f16> {
    row.chunks_exact(2).filter_map(|b| b.first_chunk()).map(|b| f16::from_le_bytes(*b)).collect()
}

#[cfg(test)]
mod tests {
    use cairn_model::Distance;

    use super::{super::vectors::Vectors, *};

    #[test]
    fn exact_distances_agree_with_pairs_in_every_datatype_and_alignment() {
        for datatype in [Datatype::Float32, Datatype::Float16, Datatype::Uint8] {
            for distance in Distance::ALL {
                let params = VectorParams { datatype, ..VectorParams::new(5, distance) };
                let mut vectors = Vectors::new(params);
                vectors.push(&[1.0, 2.0, 3.0, 0.0, 5.0]).unwrap();
                vectors.push(&[9.0, 0.0, 1.0, 4.0, 2.0]).unwrap();
                let mut shifted = vec![0u8];
                shifted.extend(vectors.bytes());
                for bytes in [vectors.bytes(), &shifted[1..]] {
                    let originals = Originals::new(bytes, params);
                    let first = originals.vector(0).unwrap();
                    let exact = Exact::originals(originals, &first);
                    let (a, b) = (exact.distance(1).unwrap(), vectors.stored_distance(0, 1));
                    assert!((a - b).abs() <= 1e-3 * b.abs().max(1.0), "{datatype:?} {distance:?}: {a} {b}");
                    assert!(originals.row(2).is_err());
                }
            }
        }
    }
}
