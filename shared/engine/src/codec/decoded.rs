//! Records back to vectors.

use super::{Codec, HIGH_FACTOR_BYTES, LOW_FACTOR_BYTES, Scratch};
use crate::kernel::{BLOCK_BYTES, BLOCK_DIMS};

impl Codec {
    /// The vector that two records stand for, `dim` values: the one that was encoded, to within the codes' precision. Values that
    /// damaged records make infinite or NaN are 0.
    pub fn decode<'s>(&self, high: &[u8], low: &[u8], scratch: &'s mut Scratch) -> &'s [f32] {
        let values = &mut scratch.rotated;
        values.clear();
        values.resize(self.padded(), 0.0);
        if high.len() == self.high_bytes() && low.len() == self.low_bytes() {
            self.residual(high, low, values);
            self.rotation.invert(values);
            values.iter_mut().zip(&self.centre).for_each(|(value, centre)| *value += centre);
            values.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 0.0);
        }
        &values[..self.dim]
    }

    /// Writes `P(x - c)` as the full code says it to the front of `out`, and gives the record's bias. Records that are cut
    /// off leave the rest as it is; factors may be any floats.
    pub(crate) fn residual(&self, high: &[u8], low: &[u8], out: &mut [f32]) -> f32 {
        let (Some((factors, high)), Some((factor, low))) =
            (high.split_first_chunk::<HIGH_FACTOR_BYTES>(), low.split_first_chunk::<LOW_FACTOR_BYTES>())
        else {
            return f32::NAN;
        };
        let factor = f32::from_le_bytes(*factor);
        let codes = self.padded().min(out.len());
        let planes = high.chunks(BLOCK_BYTES).zip(low.chunks(BLOCK_BYTES));
        for ((high, low), out) in planes.zip(out[..codes].chunks_mut(BLOCK_DIMS)) {
            let (first, second) = out.split_at_mut(out.len() / 2);
            for ((high, low), (first, second)) in high.iter().zip(low).zip(first.iter_mut().zip(second)) {
                *first = factor * (f32::from((high & 15) << 4 | low & 15) - 127.5);
                *second = factor * (f32::from(high & 0xF0 | low >> 4) - 127.5);
            }
        }
        let [_, _, _, _, a, b, c, d] = *factors;
        f32::from_le_bytes([a, b, c, d])
    }

    /// The centre, rotated.
    pub(crate) fn rotated_centre(&self) -> Vec<f32> {
        let mut centre = self.centre.clone();
        self.rotation.apply(&mut centre);
        centre
    }
}
