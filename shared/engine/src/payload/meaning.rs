//! What a filter means for one payload, as Qdrant has it. Whatever answers filters faster must agree with this.

use std::collections::HashSet;

use cairn_model::{Condition, FieldTest, Filter, Match, Path, Payload, PointId, Scalar, Step, filter::parse_datetime};
use serde_json::Value;

/// Whether the point `id` with `payload` satisfies `filter`.
#[must_use]
pub fn matches(filter: &Filter, id: PointId, payload: &Payload) -> bool {
    holds(filter, payload, &|ids| ids.contains(&id))
}

/// The same, with a point known by which lists of ids contain its own.
pub(super) fn holds(filter: &Filter, payload: &Payload, is_among: &dyn Fn(&[PointId]) -> bool) -> bool {
    let condition = |condition: &Condition| match condition {
        Condition::Field { key, tests } => field(key, tests, payload),
        Condition::IsEmpty(key) => key.values(payload).into_iter().all(is_empty),
        Condition::IsNull(key) => key.values(payload).into_iter().any(is_null),
        Condition::HasId(ids) => is_among(ids),
        Condition::Filter(filter) => holds(filter, payload, is_among),
    };
    filter.must.iter().all(condition)
        && !filter.must_not.iter().any(condition)
        && (filter.should.is_empty() || filter.should.iter().any(condition))
        && filter.min_should.as_ref().is_none_or(|min_should| {
            let count = min_should.conditions.iter().filter(|one| condition(one)).take(min_should.min_count).count();
            count == min_should.min_count
        })
}

/// Adds the first keys of all paths in `filter`: what else a payload has makes no difference.
pub(super) fn add_keys<'f>(filter: &'f Filter, keys: &mut HashSet<&'f str>) {
    let min_should = filter.min_should.iter().flat_map(|min_should| &min_should.conditions);
    for condition in filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(min_should) {
        match condition {
            Condition::Field { key, .. } | Condition::IsEmpty(key) | Condition::IsNull(key) => {
                if let Some(Step::Key(first)) = key.steps().first() {
                    keys.insert(first);
                }
            }
            Condition::HasId(_) => {}
            Condition::Filter(filter) => add_keys(filter, keys),
        }
    }
}

fn field(key: &Path, tests: &[FieldTest], payload: &Payload) -> bool {
    let values = key.values(payload);
    tests.iter().any(|test| match test {
        // The one test that a missing field can pass.
        FieldTest::ValuesCount(range) if values.is_empty() => range.contains(0),
        FieldTest::ValuesCount(range) => values.iter().any(|value| range.contains(count(value))),
        _ => values.iter().any(|value| match value {
            Value::Array(elements) => elements.iter().any(|element| passes(test, element)),
            value => passes(test, value),
        }),
    })
}

/// Whether one value, not entered if it is an array, passes.
fn passes(test: &FieldTest, value: &Value) -> bool {
    match test {
        FieldTest::Match(Match::Value(wanted)) => equals(wanted, value),
        FieldTest::Match(Match::Any(wanted)) => wanted.iter().any(|wanted| equals(wanted, value)),
        FieldTest::Match(Match::Except(unwanted)) => {
            !value.is_null() && !unwanted.iter().any(|unwanted| equals(unwanted, value))
        }
        FieldTest::Range(range) => value.as_f64().is_some_and(|number| range.contains(number)),
        FieldTest::DatetimeRange(range) => {
            value.as_str().and_then(parse_datetime).is_some_and(|moment| range.contains(moment))
        }
        FieldTest::ValuesCount(_) => false,
    }
}

fn equals(wanted: &Scalar, value: &Value) -> bool {
    match wanted {
        Scalar::Keyword(text) => value.as_str() == Some(text),
        Scalar::Integer(number) => value.as_i64() == Some(*number),
        Scalar::Bool(wanted) => value.as_bool() == Some(*wanted),
    }
}

