use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{
    Change, CollectionSchema, Datatype, Distance, Filter, Payload, PayloadIndex, Point, PointId, SearchParams,
    SparseVectorParams, Vector, VectorParams, VectorQuery, Vectors,
};
use proptest::prelude::*;
use serde_json::json;

use super::{Fresh, Row};
use crate::{
    Error, Unwatched,
    payload::resolve,
    segment::{Builder, Segment},
};

const DIM: usize = 5;

fn params(distance: Distance, datatype: Datatype) -> VectorParams {
    VectorParams { datatype, ..VectorParams::new(DIM as u32, distance) }
}

fn query(vector: &[f32], k: usize, filter: Option<Filter>) -> VectorQuery {
    let params = SearchParams { exact: true, ..SearchParams::default() };
    VectorQuery { using: "v".into(), vector: vector.to_vec(), filter, k, params, score_threshold: None }
}

fn schema(name: &str, params: VectorParams) -> CollectionSchema {
    CollectionSchema::single(name, params, 1)
}

fn named(vector: &[f32]) -> Vectors {
    Vectors::from([("v".to_owned(), Vector::Dense(vector.to_vec()))])
}

fn payload(colour: u8) -> Payload {
    let notes = ["The Foxes", "a fox is running", "runs of été"];
    let note = notes[usize::from(colour) % notes.len()];
    json!({ "colour": colour, "tags": ["a", format!("t{colour}")], "note": note }).as_object().unwrap().clone()
}

fn id(number: u8) -> PointId {
    match number % 2 {
        0 => PointId::Num(u64::from(number)),
        _ => PointId::Uuid(uuid::Uuid::from_u128(u128::from(number) << 100)),
    }
}

/// A filter that is settled by a text index with every parameter.
fn by_words(filter: &serde_json::Value) -> Filter {
    let index = json!({"type": "text", "stopwords": "english", "stemmer": {"type": "snowball", "language": "english"},
        "ascii_folding": true, "phrase_matching": true, "min_token_len": 2});
    let index: PayloadIndex = serde_json::from_value(index).unwrap();
    let mut filter = Filter::from_json(filter).unwrap();
    resolve(&mut filter, &|_| index.tokenizer());
    filter
}

fn filters() -> [Option<Filter>; 6] {
    let words = |words: serde_json::Value| by_words(&json!({"must": [{"key": "note", "match": words}]}));
    let [all, wide, colour, others] = [
        None,
        Some(json!({})),
        Some(json!({"must": [{"key": "colour", "range": {"lt": 3}}]})),
        Some(json!({"must_not": [{"has_id": [2, 4]}, {"key": "tags", "match": {"value": "t1"}}]})),
    ]
    .map(|filter| filter.map(|filter| Filter::from_json(&filter).unwrap()));
    let (some, phrase) = (words(json!({"text_any": "ETE of"})), words(json!({"phrase": "the foxes run"})));
    [all, wide, colour, others, Some(some), Some(phrase)]
}

/// Where a write stands in the log, and the point's vector and colour or that it was removed.
type Version = (u64, Option<(Vec<u8>, u8)>);
/// A write: an id, and its version.
type Write = (u8, Version);

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let point = (prop::collection::vec(0u8..20, DIM), 0u8..6);
    prop::collection::vec((0u8..30, (0u64..20, prop::option::weighted(0.7, point))), 0..80)
}

fn vector(values: &[u8]) -> Vec<f32> {
    values.iter().map(|&x| f32::from(x)).collect()
}

fn filled(writes: &[Write], params: VectorParams) -> Fresh {
    let mut fresh = Fresh::new(&schema("v", params));
    for (number, (sequence, point)) in writes {
        match point {
            Some((values, colour)) => {
                fresh.put(id(*number), *sequence, &named(&vector(values)), payload(*colour)).unwrap()
            }
            None => fresh.remove(id(*number), *sequence),
        }
    }
    fresh
}

fn model(writes: &[Write]) -> BTreeMap<PointId, Version> {
    let mut model: BTreeMap<PointId, Version> = BTreeMap::new();
    for (number, (sequence, point)) in writes {
        if model.get(&id(*number)).is_none_or(|(before, _)| before <= sequence) {
            model.insert(id(*number), (*sequence, point.clone()));
        }
    }
    model
}

