//! The clustered build against brute force, on any number of threads, on heaps of duplicates, cancelled.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cairn_model::Distance;

use super::*;
use crate::{
    Phase, Unwatched,
    cluster::{self, Rows},
    codec::{Codec, Scratch as CodecScratch},
    graph::{Links, Scorer, SearchOptions, VisitedPool, search},
    seed::SplitMix64,
};

struct Points {
    dim: usize,
    values: Vec<f32>,
}

impl Rows for Points {
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn read(&self, row: u32, out: &mut [f32]) {
        out.copy_from_slice(self.at(row));
    }
}

impl Points {
    fn at(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.dim..][..self.dim]
    }

    /// `count` points about `centres` centres in the unit cube, on the unit sphere if asked for.
    fn blobs(count: usize, dim: usize, centres: usize, spread: f32, unit: bool) -> Self {
        let mut random = SplitMix64::new(17);
        let centres: Vec<f32> = (0..centres * dim).map(|_| random.unit() as f32 - 0.5).collect();
        let mut values = Vec::new();
        for _ in 0..count {
            let centre = random.below((centres.len() / dim) as u64) as usize;
            let start = values.len();
            values.extend(centres[centre * dim..][..dim].iter().map(|c| c + spread * (random.unit() as f32 - 0.5)));
            if unit {
                let norm = values[start..].iter().map(|x| x * x).sum::<f32>().sqrt();
                values[start..].iter_mut().for_each(|x| *x /= norm);
            }
        }
        Self { dim, values }
    }

    fn identical(count: usize, dim: usize) -> Self {
        Self { dim, values: (0..count * dim).map(|i| (i % dim) as f32).collect() }
    }
}

/// Points in cluster order with everything that a build wants.
struct Set {
    points: Points,
    starts: Vec<u32>,
    coded: Coded,
    centroids: Coded,
    distance: Distance,
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn coded(codec: &Codec, values: &[f32]) -> Coded {
    let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
    let (mut high, mut low) = (Vec::new(), Vec::new());
    for vector in values.chunks_exact(codec.dim()) {
        let (mut h, mut l) = (vec![0; high_bytes], vec![0; low_bytes]);
        codec.encode(vector, &mut CodecScratch::default(), &mut h, &mut l);
        high.extend(h);
        low.extend(l);
    }
    Coded::join(codec, &high, &low, &pool(2))
}

impl Set {
    fn new(points: &Points, distance: Distance) -> Self {
        let clusters = cluster::partition(points, 3, &pool(2), &Unwatched).unwrap();
        let values: Vec<f32> = clusters.order.iter().flat_map(|&row| points.at(row).to_vec()).collect();
        let dim = points.dim;
        let mean = |i: usize| values[i..].iter().step_by(dim).sum::<f32>() / points.len() as f32;
        let codec = Codec::new(distance, (0..dim).map(mean).collect(), 5).unwrap();
        Self {
            coded: coded(&codec, &values),
            centroids: coded(&codec, &clusters.centroids),
            points: Points { dim, values },
            starts: clusters.starts,
            distance,
        }
    }

    fn build(&self, threads: usize) -> Vec<u8> {
        self.watched(threads, &Unwatched).unwrap()
    }

    fn watched(&self, threads: usize, watch: &dyn Watch) -> Result<Vec<u8>> {
        let clustered = Clustered { coded: &self.coded, starts: &self.starts, centroids: &self.centroids };
        let config = HnswConfig { m: 8, ef_construct: 64, ..HnswConfig::default() };
        let hnsw = build_clustered(clustered, &config, Effort::default(), 42, &pool(threads), watch)?;
        let mut bytes = Vec::new();
        hnsw.write(&mut bytes);
        let links = Links::open(&bytes, self.points.len() as u32).unwrap();
        links.verify().unwrap();
        assert_strongly_connected(&links);
        Ok(bytes)
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        match self.distance {
            Distance::Euclid => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum(),
            _ => -a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>(),
        }
    }

