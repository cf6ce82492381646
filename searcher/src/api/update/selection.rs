//! Which points an update is about.

use cairn_model::{FilterText, PointId, Selection, limits::FILTER_BYTES_MAX};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A filter with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterInput(pub FilterText);

impl FilterInput {
    /// The filter, checked; `field` is where it stood.
    ///
    /// # Errors
    /// Names the condition that says nothing, or the number that is out of its range.
    pub fn check(self, field: &str) -> Result<FilterText> {
        self.0.filter().check().map_err(|error| {
            let at = error.at.strip_prefix("filter").unwrap_or(&error.at);
            Error::body(format!("{field}{at}"), error.why)
        })?;
        Ok(self.0)
    }
}

impl<'de> Deserialize<'de> for FilterInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        if raw.get().len() > FILTER_BYTES_MAX {
            return Err(de::Error::custom(format_args!("a filter has at most {FILTER_BYTES_MAX} bytes")));
        }
        FilterText::parse(raw.get()).map(Self).map_err(de::Error::custom)
    }
}

/// Body of `points/delete` and `points/payload/clear`: points by id or by filter.
#[derive(Debug, Deserialize)]
pub struct PointsSelector {
    /// These points.
    pub points: Option<Vec<PointId>>,
    /// All that match.
    pub filter: Option<FilterInput>,
}

impl PointsSelector {
    /// Checks and converts. Where both are given the ids count, as in Qdrant.
    ///
    /// # Errors
    /// When neither is given, or as [`FilterInput::check`].
    pub fn check(self) -> Result<Selection> {
        match (self.points, self.filter) {
            (Some(ids), _) => Ok(Selection::Ids(ids)),
            (None, Some(filter)) => filter.check("filter").map(Selection::Filter),
            (None, None) => Err(Error::Format("Either list of point ids or filter must be provided".into())),
        }
    }
}
