//! The graph as a whole: built, written, opened, searched, against brute force.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use cairn_model::HnswConfig;
use proptest::prelude::*;

use super::*;
use crate::seed::SplitMix64;
use crate::{Error, Phase, Unwatched, Watch};

/// Points under squared L2.
struct Points {
    dim: usize,
    values: Vec<f32>,
}

impl Points {
    fn at(&self, ordinal: u32) -> &[f32] {
        &self.values[ordinal as usize * self.dim..][..self.dim]
    }

    /// Clusters one after another, as a segment orders them: centres in a box of side 10, members within about `spread` of them.
    fn clustered(count: usize, dim: usize, clusters: usize, spread: f32, seed: u64) -> Self {
        let mut chance = SplitMix64::new(seed);
        let mut uniform = move || chance.below(1 << 24) as f32 / (1 << 24) as f32;
        let mut values = Vec::new();
        for cluster in 0..clusters {
            let centre: Vec<f32> = (0..dim).map(|_| 10.0 * uniform()).collect();
            for _ in cluster * count / clusters..(cluster + 1) * count / clusters {
                values.extend(centre.iter().map(|c| c + spread * (uniform() + uniform() - 1.0)));
            }
        }
        Self { dim, values }
    }

    /// Points of the unit cube.
    fn uniform(count: usize, dim: usize, seed: u64) -> Self {
        let mut chance = SplitMix64::new(seed);
        let values = (0..count * dim).map(|_| chance.below(1 << 24) as f32 / (1 << 24) as f32).collect();
        Self { dim, values }
    }

    fn query(&self, query: &[f32], ef: usize, bytes: &[u8], allowed: Option<&dyn Fn(u32) -> bool>) -> Vec<(f32, u32)> {
        let links = Links::open(bytes, self.len() as u32).unwrap();
        let mut scorer = Query { points: self, query, scored: Vec::new() };
        search(&links, &mut scorer, &SearchOptions { ef, allowed }, &VisitedPool::new(), &Unwatched).unwrap()
    }

    fn brute(&self, query: &[f32], k: usize, allowed: impl Fn(u32) -> bool) -> Vec<(f32, u32)> {
        let mut all: Vec<_> =
            (0..self.len() as u32).filter(|&o| allowed(o)).map(|o| (l2(self.at(o), query), o)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all
    }
}

fn l2(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

impl Pairs for Points {
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }
    fn distance(&self, a: u32, b: u32) -> f32 {
        l2(self.at(a), self.at(b))
    }
}

struct Query<'a> {
    points: &'a Points,
    query: &'a [f32],
    scored: Vec<u32>,
}

impl Scorer for Query<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        assert_eq!(ordinals.len(), out.len());
        self.scored.extend(ordinals);
        for (&ordinal, out) in ordinals.iter().zip(out) {
            *out = l2(self.points.at(ordinal), self.query);
        }
    }
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn config(m: u32, ef_construct: u32) -> HnswConfig {
    HnswConfig { m, ef_construct, ..HnswConfig::default() }
}

fn graph(points: &Points, m: u32, ef_construct: u32, threads: usize) -> Vec<u8> {
    let hnsw = build(points, &config(m, ef_construct), 42, &pool(threads), &Unwatched).unwrap();
    let mut bytes = Vec::new();
    hnsw.write(&mut bytes);
    let links = Links::open(&bytes, points.len() as u32).unwrap();
    links.verify().unwrap();
    assert_strongly_connected(&links);
    same_as_memory(&hnsw, &links);
    bytes
}

fn same_as_memory(hnsw: &Hnsw, links: &Links<'_>) {
    let (mut written, mut memory) = (Vec::new(), Vec::new());
    let mut count = 0;
    for ordinal in 0..hnsw.len() {
        for level in 0..=hnsw.level(ordinal) {
            hnsw.neighbours(ordinal, level, &mut memory);
            count += memory.len() as u64;
            assert!(memory.len() <= hnsw.degree_max(level));
        }
        hnsw.neighbours(ordinal, 0, &mut memory);
        links.neighbours(ordinal, &mut written).unwrap();
        memory.sort_unstable();
        written.sort_unstable();
        assert_eq!(written, memory, "point {ordinal}");
    }
    assert_eq!(links.link_count(), count);
}

fn assert_strongly_connected(links: &Links<'_>) {
    let mut forward = vec![Vec::new(); links.points() as usize];
    let mut backward = forward.clone();
    let mut list = Vec::new();
    for ordinal in 0..links.points() {
        links.neighbours(ordinal, &mut list).unwrap();
        for &neighbour in &list {
            forward[ordinal as usize].push(neighbour);
            backward[neighbour as usize].push(ordinal);
        }
    }
    for lists in [forward, backward] {
        let mut seen = HashSet::from([links.entry_point()]);
        let mut open = vec![links.entry_point()];
        while let Some(node) = open.pop() {
            open.extend(lists[node as usize].iter().filter(|&&neighbour| seen.insert(neighbour)));
        }
        assert_eq!(seen.len(), links.points() as usize, "level 0 is not strongly connected");
    }
}

