//! Nanoseconds per vector of every kernel of every table this CPU can run, data in the second-level cache.
//!
//! `cargo bench -p cairn-engine --bench kernel -- dot_u8/384` runs what matches.

#![expect(clippy::cast_possible_truncation, reason = "values are made to fit")]

use std::hint::black_box;

use cairn_engine::kernel::{self, Kernel, Pair};
use criterion::Criterion;
use half::f16;

const DIMS: [usize; 3] = [128, 384, 768];
/// Vectors that are scored in turn; they fit the second-level cache, as a search's prefetched vectors would.
const VECTORS: usize = 64;

/// A repeatable value in -1..1 for a place.
fn value(place: usize) -> f32 {
    let bits = (place as u32).wrapping_mul(0x9E37_79B9).rotate_left(13).wrapping_mul(0x85EB_CA6B);
    (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// `VECTORS + 1` vectors of `len` elements.
fn vectors<T>(len: usize, of: impl Fn(usize) -> T) -> Vec<Vec<T>> {
    (0..=VECTORS).map(|row| (0..len).map(|i| of(row * len + i)).collect()).collect()
}

/// Times one function on one query against stored vectors in turn.
fn pair<A, B, T>(c: &mut Criterion, name: &str, of: (&Kernel, usize), sides: (&[Vec<A>], &[Vec<B>]), f: Pair<A, B, T>) {
    let (query, stored) = (&sides.0[VECTORS], &sides.1[..VECTORS]);
    let mut rows = stored.iter().cycle();
    c.bench_function(&format!("{name}/{}/{}", of.1, of.0.name), |b| {
        b.iter(|| rows.next().map(|row| f(black_box(query), black_box(row))));
    });
}

fn kernels(c: &mut Criterion) {
    for dim in DIMS {
        let floats = vectors(dim, value);
        let halves = vectors(dim, |place| f16::from_f32(value(place)));
        let bytes = vectors(dim, |place| (value(place) * 127.0 + 128.0) as u8);
        let codes = vectors(dim / 2, |place| (value(place) * 127.0 + 128.0) as u8);
        let query = vectors(dim, |place| (value(place) * 127.0) as i8);
        for kernel in kernel::available() {
            let of = (kernel, dim);
            pair(c, "dot_f32", of, (&floats, &floats), kernel.dot_f32);
            pair(c, "l2_f32", of, (&floats, &floats), kernel.l2_f32);
            pair(c, "l1_f32", of, (&floats, &floats), kernel.l1_f32);
            pair(c, "dot_f16", of, (&halves, &halves), kernel.dot_f16);
            pair(c, "l2_f16", of, (&halves, &halves), kernel.l2_f16);
            pair(c, "l1_f16", of, (&halves, &halves), kernel.l1_f16);
            pair(c, "dot_f32_f16", of, (&floats, &halves), kernel.dot_f32_f16);
            pair(c, "l2_f32_f16", of, (&floats, &halves), kernel.l2_f32_f16);
            pair(c, "l1_f32_f16", of, (&floats, &halves), kernel.l1_f32_f16);
            pair(c, "dot_u8", of, (&bytes, &bytes), kernel.dot_u8);
            pair(c, "l2_u8", of, (&bytes, &bytes), kernel.l2_u8);
            pair(c, "l1_u8", of, (&bytes, &bytes), kernel.l1_u8);
            // The query is the second argument here.
            pair(c, "dot_u4_i8", of, (&codes, &query), kernel.dot_u4_i8);
            let mut rows = codes[..VECTORS].iter().cycle();
            c.bench_function(&format!("dot_u8_i16/{dim}/{}", kernel.name), |b| {
                b.iter(|| rows.next().map(|row| (kernel.dot_u8_i16)(black_box(row), row, &query[0], &query[1])));
            });
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    kernels(&mut criterion);
    criterion.final_summary();
}
