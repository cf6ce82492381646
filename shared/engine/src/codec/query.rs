//! Records to distances.

use std::fmt;

use cairn_model::Distance;

use super::quantizer::{ROUNDER, dot, finite, largest, rotate};
use super::{Codec, LOW_FACTOR_BYTES};
use crate::kernel::{self, BLOCK_BYTES, BLOCK_DIMS, CodeDistances, CodeProduct, CodeTable, CodeTerms, Kernel, Pair};

/// The largest component of a query in steps: 127 in the first plane, 127 in the second.
const STEPS: f32 = 127.0 * 256.0 + 127.0;

/// A section of high records, by ordinal.
#[derive(Clone, Copy, Debug)]
pub struct HighRecords<'a>(CodeTable<'a>);

impl<'a> HighRecords<'a> {
    /// Records of `record_bytes` bytes, see [`Codec::high_bytes`].
    #[must_use]
    pub const fn new(section: &'a [u8], record_bytes: usize) -> Self {
        Self(CodeTable::new(section, record_bytes))
    }

    /// A record; empty where there is none.
    #[must_use]
    #[inline]
    pub fn get(&self, ordinal: u32) -> &'a [u8] {
        self.0.record(ordinal)
    }
}

/// A query prepared for scoring records: rotated, in 16-bit steps, as two planes of signed bytes. The first plane alone
/// serves [`Query::coarse`].
pub struct Query {
    dot_u4_i8: Pair<u8, i8, i32>,
    distances_u4_i8: CodeDistances,
    dot_u8_i16: CodeProduct,
    /// Codes of a record.
    padded: usize,
    /// `round(steps / 256)`, in the kernels' blocks.
    plane: Vec<i8>,
    /// `steps - 256 * plane`, likewise.
    rest: Vec<i8>,
    /// 255 times the sum of all steps: twice what centring the codes takes away.
    steps_sum: i64,
    /// How coarse products become distances. `shift` is 15 times the sum of `plane`: twice what centring the high nibbles takes away.
    terms: CodeTerms,
    /// The weight of fine products, instead of the terms'.
    fine_weight: f32,
    /// What one step of the planes stands for.
    step: f32,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("padded", &self.padded).finish_non_exhaustive()
    }
}

/// Prepares a query; its length was checked.
pub(super) fn prepare(codec: &Codec, query: &[f32], kernel: &Kernel) -> Query {
    let mut rotated = query.to_vec();
    rotated.resize(codec.centre.len(), 0.0);
    let with_centre = dot(&rotated, &codec.centre);
    let share = match codec.distance {
        Distance::Euclid => 1.0,
        Distance::Dot | Distance::Cosine | Distance::Manhattan if codec.centre_squared > 0.0 => {
            finite(with_centre / codec.centre_squared)
        }
        Distance::Dot | Distance::Cosine | Distance::Manhattan => 0.0,
    };
    let residual = rotate(codec, query, share, &mut rotated);
    // `product` is twice the inner product of levels and steps, and the distance has <r, y> once or twice.
    let (base, bias_weight, times) = match codec.distance {
        Distance::Euclid => (residual.squared, 1.0, 1.0),
        Distance::Dot | Distance::Cosine | Distance::Manhattan => (-with_centre, -share, 0.5),
    };
    let largest = largest(&rotated);
    let per_value = if largest > 0.0 { STEPS / largest } else { 0.0 };
    let planes = Planes::new(&rotated, per_value);
    let step = residual.largest * f64::from(largest) / f64::from(STEPS);
    Query {
        dot_u4_i8: kernel.dot_u4_i8,
        distances_u4_i8: kernel.distances_u4_i8,
        dot_u8_i16: kernel.dot_u8_i16,
        padded: rotated.len(),
        steps_sum: 255 * (256 * i64::from(planes.plane_sum) + i64::from(planes.rest_sum)),
        plane: planes.plane,
        rest: planes.rest,
        terms: CodeTerms {
            shift: 15 * planes.plane_sum,
            base: finite(base),
            bias_weight,
            weight: finite(times * step * 256.0),
        },
        fine_weight: finite(times * step),
        step: finite(step),
    }
}

/// A query's components in steps, as two planes in the kernels' blocks.
struct Planes {
    plane: Vec<i8>,
    rest: Vec<i8>,
    plane_sum: i32,
    rest_sum: i32,
}

