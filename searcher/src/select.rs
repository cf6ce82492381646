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
                let kept = include(&Value::Object(payload), &steps).unwrap_or_else(|| Value::Object(Map::new()));
                serde_json::value::to_raw_value(&kept).map(Some)
            }
            Self::Exclude(paths) => {
                let mut payload = Value::Object(serde_json::from_str(&text)?);
                paths.iter().for_each(|path| exclude(&mut payload, path.steps()));
                serde_json::value::to_raw_value(&payload).map(Some)
            }
        }
    }
}

/// The parts of `value` at any of `paths`; `None` when there are none.
fn include(value: &Value, paths: &[&[Step]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    let below = |enters: &dyn Fn(&Step) -> bool| -> Vec<&[Step]> {
        paths.iter().filter_map(|path| path.split_first().filter(|(first, _)| enters(first)).map(|p| p.1)).collect()
    };
    match value {
        Value::Object(map) => {
            let one = |(key, value): (&String, &Value)| {
                let kept = include(value, &below(&|step| matches!(step, Step::Key(k) if k == key)))?;
                Some((key.clone(), kept))
            };
            let kept: Map<String, Value> = map.iter().filter_map(one).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let one = |(at, value): (usize, &Value)| {
                include(value, &below(&|step| matches!(step, Step::Each) || *step == Step::Index(at)))
            };
            let kept: Vec<Value> = items.iter().enumerate().filter_map(one).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

/// Removes what lies at `path`.
fn exclude(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) if rest.is_empty() => {
            map.remove(key);
        }
        (Step::Key(key), Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                exclude(inner, rest);
            }
        }
        (Step::Each, Value::Array(items)) if rest.is_empty() => items.clear(),
        (Step::Each, Value::Array(items)) => items.iter_mut().for_each(|item| exclude(item, rest)),
        (Step::Index(at), Value::Array(items)) if *at < items.len() => {
            if rest.is_empty() {
                items.remove(*at);
            } else {
                exclude(&mut items[*at], rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: fn(Vec<Path>) -> PayloadSelector, paths: &[&str], expected: &str) {
        let text = r#"{"a":{"b":1,"c":{"d":2}},"l":[{"x":1,"y":2},{"x":3}],"s":"t"}"#;
        let paths = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        let found = selector(paths).apply(text.to_owned()).unwrap().unwrap();
        assert_eq!(found.get(), expected);
    }

    #[test]
    fn included_fields_are_kept() {
        check(PayloadSelector::Include, &["s", "a.c"], r#"{"a":{"c":{"d":2}},"s":"t"}"#);
        check(PayloadSelector::Include, &["a.b", "a.c.d"], r#"{"a":{"b":1,"c":{"d":2}}}"#);
        check(PayloadSelector::Include, &["l[].x"], r#"{"l":[{"x":1},{"x":3}]}"#);
        check(PayloadSelector::Include, &["l[1]"], r#"{"l":[{"x":3}]}"#);
        check(PayloadSelector::Include, &["nope", "s.t", "l.x"], "{}");
        check(PayloadSelector::Include, &[], "{}");
    }

    #[test]
    fn excluded_fields_are_gone() {
        check(PayloadSelector::Exclude, &["a", "l"], r#"{"s":"t"}"#);
        check(PayloadSelector::Exclude, &["a.c.d", "l[].x"], r#"{"a":{"b":1,"c":{}},"l":[{"y":2},{}],"s":"t"}"#);
        check(PayloadSelector::Exclude, &["l[0]", "l[7]", "nope.x", "a.c"], r#"{"a":{"b":1},"l":[{"x":3}],"s":"t"}"#);
    }

    #[test]
    fn a_whole_payload_is_not_parsed() {
        let odd = r#"{"n": 1e2 }"#;
        assert_eq!(PayloadSelector::All.apply(odd.to_owned()).unwrap().unwrap().get(), odd);
        assert!(PayloadSelector::None.apply(odd.to_owned()).unwrap().is_none());
    }
}
