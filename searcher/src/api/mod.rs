//! Qdrant's REST API as data: what comes in and what goes out, checked and turned into the searcher's own types.
//!
//! Fields are of three sorts. Those that this version acts on; those of Qdrant's that cannot change an answer here and
//! are read and ignored (`consistency`, `shard_key`, placement and optimizer settings); and those that would change it,
//! which are refused by name ([`field::Later`]). Anything else is an unknown field, and an error that names it; only [`update`] ignores it.

pub mod aliases;
pub mod amendment;
pub mod collection;
pub mod editions;
pub mod envelope;
pub mod facet;
pub mod field;
pub mod info;
pub mod order;
pub mod past;
pub mod points;
pub mod query;
pub mod route;
pub mod selector;
mod sparse;
pub mod update;
pub mod vector;

use cairn_model::{CollectionName, Filter, Path, PointId, limits::LIMIT_MAX};

use crate::error::{Error, Result};

/// Reads a body.
///
/// # Errors
/// `Format`, in serde's words: which field, which line and column.
pub fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::Format(error.to_string()))
}

/// A collection's name from a path.
///
/// # Errors
/// When it breaks a rule of names.
pub fn collection_name(text: &str) -> Result<CollectionName> {
    let refuse = |why: String| Error::Validation { part: "path parameters", field: "name".into(), why };
    CollectionName::parse(text).map_err(|error| refuse(error.to_string()))
}

/// A point's id from a path.
///
/// # Errors
/// When it is neither an unsigned integer nor a UUID.
pub fn point_id(text: &str) -> Result<PointId> {
    text.parse().map_err(|_| Error::Invalid(format!("Can not recognize \"{text}\" as point id")))
}

/// A filter that lets not everything pass, checked; `at` is the path of the object that has it, with its dot.
fn check_filter(at: &str, filter: Option<Filter>) -> Result<Option<Filter>> {
    let filter = filter.filter(|filter| !filter.is_empty());
    if let Some(Err(error)) = filter.as_ref().map(Filter::check) {
        return Err(Error::body(format!("{at}{}", error.at), error.why));
    }
    Ok(filter)
}

/// A field of payloads from a path.
///
/// # Errors
/// When it is no path into a payload.
pub fn payload_path(text: &str) -> Result<Path> {
    let refuse = |why: String| Error::Validation { part: "path parameters", field: "field_name".into(), why };
    Path::parse(text).map_err(|error| refuse(error.to_string()))
}

/// Checks `limit` and `offset` together; `at` is the path of the object that has them, with its dot.
fn check_limit(at: &str, limit: usize, offset: usize) -> Result<()> {
    if limit == 0 {
        return Err(Error::body(format!("{at}limit"), "value 0 invalid, must be 1 or larger"));
    }
    let total = limit.saturating_add(offset);
    if total > LIMIT_MAX {
        let why = format!("value {limit} invalid, limit plus offset must be {LIMIT_MAX} or smaller");
        return Err(Error::body(format!("{at}limit"), why));
    }
    Ok(())
}
