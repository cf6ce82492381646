//! AVX2 with FMA and F16C: every x86-64 server since 2013.
//!
//! Tails are copied into zeroed lanes. Bytes are widened to 16 bits before they are multiplied: `vpmaddubsw` would
//! saturate on two products of 255 * 127. Nibbles are small enough for it: two products stay below 15 * 128 * 2 = 3,840,
//! and up to eight such sums fit 16 bits.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use half::f16;

use super::{BLOCK_BYTES, Blocks, CodeTable, CodeTerms, Kernel, blocks, common, scalar::unpack, turn, zero_filled};

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<Kernel> {
    let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    // SAFETY: the features were just found.
    found.then(|| unsafe { table() })
}

#[target_feature(enable = "avx2,fma,f16c")]
fn table() -> Kernel {
    let (turn, turn_back) = turn::compiled!("avx2,fma,f16c");
    Kernel {
        name: "avx2",
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
        turn,
        turn_back,
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_f32(from: &[f32; 8]) -> __m256 {
    // SAFETY: 8 floats are readable.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_f16(from: &[f16; 8]) -> __m256 {
    // SAFETY: 8 halves, 16 bytes, are readable.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_dot(sum: __m256, a: __m256, b: __m256) -> __m256 {
    _mm256_fmadd_ps(a, b, sum)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_l2(sum: __m256, a: __m256, b: __m256) -> __m256 {
    let gap = _mm256_sub_ps(a, b);
    _mm256_fmadd_ps(gap, gap, sum)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_l1(sum: __m256, a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_sub_ps(a, b)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn total_f32(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn total_i32(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b_10_11_00_01>(two)))
}

/// One float kernel: the loop, with the loads of both sides and the step put in.
macro_rules! float {
    ($name:ident, $a:ty, $b:ty, $load_a:ident, $load_b:ident, $step:ident) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $name(a: &[$a], b: &[$b]) -> f32 {
            let (a, b) = common(a, b);
            let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            let mut sums = [_mm256_setzero_ps(); 4];
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
            total_f32(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])))
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
#[target_feature(enable = "avx2,fma,f16c")]
fn load_u8(from: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are readable.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Sums of products of bytes, in 32-bit lanes: each lane takes four products of at most 65,025.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_dot_u8((even, odd): (__m256i, __m256i), a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    let zero = _mm256_setzero_si256();
    let low = _mm256_madd_epi16(_mm256_unpacklo_epi8(a, zero), _mm256_unpacklo_epi8(b, zero));
    let high = _mm256_madd_epi16(_mm256_unpackhi_epi8(a, zero), _mm256_unpackhi_epi8(b, zero));
    (_mm256_add_epi32(even, low), _mm256_add_epi32(odd, high))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_l2_u8(sums: (__m256i, __m256i), a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    // One of the two saturates to 0, the other is the absolute difference.
    let gap = _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a));
    add_dot_u8(sums, gap, gap)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_l1_u8((even, odd): (__m256i, __m256i), a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    // Eight absolute differences a 64-bit lane, at most 2,040: the upper 32 bits stay 0.
    (_mm256_add_epi32(even, _mm256_sad_epu8(a, b)), odd)
}

/// One byte kernel.
macro_rules! bytes {
    ($name:ident, $step:ident) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $name(a: &[u8], b: &[u8]) -> u32 {
            let (a, b) = common(a, b);
            let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
            let mut sums = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (a, b) in a.iter().zip(b) {
                sums = $step(sums, load_u8(a), load_u8(b));
            }
            if !a_tail.is_empty() {
                sums = $step(sums, load_u8(&zero_filled(a_tail, 0)), load_u8(&zero_filled(b_tail, 0)));
            }
            total_i32(_mm256_add_epi32(sums.0, sums.1)).cast_unsigned()
        }
    };
}

bytes!(dot_u8, add_dot_u8);
bytes!(l2_u8, add_l2_u8);
bytes!(l1_u8, add_l1_u8);

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_i8(from: &[i8; 32]) -> __m256i {
    // SAFETY: 32 bytes are readable.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// The nibbles of a block, one a byte: dimensions 0 to 31, and 32 to 63.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_nibbles(from: &[u8; BLOCK_BYTES]) -> (__m256i, __m256i) {
    let pairs = load_u8(from);
    let mask = _mm256_set1_epi8(15);
    (_mm256_and_si256(pairs, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(pairs), mask))
}

/// The two halves of a block's query.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_query(from: &[i8; 64]) -> (__m256i, __m256i) {
    // A block has two times 32 dimensions.
    let (halves, _) = from.as_chunks::<32>();
    (load_i8(&halves[0]), load_i8(&halves[1]))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot_u4_i8(codes: &[u8], query: &[i8]) -> i32 {
    let Blocks { whole, query, tail } = blocks(codes, query);
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    // Four blocks add at most 4 * 7,680 = 30,720 to a 16-bit lane.
    for (codes, query) in whole.chunks(4).zip(query.chunks(4)) {
        let mut narrow = _mm256_setzero_si256();
        for (codes, query) in codes.iter().zip(query) {
            narrow = _mm256_add_epi16(narrow, block(codes, query));
        }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, ones));
    }
    if let Some((codes, query)) = tail {
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(block(&zero_filled(codes, 0), query), ones));
    }
    total_i32(sum)
}

