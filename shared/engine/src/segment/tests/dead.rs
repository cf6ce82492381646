//! A segment with dead points answers as one that was built without them.

use std::sync::OnceLock;

use roaring::RoaringBitmap;

use super::*;
use crate::segment::{Along, decode_dead, encode_dead};

const DIM: usize = 40;

fn filters() -> Vec<Option<Filter>> {
    let parse = |filter: &serde_json::Value| Some(Filter::from_json(filter).unwrap());
    vec![
        None,
        parse(&json!({})),
        parse(&json!({"must": [{"key": "half", "match": {"value": true}}]})),
        parse(&json!({"must_not": [{"key": "cat", "match": {"any": ["c1", "c2"]}}]})),
        parse(&json!({"must": [{"key": "n", "range": {"lt": 40}}]})),
        // Only rows tell these two.
        parse(&json!({"must": [{"key": "deep[][]", "match": {"value": 1}}]})),
        parse(&json!({"should": [{"has_id": [1, 4, 7, 10]}, {"key": "deep[][]", "match": {"value": 2}}]})),
    ]
}

fn sample(count: usize) -> Sample {
    let mut sample = Sample::new(count, DIM, Datatype::Float32, 31);
    for (i, payload) in sample.payloads.iter_mut().enumerate() {
        payload.insert("deep".into(), json!([[i % 3]]));
    }
    sample
}

/// The sample without the rows of `dead`, which are numbered as the sample is.
fn rest(sample: &Sample, dead: &[bool]) -> Sample {
    let mut rest = Sample { ids: vec![], vectors: vec![], payloads: vec![] };
    for (i, _) in dead.iter().enumerate().filter(|(_, dead)| !**dead) {
        rest.ids.push(sample.ids[i]);
        rest.vectors.push(sample.vectors[i].clone());
        rest.payloads.push(sample.payloads[i].clone());
    }
    rest
}

fn rows(segment: &Segment, sample: &Sample, dead: &[bool]) -> Arc<RoaringBitmap> {
    let ids = dead.iter().zip(&sample.ids).filter(|(dead, _)| **dead).map(|(_, id)| *id);
    Arc::new(segment.ordinals_of(&mut { ids }).unwrap())
}

