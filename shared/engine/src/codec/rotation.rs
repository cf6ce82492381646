//! The orthogonal transform, defined in the module's layout.

use super::CODES_MULTIPLE;
use crate::{kernel, seed::SplitMix64};

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
            let (start, order) = hadamard_range(padded, round);
            for sign in &mut signs[start..start + order] {
                *sign *= scale;
            }
        }
        Self { padded, signs }
    }

    /// Turns `values`, of the padded length, in place.
    pub(super) fn apply(&self, values: &mut [f32]) {
        debug_assert_eq!(values.len(), self.padded);
        let turn = kernel::get().turn;
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate() {
            let (start, order) = hadamard_range(self.padded, round);
            turn(values, signs, start, order);
        }
    }

    /// Turns `values` back. Every step is its own inverse.
    pub(super) fn invert(&self, values: &mut [f32]) {
        debug_assert_eq!(values.len(), self.padded);
        let turn_back = kernel::get().turn_back;
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate().rev() {
            let (start, order) = hadamard_range(self.padded, round);
            turn_back(values, signs, start, order);
        }
    }
}

fn largest_power(padded: usize) -> usize {
    1 << padded.ilog2()
}

/// Which values the round's Hadamard matrix works on, and how many: the first in even rounds, the last in odd ones.
fn hadamard_range(padded: usize, round: usize) -> (usize, usize) {
    let order = largest_power(padded);
    (if round.is_multiple_of(2) { 0 } else { padded - order }, order)
}

#[cfg(test)]
mod tests {
    use super::*;

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