    /// Recall@10 of searches with `ef` for perturbed points.
    fn recall(&self, bytes: &[u8], ef: usize) -> f64 {
        let links = Links::open(bytes, self.points.len() as u32).unwrap();
        let mut random = SplitMix64::new(23);
        let (mut found, queries) = (0, 60);
        for _ in 0..queries {
            let near = self.points.at(random.below(self.points.len() as u64) as u32);
            let query: Vec<f32> = near.iter().map(|x| x + 0.02 * (random.unit() as f32 - 0.5)).collect();
            let mut all: Vec<f32> =
                (0..self.points.len() as u32).map(|o| self.distance(self.points.at(o), &query)).collect();
            let mut scorer = Exactly { set: self, query: &query };
            let hits = search(&links, &mut scorer, &SearchOptions::new(ef), &VisitedPool::new(), &Unwatched).unwrap();
            all.sort_unstable_by(f32::total_cmp);
            found += hits.iter().take(10).filter(|hit| hit.0 <= all[9]).count();
        }
        found as f64 / f64::from(queries * 10)
    }
}

struct Exactly<'a> {
    set: &'a Set,
    query: &'a [f32],
}

impl Scorer for Exactly<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        for (&ordinal, out) in ordinals.iter().zip(out) {
            *out = self.set.distance(self.set.points.at(ordinal), self.query);
        }
    }
}

fn assert_strongly_connected(links: &Links<'_>) {
    let points = links.points() as usize;
    let mut lists = vec![Vec::new(); points];
    let mut reversed = vec![Vec::new(); points];
    for node in 0..points as u32 {
        links.neighbours(node, &mut lists[node as usize]).unwrap();
        lists[node as usize].iter().for_each(|&to| reversed[to as usize].push(node));
    }
    for lists in [lists, reversed] {
        let mut seen = vec![false; points];
        let mut open = vec![links.entry_point()];
        seen[links.entry_point() as usize] = true;
        let mut count = 0;
        while let Some(node) = open.pop() {
            count += 1;
            for &to in &lists[node as usize] {
                if !std::mem::replace(&mut seen[to as usize], true) {
                    open.push(to);
                }
            }
        }
        assert_eq!(count, points, "reachable");
    }
}

#[test]
fn codes_measure_what_vectors_do() {
    for distance in [Distance::Euclid, Distance::Cosine, Distance::Dot] {
        let set = Set::new(&Points::blobs(700, 100, 9, 0.6, distance == Distance::Cosine), distance);
        let own = |o: u32| -set.points.at(o).iter().map(|x| x * x).sum::<f32>();
        let lift = if distance == Distance::Euclid { 0.0 } else { (0..700).map(own).fold(0.0, |a: f32, b| a.max(-b)) };
        let all: Vec<u32> = (0..700).collect();
        let radius = (0..700).map(|o| own(o).abs()).fold(1.0, f32::max);
        let mut distances = vec![0.0; all.len()];
        for a in (0..700).step_by(29) {
            set.coded.distances(a, &all, &mut distances);
            for b in 0..700 {
                let exact = lift + set.distance(set.points.at(a), set.points.at(b));
                let (one, many) = (set.coded.distance(a, b), distances[b as usize]);
                assert_eq!(one, many);
                assert_eq!(one, set.coded.distance(b, a), "symmetric");
                assert!(one >= 0.0 && (one - exact).abs() < 0.02 * radius, "{distance:?}: {one} is not {exact}");
            }
        }
    }
}

