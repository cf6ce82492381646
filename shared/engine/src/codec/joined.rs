//! Both records of a vector as one row of whole codes, for comparing stored vectors with each other while a graph is built, and
//! the records again from such rows, so that a build need not hold both.

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

/// The beginnings of a vector's two records: what its row of codes does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    high: [u8; HIGH_FACTOR_BYTES],
    low: [u8; LOW_FACTOR_BYTES],
}

impl Heads {
    /// Those of two records.
    ///
    /// # Panics
    /// If a record is shorter than its head.
    #[must_use]
    pub fn of(high: &[u8], low: &[u8]) -> Self {
        let mut heads = Self { high: [0; HIGH_FACTOR_BYTES], low: [0; LOW_FACTOR_BYTES] };
        heads.high.copy_from_slice(&high[..HIGH_FACTOR_BYTES]);
        heads.low.copy_from_slice(&low[..LOW_FACTOR_BYTES]);
        heads
    }
}

impl Codec {
    /// The high record of a row that [`Codec::join`] wrote.
    ///
    /// # Panics
    /// If the row does not have [`Codec::padded`] bytes, or the record not its own.
    pub fn split_high(&self, row: &[u8], heads: &Heads, record: &mut [u8]) {
        assert_eq!((row.len(), record.len()), (self.padded(), self.high_bytes()), "bytes of the row and the record");
        let (head, codes) = record.split_at_mut(HIGH_FACTOR_BYTES);
        head.copy_from_slice(&heads.high);
        for (row, codes) in row.chunks(BLOCK_DIMS).zip(codes.chunks_mut(BLOCK_BYTES)) {
            let (first, second) = row.split_at(row.len() / 2);
            for (code, (first, second)) in codes.iter_mut().zip(first.iter().zip(second)) {
                *code = first >> 4 | second & 0xF0;
            }
        }
    }

    /// The low record of a row that [`Codec::join`] wrote.
    ///
    /// # Panics
    /// As [`Codec::split_high`].
    pub fn split_low(&self, row: &[u8], heads: &Heads, record: &mut [u8]) {
        assert_eq!((row.len(), record.len()), (self.padded(), self.low_bytes()), "bytes of the row and the record");
        let (head, codes) = record.split_at_mut(LOW_FACTOR_BYTES);
        head.copy_from_slice(&heads.low);
        for (row, codes) in row.chunks(BLOCK_DIMS).zip(codes.chunks_mut(BLOCK_BYTES)) {
            let (first, second) = row.split_at(row.len() / 2);
            for (code, (first, second)) in codes.iter_mut().zip(first.iter().zip(second)) {
                *code = first & 15 | second << 4;
            }
        }
    }

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
