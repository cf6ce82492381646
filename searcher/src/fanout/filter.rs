//! What a query has beside its vector, as JSON in Qdrant's words: the same reader as a client's, with the same bounds, checks it.

use cairn_model::{
    Condition, FieldTest, Filter, GeoArea, Match, Range, Scalar, SearchParams, VectorQuery,
    filter::{GeoPoint, TextWant},
};
use chrono::{DateTime, Datelike as _, FixedOffset, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wire::{Result, wrong};
use crate::{
    api::selector::{Params, WithPayload, WithVector},
    select::{PayloadSelector, VectorSelector},
};

/// What a query has beside its vector.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) filter: Option<Filter>,
    pub(super) params: SearchParams,
    pub(super) payload: PayloadSelector,
    pub(super) vector: VectorSelector,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    filter: Option<Filter>,
    #[serde(default)]
    params: Params,
    payload: Option<WithPayload>,
    vector: Option<WithVector>,
}

impl Rest {
    pub(super) fn read(json: &[u8]) -> Result<Self> {
        const FIELD: &str = "a query's JSON";
        let body: Body = serde_json::from_slice(json).map_err(|error| wrong(FIELD, error))?;
        Ok(Self {
            filter: body.filter,
            params: body.params.check("").map_err(|error| wrong(FIELD, error))?,
            payload: body.payload.map(|with| with.0).unwrap_or_default(),
            vector: body.vector.map(|with| with.0).unwrap_or_default(),
        })
    }
}

/// The JSON that [`Rest::read`] reads.
pub(super) fn rest_text(query: &VectorQuery, payload: &PayloadSelector, vector: &VectorSelector) -> String {
    let payload = match payload {
        PayloadSelector::None => json!(false),
        PayloadSelector::All => json!(true),
        PayloadSelector::Include(paths) => json!({"include": paths}),
        PayloadSelector::Exclude(paths) => json!({"exclude": paths}),
    };
    let vector = match vector {
        VectorSelector::None => json!(false),
        VectorSelector::All => json!(true),
        VectorSelector::Names(names) => json!(names),
    };
    let (params, filter) = (params_json(&query.params), query.filter.as_ref().map(filter_json));
    json!({"filter": filter, "params": params, "payload": payload, "vector": vector}).to_string()
}

fn params_json(params: &SearchParams) -> Value {
    let SearchParams { ef, exact, recall, quantization, indexed_only, plan } = *params;
    json!({
        "hnsw_ef": ef,
        "exact": exact,
        // As doubles, whose text says exactly which float it was.
        "recall": recall.map(f64::from),
        "plan": plan,
        "quantization": {
            "ignore": quantization.ignore,
            "rescore": quantization.rescore,
            "oversampling": quantization.oversampling.map(f64::from),
        },
        "indexed_only": indexed_only,
    })
}

fn filter_json(filter: &Filter) -> Value {
    let clause = |conditions: &[Condition]| -> Vec<Value> { conditions.iter().map(condition_json).collect() };
    // All clauses, also empty ones: a nested filter is told from other conditions by them.
    let mut json = json!({
        "must": clause(&filter.must), "should": clause(&filter.should), "must_not": clause(&filter.must_not),
    });
    if let Some(least) = &filter.min_should {
        json["min_should"] = json!({"conditions": clause(&least.conditions), "min_count": least.min_count});
    }
    json
}

fn condition_json(condition: &Condition) -> Value {
    match condition {
        Condition::Field { key, tests } => field_json(&key.to_string(), tests),
        Condition::IsEmpty(key) => json!({"is_empty": {"key": key}}),
        Condition::IsNull(key) => json!({"is_null": {"key": key}}),
        Condition::HasId(ids) => json!({"has_id": ids}),
        Condition::HasVector(name) => json!({"has_vector": name}),
        Condition::Slice(slice) => json!({"slice": {"index": slice.index, "total": slice.total}}),
        Condition::Nested { key, filter } => json!({"nested": {"key": key, "filter": filter_json(filter)}}),
        Condition::Filter(filter) => match denied(filter) {
            // As it was read: a filter here would be a level and a condition more than a client was allowed.
            Some((key, name)) => json!({"key": key, name: false}),
            None => filter_json(filter),
        },
    }
}

/// The field of a filter that says only that a field is not empty, or not null.
fn denied(filter: &Filter) -> Option<(String, &'static str)> {
    let [only] = filter.must_not.as_slice() else { return None };
    if !filter.must.is_empty() || !filter.should.is_empty() || filter.min_should.is_some() {
        return None;
    }
    match only {
        Condition::IsEmpty(key) => Some((key.to_string(), "is_empty")),
        Condition::IsNull(key) => Some((key.to_string(), "is_null")),
        _ => None,
    }
}

