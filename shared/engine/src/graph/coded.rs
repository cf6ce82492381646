//! Points as rows of 8-bit codes: what a graph is built on where there are codes.
//!
//! A code `u` stands for the level `u - 127.5`. The distance of two points is
//!
//! ```text
//! max(0, bias_a + bias_b - factor_a * factor_b * <levels of a, levels of b>)
//! ```
//!
//! which, with the right factors and biases, is the squared L2 or minus the inner product, lifted to at least 0 as pruning by ratio
//! wants it.

use cairn_model::Distance;
use rayon::{ThreadPool, prelude::*};

use super::Pairs;
use crate::{
    codec::{Codec, Factors},
    kernel::{
        self,
        tile::{self, Panel, Rows, Terms, Tile},
    },
};

/// What the bytes of a row are rounded up to.
const WIDTH_MULTIPLE: usize = 64;

/// Coded points.
pub struct Coded {
    /// Bytes of a row, a multiple of 64.
    width: usize,
    rows: Vec<u8>,
    terms: Vec<Terms>,
    tile: &'static Tile,
}

/// What a point's distances need beside its row.
///
/// The levels of a code are centred on 127.5, the signed side of a product on 128: half the sum of `u - 128` and an eighth of the width are what
/// that adds. A product with this row as the signed side has 128 times its sum of `u - 128` too much.
#[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
fn terms(row: &[u8], factor: f32, bias: f32) -> Terms {
    let sum: i32 = row.iter().map(|&code| i32::from(code) - 128).sum();
    Terms { factor, bias, half: 0.5 * sum as f32 + row.len() as f32 / 8.0, shift: 128 * sum }
}

impl Coded {
    /// Points from their records, one after another; see [`Coded::finish`].
    ///
    /// # Panics
    /// If there are not as many low as high records.
    #[must_use]
    pub fn join(codec: &Codec, high: &[u8], low: &[u8], pool: &ThreadPool) -> Self {
        let mut coded = Self::with_room(codec, high.len() / codec.high_bytes());
        coded.append(codec, high, low, pool);
        coded.finish(codec);
        coded
    }

    /// None yet, with room for so many.
    #[must_use]
    pub fn with_room(codec: &Codec, points: usize) -> Self {
        let width = codec.padded().next_multiple_of(WIDTH_MULTIPLE);
        Self { width, rows: Vec::with_capacity(points * width), terms: Vec::with_capacity(points), tile: tile::get() }
    }

    /// Adds points by their records, one after another.
    ///
    /// # Panics
    /// If there are not as many low as high records.
    pub fn append(&mut self, codec: &Codec, high: &[u8], low: &[u8], pool: &ThreadPool) {
        let (codes, width) = (codec.padded(), self.width);
        let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
        let count = high.len() / high_bytes;
        assert!(high.len() == count * high_bytes && low.len() == count * low_bytes, "as many low as high records");
        let before = self.rows.len();
        // What a row has beyond its codes adds nothing to any product.
        self.rows.resize(before + count * width, 128);
        let of = |(row, (high, low)): (&mut [u8], (&[u8], &[u8]))| {
            let row = &mut row[..codes];
            let Factors { factor, bias } = codec.join(high, low, row);
            match codec.distance() {
                Distance::Euclid => terms(row, factor * std::f32::consts::SQRT_2, bias),
                Distance::Dot | Distance::Cosine | Distance::Manhattan => terms(row, factor, -bias),
            }
        };
        let rows = &mut self.rows[before..];
        let new: Vec<Terms> = pool.install(|| {
            let records = high.par_chunks_exact(high_bytes).zip(low.par_chunks_exact(low_bytes));
            rows.par_chunks_exact_mut(width).zip(records).map(of).collect()
        });
        self.terms.extend(new);
    }

