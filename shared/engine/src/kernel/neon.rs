//! NEON with half precision: AWS Graviton 2 and later, Ampere, Apple. Older cores use `scalar`.
//!
//! Two tables: they share the floats; bytes and codes go through widening multiplies, or, where the CPU has them, through
//! the dot-product instructions. Those have no stable intrinsics yet, so two small functions carry the assembly.

#![expect(
    unsafe_code,
    reason = "loads through pointers; two instructions as assembly; the call behind the feature check"
)]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use half::f16;

use super::{
    BLOCK_BYTES, BLOCK_DIMS, Blocks, CodeTable, CodeTerms, Kernel, blocks, common, scalar::unpack, turn, zero_filled,
};

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<Kernel> {
    let found = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("fp16");
    // SAFETY: the features were just found.
    found.then(|| unsafe { table() })
}

/// The table with dot-product instructions, where the CPU has what it needs.
pub(super) fn detect_dotprod() -> Option<Kernel> {
    let found = is_aarch64_feature_detected!("dotprod");
    // SAFETY: the feature was just found, the others by `detect`.
    detect().filter(|_| found).map(|table| unsafe { with_dotprod(table) })
}

#[target_feature(enable = "neon,fp16")]
fn table() -> Kernel {
    Kernel {
        name: "neon",
        dot_f32,
        l2_f32,
        l1_f32,
        dot_f16,
        l2_f16,
        l1_f16,
        dot_f32_f16,
        l2_f32_f16,
        l1_f32_f16,
        dot_u8,
        l2_u8,
        l1_u8,
        dot_u4_i8,
        distances_u4_i8,
        dot_u8_i16,
        unpack,
        turn: turn::BASELINE.0,
        turn_back: turn::BASELINE.1,
    }
}

