//! AVX-512 with VNNI: Intel since Ice Lake, AMD since Zen 4.
//!
//! Tails are masked loads, so that every length runs the same instructions. Four accumulators hide the four cycles of a
//! fused multiply-add. `vpdpbusd` multiplies unsigned by signed bytes and adds without saturation; where both sides are
//! unsigned, one is shifted by 128 and the shift is paid back: `sum a b = sum a (b - 128) - sum a (-128)`. Lanes may wrap
//! on the way, the sum modulo 2^32 is exact.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use half::f16;

use super::{
    BLOCK_BYTES, BLOCK_DIMS, CodeTable, CodeTerms, Kernel, LINE_BYTES, codes::FACTORS_BYTES, common, scalar::unpack,
    turn,
};

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<Kernel> {
    let found = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni");
    // SAFETY: the features were just found.
    let mut table = found.then(|| unsafe { table() })?;
    if is_x86_feature_detected!("avx512vbmi") {
        // SAFETY: the features that were found above, and this one.
        table.unpack = |line, at, width, first, out| unsafe { unpack_vbmi(line, at, width, first, out) };
    }
    Some(table)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn table() -> Kernel {
    let (turn, turn_back) = turn::compiled!("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
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
        distances_u4_i8,
        dot_u8_i16,
        unpack,
        turn,
        turn_back,
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

/// The query values of two blocks: those of the low nibbles, those of the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_query(from: &[[i8; BLOCK_DIMS]; 2]) -> (__m512i, __m512i) {
    let (first, second) = (load_i8(&from[0]), load_i8(&from[1]));
    // The lower halves of both, the upper halves of both.
    (_mm512_shuffle_i64x2::<0b01_00_01_00>(first, second), _mm512_shuffle_i64x2::<0b11_10_11_10>(first, second))
}

/// The same for what is left: one block, or two the second of which is not whole.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_query_tail(from: &[[i8; BLOCK_DIMS]]) -> (__m512i, __m512i) {
    match from {
        [first, second, ..] => load_query(&[*first, *second]),
        [first] => load_query(&[*first, [0; BLOCK_DIMS]]),
        [] => load_query(&[[0; BLOCK_DIMS]; 2]),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_i8(from: &[i8; BLOCK_DIMS]) -> __m512i {
    // SAFETY: 64 bytes are readable.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Sums of products of the low nibbles, and 16 times those of the high nibbles.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_nibbles((low, high): (__m512i, __m512i), codes: __m512i, query: (__m512i, __m512i)) -> (__m512i, __m512i) {
    let mask = _mm512_set1_epi8(15);
    let upper = _mm512_andnot_si512(mask, codes);
    (_mm512_dpbusd_epi32(low, _mm512_and_si512(codes, mask), query.0), _mm512_dpbusd_epi32(high, upper, query.1))
}

/// One row's sums on their way: all lanes of the second are multiples of 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn fold((low, high): (__m512i, __m512i)) -> __m256i {
    let sum = _mm512_add_epi32(low, _mm512_srai_epi32::<4>(high));
    _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum))
}

/// Rows of equally many codes and their query.
#[derive(Clone, Copy)]
struct Product<'a> {
    /// Bytes of a row's codes.
    bytes: usize,
    query: &'a [i8],
}

impl<'a> Product<'a> {
    /// `None` where the query has fewer blocks than the codes.
    #[inline]
    fn new(bytes: usize, query: &'a [i8]) -> Option<Self> {
        (bytes.div_ceil(BLOCK_BYTES) * BLOCK_DIMS <= query.len()).then_some(Self { bytes, query })
    }

