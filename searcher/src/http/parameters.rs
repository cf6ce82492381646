//! Parameters of the URL.

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};
use cairn_storage::AsOf;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use crate::{
    api::past::parse_past,
    error::{Error, Result},
};

/// All parameters of a URL; those that `T` does not have are ignored, as Qdrant ignores them.
///
/// # Errors
/// Names the parameter that cannot be read.
pub(super) fn parameters<T: DeserializeOwned>(uri: &Uri) -> Result<T> {
    let why = |text: String| text.strip_prefix("Failed to deserialize query string: ").map_or(text.clone(), Into::into);
    Query::try_from_uri(uri).map(|Query(read)| read).map_err(|error| Error::Parameters(why(error.body_text())))
}

#[derive(Deserialize)]
struct Reading {
    as_of: Option<String>,
    /// Checked and not needed: there is one copy of everything.
    #[serde(rename = "consistency")]
    _consistency: Option<Consistency>,
}

/// From how many replicas to read.
struct Consistency;

impl<'de> Deserialize<'de> for Consistency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let named = matches!(text.as_str(), "" | "majority" | "quorum" | "all");
        if named || text.parse().is_ok_and(|count: u64| count > 0) {
            return Ok(Self);
        }
        Err(de::Error::custom("failed to deserialize read consistency query parameter value"))
    }
}

/// The past that the URL of a read names.
#[derive(Debug)]
pub(super) struct Past(pub(super) Option<AsOf>);

impl<S: Sync> FromRequestParts<S> for Past {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let Reading { as_of, .. } = parameters(&parts.uri)?;
        Ok(Self(as_of.map(|text| parse_past("as_of", &text)).transpose()?))
    }
}