    /// Once all points are there. Inner products are lifted by as much as makes each point's distance to itself at least 0, the
    /// largest squared length, which no inner product exceeds: for unit vectors half the squared L2.
    pub fn finish(&mut self, codec: &Codec) {
        if codec.distance().larger_is_better() {
            let least = (0..self.terms.len()).map(|ordinal| self.own_distance(ordinal)).fold(0.0, f32::min);
            for terms in &mut self.terms {
                terms.bias -= least / 2.0;
            }
        }
    }

    /// The codes of the points, each in the first bytes of a row, and the bytes of a row.
    #[must_use]
    pub fn into_rows(self) -> (Vec<u8>, usize) {
        (self.rows, self.width)
    }

    /// Likewise.
    #[must_use]
    pub fn rows(&self) -> (&[u8], usize) {
        (&self.rows, self.width)
    }

    /// All points as their products are asked for.
    #[inline]
    fn points(&self) -> Rows<'_> {
        Rows::new(&self.rows, self.width, &self.terms)
    }

    /// A point's distance to itself, which may be below 0.
    #[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
    fn own_distance(&self, ordinal: usize) -> f32 {
        let (own, row) = (self.terms[ordinal], &self.rows[ordinal * self.width..][..self.width]);
        let product: i32 = row.iter().map(|&code| i32::from(code) * (i32::from(code) - 128)).sum();
        2.0 * own.bias - own.factor * own.factor * (product.wrapping_sub(own.shift) as f32 + 2.0 * own.half)
    }

    fn row(&self, ordinal: u32) -> &[u8] {
        &self.rows[ordinal as usize * self.width..][..self.width]
    }

    /// Packs the points `from..to` for [`Coded::block`].
    pub(super) fn pack(&self, from: u32, to: u32, panel: &mut Panel) {
        (self.tile.pack)(&self.rows[from as usize * self.width..to as usize * self.width], self.width, panel);
    }

    /// Calls `each(i, distances)` for every `left[i]`, with its distances to the points `from..to` of `of`, whose panel it is.
    pub(super) fn block(
        &self,
        left: &[u32],
        (of, from, to): (&Self, u32, u32),
        panel: &Panel,
        memory: &mut Block,
        mut each: impl FnMut(usize, &[f32]),
    ) {
        let right = &of.terms[from as usize..to as usize];
        let columns = panel.columns();
        memory.distances.resize(right.len(), 0.0);
        memory.products.resize(columns * BLOCK_ROWS, 0);
        for (chunk, left) in left.chunks(BLOCK_ROWS).enumerate() {
            let products = &mut memory.products[..columns * left.len()];
            (self.tile.block)(&self.rows, left, panel, products);
            for (i, (&ordinal, products)) in left.iter().zip(products.chunks_exact(columns.max(1))).enumerate() {
                let own = self.terms[ordinal as usize];
                for (out, (&right, &product)) in memory.distances.iter_mut().zip(right.iter().zip(products)) {
                    *out = own.distance(right, product);
                }
                each(chunk * BLOCK_ROWS + i, &memory.distances);
            }
        }
    }
}

/// Left rows that are multiplied before their products are looked at: those stay in the first-level cache.
const BLOCK_ROWS: usize = 16;

/// Buffers of [`Coded::block`].
#[derive(Default)]
pub(super) struct Block {
    products: Vec<i32>,
    distances: Vec<f32>,
}

impl Pairs for Coded {
    fn len(&self) -> usize {
        self.terms.len()
    }

    fn distance(&self, a: u32, b: u32) -> f32 {
        let mut distance = [0.0];
        self.distances(a, &[b], &mut distance);
        distance[0]
    }

    #[inline]
    fn distances(&self, a: u32, others: &[u32], out: &mut [f32]) {
        (self.tile.distances)(&self.points(), a, others, out);
    }

    fn prefetch(&self, ordinal: u32) {
        kernel::prefetch(self.row(ordinal));
        kernel::prefetch_all(bytemuck::bytes_of(&self.terms[ordinal as usize]));
    }
}
