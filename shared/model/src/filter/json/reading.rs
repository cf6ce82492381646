//! Parts of JSON objects, with the path at which they are wrong.

use serde_json::{Map, Value};

use super::{FilterError, Result, fail};
use crate::Path;

pub(super) fn key(map: &Map<String, Value>, at: &str) -> Result<Path> {
    let at = format!("{at}.key");
    match map.get("key").map(|key| (key, key.as_str())) {
        None => fail(&at, "missing"),
        Some((_, None)) => fail(&at, "expected a string"),
        Some((_, Some(text))) => Path::parse(text).map_err(|error| FilterError { at, why: error.to_string() }),
    }
}

pub(super) fn object<'a>(json: &'a Value, at: &str) -> Result<&'a Map<String, Value>> {
    json.as_object().map_or_else(|| fail(at, "expected an object"), Ok)
}

pub(super) fn only(map: &Map<String, Value>, at: &str, allowed: &[&str]) -> Result<()> {
    match map.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => fail(&format!("{at}.{key}"), format!("unknown field, expected {}", allowed.join(", "))),
        None => Ok(()),
    }
}

pub(super) fn required<'a>(map: &'a Map<String, Value>, name: &str, at: &str) -> Result<&'a Value> {
    map.get(name).map_or_else(|| fail(at, format!("missing field '{name}'")), Ok)
}

pub(super) fn float(map: &Map<String, Value>, name: &str, at: &str) -> Result<f64> {
    required(map, name, at)?.as_f64().map_or_else(|| fail(&format!("{at}.{name}"), "expected a number"), Ok)
}
