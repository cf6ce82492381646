//! Every table against exact arithmetic, over lengths, alignments and extreme values.

#![expect(clippy::cast_possible_truncation, reason = "the low bits are the sample")]

use half::f16;
use proptest::prelude::*;

use super::*;

/// Numbers without a pattern (splitmix64), so that a failure repeats.
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn f32(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    fn vec<T>(&mut self, len: usize, of: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..len).map(|_| of(self)).collect()
    }
}

const LARGE: [usize; 5] = [784, 1536, 4095, 4096, 65_536];

fn lengths() -> impl Iterator<Item = usize> {
    (0..=300).chain(LARGE)
}

/// The true sum of `term` and the sum of its absolute values, in double precision.
fn truth<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f64) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (&a, &b)| (sum + term(a, b), size + term(a, b).abs()))
}

fn check_float(name: &str, len: usize, got: f32, (sum, size): (f64, f64)) {
    // Each term is rounded up to three times, each addition once; subnormals lose absolute precision.
    let tolerance = size * (len as f64 + 4.0) * f64::from(f32::EPSILON) + (len as f64 + 1.0) * 2e-45;
    assert!((f64::from(got) - sum).abs() <= tolerance, "{name}, length {len}: {got} is not {sum} +- {tolerance}");
}

/// All float kernels of all tables on f32 values and on their halves.
fn check_floats(a: &[f32], b: &[f32]) {
    let halves = |values: &[f32]| values.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
    let (a_half, b_half) = (halves(a), halves(b));
    let wide = |v: f16| f64::from(v.to_f32());
    let dot = |a: f64, b: f64| a * b;
    let l2 = |a: f64, b: f64| (a - b) * (a - b);
    let l1 = |a: f64, b: f64| (a - b).abs();
    for kernel in available() {
        let check = |what: &str, got, truth| check_float(&format!("{} {what}", kernel.name), a.len(), got, truth);
        let f32s = |term: fn(f64, f64) -> f64| truth(a, b, |a, b| term(f64::from(a), f64::from(b)));
        check("dot_f32", (kernel.dot_f32)(a, b), f32s(dot));
        check("l2_f32", (kernel.l2_f32)(a, b), f32s(l2));
        check("l1_f32", (kernel.l1_f32)(a, b), f32s(l1));
        let f16s = |term: fn(f64, f64) -> f64| truth(&a_half, &b_half, |a, b| term(wide(a), wide(b)));
        check("dot_f16", (kernel.dot_f16)(&a_half, &b_half), f16s(dot));
        check("l2_f16", (kernel.l2_f16)(&a_half, &b_half), f16s(l2));
        check("l1_f16", (kernel.l1_f16)(&a_half, &b_half), f16s(l1));
        let mixed = |term: fn(f64, f64) -> f64| truth(a, &b_half, |a, b| term(f64::from(a), wide(b)));
        check("dot_f32_f16", (kernel.dot_f32_f16)(a, &b_half), mixed(dot));
        check("l2_f32_f16", (kernel.l2_f32_f16)(a, &b_half), mixed(l2));
        check("l1_f32_f16", (kernel.l1_f32_f16)(a, &b_half), mixed(l1));
    }
}

fn check_bytes(a: &[u8], b: &[u8]) {
    let sum = |term: fn(u64, u64) -> u64| a.iter().zip(b).map(|(&a, &b)| term(a.into(), b.into())).sum::<u64>();
    for kernel in available() {
        let (name, len) = (kernel.name, a.len());
        assert_eq!(u64::from((kernel.dot_u8)(a, b)), sum(|a, b| a * b), "{name} dot_u8, length {len}");
        assert_eq!(u64::from((kernel.l2_u8)(a, b)), sum(|a, b| a.abs_diff(b).pow(2)), "{name} l2_u8, length {len}");
        assert_eq!(u64::from((kernel.l1_u8)(a, b)), sum(|a, b| a.abs_diff(b)), "{name} l1_u8, length {len}");
    }
}

