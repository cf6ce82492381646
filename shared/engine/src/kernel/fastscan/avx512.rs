//! AVX-512 with VBMI and VNNI: Intel since Ice Lake, AMD since Zen 4.
//!
//! `vpermb` looks up 64 bytes in a table of 64: four quads of 16 lanes at once, where the position of a byte chooses the
//! quad. `vpdpbusd` with ones adds the four of a lane to its 32 bits, so nothing ever overflows.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use super::{Edge, FastScan, GROUPS_MAX, LANES, Order, Terms, UNIT_BYTES, UNIT_TABLE_BYTES, groups, split};

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<FastScan> {
    let found = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vbmi");
    // SAFETY: the features were just found.
    found.then(|| unsafe { table() })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
fn table() -> FastScan {
    FastScan { name: "avx512", order: Order::ByLane, scan, edge }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(from: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are readable.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// One unit of one group: eight entries for each of the 16 lanes, added to the 16 sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn add(sums: (__m512i, __m512i), codes: __m512i, tables: (__m512i, __m512i)) -> (__m512i, __m512i) {
    let mask = _mm512_set1_epi8(15);
    // The quad of each byte, times 16: where its 16 entries begin.
    let quads = _mm512_set1_epi32(0x3020_1000);
    let ones = _mm512_set1_epi8(1);
    let low = _mm512_ternarylogic_epi32::<0xEA>(codes, mask, quads);
    let high = _mm512_ternarylogic_epi32::<0xEA>(_mm512_srli_epi16::<4>(codes), mask, quads);
    (
        _mm512_dpbusd_epi32(sums.0, _mm512_permutexvar_epi8(low, tables.0), ones),
        _mm512_dpbusd_epi32(sums.1, _mm512_permutexvar_epi8(high, tables.1), ones),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn load_tables(table: &[u8; UNIT_TABLE_BYTES]) -> (__m512i, __m512i) {
    let (halves, _) = table.as_chunks::<64>();
    (load(&halves[0]), load(&halves[1]))
}

/// Sums to estimates.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
fn finish(sum: __m512i, constants: &[u8; 64], weights: &[u8; 64], terms: &Terms, out: &mut [f32; LANES]) -> u16 {
    let sum = _mm512_cvtepi32_ps(sum);
    let product = _mm512_fmadd_ps(sum, _mm512_set1_ps(terms.step), _mm512_set1_ps(terms.low));
    let (constants, weights) = (_mm512_castsi512_ps(load(constants)), _mm512_castsi512_ps(load(weights)));
    let estimate = _mm512_add_ps(_mm512_set1_ps(terms.base), _mm512_fnmadd_ps(weights, product, constants));
    // SAFETY: 16 floats are writable.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), estimate) };
    _mm512_cmp_ps_mask::<_CMP_LT_OQ>(estimate, _mm512_set1_ps(terms.bound))
}

type Unit = [u8; UNIT_BYTES];

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
fn scan(bytes: &[u8], table: &[u8], terms: &Terms, out: &mut [f32; GROUPS_MAX * LANES]) -> u64 {
    let zero = _mm512_setzero_si512();
    let (tables, _) = table.as_chunks::<UNIT_TABLE_BYTES>();
    let (outs, _) = out.as_chunks_mut::<LANES>();
    let mut below = 0;
    let mut rest = groups(bytes, table).zip(outs).enumerate();
    // Two groups at a time share the table's loads and hide each other's latencies.
    while let Some((at, (group, out))) = rest.next() {
        let (units, constants, weights) = split(group);
        let units: &[Unit] = units;
        let mut sums = (zero, zero);
        if let Some((next_at, (next_group, next_out))) = rest.next() {
            let (next_units, next_constants, next_weights) = split(next_group);
            let mut next = (zero, zero);
            for ((unit, next_unit), table) in units.iter().zip(next_units).zip(tables) {
                let tables = load_tables(table);
                sums = add(sums, load(unit), tables);
                next = add(next, load(next_unit), tables);
            }
            let mask = finish(_mm512_add_epi32(next.0, next.1), next_constants, next_weights, terms, next_out);
            below |= u64::from(mask) << (next_at * LANES);
        } else {
            for (unit, table) in units.iter().zip(tables) {
                sums = add(sums, load(unit), load_tables(table));
            }
        }
        let mask = finish(_mm512_add_epi32(sums.0, sums.1), constants, weights, terms, out);
        below |= u64::from(mask) << (at * LANES);
    }
    below
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
fn edge(node: &[f32], near: &[f32], signs: &mut [u32]) -> Edge {
    super::edge(node, near, signs)
}
