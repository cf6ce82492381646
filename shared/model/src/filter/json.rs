//! Filters from JSON, strictly: an unknown or malformed field is named by its path.
//!
//! Written by hand because serde's untagged enums answer every mistake with "data did not match any variant".

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{Condition, FieldTest, Filter, Match, MinShould, Range, Scalar, parse_datetime};
use crate::{
    Path, PointId,
    limits::{FILTER_CONDITIONS_MAX, FILTER_DEPTH_MAX, IDS_MAX},
};

/// A JSON value that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct FilterError {
    /// Path of the JSON value at fault, from the filter's root.
    pub at: String,
    /// What is wrong with it.
    pub why: String,
}

type Result<T> = std::result::Result<T, FilterError>;

fn fail<T>(at: &str, why: impl Into<String>) -> Result<T> {
    Err(FilterError { at: at.to_owned(), why: why.into() })
}

/// Field tests of Qdrant's that this version knows of and does not have yet.
const LATER_TESTS: [&str; 3] = ["geo_bounding_box", "geo_radius", "geo_polygon"];
/// Conditions of Qdrant's that this version knows of and does not have yet.
const LATER_CONDITIONS: [&str; 3] = ["nested", "has_vector", "slice"];
/// Match variants of Qdrant's that this version knows of and does not have yet.
const LATER_MATCHES: [&str; 4] = ["text", "text_any", "phrase", "prefix"];