/// One block's products, four summed in each 16-bit lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn block(codes: &[u8; BLOCK_BYTES], query: &[i8; 64]) -> __m256i {
    let (codes, query) = (load_nibbles(codes), load_query(query));
    _mm256_add_epi16(_mm256_maddubs_epi16(codes.0, query.0), _mm256_maddubs_epi16(codes.1, query.1))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn distances_u4_i8(table: &CodeTable<'_>, rows: &[u32], query: &[i8], terms: &CodeTerms, out: &mut [f32]) {
    for (&row, out) in rows.iter().zip(out) {
        *out = terms.of_record(table.record(row), |codes| dot_u4_i8(codes, query));
    }
}

/// 32 nibble-plane sums of one query plane: 16 times the high one and the low one.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_planes(sum: __m256i, high: (__m256i, __m256i), low: (__m256i, __m256i), query: &[i8; 64]) -> __m256i {
    let query = load_query(query);
    let high = _mm256_add_epi16(_mm256_maddubs_epi16(high.0, query.0), _mm256_maddubs_epi16(high.1, query.1));
    let low = _mm256_add_epi16(_mm256_maddubs_epi16(low.0, query.0), _mm256_maddubs_epi16(low.1, query.1));
    let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(high, _mm256_set1_epi16(16)));
    _mm256_add_epi32(sum, _mm256_madd_epi16(low, _mm256_set1_epi16(1)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot_u8_i16(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) -> i64 {
    let (high, low) = (blocks(high, query), blocks(low, rest));
    let mut coarse = _mm256_setzero_si256();
    let mut fine = _mm256_setzero_si256();
    let mut add = |(high, query): (&[u8; BLOCK_BYTES], _), (low, rest): (&[u8; BLOCK_BYTES], _)| {
        let (high, low) = (load_nibbles(high), load_nibbles(low));
        coarse = add_planes(coarse, high, low, query);
        fine = add_planes(fine, high, low, rest);
    };
    for (high, low) in high.whole.iter().zip(high.query).zip(low.whole.iter().zip(low.query)) {
        add(high, low);
    }
    if let (Some((high, query)), Some((low, rest))) = (high.tail, low.tail) {
        add((&zero_filled(high, 0), query), (&zero_filled(low, 0), rest));
    }
    // 65,536 dimensions of 255 * 128 fit an i32.
    256 * i64::from(total_i32(coarse)) + i64::from(total_i32(fine))
}