/// What `values_count` counts in one value.
fn count(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(elements) => elements.len() as u64,
        _ => 1,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

fn is_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.iter().any(Value::is_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(filter: serde_json::Value, payload: &serde_json::Value, expected: bool) {
        let parsed = Filter::from_json(&filter).unwrap();
        let payload = payload.as_object().unwrap();
        assert_eq!(matches(&parsed, PointId::Num(7), payload), expected, "{filter} on {payload:?}");
    }

    #[test]
    fn conditions_mean_what_they_mean_in_qdrant() {
        let payload = json!({
            "color": "red", "tags": ["a", "b"], "n": 5, "f": 5.0, "big": u64::MAX, "flag": true, "none": null,
            "empty": [], "nulls": [null, null], "nested": {"x": [1, 2]}, "list": [{"y": 1}, {"y": null}, {"y": [3, 4]}],
            "at": "2024-01-01T12:00:00Z", "deep": [["a"]], "object": {}, "mixed": [1, "one"],
        });
        let yes = |key: &str, test: serde_json::Value| {
            let mut condition = test.as_object().unwrap().clone();
            condition.insert("key".to_owned(), json!(key));
            check(json!({ "must": condition }), &payload, true);
        };
        let no = |key: &str, test: serde_json::Value| {
            let mut condition = test.as_object().unwrap().clone();
            condition.insert("key".to_owned(), json!(key));
            check(json!({ "must": condition }), &payload, false);
        };
        yes("color", json!({"match": {"value": "red"}}));
        no("color", json!({"match": {"value": "Red"}}));
        no("color", json!({"match": {"any": []}}));
        yes("color", json!({"match": {"except": []}}));
        no("color", json!({"match": {"except": ["red"]}}));
        yes("color", json!({"match": {"except": [1]}}));
        yes("tags", json!({"match": {"value": "b"}}));
        yes("tags", json!({"match": {"except": ["b"]}}));
        no("tags", json!({"match": {"except": ["b", "a"]}}));
        yes("n", json!({"match": {"value": 5}}));
        no("f", json!({"match": {"value": 5}}));
        yes("f", json!({"match": {"except": [5]}}));
        yes("f", json!({"range": {"gte": 5, "lte": 5}}));
        yes("big", json!({"range": {"gt": 1e19}}));
        yes("flag", json!({"match": {"value": true}}));
        yes("flag", json!({"match": {"except": ["x"]}}));
        no("none", json!({"match": {"except": ["x"]}}));
        no("missing", json!({"match": {"except": ["x"]}}));
        yes("object", json!({"match": {"except": ["x"]}}));
        no("deep", json!({"match": {"value": "a"}}));
        yes("deep[]", json!({"match": {"value": "a"}}));
        yes("list[].y", json!({"match": {"value": 4}}));
        no("list.y", json!({"match": {"value": 1}}));
        yes("list[0].y", json!({"match": {"value": 1}}));
        yes("nested.x", json!({"range": {"gt": 1}}));
        no("nested.x", json!({"range": {"gt": 2}}));
        yes("at", json!({"range": {"gte": "2024-01-01", "lt": "2024-01-02"}}));
        no("color", json!({"range": {"gte": "2024-01-01"}}));
        yes("tags", json!({"values_count": {"gte": 2}}));
        yes("missing", json!({"values_count": {"lt": 1}}));
        yes("none", json!({"values_count": {"lte": 0}}));
        yes("list[].y", json!({"values_count": {"gt": 1}}));
        yes("none", json!({"is_null": true}));
        yes("nulls", json!({"is_null": true}));
        no("missing", json!({"is_null": true}));
        yes("missing", json!({"is_empty": true}));
        yes("empty", json!({"is_empty": true}));
        no("nulls", json!({"is_empty": true}));
        yes("mixed", json!({"match": {"except": [1]}}));
    }

    #[test]
    fn clauses_combine() {
        let payload = json!({"a": 1, "b": 2});
        let is = |key: &str, value: i64| json!({"key": key, "match": {"value": value}});
        check(json!({}), &payload, true);
        check(json!({"must": [is("a", 1), is("b", 2)]}), &payload, true);
        check(json!({"must": [is("a", 1), is("b", 3)]}), &payload, false);
        check(json!({"should": [is("a", 9), is("b", 2)]}), &payload, true);
        check(json!({"should": [is("a", 9)]}), &payload, false);
        check(json!({"must_not": [is("a", 9)]}), &payload, true);
        check(json!({"must_not": [is("a", 9), is("b", 2)]}), &payload, false);
        for (min_count, expected) in [(0, true), (1, true), (2, true), (3, false)] {
            let min_should = json!({"conditions": [is("a", 1), is("a", 8), is("a", 1)], "min_count": min_count});
            check(json!({ "min_should": min_should }), &payload, expected);
        }
        check(json!({"must": [{"has_id": [7]}, {"must_not": [{"has_id": [8]}]}]}), &payload, true);
    }
}
