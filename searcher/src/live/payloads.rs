//! Changing parts of a payload, as Qdrant's payload operations do.

use cairn_model::{Path, Payload, Step};
use serde_json::{Map, Value};

/// Sets keys and leaves the others; a key that is set to null is removed.
pub(super) fn merge(payload: &mut Payload, new: &Payload) {
    for (key, value) in new {
        if value.is_null() {
            payload.remove(key);
        } else {
            payload.insert(key.clone(), value.clone());
        }
    }
}

/// The same in the object at a path, which is made where there is none.
pub(super) fn merge_at(payload: &mut Payload, at: &Path, new: &Payload) {
    change_at(payload, at, &|value| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        if let Value::Object(map) = value {
            merge(map, new);
        }
    });
}

/// Puts an object in the place of whatever is at a path.
pub(super) fn replace_at(payload: &mut Payload, at: &Path, new: &Payload) {
    change_at(payload, at, &|value| *value = Value::Object(new.clone()));
}

/// Removes what lies at any of these paths. No single element of an array is removed: others would move to its index.
pub(super) fn remove(payload: &mut Payload, paths: &[Path]) {
    let mut value = Value::Object(std::mem::take(payload));
    paths.iter().for_each(|path| remove_at(&mut value, path.steps()));
    if let Value::Object(map) = value {
        *payload = map;
    }
}

fn remove_at(value: &mut Value, steps: &[Step]) {
    match (steps, value) {
        ([Step::Key(key)], Value::Object(map)) => {
            map.remove(key);
        }
        ([Step::Each], Value::Array(items)) => items.clear(),
        ([Step::Key(key), rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                remove_at(inner, rest);
            }
        }
        ([Step::Each, rest @ ..], Value::Array(items)) => items.iter_mut().for_each(|item| remove_at(item, rest)),
        ([Step::Index(at), rest @ ..], Value::Array(items)) if !rest.is_empty() => {
            if let Some(item) = items.get_mut(*at) {
                remove_at(item, rest);
            }
        }
        _ => {}
    }
}

fn change_at(payload: &mut Payload, at: &Path, change: &dyn Fn(&mut Value)) {
    let mut value = Value::Object(std::mem::take(payload));
    walk(&mut value, at.steps(), change);
    if let Value::Object(map) = value {
        *payload = map;
    }
}

/// Objects and arrays are made on the way where there is something else; elements of arrays are not.
fn walk(value: &mut Value, steps: &[Step], change: &dyn Fn(&mut Value)) {
    let Some((step, rest)) = steps.split_first() else { return change(value) };
    match step {
        Step::Key(key) => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            if let Value::Object(map) = value {
                walk(map.entry(key.clone()).or_insert(Value::Null), rest, change);
            }
        }
        Step::Each | Step::Index(_) => {
            if !value.is_array() {
                *value = Value::Array(Vec::new());
            }
            let is_meant = |at: usize| *step == Step::Each || *step == Step::Index(at);
            if let Value::Array(items) = value {
                let meant = items.iter_mut().enumerate().filter(|(at, _)| is_meant(*at));
                meant.for_each(|(_, item)| walk(item, rest, change));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(before: Value, change: impl Fn(&mut Payload)) -> Value {
        let Value::Object(mut payload) = before else { panic!("a payload is an object") };
        change(&mut payload);
        Value::Object(payload)
    }

    fn map(value: Value) -> Payload {
        serde_json::from_value(value).unwrap()
    }

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn keys_are_set_and_null_removes_them() {
        let after = changed(json!({"a": 1, "b": 2}), |payload| merge(payload, &map(json!({"b": null, "c": [3]}))));
        assert_eq!(after, json!({"a": 1, "c": [3]}));
    }

    #[test]
    fn a_path_says_where_and_is_made() {
        let new = map(json!({"x": 1}));
        for (before, at, merged, replaced) in [
            (json!({}), "a.b", json!({"a": {"b": {"x": 1}}}), json!({"a": {"b": {"x": 1}}})),
            (json!({"a": {"y": 2}}), "a", json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 1}})),
            (json!({"a": 7}), "a.b", json!({"a": {"b": {"x": 1}}}), json!({"a": {"b": {"x": 1}}})),
            (
                json!({"a": [{"y": 2}, 3]}),
                "a[]",
                json!({"a": [{"x": 1, "y": 2}, {"x": 1}]}),
                json!({"a": [{"x": 1}, {"x": 1}]}),
            ),
            (json!({"a": [{}, 3]}), "a[1]", json!({"a": [{}, {"x": 1}]}), json!({"a": [{}, {"x": 1}]})),
            (json!({"a": [0]}), "a[1]", json!({"a": [0]}), json!({"a": [0]})),
            (json!({"a": {"b": 1}}), "a[].c", json!({"a": []}), json!({"a": []})),
            (json!({}), "a[0]", json!({"a": []}), json!({"a": []})),
        ] {
            assert_eq!(changed(before.clone(), |payload| merge_at(payload, &path(at), &new)), merged, "{at}");
            assert_eq!(changed(before, |payload| replace_at(payload, &path(at), &new)), replaced, "{at}");
        }
    }

    #[test]
    fn what_lies_at_a_path_is_removed() {
        let before = json!({"a": {"b": 1, "c": 2}, "l": [{"x": 1, "y": 2}, {"x": 3}, [4]]});
        for (paths, after) in [
            (vec!["a.b", "l[].x", "nope"], json!({"a": {"c": 2}, "l": [{"y": 2}, {}, [4]]})),
            (vec!["l[1].x", "l[9].x", "a[0].b"], json!({"a": {"b": 1, "c": 2}, "l": [{"x": 1, "y": 2}, {}, [4]]})),
            (vec!["a", "l[0]"], json!({"l": [{"x": 1, "y": 2}, {"x": 3}, [4]]})),
            (vec!["a", "l[][]"], json!({"l": [{"x": 1, "y": 2}, {"x": 3}, []]})),
            (vec!["a", "l[]"], json!({"l": []})),
        ] {
            let parsed: Vec<Path> = paths.iter().map(|text| path(text)).collect();
            assert_eq!(changed(before.clone(), |payload| remove(payload, &parsed)), after, "{paths:?}");
        }
    }
}
