use std::sync::Arc;

use cairn_model::{
    Datatype, Distance, Filter, HnswConfig, Payload, PointId, QuantizationSearch, SearchParams, VectorParams,
    VectorQuery,
};
use proptest::prelude::*;
use serde_json::json;

use super::{Builder, Hit, Segment, Strategy, WriteError};
use crate::{Error, Unwatched, kernel, payload, seed::SplitMix64};

mod damage;
mod dead;
mod far;
mod filters;
mod several;

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap()
}

fn params(size: u32, distance: Distance, datatype: Datatype) -> VectorParams {
    // A threshold of one kilobyte, so that small tests walk the graph too.
    let hnsw = HnswConfig { full_scan_threshold: 1, ..HnswConfig::default() };
    VectorParams { datatype, hnsw, ..VectorParams::new(size, distance) }
}

/// Clustered points with a payload that has something for every kind of index.
struct Sample {
    ids: Vec<PointId>,
    vectors: Vec<Vec<f32>>,
    payloads: Vec<Payload>,
}

impl Sample {
    fn new(count: usize, dim: usize, datatype: Datatype, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let centres: Vec<f32> = (0..16 * dim).map(|_| random.unit() as f32 * 100.0).collect();
        let mut sample = Self { ids: vec![], vectors: vec![], payloads: vec![] };
        for i in 0..count {
            let centre = random.below(16) as usize;
            let vector = (0..dim).map(|d| {
                let x = centres[centre * dim + d] + random.unit() as f32 * 60.0;
                if datatype == Datatype::Uint8 { x.round() } else { x / 50.0 - 1.0 }
            });
            sample.vectors.push(vector.collect());
            let id = i as u64 * 3 + 1;
            sample.ids.push(if i % 5 == 0 {
                PointId::Uuid(uuid::Uuid::from_u128(u128::from(id) << 64))
            } else {
                PointId::Num(id)
            });
            let payload = json!({"n": i, "cat": format!("c{}", i % 7), "half": i % 2 == 0, "x": i as f64 / 3.0});
            sample.payloads.push(payload.as_object().unwrap().clone());
        }
        sample
    }

    fn segment(&self, params: VectorParams) -> Arc<Segment> {
        Arc::new(Segment::open(Arc::new(self.bytes(params))).unwrap())
    }

    fn bytes(&self, params: VectorParams) -> Vec<u8> {
        let mut builder = Builder::new("v", params, 42);
        for ((id, vector), payload) in self.ids.iter().zip(&self.vectors).zip(&self.payloads) {
            builder.push(*id, vector, Some(payload)).unwrap();
        }
        let mut bytes = Vec::new();
        let built = builder.write(&pool(), &Unwatched, &mut bytes).unwrap();
        assert_eq!((built.bytes, built.points), (bytes.len() as u64, self.ids.len() as u64));
        assert_eq!(built.checksum, xxhash_rust::xxh3::xxh3_64(&bytes));
        bytes
    }
}

fn query(vector: &[f32], k: usize, exact: bool, filter: Option<Filter>) -> VectorQuery {
    let params = SearchParams { exact, ..SearchParams::default() };
    VectorQuery { using: "v".into(), vector: vector.to_vec(), filter, k, params, score_threshold: None }
}

/// Brute force over what the segment stores, with scalar kernels.
fn truth(segment: &Segment, vector: &[f32], k: usize, filter: Option<&Filter>) -> Vec<Hit> {
    let metric = segment.params().unwrap().distance;
    let scalar = kernel::available()[0];
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mut hits: Vec<Hit> = (0..segment.len())
        .filter(|&ordinal| {
            let payload = serde_json::from_str(&segment.payload(ordinal).unwrap()).unwrap();
            filter.is_none_or(|filter| {
                payload::matches(filter, segment.id(ordinal).unwrap(), &payload, &|name| name == "v")
            })
        })
        .map(|ordinal| {
            let stored = segment.vector(ordinal).unwrap();
            let distance = match metric {
                Distance::Dot => -(scalar.dot_f32)(vector, &stored),
                Distance::Cosine => {
                    let length = stored.iter().map(|x| x * x).sum::<f32>().sqrt();
                    -(scalar.dot_f32)(vector, &stored) / (norm * length).max(f32::MIN_POSITIVE)
                }
                Distance::Euclid => (scalar.l2_f32)(vector, &stored),
                Distance::Manhattan => (scalar.l1_f32)(vector, &stored),
            };
            Hit { ordinal, distance }
        })
        .collect();
    hits.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.ordinal.cmp(&b.ordinal)));
    hits.truncate(k);
    hits
}

