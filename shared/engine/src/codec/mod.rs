//! Quantized vectors: one 8-bit code per dimension in two nibble planes, and the queries that score them.
//!
//! The high nibbles alone give a coarse estimate of a distance, good enough to walk a graph; with the low nibbles the
//! estimate is nearly the distance. The method is extended RaBitQ (arXiv 2409.09913): rotate, so that no dimension
//! matters more than another; scale each vector by itself; keep one factor that makes the estimate unbiased.
//!
//! `quantizer` writes records, `query` reads them, `rotation` turns both sides. Whoever encodes the same vector with the
//! same centre and seed gets the same bytes on every CPU: encoding uses no kernel table and no fused multiply-add.
//!
//! # Layout (part of the file format)
//!
//! Little-endian. Let `dim` be the vectors' dimension, `p` = `dim` rounded up to a multiple of 16 (of 64 in files of version 1),
//! `c` the centre,
//! `x` a vector as stored (normalised for Cosine), `r = P(x - c)` its *residual*: centred, padded with zeros to `p`,
//! rotated. Each dimension has a code `u` in 0..=255 that stands for the level `u - 127.5`; its high nibble `h = u >> 4`
//! stands for the level `h - 7.5`, in units of 16.
//!
//! ```text
//! high record, 8 + p/2 bytes          low record, 4 + p/2 bytes
//! 0  f4    f32                        0  f8   f32
//! 4  bias  f32                        4  low nibbles of the codes, p/2 bytes
//! 8  high nibbles of the codes, p/2 bytes
//! ```
//!
//! Nibbles lie in blocks of `b` = 64 dimensions, the last block of what is left; `b/2` bytes each: byte `j` of a block holds
//! dimension `j` of the block in its low four bits and dimension `j + b/2` in its high four bits.
//!
//! `f4 = |r|^2 / <h - 7.5, r>` and `f8 = |r|^2 / <u - 127.5, r>`; both are 0 where `r` = 0 (every component of `x - c`
//! below 2^-126 in magnitude). `bias` is `|x - c|^2` for Euclid and `<x - c, c>` for Dot and Cosine. Manhattan has no
//! codes. Finite inputs give finite factors: what would overflow is the largest f32.
//!
//! A reader estimates, for any vector `y` of `p` dimensions in the rotated space,
//! `<r, y> ~= f4 * <h - 7.5, y>` or `~= f8 * <u - 127.5, y>`, and from that, with the query `q`,
//!
//! ```text
//! Euclid        |x - q|^2 = |x - c|^2 + |q - c|^2 - 2 <r, P(q - c)>
//! Dot, Cosine     -<x, q> = -(<r, P(q - a c)> + a <x - c, c> + <c, q>),     a = <c, q> / |c|^2, or 0 where c = 0
//! ```
//!
//! The second holds for any `a`; this one makes `q - a c` shortest, and the error grows with its length.
//!
//! The writer is free in how it chooses codes; a reader needs only the above and the rotation.
//!
//! ## The rotation P, from a 64-bit seed
//!
//! *splitmix64* is the generator: a 64-bit state, at first the seed; all arithmetic modulo 2^64; each output is
//!
//! ```text
//! state = state + 0x9E3779B97F4A7C15
//! z = state
//! z = (z xor (z >> 30)) * 0xBF58476D1CE4E5B9
//! z = (z xor (z >> 27)) * 0x94D049BB133111EB
//! output z xor (z >> 31)
//! ```
//!
//! Let `t` be the largest power of two that is at most `p`. Four rounds, `k` = 0 to 3, each on the `p` values in place:
//!
//! 1. *Signs*: take the next `p/64` outputs, rounded up; where bit `i` (from the least significant) of output `w` is 1, value
//!    `64 w + i` changes its sign.
//! 2. *Hadamard*: the first `t` values in rounds 0 and 2, the last `t` in rounds 1 and 3, are multiplied by the Hadamard
//!    matrix of order `t` in natural (Sylvester) order, whose entry (i, j) is -1 where `i and j` has an odd number of
//!    ones, else 1, and then by `1 / sqrt(t)`.
//! 3. *Butterfly*, only where `t < p`: for `i` below `p/2`, values `v` at `i` and `w` at `i + p/2` become
//!    `(v + w) / sqrt(2)` and `(v - w) / sqrt(2)`.
//!
//! Every step is orthogonal, so P keeps inner products.

mod decoded;
mod joined;
mod quantizer;
mod query;
mod rotation;
#[cfg(test)]
mod tests;

use cairn_model::Distance;

pub use joined::{Factors, Heads};
pub use quantizer::Scratch;
pub use query::{HighRecords, Query};

