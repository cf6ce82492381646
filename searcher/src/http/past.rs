//! The URL parameter `as_of`, which every read takes.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use cairn_storage::AsOf;
use serde::Deserialize;

use crate::{
    api::past::parse_past,
    error::{Error, Result},
};

#[derive(Deserialize)]
struct Parameters {
    as_of: Option<String>,
}

/// The past that the URL names.
#[derive(Debug)]
pub(super) struct Past(pub(super) Option<AsOf>);

impl<S: Sync> FromRequestParts<S> for Past {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let Query(Parameters { as_of }) =
            Query::try_from_uri(&parts.uri).map_err(|error| Error::Invalid(format!("as_of: {}", error.body_text())))?;
        Ok(Self(as_of.map(|text| parse_past("as_of", &text)).transpose()?))
    }
}
