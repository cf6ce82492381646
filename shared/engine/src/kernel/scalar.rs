//! The meaning of every kernel: plain loops, also the fallback where no instruction set is known.

use half::f16;

use super::{BLOCK_BYTES, CodeTable, CodeTerms, Kernel, LINE_BYTES, UNPACK_WIDTH_MAX, blocks, common, turn};

pub(super) fn table() -> Kernel {
    Kernel {
        name: "scalar",
        dot_f32: |a, b| fold(a, b, |a, b| a * b),
        l2_f32: |a, b| fold(a, b, |a, b| (a - b) * (a - b)),
        l1_f32: |a, b| fold(a, b, |a, b| (a - b).abs()),
        dot_f16: |a, b| fold(a, b, |a: f16, b: f16| a.to_f32() * b.to_f32()),
        l2_f16: |a, b| fold(a, b, |a: f16, b: f16| (a.to_f32() - b.to_f32()) * (a.to_f32() - b.to_f32())),
        l1_f16: |a, b| fold(a, b, |a: f16, b: f16| (a.to_f32() - b.to_f32()).abs()),
        dot_f32_f16: |a, b| fold(a, b, |a, b: f16| a * b.to_f32()),
        l2_f32_f16: |a, b| fold(a, b, |a: f32, b: f16| (a - b.to_f32()) * (a - b.to_f32())),
        l1_f32_f16: |a, b| fold(a, b, |a: f32, b: f16| (a - b.to_f32()).abs()),
        dot_u8: |a, b| fold_u8(a, b, |a, b| u32::from(a) * u32::from(b)),
        l2_u8: |a, b| fold_u8(a, b, |a, b| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b))),
        l1_u8: |a, b| fold_u8(a, b, |a, b| u32::from(a.abs_diff(b))),
        dot_u4_i8,
        distances_u4_i8,
        dot_u8_i16,
        unpack,
        turn: turn::BASELINE.0,
        turn_back: turn::BASELINE.1,
    }
}

fn fold<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f32) -> f32 {
    let (a, b) = common(a, b);
    a.iter().zip(b).fold(0.0, |sum, (&a, &b)| sum + term(a, b))
}

fn fold_u8(a: &[u8], b: &[u8], term: impl Fn(u8, u8) -> u32) -> u32 {
    let (a, b) = common(a, b);
    a.iter().zip(b).fold(0u32, |sum, (&a, &b)| sum.wrapping_add(term(a, b)))
}

fn dot_u4_i8(codes: &[u8], query: &[i8]) -> i32 {
    let blocks = blocks(codes, query);
    let whole = blocks.whole.iter().map(<[u8; 32]>::as_slice).zip(blocks.query);
    let mut sum = 0i32;
    for (codes, query) in whole.chain(blocks.tail) {
        let (first, second) = query.split_at(BLOCK_BYTES);
        for ((&pair, &first), &second) in codes.iter().zip(first).zip(second) {
            sum = sum.wrapping_add(i32::from(pair & 15) * i32::from(first) + i32::from(pair >> 4) * i32::from(second));
        }
    }
    sum
}

fn distances_u4_i8(table: &CodeTable<'_>, rows: &[u32], query: &[i8], terms: &CodeTerms, out: &mut [f32]) {
    for (&row, out) in rows.iter().zip(out) {
        *out = terms.of_record(table.record(row), |codes| dot_u4_i8(codes, query));
    }
}

fn dot_u8_i16(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) -> i64 {
    let product = |codes, query| i64::from(dot_u4_i8(codes, query));
    // All four planes end with the shortest.
    let (high, low) = common(high, low);
    let (query, rest) = common(query, rest);
    256 * (16 * product(high, query) + product(low, query)) + 16 * product(high, rest) + product(low, rest)
}

pub(super) fn unpack(line: &[u8; LINE_BYTES], at: usize, width: u32, first: u32, out: &mut [u32]) -> u32 {
    let Some((head, tail)) = out.split_first_mut() else { return 0 };
    debug_assert!(width <= UNPACK_WIDTH_MAX, "gaps of {width} bits");
    *head = first;
    let (mut value, mut largest, mut at) = (first, first, at);
    for slot in tail {
        let byte = (at / 8).min(LINE_BYTES - 8);
        let word = line[byte..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let gap = word >> ((at - byte * 8) & 63) & ((1 << width) - 1);
        #[expect(clippy::cast_possible_truncation, reason = "at most 25 bits")]
        let step = gap as u32 + 1;
        value = value.wrapping_add(step);
        largest = largest.max(value);
        *slot = value;
        at += width as usize;
    }
    largest
}
