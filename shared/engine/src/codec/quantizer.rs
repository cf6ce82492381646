//! Vectors to records.

use super::{Codec, HIGH_FACTOR_BYTES, LOW_FACTOR_BYTES};
use crate::kernel::{BLOCK_BYTES, BLOCK_DIMS};
use cairn_model::Distance;

/// The scales that are tried: with 1 the largest component has the largest code, with more it is clipped.
const SCALES: [f32; 6] = [1.0, 1.02, 1.04, 1.06, 1.08, 1.1];
/// What the squared cosine of the high nibbles counts beside that of the whole code. Clipping a little makes the coarse
/// estimate better and the fine one worse; on sentence embeddings and on Gaussian clusters, 0.1 takes 2 to 11% off the
/// coarse error's variance and leaves fine recall@10 where it was. 1 would take 15% and cost half a point of recall.
const HIGH_WEIGHT: f64 = 0.1;
/// Added and taken away again, it rounds a float below 2^22 to the nearest integer, in every instruction set.
pub(super) const ROUNDER: f32 = 12_582_912.0;
/// Sums run in this many lanes, so that the compiler can use vectors without changing a result.
const LANES: usize = 8;

/// Memory that encoding needs, kept from one vector to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) rotated: Vec<f32>,
}

/// What a residual was before it was divided by its largest component and rotated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residual {
    /// The largest component's magnitude; 0 for a residual that counts as zero.
    pub(super) largest: f64,
    /// Squared length.
    pub(super) squared: f64,
    /// Inner product with the codec's centre.
    pub(super) with_centre: f64,
}

/// Inner product in double precision, of a whole number of blocks, in a fixed order.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    sums.iter().sum()
}

/// The largest magnitude, of a whole number of lanes.
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for values in values.as_chunks::<LANES>().0 {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = if value.abs() > *lane { value.abs() } else { *lane };
        }
    }
    lanes.into_iter().fold(0.0, f32::max)
}

/// Writes `P(vector - share * centre) / largest` to `rotated`.
///
/// Dividing first keeps every later step far from overflow, whatever the vector.
pub(super) fn rotate(codec: &Codec, vector: &[f32], share: f32, rotated: &mut Vec<f32>) -> Residual {
    rotated.clear();
    rotated.extend(vector.iter().zip(&codec.centre).map(|(v, c)| (v - share * c).clamp(-f32::MAX, f32::MAX)));
    rotated.resize(codec.centre.len(), 0.0);
    let largest = largest(rotated);
    if largest < f32::MIN_POSITIVE {
        rotated.fill(0.0);
        return Residual { largest: 0.0, squared: 0.0, with_centre: 0.0 };
    }
    let squared = dot(rotated, rotated);
    let with_centre = dot(rotated, &codec.centre);
    for value in rotated.iter_mut() {
        *value /= largest;
    }
    codec.rotation.apply(rotated);
    Residual { largest: f64::from(largest), squared, with_centre }
}

/// The code of a scaled component, as an integer in a float.
#[inline]
fn code(scaled: f32) -> f32 {
    let code = scaled + 127.5;
    let code = if code < 0.0 { 0.0 } else { code };
    let code = if code > 255.0 { 255.0 } else { code };
    (code + ROUNDER) - ROUNDER
}

/// Sums over one vector's components and the levels that one scale gives them.
#[derive(Clone, Copy, Debug, Default)]
struct Fit {
    /// `<u - 127.5, r>`.
    code_dot: f64,
    /// `|u - 127.5|^2`.
    code_squared: f64,
    /// `<h - 7.5, r>`.
    high_dot: f64,
    /// `|h - 7.5|^2`.
    high_squared: f64,
}

impl Fit {
    fn new(rotated: &[f32], scale: f32) -> Self {
        let mut sums = [[0.0f32; LANES]; 4];
        let mut fit = Self::default();
        // Single precision inside a block, double across blocks: long vectors lose nothing.
        for block in rotated.chunks(BLOCK_DIMS) {
            for values in block.as_chunks::<LANES>().0 {
                for (lane, &value) in values.iter().enumerate() {
                    let code = code(value * scale);
                    // The nearest integer to code/16 - 15/32 is the code's high nibble.
                    let high = ((code * (1.0 / 16.0) - 15.0 / 32.0) + ROUNDER) - ROUNDER;
                    let (level, high) = (code - 127.5, high - 7.5);
                    sums[0][lane] += level * value;
                    sums[1][lane] += level * level;
                    sums[2][lane] += high * value;
                    sums[3][lane] += high * high;
                }
            }
            let totals = sums.map(|lanes| f64::from(lanes.iter().sum::<f32>()));
            fit.code_dot += totals[0];
            fit.code_squared += totals[1];
            fit.high_dot += totals[2];
            fit.high_squared += totals[3];
            sums = [[0.0; LANES]; 4];
        }
        fit
    }

    /// Squared cosines times the squared length: more is better.
    fn merit(&self) -> f64 {
        self.code_dot * self.code_dot / self.code_squared
            + HIGH_WEIGHT * self.high_dot * self.high_dot / self.high_squared
    }
}

/// Rounds to f32, and to its largest value instead of infinity.
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
pub(super) fn finite(value: f64) -> f32 {
    (value as f32).clamp(-f32::MAX, f32::MAX)
}

/// Encodes one vector; the lengths were checked.
pub(super) fn encode(codec: &Codec, vector: &[f32], scratch: &mut Scratch, high: &mut [u8], low: &mut [u8]) {
    let rotated = &mut scratch.rotated;
    let residual = rotate(codec, vector, 1.0, rotated);
    let largest = largest(rotated);
    let mut best = (0.0, Fit::default(), 0.0);
    if largest > 0.0 {
        for scale in SCALES.map(|scale| scale * 127.5 / largest) {
            let fit = Fit::new(rotated, scale);
            if fit.merit() > best.2 {
                best = (scale, fit, fit.merit());
            }
        }
    }
    let (scale, fit, _) = best;
    let squared = dot(rotated, rotated);
    // Level and component have the same sign, so the inner products are positive unless all is zero.
    let factor = |dot: f64| if dot > 0.0 { finite(residual.largest * squared / dot) } else { 0.0 };
    let bias = match codec.distance {
        Distance::Euclid => residual.squared,
        Distance::Dot | Distance::Cosine | Distance::Manhattan => residual.with_centre,
    };
    let (high_factors, high_codes) = high.split_at_mut(HIGH_FACTOR_BYTES);
    let (low_factors, low_codes) = low.split_at_mut(LOW_FACTOR_BYTES);
    high_factors[..4].copy_from_slice(&factor(fit.high_dot).to_le_bytes());
    high_factors[4..].copy_from_slice(&finite(bias).to_le_bytes());
    low_factors.copy_from_slice(&factor(fit.code_dot).to_le_bytes());
    let planes = high_codes.chunks_mut(BLOCK_BYTES).zip(low_codes.chunks_mut(BLOCK_BYTES));
    for (block, (high, low)) in rotated.chunks(BLOCK_DIMS).zip(planes) {
        let (first, second) = block.split_at(block.len() / 2);
        for ((high, low), (first, second)) in high.iter_mut().zip(low).zip(first.iter().zip(second)) {
            let (first, second) = (byte(first * scale), byte(second * scale));
            *high = (first >> 4) | (second & 0xF0);
            *low = (first & 15) | (second << 4);
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an integer in 0..=255")]
fn byte(scaled: f32) -> u8 {
    code(scaled) as i32 as u8
}