fn field_json(key: &str, tests: &[FieldTest]) -> Value {
    let mut json = Map::from_iter([("key".to_owned(), json!(key))]);
    for test in tests {
        let (name, value) = test_json(test);
        if json.insert(name.to_owned(), value).is_some() {
            // Two of a kind, which no JSON has: alternatives by another name.
            let each: Vec<Value> = tests.iter().map(|test| field_json(key, std::slice::from_ref(test))).collect();
            return json!({"should": each});
        }
    }
    Value::Object(json)
}

fn test_json(test: &FieldTest) -> (&'static str, Value) {
    match test {
        FieldTest::Match(Match::Value(value)) => ("match", json!({"value": scalar_json(value)})),
        FieldTest::Match(Match::Any(values)) => ("match", json!({"any": scalars_json(values)})),
        FieldTest::Match(Match::Except(values)) => ("match", json!({"except": scalars_json(values)})),
        // Leaves resolve texts themselves: they know the collection's indexes.
        FieldTest::Match(Match::Text(wanted)) => {
            let kind = match wanted.want {
                TextWant::All => "text",
                TextWant::Any => "text_any",
                TextWant::Phrase => "phrase",
            };
            ("match", json!({kind: wanted.text}))
        }
        FieldTest::Match(Match::Prefix(prefix)) => ("match", json!({"prefix": prefix})),
        FieldTest::Geo(area) => area_json(area),
        FieldTest::Range(range) => ("range", range_json(range, |bound| json!(bound))),
        FieldTest::DatetimeRange(range) => ("range", range_json(range, |bound| json!(datetime_text(*bound)))),
        FieldTest::ValuesCount(range) => ("values_count", range_json(range, |bound| json!(bound))),
    }
}

fn area_json(area: &GeoArea) -> (&'static str, Value) {
    let place = |place: &GeoPoint| json!({"lon": place.lon, "lat": place.lat});
    let ring = |points: &Vec<GeoPoint>| json!({"points": points.iter().map(place).collect::<Vec<_>>()});
    match area {
        GeoArea::Box(area) => {
            let corners = json!({"top_left": place(&area.top_left), "bottom_right": place(&area.bottom_right)});
            ("geo_bounding_box", corners)
        }
        GeoArea::Circle(circle) => ("geo_radius", json!({"center": place(&circle.center), "radius": circle.radius_m})),
        GeoArea::Polygon(polygon) => {
            let interiors: Vec<Value> = polygon.interiors.iter().map(ring).collect();
            ("geo_polygon", json!({"exterior": ring(&polygon.exterior), "interiors": interiors}))
        }
    }
}

fn scalars_json(values: &[Scalar]) -> Vec<Value> {
    values.iter().map(scalar_json).collect()
}

fn scalar_json(value: &Scalar) -> Value {
    match value {
        Scalar::Keyword(text) => json!(text),
        Scalar::Integer(value) => json!(value),
        Scalar::Bool(value) => json!(value),
    }
}

fn range_json<T>(range: &Range<T>, bound: impl Fn(&T) -> Value) -> Value {
    let Range { gt, gte, lt, lte } = range;
    let bounds = [("gt", gt), ("gte", gte), ("lt", lt), ("lte", lte)];
    let present = bounds.into_iter().filter_map(|(name, value)| Some((name.to_owned(), bound(value.as_ref()?))));
    Value::Object(present.collect())
}