/// The share of hits that are at least as near as the true k-th.
fn recall(found: &[Hit], truth: &[Hit]) -> f64 {
    let Some(worst) = truth.last() else { return 1.0 };
    let bound = worst.distance + 1e-4 * worst.distance.abs().max(1e-3);
    found.iter().filter(|hit| hit.distance <= bound).count() as f64 / truth.len() as f64
}

#[test]
fn everything_that_was_put_in_comes_out() {
    let sample = Sample::new(700, 40, Datatype::Float32, 1);
    let segment = sample.segment(params(40, Distance::Euclid, Datatype::Float32));
    segment.verify().unwrap();
    assert_eq!((segment.len(), segment.vector_name()), (700, Some("v")));
    for i in 0..700 {
        let ordinal = segment.ordinal(sample.ids[i]).unwrap().unwrap();
        assert_eq!(segment.id(ordinal).unwrap(), sample.ids[i]);
        assert_eq!(segment.vector(ordinal).unwrap(), sample.vectors[i]);
        let payload: Payload = serde_json::from_str(&segment.payload(ordinal).unwrap()).unwrap();
        assert_eq!(payload, sample.payloads[i]);
    }
    assert_eq!(segment.ordinal(PointId::Num(0)).unwrap(), None);
    assert!(segment.id(700).is_err() && segment.vector(700).is_err() && segment.payload(700).is_err());
    let described = segment.describe().unwrap();
    assert_eq!(described.points, 700);
    let first = described.first.unwrap();
    assert!(first.bits_per_link > 1.0 && first.links > 700 && first.rows == 700);
}

#[test]
fn exact_search_is_brute_force_for_every_metric_and_datatype() {
    for datatype in [Datatype::Float32, Datatype::Float16, Datatype::Uint8] {
        let sample = Sample::new(400, 33, datatype, 2);
        for distance in Distance::ALL {
            let segment = sample.segment(params(33, distance, datatype));
            for vector in sample.vectors.iter().step_by(97) {
                let truth = truth(&segment, vector, 10, None);
                let found = segment.search(&query(vector, 10, true, None), &Unwatched).unwrap();
                assert_eq!(found.strategy, Strategy::Exact);
                assert_eq!(found.hits.len(), 10);
                assert!(recall(&found.hits, &truth) == 1.0, "{datatype:?} {distance:?}");
                for (hit, truth) in found.hits.iter().zip(&truth) {
                    let scale = truth.distance.abs().max(1.0);
                    assert!((hit.distance - truth.distance).abs() < 2e-3 * scale, "{datatype:?} {distance:?}");
                }
            }
        }
    }
}

#[test]
fn graph_and_scan_find_nearly_all_for_every_metric_and_datatype() {
    for datatype in [Datatype::Float32, Datatype::Float16, Datatype::Uint8] {
        let sample = Sample::new(2_500, 48, datatype, 3);
        for distance in Distance::ALL {
            for (threshold, coded, plain) in
                [(1, Strategy::Graph, Strategy::Graph), (10_000, Strategy::Scan, Strategy::Exact)]
            {
                let mut params = params(48, distance, datatype);
                params.hnsw.full_scan_threshold = threshold;
                let segment = sample.segment(params);
                let wanted = if distance == Distance::Manhattan { plain } else { coded };
                let mut total = 0.0;
                for vector in sample.vectors.iter().step_by(100) {
                    let found = segment.search(&query(vector, 10, false, None), &Unwatched).unwrap();
                    assert_eq!(found.strategy, wanted);
                    assert!(found.usage.vectors_scored > 0);
                    total += recall(&found.hits, &truth(&segment, vector, 10, None));
                }
                assert!(total / 25.0 >= 0.97, "{datatype:?} {distance:?} {wanted:?}: {}", total / 25.0);
            }
        }
    }
}

#[test]
fn many_hits_are_as_good_as_few() {
    let sample = Sample::new(2_500, 48, Datatype::Float32, 12);
    for (threshold, strategy) in [(1, Strategy::Graph), (10_000, Strategy::Scan)] {
        let mut params = params(48, Distance::Euclid, Datatype::Float32);
        params.hnsw.full_scan_threshold = threshold;
        let segment = sample.segment(params);
        let found = segment.search(&query(&sample.vectors[7], 600, false, None), &Unwatched).unwrap();
        assert_eq!((found.strategy, found.hits.len()), (strategy, 600));
        let recall = recall(&found.hits, &truth(&segment, &sample.vectors[7], 600, None));
        assert!(recall >= 0.99, "{strategy:?}: {recall}");
    }
}

