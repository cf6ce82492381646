//! The orthogonal transform, defined in the module's layout.

use std::f32::consts::FRAC_1_SQRT_2;

use super::CODES_MULTIPLE;
use crate::seed::SplitMix64;

const ROUNDS: usize = 4;

/// A fast orthogonal transform: O(p log p) time, 4p floats.
#[derive(Debug)]
pub(super) struct Rotation {
    padded: usize,
    /// +1 or -1, `padded` for each round; inside the Hadamard range already times its scale.
    signs: Vec<f32>,
}

impl Rotation {
    /// `padded` is a positive multiple of 16.
    pub(super) fn new(padded: usize, seed: u64) -> Self {
        debug_assert!(padded > 0 && padded.is_multiple_of(CODES_MULTIPLE));
        let mut random = SplitMix64::new(seed);
        let mut signs = Vec::with_capacity(ROUNDS * padded);
        for _ in 0..ROUNDS {
            for at in (0..padded).step_by(64) {
                let bits = random.next();
                signs.extend((0..64.min(padded - at)).map(|i| if bits >> i & 1 == 1 { -1.0f32 } else { 1.0 }));
            }
        }
        // Signs and scale commute with the Hadamard matrix's rows and columns as one diagonal: one multiplication.
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let scale = (1.0 / (largest_power(padded) as f64).sqrt()) as f32;
        for (round, signs) in signs.chunks_exact_mut(padded).enumerate() {
            for sign in hadamard_range(signs, round) {
                *sign *= scale;
            }
        }
        Self { padded, signs }
    }

    /// Turns `values`, of the padded length, in place.
    pub(super) fn apply(&self, values: &mut [f32]) {
        debug_assert_eq!(values.len(), self.padded);
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate() {
            for (value, sign) in values.iter_mut().zip(signs) {
                *value *= sign;
            }
            hadamard(hadamard_range(values, round));
            self.butterfly(values);
        }
    }

    /// Turns `values` back. Every step is its own inverse.
    pub(super) fn invert(&self, values: &mut [f32]) {
        debug_assert_eq!(values.len(), self.padded);
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate().rev() {
            self.butterfly(values);
            hadamard(hadamard_range(values, round));
            for (value, sign) in values.iter_mut().zip(signs) {
                *value *= sign;
            }
        }
    }

    fn butterfly(&self, values: &mut [f32]) {
        if !self.padded.is_power_of_two() {
            let (left, right) = values.split_at_mut(self.padded / 2);
            for (v, w) in left.iter_mut().zip(right) {
                (*v, *w) = ((*v + *w) * FRAC_1_SQRT_2, (*v - *w) * FRAC_1_SQRT_2);
            }
        }
    }
}

fn largest_power(padded: usize) -> usize {
    1 << padded.ilog2()
}

/// The values that the round's Hadamard matrix works on: the first in even rounds, the last in odd ones.
fn hadamard_range(values: &mut [f32], round: usize) -> &mut [f32] {
    let order = largest_power(values.len());
    let start = if round.is_multiple_of(2) { 0 } else { values.len() - order };
    &mut values[start..start + order]
}

/// Multiplies by the unscaled Hadamard matrix; the length is a power of two and at least 16.
fn hadamard(values: &mut [f32]) {
    // The three smallest strides together, on eight values in registers.
    for eight in values.as_chunks_mut::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *eight;
        let (a, b, c, d) = (a + b, a - b, c + d, c - d);
        let (e, f, g, h) = (e + f, e - f, g + h, g - h);
        let (a, b, c, d) = (a + c, b + d, a - c, b - d);
        let (e, f, g, h) = (e + g, f + h, e - g, f - h);
        *eight = [a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h];
    }
    let mut stride = 8;
    while stride < values.len() {
        for pair in values.chunks_exact_mut(2 * stride) {
            let (left, right) = pair.split_at_mut(stride);
            for (v, w) in left.iter_mut().zip(right) {
                (*v, *w) = (*v + *w, *v - *w);
            }
        }
        stride *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hadamard_is_the_matrix() {
        let mut values: Vec<f32> = (0..128u8).map(|i| f32::from(i % 23) - 7.0).collect();
        let expected: Vec<f32> = (0..128usize)
            .map(|i| values.iter().enumerate().map(|(j, v)| if (i & j).count_ones() % 2 == 1 { -v } else { *v }).sum())
            .collect();
        hadamard(&mut values);
        assert_eq!(values, expected);
    }

    /// The transform as the layout's text says it, slowly and in double precision.
    fn by_the_book(values: &[f32], seed: u64) -> Vec<f64> {
        let p = values.len();
        let t = largest_power(p);
        let mut random = SplitMix64::new(seed);
        let mut values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        for k in 0..4 {
            for w in 0..p.div_ceil(64) {
                let output = random.next();
                for i in 0..64.min(p - 64 * w) {
                    if output >> i & 1 == 1 {
                        values[64 * w + i] *= -1.0;
                    }
                }
            }
            let start = if k % 2 == 0 { 0 } else { p - t };
            let old = values[start..start + t].to_vec();
            for i in 0..t {
                let entry = |j: usize| if (i & j).count_ones() % 2 == 1 { -1.0 } else { 1.0 };
                values[start + i] = (0..t).map(|j| entry(j) * old[j]).sum::<f64>() / (t as f64).sqrt();
            }
            if t < p {
                for i in 0..p / 2 {
                    let (v, w) = (values[i], values[i + p / 2]);
                    (values[i], values[i + p / 2]) = ((v + w) / 2f64.sqrt(), (v - w) / 2f64.sqrt());
                }
            }
        }
        values
    }

    #[test]
    fn apply_is_what_the_layout_says() {
        for padded in [16, 48, 64, 112, 128, 192, 384, 784, 832] {
            let mut values: Vec<f32> = (0..padded).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let expected = by_the_book(&values, 99);
            let (rotation, before) = (Rotation::new(padded, 99), values.clone());
            rotation.apply(&mut values);
            for (i, (got, expected)) in values.iter().zip(&expected).enumerate() {
                assert!((f64::from(*got) - expected).abs() < 1e-4, "p {padded}, value {i}: {got} is not {expected}");
            }
            rotation.invert(&mut values);
            assert!(values.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-4), "p {padded}: not inverted");
        }
    }
}