fn by_id(segment: &Segment, hits: &[Hit]) -> Vec<(PointId, f32)> {
    hits.iter().map(|hit| (segment.id(hit.ordinal).unwrap(), hit.distance)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_read_is_that_of_a_segment_without_the_dead(
        seed: u64, share in prop_oneof![Just(0.01), Just(0.3), Just(0.6), Just(0.95)], at in 0usize..400,
    ) {
        static WHOLE: OnceLock<(Sample, Arc<Segment>)> = OnceLock::new();
        let params = params(DIM as u32, Distance::Euclid, Datatype::Float32);
        let (sample, whole) = WHOLE.get_or_init(|| {
            let sample = sample(400);
            let segment = sample.segment(params);
            (sample, segment)
        });
        let mut random = SplitMix64::new(seed);
        let mut dead: Vec<bool> = (0..400).map(|_| random.unit() < share).collect();
        dead[(at + 1) % 400] = false;
        let segment = whole.without(rows(whole, sample, &dead));
        let other = rest(sample, &dead);
        let built = other.segment(params);
        prop_assert_eq!(segment.live_len(), built.len());
        for (id, dead) in sample.ids.iter().zip(&dead) {
            prop_assert_eq!(segment.ordinal(*id).unwrap().is_none(), *dead);
        }
        let mut asked = Vec::new();
        for filter in filters() {
            prop_assert_eq!(segment.count(filter.as_ref(), &Unwatched).unwrap(), built.count(filter.as_ref(), &Unwatched).unwrap());
            let pages = [&segment, &*built].map(|segment| {
                let page = segment.scroll(Some(PointId::Num(30)), filter.as_ref(), 50, &Unwatched).unwrap();
                page.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
            });
            prop_assert_eq!(&pages[0], &pages[1]);
            let query = query(&sample.vectors[at], 12, true, filter);
            let expected = by_id(&built, &built.search(&query, &Unwatched).unwrap().hits);
            prop_assert_eq!(by_id(&segment, &segment.search(&query, &Unwatched).unwrap().hits), expected.clone());
            let ranges = segment.search_ranges(&query, Along::default(), &Unwatched).unwrap().hits;
            prop_assert_eq!(by_id(&segment, &ranges), expected.clone());
            asked.push((query, expected));
        }
        // The same in one batch, each twice, so that filters are shared.
        let queries: Vec<VectorQuery> = asked.iter().chain(&asked).map(|(query, _)| query.clone()).collect();
        let found = segment.search_batch(&queries, None, &Unwatched).unwrap();
        for (found, (_, expected)) in found.iter().zip(asked.iter().chain(&asked)) {
            prop_assert_eq!(&by_id(&segment, &found.hits), expected);
        }
        // Approximately, by every plan: none of the dead, and as many as there are.
        for (query, expected) in asked {
            let mut query = VectorQuery { params: SearchParams::default(), ..query };
            query.params.recall = Some(0.99);
            for plan in [None].into_iter().chain(Strategy::ALL.map(Some)) {
                let hits = segment.search_by(&query, plan, &Unwatched).unwrap().hits;
                prop_assert_eq!(hits.len(), expected.len(), "{:?}", plan);
                prop_assert!(hits.iter().all(|hit| !segment.dead().is_some_and(|dead| dead.contains(hit.ordinal))));
            }
        }
    }
}

#[test]
fn few_dead_points_cost_little_and_recall_stays() {
    let sample = sample(6_000);
    for distance in [Distance::Euclid, Distance::Manhattan] {
        let whole = sample.segment(params(DIM as u32, distance, Datatype::Float32));
        let hot = whole.expand(|bytes| Some(Box::new(vec![0u8; bytes])), &pool(), &Unwatched).unwrap();
        for (one_in, dearer) in [(50, 1.15), (3, 2.5)] {
            let dead: Vec<bool> = (0..6_000).map(|i| i % one_in == 0).collect();
            let segment = whole.without(rows(&whole, &sample, &dead));
            let (mut scored, mut usual, mut walked, mut expanded) = (0, 0, 0.0, 0.0);
            for vector in sample.vectors.iter().step_by(200) {
                let asked = query(vector, 10, false, None);
                usual += whole.search(&asked, &Unwatched).unwrap().usage.vectors_scored;
                let exact = segment.search(&query(vector, 10, true, None), &Unwatched).unwrap().hits;
                let found = segment.search(&asked, &Unwatched).unwrap();
                assert_eq!(found.strategy, Strategy::Graph);
                scored += found.usage.vectors_scored;
                walked += recall(&found.hits, &exact);
                if let Some(hot) = &hot {
                    let found = segment.search_hot(hot, &asked, &Unwatched).unwrap();
                    assert_eq!(found.strategy, Strategy::Hot);
                    expanded += recall(&found.hits, &exact);
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let ratio = scored as f64 / usual as f64;
            assert!(ratio < dearer, "{distance:?}, one in {one_in}: {ratio}");
            assert!(walked / 30.0 >= 0.97 && (hot.is_none() || expanded / 30.0 >= 0.97), "{walked} {expanded}");
        }
    }
}

#[test]
fn where_all_around_the_query_is_dead_the_living_are_found() {
    let sample = sample(3_000);
    let segment = sample.segment(params(DIM as u32, Distance::Euclid, Datatype::Float32));
    let near = segment.search(&query(&sample.vectors[9], 1_000, true, None), &Unwatched).unwrap().hits;
    let segment = segment.without(Arc::new(near.iter().map(|hit| hit.ordinal).collect()));
    let exact = segment.search(&query(&sample.vectors[9], 10, true, None), &Unwatched).unwrap().hits;
    let found = segment.search(&query(&sample.vectors[9], 10, false, None), &Unwatched).unwrap();
    assert!(found.strategy == Strategy::Clusters && recall(&found.hits, &exact) >= 0.9, "{:?}", found.strategy);
}

#[test]
fn the_dead_add_up_and_ordinals_past_the_end_mean_nothing() {
    let sample = sample(100);
    let segment = sample.segment(params(DIM as u32, Distance::Euclid, Datatype::Float32));
    let of = |ordinals: &[u32]| Arc::new(ordinals.iter().copied().collect::<RoaringBitmap>());
    assert!(segment.without(of(&[])).dead().is_none() && segment.without(of(&[100, u32::MAX])).dead().is_none());
    let dead = of(&[3, 4]);
    let some = segment.without(Arc::clone(&dead));
    assert!(Arc::ptr_eq(some.dead().unwrap(), &dead) && some.live_len() == 98);
    let more = some.without(of(&[4, 5, 700]));
    assert_eq!((more.dead(), more.live_len(), more.len()), (Some(&of(&[3, 4, 5])), 97, 100));
    let all = segment.without(Arc::new((0..200).collect()));
    assert_eq!(all.count(None, &Unwatched).unwrap(), 0);
    let found = all.search(&query(&sample.vectors[0], 5, false, None), &Unwatched).unwrap();
    assert_eq!((found.hits, found.strategy), (vec![], Strategy::Nothing));
    let mut seen = Vec::new();
    let visited = more.each(|id, vectors, payload| {
        seen.push((id, vectors.clone(), payload.to_owned()));
        Ok::<_, Error>(())
    });
    visited.unwrap();
    let living = (0..100).filter(|ordinal| ![3, 4, 5].contains(ordinal));
    let expected: Vec<_> = living
        .map(|ordinal| {
            (more.id(ordinal).unwrap(), more.vectors(ordinal, &|_| true).unwrap(), more.payload(ordinal).unwrap())
        })
        .collect();
    assert_eq!(seen, expected);
    let stopped = more.each(|_, _, _| Err(Error::invalid("visit", "enough")));
    assert_eq!(stopped, Err(Error::invalid("visit", "enough")));
    let bytes = encode_dead(more.dead().unwrap()).unwrap();
    assert_eq!(decode_dead(&bytes, 3).as_ref(), Ok(&**more.dead().unwrap()));
    for (bytes, count) in [(&bytes[..], 2), (&bytes[..bytes.len() - 1], 3), (b"?", 0)] {
        assert!(matches!(decode_dead(bytes, count), Err(Error::Corrupt { section: "dead", .. })));
    }
    // Another place of the same bytes knows the same.
    assert_eq!(more.over(Arc::new(sample.bytes(segment.params().unwrap()))).live_len(), 97);
}