#[test]
fn thresholds_cut_in_the_users_direction() {
    let sample = Sample::new(600, 40, Datatype::Float32, 5);
    for distance in [Distance::Dot, Distance::Euclid] {
        let segment = sample.segment(params(40, distance, Datatype::Float32));
        let all = segment.search(&query(&sample.vectors[0], 20, true, None), &Unwatched).unwrap().hits;
        let threshold = distance.score(all[9].distance);
        let mut query = query(&sample.vectors[0], 20, true, None);
        query.score_threshold = Some(threshold);
        let some = segment.search(&query, &Unwatched).unwrap().hits;
        // What is exactly as good as the threshold does not pass, as in Qdrant.
        let better = all.iter().take_while(|hit| hit.distance < all[9].distance).count();
        assert!(better > 0 && some[..] == all[..better], "{distance:?}");
    }
}

#[test]
fn count_and_scroll_follow_id_order() {
    let sample = Sample::new(300, 4, Datatype::Float32, 6);
    let segment = sample.segment(params(4, Distance::Dot, Datatype::Float32));
    let filter = Filter::from_json(&json!({"must": [{"key": "cat", "match": {"value": "c3"}}]})).unwrap();
    let mut ids: Vec<PointId> = (0..300).filter(|i| i % 7 == 3).map(|i| sample.ids[i]).collect();
    ids.sort();
    assert_eq!(segment.count(Some(&filter), &Unwatched).unwrap(), ids.len() as u64);
    assert_eq!(segment.count(None, &Unwatched).unwrap(), 300);
    let page = segment.scroll(Some(ids[4]), Some(&filter), 5, &Unwatched).unwrap();
    assert_eq!(page.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids[4..9]);
    assert!(page.iter().all(|&(id, ordinal)| segment.id(ordinal).unwrap() == id));
}

#[test]
fn the_same_seed_and_one_thread_give_the_same_file() {
    let sample = Sample::new(900, 36, Datatype::Float16, 7);
    let params = params(36, Distance::Cosine, Datatype::Float16);
    assert!(sample.bytes(params) == sample.bytes(params));
}

#[test]
fn wrong_input_is_refused_before_anything_is_written() {
    let params = params(3, Distance::Cosine, Datatype::Float32);
    let mut builder = Builder::new("", params, 1);
    builder.push(PointId::Num(7), &[1.0, 0.0, 0.0], None).unwrap();
    builder.push(PointId::Num(7), &[0.0, 1.0, 0.0], None).unwrap();
    assert!(builder.push(PointId::Num(8), &[1.0], None).is_err());
    assert!(builder.push(PointId::Num(8), &[1.0, f32::NAN, 0.0], None).is_err());
    let large = json!({"x": "y".repeat(5 << 20)});
    let error = builder.push(PointId::Num(8), &[1.0; 3], large.as_object()).unwrap_err();
    assert!(error.to_string().contains("payload"), "{error}");
    assert_eq!(builder.len(), 2);
    let mut out = Vec::new();
    let error = builder.write(&pool(), &Unwatched, &mut out).unwrap_err();
    assert!(error.to_string().contains('7'), "{error}");
    assert!(out.is_empty());
    let empty = Builder::new("", params, 1).write(&pool(), &Unwatched, &mut out).unwrap_err();
    assert!(matches!(empty, WriteError::Build(Error::Invalid { field: "points", .. })));
}

#[test]
fn cancellation_reaches_building_and_searching() {
    let sample = Sample::new(3_000, 40, Datatype::Float32, 8);
    let stop = std::sync::atomic::AtomicBool::new(true);
    let mut builder = Builder::new("", params(40, Distance::Dot, Datatype::Float32), 1);
    for (id, vector) in sample.ids.iter().zip(&sample.vectors) {
        builder.push(*id, vector, None).unwrap();
    }
    let mut out = Vec::new();
    let error = builder.write(&pool(), &stop, &mut out).unwrap_err();
    assert!(matches!(error, WriteError::Build(Error::Cancelled)));
    let segment = sample.segment(params(40, Distance::Dot, Datatype::Float32));
    for exact in [true, false] {
        let error = segment.search(&query(&sample.vectors[0], 5, exact, None), &stop).unwrap_err();
        assert_eq!(error, Error::Cancelled, "{exact}");
    }
}

