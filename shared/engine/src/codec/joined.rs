//! Both records of a vector as one row of whole codes, for comparing stored vectors with each other while a graph is built.

use super::{Codec, HIGH_FACTOR_BYTES, LOW_FACTOR_BYTES};
use crate::kernel::{BLOCK_BYTES, BLOCK_DIMS};

/// What stands beside a row of codes: `r ~= factor * (u - 127.5)`; see the layout in [`super`] for `bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// `f8`.
    pub factor: f32,
    /// `|x - c|^2` for Euclid, `<x - c, c>` for Dot and Cosine.
    pub bias: f32,
}

impl Codec {
    /// Writes the codes of a vector's two records to `row`, one byte a dimension in dimension order.
    ///
    /// # Panics
    /// If a record does not have its length, or the row not [`Codec::padded`] bytes.
    pub fn join(&self, high: &[u8], low: &[u8], row: &mut [u8]) -> Factors {
        assert_eq!(high.len(), self.high_bytes(), "bytes of the high record");
        assert_eq!(low.len(), self.low_bytes(), "bytes of the low record");
        assert_eq!(row.len(), self.padded(), "bytes of the row");
        let (high_factors, high) = high.split_at(HIGH_FACTOR_BYTES);
        let (low_factor, low) = low.split_at(LOW_FACTOR_BYTES);
        let planes = high.chunks(BLOCK_BYTES).zip(low.chunks(BLOCK_BYTES));
        for (row, (high, low)) in row.chunks_mut(BLOCK_DIMS).zip(planes) {
            let (first, second) = row.split_at_mut(row.len() / 2);
            for ((first, second), (high, low)) in first.iter_mut().zip(second).zip(high.iter().zip(low)) {
                *first = high << 4 | low & 15;
                *second = high & 0xF0 | low >> 4;
            }
        }
        let float = |bytes: &[u8]| bytes.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        Factors { factor: float(low_factor), bias: float(&high_factors[4..]) }
    }
}