    /// The products of four rows, the query loaded once, one lane a row.
    ///
    /// # Safety
    /// `bytes` bytes are readable at each of `rows`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn four(self, [a, b, c, d]: [*const u8; 4]) -> __m128i {
        let zero = _mm512_setzero_si512();
        let mut sums = ((zero, zero), (zero, zero), (zero, zero), (zero, zero));
        let (pairs, rest) = self.query.as_chunks::<BLOCK_DIMS>().0.as_chunks::<2>();
        let whole = self.bytes / LINE_BYTES;
        for (at, query) in (0..whole).zip(pairs) {
            let (at, query) = (at * LINE_BYTES, load_query(query));
            // SAFETY: the lines before `whole` lie within the rows, so says the caller.
            unsafe {
                sums.0 = add_nibbles(sums.0, _mm512_loadu_si512(a.add(at).cast()), query);
                sums.1 = add_nibbles(sums.1, _mm512_loadu_si512(b.add(at).cast()), query);
                sums.2 = add_nibbles(sums.2, _mm512_loadu_si512(c.add(at).cast()), query);
                sums.3 = add_nibbles(sums.3, _mm512_loadu_si512(d.add(at).cast()), query);
            }
        }
        let (at, tail) = (whole * LINE_BYTES, self.bytes % LINE_BYTES);
        if tail > 0 {
            let query = match pairs.get(whole) {
                Some(query) => load_query(query),
                None => load_query_tail(rest),
            };
            let lanes = low_lanes(tail);
            // SAFETY: lanes past the rows' end are masked and not read.
            unsafe {
                sums.0 = add_nibbles(sums.0, _mm512_maskz_loadu_epi8(lanes, a.add(at).cast()), query);
                sums.1 = add_nibbles(sums.1, _mm512_maskz_loadu_epi8(lanes, b.add(at).cast()), query);
                sums.2 = add_nibbles(sums.2, _mm512_maskz_loadu_epi8(lanes, c.add(at).cast()), query);
                sums.3 = add_nibbles(sums.3, _mm512_maskz_loadu_epi8(lanes, d.add(at).cast()), query);
            }
        }
        // Rows are folded together: 512 bits, 256, 128, one lane a row.
        let ab = _mm256_hadd_epi32(fold(sums.0), fold(sums.1));
        let cd = _mm256_hadd_epi32(fold(sums.2), fold(sums.3));
        let folded = _mm256_hadd_epi32(ab, cd);
        _mm_add_epi32(_mm256_castsi256_si128(folded), _mm256_extracti128_si256::<1>(folded))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn dot_u4_i8(codes: &[u8], query: &[i8]) -> i32 {
    debug_assert_eq!(
        codes.len().div_ceil(BLOCK_BYTES) * BLOCK_DIMS,
        query.len(),
        "codes and query of different lengths"
    );
    let codes = &codes[..codes.len().min(query.len() / BLOCK_DIMS * BLOCK_BYTES)];
    let product = Product { bytes: codes.len(), query };
    // SAFETY: so many bytes are readable.
    _mm_cvtsi128_si32(unsafe { product.four([codes.as_ptr(); 4]) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn distances_u4_i8(table: &CodeTable<'_>, rows: &[u32], query: &[i8], terms: &CodeTerms, out: &mut [f32]) {
    let Some(product) = Product::new(table.code_bytes(), query) else {
        debug_assert!(false, "codes and query of different lengths");
        return out.fill(f32::INFINITY);
    };
    let ((rows, rows_rest), (out, out_rest)) = (rows.as_chunks::<4>(), out.as_chunks_mut::<4>());
    for (rows, out) in rows.iter().zip(out) {
        // SAFETY: 16 bytes are writable.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), four_of(table, *rows, product, terms)) };
    }
    if let Some(&last) = rows_rest.last() {
        // The last row stands in for those that are missing: what is in the nearest cache costs nothing to load again.
        let mut four = [last; 4];
        four[..rows_rest.len()].copy_from_slice(rows_rest);
        let mut distances = [0.0; 4];
        // SAFETY: 16 bytes are writable.
        unsafe { _mm_storeu_ps(distances.as_mut_ptr(), four_of(table, four, product, terms)) };
        out_rest.iter_mut().zip(distances).for_each(|(out, distance)| *out = distance);
    }
}

/// The distances of four rows; every step is [`CodeTerms::distance`]'s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn four_of(table: &CodeTable<'_>, rows: [u32; 4], product: Product<'_>, terms: &CodeTerms) -> __m128 {
    let [a, b, c, d] = rows.map(|row| row as usize);
    if a.max(b).max(c.max(d)) >= table.rows() {
        let distance = |row: u32| terms.of_record(table.record(row), |codes| dot_u4_i8(codes, product.query));
        let [a, b, c, d] = rows.map(distance);
        return _mm_set_ps(d, c, b, a);
    }
    let (records, bytes) = table.place();
    // SAFETY: these rows are in the table, so their records lie whole in it: the factors, then `product.bytes` of codes.
    let (product, [a, b, c, d]) = unsafe {
        let [a, b, c, d] =
            [records.add(a * bytes), records.add(b * bytes), records.add(c * bytes), records.add(d * bytes)];
        let codes = [a.add(FACTORS_BYTES), b.add(FACTORS_BYTES), c.add(FACTORS_BYTES), d.add(FACTORS_BYTES)];
        let factors = [
            _mm_loadl_epi64(a.cast()),
            _mm_loadl_epi64(b.cast()),
            _mm_loadl_epi64(c.cast()),
            _mm_loadl_epi64(d.cast()),
        ];
        (product.four(codes), factors)
    };
    let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    let factor = _mm_castsi128_ps(_mm_unpacklo_epi64(ab, cd));
    let bias = _mm_castsi128_ps(_mm_unpackhi_epi64(ab, cd));
    let levels = _mm_cvtepi32_ps(_mm_sub_epi32(_mm_slli_epi32::<1>(product), _mm_set1_epi32(terms.shift)));
    let estimate = _mm_mul_ps(_mm_set1_ps(terms.weight), _mm_mul_ps(factor, levels));
    let offset = _mm_add_ps(_mm_set1_ps(terms.base), _mm_mul_ps(_mm_set1_ps(terms.bias_weight), bias));
    // Where the first is no number, this gives the second.
    _mm_min_ps(_mm_sub_ps(offset, estimate), _mm_set1_ps(f32::INFINITY))
}

/// The nibbles of up to two blocks as codes: both planes' low nibbles joined, and their high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn join_planes(high: __m512i, low: __m512i) -> (__m512i, __m512i) {
    let mask = _mm512_set1_epi8(15);
    // What a 16-bit shift moves across bytes falls to the mask.
    let first = _mm512_or_si512(_mm512_slli_epi16::<4>(_mm512_and_si512(high, mask)), _mm512_and_si512(low, mask));
    let second = _mm512_or_si512(_mm512_andnot_si512(mask, high), _mm512_and_si512(_mm512_srli_epi16::<4>(low), mask));
    (first, second)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn dot_u8_i16(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) -> i64 {
    let (high, low) = common(high, low);
    let (query, query_tail) = query.as_chunks::<BLOCK_DIMS>().0.as_chunks::<2>();
    let (rest, rest_tail) = rest.as_chunks::<BLOCK_DIMS>().0.as_chunks::<2>();
    let mut coarse = _mm512_setzero_si512();
    let mut fine = _mm512_setzero_si512();
    let ((high, high_tail), (low, low_tail)) = (high.as_chunks::<64>(), low.as_chunks::<64>());
    let (mut query, mut rest) = (query.iter(), rest.iter());
    for ((high, low), (query, rest)) in high.iter().zip(low).zip((&mut query).zip(&mut rest)) {
        let codes = join_planes(load_u8(high), load_u8(low));
        coarse = add_codes(coarse, codes, load_query(query));
        fine = add_codes(fine, codes, load_query(rest));
    }
    if !high_tail.is_empty() {
        let codes = join_planes(tail_u8(high_tail), tail_u8(low_tail));
        let query = match query.next() {
            Some(query) => load_query(query),
            None => load_query_tail(query_tail),
        };
        let rest = match rest.next() {
            Some(rest) => load_query(rest),
            None => load_query_tail(rest_tail),
        };
        coarse = add_codes(coarse, codes, query);
        fine = add_codes(fine, codes, rest);
    }
    // 65,536 dimensions of 255 * 128 fit an i32.
    256 * i64::from(_mm512_reduce_add_epi32(coarse)) + i64::from(_mm512_reduce_add_epi32(fine))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_codes(sum: __m512i, codes: (__m512i, __m512i), query: (__m512i, __m512i)) -> __m512i {
    _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, codes.0, query.0), codes.1, query.1)
}

/// Sixteen gaps at a time: a byte permutation brings each gap's four bytes into its lane, a shift and a mask cut it out, and four steps of
/// shifted additions sum up all lanes before each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "places in a line; masks of 16 lanes")]
fn unpack_vbmi(line: &[u8; LINE_BYTES], at: usize, width: u32, first: u32, out: &mut [u32]) -> u32 {
    let Some((head, tail)) = out.split_first_mut() else { return 0 };
    *head = first;
    let line = load_u8(line);
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let steps = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(width as i32));
    let mask = _mm512_set1_epi32(((1u64 << width) - 1) as i32);
    let (zero, one) = (_mm512_setzero_si512(), _mm512_set1_epi32(1));
    let mut before = _mm512_set1_epi32(first.cast_signed());
    let mut largest = before;
    let mut at = at;
    for chunk in tail.chunks_mut(16) {
        let bits = _mm512_add_epi32(steps, _mm512_set1_epi32(at as i32));
        // Each lane's byte number four times, and the numbers after it: modulo 64, which the permutation does.
        let bytes = _mm512_mullo_epi32(_mm512_srli_epi32::<3>(bits), _mm512_set1_epi32(0x0101_0101));
        let bytes = _mm512_permutexvar_epi8(_mm512_add_epi8(bytes, _mm512_set1_epi32(0x0302_0100)), line);
        let gaps = _mm512_srlv_epi32(bytes, _mm512_and_si512(bits, _mm512_set1_epi32(7)));
        let mut sums = _mm512_add_epi32(_mm512_and_si512(gaps, mask), one);
        sums = _mm512_add_epi32(sums, _mm512_alignr_epi32::<15>(sums, zero));
        sums = _mm512_add_epi32(sums, _mm512_alignr_epi32::<14>(sums, zero));
        sums = _mm512_add_epi32(sums, _mm512_alignr_epi32::<12>(sums, zero));
        sums = _mm512_add_epi32(sums, _mm512_alignr_epi32::<8>(sums, zero));
        let values = _mm512_add_epi32(sums, before);
        let filled = low_lanes(chunk.len()) as u16;
        largest = _mm512_mask_max_epu32(largest, filled, largest, values);
        // SAFETY: lanes past the chunk's end are masked and not written.
        unsafe { _mm512_mask_storeu_epi32(chunk.as_mut_ptr().cast(), filled, values) };
        before = _mm512_permutexvar_epi32(_mm512_set1_epi32(15), values);
        at += 16 * width as usize;
    }
    _mm512_reduce_max_epu32(largest)
}
