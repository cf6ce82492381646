//! Tables of nibble codes, and the distances that their products stand for.

use super::{BLOCK_BYTES, BLOCK_DIMS};

/// Bytes of the two factors in front of a row's codes.
pub const FACTORS_BYTES: usize = 8;

/// Rows of codes, each after its two factors: `factor` and `bias`, as little-endian f32.
#[derive(Clone, Copy, Debug)]
pub struct CodeTable<'a> {
    records: &'a [u8],
    /// At least [`FACTORS_BYTES`] where there are rows.
    record_bytes: usize,
    /// Each lies whole in `records`.
    rows: usize,
}

impl<'a> CodeTable<'a> {
    /// Records of `record_bytes` bytes, one after another.
    #[must_use]
    pub const fn new(records: &'a [u8], record_bytes: usize) -> Self {
        let rows = if record_bytes > FACTORS_BYTES { records.len() / record_bytes } else { 0 };
        Self { records, record_bytes, rows }
    }

    /// The whole record of a row; empty where there is none.
    #[must_use]
    #[inline]
    pub fn record(&self, row: u32) -> &'a [u8] {
        let row = row as usize;
        if row < self.rows { &self.records[row * self.record_bytes..][..self.record_bytes] } else { &[] }
    }

    /// Rows.
    #[inline]
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of a row's codes.
    #[must_use]
    #[inline]
    pub const fn code_bytes(&self) -> usize {
        self.record_bytes.saturating_sub(FACTORS_BYTES)
    }

    /// Where each row's record begins, for kernels that know it to be there: row `i` at `i` times the bytes of a record.
    #[inline]
    pub(super) const fn place(&self) -> (*const u8, usize) {
        (self.records.as_ptr(), self.record_bytes)
    }
}

/// How a row's product with the query becomes a distance; the same steps, rounded alike, in every table.
///
/// ```text
/// base + bias_weight * bias - weight * (factor * (2 * product - shift))
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CodeTerms {
    /// Twice what centring the codes takes away from the product.
    pub shift: i32,
    /// The distance where all else is 0.
    pub base: f32,
    /// What a row's bias counts.
    pub bias_weight: f32,
    /// What a row's product counts.
    pub weight: f32,
}

impl CodeTerms {
    /// The distance of a product, in a row with these factors; infinite instead of NaN.
    #[inline]
    #[must_use]
    pub fn distance(&self, product: i32, factor: f32, bias: f32) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "far finer than the estimate")]
        let product = product.wrapping_mul(2).wrapping_sub(self.shift) as f32;
        // `min` takes the number where the other side is NaN.
        (self.base + self.bias_weight * bias - self.weight * (factor * product)).min(f32::INFINITY)
    }

    /// The distance of a whole record, its product given by `dot`; infinite for one without codes.
    #[inline(always)]
    pub(super) fn of_record(&self, record: &[u8], dot: impl FnOnce(&[u8]) -> i32) -> f32 {
        match factors(record) {
            Some((factor, bias, codes)) if !codes.is_empty() => self.distance(dot(codes), factor, bias),
            _ => f32::INFINITY,
        }
    }
}

/// Factor, bias and codes of a record.
#[inline]
pub fn factors(record: &[u8]) -> Option<(f32, f32, &[u8])> {
    let ([a, b, c, d, e, f, g, h], codes) = record.split_first_chunk::<FACTORS_BYTES>()?;
    Some((f32::from_le_bytes([*a, *b, *c, *d]), f32::from_le_bytes([*e, *f, *g, *h]), codes))
}

/// Sets `out[i]` to the distance of row `rows[i]`, of [`super::Kernel::dot_u4_i8`] of its codes and the query by `terms`; infinite for rows that
/// the table does not have. The query has the blocks of the table's codes.
pub type CodeDistances = fn(table: &CodeTable<'_>, rows: &[u32], query: &[i8], terms: &CodeTerms, out: &mut [f32]);

/// Nibble codes and their query, block by block.
pub(super) struct Blocks<'a> {
    pub(super) whole: &'a [[u8; BLOCK_BYTES]],
    pub(super) query: &'a [[i8; BLOCK_DIMS]],
    /// Codes of a last block that is not whole, with its query.
    pub(super) tail: Option<(&'a [u8], &'a [i8; BLOCK_DIMS])>,
}

/// Codes and query of equally many blocks.
#[inline]
pub(super) fn blocks<'a>(codes: &'a [u8], query: &'a [i8]) -> Blocks<'a> {
    debug_assert_eq!(
        codes.len().div_ceil(BLOCK_BYTES) * BLOCK_DIMS,
        query.len(),
        "codes and query of different lengths"
    );
    let ((whole, tail), query) = (codes.as_chunks(), query.as_chunks().0);
    let len = whole.len().min(query.len());
    let tail = if tail.is_empty() { None } else { query.get(whole.len()).map(|query| (tail, query)) };
    Blocks { whole: &whole[..len], query: &query[..len], tail }
}
