//! AVX2 with FMA: every x86-64 server since 2013.
//!
//! `vpshufb` looks up 32 bytes in two tables of 16: two quads of 16 lanes. Bytes are added up in 16 bits, the even ones
//! together with 256 times the odd ones, and the odd ones apart: what the first lost to overflow, the second gives back.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use super::{Edge, FastScan, GROUPS_MAX, LANES, Order, Terms, UNIT_TABLE_BYTES, groups, split};

/// Units that fit 16 bits: each adds four entries of at most 255 to a sum.
const UNITS_MAX: usize = 64;

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<FastScan> {
    let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    // SAFETY: the features were just found.
    found.then(|| unsafe { table() })
}

#[target_feature(enable = "avx2,fma")]
fn table() -> FastScan {
    FastScan { name: "avx2", order: Order::ByQuad, scan, edge }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(from: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are readable.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Eight floats of a group's tail.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_f32(from: &[u8; 32]) -> __m256 {
    _mm256_castsi256_ps(load(from))
}

/// Two quads of 16 lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add((even, odd): (__m256i, __m256i), nibbles: __m256i, table: &[u8; 32]) -> (__m256i, __m256i) {
    let entries = _mm256_shuffle_epi8(load(table), nibbles);
    (_mm256_add_epi16(even, entries), _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(entries)))
}

/// Both quads' 16-bit sums of eight lanes, added in 32 bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn widen(sums: __m256i) -> __m256i {
    _mm256_add_epi32(
        _mm256_cvtepu16_epi32(_mm256_castsi256_si128(sums)),
        _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(sums)),
    )
}

#[target_feature(enable = "avx2,fma")]
fn scan(bytes: &[u8], table: &[u8], terms: &Terms, out: &mut [f32; GROUPS_MAX * LANES]) -> u64 {
    let (tables, _) = table.as_chunks::<UNIT_TABLE_BYTES>();
    let mask = _mm256_set1_epi8(15);
    let (outs, _) = out.as_chunks_mut::<8>();
    let mut outs = outs.iter_mut();
    let mut below = 0;
    for (at, group) in groups(bytes, table).enumerate() {
        let (units, constants, weights) = split(group);
        let mut totals = [_mm256_setzero_si256(); 2];
        for (units, tables) in units.chunks(UNITS_MAX).zip(tables.chunks(UNITS_MAX)) {
            let mut sums = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (unit, table) in units.iter().zip(tables) {
                let ((unit, _), (table, _)) = (unit.as_chunks::<32>(), table.as_chunks::<32>());
                for half in 0..2 {
                    let codes = load(&unit[half]);
                    sums = add(sums, _mm256_and_si256(codes, mask), &table[half]);
                    sums = add(sums, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), mask), &table[2 + half]);
                }
            }
            let (even, odd) = sums;
            totals[0] = _mm256_add_epi32(totals[0], widen(_mm256_sub_epi16(even, _mm256_slli_epi16::<8>(odd))));
            totals[1] = _mm256_add_epi32(totals[1], widen(odd));
        }
        let ((constants, _), (weights, _)) = (constants.as_chunks::<32>(), weights.as_chunks::<32>());
        for (half, total) in totals.into_iter().enumerate() {
            let sum = _mm256_cvtepi32_ps(total);
            let product = _mm256_fmadd_ps(sum, _mm256_set1_ps(terms.step), _mm256_set1_ps(terms.low));
            let estimate = _mm256_fnmadd_ps(load_f32(&weights[half]), product, load_f32(&constants[half]));
            let estimate = _mm256_add_ps(_mm256_set1_ps(terms.base), estimate);
            if let Some(out) = outs.next() {
                // SAFETY: 8 floats are writable.
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), estimate) };
            }
            let less = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(estimate, _mm256_set1_ps(terms.bound)));
            below |= u64::from(less.cast_unsigned()) << (at * LANES + half * 8);
        }
    }
    below
}

#[target_feature(enable = "avx2,fma")]
fn edge(node: &[f32], near: &[f32], signs: &mut [u32]) -> Edge {
    super::edge(node, near, signs)
}
