//! Filters from JSON, strictly: an unknown or malformed field is named by its path.
//!
//! Written by hand because serde's untagged enums answer every mistake with "data did not match any variant".

mod area;
mod field;
mod reading;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use self::reading::{key, object, only, required};
use super::{Condition, Filter, MinShould, Slice};
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

/// What a filter inside a filter is told by.
const CLAUSES: [&str; 4] = ["must", "should", "must_not", "min_should"];

impl Filter {
    /// Reads a filter in Qdrant's JSON form. [`Filter::check`] says whether its values are in their ranges.
    ///
    /// # Errors
    /// Names the field at fault.
    pub fn from_json(json: &Value) -> Result<Self> {
        Parser::default().filter(json, "filter", 0)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Reads a filter and counts what is limited over all of it.
#[derive(Default)]
struct Parser {
    conditions: usize,
    geo_points: usize,
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
        let (conditions, count) = (required(map, "conditions", at)?, required(map, "min_count", at)?);
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
        if map.contains_key("key") {
            return self.field(map, at);
        }
        if map.keys().any(|key| CLAUSES.contains(&key.as_str())) {
            return Ok(Condition::Filter(Box::new(self.filter(json, at, depth + 1)?)));
        }
        let Some((name, value)) = map.iter().next() else { return fail(at, "empty condition") };
        let inner = format!("{at}.{name}");
        let condition = match name.as_str() {
            "has_id" => has_id(value, &inner)?,
            "has_vector" => match value.as_str() {
                Some(name) => Condition::HasVector(name.to_owned()),
                None => return fail(&inner, "expected a string"),
            },
            "slice" => slice(value, &inner)?,
            "nested" => self.nested(value, &inner, depth)?,
            "is_empty" => Condition::IsEmpty(payload_field(value, &inner)?),
            "is_null" => Condition::IsNull(payload_field(value, &inner)?),
            _ => {
                return fail(
                    &inner,
                    "unknown condition, expected key, has_id, has_vector, slice, nested, is_empty, is_null, or a \
                     filter with must, should, must_not or min_should",
                );
            }
        };
        only(map, at, &[name])?;
        Ok(condition)
    }

    fn nested(&mut self, json: &Value, at: &str, depth: usize) -> Result<Condition> {
        let map = object(json, at)?;
        only(map, at, &["key", "filter"])?;
        let key = key(map, at)?.each();
        let filter = self.filter(required(map, "filter", at)?, &format!("{at}.filter"), depth + 1)?;
        Ok(Condition::Nested { key, filter: Box::new(filter) })
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

fn slice(json: &Value, at: &str) -> Result<Condition> {
    let map = object(json, at)?;
    only(map, at, &["index", "total"])?;
    let number = |name: &str| {
        let number = required(map, name, at)?.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map_or_else(|| fail(&format!("{at}.{name}"), "expected an unsigned integer of 32 bits"), Ok)
    };
    Ok(Condition::Slice(Slice { index: number("index")?, total: number("total")? }))
}

fn payload_field(json: &Value, at: &str) -> Result<Path> {
    let map = object(json, at)?;
    only(map, at, &["key"])?;
    key(map, at)
}
