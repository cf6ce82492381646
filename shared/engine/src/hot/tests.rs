//! Expanded segments against exact search and exact arithmetic.

use std::sync::{Arc, atomic::AtomicBool};

use cairn_model::{Datatype, Distance, Filter, HnswConfig, PointId, SearchParams, VectorParams, VectorQuery};
use serde_json::json;

use super::{block::Block, query::Table, *};
use crate::{
    Error, Unwatched,
    kernel::fastscan::{GROUPS_MAX, LANES, Terms},
    seed::SplitMix64,
    segment::{Builder, Segment, Strategy},
};

const METRICS: [Distance; 3] = [Distance::Euclid, Distance::Dot, Distance::Cosine];

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap()
}

fn params(size: u32, distance: Distance, datatype: Datatype) -> VectorParams {
    let hnsw = HnswConfig { full_scan_threshold: 1, ..HnswConfig::default() };
    VectorParams { datatype, hnsw, ..VectorParams::new(size, distance) }
}

/// Points around a few centres.
fn vectors(count: usize, dim: usize, datatype: Datatype, seed: u64) -> Vec<Vec<f32>> {
    let mut random = SplitMix64::new(seed);
    let centres: Vec<f32> = (0..12 * dim).map(|_| random.unit() as f32 * 100.0).collect();
    let vector = |_| {
        let centre = random.below(12) as usize;
        let value = |d: usize| {
            let x = centres[centre * dim + d] + random.unit() as f32 * 120.0;
            if datatype == Datatype::Uint8 { x.round() } else { x / 60.0 - 1.5 }
        };
        (0..dim).map(value).collect()
    };
    (0..count).map(vector).collect()
}

fn bytes(vectors: &[Vec<f32>], params: VectorParams) -> Vec<u8> {
    let mut builder = Builder::new("v", params, 42);
    for (i, vector) in vectors.iter().enumerate() {
        let payload = json!({"tenth": i % 10 == 0, "rare": i % 400 == 0}).as_object().unwrap().clone();
        builder.push(PointId::Num(i as u64), vector, Some(&payload)).unwrap();
    }
    let mut bytes = Vec::new();
    builder.write(&pool(), &Unwatched, &mut bytes).unwrap();
    bytes
}

fn segment(vectors: &[Vec<f32>], params: VectorParams) -> Segment {
    Segment::open(Arc::new(bytes(vectors, params))).unwrap()
}

fn expand(segment: &Segment) -> crate::Result<Hot> {
    let memory = |bytes| Some(Box::new(vec![0xAAu8; bytes]) as Box<dyn Memory>);
    segment.expand(memory, &pool(), &Unwatched).map(Option::unwrap)
}

fn query(vector: &[f32], ef: Option<u32>, filter: Option<serde_json::Value>) -> VectorQuery {
    let filter: Option<Filter> = filter.map(|filter| serde_json::from_value(filter).unwrap());
    let params = SearchParams { ef, exact: ef.is_none(), ..SearchParams::default() };
    VectorQuery { using: "v".into(), vector: vector.to_vec(), filter, k: 10, params, score_threshold: None }
}

/// The mean share of the true ten nearest, ties counted, that a search finds.
fn recall(segment: &Segment, hot: &Hot, queries: &[Vec<f32>], filter: Option<&serde_json::Value>) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for vector in queries {
        let truth = segment.search(&query(vector, None, filter.cloned()), &Unwatched).unwrap().hits;
        // Narrow with a filter, so that walking costs less than scanning what passes.
        let ef = if filter.is_some() { 30 } else { 100 };
        let answer = segment.search_hot(hot, &query(vector, Some(ef), filter.cloned()), &Unwatched).unwrap();
        assert_eq!(answer.strategy, Strategy::Hot);
        assert!(answer.hits.is_sorted_by(|a, b| a.distance <= b.distance));
        for hit in &answer.hits {
            assert_eq!(hit.distance, segment.distance(vector, hit.ordinal).unwrap());
        }
        let worst = truth.last().map_or(f32::NEG_INFINITY, |hit| hit.distance);
        found += answer.hits.iter().filter(|hit| hit.distance <= worst + 1e-6 * worst.abs()).count();
        wanted += truth.len();
    }
    found as f64 / wanted as f64
}

