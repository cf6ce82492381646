//! Which points an update is about.

use cairn_model::{Filter, PointId, Selection};
use serde::Deserialize;

use crate::error::{Error, Result};

/// A filter whose conditions all say something; `field` is where it stood.
///
/// # Errors
/// Names the condition that says nothing, or the number that is out of its range.
pub(super) fn checked(filter: Filter, field: &str) -> Result<Filter> {
    filter.check().map_err(|error| {
        let at = error.at.strip_prefix("filter").unwrap_or(&error.at);
        Error::body(format!("{field}{at}"), error.why)
    })?;
    Ok(filter)
}

/// Body of `points/delete` and `points/payload/clear`: points by id or by filter.
#[derive(Debug, Deserialize)]
pub struct PointsSelector {
    /// These points.
    pub points: Option<Vec<PointId>>,
    /// All that match.
    pub filter: Option<Filter>,
}

impl PointsSelector {
    /// Checks and converts. Where both are given the ids count, as in Qdrant.
    ///
    /// # Errors
    /// When neither is given, or for a filter that says nothing somewhere.
    pub fn check(self) -> Result<Selection> {
        match (self.points, self.filter) {
            (Some(ids), _) => Ok(Selection::Ids(ids)),
            (None, Some(filter)) => checked(filter, "filter").map(Selection::Filter),
            (None, None) => Err(Error::Format("Either list of point ids or filter must be provided".into())),
        }
    }
}