impl Planes {
    /// Of `values` times `per_value`, which are at most [`STEPS`] in magnitude.
    #[expect(clippy::cast_possible_truncation, reason = "a plane's step fits a byte")]
    fn new(values: &[f32], per_value: f32) -> Self {
        let whole = values.len().div_ceil(BLOCK_DIMS) * BLOCK_DIMS;
        let (mut plane, mut rest) = (vec![0i8; whole], vec![0i8; whole]);
        let (mut plane_sum, mut rest_sum) = (0, 0);
        for ((&value, plane), rest) in values.iter().zip(&mut plane).zip(&mut rest) {
            // The sum's lowest bits are the nearest integer, from those of the rounder on: no conversion, which would have to ask for NaN.
            let steps = (value * per_value + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
            let high = (steps + 128) >> 8;
            let low = steps - (high << 8);
            (*plane, *rest) = (high as i8, low as i8);
            plane_sum += high;
            rest_sum += low;
        }
        // The first and the second half of a block's dimensions stand in the halves of its bytes: in a whole block they do already.
        let half = values.len() % BLOCK_DIMS / 2;
        if half > 0 {
            for plane in [&mut plane, &mut rest] {
                let (_, last) = plane.split_at_mut(whole - BLOCK_DIMS);
                last.copy_within(half..2 * half, BLOCK_BYTES);
                last[half..BLOCK_BYTES].fill(0);
            }
        }
        Self { plane, rest, plane_sum, rest_sum }
    }
}

impl Query {
    /// Dimensions of the codes.
    pub(crate) const fn len(&self) -> usize {
        self.padded
    }

    /// Replaces `out` by the turned query `P(q - a c)`, to 16 bits of its largest component.
    pub(crate) fn values(&self, out: &mut Vec<f32>) {
        out.clear();
        let value = |(&plane, &rest): (&i8, &i8)| self.step * f32::from(256 * i16::from(plane) + i16::from(rest));
        let blocks = self.plane.chunks(BLOCK_DIMS).zip(self.rest.chunks(BLOCK_DIMS));
        for (at, (plane, rest)) in (0..self.padded).step_by(BLOCK_DIMS).zip(blocks) {
            let half = BLOCK_DIMS.min(self.padded - at) / 2;
            for from in [0, BLOCK_BYTES] {
                out.extend(plane[from..from + half].iter().zip(&rest[from..from + half]).map(value));
            }
        }
    }

    /// The share `a` of the centre that was taken off; for Dot and Cosine.
    pub(crate) fn share(&self) -> f32 {
        -self.terms.bias_weight
    }

    /// The distance of the centre.
    pub(crate) fn at_centre(&self) -> f32 {
        self.terms.base
    }

    /// An estimate of the distance to a record's vector from its high nibbles. Smaller is nearer; the same quantity as
    /// the exact distance (an estimate of a squared distance may fall a little below 0).
    ///
    /// A record of the wrong length, or with factors that are not numbers, is infinitely far: the result is never NaN.
    #[inline]
    pub fn coarse(&self, high: &[u8]) -> f32 {
        let Some((factor, bias, codes)) = self.high(high) else { return f32::INFINITY };
        self.terms.distance((self.dot_u4_i8)(codes, &self.plane), factor, bias)
    }

    /// Sets `out[i]` to [`Query::coarse`] of record `ordinals[i]` of a section of high records; faster than one by one.
    #[inline]
    pub fn coarse_all(&self, high: &HighRecords<'_>, ordinals: &[u32], out: &mut [f32]) {
        if high.0.code_bytes() * 2 == self.padded {
            (self.distances_u4_i8)(&high.0, ordinals, &self.plane, &self.terms, out);
        } else {
            out.fill(f32::INFINITY);
        }
    }

    /// As [`Query::coarse`], from both records: nearly exact.
    #[inline]
    pub fn fine(&self, high: &[u8], low: &[u8]) -> f32 {
        let Some((_, bias, high)) = self.high(high) else { return f32::INFINITY };
        let Some((factor, low)) = low.split_first_chunk::<LOW_FACTOR_BYTES>() else { return f32::INFINITY };
        if low.len() != high.len() {
            return f32::INFINITY;
        }
        let product = 2 * (self.dot_u8_i16)(high, low, &self.plane, &self.rest) - self.steps_sum;
        #[expect(clippy::cast_precision_loss, reason = "finer than the codes")]
        let product = product as f32;
        let estimate = self.fine_weight * (f32::from_le_bytes(*factor) * product);
        // `min` takes the number where the other side is NaN.
        (self.terms.base + self.terms.bias_weight * bias - estimate).min(f32::INFINITY)
    }

    /// Factor, bias and codes of a high record, if it has this query's length.
    #[inline]
    fn high<'a>(&self, high: &'a [u8]) -> Option<(f32, f32, &'a [u8])> {
        kernel::factors(high).filter(|(_, _, codes)| codes.len() * 2 == self.padded)
    }
}
