//! Tiles of 4 rows by 64 columns in sixteen accumulators, four lines of a panel against four broadcast groups of four bytes.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use super::{PANEL_ROWS, Panel, Tile, reserve};

/// Bytes of a register.
const LANES: usize = 64;
/// Left rows of a tile.
const TILE_ROWS: usize = 4;
/// Bytes of one step: four dimensions of one row.
const STEP: usize = 4;

/// The table, where the CPU has what it needs.
pub(super) fn detect() -> Option<Tile> {
    let found = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    // SAFETY: the features were just found.
    found.then(|| unsafe { table() })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn table() -> Tile {
    Tile { name: "avx512", gather, pack, block }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn load(from: &[u8; LANES]) -> __m512i {
    // SAFETY: 64 bytes are readable.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn store(lanes: __m512i, to: &mut [i32; PANEL_ROWS]) {
    // SAFETY: 64 bytes are writable.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), lanes) }
}

/// The four sums of four registers' lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn totals([a, b, c, d]: [__m512i; 4]) -> __m128i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn gather(rows: &[u8], query: &[u8], ordinals: &[u32], out: &mut [i32]) {
    let width = query.len();
    let query = query.as_chunks::<LANES>().0;
    let shift = _mm512_set1_epi8(-128);
    let row = |ordinal: u32| rows[ordinal as usize * width..][..width].as_chunks::<LANES>().0;
    for (ordinals, out) in ordinals.chunks(TILE_ROWS).zip(out.chunks_mut(TILE_ROWS)) {
        // A last group that is not full repeats its last row.
        let at = |i: usize| ordinals[i.min(ordinals.len() - 1)];
        let (a, b, c, d) = (row(at(0)), row(at(1)), row(at(2)), row(at(3)));
        let mut sums = [_mm512_setzero_si512(); 4];
        for (i, query) in query.iter().enumerate() {
            let query = _mm512_xor_si512(load(query), shift);
            sums[0] = _mm512_dpbusd_epi32(sums[0], load(&a[i]), query);
            sums[1] = _mm512_dpbusd_epi32(sums[1], load(&b[i]), query);
            sums[2] = _mm512_dpbusd_epi32(sums[2], load(&c[i]), query);
            sums[3] = _mm512_dpbusd_epi32(sums[3], load(&d[i]), query);
        }
        let mut four = [0i32; 4];
        // SAFETY: 16 bytes are writable.
        unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), totals(sums)) };
        for (out, sum) in out.iter_mut().zip(four) {
            *out = sum;
        }
    }
}

fn pack(rows: &[u8], width: usize, panel: &mut Panel) {
    reserve(rows, width, panel);
    let groups = rows.chunks(PANEL_ROWS * width).zip(panel.bytes.chunks_exact_mut(PANEL_ROWS * width));
    for (rows, group) in groups {
        let (lines, _) = group.as_chunks_mut::<LANES>();
        for (lane, row) in rows.chunks_exact(width).enumerate() {
            for (step, line) in row.as_chunks::<STEP>().0.iter().zip(&mut *lines) {
                line[lane * STEP..][..STEP].copy_from_slice(&step.map(|byte| byte ^ 128));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn block(rows: &[u8], left: &[u32], panel: &Panel, out: &mut [i32]) {
    let (width, columns) = (panel.width, panel.columns);
    if columns == 0 {
        return;
    }
    let row = |ordinal: u32| rows[ordinal as usize * width..][..width].as_chunks::<STEP>().0;
    for (left, out) in left.chunks(TILE_ROWS).zip(out.chunks_mut(TILE_ROWS * columns)) {
        // A last tile that is not full repeats its last row.
        let at = |i: usize| left[i.min(left.len() - 1)];
        let four = [row(at(0)), row(at(1)), row(at(2)), row(at(3))];
        let mut column = 0;
        for groups in panel.bytes.chunks(4 * PANEL_ROWS * width) {
            match groups.len() / (PANEL_ROWS * width) {
                4 => tile::<4>(four, groups, left.len(), columns, &mut out[column..]),
                3 => tile::<3>(four, groups, left.len(), columns, &mut out[column..]),
                2 => tile::<2>(four, groups, left.len(), columns, &mut out[column..]),
                _ => tile::<1>(four, groups, left.len(), columns, &mut out[column..]),
            }
            column += 4 * PANEL_ROWS;
        }
    }
}

/// One tile: four rows by `G` groups of sixteen columns; writes the first `count` rows, `stride` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<const G: usize>(four: [&[[u8; STEP]]; 4], groups: &[u8], count: usize, stride: usize, out: &mut [i32]) {
    let steps = four[0].len();
    let [a, b, c, d] = four.map(|row| &row[..steps]);
    let lines: [&[[u8; LANES]]; G] =
        std::array::from_fn(|g| &groups[g * steps * LANES..][..steps * LANES].as_chunks::<LANES>().0[..steps]);
    let broadcast = |step: &[u8; STEP]| _mm512_set1_epi32(i32::from_le_bytes(*step));
    let mut sums = [[_mm512_setzero_si512(); G]; 4];
    for i in 0..steps {
        let left = [broadcast(&a[i]), broadcast(&b[i]), broadcast(&c[i]), broadcast(&d[i])];
        for g in 0..G {
            let right = load(&lines[g][i]);
            for r in 0..4 {
                sums[r][g] = _mm512_dpbusd_epi32(sums[r][g], left[r], right);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate().take(count) {
        let (to, _) = out[r * stride..][..G * PANEL_ROWS].as_chunks_mut::<PANEL_ROWS>();
        for (sum, to) in sums.iter().zip(to) {
            store(*sum, to);
        }
    }
}
