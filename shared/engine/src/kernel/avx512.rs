//! AVX-512 with VNNI: Intel since Ice Lake, AMD since Zen 4.
//!
//! Tails are masked loads, so that every length runs the same instructions. Four accumulators hide the four cycles of a
//! fused multiply-add. `vpdpbusd` multiplies unsigned by signed bytes and adds without saturation; where both sides are
//! unsigned, one is shifted by 128 and the shift is paid back: `sum a b = sum a (b - 128) - sum a (-128)`. Lanes may wrap
//! on the way, the sum modulo 2^32 is exact.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use half::f16;

use super::{BLOCK_BYTES, BLOCK_DIMS, Kernel, blocks, common};

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<Kernel> {
    let found = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni");
    // SAFETY: the features were just found.
    found.then(|| unsafe { table() })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn table() -> Kernel {
    Kernel {
        name: "avx512",
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
        dot_u8_i16,
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_f32(from: &[f32; 16]) -> __m512 {
    // SAFETY: 16 floats are readable.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_f16(from: &[f16; 16]) -> __m512 {
    // SAFETY: 16 halves, 32 bytes, are readable.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) })
}

/// A mask of the `len` lowest lanes, `len` below 64.
#[inline]
fn low_lanes(len: usize) -> u64 {
    (1u64 << len) - 1
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[expect(clippy::cast_possible_truncation, reason = "fewer than 16 lanes")]
fn tail_f32(from: &[f32]) -> __m512 {
    debug_assert!(from.len() < 16);
    let lanes = low_lanes(from.len().min(15)) as u16;
    // SAFETY: lanes past the slice's end are masked and not read.
    unsafe { _mm512_maskz_loadu_ps(lanes, from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[expect(clippy::cast_possible_truncation, reason = "fewer than 16 lanes")]
fn tail_f16(from: &[f16]) -> __m512 {
    debug_assert!(from.len() < 16);
    let lanes = low_lanes(from.len().min(15)) as u16;
    // SAFETY: lanes past the slice's end are masked and not read.
    _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(lanes, from.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_dot(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_fmadd_ps(a, b, sum)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_l2(sum: __m512, a: __m512, b: __m512) -> __m512 {
    let gap = _mm512_sub_ps(a, b);
    _mm512_fmadd_ps(gap, gap, sum)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_l1(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b)))
}

/// One float kernel: the loop, with the loads of both sides and the step put in.
macro_rules! float {
    ($name:ident, $a:ty, $b:ty, $load_a:ident, $tail_a:ident, $load_b:ident, $tail_b:ident, $step:ident) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn $name(a: &[$a], b: &[$b]) -> f32 {
            let (a, b) = common(a, b);
            let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            let mut sums = [_mm512_setzero_ps(); 4];
            for (a, b) in a.iter().zip(b) {
                for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                    *sum = $step(*sum, $load_a(a), $load_b(b));
                }
            }
            for (a, b) in a_rest.iter().zip(b_rest) {
                sums[0] = $step(sums[0], $load_a(a), $load_b(b));
            }
            if !a_tail.is_empty() {
                sums[1] = $step(sums[1], $tail_a(a_tail), $tail_b(b_tail));
            }
            _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])))
        }
    };
}

float!(dot_f32, f32, f32, load_f32, tail_f32, load_f32, tail_f32, add_dot);
float!(l2_f32, f32, f32, load_f32, tail_f32, load_f32, tail_f32, add_l2);
float!(l1_f32, f32, f32, load_f32, tail_f32, load_f32, tail_f32, add_l1);
float!(dot_f16, f16, f16, load_f16, tail_f16, load_f16, tail_f16, add_dot);
float!(l2_f16, f16, f16, load_f16, tail_f16, load_f16, tail_f16, add_l2);
float!(l1_f16, f16, f16, load_f16, tail_f16, load_f16, tail_f16, add_l1);
float!(dot_f32_f16, f32, f16, load_f32, tail_f32, load_f16, tail_f16, add_dot);
float!(l2_f32_f16, f32, f16, load_f32, tail_f32, load_f16, tail_f16, add_l2);
float!(l1_f32_f16, f32, f16, load_f32, tail_f32, load_f16, tail_f16, add_l1);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_u8(from: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are readable.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn tail_u8(from: &[u8]) -> __m512i {
    debug_assert!(from.len() < 64);
    // SAFETY: lanes past the slice's end are masked and not read.
    unsafe { _mm512_maskz_loadu_epi8(low_lanes(from.len().min(63)), from.as_ptr().cast()) }
}

/// `plus - minus` is the inner product: of `a` with `b - 128`, and of `a` with -128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_dot_u8((plus, minus): (__m512i, __m512i), a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    let shift = _mm512_set1_epi8(-128);
    (_mm512_dpbusd_epi32(plus, a, _mm512_xor_si512(b, shift)), _mm512_dpbusd_epi32(minus, a, shift))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_l2_u8(sums: (__m512i, __m512i), a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    // One of the two saturates to 0, the other is the absolute difference.
    let gap = _mm512_or_si512(_mm512_subs_epu8(a, b), _mm512_subs_epu8(b, a));
    add_dot_u8(sums, gap, gap)
}

/// One byte kernel over two pairs of accumulators.
macro_rules! bytes {
    ($name:ident, $step:ident) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn $name(a: &[u8], b: &[u8]) -> u32 {
            let (a, b) = common(a, b);
            let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<2>(), b.as_chunks::<2>());
            let zero = _mm512_setzero_si512();
            let mut even = (zero, zero);
            let mut odd = (zero, zero);
            for (a, b) in a.iter().zip(b) {
                even = $step(even, load_u8(&a[0]), load_u8(&b[0]));
                odd = $step(odd, load_u8(&a[1]), load_u8(&b[1]));
            }
            for (a, b) in a_rest.iter().zip(b_rest) {
                even = $step(even, load_u8(a), load_u8(b));
            }
            if !a_tail.is_empty() {
                odd = $step(odd, tail_u8(a_tail), tail_u8(b_tail));
            }
            let plus = _mm512_add_epi32(even.0, odd.0);
            let minus = _mm512_add_epi32(even.1, odd.1);
            _mm512_reduce_add_epi32(_mm512_sub_epi32(plus, minus)).cast_unsigned()
        }
    };
}

bytes!(dot_u8, add_dot_u8);
bytes!(l2_u8, add_l2_u8);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the sum of absolute differences fits u32")]
fn l1_u8(a: &[u8], b: &[u8]) -> u32 {
    let (a, b) = common(a, b);
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    let mut sum = _mm512_sad_epu8(tail_u8(a_tail), tail_u8(b_tail));
    for (a, b) in a.iter().zip(b) {
        sum = _mm512_add_epi64(sum, _mm512_sad_epu8(load_u8(a), load_u8(b)));
    }
    _mm512_reduce_add_epi64(sum) as u32
}

/// The 64 nibbles of a block, one a byte, in dimension order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_nibbles(from: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: 32 bytes are readable.
    let pairs = _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) });
    // The lower half keeps its low nibbles, the upper half brings its high ones down.
    let shifted = _mm512_srlv_epi64(pairs, _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0));
    _mm512_and_si512(shifted, _mm512_set1_epi8(15))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_i8(from: &[i8; BLOCK_DIMS]) -> __m512i {
    // SAFETY: 64 bytes are readable.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn dot_u4_i8(codes: &[u8], query: &[i8]) -> i32 {
    let (codes, query) = blocks(codes, query);
    let ((codes, codes_rest), (query, query_rest)) = (codes.as_chunks::<2>(), query.as_chunks::<2>());
    let mut even = _mm512_setzero_si512();
    let mut odd = _mm512_setzero_si512();
    for (codes, query) in codes.iter().zip(query) {
        even = _mm512_dpbusd_epi32(even, load_nibbles(&codes[0]), load_i8(&query[0]));
        odd = _mm512_dpbusd_epi32(odd, load_nibbles(&codes[1]), load_i8(&query[1]));
    }
    for (codes, query) in codes_rest.iter().zip(query_rest) {
        even = _mm512_dpbusd_epi32(even, load_nibbles(codes), load_i8(query));
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn dot_u8_i16(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) -> i64 {
    let ((high, query), (low, rest)) = (blocks(high, query), blocks(low, rest));
    let mut coarse = _mm512_setzero_si512();
    let mut fine = _mm512_setzero_si512();
    for ((high, low), (query, rest)) in high.iter().zip(low).zip(query.iter().zip(rest)) {
        let codes = _mm512_or_si512(_mm512_slli_epi16::<4>(load_nibbles(high)), load_nibbles(low));
        coarse = _mm512_dpbusd_epi32(coarse, codes, load_i8(query));
        fine = _mm512_dpbusd_epi32(fine, codes, load_i8(rest));
    }
    // 65,536 dimensions of 255 * 128 fit an i32.
    256 * i64::from(_mm512_reduce_add_epi32(coarse)) + i64::from(_mm512_reduce_add_epi32(fine))
}
