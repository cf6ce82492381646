//! Segments of every released format version are committed and must open for ever.
//!
//! A fixture holds points that [`point`] makes again, and from version 4 on more vectors of them that [`more`] makes, so that what comes out of an old
//! file can be compared with what went in. Fixtures are never rewritten. A new version adds one:
//! `CAIRN_FIXTURE=$PWD/tests/fixtures/segment-vN.seg cargo test -p cairn-engine --test compat`.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "small numbers in a test"
)]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use cairn_engine::{
    Unwatched, kernel,
    seed::SplitMix64,
    segment::{Builder, Segment, VERSION},
};
use cairn_model::{
    CollectionSchema, Comparator, Datatype, Distance, Filter, HnswConfig, MultivectorConfig, Payload, PointId,
    SearchParams, SparseVectorParams, Vector, VectorParams, VectorQuery, Vectors,
};
use serde_json::json;

const POINTS: u64 = 400;
const DIM: usize = 40;

fn params() -> VectorParams {
    let hnsw = HnswConfig { m: 8, ef_construct: 64, full_scan_threshold: 1 };
    VectorParams { hnsw, ..VectorParams::new(DIM as u32, Distance::Euclid) }
}

fn point(row: u64) -> (PointId, Vec<f32>, Payload) {
    let mut random = SplitMix64::new(row);
    let centre = (row % 9) as f32;
    let vector = (0..DIM).map(|d| centre + (d % 9) as f32 * 0.5 + random.unit() as f32).collect();
    let id = if row.is_multiple_of(4) {
        PointId::Uuid(uuid::Uuid::from_u128(u128::from(row) << 70 | 7))
    } else {
        PointId::Num(row * row)
    };
    let city = ["Bern", "Basel", "Genève"][row as usize % 3];
    let payload = json!({
        "row": row, "city": city, "tags": [format!("t{}", row % 11), "all"],
        "height": row as f64 / 8.0 + 0.5, "open": row.is_multiple_of(2), "at": format!("2024-01-{:02}T00:00:00Z", row % 28 + 1),
        "nothing": null, "nested": {"parts": [{"n": row}, {"n": row + 1}]},
    });
    (id, vector, payload.as_object().unwrap().clone())
}

/// The vectors of fixtures of several: beside that of [`point`], dense ones of which one comes before it by name, a multivector and a sparse one.
fn schema() -> CollectionSchema {
    let mut schema = CollectionSchema::single("stone", params(), 1);
    let with = |size, distance, datatype| VectorParams { datatype, ..VectorParams { size, distance, ..params() } };
    schema.vectors.extend([
        ("edge".to_owned(), with(33, Distance::Dot, Datatype::Float16)),
        ("tone".to_owned(), with(3, Distance::Manhattan, Datatype::Uint8)),
        (
            "many".to_owned(),
            VectorParams {
                multivector: Some(MultivectorConfig { comparator: Comparator::MaxSim }),
                ..with(2, Distance::Dot, Datatype::Float32)
            },
        ),
    ]);
    schema.sparse_vectors = BTreeMap::from([("words".to_owned(), SparseVectorParams::default())]);
    schema
}

