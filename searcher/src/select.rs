//! Which parts of a point an answer shows.

use cairn_model::{Path, Step};
use serde_json::{Map, Value, value::RawValue};

/// Which payload fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PayloadSelector {
    /// None.
    #[default]
    None,
    /// The whole payload.
    All,
    /// Only what lies at these paths.
    Include(Vec<Path>),
    /// All but what lies at these paths.
    Exclude(Vec<Path>),
}

/// Which vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VectorSelector {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Those with these names.
    Names(Vec<String>),
}

impl VectorSelector {
    /// Whether the vector of this name is selected.
    #[must_use]
    pub fn shows(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names.iter().any(|selected| selected == name),
        }
    }
}

impl PayloadSelector {
    /// The selected part of a payload's JSON text. The text is not parsed unless fields are selected.
    ///
    /// # Errors
    /// When the text is no JSON object.
    pub fn apply(&self, text: String) -> serde_json::Result<Option<Box<RawValue>>> {
        match self {
            Self::None => Ok(None),
            Self::All => RawValue::from_string(text).map(Some),
            Self::Include(paths) => {
                let payload: Map<String, Value> = serde_json::from_str(&text)?;
                let steps: Vec<&[Step]> = paths.iter().map(Path::steps).collect();
                serde_json::value::to_raw_value(&include(&Value::Object(payload), &steps)).map(Some)
            }
            Self::Exclude(paths) => {
                let mut payload = Value::Object(serde_json::from_str(&text)?);
                paths.iter().for_each(|path| exclude(&mut payload, path.steps()));
                serde_json::value::to_raw_value(&payload).map(Some)
            }
        }
    }
}

/// The paths that go on below a key or an element, without their first step. A selector's path means elements of an array all alike: one
/// with an index leads nowhere.
fn below<'p>(paths: &[&'p [Step]], enters: impl Fn(&Step) -> bool) -> Vec<&'p [Step]> {
    let entering = |path: &&'p [Step]| path.split_first().filter(|(first, _)| enters(first)).map(|(_, rest)| rest);
    paths.iter().filter_map(entering).collect()
}

/// What of `value` lies on the way to `paths` or below them. A way may end early: an array or an object without what was asked for is
/// shown empty, and any other value as it is.
fn include(value: &Value, paths: &[&[Step]]) -> Value {
    let part = |value: &Value, paths: Vec<&[Step]>| (!paths.is_empty()).then(|| include(value, &paths));
    match value {
        _ if paths.iter().any(|path| path.is_empty()) => value.clone(),
        Value::Object(map) => {
            let one = |(key, value): (&String, &Value)| {
                let paths = below(paths, |step| matches!(step, Step::Key(k) if k == key));
                Some((key.clone(), part(value, paths)?))
            };
            Value::Object(map.iter().filter_map(one).collect())
        }
        Value::Array(items) => {
            let paths = below(paths, |step| *step == Step::Each);
            Value::Array(items.iter().filter_map(|value| part(value, paths.clone())).collect())
        }
        _ => value.clone(),
    }
}

/// Removes what lies at `path`.
fn exclude(value: &mut Value, path: &[Step]) {
    match (path, value) {
        ([Step::Key(key)], Value::Object(map)) => {
            map.remove(key);
        }
        ([Step::Each], Value::Array(items)) => items.clear(),
        ([Step::Key(key), rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                exclude(inner, rest);
            }
        }
        ([Step::Each, rest @ ..], Value::Array(items)) => items.iter_mut().for_each(|item| exclude(item, rest)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: fn(Vec<Path>) -> PayloadSelector, paths: &[&str], expected: &str) {
        let text = r#"{"a":{"b":1,"c":{"d":2}},"e":[],"l":[{"x":1,"y":2},{"x":3},[4],5],"s":"t"}"#;
        let paths = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        let found = selector(paths).apply(text.to_owned()).unwrap().unwrap();
        assert_eq!(found.get(), expected);
    }

    #[test]
    fn included_fields_are_kept() {
        check(PayloadSelector::Include, &["s", "a.c"], r#"{"a":{"c":{"d":2}},"s":"t"}"#);
        check(PayloadSelector::Include, &["a.b", "a.c.d"], r#"{"a":{"b":1,"c":{"d":2}}}"#);
        check(PayloadSelector::Include, &["l[].x"], r#"{"l":[{"x":1},{"x":3},[],5]}"#);
        check(PayloadSelector::Include, &["l[].y", "l[][]"], r#"{"l":[{"y":2},{},[4],5]}"#);
        check(PayloadSelector::Include, &["nope"], "{}");
        check(PayloadSelector::Include, &[], "{}");
    }

    #[test]
    fn ways_to_included_fields_are_kept_as_far_as_they_go() {
        check(PayloadSelector::Include, &["a.x", "e[].x", "s.t"], r#"{"a":{},"e":[],"s":"t"}"#);
        check(PayloadSelector::Include, &["l[1]", "a.b.x"], r#"{"a":{"b":1},"l":[]}"#);
        check(PayloadSelector::Include, &["l.x", "a[]"], r#"{"a":{},"l":[]}"#);
    }

    #[test]
    fn excluded_fields_are_gone() {
        check(PayloadSelector::Exclude, &["a", "l"], r#"{"e":[],"s":"t"}"#);
        check(
            PayloadSelector::Exclude,
            &["a.c.d", "l[].x"],
            r#"{"a":{"b":1,"c":{}},"e":[],"l":[{"y":2},{},[4],5],"s":"t"}"#,
        );
        check(PayloadSelector::Exclude, &["l[]", "nope.x", "a.c"], r#"{"a":{"b":1},"e":[],"l":[],"s":"t"}"#);
        check(
            PayloadSelector::Exclude,
            &["l[0]", "l[1].x", "a", "e"],
            r#"{"l":[{"x":1,"y":2},{"x":3},[4],5],"s":"t"}"#,
        );
    }

    #[test]
    fn a_whole_payload_is_not_parsed() {
        let odd = r#"{"n": 1e2 }"#;
        assert_eq!(PayloadSelector::All.apply(odd.to_owned()).unwrap().unwrap().get(), odd);
        assert!(PayloadSelector::None.apply(odd.to_owned()).unwrap().is_none());
    }
}