/// A datetime whose year has four digits, in the time zone in which it has: those at the ends of what can be written have only one.
fn datetime_text(micros: i64) -> String {
    let Some(time) = DateTime::<Utc>::from_timestamp_micros(micros) else { return String::new() };
    const FAR_SECONDS: i32 = (23 * 60 + 59) * 60;
    let offset = match time.year() {
        ..0 => FAR_SECONDS,
        10_000.. => -FAR_SECONDS,
        _ => 0,
    };
    match FixedOffset::east_opt(offset) {
        Some(zone) => time.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Micros, true),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again(filter: &Filter) -> Filter {
        let query = VectorQuery {
            using: String::new(),
            vector: Vec::new(),
            filter: Some(filter.clone()),
            k: 1,
            params: SearchParams::default(),
            score_threshold: None,
        };
        let text = rest_text(&query, &PayloadSelector::None, &VectorSelector::None);
        Rest::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).filter.unwrap()
    }

    #[test]
    fn every_clause_comes_back() {
        for text in [
            "{}",
            r#"{"must": [{"key": "a", "match": {"value": "x"}}, {"key": "b[].c", "match": {"value": -3}}]}"#,
            r#"{"should": [{"key": "a", "match": {"any": ["x", "y"]}}, {"key": "a", "match": {"except": [1, 2]}}]}"#,
            r#"{"must_not": [{"is_empty": {"key": "a"}}, {"is_null": {"key": "\"a b\".c"}}, {"has_id": [1, "00000000-0000-0000-0000-000000000001"]}]}"#,
            r#"{"min_should": {"conditions": [{"key": "a", "match": {"value": true}}], "min_count": 1}}"#,
            r#"{"must": [{"key": "a", "is_empty": false}, {"key": "a", "is_null": false}, {"must": []}, {"must": [{"should": []}]}]}"#,
            r#"{"must": [{"key": "a", "range": {"gt": 0.1, "lte": 1e300}, "match": {"any": []}, "values_count": {"lt": 3, "gte": 0}}]}"#,
            r#"{"must": [{"key": "a", "range": {"gte": "2024-01-02T03:04:05.678901+02:00", "lt": "2024-06-01"}}]}"#,
            r#"{"must": [{"has_vector": ""}, {"slice": {"index": 2, "total": 3}}, {"nested": {"key": "a.b", "filter": {"must_not": [{"nested": {"key": "c[]", "filter": {}}}]}}}]}"#,
            r#"{"should": [{"key": "a", "match": {"text": "x y"}}, {"key": "a", "match": {"text_any": "x"}}, {"key": "a", "match": {"phrase": "x y"}}, {"key": "a", "match": {"prefix": "x"}}]}"#,
            r#"{"must": [{"key": "a", "geo_radius": {"center": {"lon": 0.1, "lat": -3}, "radius": 1e3}}, {"key": "a", "geo_bounding_box": {"top_left": {"lon": 179.9, "lat": 1}, "bottom_right": {"lon": -179, "lat": 0.5}}}]}"#,
            r#"{"must": [{"key": "a", "geo_polygon": {"exterior": {"points": [{"lon": 0, "lat": 0}, {"lon": 1, "lat": 0}, {"lon": 1, "lat": 1}, {"lon": 0, "lat": 0}]}, "interiors": [{"points": [{"lon": 0.2, "lat": 0.1}, {"lon": 0.3, "lat": 0.1}, {"lon": 0.3, "lat": 0.2}, {"lon": 0.2, "lat": 0.1}]}]}}]}"#,
            r#"{"must": [{"key": "a"}]}"#,
            r#"{"must": [{"key": "a", "range": {"gte": "0000-01-01T00:00:00+23:00", "lt": "9999-12-31T23:59:59-23:00"}}]}"#,
        ] {
            let filter: Filter = serde_json::from_str(text).unwrap();
            assert_eq!(again(&filter), filter, "{text}");
        }
        let two = |tests: Vec<FieldTest>| Filter::must(Condition::Field { key: cairn_model::Path::key("a"), tests });
        let test = |value: i64| FieldTest::Match(Match::Value(Scalar::Integer(value)));
        let each = Filter { should: [1, 2].map(|v| two(vec![test(v)]).must.remove(0)).to_vec(), ..Filter::default() };
        assert_eq!(again(&two(vec![test(1), test(2)])), Filter::must(Condition::Filter(Box::new(each))));
    }

    #[test]
    fn parameters_and_selectors_come_back() {
        let quantization =
            cairn_model::QuantizationSearch { ignore: true, rescore: Some(false), oversampling: Some(1.1) };
        let params = SearchParams {
            ef: Some(77),
            exact: true,
            recall: Some(0.912_345_6),
            quantization,
            indexed_only: true,
            plan: cairn_model::SegmentPlan::Ranges,
        };
        let paths = || vec![cairn_model::Path::parse("a[].b").unwrap(), cairn_model::Path::key("c d")];
        let query =
            VectorQuery { using: String::new(), vector: Vec::new(), filter: None, k: 1, params, score_threshold: None };
        let selectors = [
            (PayloadSelector::None, VectorSelector::None),
            (PayloadSelector::All, VectorSelector::All),
            (PayloadSelector::Include(paths()), VectorSelector::Names(vec!["x".into(), String::new()])),
            (PayloadSelector::Exclude(paths()), VectorSelector::Names(Vec::new())),
        ];
        for (payload, vector) in selectors {
            let rest = Rest::read(rest_text(&query, &payload, &vector).as_bytes()).unwrap();
            assert_eq!((rest.params, rest.payload, rest.vector, rest.filter), (params, payload, vector, None));
        }
    }

    proptest! {
        #[test]
        fn datetimes_and_floats_come_back(micros in -62_135_596_800_000_000i64..253_402_300_799_999_999, float in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
            let test = |test| Filter::must(Condition::Field { key: cairn_model::Path::key("a"), tests: vec![test] });
            let date = test(FieldTest::DatetimeRange(Range { lt: Some(micros), ..Range::default() }));
            prop_assert_eq!(again(&date), date);
            let number = test(FieldTest::Range(Range { gte: Some(float), ..Range::default() }));
            prop_assert_eq!(again(&number), number);
        }
    }
}
