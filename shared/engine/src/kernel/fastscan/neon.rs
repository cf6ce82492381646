//! NEON: `tbl` looks up 16 bytes in a table of 16, one quad of 16 lanes; bytes are added up in 16 bits.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::scalar::f32_at;
use super::{Edge, FastScan, GROUPS_MAX, LANES, Order, Terms, UNIT_TABLE_BYTES, groups, split};

/// Units that fit 16 bits: each adds eight entries of at most 255 to a sum.
const UNITS_MAX: usize = 32;

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<FastScan> {
    // SAFETY: the feature was just found.
    is_aarch64_feature_detected!("neon").then(|| unsafe { table() })
}

#[target_feature(enable = "neon")]
fn table() -> FastScan {
    FastScan { name: "neon", order: Order::ByQuad, scan, edge }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are readable.
    unsafe { vld1q_u8(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn add((first, second): (uint16x8_t, uint16x8_t), entries: uint8x16_t) -> (uint16x8_t, uint16x8_t) {
    (vaddw_u8(first, vget_low_u8(entries)), vaddw_high_u8(second, entries))
}

#[target_feature(enable = "neon")]
fn scan(bytes: &[u8], table: &[u8], terms: &Terms, out: &mut [f32; GROUPS_MAX * LANES]) -> u64 {
    let (tables, _) = table.as_chunks::<UNIT_TABLE_BYTES>();
    let (outs, _) = out.as_chunks_mut::<LANES>();
    let mut below = 0;
    for ((at, group), out) in groups(bytes, table).enumerate().zip(outs) {
        let (units, constants, weights) = split(group);
        // By byte of the unit, not by lane.
        let mut totals = [0u32; LANES];
        for (units, tables) in units.chunks(UNITS_MAX).zip(tables.chunks(UNITS_MAX)) {
            let mut sums = (vdupq_n_u16(0), vdupq_n_u16(0));
            for (unit, table) in units.iter().zip(tables) {
                let ((unit, _), (table, _)) = (unit.as_chunks::<16>(), table.as_chunks::<16>());
                for quad in 0..4 {
                    let codes = load(&unit[quad]);
                    sums = add(sums, vqtbl1q_u8(load(&table[quad]), vandq_u8(codes, vdupq_n_u8(15))));
                    sums = add(sums, vqtbl1q_u8(load(&table[4 + quad]), vshrq_n_u8::<4>(codes)));
                }
            }
            let mut narrow = [0u16; LANES];
            // SAFETY: twice 8 words are writable.
            unsafe {
                vst1q_u16(narrow.as_mut_ptr(), sums.0);
                vst1q_u16(narrow.as_mut_ptr().add(8), sums.1);
            }
            for (total, narrow) in totals.iter_mut().zip(narrow) {
                *total += u32::from(narrow);
            }
        }
        for (lane, out) in out.iter_mut().enumerate() {
            let sum = totals[Order::ByQuad.byte(lane, 0)];
            #[expect(clippy::cast_precision_loss, reason = "far finer than the estimate")]
            let product = terms.step * sum as f32 + terms.low;
            *out = terms.base + (f32_at(constants, lane) - f32_at(weights, lane) * product);
            below |= u64::from(*out < terms.bound) << (at * LANES + lane);
        }
    }
    below
}

#[target_feature(enable = "neon")]
fn edge(node: &[f32], near: &[f32], signs: &mut [u32]) -> Edge {
    super::edge(node, near, signs)
}