proptest! {
    #[test]
    fn the_newest_write_of_every_id_counts(writes in writes(), position in 0u64..25, from in 0u8..30, limit in 0usize..9) {
        let params = params(Distance::Euclid, Datatype::Float32);
        let whole = filled(&writes, params);
        let before = whole.clone();
        for (fresh, least) in [(whole.clone(), 0), (whole.since(position), position)] {
            let mut model = model(&writes);
            model.retain(|_, (sequence, _)| *sequence >= least);
            let live = model.values().filter(|(_, point)| point.is_some()).count();
            prop_assert_eq!((fresh.len(), fresh.len_live(), fresh.is_empty()), (model.len(), live, model.is_empty()));
            prop_assert_eq!(fresh.ids().collect::<Vec<_>>(), model.keys().copied().collect::<Vec<_>>());
            for number in 0..30 {
                let known = fresh.get(id(number)).map(|row| {
                    (row.sequence(), row.point().map(|put| (put.vectors(&|_| true), put.payload().clone())))
                });
                let expected = model.get(&id(number)).map(|(sequence, point)| {
                    (*sequence, point.as_ref().map(|(values, colour)| (named(&vector(values)), payload(*colour))))
                });
                prop_assert_eq!(known, expected);
            }
            for filter in filters() {
                let matching: Vec<PointId> = model
                    .iter()
                    .filter_map(|(id, (_, point))| Some((*id, point.as_ref()?)))
                    .filter(|(id, (_, colour))| filter.as_ref().is_none_or(|filter| crate::payload::matches(filter, *id, &payload(*colour), &|name| name.is_empty())))
                    .map(|(id, _)| id)
                    .collect();
                prop_assert_eq!(fresh.count(filter.as_ref(), &Unwatched).unwrap(), matching.len() as u64);
                let page: Vec<PointId> = matching.iter().copied().filter(|&one| one >= id(from)).take(limit).collect();
                prop_assert_eq!(fresh.scroll(Some(id(from)), filter.as_ref(), limit, &Unwatched).unwrap(), page);
                prop_assert_eq!(fresh.scroll(None, filter.as_ref(), 99, &Unwatched).unwrap(), matching);
            }
        }
        // The memory that is counted is that of what is left, in whatever order it came.
        let mut newest = Fresh::new(&schema("v", params));
        for (id, (sequence, point)) in model(&writes) {
            match point {
                Some((values, colour)) => newest.put(id, sequence, &named(&vector(&values)), payload(colour)).unwrap(),
                None => newest.remove(id, sequence),
            }
        }
        prop_assert_eq!(newest.bytes(), whole.bytes());
        // A clone does not see later writes.
        let mut later = whole;
        later.remove(PointId::Num(999), 99);
        prop_assert!(before.get(PointId::Num(999)).is_none() && later.len() == before.len() + 1);
    }

    #[test]
    fn its_answers_are_those_of_a_segment_of_the_same_points(
        writes in writes(), asked in prop::collection::vec(0u8..20, DIM), k in 1usize..12, threshold in prop::option::of(-30.0f32..60.0),
    ) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (distance, datatype) in Distance::ALL.into_iter().zip([Datatype::Float32, Datatype::Float16, Datatype::Uint8].into_iter().cycle()) {
            for datatype in [datatype, Datatype::Float32] {
                let params = params(distance, datatype);
                let fresh = filled(&writes, params);
                let mut builder = Builder::new("v", params, 1);
                let mut stored = Builder::new("v", params, 1);
                for (id, (_, point)) in model(&writes) {
                    if let Some((values, colour)) = point {
                        builder.push(id, &vector(&values), Some(&payload(colour))).unwrap();
                    }
                }
                for (id, put) in fresh.points() {
                    stored.push_stored(id, &put.vectors(&|_| true), &put.payload_text().unwrap()).unwrap();
                }
                if builder.is_empty() {
                    return Ok(());
                }
                let mut bytes = Vec::new();
                builder.write(&pool, &Unwatched, &mut bytes).unwrap();
                // What comes out of it goes into a segment as it is, and not a second time through rounding.
                let mut again = Vec::new();
                stored.write(&pool, &Unwatched, &mut again).unwrap();
                prop_assert!(again == bytes, "{:?} {:?}", distance, datatype);
                let segment = Segment::open(Arc::new(bytes)).unwrap();
                for (id, put) in fresh.points() {
                    let ordinal = segment.ordinal(id).unwrap().unwrap();
                    prop_assert_eq!(segment.payload(ordinal).unwrap(), put.payload_text().unwrap());
                }
                for filter in filters() {
                    let mut query = query(&vector(&asked), k, filter);
                    query.score_threshold = threshold;
                    let hits = segment.search(&query, &Unwatched).unwrap().hits;
                    let mut expected: Vec<(PointId, f32)> =
                        hits.iter().map(|hit| (segment.id(hit.ordinal).unwrap(), hit.distance)).collect();
                    let found = fresh.search(&query, &Unwatched).unwrap();
                    // A segment breaks ties by row, and cuts them there.
                    prop_assert_eq!(
                        found.iter().map(|hit| hit.1.to_bits()).collect::<Vec<_>>(),
                        expected.iter().map(|hit| hit.1.to_bits()).collect::<Vec<_>>(),
                        "{:?} {:?}", distance, datatype
                    );
                    let worst = expected.last().map_or(0.0, |hit| hit.1);
                    expected.retain(|hit| hit.1 != worst);
                    expected.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
                    prop_assert_eq!(&found[..expected.len()], &expected[..]);
                    let ordinal_distance = |hit: &(PointId, f32)| segment.distance(&vector(&asked), segment.ordinal(hit.0).unwrap().unwrap()).unwrap();
                    prop_assert!(found.iter().all(|hit| ordinal_distance(hit).to_bits() == hit.1.to_bits()));
                }
            }
        }
    }
}

