//! Tiles of 4 rows by 64 columns in sixteen accumulators, four lines of a panel against four broadcast groups of four bytes.

#![expect(unsafe_code, reason = "loads through pointers; the one call behind the feature check")]

use std::arch::x86_64::*;

use super::{PANEL_ROWS, Panel, Rows, Terms, Tile, reserve};

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
    Tile { name: "avx512", distances, pack, block }
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
fn distances(rows: &Rows<'_>, own: u32, ordinals: &[u32], out: &mut [f32]) {
    let (signed, terms) = (rows.row(own), rows.terms(own));
    let ((ordinals, ordinals_rest), (out, out_rest)) =
        (ordinals.as_chunks::<TILE_ROWS>(), out.as_chunks_mut::<TILE_ROWS>());
    for (ordinals, out) in ordinals.iter().zip(out) {
        // SAFETY: 16 bytes are writable.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), four(rows, (signed, terms), *ordinals)) };
    }
    if let Some(&last) = ordinals_rest.last() {
        // A last group that is not full repeats its last row.
        let mut ordinals = [last; TILE_ROWS];
        ordinals[..ordinals_rest.len()].copy_from_slice(ordinals_rest);
        let mut distances = [0.0; TILE_ROWS];
        // SAFETY: 16 bytes are writable.
        unsafe { _mm_storeu_ps(distances.as_mut_ptr(), four(rows, (signed, terms), ordinals)) };
        out_rest.iter_mut().zip(distances).for_each(|(out, distance)| *out = distance);
    }
}

/// The distances of four rows and the signed one; every step is [`Terms::distance`]'s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn four(rows: &Rows<'_>, (signed, own): (&[u8], Terms), ordinals: [u32; TILE_ROWS]) -> __m128 {
    let [a, b, c, d] = ordinals.map(|ordinal| ordinal as usize);
    let (width, count) = (rows.width, rows.terms.len());
    assert!(a < count && b < count && c < count && d < count, "an ordinal that is not a row");
    let shift = _mm512_set1_epi8(-128);
    let mut sums = [_mm512_setzero_si512(); TILE_ROWS];
    let first = rows.bytes.as_ptr();
    // SAFETY: these are rows, and there are as many terms as rows of `width` bytes, which is a multiple of `LANES`.
    let terms = unsafe {
        let places = [first.add(a * width), first.add(b * width), first.add(c * width), first.add(d * width)];
        for (i, signed) in signed.as_chunks::<LANES>().0.iter().enumerate() {
            let signed = _mm512_xor_si512(load(signed), shift);
            for (sum, place) in sums.iter_mut().zip(places) {
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_loadu_si512(place.add(i * LANES).cast()), signed);
            }
        }
        let terms = rows.terms.as_ptr();
        [terms.add(a), terms.add(b), terms.add(c), terms.add(d)].map(|terms| _mm_loadu_si128(terms.cast()))
    };
    // Four rows of four terms, transposed; the last, the shift, is not wanted of this side.
    let (ab, cd) = (_mm_unpacklo_epi32(terms[0], terms[1]), _mm_unpacklo_epi32(terms[2], terms[3]));
    let factor = _mm_castsi128_ps(_mm_unpacklo_epi64(ab, cd));
    let bias = _mm_castsi128_ps(_mm_unpackhi_epi64(ab, cd));
    let (ab, cd) = (_mm_unpackhi_epi32(terms[0], terms[1]), _mm_unpackhi_epi32(terms[2], terms[3]));
    let half = _mm_castsi128_ps(_mm_unpacklo_epi64(ab, cd));
    let product = _mm_cvtepi32_ps(_mm_sub_epi32(totals(sums), _mm_set1_epi32(own.shift)));
    let levels = _mm_add_ps(product, _mm_add_ps(half, _mm_set1_ps(own.half)));
    let weighted = _mm_mul_ps(_mm_mul_ps(factor, _mm_set1_ps(own.factor)), levels);
    let distance = _mm_sub_ps(_mm_add_ps(bias, _mm_set1_ps(own.bias)), weighted);
    // Where the first is no number, this gives the second.
    _mm_max_ps(distance, _mm_setzero_ps())
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
