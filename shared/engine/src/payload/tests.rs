use cairn_model::{Filter, Payload, PointId};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::json;

use super::{
    samples::{Sections, VECTOR, filter, points},
    *,
};
use crate::{Error, Unwatched};

fn expected(filter: &Filter, points: &[(PointId, Payload)]) -> RoaringBitmap {
    let passes = |(id, payload): &(PointId, Payload)| matches(filter, *id, payload, &|name| name == VECTOR);
    (0..).zip(points).filter(|(_, point)| passes(point)).map(|(ordinal, _)| ordinal).collect()
}

/// The points that pass, as sets find them and as a search asks for them, which may come as a few ordinals.
fn found(filter: &Filter, view: &View<'_>) -> crate::Result<RoaringBitmap> {
    let found = allowed(filter, view, &Unwatched)?;
    let doubt = Doubt::new(filter, view, &Unwatched)?;
    assert_eq!(doubt.settle()?, found, "{filter:#?}");
    assert_eq!(doubt.among(found.iter().step_by(2))?, found.iter().step_by(2).collect(), "{filter:#?}");
    if let Some(few) = doubt.few() {
        assert_eq!((doubt.rows(), doubt.candidates()), (0, found.len()));
        assert!(few.iter().copied().eq(&found), "{filter:#?}");
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_is_allowed_is_what_matches(points in points(0..30), filters in proptest::collection::vec(filter(), 1..6)) {
        let sections = Sections::new(&points, 4);
        let view = sections.view().unwrap();
        for filter in &filters {
            let expected = expected(filter, &points);
            prop_assert_eq!(&found(filter, &view).unwrap(), &expected, "{:#?}", filter);
            let (least, most) = cardinality_bounds(filter, &view, &Unwatched).unwrap();
            prop_assert!(least <= expected.len() && expected.len() <= most);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        points in points(1..20),
        filters in proptest::collection::vec(filter(), 1..4),
        flips in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut sections = Sections::new(&points, 4);
        for (in_ids, at, value) in flips {
            let section = if in_ids { &mut sections.ids } else { &mut sections.fields };
            let at = at.index(section.len());
            section[at] = value;
        }
        if let Ok(view) = sections.view() {
            let _ = (view.fields.verify(), view.ids.verify());
            for filter in &filters {
                let searched = Doubt::new(filter, &view, &Unwatched).and_then(|doubt| doubt.settle());
                for found in [allowed(filter, &view, &Unwatched), searched] {
                    match found {
                        Ok(found) => prop_assert!(found.max().is_none_or(|max| max < sections.points)),
                        Err(error) => prop_assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
                    }
                }
            }
        }
    }
}

/// Many points of a few kinds, so that lists become bitmaps and columns are grouped.
fn many(count: u64) -> Vec<(PointId, Payload)> {
    let payload = |i: u64| {
        let mut payload = json!({
            "kind": format!("kind {}", i % 7),
            "name": format!("name {:06}", i * 7_919 % count),
            "year": 1990 + i * 31 % 30,
            "at": format!("2024-{:02}-{:02}T00:00:00Z", 1 + i % 12, 1 + i % 28),
            "rare": if i.is_multiple_of(997) { json!(i) } else { json!(null) },
            "tags": (0..i % 4).map(|tag| format!("tag {}", (i + tag) % 10)).collect::<Vec<_>>(),
            "score": (i * 7 % 1_000) as f64 / 8.0,
            "home": {"lon": (i % 360) as f64 - 180.0, "lat": (i * 7 % 180) as f64 - 90.0},
            "stops": [{"lon": (i % 100) as f64, "lat": 1, "open": i.is_multiple_of(2)}, {"lon": 2, "lat": 2, "open": i.is_multiple_of(3)}],
        });
        if i.is_multiple_of(5) {
            payload["flag"] = json!(i.is_multiple_of(2));
        }
        payload.as_object().unwrap().clone()
    };
    (0..count).map(|i| (PointId::Num(i * 3), payload(i))).collect()
}

#[test]
fn large_sets_are_found_too() {
    let points = many(5_000);
    let sections = Sections::new(&points, 64);
    let view = sections.view().unwrap();
    view.fields.verify().unwrap();
    for filter in [
        json!({"must": [{"key": "kind", "match": {"value": "kind 3"}}]}),
        json!({"must": [{"key": "name", "match": {"any": ["name 000010", "name 004999", "nobody"]}}]}),
        json!({"must": [{"key": "year", "match": {"value": 2001}}]}),
        json!({"must": [{"key": "year", "range": {"gte": 1995, "lt": 2010}}]}),
        json!({"must": [{"key": "at", "range": {"gt": "2024-03-01", "lte": "2024-03-20"}}]}),
        json!({"must": [{"key": "tags", "match": {"except": ["tag 1", "tag 2"]}}]}),
        json!({"must": [{"key": "tags", "values_count": {"gte": 2}}]}),
        json!({"must": [{"is_empty": {"key": "flag"}}], "must_not": [{"is_empty": {"key": "tags"}}]}),
        json!({"must": [{"is_null": {"key": "rare"}}, {"key": "score", "range": {"lt": 3.5}}]}),
        json!({"must": [{"key": "flag", "match": {"value": true}}, {"key": "tags[0]", "match": {"value": "tag 0"}}]}),
        json!({"must": [{"key": "name", "match": {"text": "me 0012"}}]}),
        json!({"must": [{"key": "name", "match": {"prefix": "name 00"}}, {"slice": {"index": 1, "total": 3}}]}),
        json!({"must": [{"key": "home", "geo_radius": {"center": {"lon": 8.5, "lat": 47.4}, "radius": 900_000}}]}),
        json!({"must": [{"key": "home", "geo_bounding_box": {"top_left": {"lon": 170, "lat": 40}, "bottom_right": {"lon": -170, "lat": -40}}}]}),
        json!({"must": [{"key": "stops[]", "geo_polygon": {"exterior": {"points": [
            {"lon": 10, "lat": 0}, {"lon": 20, "lat": 0}, {"lon": 15, "lat": 9}, {"lon": 10, "lat": 0}]}}}]}),
        json!({"must": [{"nested": {"key": "stops", "filter": {"must": [
            {"key": "open", "match": {"value": true}}, {"key": "lon", "range": {"gt": 90}}]}}}, {"has_vector": VECTOR}]}),
        json!({"should": [{"has_id": [0, 3, 4, 14_997]}, {"key": "rare", "range": {"gte": 0}}]}),
    ] {
        let filter = Filter::from_json(&filter).unwrap();
        let found = found(&filter, &view).unwrap();
        assert_eq!(found, expected(&filter, &points), "{filter:?}");
        assert!(!found.is_empty(), "{filter:?}");
    }
}

#[test]
fn few_points_come_as_ordinals_without_the_dead() {
    let points = many(5_000);
    let sections = Sections::new(&points, 64);
    let dead: RoaringBitmap = (0..5_000).filter(|ordinal| ordinal % 3 == 0).collect();
    let mut view = sections.view().unwrap();
    for (few, filter) in [
        // Fewer than one in 128, and more.
        (true, json!({"must": [{"key": "score", "range": {"lt": 0.5}}]})),
        (true, json!({"must": [{"key": "year", "range": {"gte": 1995, "lt": 1998}}]})),
        (true, json!({"must": [{"key": "year", "match": {"value": 2001}}]})),
        (true, json!({"must": [{"key": "rare", "range": {"gte": 997}}]})),
        (true, json!({"must": [{"key": "at", "range": {"gte": "2024-03-01", "lt": "2024-03-20"}}]})),
        (true, json!({"must": [{"key": "kind", "range": {"gt": 0}}]})),
        // Many, and filters that no column answers alone.
        (false, json!({"must": [{"key": "year", "range": {"gte": 1995, "lt": 2010}}]})),
        (false, json!({"must": [{"key": "year", "match": {"value": 2001}}, {"key": "rare", "range": {"gte": 0}}]})),
        (false, json!({"must_not": [{"key": "year", "range": {"gte": 1991}}]})),
        (false, json!({"should": [{"key": "year", "match": {"value": 2001}}]})),
        (false, json!({"must": [{"key": "tags[0]", "range": {"gte": 1}}]})),
    ] {
        let filter = Filter::from_json(&filter).unwrap();
        let expected = expected(&filter, &points);
        for dead in [None, Some(&dead)] {
            view.dead = dead;
            let living = dead.map_or_else(|| expected.clone(), |dead| &expected - dead);
            assert_eq!(found(&filter, &view).unwrap(), living, "{filter:?}");
            assert_eq!(Doubt::new(&filter, &view, &Unwatched).unwrap().few().is_some(), few, "{filter:?}");
        }
    }
}

#[test]
fn only_rows_that_the_indexes_leave_open_are_read() {
    let points = many(5_000);
    let mut sections = Sections::new(&points, 64);
    // Rows that cannot be read fail whoever reads them.
    let from = sections.rows.len() / 2;
    sections.rows[from..].fill(0xff);
    let entry = sections.rows.len();
    sections.rows[entry - 1] = 0xff;
    let view = sections.view().unwrap();
    let check = |json: serde_json::Value| allowed(&Filter::from_json(&json).unwrap(), &view, &Unwatched);
    let index_step = json!({"key": "tags[0]", "match": {"value": "tag 5"}});
    assert!(check(json!({"must": [index_step]})).is_err());
    assert!(check(json!({"must": [{"key": "year", "range": {"lt": 0}}, index_step]})).unwrap().is_empty());
    assert!(check(json!({"must": [{"has_id": [0, 30, 300]}, index_step]})).is_ok());
    assert_eq!(check(json!({"should": [{"is_empty": {"key": "nope"}}, index_step]})).unwrap().len(), 5_000);
    assert!(check(json!({"must": [{"key": "nope[3].x", "match": {"value": 1}}]})).unwrap().is_empty());
    // A text that no string has, and places and elements that no column allows.
    assert!(check(json!({"must": [{"key": "kind", "match": {"text": "kind 8"}}]})).unwrap().is_empty());
    assert_eq!(check(json!({"must": [{"key": "kind", "match": {"prefix": "kind"}}]})).unwrap().len(), 5_000);
    let north = json!({"center": {"lon": 0, "lat": 89.9}, "radius": 10});
    assert!(check(json!({"must": [{"key": "home", "geo_radius": north}]})).unwrap().is_empty());
    let stop = |test: serde_json::Value| json!({"must": [{"nested": {"key": "stops", "filter": {"should": [test]}}}]});
    assert!(check(stop(json!({"key": "lon", "range": {"lt": 0}}))).unwrap().is_empty());
    assert!(check(stop(json!({"has_id": [0]}))).unwrap().is_empty());
    assert!(check(stop(json!({"key": "lon", "range": {"lt": 1}}))).is_err());
}

#[test]
fn more_fields_than_are_indexed_still_answer() {
    let count = fields::FIELDS_MAX + 50;
    let payload = |i: usize| json!({format!("key {i}"): i, "shared": i % 2}).as_object().unwrap().clone();
    let points: Vec<_> = (0..count).map(|i| (PointId::Num(i as u64), payload(i))).collect();
    let sections = Sections::new(&points, 64);
    let view = sections.view().unwrap();
    view.fields.verify().unwrap();
    assert!(!view.fields.is_complete());
    assert_eq!(view.fields.names().unwrap().len(), fields::FIELDS_MAX);
    for i in [0, 100, count - 1, count] {
        let key = format!("key {i}");
        for filter in [
            json!({"must": [{"key": key, "match": {"value": i}}]}),
            json!({"must": [{"is_empty": {"key": key}}, {"key": "shared", "match": {"value": 1}}]}),
            json!({"must": [{"key": key, "values_count": {"gte": 1}}]}),
        ] {
            let filter = Filter::from_json(&filter).unwrap();
            assert_eq!(allowed(&filter, &view, &Unwatched).unwrap(), expected(&filter, &points), "{filter:?}");
        }
    }
}

#[test]
fn a_cancelled_evaluation_says_so() {
    let sections = Sections::new(&many(100), 64);
    let view = sections.view().unwrap();
    let filter = Filter::from_json(&json!({"must": [{"key": "tags[0]", "match": {"value": "tag 5"}}]})).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(true);
    assert_eq!(allowed(&filter, &view, &stop), Err(Error::Cancelled));
    let filter = Filter::from_json(&json!({"must": [{"key": "year", "match": {"value": 2001}}]})).unwrap();
    assert!(matches!(Doubt::new(&filter, &view, &stop), Err(Error::Cancelled)));
}