#[target_feature(enable = "neon,fp16,dotprod")]
fn with_dotprod(table: Kernel) -> Kernel {
    Kernel {
        name: "neon-dotprod",
        dot_u8: dotprod_u8,
        l2_u8: dotprod_l2_u8,
        dot_u4_i8: dotprod_u4_i8,
        distances_u4_i8: dotprod_distances_u4_i8,
        dot_u8_i16: dotprod_u8_i16,
        ..table
    }
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn load_f32(from: &[f32; 4]) -> float32x4_t {
    // SAFETY: 4 floats are readable.
    unsafe { vld1q_f32(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn load_f16(from: &[f16; 4]) -> float32x4_t {
    // SAFETY: 4 halves, 8 bytes, are readable.
    vcvt_f32_f16(vreinterpret_f16_u16(unsafe { vld1_u16(from.as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_dot(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vfmaq_f32(sum, a, b)
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_l2(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
    let gap = vsubq_f32(a, b);
    vfmaq_f32(sum, gap, gap)
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_l1(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vaddq_f32(sum, vabdq_f32(a, b))
}

/// One float kernel: the loop, with the loads of both sides and the step put in.
macro_rules! float {
    ($name:ident, $a:ty, $b:ty, $load_a:ident, $load_b:ident, $step:ident) => {
        #[target_feature(enable = "neon,fp16")]
        fn $name(a: &[$a], b: &[$b]) -> f32 {
            let (a, b) = common(a, b);
            let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            let mut sums = [vdupq_n_f32(0.0); 4];
            for (a, b) in a.iter().zip(b) {
                for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                    *sum = $step(*sum, $load_a(a), $load_b(b));
                }
            }
            for (a, b) in a_rest.iter().zip(b_rest) {
                sums[0] = $step(sums[0], $load_a(a), $load_b(b));
            }
            if !a_tail.is_empty() {
                let (a, b) = (zero_filled(a_tail, <$a>::default()), zero_filled(b_tail, <$b>::default()));
                sums[1] = $step(sums[1], $load_a(&a), $load_b(&b));
            }
            vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])))
        }
    };
}

float!(dot_f32, f32, f32, load_f32, load_f32, add_dot);
float!(l2_f32, f32, f32, load_f32, load_f32, add_l2);
float!(l1_f32, f32, f32, load_f32, load_f32, add_l1);
float!(dot_f16, f16, f16, load_f16, load_f16, add_dot);
float!(l2_f16, f16, f16, load_f16, load_f16, add_l2);
float!(l1_f16, f16, f16, load_f16, load_f16, add_l1);
float!(dot_f32_f16, f32, f16, load_f32, load_f16, add_dot);
float!(l2_f32_f16, f32, f16, load_f32, load_f16, add_l2);
float!(l1_f32_f16, f32, f16, load_f32, load_f16, add_l1);

#[inline]
#[target_feature(enable = "neon,fp16")]
fn load_u8(from: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are readable.
    unsafe { vld1q_u8(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_dot_u8((even, odd): (uint32x4_t, uint32x4_t), a: uint8x16_t, b: uint8x16_t) -> (uint32x4_t, uint32x4_t) {
    let low = vmull_u8(vget_low_u8(a), vget_low_u8(b));
    let high = vmull_high_u8(a, b);
    (vpadalq_u16(even, low), vpadalq_u16(odd, high))
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_l2_u8(sums: (uint32x4_t, uint32x4_t), a: uint8x16_t, b: uint8x16_t) -> (uint32x4_t, uint32x4_t) {
    let gap = vabdq_u8(a, b);
    add_dot_u8(sums, gap, gap)
}

#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_l1_u8((even, odd): (uint32x4_t, uint32x4_t), a: uint8x16_t, b: uint8x16_t) -> (uint32x4_t, uint32x4_t) {
    (vpadalq_u16(even, vpaddlq_u8(vabdq_u8(a, b))), odd)
}

#[inline]
#[target_feature(enable = "neon,fp16,dotprod")]
fn add_dotprod_u8((even, odd): (uint32x4_t, uint32x4_t), a: uint8x16_t, b: uint8x16_t) -> (uint32x4_t, uint32x4_t) {
    (udot(even, a, b), odd)
}

#[inline]
#[target_feature(enable = "neon,fp16,dotprod")]
fn add_dotprod_l2_u8(sums: (uint32x4_t, uint32x4_t), a: uint8x16_t, b: uint8x16_t) -> (uint32x4_t, uint32x4_t) {
    let gap = vabdq_u8(a, b);
    (udot(sums.0, gap, gap), sums.1)
}

/// One byte kernel over two accumulators.
macro_rules! bytes {
    ($name:ident, $features:literal, $step:ident) => {
        #[target_feature(enable = $features)]
        fn $name(a: &[u8], b: &[u8]) -> u32 {
            let (a, b) = common(a, b);
            let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<2>(), b.as_chunks::<2>());
            let zero = vdupq_n_u32(0);
            let mut first = (zero, zero);
            let mut second = (zero, zero);
            for (a, b) in a.iter().zip(b) {
                first = $step(first, load_u8(&a[0]), load_u8(&b[0]));
                second = $step(second, load_u8(&a[1]), load_u8(&b[1]));
            }
            for (a, b) in a_rest.iter().zip(b_rest) {
                first = $step(first, load_u8(a), load_u8(b));
            }
            if !a_tail.is_empty() {
                second = $step(second, load_u8(&zero_filled(a_tail, 0)), load_u8(&zero_filled(b_tail, 0)));
            }
            vaddvq_u32(vaddq_u32(vaddq_u32(first.0, first.1), vaddq_u32(second.0, second.1)))
        }
    };
}

bytes!(dot_u8, "neon,fp16", add_dot_u8);
bytes!(l2_u8, "neon,fp16", add_l2_u8);
bytes!(l1_u8, "neon,fp16", add_l1_u8);
bytes!(dotprod_u8, "neon,fp16,dotprod", add_dotprod_u8);
bytes!(dotprod_l2_u8, "neon,fp16,dotprod", add_dotprod_l2_u8);

/// Adds four products of bytes to each lane.
#[inline]
#[target_feature(enable = "neon,fp16,dotprod")]
fn udot(sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    let mut sum = sum;
    // SAFETY: registers only, and the instruction belongs to this function's features.
    unsafe {
        asm!("udot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Adds four products of signed bytes to each lane.
#[inline]
#[target_feature(enable = "neon,fp16,dotprod")]
fn sdot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: registers only, and the instruction belongs to this function's features.
    unsafe {
        asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// The nibbles of a block, one a byte, in dimension order. They fit the signed type.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn load_nibbles(from: &[u8; BLOCK_BYTES]) -> [int8x16_t; 4] {
    let (halves, _) = from.as_chunks::<16>();
    let (first, second) = (load_u8(&halves[0]), load_u8(&halves[1]));
    let mask = vdupq_n_u8(15);
    [vandq_u8(first, mask), vandq_u8(second, mask), vshrq_n_u8::<4>(first), vshrq_n_u8::<4>(second)]
        .map(|nibbles| vreinterpretq_s8_u8(nibbles))
}

/// The query of a block.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn load_query(from: &[i8; BLOCK_DIMS]) -> [int8x16_t; 4] {
    let (quarters, _) = from.as_chunks::<16>();
    // SAFETY: 16 bytes are readable at each.
    [0, 1, 2, 3].map(|quarter: usize| unsafe { vld1q_s8(quarters[quarter].as_ptr()) })
}

/// Eight products of at most 15 * 128 = 1,920 in each 16-bit lane, widened and added.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_nibbles(sum: int32x4_t, codes: [int8x16_t; 4], query: [int8x16_t; 4]) -> int32x4_t {
    let mut narrow = vdupq_n_s16(0);
    for (codes, query) in codes.into_iter().zip(query) {
        narrow = vmlal_s8(narrow, vget_low_s8(codes), vget_low_s8(query));
        narrow = vmlal_high_s8(narrow, codes, query);
    }
    vpadalq_s16(sum, narrow)
}

#[inline]
#[target_feature(enable = "neon,fp16,dotprod")]
fn add_nibbles_dotprod(sum: int32x4_t, codes: [int8x16_t; 4], query: [int8x16_t; 4]) -> int32x4_t {
    let [a, b, c, d] = codes;
    let [p, q, r, s] = query;
    let zero = vdupq_n_s32(0);
    let first = sdot(sdot(sum, a, p), b, q);
    let second = sdot(sdot(zero, c, r), d, s);
    vaddq_s32(first, second)
}

/// The code products over one way to add a block.
macro_rules! codes {
    ($u4:ident, $u4s:ident, $u8:ident, $features:literal, $add:ident) => {
        #[target_feature(enable = $features)]
        fn $u4(codes: &[u8], query: &[i8]) -> i32 {
            let Blocks { whole, query, tail } = blocks(codes, query);
            let mut sum = vdupq_n_s32(0);
            for (codes, query) in whole.iter().zip(query) {
                sum = $add(sum, load_nibbles(codes), load_query(query));
            }
            if let Some((codes, query)) = tail {
                sum = $add(sum, load_nibbles(&zero_filled(codes, 0)), load_query(query));
            }
            vaddvq_s32(sum)
        }

        #[target_feature(enable = $features)]
        fn $u4s(table: &CodeTable<'_>, rows: &[u32], query: &[i8], terms: &CodeTerms, out: &mut [f32]) {
            for (&row, out) in rows.iter().zip(out) {
                *out = terms.of_record(table.record(row), |codes| $u4(codes, query));
            }
        }

        #[target_feature(enable = $features)]
        fn $u8(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) -> i64 {
            let (high, low) = (blocks(high, query), blocks(low, rest));
            // Planes of the code (high, low) by planes of the query (query, rest).
            let mut sums = [vdupq_n_s32(0); 4];
            let mut add = |(high, query): (&[u8; BLOCK_BYTES], _), (low, rest): (&[u8; BLOCK_BYTES], _)| {
                let (high, low) = (load_nibbles(high), load_nibbles(low));
                let (query, rest) = (load_query(query), load_query(rest));
                sums[0] = $add(sums[0], high, query);
                sums[1] = $add(sums[1], low, query);
                sums[2] = $add(sums[2], high, rest);
                sums[3] = $add(sums[3], low, rest);
            };
            for (high, low) in high.whole.iter().zip(high.query).zip(low.whole.iter().zip(low.query)) {
                add(high, low);
            }
            if let (Some((high, query)), Some((low, rest))) = (high.tail, low.tail) {
                add((&zero_filled(high, 0), query), (&zero_filled(low, 0), rest));
            }
            let [hq, lq, hr, lr] = sums.map(|sum| i64::from(vaddvq_s32(sum)));
            256 * (16 * hq + lq) + 16 * hr + lr
        }
    };
}

codes!(dot_u4_i8, distances_u4_i8, dot_u8_i16, "neon,fp16", add_nibbles);
codes!(dotprod_u4_i8, dotprod_distances_u4_i8, dotprod_u8_i16, "neon,fp16,dotprod", add_nibbles_dotprod);
