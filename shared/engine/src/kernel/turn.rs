//! One round of the codec's rotation: signs, Hadamard transform, butterfly; see the layout in [`crate::codec`].
//!
//! Every table runs the same additions and multiplications in the same order, compiled for its instruction set, so that results are equal
//! bit for bit: encoded vectors must not depend on the CPU. Nothing is fused, because the language does not.

use std::f32::consts::FRAC_1_SQRT_2;

/// One round on `values`, of which a power of two, from `start` on, `order` of them, go through the Hadamard transform. `signs` has one factor per
/// value.
pub type Turn = fn(values: &mut [f32], signs: &[f32], start: usize, order: usize);

#[inline(always)]
pub(super) fn turn(values: &mut [f32], signs: &[f32], start: usize, order: usize) {
    for (value, sign) in values.iter_mut().zip(signs) {
        *value *= sign;
    }
    if let Some(range) = values.get_mut(start..start + order) {
        hadamard(range);
    }
    butterfly(values, order);
}

/// The inverse of [`turn`].
#[inline(always)]
pub(super) fn turn_back(values: &mut [f32], signs: &[f32], start: usize, order: usize) {
    butterfly(values, order);
    if let Some(range) = values.get_mut(start..start + order) {
        hadamard(range);
    }
    for (value, sign) in values.iter_mut().zip(signs) {
        *value *= sign;
    }
}

/// Mixes both halves where the transform does not reach all values.
#[inline(always)]
fn butterfly(values: &mut [f32], order: usize) {
    if order < values.len() {
        let (left, right) = values.split_at_mut(values.len() / 2);
        for (v, w) in left.iter_mut().zip(right) {
            (*v, *w) = ((*v + *w) * FRAC_1_SQRT_2, (*v - *w) * FRAC_1_SQRT_2);
        }
    }
}

/// Multiplies by the unscaled Hadamard matrix; the length is a power of two and at least 16.
#[inline(always)]
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
        let mut rest = &mut *values;
        while rest.len() >= 2 * stride {
            let (left, others) = rest.split_at_mut(stride);
            let (right, others) = others.split_at_mut(stride);
            for (v, w) in left.iter_mut().zip(right) {
                (*v, *w) = (*v + *w, *v - *w);
            }
            rest = others;
        }
        stride *= 2;
    }
}

/// Both directions for whichever instruction set the build is for.
pub(super) const BASELINE: (Turn, Turn) = (turn, turn_back);

/// Both directions, compiled for a set of features; the caller has found them. NEON needs none: it is in the baseline.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled {
    ($features:literal) => {{
        #[target_feature(enable = $features)]
        fn forth(values: &mut [f32], signs: &[f32], start: usize, order: usize) {
            crate::kernel::turn::turn(values, signs, start, order);
        }
        #[target_feature(enable = $features)]
        fn back(values: &mut [f32], signs: &[f32], start: usize, order: usize) {
            crate::kernel::turn::turn_back(values, signs, start, order);
        }
        (forth, back)
    }};
}
#[cfg(target_arch = "x86_64")]
pub(super) use compiled;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::available;

    #[test]
    fn hadamard_is_the_matrix() {
        let mut values: Vec<f32> = (0..128u8).map(|i| f32::from(i % 23) - 7.0).collect();
        let expected: Vec<f32> = (0..128usize)
            .map(|i| values.iter().enumerate().map(|(j, v)| if (i & j).count_ones() % 2 == 1 { -v } else { *v }).sum())
            .collect();
        hadamard(&mut values);
        assert_eq!(values, expected);
    }

    #[test]
    fn all_tables_turn_alike_bit_for_bit() {
        for (len, start, order) in
            [(16, 0, 16), (48, 16, 32), (112, 0, 64), (384, 128, 256), (784, 272, 512), (1024, 0, 1024)]
        {
            let values: Vec<f32> = (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.3).collect();
            let signs: Vec<f32> = (0..len).map(|i| if i * 7 % 3 == 0 { -0.37 } else { 1.9 }).collect();
            let run = |turn: Turn| {
                let mut values = values.clone();
                turn(&mut values, &signs, start, order);
                values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
            };
            for kernel in available() {
                assert_eq!(run(kernel.turn), run(BASELINE.0), "{} of {len}", kernel.name);
                assert_eq!(run(kernel.turn_back), run(BASELINE.1), "{} of {len}", kernel.name);
            }
        }
    }
}