#[test]
fn candidates_are_the_nearest_of_the_probed_clusters() {
    let set = Set::new(&Points::blobs(3_000, 64, 12, 0.8, false), Distance::Euclid);
    let clusters = set.starts.len() - 1;
    let clustered = Clustered { coded: &set.coded, starts: &set.starts, centroids: &set.centroids };
    let candidates = Candidates::new(clustered, clusters, 20);
    let mut seen = 0;
    for share in 0..candidates.shares() {
        let check = &mut |point: u32, keys: &[Key]| {
            // All clusters probed: the true nearest.
            if point.is_multiple_of(97) {
                let others: Vec<u32> = (0..3_000).filter(|&other| other != point).collect();
                let mut distances = vec![0.0; others.len()];
                set.coded.distances(point, &others, &mut distances);
                let mut all: Vec<Key> = others.iter().zip(&distances).map(|(&o, &d)| Key::new(d, o)).collect();
                all.sort_unstable();
                let far = |keys: &[Key]| keys[..20].iter().map(|key| key.distance()).collect::<Vec<_>>();
                assert_eq!(far(keys), far(&all));
            }
            assert_eq!(point, seen);
            seen += 1;
            Ok(())
        };
        candidates.find(share, &mut candidates::Memory::default(), &Unwatched, check).unwrap();
    }
    assert_eq!(seen, 3_000);
}

#[test]
fn searches_find_what_brute_force_finds() {
    for (distance, spread) in [(Distance::Euclid, 0.5), (Distance::Cosine, 0.5), (Distance::Euclid, 2.0)] {
        let set = Set::new(&Points::blobs(5_000, 48, 25, spread, distance == Distance::Cosine), distance);
        let bytes = set.build(2);
        let recall = set.recall(&bytes, 64);
        assert!(recall > 0.97, "{distance:?}, spread {spread}: {recall}");
    }
}

#[test]
fn threads_do_not_change_the_graph() {
    let set = Set::new(&Points::blobs(4_000, 32, 10, 1.0, false), Distance::Euclid);
    let one = set.build(1);
    assert!(one == set.build(3), "another graph on three threads");
}

#[test]
fn heaps_of_duplicates_build_and_are_found() {
    let identical = Set::new(&Points::identical(3_000, 40), Distance::Euclid);
    let bytes = identical.build(2);
    assert!(identical.recall(&bytes, 20) > 0.99);
    // Half of the points are one point, the others lie about.
    let mut points = Points::blobs(3_000, 40, 7, 1.0, false);
    let first = points.at(0).to_vec();
    points.values.chunks_exact_mut(40).step_by(2).for_each(|row| row.copy_from_slice(&first));
    let set = Set::new(&points, Distance::Euclid);
    assert!(set.recall(&set.build(2), 100) > 0.9);
}

#[test]
fn few_points_build() {
    for count in [1, 2, 3, 20, 300] {
        let set = Set::new(&Points::blobs(count, 33, 3, 1.0, false), Distance::Euclid);
        let bytes = set.build(2);
        assert!(count < 10 || set.recall(&bytes, count) > 0.99);
    }
}

/// Stops at the given look.
struct Until(AtomicUsize, usize, AtomicUsize);

impl Watch for Until {
    fn cancelled(&self) -> bool {
        self.0.fetch_add(1, Relaxed) >= self.1
    }
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        assert!(phase == Phase::Graph && done <= total);
        self.2.fetch_max(done as usize, Relaxed);
        assert!(total >= 2_500);
    }
}

#[test]
fn cancelling_is_heard_in_every_stage() {
    let set = Set::new(&Points::blobs(2_500, 32, 10, 1.0, false), Distance::Euclid);
    let whole = Until(AtomicUsize::new(0), usize::MAX, AtomicUsize::new(0));
    set.watched(1, &whole).unwrap();
    let looks = whole.0.load(Relaxed);
    assert!(looks > 100, "{looks} looks at the watch");
    for share in 0..10 {
        let watch = Until(AtomicUsize::new(0), looks * share / 10, AtomicUsize::new(0));
        assert_eq!(set.watched(1, &watch).err(), Some(crate::Error::Cancelled), "after {} looks", watch.1);
        assert!(watch.0.load(Relaxed) <= watch.1 + 10, "{:?} looks after {}", watch.0, watch.1);
    }
}
