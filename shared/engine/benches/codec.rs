//! Encoding, preparing queries and scoring records: in cache, and from memory at random as a search does.
//!
//! `cargo bench -p cairn-engine --bench codec -- memory/384` runs what matches.

#![expect(clippy::cast_possible_truncation, reason = "values are made to fit")]

use std::hint::black_box;

use cairn_engine::{
    codec::{Codec, Query, Scratch},
    kernel,
};
use cairn_model::Distance;
use criterion::{Criterion, Throughput};

const DIMS: [usize; 4] = [128, 384, 768, 1536];
/// Vectors that are encoded and scored in turn: their records fit the second-level cache.
const VECTORS: usize = 64;
/// Bytes of high planes scored at random: past any cache of a core's own, and of most cores together.
const MEMORY_BYTES: usize = 256 << 20;
/// Records per batch, as many as a node has neighbours.
const BATCH: usize = 32;
/// How far ahead a batch is prefetched, in records.
const AHEAD: usize = 8;

/// A repeatable value in -1..1 for a place.
fn value(place: usize) -> f32 {
    let bits = (place as u32).wrapping_mul(0x9E37_79B9).rotate_left(13).wrapping_mul(0x85EB_CA6B);
    (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// One codec, some vectors with their records, and a query.
struct Coded {
    dim: usize,
    codec: Codec,
    rows: Vec<Vec<f32>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    query: Query,
}

impl Coded {
    fn new(dim: usize) -> Self {
        let rows: Vec<Vec<f32>> = (0..=VECTORS).map(|row| (0..dim).map(|i| value(row * dim + i)).collect()).collect();
        let codec = Codec::new(Distance::Euclid, rows[0].clone(), 1).expect("a codec");
        let mut scratch = Scratch::default();
        let record = |row: &Vec<f32>| {
            let mut record = (vec![0; codec.high_bytes()], vec![0; codec.low_bytes()]);
            codec.encode(row, &mut scratch, &mut record.0, &mut record.1);
            record
        };
        let records = rows[..VECTORS].iter().map(record).collect();
        let query = codec.query(&rows[VECTORS]);
        Self { dim, codec, rows, records, query }
    }
}

fn cached(c: &mut Criterion, coded: &Coded) {
    let dim = coded.dim;
    let (mut high, mut low) = coded.records[0].clone();
    let mut scratch = Scratch::default();
    let mut rows = coded.rows.iter().cycle();
    c.bench_function(&format!("encode/{dim}"), |b| {
        b.iter(|| rows.next().map(|row| coded.codec.encode(black_box(row), &mut scratch, &mut high, &mut low)));
    });
    c.bench_function(&format!("query/{dim}"), |b| b.iter(|| coded.codec.query(black_box(&coded.rows[1]))));
    let mut records = coded.records.iter().cycle();
    c.bench_function(&format!("coarse/{dim}"), |b| {
        b.iter(|| records.next().map(|(high, _)| coded.query.coarse(black_box(high))));
    });
    c.bench_function(&format!("fine/{dim}"), |b| {
        b.iter(|| records.next().map(|(high, low)| coded.query.fine(black_box(high), low)));
    });
}

/// High planes far larger than the caches, scored in batches of random places, without and with prefetching.
fn memory(c: &mut Criterion, coded: &Coded) {
    let bytes = coded.codec.high_bytes();
    let count = MEMORY_BYTES / bytes;
    let mut plane = Vec::with_capacity(count * bytes);
    for row in 0..count {
        plane.extend_from_slice(&coded.records[row % VECTORS].0);
    }
    let record = |place: usize| &plane[place * bytes..][..bytes];
    let mut place = 1usize;
    let mut places = move || -> [usize; BATCH] {
        std::array::from_fn(|_| {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (place >> 33) % count
        })
    };
    let mut group = c.benchmark_group("memory");
    group.throughput(Throughput::Elements(BATCH as u64));
    for ahead in [0, AHEAD] {
        let name = if ahead == 0 { "as they come" } else { "prefetched" };
        group.bench_function(format!("{}/{name}", coded.dim), |b| {
            b.iter(|| {
                let batch = places();
                batch.iter().take(ahead).for_each(|&place| kernel::prefetch(record(place)));
                let mut sum = 0.0;
                for (at, &place) in batch.iter().enumerate() {
                    if let Some(&next) = batch.get(at + ahead).filter(|_| ahead > 0) {
                        kernel::prefetch(record(next));
                    }
                    sum += coded.query.coarse(record(place));
                }
                sum
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for dim in DIMS {
        let coded = Coded::new(dim);
        cached(&mut criterion, &coded);
        memory(&mut criterion, &coded);
    }
    criterion.final_summary();
}
