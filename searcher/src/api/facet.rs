//! `facet`: how many points have which value.

use cairn_model::{Filter, Path, Scalar, limits::FACET_VALUES_MAX};
use serde::{Deserialize, Serialize};

use super::{check_filter, field::Ignored};
use crate::{
    error::{Error, Result},
    request::Facet,
};

/// Values of a facet that does not say how many.
const LIMIT_DEFAULT: usize = 10;

/// Body of `facet`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FacetRequest {
    /// Whose values are counted.
    pub key: Path,
    /// Values to return.
    pub limit: Option<usize>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// Ignored: counts are always exact.
    pub exact: Option<bool>,
    /// Ignored: there are no shard keys.
    #[serde(default)]
    pub shard_key: Ignored,
}

impl FacetRequest {
    /// Checks and converts.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn check(self) -> Result<Facet> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=FACET_VALUES_MAX).contains(&limit) {
            let bound = if limit == 0 { "1 or larger".to_owned() } else { format!("{FACET_VALUES_MAX} or smaller") };
            return Err(Error::body("facet_request.limit", format!("value {limit} invalid, must be {bound}")));
        }
        Ok(Facet { key: self.key, filter: check_filter("facet_request.", self.filter)?, limit })
    }
}

/// Result of `facet`.
#[derive(Debug, Serialize)]
pub struct FacetResult {
    /// The most frequent values first.
    pub hits: Vec<FacetHit>,
}

/// A value and how many points have it.
#[derive(Debug, Serialize)]
pub struct FacetHit {
    value: FacetValue,
    count: u64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum FacetValue {
    Keyword(String),
    Integer(i64),
    Bool(bool),
}

impl From<Vec<(Scalar, u64)>> for FacetResult {
    fn from(counts: Vec<(Scalar, u64)>) -> Self {
        let hit = |(value, count)| {
            let value = match value {
                Scalar::Keyword(text) => FacetValue::Keyword(text),
                Scalar::Integer(number) => FacetValue::Integer(number),
                Scalar::Bool(value) => FacetValue::Bool(value),
            };
            FacetHit { value, count }
        };
        Self { hits: counts.into_iter().map(hit).collect() }
    }
}