#[test]
fn nearly_all_are_found_for_every_metric_and_datatype() {
    for datatype in [Datatype::Float32, Datatype::Float16, Datatype::Uint8] {
        let vectors = vectors(2_500, 70, datatype, 5);
        let queries: Vec<_> = vectors.iter().step_by(83).cloned().collect();
        for distance in METRICS {
            let segment = segment(&vectors, params(70, distance, datatype));
            let hot = expand(&segment).unwrap();
            let (bytes, most) = (hot.bytes() as u64, segment.hot_bytes_max());
            assert!(hot.len() == 2_500 && bytes <= most && most < 3 * bytes, "{bytes} of {most}");
            let all = recall(&segment, &hot, &queries, None);
            assert!(all >= 0.98, "{datatype:?} {distance:?}: {all}");
            let filter = json!({"must": [{"key": "tenth", "match": {"value": false}}]});
            let others = recall(&segment, &hot, &queries, Some(&filter));
            assert!(others >= 0.97, "{datatype:?} {distance:?}, nine of ten: {others}");
        }
    }
}

#[test]
fn what_needs_no_graph_is_searched_without() {
    let vectors = vectors(2_500, 40, Datatype::Float32, 6);
    let segment = segment(&vectors, params(40, Distance::Euclid, Datatype::Float32));
    let hot = expand(&segment).unwrap();
    let rare = json!({"must": [{"key": "rare", "match": {"value": true}}]});
    for query in [query(&vectors[7], None, None), query(&vectors[7], Some(50), Some(rare))] {
        let (warm, hot) = (segment.search(&query, &Unwatched), segment.search_hot(&hot, &query, &Unwatched));
        assert_eq!(warm.unwrap(), hot.unwrap());
    }
    let wrong = query(&vectors[7][1..], Some(50), None);
    assert!(matches!(segment.search_hot(&hot, &wrong, &Unwatched), Err(Error::Invalid { .. })));
    let stop = AtomicBool::new(true);
    assert!(matches!(segment.search_hot(&hot, &query(&vectors[7], Some(50), None), &stop), Err(Error::Cancelled)));
}

#[test]
fn few_points_and_long_lists() {
    for (count, m) in [(1, 16), (2, 16), (17, 4), (600, 24), (600, 40)] {
        let vectors = vectors(count, 33, Datatype::Float32, 7);
        let hnsw = HnswConfig { m, full_scan_threshold: 0, ..HnswConfig::default() };
        let segment = segment(&vectors, VectorParams { hnsw, ..params(33, Distance::Euclid, Datatype::Float32) });
        let hot = expand(&segment).unwrap();
        if m == 40 {
            let longest = blocks(&hot).iter().map(|block| block.groups.len() / hot.shape.group_bytes).max().unwrap();
            assert!(longest >= 3, "no list is longer than 32");
        }
        let table = segment.codec().unwrap().query(&vectors[0]);
        let options = Options { ef: 64, k: 1, allowed: None };
        let walked = hot.search((&table, Distance::Euclid, 1.0), &options, &Unwatched).unwrap();
        assert!(walked.hops >= 1 && walked.found.len() == walked.hops as usize);
        if count > 300 {
            let queries: Vec<_> = vectors.iter().step_by(31).cloned().collect();
            let share = recall(&segment, &hot, &queries, None);
            assert!(share >= 0.98, "{count} points, m {m}: {share}");
        }
    }
}

/// All blocks but the root, in order.
fn blocks(hot: &Hot) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(block) = Block::read(&hot.shape, &hot.memory.bytes()[..hot.bytes], at) {
        at += ((hot.shape.head_bytes + block.groups.len()) / block::LINE_BYTES) as u32;
        blocks.push(block);
    }
    blocks.remove(0);
    blocks
}

