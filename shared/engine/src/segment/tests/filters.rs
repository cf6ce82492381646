//! Filters under every plan, and batches of queries.

use super::*;
use crate::Watch;

#[test]
fn filters_hold_under_every_plan() {
    let sample = Sample::new(3_000, 40, Datatype::Float32, 4);
    let segment = sample.segment(params(40, Distance::Euclid, Datatype::Float32));
    for (filter, strategy) in [
        (json!({"must": [{"key": "n", "range": {"lt": 100}}]}), Strategy::Exact),
        (json!({"must": [{"key": "cat", "match": {"value": "c1"}}]}), Strategy::Scan),
        (json!({"must": [{"key": "half", "match": {"value": true}}]}), Strategy::Clusters),
        (json!({"must_not": [{"key": "cat", "match": {"any": ["c1", "c2"]}}]}), Strategy::FilteredGraph),
        (json!({"must_not": [{"key": "cat", "match": {"any": ["c1", "c2"]}}]}), Strategy::Clusters),
        (json!({"must": [{"key": "cat", "match": {"value": "none"}}]}), Strategy::Nothing),
    ] {
        let filter = Filter::from_json(&filter).unwrap();
        let mut total = 0.0;
        for vector in sample.vectors.iter().step_by(150) {
            let truth = truth(&segment, vector, 10, Some(&filter));
            let asked = query(vector, 10, false, Some(filter.clone()));
            let found = segment.search_by(&asked, Some(strategy), &Unwatched).unwrap();
            assert_eq!(found.strategy, strategy);
            assert_eq!(found.hits.len(), truth.len());
            total += recall(&found.hits, &truth);
            for hit in &found.hits {
                let payload = serde_json::from_str(&segment.payload(hit.ordinal).unwrap()).unwrap();
                assert!(payload::matches(&filter, segment.id(hit.ordinal).unwrap(), &payload, &|name| name == "v"));
            }
            let exact = segment.search(&query(vector, 10, true, Some(filter.clone())), &Unwatched).unwrap();
            assert!(recall(&exact.hits, &truth) == 1.0);
        }
        assert!(total / 20.0 >= 0.95, "{strategy:?}: {}", total / 20.0);
    }
}

/// Row `i` has the rank of its distance from row 0 under "far": `lt` finds what is near, `gte` what is not.
fn by_distance(sample: &mut Sample, metric: Distance) {
    let anchor = sample.vectors[0].clone();
    let key = |row: &Vec<f32>| match metric {
        Distance::Euclid => (kernel::available()[0].l2_f32)(&anchor, row),
        _ => -(kernel::available()[0].dot_f32)(&anchor, row),
    };
    let mut order: Vec<usize> = (0..sample.vectors.len()).collect();
    order.sort_by(|&a, &b| key(&sample.vectors[a]).total_cmp(&key(&sample.vectors[b])));
    for (rank, &row) in order.iter().enumerate() {
        sample.payloads[row].insert("far".into(), json!(rank));
    }
}

#[test]
fn every_plan_finds_nearly_all_however_filter_and_query_correlate() {
    for datatype in [Datatype::Float32, Datatype::Uint8] {
        for metric in Distance::ALL {
            // Below 32 dimensions and for Manhattan there are no codes.
            for dim in [40, 12] {
                let mut sample = Sample::new(2_400, dim, datatype, 20);
                by_distance(&mut sample, metric);
                let segment = sample.segment(params(dim as u32, metric, datatype));
                for range in [json!({"lt": 700}), json!({"gte": 1_700}), json!({"gte": 300})] {
                    let filter = Filter::from_json(&json!({"must": [{"key": "far", "range": range}]})).unwrap();
                    let truth = truth(&segment, &sample.vectors[0], 10, Some(&filter));
                    let asked = query(&sample.vectors[0], 10, false, Some(filter));
                    for plan in [Strategy::Scan, Strategy::Clusters, Strategy::FilteredGraph] {
                        let found = segment.search_by(&asked, Some(plan), &Unwatched).unwrap();
                        let recall = recall(&found.hits, &truth);
                        assert!(recall >= 0.8, "{datatype:?} {metric:?} {dim} {range} {plan:?}: {recall}");
                    }
                    let chosen = segment.search(&asked, &Unwatched).unwrap();
                    assert!(recall(&chosen.hits, &truth) >= 0.9, "{datatype:?} {metric:?} {dim} {range}");
                }
            }
        }
    }
}

