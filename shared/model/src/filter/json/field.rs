//! Conditions on one payload field.

use serde_json::{Map, Value};

use super::{
    Parser, Result, fail,
    reading::{key, object},
};
use crate::{
    filter::{Condition, FieldTest, Filter, Match, Range, Scalar, TextMatch, TextWant, parse_datetime},
    limits::MATCH_TEXT_BYTES_MAX,
};

impl Parser {
    /// A condition with a key.
    pub(super) fn field(&mut self, map: &Map<String, Value>, at: &str) -> Result<Condition> {
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
                "geo_bounding_box" | "geo_radius" | "geo_polygon" => {
                    tests.push(FieldTest::Geo(self.area(name, value, &at)?));
                }
                "values_count" => {
                    tests.push(FieldTest::ValuesCount(bounds(value, &at, "an unsigned integer", Value::as_u64)?));
                }
                "is_empty" | "is_null" => {
                    let Some(wanted) = value.as_bool() else { return fail(&at, "expected a boolean") };
                    nullness = Some((name == "is_empty", wanted));
                }
                _ => {
                    return fail(
                        &at,
                        "unknown field, expected match, range, geo_bounding_box, geo_radius, geo_polygon, \
                         values_count, is_empty or is_null",
                    );
                }
            }
        }
        match nullness {
            None => Ok(Condition::Field { key, tests }),
            Some((is_empty, wanted)) if tests.is_empty() => {
                let condition = if is_empty { Condition::IsEmpty(key) } else { Condition::IsNull(key) };
                if wanted {
                    return Ok(condition);
                }
                let filter = Filter { must_not: vec![condition], ..Filter::default() };
                Ok(Condition::Filter(Box::new(filter)))
            }
            Some(_) => fail(at, "is_empty and is_null cannot be combined with other tests in one condition"),
        }
    }
}

fn matching(json: &Value, at: &str) -> Result<Match> {
    const KINDS: &str = "value, text, text_any, phrase, prefix, any or except";
    let map = object(json, at)?;
    let (Some((kind, value)), 1) = (map.iter().next(), map.len()) else {
        return fail(at, format!("expected exactly one of {KINDS}"));
    };
    let at = format!("{at}.{kind}");
    let contained = |want| Ok(Match::Text(TextMatch { text: text(value, &at)?, want, tokens: None }));
    match kind.as_str() {
        "value" => Ok(Match::Value(scalar(value, &at)?)),
        "any" => Ok(Match::Any(scalars(value, &at)?)),
        "except" => Ok(Match::Except(scalars(value, &at)?)),
        "text" => contained(TextWant::All),
        "text_any" => contained(TextWant::Any),
        "phrase" => contained(TextWant::Phrase),
        "prefix" => Ok(Match::Prefix(text(value, &at)?)),
        _ => fail(&at, format!("unknown match, expected {KINDS}")),
    }
}

fn text(json: &Value, at: &str) -> Result<String> {
    match json.as_str() {
        Some(text) if text.len() > MATCH_TEXT_BYTES_MAX => {
            fail(at, format!("{} bytes are given, at most {MATCH_TEXT_BYTES_MAX} are allowed", text.len()))
        }
        Some(text) => Ok(text.to_owned()),
        None => fail(at, "expected a string"),
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