/// What else a point has; none of it that all points have.
fn more(row: u64) -> Vectors {
    let mut vectors = Vectors::new();
    let mut random = SplitMix64::new(row ^ 0xF00D);
    // As every datatype has them.
    let mut values = |count: usize| (0..count).map(|_| random.below(64) as f32).collect::<Vec<f32>>();
    if !row.is_multiple_of(3) {
        vectors.insert("edge".into(), Vector::Dense(values(33)));
    }
    if row.is_multiple_of(5) {
        vectors.insert("tone".into(), Vector::Dense(values(3)));
    }
    if row.is_multiple_of(2) {
        vectors.insert("many".into(), Vector::Multi { dim: 2, values: values(2 + 2 * (row as usize % 3)) });
    }
    if !row.is_multiple_of(4) {
        let indices: Vec<u32> = (0..row as u32 % 5).map(|i| i * 1_000 + row as u32).collect();
        vectors.insert("words".into(), Vector::Sparse { values: values(indices.len()), indices });
    }
    vectors
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn query(vector: Vec<f32>, filter: Option<Filter>, exact: bool) -> VectorQuery {
    let params = SearchParams { exact, ..SearchParams::default() };
    VectorQuery { using: "stone".into(), vector, filter, k: 10, params, score_threshold: None }
}

/// Everything that a reader can get out of a file is what was put in.
fn check(file: &str, bytes: Vec<u8>) {
    let segment = Segment::open(Arc::new(bytes)).unwrap();
    segment.verify().unwrap();
    assert_eq!(
        (u64::from(segment.len()), segment.params().unwrap(), segment.vector_name()),
        (POINTS, params(), Some("stone"))
    );
    for row in 0..POINTS {
        let (id, vector, payload) = point(row);
        let ordinal = segment.ordinal(id).unwrap().unwrap_or_else(|| panic!("{file}: {id} is gone"));
        assert_eq!(segment.id(ordinal).unwrap(), id);
        assert_eq!(segment.vector(ordinal).unwrap(), vector);
        assert_eq!(serde_json::from_str::<Payload>(&segment.payload(ordinal).unwrap()).unwrap(), payload);
    }
    for (filter, count) in [
        (json!({"must": [{"key": "city", "match": {"value": "Basel"}}]}), 133),
        (json!({"must": [{"key": "tags", "match": {"any": ["t3", "t4"]}}]}), 73),
        (json!({"must": [{"key": "row", "range": {"gte": 100, "lt": 250}}]}), 150),
        (json!({"must": [{"key": "height", "range": {"gt": 25.0}}]}), 203),
        (json!({"must": [{"key": "open", "match": {"value": false}}]}), 200),
        (json!({"must": [{"key": "at", "range": {"lt": "2024-01-03"}}]}), 30),
        (json!({"must": [{"is_null": {"key": "nothing"}}, {"key": "nested.parts[].n", "match": {"value": 7}}]}), 2),
        (json!({"must_not": [{"is_empty": {"key": "nowhere"}}]}), 0),
    ] {
        let parsed = Filter::from_json(&filter).unwrap();
        let expected = count as u64;
        assert_eq!(segment.count(Some(&parsed), &Unwatched).unwrap(), expected, "{file}: {filter}");
    }
    let l2 = kernel::available()[0].l2_f32;
    let open = Filter::from_json(&json!({"must": [{"key": "open", "match": {"value": true}}]})).unwrap();
    let (mut common, mut nearest_in_all) = (0, 0);
    for row in (0..POINTS).step_by(37) {
        let wanted = point(row).1;
        for filter in [None, Some(&open)] {
            let mut all: Vec<(f32, PointId)> = (0..POINTS)
                .filter(|other| filter.is_none() || other % 2 == 0)
                .map(|other| (l2(&wanted, &point(other).1), point(other).0))
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let nearest: Vec<PointId> = all[..10].iter().map(|(_, id)| *id).collect();
            for exact in [true, false] {
                let found = segment.search(&query(wanted.clone(), filter.cloned(), exact), &Unwatched).unwrap();
                let ids: Vec<PointId> = found.hits.iter().map(|hit| segment.id(hit.ordinal).unwrap()).collect();
                assert!(!exact || ids == nearest, "{file}: row {row}: {ids:?} {nearest:?}");
                common += ids.iter().filter(|id| nearest.contains(id)).count();
                nearest_in_all += nearest.len();
            }
        }
    }
    assert!(common * 100 >= nearest_in_all * 98, "{file}: {common} of {nearest_in_all}");
}

/// The same of what a point has in a file of several vectors.
fn check_more(file: &str, bytes: Vec<u8>) {
    let segment = Segment::open(Arc::new(bytes)).unwrap();
    assert_eq!(segment.contradicts(&schema(), 0), None, "{file}");
    assert_eq!(segment.dense().map(|(name, _)| name).collect::<Vec<_>>(), ["stone", "edge", "tone"]);
    for row in 0..POINTS {
        let (id, vector, _) = point(row);
        let mut expected = more(row);
        expected.insert("stone".into(), Vector::Dense(vector));
        let ordinal = segment.ordinal(id).unwrap().unwrap_or_else(|| panic!("{file}: {id} is gone"));
        assert_eq!(segment.vectors(ordinal, &|_| true).unwrap(), expected, "{file}: row {row}");
    }
    let scalar = kernel::available()[0];
    for (name, params) in segment.dense().skip(1) {
        let dense = |row: u64| match more(row).remove(name) {
            Some(Vector::Dense(vector)) => Some(vector),
            _ => None,
        };
        let has = Filter::from_json(&json!({"must": [{"has_vector": name}]})).unwrap();
        let count = (0..POINTS).filter(|&row| dense(row).is_some()).count() as u64;
        assert_eq!(segment.count(Some(&has), &Unwatched).unwrap(), count, "{file}: {name}");
        let (mut common, mut nearest_in_all) = (0, 0);
        for wanted in (0..POINTS).step_by(37).filter_map(dense) {
            let distance = |other: &[f32]| match params.distance {
                Distance::Dot => -(scalar.dot_f32)(&wanted, other),
                _ => (scalar.l1_f32)(&wanted, other),
            };
            let mut all: Vec<f32> = (0..POINTS).filter_map(dense).map(|other| distance(&other)).collect();
            all.sort_by(f32::total_cmp);
            for exact in [true, false] {
                let asked = VectorQuery { using: name.into(), ..query(wanted.clone(), None, exact) };
                let hits = segment.search(&asked, &Unwatched).unwrap().hits;
                let distances: Vec<f32> = hits.iter().map(|hit| hit.distance).collect();
                assert!(!exact || distances == all[..10], "{file}: {name}: {distances:?}");
                common += distances.iter().filter(|&&distance| distance <= all[9]).count();
                nearest_in_all += 10;
            }
        }
        assert!(common * 100 >= nearest_in_all * 95, "{file}: {name}: {common} of {nearest_in_all}");
    }
}

fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn segments_of_version_1_open() {
    check("segment-v1.seg", fixture("segment-v1.seg"));
}

#[test]
fn segments_of_version_2_open() {
    check("segment-v2.seg", fixture("segment-v2.seg"));
    let segment = Segment::open(Arc::new(fixture("segment-v2.seg"))).unwrap();
    assert_eq!((segment.version(), segment.calibration().unwrap().entries().is_empty()), (2, false));
}

#[test]
fn segments_of_version_3_open() {
    check("segment-v3.seg", fixture("segment-v3.seg"));
    let segment = Segment::open(Arc::new(fixture("segment-v3.seg"))).unwrap();
    assert_eq!(segment.version(), 3);
}

#[test]
fn segments_of_version_4_open() {
    check("segment-v4.seg", fixture("segment-v4.seg"));
    check_more("segment-v4.seg", fixture("segment-v4.seg"));
}

#[test]
fn the_newest_version_has_a_fixture() {
    assert!(folder().join(format!("segment-v{VERSION}.seg")).exists());
}

#[test]
fn what_is_written_today_reads_like_the_fixtures() {
    let mut single = Builder::new("stone", params(), 1);
    let mut several = Builder::of(&schema(), 1);
    for row in 0..POINTS {
        let (id, vector, payload) = point(row);
        single.push(id, &vector, Some(&payload)).unwrap();
        let mut vectors = more(row);
        vectors.insert("stone".into(), Vector::Dense(vector));
        several.push_point(id, &vectors, Some(&payload)).unwrap();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let [single, several] = [single, several].map(|builder| {
        let mut bytes = Vec::new();
        builder.write(&pool, &Unwatched, &mut bytes).unwrap();
        bytes
    });
    if let Ok(path) = std::env::var("CAIRN_FIXTURE") {
        // Never over an old one.
        std::io::Write::write_all(&mut std::fs::File::create_new(path).unwrap(), &several).unwrap();
    }
    check_layout(&single);
    check("a new segment", single);
    check("a new segment of several vectors", several.clone());
    check_more("a new segment of several vectors", several);
}

/// Version 4 added nothing to files of one vector: they are laid out as those of version 3.
fn check_layout(single: &[u8]) {
    let sections = |bytes: &[u8]| {
        let described = Segment::open(Arc::new(bytes.to_vec())).unwrap().describe().unwrap();
        let sections = described.sections.into_iter().map(|section| (section.name, section.vector, section.bytes));
        // How long links and what was measured are follows from rounding, which processors do not share.
        sections
            .map(|(name, vector, bytes)| {
                (name, vector, matches!(name, "head" | "vectors" | "ids" | "rows").then_some(bytes))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(sections(single), sections(&fixture("segment-v3.seg")));
}
