use serde_json::json;

use super::*;

fn check_error(json: serde_json::Value, at: &str, why: &str) {
    let error = Filter::from_json(&json).unwrap_err();
    assert_eq!(error.at, at, "{json}");
    assert!(error.why.contains(why), "{json}: {error}");
}

#[test]
fn every_clause_and_condition_parses() {
    let filter = Filter::from_json(&json!({
        "must": {"key": "a.b", "match": {"value": "x"}},
        "should": [{"key": "n", "range": {"gte": 1, "lt": 2.5}}, {"key": "d", "range": {"gt": "2024-01-01"}}],
        "must_not": [{"has_id": [1, "936DA01F9ABD4d9d80C702AF85C822A8"]}, {"is_null": {"key": "z"}}],
        "min_should": {"conditions": [{"key": "t", "match": {"any": ["p", "q"]}}, {"must": []}], "min_count": 1},
    }))
    .unwrap();
    assert_eq!(filter.must.len(), 1);
    let Condition::Field { tests, .. } = &filter.should[0] else { panic!() };
    assert_eq!(tests[0], FieldTest::Range(Range { gte: Some(1.0), lt: Some(2.5), ..Range::default() }));
    let Condition::Field { tests, .. } = &filter.should[1] else { panic!() };
    assert!(matches!(tests[0], FieldTest::DatetimeRange(Range { gt: Some(1_704_067_200_000_000), .. })));
    assert!(matches!(&filter.must_not[0], Condition::HasId(ids) if ids.len() == 2));
    assert_eq!(filter.min_should.unwrap().min_count, 1);
}

#[test]
fn the_short_forms_of_nullness_parse() {
    let filter = Filter::from_json(&json!({"must": [{"key": "a", "is_empty": false}]})).unwrap();
    let Condition::Filter(inner) = &filter.must[0] else { panic!() };
    assert_eq!(inner.must_not, vec![Condition::IsEmpty(Path::key("a"))]);
}

#[test]
fn mistakes_are_named_by_their_path() {
    check_error(json!([]), "filter", "expected an object");
    check_error(json!({"musst": []}), "filter.musst", "unknown field");
    check_error(json!({"must": [{"key": "a", "match": {"value": 1.5}}]}), "filter.must[0].match.value", "1.5");
    check_error(json!({"must": [{"key": "a", "match": {"any": [1, "x"]}}]}), "filter.must[0].match.any", "array");
    check_error(json!({"must": [{"key": "a", "range": {"ge": 1}}]}), "filter.must[0].range.ge", "gte");
    check_error(json!({"must": [{"key": "a", "range": {"gte": "soon"}}]}), "filter.must[0].range.gte", "RFC 3339");
    check_error(json!({"must": [{"key": "a[", "match": {"value": 1}}]}), "filter.must[0].key", "byte 1");
    check_error(json!({"must": [{"has_id": [-1]}]}), "filter.must[0].has_id[0]", "point ID");
    check_error(json!({"must": [{"nested": {}}]}), "filter.must[0].nested.key", "missing");
    check_error(json!({"must": [{"nested": {"key": "a"}}]}), "filter.must[0].nested", "missing field 'filter'");
    check_error(json!({"must": [{"has_vector": 1}]}), "filter.must[0].has_vector", "string");
    check_error(json!({"must": [{"has_vector": "a", "x": 1}]}), "filter.must[0].x", "unknown field");
    check_error(json!({"must": [{"slice": {"index": 1}}]}), "filter.must[0].slice", "total");
    check_error(json!({"must": [{"slice": {"index": -1, "total": 1}}]}), "filter.must[0].slice.index", "32 bits");
    check_error(json!({"must": [{"huh": 1}]}), "filter.must[0].huh", "unknown condition");
    check_error(json!({"must": [{"key": "a", "match": {"text": 1}}]}), "filter.must[0].match.text", "string");
    check_error(json!({"must": [{"key": "a", "match": {"like": 1}}]}), "filter.must[0].match.like", "text_any");
    check_error(
        json!({"must": [{"key": "a", "match": {"prefix": "x".repeat(70_000)}}]}),
        "filter.must[0].match.prefix",
        "65536",
    );
    check_error(json!({"min_should": {"conditions": []}}), "filter.min_should", "min_count");
}