/// The nibble that a query value is multiplied by; 0 where the codes have ended.
fn nibble(plane: &[u8], at: usize) -> i64 {
    let Some(&pair) = plane.get(at / BLOCK_DIMS * BLOCK_BYTES + at % BLOCK_BYTES) else { return 0 };
    i64::from(if at % BLOCK_DIMS < BLOCK_BYTES { pair & 15 } else { pair >> 4 })
}

fn check_codes(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) {
    let coarse: i64 = (0..query.len()).map(|i| nibble(high, i) * i64::from(query[i])).sum();
    let fine: i64 = (0..query.len())
        .map(|i| (16 * nibble(high, i) + nibble(low, i)) * (256 * i64::from(query[i]) + i64::from(rest[i])))
        .sum();
    for kernel in available() {
        let (name, len) = (kernel.name, query.len());
        assert_eq!(i64::from((kernel.dot_u4_i8)(high, query)), coarse, "{name} dot_u4_i8, length {len}");
        assert_eq!((kernel.dot_u8_i16)(high, low, query, rest), fine, "{name} dot_u8_i16, length {len}");
        check_distances(kernel, (high, low), query);
    }
}

/// Many rows at once: their distances are those of their products, bit for bit.
fn check_distances(kernel: &Kernel, (first, second): (&[u8], &[u8]), query: &[i8]) {
    let factors = [(0.75f32, -3.0f32), (f32::NAN, 2.0)];
    let record =
        |(factor, bias): (f32, f32), codes: &[u8]| [&factor.to_le_bytes(), &bias.to_le_bytes(), codes].concat();
    let records = [record(factors[0], first), record(factors[1], second)].concat();
    let table = CodeTable::new(&records, first.len() + FACTORS_BYTES);
    let terms = CodeTerms { shift: 1_001, base: 5.0, bias_weight: -0.5, weight: 1e-3 };
    let products = [first, second].map(|codes| (kernel.dot_u4_i8)(codes, query));
    let rows = [0, 1, 1, 0, 1, 2, 0, u32::MAX, 1];
    for count in 0..=rows.len() {
        let mut out = vec![-1.0; count];
        (kernel.distances_u4_i8)(&table, &rows[..count], query, &terms, &mut out);
        for (&row, out) in rows.iter().zip(out) {
            let expected = match (products.get(row as usize), factors.get(row as usize)) {
                (Some(&product), Some(&(factor, bias))) if !first.is_empty() => terms.distance(product, factor, bias),
                _ => f32::INFINITY,
            };
            assert_eq!(out.to_bits(), expected.to_bits(), "{} row {row} of {count}", kernel.name);
        }
    }
}

#[test]
fn scalar_is_first_and_the_choice_is_last() {
    let tables = available();
    assert_eq!(tables[0].name, "scalar");
    assert_eq!(tables[tables.len() - 1].name, get().name);
    // Where a run is about one table, such as an emulated one of another architecture, it must not pass without it.
    if let Ok(expected) = std::env::var("CAIRN_EXPECT_KERNEL") {
        assert_eq!(get().name, expected);
    }
}

#[test]
fn floats_at_every_length() {
    let mut noise = Noise(1);
    for len in lengths() {
        check_floats(&noise.vec(len, Noise::f32), &noise.vec(len, Noise::f32));
    }
}

#[test]
fn floats_at_every_alignment() {
    let mut noise = Noise(2);
    let (a, b) = (noise.vec(400, Noise::f32), noise.vec(400, Noise::f32));
    for offset in 0..17 {
        for len in [1, 7, 15, 16, 17, 63, 64, 65, 100, 300] {
            check_floats(&a[offset..offset + len], &b[16 - offset..16 - offset + len]);
        }
    }
}