fn recall(points: &Points, queries: &Points, bytes: &[u8], ef: usize) -> f64 {
    let mut hits = 0;
    for query in 0..queries.len() as u32 {
        let query = queries.at(query);
        let worst = points.brute(query, 10, |_| true)[9].0;
        hits += points.query(query, ef, bytes, None).iter().take(10).filter(|(distance, _)| *distance <= worst).count();
    }
    hits as f64 / (queries.len() * 10) as f64
}

#[test]
fn recall_on_clustered_points() {
    let points = Points::clustered(6_000, 16, 60, 1.5, 1);
    let noise = Points::uniform(100, 16, 2);
    let beside = |(at, noise): (usize, &f32)| noise + points.values[at / 16 * 60 * 16 + at % 16];
    let queries = Points { dim: 16, values: noise.values.iter().enumerate().map(beside).collect() };
    for threads in [1, 2] {
        let bytes = graph(&points, 16, 100, threads);
        for (ef, floor) in [(10, 0.97), (64, 0.995)] {
            let recall = recall(&points, &queries, &bytes, ef);
            assert!(recall >= floor, "{threads} threads, ef {ef}: {recall}");
        }
    }
}

#[test]
fn recall_on_uniform_points() {
    let (points, queries) = (Points::uniform(5_000, 16, 3), Points::uniform(100, 16, 4));
    let bytes = graph(&points, 16, 100, 2);
    for (ef, floor) in [(10, 0.9), (64, 0.99)] {
        let recall = recall(&points, &queries, &bytes, ef);
        assert!(recall >= floor, "ef {ef}: {recall}");
    }
}

#[test]
fn the_same_seed_and_one_thread_give_the_same_graph() {
    let points = Points::uniform(1_500, 4, 9);
    assert!(graph(&points, 8, 40, 1) == graph(&points, 8, 40, 1));
    let mut other = Vec::new();
    build(&points, &config(8, 40), 43, &pool(1), &Unwatched).unwrap().write(&mut other);
    assert!(other != graph(&points, 8, 40, 1), "the seed matters");
}

#[test]
fn few_points() {
    for count in [1, 2, 3, 4, 17] {
        let points = Points::uniform(count, 3, 5);
        for m in [2, 16] {
            let bytes = graph(&points, m, 10, 2);
            assert_eq!(points.query(&[0.5; 3], 100, &bytes, None), points.brute(&[0.5; 3], 100, |_| true));
            assert_eq!(points.query(&[0.5; 3], 0, &bytes, None).len(), 1, "ef counts as 1 at least");
        }
    }
    let none = Points { dim: 1, values: vec![] };
    let refused = build(&none, &config(16, 100), 1, &pool(1), &Unwatched).err();
    assert!(matches!(refused, Some(Error::Invalid { field: "points", .. })));
    let one = Points::uniform(1, 1, 1);
    assert!(matches!(build(&one, &config(1, 100), 1, &pool(1), &Unwatched), Err(Error::Invalid { .. })));
    assert!(matches!(build(&one, &config(2, 0), 1, &pool(1), &Unwatched), Err(Error::Invalid { .. })));
}

#[test]
fn heaps_of_identical_points_stay_connected() {
    let all_equal = Points { dim: 2, values: vec![0.25; 2 * 700] };
    for m in [2, 16] {
        let bytes = graph(&all_equal, m, 20, 2);
        assert_eq!(all_equal.query(&[0.0; 2], 700, &bytes, None), all_equal.brute(&[0.0; 2], 700, |_| true));
    }
    // Heaps far larger than m0, far apart: each must be found from outside, and left again.
    let mut heaps = Points::clustered(1_200, 4, 6, 0.0, 8);
    heaps.values.extend(Points::clustered(600, 4, 30, 1.0, 9).values);
    let bytes = graph(&heaps, 4, 30, 2);
    let finds = |ordinal: u32| heaps.query(heaps.at(ordinal), 60, &bytes, None)[0].0 == 0.0;
    let lost: Vec<u32> = (0..1_800).step_by(10).filter(|&ordinal| !finds(ordinal)).collect();
    assert!(lost.len() <= 4, "not found with their own vectors: {lost:?}");
    for query in [0, 1_100, 1_500] {
        let query = heaps.at(query);
        assert_eq!(heaps.query(query, 1_800, &bytes, None), heaps.brute(query, 1_800, |_| true));
    }
}

#[test]
fn the_least_m_still_makes_a_graph() {
    let points = Points::clustered(800, 3, 20, 0.3, 11);
    let bytes = graph(&points, 2, 16, 1);
    let found = (0..800).filter(|&o| points.query(points.at(o), 200, &bytes, None)[0].1 == o).count();
    assert!(found >= 680, "{found} of 800 found themselves");
    assert_eq!(points.query(&[5.0; 3], 800, &bytes, None).len(), 800);
}