#[test]
fn what_a_request_says_about_codes_decides_what_is_rescored() {
    let sample = Sample::new(3_000, 40, Datatype::Float32, 11);
    let segment = sample.segment(params(40, Distance::Euclid, Datatype::Float32));
    let search = |vector: &[f32], quantization: QuantizationSearch| {
        let mut query = query(vector, 10, false, None);
        query.params.quantization = quantization;
        segment.search(&query, &Unwatched).unwrap()
    };
    let default = QuantizationSearch::default();
    for vector in sample.vectors.iter().step_by(300) {
        let vector: Vec<f32> = vector.iter().map(|x| x + 0.05).collect();
        let usual = search(&vector, default);
        let stored = |hit: &Hit| segment.distance(&vector, hit.ordinal).unwrap();
        assert!(usual.hits.iter().all(|hit| hit.distance == stored(hit)));
        // Ignoring the codes is as exact as it gets, whatever else is said.
        let ignored = QuantizationSearch { ignore: true, rescore: Some(false), oversampling: Some(9.0) };
        assert_eq!(search(&vector, ignored), usual);
        // The codes' own distances are near the true ones, and not the same.
        let coded = search(&vector, QuantizationSearch { rescore: Some(false), ..default });
        assert!(coded.usage.vectors_scored < usual.usage.vectors_scored);
        assert!(coded.hits.iter().any(|hit| hit.distance != stored(hit)));
        assert!(coded.hits.iter().all(|hit| (hit.distance - stored(hit)).abs() <= 0.05 * stored(hit).max(1.0)));
        // More candidates are more distances to originals.
        let more = search(&vector, QuantizationSearch { oversampling: Some(8.0), ..default });
        assert!(more.usage.vectors_scored >= usual.usage.vectors_scored + 80 - 24);
        assert_eq!(more.hits.len(), 10);
        for odd in [1.0, f32::NAN, -3.0, f32::INFINITY] {
            let hits = search(&vector, QuantizationSearch { oversampling: Some(odd), ..default }).hits;
            assert!(hits.len() == 10 && hits.iter().all(|hit| hit.distance == stored(hit)), "{odd}");
        }
    }
}

#[test]
fn without_originals_codes_answer_everything() {
    for (distance, datatype) in [
        (Distance::Euclid, Datatype::Float32),
        (Distance::Cosine, Datatype::Float16),
        (Distance::Dot, Datatype::Float32),
        (Distance::Euclid, Datatype::Uint8),
    ] {
        let sample = Sample::new(1_500, 50, datatype, 21);
        let with = params(50, distance, datatype);
        let (kept, without) = (sample.segment(with), sample.segment(VectorParams { originals: false, ..with }));
        without.verify().unwrap();
        assert!(!without.params().unwrap().originals && without.file_bytes() < kept.file_bytes());
        let (mut found, mut wanted) = (0, 0);
        for vector in sample.vectors.iter().step_by(50) {
            for exact in [false, true] {
                let query = query(vector, 10, exact, None);
                let ids = |segment: &Segment| {
                    let hits = segment.search(&query, &Unwatched).unwrap().hits;
                    hits.iter().map(|hit| segment.id(hit.ordinal).unwrap()).collect::<Vec<_>>()
                };
                let (truth, got) = (ids(&kept), ids(&without));
                wanted += truth.len();
                found += got.iter().filter(|id| truth.contains(id)).count();
            }
        }
        assert!(found * 100 >= wanted * 93, "{distance:?} {datatype:?}: {found} of {wanted}");
        for ordinal in (0..1_500).step_by(100) {
            let id = without.id(ordinal).unwrap();
            let original = kept.vector(kept.ordinal(id).unwrap().unwrap()).unwrap();
            let decoded = without.vector(ordinal).unwrap();
            let size = original.iter().map(|x| x * x).sum::<f32>();
            let off = original.iter().zip(&decoded).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            assert!(off < 3e-4 * size.max(1.0), "{distance:?} {datatype:?}: {off} of {size}");
        }
        assert!(without.vector(1_500).is_err());
    }
    let small = VectorParams { originals: false, ..params(8, Distance::Dot, Datatype::Float32) };
    let mut builder = Builder::new("", small, 1);
    builder.push(PointId::Num(1), &[1.0; 8], None).unwrap();
    assert!(builder.write(&pool(), &Unwatched, &mut Vec::new()).unwrap_err().to_string().contains("originals"));
}

#[test]
fn queries_are_checked() {
    let sample = Sample::new(50, 4, Datatype::Float32, 9);
    let segment = sample.segment(params(4, Distance::Dot, Datatype::Float32));
    for bad in [vec![1.0; 3], vec![1.0, 2.0, f32::NAN, 0.0], vec![]] {
        let error = segment.search(&query(&bad, 5, false, None), &Unwatched).unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "vector", .. }), "{error}");
    }
    assert_eq!(segment.search(&query(&[0.0; 4], 500, false, None), &Unwatched).unwrap().hits.len(), 50);
}
