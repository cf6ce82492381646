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
    check_error(json!({"must": [{"key": "a"}]}), "filter.must[0]", "at least one");
    check_error(json!({"must": [{"has_id": [-1]}]}), "filter.must[0].has_id[0]", "point ID");
    check_error(json!({"must": [{"nested": {}}]}), "filter.must[0].nested", "not supported");
    check_error(json!({"min_should": {"conditions": []}}), "filter.min_should", "min_count");
}

#[test]
fn depth_and_width_are_bounded() {
    let mut deep = json!({"must": []});
    for _ in 0..40 {
        deep = json!({"must": [deep]});
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
