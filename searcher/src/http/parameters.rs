//! Parameters of the URL: in its path and behind it.

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{Uri, request::Parts},
};
use cairn_model::CollectionName;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use crate::{
    api::{collection_name, past::parse_past},
    error::{Error, Result},
    request::View,
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

/// A path with a collection in it, whatever else it names.
#[derive(Deserialize)]
struct InPath {
    collection_name: String,
}

impl InPath {
    async fn read<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(path)| path).map_err(|_| Error::Invalid("the request's path cannot be read".into()))
    }

    fn name(&self) -> Result<CollectionName> {
        collection_name(&self.collection_name)
    }
}

/// The collection that a path names.
#[derive(Debug)]
pub(super) struct Named(pub(super) CollectionName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        InPath::read(parts, state).await?.name().map(Self)
    }
}

/// What the URL of a read names: a collection, and the past that is meant.
#[derive(Debug)]
pub(super) struct Viewed(pub(super) View);

impl<S: Send + Sync> FromRequestParts<S> for Viewed {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = InPath::read(parts, state).await?;
        let Reading { as_of, .. } = parameters(&parts.uri)?;
        let as_of = as_of.map(|text| parse_past("as_of", &text)).transpose()?;
        Ok(Self(View { collection: path.name()?, as_of }))
    }
}