#[test]
fn a_filter_finds_what_brute_force_finds() {
    let points = Points::clustered(3_000, 8, 30, 2.0, 21);
    let queries = Points::uniform(20, 8, 22);
    let bytes = graph(&points, 16, 100, 2);
    for modulus in [1, 2, 10, 100, 3_000, 5_000] {
        let allowed = |ordinal: u32| (ordinal * 7 + 3) % modulus == modulus / 2;
        for query in 0..20 {
            let query: Vec<f32> = queries.at(query).iter().map(|x| x * 10.0).collect();
            let (found, expected) =
                (points.query(&query, 400, &bytes, Some(&allowed)), points.brute(&query, 10, allowed));
            assert_eq!(found[..found.len().min(10)], expected, "one in {modulus}");
        }
    }
}

#[test]
fn no_point_is_scored_twice_on_level_0() {
    let points = Points::uniform(2_000, 8, 31);
    let bytes = graph(&points, 8, 50, 2);
    let links = Links::open(&bytes, 2_000).unwrap();
    let mut scorer = Query { points: &points, query: &[0.5; 8], scored: Vec::new() };
    let options = SearchOptions::new(2_000);
    let found = search(&links, &mut scorer, &options, &VisitedPool::new(), &Unwatched).unwrap();
    assert_eq!(found.len(), 2_000);
    assert!(scorer.scored.len() < 2_000 + 300, "{} scored, upper levels included", scorer.scored.len());
}

/// Cancels once so many points are done, and counts them.
struct Until(AtomicUsize, usize);

impl Watch for Until {
    fn cancelled(&self) -> bool {
        self.0.load(Relaxed) >= self.1
    }
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        assert!(phase == Phase::Graph && done <= total && total == 4_000);
        self.0.fetch_max(done as usize, Relaxed);
    }
}

#[test]
fn cancelling_stops_at_once() {
    let points = Points::uniform(4_000, 4, 41);
    for after in [0, 200, 2_000] {
        let watch = Until(AtomicUsize::new(0), after);
        assert_eq!(build(&points, &config(8, 50), 1, &pool(2), &watch).err(), Some(Error::Cancelled));
        assert!(watch.0.load(Relaxed) <= after + 300, "stopped at {:?} instead of {after}", watch.0);
    }
    let watch = Until(AtomicUsize::new(0), usize::MAX);
    let hnsw = build(&points, &config(8, 50), 1, &pool(2), &watch).unwrap();
    assert_eq!(watch.0.load(Relaxed), 4_000, "progress reaches the total");
    let mut bytes = Vec::new();
    hnsw.write(&mut bytes);
    let links = Links::open(&bytes, 4_000).unwrap();
    let mut scorer = Query { points: &points, query: &[0.5; 4], scored: Vec::new() };
    let stopped = search(&links, &mut scorer, &SearchOptions::new(50), &VisitedPool::new(), &AtomicBool::new(true));
    assert_eq!(stopped, Err(Error::Cancelled));
    assert!(scorer.scored.is_empty());
}

#[test]
fn distances_that_are_no_numbers_do_no_harm() {
    let mut points = Points::uniform(300, 4, 51);
    points.values[40..80].fill(f32::NAN);
    let bytes = graph(&points, 4, 20, 2);
    assert_eq!(points.query(&[0.5; 4], 300, &bytes, None).len(), 300);
    assert_eq!(points.query(&[f32::NAN; 4], 300, &bytes, None).len(), 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No damage makes opening, verifying, reading or searching panic, or a list lead out of the segment.
    #[test]
    fn damaged_links_never_panic(
        count in 1usize..120,
        m in 2u32..20,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_head in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let points = Points::clustered(count, 2, 3.min(count), 1.0, 61);
        let hnsw = build(&points, &config(m, 20), 5, &pool(1), &Unwatched).unwrap();
        let mut bytes = Vec::new();
        hnsw.write(&mut bytes);
        for (at, value) in &damage {
            let range = if in_head { 64 * 3 } else { bytes.len() };
            let at = at.index(range.min(bytes.len()));
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(links) = Links::open(&bytes, count as u32) {
            let verified = links.verify();
            let mut list = Vec::new();
            for ordinal in 0..count as u32 {
                match links.neighbours(ordinal, &mut list) {
                    Ok(()) => prop_assert!(list.iter().all(|&neighbour| neighbour < count as u32)),
                    Err(error) => {
                        let is_corrupt = matches!(error, Error::Corrupt { section: "links", .. });
                        prop_assert!(is_corrupt && verified.is_err());
                    }
                }
            }
            prop_assert!(links.neighbours(count as u32, &mut list).is_err());
            let even: &dyn Fn(u32) -> bool = &|ordinal| ordinal % 2 == 0;
            for allowed in [None, Some(even)] {
                let mut scorer = Query { points: &points, query: &[1.0, 2.0], scored: Vec::new() };
                let options = SearchOptions { ef: 10, allowed };
                let found = search(&links, &mut scorer, &options, &VisitedPool::new(), &Unwatched);
                prop_assert!(found.is_ok() || verified.is_err());
            }
        }
    }
}