#[test]
fn vectors_are_stored_as_segments_store_them() {
    let mut fresh = Fresh::new(&schema("v", params(Distance::Cosine, Datatype::Float16)));
    fresh.put(id(2), 1, &named(&[3.0, 4.0, 0.0, 0.0, 0.0]), Payload::new()).unwrap();
    let stored = fresh.get(id(2)).unwrap().point().unwrap();
    assert_eq!(
        stored.vectors(&|_| true),
        named(&[0.6, 0.8, 0.0, 0.0, 0.0].map(|x: f32| half::f16::from_f32(x).to_f32()))
    );
    assert_eq!(stored.payload_text().unwrap(), "{}");
    for (bad, why) in [
        (vec![1.0; 4], "expected dim: 5, got 4"),
        (vec![f32::NAN; 5], "finite"),
        (vec![1e30, 0.0, 0.0, 0.0, f32::INFINITY], "finite"),
    ] {
        let error = fresh.put(id(4), 2, &named(&bad), Payload::new()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(fresh.search(&query(&bad, 1, None), &Unwatched).is_err());
    }
    let large = json!({"x": "y".repeat(5 << 20)}).as_object().unwrap().clone();
    assert!(fresh.put(id(4), 2, &named(&[1.0; 5]), large).unwrap_err().to_string().contains("payload"));
    assert_eq!(fresh.len(), 1);
    let stop = std::sync::atomic::AtomicBool::new(true);
    assert_eq!(fresh.search(&query(&[1.0; 5], 1, None), &stop), Err(Error::Cancelled));
}

#[test]
fn changes_of_the_log_are_made_and_points_that_do_not_fit_are_refused() {
    let mut fresh = Fresh::new(&schema("v", params(Distance::Dot, Datatype::Float32)));
    let point = |number, name: &str, vector| Point {
        id: id(number),
        vectors: [(name.to_owned(), vector)].into(),
        payload: payload(1),
    };
    let dense = || Vector::Dense(vec![1.0; DIM]);
    fresh
        .apply((3, 0), &Change::Put(vec![point(2, "v", dense()), point(4, "v", dense()), point(2, "v", dense())]))
        .unwrap();
    fresh.apply((4, 0), &Change::Remove(vec![id(4), id(6)])).unwrap();
    assert_eq!((fresh.len(), fresh.len_live()), (3, 1));
    let sparse = Vector::Sparse { indices: vec![1], values: vec![1.0] };
    for wrong in [point(8, "other", dense()), point(8, "v", sparse)] {
        assert!(matches!(fresh.apply((5, 0), &Change::Put(vec![wrong])), Err(Error::Invalid { .. })));
    }
    assert_eq!((fresh.len(), fresh.len_live()), (3, 1));
}

#[test]
fn a_vector_of_an_edition_before_it_was_added_is_another_one() {
    let mut schema = schema("v", params(Distance::Dot, Datatype::Float32));
    schema.add_vector("w", params(Distance::Dot, Datatype::Float32)).unwrap();
    assert!(schema.remove_vector("v").unwrap());
    schema.add_sparse_vector("v", SparseVectorParams::default()).unwrap();
    let mut fresh = Fresh::new(&schema);
    let dense = || Vector::Dense(vec![1.0; DIM]);
    let sparse = || Vector::Sparse { indices: vec![1], values: vec![1.0] };
    for (edition, v, shown) in [(0u8, dense(), ""), (1, dense(), "w"), (2, dense(), "w"), (3, sparse(), "vw")] {
        let vectors = [("v".to_owned(), v), ("w".to_owned(), dense()), ("x".to_owned(), dense())];
        let vectors = vectors.into_iter().filter(|(name, _)| edition == 0 || name != "x").collect();
        let point = Point { id: id(edition), vectors, payload: payload(1) };
        fresh.apply((edition.into(), edition.into()), &Change::Put(vec![point])).unwrap();
        let put = fresh.get(id(edition)).and_then(Row::point).unwrap();
        assert!(put.vectors(&|_| true).into_keys().collect::<String>() == shown, "{edition}");
        assert_eq!((put.has_vector("v"), put.has_vector("w")), (shown.contains('v'), shown.contains('w')));
    }
}
