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
        tile::{self, Panel, Tile},
    },
};

/// What the bytes of a row are rounded up to.
const WIDTH_MULTIPLE: usize = 64;
/// Distances computed at a time.
const CHUNK: usize = 64;

/// Coded points.
pub struct Coded {
    /// Bytes of a row, a multiple of 64.
    width: usize,
    rows: Vec<u8>,
    /// Packed, so that they can be asked for ahead as bytes.
    terms: Vec<[u32; 4]>,
    tile: &'static Tile,
}

/// What a point's distances need beside its row.
#[derive(Clone, Copy, Debug)]
struct Terms {
    factor: f32,
    bias: f32,
    /// Half the sum of `u - 128`, and an eighth of the width: what centring on 127.5 instead of 128 adds.
    half: f32,
    /// 128 times the sum of `u - 128`: what a product with this row as the signed side has too much.
    shift: i32,
}

impl Terms {
    #[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
    fn new(row: &[u8], factor: f32, bias: f32) -> Self {
        let sum: i32 = row.iter().map(|&code| i32::from(code) - 128).sum();
        Self { factor, bias, half: 0.5 * sum as f32 + row.len() as f32 / 8.0, shift: 128 * sum }
    }

    #[inline]
    const fn packed(self) -> [u32; 4] {
        [self.factor.to_bits(), self.bias.to_bits(), self.half.to_bits(), self.shift.cast_unsigned()]
    }

    #[inline]
    const fn of([factor, bias, half, shift]: [u32; 4]) -> Self {
        let [factor, bias, half] = [f32::from_bits(factor), f32::from_bits(bias), f32::from_bits(half)];
        Self { factor, bias, half, shift: shift.cast_signed() }
    }

    /// The distance of two points, with the second one as the signed side of `product`.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
    fn distance(self, signed: Self, product: i32) -> f32 {
        let levels = product.wrapping_sub(signed.shift) as f32 + (self.half + signed.half);
        // The maximum with 0 also takes what is no number.
        ((self.bias + signed.bias) - self.factor * signed.factor * levels).max(0.0)
    }
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
        let terms = |(row, (high, low)): (&mut [u8], (&[u8], &[u8]))| {
            let row = &mut row[..codes];
            let Factors { factor, bias } = codec.join(high, low, row);
            match codec.distance() {
                Distance::Euclid => Terms::new(row, factor * std::f32::consts::SQRT_2, bias),
                Distance::Dot | Distance::Cosine | Distance::Manhattan => Terms::new(row, factor, -bias),
            }
        };
        let rows = &mut self.rows[before..];
        let terms: Vec<Terms> = pool.install(|| {
            let records = high.par_chunks_exact(high_bytes).zip(low.par_chunks_exact(low_bytes));
            rows.par_chunks_exact_mut(width).zip(records).map(terms).collect()
        });
        self.terms.extend(terms.into_iter().map(Terms::packed));
    }

    /// Once all points are there. Inner products are lifted by as much as makes each point's distance to itself at least 0, the
    /// largest squared length, which no inner product exceeds: for unit vectors half the squared L2.
    pub fn finish(&mut self, codec: &Codec) {
        if codec.distance().larger_is_better() {
            let least = (0..self.terms.len()).map(|ordinal| self.own_distance(ordinal)).fold(0.0, f32::min);
            for packed in &mut self.terms {
                let terms = Terms::of(*packed);
                *packed = Terms { bias: terms.bias - least / 2.0, ..terms }.packed();
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

    /// What a point's distances need.
    #[inline]
    fn terms(&self, ordinal: u32) -> Terms {
        Terms::of(self.terms[ordinal as usize])
    }

    /// A point's distance to itself, which may be below 0.
    #[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
    fn own_distance(&self, ordinal: usize) -> f32 {
        let (own, row) = (Terms::of(self.terms[ordinal]), &self.rows[ordinal * self.width..][..self.width]);
        let mut product = [0];
        (self.tile.gather)(row, row, &[0], &mut product);
        2.0 * own.bias - own.factor * own.factor * (product[0].wrapping_sub(own.shift) as f32 + 2.0 * own.half)
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
                let own = self.terms(ordinal);
                for (out, (&right, &product)) in memory.distances.iter_mut().zip(right.iter().zip(products)) {
                    *out = own.distance(Terms::of(right), product);
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
        let mut product = [0];
        (self.tile.gather)(&self.rows, self.row(a), &[b], &mut product);
        self.terms(b).distance(self.terms(a), product[0])
    }

    fn distances(&self, a: u32, others: &[u32], out: &mut Vec<f32>) {
        out.clear();
        let (own, row) = (self.terms(a), self.row(a));
        let mut products = [0i32; CHUNK];
        for others in others.chunks(CHUNK) {
            let products = &mut products[..others.len()];
            (self.tile.gather)(&self.rows, row, others, products);
            out.extend(others.iter().zip(&*products).map(|(&b, &product)| self.terms(b).distance(own, product)));
        }
    }

    fn prefetch(&self, ordinal: u32) {
        kernel::prefetch(self.row(ordinal));
        kernel::prefetch_all(bytemuck::cast_slice(&self.terms[ordinal as usize]));
    }
}
