//! Reading lists of neighbours, and whole searches over them.

use std::hint::black_box;

use cairn_engine::{
    Unwatched,
    graph::{Links, Pairs, Scorer, SearchOptions, VisitedPool, build, search},
};
use cairn_model::HnswConfig;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const DIM: usize = 32;
const POINTS: u32 = 20_000;
const CLUSTERS: u32 = 80;

/// Points in clusters, one cluster after the other, under squared L2.
struct Points(Vec<f32>);

impl Points {
    fn new() -> Self {
        let mut state = 1u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let mut values = Vec::new();
        for _ in 0..CLUSTERS {
            let centre: Vec<f32> = (0..DIM).map(|_| 4.0 * uniform()).collect();
            for _ in 0..POINTS / CLUSTERS {
                values.extend(centre.iter().map(|c| c + 2.0 * uniform()));
            }
        }
        Self(values)
    }

    fn at(&self, ordinal: u32) -> &[f32] {
        &self.0[ordinal as usize * DIM..][..DIM]
    }
}

fn l2(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += (a - b) * (a - b));
    }
    sums.iter().sum()
}

impl Pairs for Points {
    fn len(&self) -> usize {
        self.0.len() / DIM
    }
    fn distance(&self, a: u32, b: u32) -> f32 {
        l2(self.at(a), self.at(b))
    }
}

struct Query<'a>(&'a Points, &'a [f32]);

impl Scorer for Query<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        ordinals.iter().zip(out).for_each(|(&ordinal, out)| *out = l2(self.0.at(ordinal), self.1));
    }
}

fn links(criterion: &mut Criterion) {
    let points = Points::new();
    let pool = rayon::ThreadPoolBuilder::new().build().expect("threads");
    let hnsw = build(&points, &HnswConfig::default(), 1, &pool, &Unwatched).expect("a graph");
    let mut bytes = Vec::new();
    hnsw.write(&mut bytes);
    let links = Links::open(&bytes, POINTS).expect("a section");

    println!("{:.1} bits per link in lines, {:.1} packed", links.bits_per_link(), links.packed_bits_per_link());
    let mut group = criterion.benchmark_group("links");
    let mut list = Vec::new();
    let count: usize = (0..POINTS).map(|ordinal| links.neighbours(ordinal, &mut list).map_or(0, |()| list.len())).sum();
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("read every list", |bencher| {
        bencher.iter(|| {
            for ordinal in 0..POINTS {
                links.neighbours(ordinal, &mut list).expect("a list");
                black_box(&list);
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut turn = 0;
    group.bench_function("read a list", |bencher| {
        bencher.iter(|| {
            // A walk's order: no list lies beside the one before.
            turn = (turn + 7_919) % POINTS;
            links.neighbours(turn, &mut list).expect("a list");
            black_box(list.len())
        });
    });
    group.bench_function("open", |bencher| {
        bencher.iter(|| Links::open(black_box(&bytes), POINTS).map(|links| links.points()))
    });
    group.throughput(Throughput::Elements(u64::from(POINTS)));
    group.bench_function("verify", |bencher| bencher.iter(|| links.verify()));
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            let mut bytes = Vec::new();
            hnsw.write(&mut bytes);
            bytes
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("search");
    let visited = VisitedPool::new();
    for ef in [16, 64, 256] {
        let mut turn = 0;
        group.bench_function(format!("ef {ef}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 7_919) % POINTS;
                let mut scorer = Query(&points, points.at(turn));
                search(&links, &mut scorer, &SearchOptions::new(ef), &visited, &Unwatched).expect("found")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, links);
criterion_main!(benches);