#[test]
fn floats_at_the_ends_of_the_range() {
    let values = [0.0, -0.0, 1e-45, -1e-40, 1e-38, 1e18, -1e18, 6e-8, 6.1e-5, 65_504.0, -65_504.0, 1.0];
    for len in [12, 48, 97] {
        let a: Vec<f32> = (0..len).map(|i| values[i % values.len()]).collect();
        for turn in 0..values.len() {
            let b: Vec<f32> = (0..len).map(|i| values[(i * 5 + turn) % values.len()]).collect();
            // Halves of 1e18 are infinite: those are compared below.
            let finite = |v: &[f32]| v.iter().map(|&v| v.clamp(-65_504.0, 65_504.0)).collect::<Vec<_>>();
            check_floats(&finite(&a), &finite(&b));
            for kernel in available() {
                let wide = |a: f32, b: f32| (f64::from(a), f64::from(b));
                let (dot, l2) = (
                    |a, b| {
                        let (a, b) = wide(a, b);
                        a * b
                    },
                    |a, b| {
                        let (a, b) = wide(a, b);
                        (a - b).powi(2)
                    },
                );
                check_float(kernel.name, len, (kernel.dot_f32)(&a, &b), truth(&a, &b, dot));
                check_float(kernel.name, len, (kernel.l2_f32)(&a, &b), truth(&a, &b, l2));
            }
        }
    }
}

#[test]
fn infinities_and_nan_come_through() {
    for kernel in available() {
        for at in [0, 15, 16, 40, 63, 64, 69] {
            let mut a = vec![f16::ONE; 70];
            let b = vec![f16::ONE; 70];
            let ones = vec![1.0f32; 70];
            a[at] = f16::INFINITY;
            assert_eq!((kernel.dot_f16)(&a, &b), f32::INFINITY, "{} at {at}", kernel.name);
            assert_eq!((kernel.l2_f16)(&a, &b), f32::INFINITY, "{} at {at}", kernel.name);
            assert_eq!((kernel.l1_f16)(&b, &a), f32::INFINITY, "{} at {at}", kernel.name);
            assert_eq!((kernel.dot_f32_f16)(&ones, &a), f32::INFINITY, "{} at {at}", kernel.name);
            a[at] = f16::NAN;
            assert!((kernel.dot_f16)(&a, &b).is_nan(), "{} at {at}", kernel.name);
            let mut a = ones.clone();
            a[at] = f32::NAN;
            assert!((kernel.l2_f32)(&a, &ones).is_nan(), "{} at {at}", kernel.name);
            a[at] = f32::MAX;
            assert_eq!((kernel.l2_f32)(&a, &ones), f32::INFINITY, "{} at {at}", kernel.name);
        }
    }
}

#[test]
fn bytes_at_every_length() {
    let mut noise = Noise(3);
    for len in lengths() {
        let byte = |noise: &mut Noise| noise.bits() as u8;
        check_bytes(&noise.vec(len, byte), &noise.vec(len, byte));
        // The largest sums there are: 65,536 * 255 * 255 is just below 2^32.
        for (a, b) in [(255, 255), (255, 0), (0, 255), (0, 0), (128, 127), (127, 128)] {
            check_bytes(&vec![a; len], &vec![b; len]);
        }
    }
}

#[test]
fn bytes_at_every_alignment() {
    let mut noise = Noise(4);
    let byte = |noise: &mut Noise| noise.bits() as u8;
    let (a, b) = (noise.vec(400, byte), noise.vec(400, byte));
    for offset in 0..65 {
        for len in [1, 15, 31, 33, 63, 64, 65, 127, 129, 300] {
            check_bytes(&a[offset..offset + len], &b[64 - offset..64 - offset + len]);
        }
    }
}

