//! A segment's bytes, however damaged: no panic, no read out of bounds, no unbounded allocation.

#![no_main]

use std::sync::Arc;

use cairn_engine::{
    Unwatched,
    segment::{Along, Segment},
};
use cairn_model::{Filter, SearchParams, VectorQuery};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// A count in a damaged file may be anything; what a reader would do per point is done for this many.
const POINTS_READ_MAX: u32 = 64;
/// A damaged dimension asks for a query of that size; larger ones are not worth the fuzzer's time.
const DIM_MAX: u32 = 1 << 12;

fuzz_target!(|bytes: &[u8]| {
    let Ok(segment) = Segment::open(Arc::new(bytes.to_vec())) else { return };
    let _ = segment.verify();
    let _ = segment.describe();
    let dense: Vec<(String, u32)> = segment
        .dense()
        .map(|(name, params)| (name.to_owned(), params.size))
        .filter(|(_, dim)| *dim <= DIM_MAX)
        .collect();
    let some_dead = segment.without(Arc::new([0, 2, 3, 60].into()));
    for ordinal in (0..segment.len().min(POINTS_READ_MAX)).chain([segment.len().saturating_sub(1), u32::MAX]) {
        if let Ok(id) = segment.id(ordinal) {
            let _ = segment.ordinal(id);
        }
        let _ = segment.payload(ordinal);
        let _ = segment
            .vectors(ordinal, &|name| segment.dense().all(|(known, params)| known != name || params.size <= DIM_MAX));
    }
    for filter in filters() {
        let _ = segment.count(filter.as_ref(), &Unwatched);
        let _ = segment.scroll(None, filter.as_ref(), 10, &Unwatched);
        for (name, dim) in &dense {
            for exact in [false, true] {
                let query = VectorQuery {
                    using: name.clone(),
                    vector: vec![0.5; *dim as usize],
                    filter: filter.clone(),
                    k: 10,
                    params: SearchParams { ef: Some(32), exact, ..SearchParams::default() },
                    score_threshold: None,
                };
                let _ = segment.search(&query, &Unwatched);
                let _ = some_dead.search(&query, &Unwatched);
                let _ = segment.search_ranges(&query, Along::default(), &Unwatched);
            }
        }
    }
});

/// No filter, and one over each kind of field index of the seeds.
fn filters() -> Vec<Option<Filter>> {
    let conditions = [
        json!({"must": [{"key": "city", "match": {"value": "Lima"}}]}),
        json!({"must": [{"key": "row", "range": {"gte": 3, "lt": 40}}, {"key": "open", "match": {"value": true}}]}),
        json!({"should": [{"key": "price", "range": {"lt": 5.5}}, {"key": "at", "range": {"gte": "2024-02-01T00:00:00Z"}}]}),
        json!({"must_not": [{"is_empty": {"key": "tags"}}, {"is_null": {"key": "note"}}]}),
        json!({"must": [{"key": "tags", "values_count": {"gte": 2}}, {"key": "place.floor", "match": {"any": [1, 2]}}]}),
        json!({"should": [{"has_vector": "edge"}, {"has_vector": "many"}], "must_not": [{"has_vector": "words"}]}),
    ];
    let parsed = conditions.iter().filter_map(|json| Filter::from_json(json).ok());
    std::iter::once(None).chain(parsed.map(Some)).collect()
}
