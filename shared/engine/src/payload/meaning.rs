//! What a filter means for one payload, as Qdrant has it. Whatever answers filters faster must agree with this.

use cairn_model::{Condition, FieldTest, Filter, Match, Path, Payload, PointId, Scalar, Slice, filter::parse_datetime};
use serde_json::Value;
use siphasher::sip::SipHasher24;

use super::{geo, text};

/// Whether the point `id` with `payload`, which has the vectors for whose names `has_vector` holds, satisfies `filter`.
#[must_use]
pub fn matches(filter: &Filter, id: PointId, payload: &Payload, has_vector: &dyn Fn(&str) -> bool) -> bool {
    holds(filter, payload, &|condition| match condition {
        Condition::HasId(ids) => ids.contains(&id),
        Condition::HasVector(name) => has_vector(name),
        Condition::Slice(slice) => is_in(slice, id),
        _ => false,
    })
}

/// The same, with `of_point` to answer those conditions that are not about the payload.
pub(super) fn holds(filter: &Filter, payload: &Payload, of_point: &dyn Fn(&Condition) -> bool) -> bool {
    let condition = |condition: &Condition| match condition {
        Condition::Field { key, tests } => field(key, tests, payload),
        Condition::IsEmpty(key) => key.values(payload).into_iter().all(is_empty),
        Condition::IsNull(key) => key.values(payload).into_iter().any(is_null),
        Condition::Nested { key, filter } => {
            let elements = key.values(payload).into_iter().filter_map(Value::as_object);
            // An element is no point.
            elements.into_iter().any(|element| holds(filter, element, &|_| false))
        }
        Condition::Filter(filter) => holds(filter, payload, of_point),
        Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice(_) => of_point(condition),
    };
    filter.must.iter().all(condition)
        && !filter.must_not.iter().any(condition)
        && (filter.should.is_empty() || filter.should.iter().any(condition))
        && filter.min_should.as_ref().is_none_or(|min_should| {
            let count = min_should.conditions.iter().filter(|one| condition(one)).take(min_should.min_count).count();
            count == min_should.min_count
        })
}

/// Whether a point belongs to a slice of all ids.
pub(super) fn is_in(slice: &Slice, id: PointId) -> bool {
    let hasher = SipHasher24::new();
    let hash = match id {
        PointId::Num(number) => hasher.hash(&number.to_le_bytes()),
        PointId::Uuid(uuid) => hasher.hash(uuid.as_bytes()),
    };
    hash.checked_rem(u64::from(slice.total)) == Some(u64::from(slice.index))
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
        FieldTest::Match(Match::Text(wanted)) => value.as_str().is_some_and(|string| text::contains(wanted, string)),
        FieldTest::Match(Match::Prefix(prefix)) => value.as_str().is_some_and(|string| string.starts_with(prefix)),
        FieldTest::Geo(area) => geo::place(value).is_some_and(|place| geo::contains(area, place)),
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
        let found = matches(&parsed, PointId::Num(7), payload, &|name| name == "image");
        assert_eq!(found, expected, "{filter} on {payload:?}");
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

    #[test]
    fn elements_of_arrays_are_asked_one_by_one() {
        let payload = json!({
            "diet": [{"food": "leaves", "likes": false}, {"food": "meat", "likes": true}, 3, null],
            "pet": {"food": "meat", "likes": false},
            "deep": [{"rows": [{"x": 1, "y": 2}]}, {"rows": [{"x": 3, "y": 4}]}],
        });
        let likes = |food: &str, likes: bool| json!({"must": [{"key": "food", "match": {"value": food}}, {"key": "likes", "match": {"value": likes}}]});
        let nested = |key: &str, filter: serde_json::Value| json!({"must": {"nested": {"key": key, "filter": filter}}});
        for key in ["diet", "diet[]"] {
            check(nested(key, likes("meat", true)), &payload, true);
            check(nested(key, likes("meat", false)), &payload, false);
        }
        // Only arrays have elements.
        check(nested("pet", likes("meat", false)), &payload, false);
        check(nested("missing", json!({})), &payload, false);
        check(nested("diet", json!({})), &payload, true);
        check(nested("diet", json!({"must_not": {"key": "food", "match": {"value": "meat"}}})), &payload, true);
        check(nested("diet", json!({"must": {"key": "wine", "is_empty": true}})), &payload, true);
        let inner = |x: i64, y: i64| {
            let is = |key: &str, value: i64| json!({"key": key, "match": {"value": value}});
            json!({"must": {"nested": {"key": "rows", "filter": {"must": [is("x", x), is("y", y)]}}}})
        };
        check(nested("deep", inner(3, 4)), &payload, true);
        check(nested("deep", inner(1, 4)), &payload, false);
        // What is asked of the point holds for no element.
        check(nested("diet", json!({"must": {"has_id": [7]}})), &payload, false);
        check(nested("diet", json!({"must": {"has_vector": "image"}})), &payload, false);
        check(nested("diet", json!({"must": {"slice": {"index": 0, "total": 1}}})), &payload, false);
    }

    #[test]
    fn places_and_vectors_and_slices_are_conditions_too() {
        let payload =
            json!({"at": {"lon": 13.4, "lat": 52.5}, "far": [{"lon": 200, "lat": 0}, {"lon": 2, "lat": 48}], "n": 1});
        let around = |lon: f64, lat: f64| json!({"center": {"lon": lon, "lat": lat}, "radius": 10_000});
        for (key, lon, lat, expected) in [
            ("at", 13.4, 52.51, true),
            ("at", 13.4, 53.0, false),
            ("far", 2.0, 48.0, true),
            ("far", -160.0, 0.0, false),
            ("n", 0.0, 0.0, false),
        ] {
            check(json!({"must": {"key": key, "geo_radius": around(lon, lat)}}), &payload, expected);
        }
        check(json!({"must": {"has_vector": "image"}}), &payload, true);
        check(json!({"must": {"has_vector": ""}}), &payload, false);
        for index in 0..3 {
            let expected = is_in(&Slice { index, total: 3 }, PointId::Num(7));
            check(json!({"must": {"slice": {"index": index, "total": 3}}}), &payload, expected);
        }
    }

    /// The hashes of SipHash-2-4 with a zero key, computed by another implementation.
    #[test]
    fn slices_are_those_of_the_specification() {
        let slice_of = |id: PointId, total: u32| (0..total).find(|index| is_in(&Slice { index: *index, total }, id));
        let uuid = PointId::Uuid(uuid::Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000));
        for (id, hash) in [
            (PointId::Num(0), 0xe849_e8bb_6ffe_2567),
            (PointId::Num(42), 0x0fc2_553f_0761_9dd3),
            (uuid, 0xf5d0_ca21_ba34_d504),
        ] {
            for total in [1, 2, 7, 1_000] {
                assert_eq!(slice_of(id, total).map(u64::from), Some(hash % u64::from(total)), "{id} of {total}");
            }
        }
        assert!(!is_in(&Slice { index: 0, total: 0 }, uuid));
    }
}