#[test]
fn codes_at_every_length() {
    let mut noise = Noise(5);
    for codes in (0..20 * BLOCK_BYTES).step_by(8).chain([65_536 / 2]) {
        let len = codes.div_ceil(BLOCK_BYTES) * BLOCK_DIMS;
        let byte = |noise: &mut Noise| noise.bits() as u8;
        let signed = |noise: &mut Noise| noise.bits() as i8;
        let (high, low) = (noise.vec(codes + 3, byte), noise.vec(codes + 3, byte));
        let (query, rest) = (noise.vec(len + 3, signed), noise.vec(len + 3, signed));
        for offset in 0..3 {
            let codes = offset..offset + codes;
            check_codes(&high[codes.clone()], &low[codes], &query[offset..offset + len], &rest[3 - offset..][..len]);
        }
        // Nothing may saturate on the way.
        for (code, value) in [(255, 127), (255, -128), (0, -128), (240, -128), (15, 127)] {
            check_codes(&vec![code; codes], &vec![255; codes], &vec![value; len], &vec![-128; len]);
            check_codes(&vec![255; codes], &vec![code; codes], &vec![-128; len], &vec![value; len]);
        }
    }
}

#[test]
fn cosine_of_bytes() {
    for kernel in available() {
        assert_eq!(kernel.cosine_u8(&[0; 70], &[1; 70]), 0.0);
        assert_eq!(kernel.cosine_u8(&[], &[]), 0.0);
        assert!((kernel.cosine_u8(&[255; 65_536], &[1; 65_536]) - 1.0).abs() < 1e-6);
        assert!((kernel.cosine_u8(&[3, 0], &[3, 3]) - 0.5f32.sqrt()).abs() < 1e-6);
    }
}

#[test]
fn prefetch_takes_any_slice() {
    let bytes = vec![0u8; 5000];
    for range in [0..0, 0..1, 1..64, 63..65, 0..5000, 4999..5000] {
        prefetch(&bytes[range]);
    }
}

/// Debug builds assert instead, so that the caller's bug is found.
#[cfg(not(debug_assertions))]
#[test]
fn the_shorter_slice_decides() {
    for kernel in available() {
        assert_eq!((kernel.dot_u8)(&[1; 100], &[2; 70]), 140);
        assert_eq!((kernel.l1_u8)(&[1; 70], &[2; 100]), 70);
        assert_eq!((kernel.dot_f32)(&[1.0; 100], &[2.0; 3]), 6.0);
        assert_eq!((kernel.dot_f32_f16)(&[1.0; 3], &[f16::ONE; 90]), 3.0);
        assert_eq!((kernel.dot_u4_i8)(&[0x11; 100], &[1; 130]), 128);
    }
}

proptest! {
    #[test]
    fn gaps_of_any_width(
        line in prop::collection::vec(any::<u8>(), LINE_BYTES), at in 0usize..100, width in 0..=UNPACK_WIDTH_MAX, first: u32, count in 0usize..70,
    ) {
        let line: &[u8; LINE_BYTES] = line[..].try_into().unwrap();
        // As many as lie within the line.
        let room = if width == 0 { 70 } else { (8 * LINE_BYTES - at) / width as usize };
        let count = count.min(room + 1);
        let bit = |at: usize| u32::from(line[at / 8] >> (at % 8) & 1);
        let gap = |i: usize| (0..width as usize).map(|b| bit(at + i * width as usize + b) << b).sum::<u32>();
        let mut expected = Vec::new();
        let mut value = first;
        for i in 0..count {
            expected.push(value);
            if i + 1 < count {
                value = value.wrapping_add(gap(i)).wrapping_add(1);
            }
        }
        for kernel in available() {
            let mut out = vec![7; count];
            let largest = (kernel.unpack)(line, at, width, first, &mut out);
            prop_assert_eq!(&out, &expected, "{}", kernel.name);
            prop_assert_eq!(largest, expected.iter().copied().max().unwrap_or(0), "{}", kernel.name);
        }
    }

    #[test]
    fn floats_of_any_size(
        pairs in prop::collection::vec((-1e4f32..1e4, -1e4f32..1e4), 0..400), scale in -30i32..18,
    ) {
        let scale = 2f32.powi(scale).min(6.0);
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().map(|(a, b)| (a * scale, b * scale)).unzip();
        check_floats(&a, &b);
    }

    #[test]
    fn bytes_of_any_value(pairs in prop::collection::vec(any::<(u8, u8)>(), 0..400)) {
        let (a, b): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
        check_bytes(&a, &b);
    }
}
