//! Records back to vectors, in rotated space.

use super::{Codec, HIGH_FACTOR_BYTES, LOW_FACTOR_BYTES};
use crate::kernel::{BLOCK_BYTES, BLOCK_DIMS};

impl Codec {
    /// Writes `P(x - c)` as the full code says it to the front of `out`, and gives the record's bias. Records that are cut
    /// off leave the rest as it is; factors may be any floats.
    pub(crate) fn decode(&self, high: &[u8], low: &[u8], out: &mut [f32]) -> f32 {
        let (Some((factors, high)), Some((factor, low))) =
            (high.split_first_chunk::<HIGH_FACTOR_BYTES>(), low.split_first_chunk::<LOW_FACTOR_BYTES>())
        else {
            return f32::NAN;
        };
        let factor = f32::from_le_bytes(*factor);
        let planes = high.as_chunks::<BLOCK_BYTES>().0.iter().zip(low.as_chunks::<BLOCK_BYTES>().0);
        for ((high, low), out) in planes.zip(out.as_chunks_mut::<BLOCK_DIMS>().0) {
            let (first, second) = out.split_at_mut(BLOCK_BYTES);
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