use crate::kernel::{self, Kernel};
use crate::{Error, Result};
use rotation::Rotation;

/// What the number of a vector's codes is rounded up to.
pub const CODES_MULTIPLE: usize = 16;
/// The same in files of version 1.
pub const CODES_MULTIPLE_V1: usize = 64;

/// Bytes of the factors in front of the high nibbles.
const HIGH_FACTOR_BYTES: usize = kernel::FACTORS_BYTES;
/// Bytes of the factor in front of the low nibbles.
const LOW_FACTOR_BYTES: usize = 4;

/// Encodes vectors and prepares queries, for one distance, centre and rotation.
#[derive(Debug)]
pub struct Codec {
    distance: Distance,
    dim: usize,
    seed: u64,
    /// Padded with zeros.
    centre: Vec<f32>,
    centre_squared: f64,
    rotation: Rotation,
}

impl Codec {
    /// A codec for vectors of `centre.len()` dimensions. The centre should be near their mean; any finite one works. The
    /// seed may be anything.
    ///
    /// # Errors
    /// `Invalid` for Manhattan, an empty centre, and a centre with NaN or infinity.
    pub fn new(distance: Distance, centre: Vec<f32>, seed: u64) -> Result<Self> {
        Self::of_multiple(distance, centre, seed, CODES_MULTIPLE)
    }

    /// As [`Codec::new`], for codes whose number is rounded up to `multiple`, a multiple of [`CODES_MULTIPLE`].
    ///
    /// # Errors
    /// As [`Codec::new`].
    pub fn of_multiple(distance: Distance, mut centre: Vec<f32>, seed: u64, multiple: usize) -> Result<Self> {
        if distance == Distance::Manhattan {
            return Err(Error::invalid("distance", "Manhattan has no codes: it is not kept by rotations"));
        }
        if let Some(at) = centre.iter().position(|v| !v.is_finite()) {
            return Err(Error::invalid("centre", format!("component {at} is {}", centre[at])));
        }
        if centre.is_empty() {
            return Err(Error::invalid("centre", "it has no dimensions"));
        }
        if multiple == 0 || !multiple.is_multiple_of(CODES_MULTIPLE) {
            return Err(Error::invalid("codes", format!("{multiple} is not a multiple of {CODES_MULTIPLE}")));
        }
        let dim = centre.len();
        let padded = dim.div_ceil(multiple) * multiple;
        centre.resize(padded, 0.0);
        let centre_squared = quantizer::dot(&centre, &centre);
        Ok(Self { distance, dim, seed, centre, centre_squared, rotation: Rotation::new(padded, seed) })
    }

    /// The number of codes of a vector.
    pub const fn padded(&self) -> usize {
        self.centre.len()
    }

    /// Bytes of one high record.
    pub const fn high_bytes(&self) -> usize {
        HIGH_FACTOR_BYTES + self.padded() / 2
    }

    /// Bytes of one low record.
    pub const fn low_bytes(&self) -> usize {
        LOW_FACTOR_BYTES + self.padded() / 2
    }

    /// The distance that queries estimate.
    pub const fn distance(&self) -> Distance {
        self.distance
    }

    /// Dimensions of the vectors.
    pub const fn dim(&self) -> usize {
        self.dim
    }

    /// What defines the rotation.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The centre, `dim` values.
    pub fn centre(&self) -> &[f32] {
        &self.centre[..self.dim]
    }

    /// Encodes one vector of finite values into its two records. Cosine vectors come normalised.
    ///
    /// # Panics
    /// If the vector does not have [`Codec::dim`] values, or a record not its [`Codec::high_bytes`] or
    /// [`Codec::low_bytes`].
    pub fn encode(&self, vector: &[f32], scratch: &mut Scratch, high: &mut [u8], low: &mut [u8]) {
        assert_eq!(vector.len(), self.dim, "the vector's dimension");
        assert_eq!(high.len(), self.high_bytes(), "bytes of the high record");
        assert_eq!(low.len(), self.low_bytes(), "bytes of the low record");
        quantizer::encode(self, vector, scratch, high, low);
    }

    /// Prepares a query of finite values for scoring records. Cosine queries come normalised.
    ///
    /// # Panics
    /// If the query does not have [`Codec::dim`] values.
    pub fn query(&self, query: &[f32]) -> Query {
        self.query_on(query, kernel::get())
    }

    fn query_on(&self, query: &[f32], kernel: &Kernel) -> Query {
        assert_eq!(query.len(), self.dim, "the query's dimension");
        query::prepare(self, query, kernel)
    }
}