/// Errors of estimates in units of `|r| |q - c| / sqrt(p)`: their mean is near 0, their deviation that of one bit.
#[test]
fn estimates_are_unbiased_and_bounded() {
    for (dim, distance) in
        [(96, Distance::Euclid), (200, Distance::Dot), (200, Distance::Cosine), (384, Distance::Euclid)]
    {
        let vectors = vectors(700, dim, Datatype::Float32, 8);
        let segment = segment(&vectors, params(dim as u32, distance, Datatype::Float32));
        let hot = expand(&segment).unwrap();
        let stored = |ordinal: u32| segment.vector(ordinal).unwrap();
        let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let gap = |a: &[f32], b: &[f32]| length(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>());
        let blocks = blocks(&hot);
        let mut errors = Vec::new();
        for vector in vectors.iter().step_by(41) {
            let unit = if distance == Distance::Cosine { length(vector) as f32 } else { 1.0 };
            let q: Vec<f32> = vector.iter().rev().map(|x| x / unit).collect();
            let prepared = segment.codec().unwrap().query(&q);
            let mut table = Table::default();
            table.prepare(&hot, &prepared, distance, length(&q) as f32);
            let near = q.iter().map(|x| x * table.scale).collect::<Vec<_>>();
            for block in blocks.iter().step_by(29) {
                let node = stored(block.ordinal);
                let base = table.scale * prepared.fine(block.high, block.low);
                let terms = Terms { base, step: table.step, low: table.low, bound: f32::INFINITY };
                let mut out = [0.0; GROUPS_MAX * LANES];
                let below = (hot.scan.scan)(block.groups, &table.bytes, &terms, &mut out);
                for lane in (0..out.len()).filter(|lane| below >> lane & 1 == 1) {
                    let address = block::address(&hot.shape, block.groups, lane).unwrap();
                    let other = Block::read(&hot.shape, hot.memory.bytes(), address).unwrap().ordinal;
                    let truth = f64::from(table.scale * segment.distance(&q, other).unwrap());
                    let times = if distance == Distance::Euclid { 2.0 } else { 1.0 };
                    let size = times * gap(&stored(other), &node) * gap(&near, &node);
                    let size = size / (dim.next_multiple_of(16) as f64).sqrt();
                    errors.push((f64::from(out[lane]) - truth) / size.max(1e-6));
                }
            }
        }
        assert!(errors.len() > 2_000, "{} errors", errors.len());
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let deviation = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        let largest = errors.iter().fold(0.0f64, |m, e| m.max(e.abs()));
        // One bit's error is sqrt(pi/2 - 1) = 0.76 of this unit; that of the 8-bit codes comes on top.
        assert!(mean.abs() < 0.1, "{distance:?} {dim}: mean {mean}");
        assert!(deviation < 0.95, "{distance:?} {dim}: deviation {deviation}");
        assert!(largest < 6.0, "{distance:?} {dim}: largest {largest}");
    }
}

#[test]
fn memory_may_be_declined_or_short_and_work_stopped() {
    let segment = segment(&vectors(300, 40, Datatype::Float32, 9), params(40, Distance::Dot, Datatype::Float32));
    assert!(segment.expand(|_| None, &pool(), &Unwatched).unwrap().is_none());
    let short = |bytes: usize| Some(Box::new(vec![0u8; bytes - 1]) as Box<dyn Memory>);
    assert!(matches!(segment.expand(short, &pool(), &Unwatched), Err(Error::Invalid { .. })));
    let stop = AtomicBool::new(true);
    let memory = |bytes| Some(Box::new(vec![0u8; bytes]) as Box<dyn Memory>);
    assert!(matches!(segment.expand(memory, &pool(), &stop), Err(Error::Cancelled)));
    let plain =
        self::segment(&vectors(50, 40, Datatype::Float32, 9), params(40, Distance::Manhattan, Datatype::Float32));
    assert!(plain.expand(|_| panic!("nothing to expand"), &pool(), &Unwatched).unwrap().is_none());
}

/// Whatever bytes a file has, expanding and searching it ends in an answer or an error.
#[test]
fn damage_is_an_error_or_an_answer() {
    let vectors = vectors(400, 40, Datatype::Float32, 10);
    let bytes = bytes(&vectors, params(40, Distance::Euclid, Datatype::Float32));
    let mut random = SplitMix64::new(11);
    let (mut refused, mut answered) = (0, 0);
    for round in 0..150 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + round % 60 {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        let Ok(segment) = Segment::open(Arc::new(bytes)) else { continue };
        let Ok(hot) = expand(&segment) else {
            refused += 1;
            continue;
        };
        for vector in vectors.iter().step_by(97) {
            let found = segment.search_hot(&hot, &query(vector, Some(30), None), &Unwatched);
            answered += usize::from(found.is_ok_and(|found| !found.hits.is_empty()));
        }
    }
    assert!(refused > 0 && answered > 0, "{refused} refused, {answered} answered");
}