/// Strings that no index holds make rows decide; a walk reads those of what it found, and all others stay packed.
#[test]
fn filters_that_rows_decide_are_walked_lazily() {
    let mut sample = Sample::new(6_000, 40, Datatype::Float32, 8);
    for (i, payload) in sample.payloads.iter_mut().enumerate() {
        payload.insert("long".into(), json!(format!("{} {}", if i % 3 == 0 { "yes" } else { "no" }, "x".repeat(300))));
    }
    let segment = sample.segment(params(40, Distance::Euclid, Datatype::Float32));
    let filter =
        |value: String| Filter::from_json(&json!({"must": [{"key": "long", "match": {"value": value}}]})).unwrap();
    let (wide, narrow) = (filter(format!("yes {}", "x".repeat(300))), filter("never".repeat(60)));
    let mut total = 0.0;
    for vector in sample.vectors.iter().step_by(400) {
        let truth = truth(&segment, vector, 10, Some(&wide));
        let found = segment.search(&query(vector, 10, false, Some(wide.clone())), &Unwatched).unwrap();
        assert_eq!((found.strategy, found.hits.len()), (Strategy::FilteredGraph, 10));
        assert!(found.hits.iter().all(|hit| segment.payload(hit.ordinal).unwrap().contains("yes")));
        total += recall(&found.hits, &truth);
        let none = segment.search(&query(vector, 10, false, Some(narrow.clone())), &Unwatched).unwrap();
        assert_eq!((none.strategy, none.hits.len()), (Strategy::Nothing, 0), "a walk finds none, so all rows are read");
    }
    assert!(total / 15.0 >= 0.95, "{}", total / 15.0);
}

#[test]
fn a_batch_is_its_queries_one_by_one_and_reads_the_rows_of_a_filter_once() {
    let mut sample = Sample::new(3_000, 40, Datatype::Float32, 9);
    for (i, payload) in sample.payloads.iter_mut().enumerate() {
        payload.insert("deep".into(), json!([[i % 3]]));
    }
    let segment = sample.segment(params(40, Distance::Euclid, Datatype::Float32));
    let filters = [
        None,
        Some(json!({"must": [{"key": "half", "match": {"value": true}}]})),
        Some(json!({"must": [{"key": "deep[][]", "match": {"value": 1}}]})),
    ];
    let filters = filters.map(|filter| filter.map(|filter| Filter::from_json(&filter).unwrap()));
    let queries: Vec<VectorQuery> =
        (0..30).map(|i| query(&sample.vectors[i * 90], 5 + i % 4, i % 2 == 0, filters[i % 3].clone())).collect();
    let found = segment.search_batch(&queries, None, &Unwatched).unwrap();
    assert_eq!(found.len(), queries.len());
    for (query, found) in queries.iter().zip(&found) {
        let alone = segment.search(query, &Unwatched).unwrap();
        assert_eq!(recall(&found.hits, &alone.hits), 1.0, "{:?} {:?}", found.strategy, alone.strategy);
        assert_eq!(found.hits.len(), query.k);
    }
    // Every look at a row looks at the watch.
    let looks = |queries: &[VectorQuery]| {
        let looks = Looks::default();
        segment.search_batch(queries, None, &looks).unwrap();
        looks.0.into_inner()
    };
    let rows: Vec<VectorQuery> = queries.iter().filter(|query| query.filter == filters[2]).cloned().collect();
    let (two, all) = (looks(&rows[..2]), looks(&rows));
    assert!(two >= 3_000 && all < two + 1_000, "{two} looks for two queries, {all} for {}", rows.len());
    assert!(segment.search_batch(&[], None, &Unwatched).unwrap().is_empty());
    let wrong = [queries[0].clone(), VectorQuery { vector: vec![1.0], ..queries[1].clone() }];
    assert!(segment.search_batch(&wrong, None, &Unwatched).is_err());
}

/// Counts how often it is looked at.
#[derive(Default)]
struct Looks(std::sync::atomic::AtomicUsize);

impl Watch for Looks {
    fn cancelled(&self) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        false
    }
}

#[test]
fn a_search_outward_scores_few_of_many_matches() {
    let sample = Sample::new(12_000, 40, Datatype::Float32, 21);
    let segment = sample.segment(params(40, Distance::Euclid, Datatype::Float32));
    let filter = Filter::from_json(&json!({"must": [{"key": "half", "match": {"value": true}}]})).unwrap();
    let found = segment
        .search_by(&query(&sample.vectors[1], 10, false, Some(filter)), Some(Strategy::Clusters), &Unwatched)
        .unwrap();
    assert!((1_000..5_500).contains(&found.usage.vectors_scored), "{}", found.usage.vectors_scored);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_plan_keeps_the_filter_on_segments_of_any_size(
        count in 1usize..300, dim in prop::sample::select(vec![3usize, 33]), below in 0u64..320, k in 1usize..40, seed: u64,
    ) {
        let sample = Sample::new(count, dim, Datatype::Float32, seed);
        let segment = sample.segment(params(dim as u32, Distance::Euclid, Datatype::Float32));
        let filter = Filter::from_json(&json!({"must": [{"key": "n", "range": {"lt": below}}]})).unwrap();
        let truth = truth(&segment, &sample.vectors[0], k, Some(&filter));
        let asked = query(&sample.vectors[0], k, false, Some(filter));
        for plan in Strategy::ALL {
            let found = segment.search_by(&asked, Some(plan), &Unwatched).unwrap();
            let exhaustive = [Strategy::Exact, Strategy::Scan, Strategy::Clusters].contains(&plan);
            if exhaustive {
                prop_assert_eq!(found.hits.len(), truth.len(), "{:?}", plan);
                prop_assert!(recall(&found.hits, &truth) >= 0.9, "{:?}", plan);
            }
            for hit in &found.hits {
                let payload: Payload = serde_json::from_str(&segment.payload(hit.ordinal).unwrap()).unwrap();
                prop_assert!(payload["n"].as_u64().unwrap() < below, "{:?}", plan);
            }
        }
    }
}