impl Filter {
    /// Reads a filter in Qdrant's JSON form.
    ///
    /// # Errors
    /// Names the field at fault.
    pub fn from_json(json: &Value) -> Result<Self> {
        Parser { conditions: 0 }.filter(json, "filter", 0)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

struct Parser {
    conditions: usize,
}

impl Parser {
    fn filter(&mut self, json: &Value, at: &str, depth: usize) -> Result<Filter> {
        if depth > FILTER_DEPTH_MAX {
            return fail(at, format!("filters may be nested at most {FILTER_DEPTH_MAX} deep"));
        }
        let mut filter = Filter::default();
        for (key, value) in object(json, at)? {
            let at = format!("{at}.{key}");
            match key.as_str() {
                "must" => filter.must = self.clause(value, &at, depth)?,
                "should" => filter.should = self.clause(value, &at, depth)?,
                "must_not" => filter.must_not = self.clause(value, &at, depth)?,
                "min_should" if value.is_null() => {}
                "min_should" => filter.min_should = Some(self.min_should(value, &at, depth)?),
                _ => return fail(&at, "unknown field, expected must, should, must_not or min_should"),
            }
        }
        Ok(filter)
    }

    /// One condition, a list of them, or null.
    fn clause(&mut self, json: &Value, at: &str, depth: usize) -> Result<Vec<Condition>> {
        match json {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                items.iter().enumerate().map(|(i, item)| self.condition(item, &format!("{at}[{i}]"), depth)).collect()
            }
            _ => Ok(vec![self.condition(json, at, depth)?]),
        }
    }

    fn min_should(&mut self, json: &Value, at: &str, depth: usize) -> Result<MinShould> {
        let map = object(json, at)?;
        only(map, at, &["conditions", "min_count"])?;
        let Some(conditions) = map.get("conditions") else { return fail(at, "missing field 'conditions'") };
        let Some(count) = map.get("min_count") else { return fail(at, "missing field 'min_count'") };
        let Some(min_count) = count.as_u64().and_then(|count| usize::try_from(count).ok()) else {
            return fail(&format!("{at}.min_count"), "expected an unsigned integer");
        };
        Ok(MinShould { conditions: self.clause(conditions, &format!("{at}.conditions"), depth)?, min_count })
    }

    fn condition(&mut self, json: &Value, at: &str, depth: usize) -> Result<Condition> {
        self.conditions += 1;
        if self.conditions > FILTER_CONDITIONS_MAX {
            return fail(at, format!("a filter may have at most {FILTER_CONDITIONS_MAX} conditions"));
        }
        let map = object(json, at)?;
        if let Some(later) = LATER_CONDITIONS.iter().find(|name| map.contains_key(**name)) {
            return fail(&format!("{at}.{later}"), "this condition is not supported by this version of Cairn");
        }
        if map.contains_key("key") {
            return field(map, at);
        }
        if let Some(ids) = map.get("has_id") {
            only(map, at, &["has_id"])?;
            return has_id(ids, &format!("{at}.has_id"));
        }
        for (name, make) in [("is_empty", Condition::IsEmpty as fn(Path) -> Condition), ("is_null", Condition::IsNull)]
        {
            if let Some(inner) = map.get(name) {
                only(map, at, &[name])?;
                let at = format!("{at}.{name}");
                let inner = object(inner, &at)?;
                only(inner, &at, &["key"])?;
                return Ok(make(key(inner, &at)?));
            }
        }
        const CLAUSES: [&str; 4] = ["must", "should", "must_not", "min_should"];
        if map.keys().any(|key| CLAUSES.contains(&key.as_str())) {
            return Ok(Condition::Filter(Box::new(self.filter(json, at, depth + 1)?)));
        }
        match map.keys().next() {
            None => fail(at, "empty condition"),
            Some(key) => fail(
                &format!("{at}.{key}"),
                "unknown condition, expected key, has_id, is_empty, is_null, or a filter with must, should, must_not \
                 or min_should",
            ),
        }
    }
}

fn has_id(json: &Value, at: &str) -> Result<Condition> {
    let Some(ids) = json.as_array() else { return fail(at, "expected an array of point IDs") };
    if ids.len() > IDS_MAX {
        return fail(at, format!("{} IDs are given, at most {IDS_MAX} are allowed", ids.len()));
    }
    let one = |(i, id): (usize, &Value)| {
        PointId::deserialize(id).map_err(|error| FilterError { at: format!("{at}[{i}]"), why: error.to_string() })
    };
    Ok(Condition::HasId(ids.iter().enumerate().map(one).collect::<Result<_>>()?))
}

fn field(map: &Map<String, Value>, at: &str) -> Result<Condition> {
    let key = key(map, at)?;
    let mut tests = Vec::new();
    let mut nullness = None;
    for (name, value) in map {
        let at = format!("{at}.{name}");
        match name.as_str() {
            "key" => {}
            _ if value.is_null() => {}
            "match" => tests.push(FieldTest::Match(matching(value, &at)?)),
            "range" => tests.push(range(value, &at)?),
            "values_count" => {
                tests.push(FieldTest::ValuesCount(bounds(value, &at, "an unsigned integer", |v| v.as_u64())?))
            }
            "is_empty" | "is_null" => {
                let Some(wanted) = value.as_bool() else { return fail(&at, "expected a boolean") };
                nullness = Some((name == "is_empty", wanted));
            }
            name if LATER_TESTS.contains(&name) => {
                return fail(&at, "this condition is not supported by this version of Cairn");
            }
            _ => return fail(&at, "unknown field, expected match, range, values_count, is_empty or is_null"),
        }
    }
    match (nullness, tests.is_empty()) {
        (None, false) => Ok(Condition::Field { key, tests }),
        (None, true) => fail(at, "at least one field condition must be specified"),
        (Some((is_empty, wanted)), true) => {
            let condition = if is_empty { Condition::IsEmpty(key) } else { Condition::IsNull(key) };
            if wanted {
                return Ok(condition);
            }
            let filter = Filter { must_not: vec![condition], ..Filter::default() };
            Ok(Condition::Filter(Box::new(filter)))
        }
        (Some(_), false) => fail(at, "is_empty and is_null cannot be combined with other tests in one condition"),
    }
}

fn matching(json: &Value, at: &str) -> Result<Match> {
    let map = object(json, at)?;
    let (Some((kind, value)), 1) = (map.iter().next(), map.len()) else {
        return fail(at, "expected exactly one of value, any or except");
    };
    let at = format!("{at}.{kind}");
    match kind.as_str() {
        "value" => Ok(Match::Value(scalar(value, &at)?)),
        "any" => Ok(Match::Any(scalars(value, &at)?)),
        "except" => Ok(Match::Except(scalars(value, &at)?)),
        kind if LATER_MATCHES.contains(&kind) => fail(&at, "this match is not supported by this version of Cairn"),
        _ => fail(&at, "unknown match, expected value, any or except"),
    }
}

fn scalar(json: &Value, at: &str) -> Result<Scalar> {
    match json {
        Value::String(text) => Ok(Scalar::Keyword(text.clone())),
        Value::Bool(value) => Ok(Scalar::Bool(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Ok(Scalar::Integer(value)),
            None => fail(at, format!("{number} is no 64-bit signed integer; use range to match other numbers")),
        },
        _ => fail(at, "expected a string, an integer or a boolean"),
    }
}

/// A list of strings or a list of integers, never mixed (Qdrant's `AnyVariants`).
fn scalars(json: &Value, at: &str) -> Result<Vec<Scalar>> {
    let Some(items) = json.as_array() else { return fail(at, "expected an array of strings or of integers") };
    let scalars: Vec<Scalar> =
        items.iter().enumerate().map(|(i, item)| scalar(item, &format!("{at}[{i}]"))).collect::<Result<_>>()?;
    let keywords = scalars.iter().filter(|scalar| matches!(scalar, Scalar::Keyword(_))).count();
    if scalars.iter().any(|scalar| matches!(scalar, Scalar::Bool(_))) || (keywords > 0 && keywords < scalars.len()) {
        return fail(at, "expected an array of strings or of integers");
    }
    Ok(scalars)
}

/// A range of numbers or of datetimes; the type of the first bound decides.
fn range(json: &Value, at: &str) -> Result<FieldTest> {
    let dates = object(json, at)?.values().any(Value::is_string);
    if dates {
        let datetime = |value: &Value| value.as_str().and_then(parse_datetime);
        return Ok(FieldTest::DatetimeRange(bounds(json, at, "an RFC 3339 datetime", datetime)?));
    }
    Ok(FieldTest::Range(bounds(json, at, "a number", Value::as_f64)?))
}

fn bounds<T>(json: &Value, at: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Range<T>> {
    let mut range = Range::default();
    for (name, value) in object(json, at)? {
        let at = format!("{at}.{name}");
        let slot = match name.as_str() {
            "gt" => &mut range.gt,
            "gte" => &mut range.gte,
            "lt" => &mut range.lt,
            "lte" => &mut range.lte,
            _ => return fail(&at, "unknown field, expected gt, gte, lt or lte"),
        };
        if !value.is_null() {
            let Some(bound) = read(value) else { return fail(&at, format!("expected {wanted}")) };
            *slot = Some(bound);
        }
    }
    Ok(range)
}

fn key(map: &Map<String, Value>, at: &str) -> Result<Path> {
    let at = format!("{at}.key");
    match map.get("key").map(|key| (key, key.as_str())) {
        None => fail(&at, "missing"),
        Some((_, None)) => fail(&at, "expected a string"),
        Some((_, Some(text))) => Path::parse(text).map_err(|error| FilterError { at, why: error.to_string() }),
    }
}

fn object<'a>(json: &'a Value, at: &str) -> Result<&'a Map<String, Value>> {
    json.as_object().map_or_else(|| fail(at, "expected an object"), Ok)
}

fn only(map: &Map<String, Value>, at: &str, allowed: &[&str]) -> Result<()> {
    match map.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => fail(&format!("{at}.{key}"), format!("unknown field, expected {}", allowed.join(", "))),
        None => Ok(()),
    }
}