#[test]
fn areas_parse() {
    let area = |json: serde_json::Value| {
        let mut condition = json.as_object().unwrap().clone();
        condition.insert("key".to_owned(), json!("place"));
        Filter::from_json(&json!({ "must": condition })).map(|mut filter| match filter.must.remove(0) {
            Condition::Field { mut tests, .. } => tests.remove(0),
            other => panic!("{other:?}"),
        })
    };
    let place = |lon, lat| GeoPoint { lon, lat };
    let corners = json!({"top_left": {"lon": 170, "lat": 10}, "bottom_right": {"lon": -170.5, "lat": -10}});
    let expected = GeoBox { top_left: place(170.0, 10.0), bottom_right: place(-170.5, -10.0) };
    assert_eq!(area(json!({"geo_bounding_box": corners})), Ok(FieldTest::Geo(GeoArea::Box(expected))));
    let expected = GeoCircle { center: place(1.0, 2.0), radius_m: 5.5 };
    let circle = json!({"center": {"lon": 1, "lat": 2}, "radius": 5.5});
    assert_eq!(area(json!({ "geo_radius": circle })), Ok(FieldTest::Geo(GeoArea::Circle(expected))));
    let ring = |points: &[(f64, f64)]| {
        let points: Vec<_> = points.iter().map(|(lon, lat)| json!({"lon": lon, "lat": lat})).collect();
        json!({ "points": points })
    };
    let square = ring(&[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)]);
    let polygon = area(json!({"geo_polygon": {"exterior": square, "interiors": [square]}})).unwrap();
    assert!(matches!(polygon, FieldTest::Geo(GeoArea::Polygon(GeoPolygon { interiors, .. })) if interiors.len() == 1));
    let at = "filter.must.geo_polygon";
    for (polygon, at, why) in [
        (json!({}), at.to_owned(), "missing field 'exterior'"),
        (
            json!({"exterior": ring(&[(0.0, 0.0), (1.0, 0.0), (0.0, 0.0)])}),
            format!("{at}.exterior.points"),
            "at least 4, got 3",
        ),
        (
            json!({"exterior": square, "interiors": [ring(&[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 0.0)])]}),
            format!("{at}.interiors[0].points"),
            "the first and the last",
        ),
        (json!({"exterior": ring(&[(0.0, 91.0)])}), format!("{at}.exterior.points[0]"), "within [-90, 90]"),
        (json!({"exterior": ring(&vec![(0.0, 0.0); 10_001])}), format!("{at}.exterior.points"), "at most 10000"),
    ] {
        let error = area(json!({ "geo_polygon": polygon })).unwrap_err();
        assert_eq!(error.at, at);
        assert!(error.why.contains(why), "{error}");
    }
}

#[test]
fn depth_and_width_are_bounded() {
    let mut deep = json!({"must": []});
    for _ in 0..40 {
        deep = json!({"must": [deep]});
    }
    assert!(Filter::from_json(&deep).unwrap_err().why.contains("deep"));
    let mut deep = json!({"must": []});
    for _ in 0..40 {
        deep = json!({"must": {"nested": {"key": "a", "filter": deep}}});
    }
    assert!(Filter::from_json(&deep).unwrap_err().why.contains("deep"));
    let wide = json!({"should": vec![json!({"is_null": {"key": "a"}}); 5_000]});
    assert!(Filter::from_json(&wide).unwrap_err().why.contains("4096"));
}

#[test]
fn datetimes_parse_in_all_of_qdrants_forms() {
    let noon = 1_704_110_400_000_000;
    for text in [
        "2024-01-01T12:00:00Z",
        "2024-01-01T13:00:00+01:00",
        "2024-01-01T12:00:00",
        "2024-01-01 12:00:00",
        "2024-01-01T12:00:00.000",
        "2024-01-01 12:00",
    ] {
        assert_eq!(parse_datetime(text), Some(noon), "{text}");
    }
    assert_eq!(parse_datetime("2024-01-01"), Some(noon - 12 * 3_600_000_000));
    for text in ["", "2024", "yesterday", "2024-13-01", "12345678"] {
        assert_eq!(parse_datetime(text), None, "{text}");
    }
}
