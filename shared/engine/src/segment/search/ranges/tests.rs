use std::sync::Arc;

use cairn_model::{
    CollectionSchema, Distance, HnswConfig, Payload, PointId, SearchParams, Vector, VectorParams, Vectors,
};
use serde_json::json;

use super::*;
use crate::{Unwatched, seed::SplitMix64, segment::Builder, source::Source};

const POINTS: usize = 3_000;
const DIM: usize = 64;

/// A file of which some ranges are at hand; what is not is never handed out.
#[derive(Clone)]
struct Sparse {
    file: Arc<Vec<u8>>,
    at_hand: Vec<Range<u64>>,
}

impl Source for Sparse {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let end = offset.checked_add(len)?;
        let covers = |range: &Range<u64>| range.start <= offset && end <= range.end;
        if !self.at_hand.iter().any(covers) {
            return None;
        }
        self.file.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
    }
}

fn values(random: &mut SplitMix64, centre: usize) -> Vec<f32> {
    (0..DIM).map(|d| ((centre * 31 + d * 17) % 23) as f32 / 10.0 + random.unit() as f32 * 2.0).collect()
}

fn file(params: VectorParams, id: impl Fn(usize) -> PointId) -> Vec<u8> {
    let mut random = SplitMix64::new(5);
    let mut builder = Builder::new("", params, 42);
    for i in 0..POINTS {
        let vector = values(&mut random, i % 40);
        let vector: Vec<f32> = if params.datatype == Datatype::Uint8 {
            vector.iter().map(|x| (x * 40.0).round()).collect()
        } else {
            vector
        };
        let payload: Payload =
            json!({ "centre": i % 40, "even": i % 2 == 0, "text": "x".repeat(i % 300) }).as_object().unwrap().clone();
        builder.push(id(i), &vector, Some(&payload)).unwrap();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut bytes = Vec::new();
    builder.write(&pool, &Unwatched, &mut bytes).unwrap();
    bytes
}

/// Points of which all have the first vector, and parts the others; of another place in space, so that their clusters are others.
fn several() -> (CollectionSchema, Vec<u8>) {
    let mut schema = CollectionSchema::single("all", params(Distance::Cosine), 1);
    schema.vectors.extend([
        ("coded".to_owned(), VectorParams { originals: false, ..params(Distance::Dot) }),
        ("half".to_owned(), params(Distance::Euclid)),
        ("plain".to_owned(), params(Distance::Manhattan)),
    ]);
    let mut random = SplitMix64::new(8);
    let mut builder = Builder::of(&schema, 42);
    for i in 0..POINTS {
        let mut vectors = Vectors::new();
        for (name, one_in) in [("all", 1), ("coded", 3), ("half", 2), ("plain", 7)] {
            if i % one_in == 0 {
                vectors.insert(name.into(), Vector::Dense(values(&mut random, (i / one_in * 3) % 40)));
            }
        }
        let payload = json!({ "centre": i % 40, "text": "x".repeat(i % 300) });
        builder.push_point(PointId::Num((i * i) as u64), &vectors, payload.as_object()).unwrap();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut bytes = Vec::new();
    builder.write(&pool, &Unwatched, &mut bytes).unwrap();
    (schema, bytes)
}

fn params(distance: Distance) -> VectorParams {
    let hnsw = HnswConfig { full_scan_threshold: 1, ..HnswConfig::default() };
    VectorParams { hnsw, ..VectorParams::new(DIM as u32, distance) }
}

fn asked(seed: u64, filter: Option<Filter>) -> VectorQuery {
    let mut random = SplitMix64::new(seed);
    let vector = values(&mut random, seed as usize % 40);
    VectorQuery { using: String::new(), vector, filter, k: 10, params: SearchParams::default(), score_threshold: None }
}

/// Searches from the head on, bringing what is missing; the answer, the rounds and the bytes.
fn far(file: &Arc<Vec<u8>>, query: &VectorQuery, along: Along) -> (Found, usize, u64) {
    far_without(file, &Arc::default(), query, along)
}

/// The same of a segment in which some points are dead.
fn far_without(
    file: &Arc<Vec<u8>>,
    dead: &Arc<RoaringBitmap>,
    query: &VectorQuery,
    along: Along,
) -> (Found, usize, u64) {
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    let mut source = Sparse { file: Arc::clone(file), at_hand: whole.head().unwrap().ranges };
    let segment = Segment::open(Arc::new(source.clone())).unwrap().without(Arc::clone(dead));
    let (mut rounds, mut bytes) = (0, 0);
    loop {
        let here = segment.over(Arc::new(source.clone()));
        let found = here.search_ranges(query, along, &Unwatched).and_then(|found| {
            // What is shown of the hits needs nothing more.
            for hit in &found.hits {
                here.id(hit.ordinal)?;
                if along.payload {
                    here.payload(hit.ordinal)?;
                }
            }
            Ok(found)
        });
        match found {
            Ok(found) => return (found, rounds, bytes),
            Err(Error::Absent(ranges)) => {
                rounds += 1;
                assert!(rounds < 9, "no end: {ranges:?}");
                bytes += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
                source.at_hand.extend(ranges);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn recall(segment: &Segment, query: &VectorQuery, found: &Found) -> f64 {
    let truth = segment.search_by(query, Some(Strategy::Exact), &Unwatched).unwrap();
    let Some(last) = truth.hits.last() else { return 1.0 };
    let bound = last.distance + 1e-4 * last.distance.abs();
    let near = found.hits.iter().filter(|hit| hit.distance <= bound).count();
    near as f64 / truth.hits.len() as f64
}

#[test]
fn two_rounds_find_nearly_all_and_read_a_part() {
    let uuid = |i: usize| PointId::Uuid(uuid::Uuid::from_u128((i as u128 * 7_919) << 64));
    let sparse = |i: usize| PointId::Num((i * i) as u64);
    let cases: [(VectorParams, &dyn Fn(usize) -> PointId); 5] = [
        (params(Distance::Cosine), &|i| PointId::Num(i as u64)),
        (params(Distance::Euclid), &uuid),
        (VectorParams { originals: false, ..params(Distance::Cosine) }, &sparse),
        (VectorParams { datatype: Datatype::Float16, ..params(Distance::Dot) }, &uuid),
        (VectorParams { datatype: Datatype::Uint8, ..params(Distance::Euclid) }, &sparse),
    ];
    for (params, id) in cases {
        let file = Arc::new(file(params, id));
        let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
        let (mut sum, mut read) = (0.0, 0);
        for seed in 0..20 {
            let mut query = asked(seed, None);
            if params.datatype == Datatype::Uint8 {
                query.vector.iter_mut().for_each(|x| *x *= 40.0);
            }
            for payload in [false, true] {
                let (found, rounds, bytes) = far(&file, &query, Along { payload });
                assert_eq!((rounds, found.hits.len(), found.strategy), (2, 10, Strategy::Ranges), "{params:?}");
                // The answer is a function of what is asked for, not of what happens to be at hand.
                assert_eq!(whole.search_ranges(&query, Along { payload }, &Unwatched).unwrap(), found);
                sum += recall(&whole, &query, &found) / 40.0;
                read += bytes;
            }
        }
        assert!(sum >= 0.93, "{params:?}: recall {sum}");
        assert!(read / 40 < file.len() as u64 / 2, "{params:?}: {} of {} bytes per query", read / 40, file.len());
    }
}

#[test]
fn filters_are_exact_and_clusters_without_matches_are_not_read() {
    let file = Arc::new(file(params(Distance::Cosine), |i| PointId::Num(i as u64)));
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    let filter = |value: serde_json::Value| -> Filter { serde_json::from_value(value).unwrap() };
    let filters = [
        filter(json!({ "must": [{ "key": "even", "match": { "value": true } }] })),
        filter(json!({ "must": [{ "key": "centre", "match": { "value": 7 } }] })),
        filter(json!({ "must_not": [{ "key": "centre", "range": { "lt": 35 } }] })),
        filter(json!({ "must": [{ "has_id": [1, 2, 3, 2_999] }] })),
        filter(json!({ "must": [{ "key": "centre", "match": { "value": 77 } }] })),
    ];
    for filter in filters {
        let allowed = whole.allowed(Some(&filter), &Unwatched).unwrap().unwrap();
        let mut sum = 0.0;
        for seed in 0..10 {
            let query = asked(seed, Some(filter.clone()));
            let (found, rounds, _) = far(&file, &query, Along { payload: true });
            assert!(rounds <= 3, "{rounds} rounds for {filter:?}");
            assert!(found.hits.iter().all(|hit| allowed.contains(hit.ordinal)));
            assert_eq!(found.hits.len() as u64, allowed.len().min(10));
            sum += recall(&whole, &query, &found) / 10.0;
        }
        assert!(sum >= 0.93, "{filter:?}: recall {sum}");
    }
}

#[test]
fn exact_searches_and_vectors_without_codes_read_what_they_must() {
    for (distance, exact) in [(Distance::Cosine, true), (Distance::Manhattan, false)] {
        let file = Arc::new(file(params(distance), |i| PointId::Num(i as u64)));
        let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
        let mut query = asked(3, None);
        query.params.exact = exact;
        query.score_threshold = Some(if distance == Distance::Cosine { 0.5 } else { 30.0 });
        let (found, rounds, bytes) = far(&file, &query, Along::default());
        assert!(rounds <= 2 && bytes >= (POINTS * DIM * 4) as u64);
        let truth = whole.search_by(&query, Some(Strategy::Exact), &Unwatched).unwrap();
        assert_eq!(found.hits, truth.hits);
    }
}

#[test]
fn more_recall_reads_more_and_cancellation_is_heard() {
    let file = Arc::new(file(params(Distance::Euclid), |i| PointId::Num(i as u64)));
    let bytes = |recall: f32| {
        let params = SearchParams { recall: Some(recall), ..SearchParams::default() };
        (0..5).map(|seed| far(&file, &VectorQuery { params, ..asked(seed, None) }, Along::default()).2).sum::<u64>()
    };
    let read = [0.5, 0.9, 0.999].map(bytes);
    assert!(read.is_sorted(), "{read:?}");
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(true);
    assert_eq!(whole.search_ranges(&asked(0, None), Along::default(), &stop), Err(Error::Cancelled));
}

#[test]
fn further_vectors_take_no_more_rounds_than_the_first() {
    let (schema, file) = several();
    let file = Arc::new(file);
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    let filter = |value: serde_json::Value| -> Filter { serde_json::from_value(value).unwrap() };
    let mut random = SplitMix64::new(4);
    // As many as are left out of what was found, and as many as are planned for.
    let mut dead = |share: f64| Arc::new((0..whole.len()).filter(|_| random.unit() < share).collect::<RoaringBitmap>());
    for dead in [Arc::default(), dead(0.05), dead(0.6)] {
        let segment = whole.without(Arc::clone(&dead));
        for (name, params) in &schema.vectors {
            for filter in [
                None,
                Some(filter(json!({ "must": [{ "has_vector": "coded" }, { "has_vector": name }] }))),
                Some(filter(json!({ "must": [{ "key": "centre", "range": { "lt": 20 } }] }))),
                Some(filter(json!({ "must": [{ "key": "centre", "match": { "value": 0 } }] }))),
            ] {
                let rounds_max = if filter.is_some() { 3 } else { 2 };
                let (mut sum, mut read) = (0.0, 0);
                for seed in 0..6 {
                    let query = VectorQuery { using: name.clone(), ..asked(seed, filter.clone()) };
                    let along = Along { payload: seed % 2 == 0 };
                    let (found, rounds, bytes) = far_without(&file, &dead, &query, along);
                    let more = usize::from(filter.is_none() && name != "all" && dead.len() > 1_000);
                    assert!(rounds <= rounds_max + more, "{rounds} rounds: {name} {filter:?} {}", dead.len());
                    assert_eq!(segment.search_ranges(&query, along, &Unwatched).unwrap(), found);
                    let all = VectorQuery { k: POINTS, ..query.clone() };
                    let all = segment.search_by(&all, Some(Strategy::Exact), &Unwatched).unwrap();
                    assert_eq!(found.hits.len(), all.hits.len().min(10), "{name} {filter:?} {}", dead.len());
                    assert!(found.hits.iter().all(|hit| all.hits.contains(hit)));
                    sum += recall(&segment, &query, &found) / 6.0;
                    read += bytes / 6;
                }
                let least = if params.originals { 0.93 } else { 0.9 };
                assert!(sum >= least, "{name} {filter:?} {}: recall {sum}", dead.len());
                assert!(read < file.len() as u64 / 3, "{name}: {read} of {} bytes", file.len());
            }
        }
    }
}
