//! Products of byte rows with byte rows, many at a time: what building a graph spends its time on.
//!
//! Rows are codes of one width, a multiple of [`BLOCK_DIMS`], row after row. The two sides of a product are
//! not alike: the instructions that are made for this multiply unsigned by signed bytes, so one side is shifted by 128,
//!
//! ```text
//! product(a, b) = sum a_i * (b_i - 128)
//! ```
//!
//! which is exact in an `i32` up to 65,536 dimensions. Whoever keeps the sum of each row turns that into any other inner product, and with it into a
//! distance: [`Terms`].
//!
//! [`Tile::block`] multiplies chosen rows by a whole *panel*: up to a few hundred rows repacked once by [`Tile::pack`], in whatever
//! order suits the instruction set. On AVX-512 that is sixteen rows side by side, four dimensions of each in turn, so that a
//! register holds sixteen products and nothing is ever summed across lanes: 64 products per load and no reduction.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};

use super::{BLOCK_DIMS, Kernel};

/// Rows that a panel is padded to.
pub const PANEL_ROWS: usize = 16;

/// Repacked rows for [`Tile::block`].
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// In the table's own order; on AVX-512 shifted by 128.
    bytes: Vec<u8>,
    /// Bytes of a row.
    width: usize,
    /// Products per left row: the rows, padded.
    columns: usize,
}

impl Panel {
    /// Products that a left row has with this panel: its rows, rounded up to [`PANEL_ROWS`].
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }
}

/// What the distance of two rows needs beside their product.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Terms {
    /// What the product counts; the two rows' are multiplied.
    pub factor: f32,
    /// Added to the distance.
    pub bias: f32,
    /// Added to the product.
    pub half: f32,
    /// What a product with this row as the signed side has too much.
    pub shift: i32,
}

impl Terms {
    /// The distance of two rows, the second one the signed side of their product:
    /// `max(0, bias_a + bias_b - factor_a factor_b (product - shift_b + half_a + half_b))`, the same steps, rounded alike, in every table.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
    pub fn distance(self, signed: Self, product: i32) -> f32 {
        let levels = product.wrapping_sub(signed.shift) as f32 + (self.half + signed.half);
        // The maximum with 0 also takes what is no number.
        ((self.bias + signed.bias) - self.factor * signed.factor * levels).max(0.0)
    }
}

/// Rows of one width with their terms.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    width: usize,
    terms: &'a [Terms],
}

impl<'a> Rows<'a> {
    /// One row of `width` bytes after another, as many as there are terms.
    ///
    /// # Panics
    /// If there are more or fewer, or the width is not a multiple of [`BLOCK_DIMS`].
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8], width: usize, terms: &'a [Terms]) -> Self {
        assert!(width.is_multiple_of(BLOCK_DIMS) && bytes.len() == width * terms.len(), "rows with their terms");
        Self { bytes, width, terms }
    }

    /// The bytes of a row.
    #[must_use]
    #[inline]
    pub fn row(&self, ordinal: u32) -> &'a [u8] {
        row(self.bytes, ordinal, self.width)
    }

    /// The terms of a row.
    #[must_use]
    #[inline]
    pub fn terms(&self, ordinal: u32) -> Terms {
        self.terms[ordinal as usize]
    }
}

/// `out[i]` becomes the distance of row `ordinals[i]` and row `own`, which is the signed side.
pub type Distances = fn(rows: &Rows<'_>, own: u32, ordinals: &[u32], out: &mut [f32]);
/// Repacks rows of `width` bytes.
pub type Pack = fn(rows: &[u8], width: usize, panel: &mut Panel);
/// `out[i * columns + j] = product(row left[i], panel's row j)`; columns beyond the panel's rows hold anything.
pub type Multiply = fn(rows: &[u8], left: &[u32], panel: &Panel, out: &mut [i32]);

/// The functions of one instruction set. All of them panic when rows lie beyond the slices that they are given.
pub struct Tile {
    /// The instruction set.
    pub name: &'static str,
    /// One row with many chosen ones.
    pub distances: Distances,
    /// Prepares a panel.
    pub pack: Pack,
    /// Chosen rows with a panel.
    pub block: Multiply,
}

/// The best for this CPU.
pub fn get() -> &'static Tile {
    static BEST: LazyLock<Tile> = LazyLock::new(|| available().pop().unwrap_or_else(portable));
    &BEST
}

/// Every one that this CPU can run, the oracle first, the best last.
#[must_use]
pub fn available() -> Vec<Tile> {
    #[cfg(target_arch = "x86_64")]
    let detected = avx512::detect();
    #[cfg(not(target_arch = "x86_64"))]
    let detected = None;
    [scalar(), portable()].into_iter().chain(detected).collect()
}

fn scalar() -> Tile {
    Tile {
        name: "scalar",
        distances: |rows, own, ordinals, out| distances_with(super::available()[0], rows, own, ordinals, out),
        pack: pack_rows,
        block: |rows, left, panel, out| block_with(super::available()[0], rows, left, panel, out),
    }
}

/// Through the product of two rows that every [`Kernel`] has: AVX2 and NEON.
fn portable() -> Tile {
    Tile {
        name: "portable",
        distances: |rows, own, ordinals, out| distances_with(super::get(), rows, own, ordinals, out),
        pack: pack_rows,
        block: |rows, left, panel, out| block_with(super::get(), rows, left, panel, out),
    }
}

fn row(rows: &[u8], ordinal: u32, width: usize) -> &[u8] {
    &rows[ordinal as usize * width..][..width]
}

fn sum(row: &[u8]) -> i32 {
    row.iter().map(|&byte| i32::from(byte)).sum()
}

fn distances_with(kernel: &Kernel, rows: &Rows<'_>, own: u32, ordinals: &[u32], out: &mut [f32]) {
    let (signed, terms) = (rows.row(own), rows.terms(own));
    for (&ordinal, out) in ordinals.iter().zip(out) {
        let row = rows.row(ordinal);
        let product = (kernel.dot_u8)(row, signed).cast_signed().wrapping_sub(128 * sum(row));
        *out = rows.terms(ordinal).distance(terms, product);
    }
}

fn pack_rows(rows: &[u8], width: usize, panel: &mut Panel) {
    reserve(rows, width, panel);
    panel.bytes[..rows.len()].copy_from_slice(rows);
}

/// Makes room for the rows, all zero.
fn reserve(rows: &[u8], width: usize, panel: &mut Panel) {
    assert!(width > 0 && width.is_multiple_of(BLOCK_DIMS) && rows.len().is_multiple_of(width), "whole rows of blocks");
    panel.width = width;
    panel.columns = (rows.len() / width).next_multiple_of(PANEL_ROWS);
    panel.bytes.clear();
    panel.bytes.resize(panel.columns * width, 0);
}

fn block_with(kernel: &Kernel, rows: &[u8], left: &[u32], panel: &Panel, out: &mut [i32]) {
    for (&ordinal, out) in left.iter().zip(out.chunks_exact_mut(panel.columns.max(1))) {
        let row = row(rows, ordinal, panel.width);
        let shift = 128 * sum(row);
        for (right, out) in panel.bytes.chunks_exact(panel.width).zip(out) {
            *out = (kernel.dot_u8)(row, right).cast_signed().wrapping_sub(shift);
        }
    }
}
