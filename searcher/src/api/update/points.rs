//! Points that are written whole: as a list, or as columns.

use cairn_model::{Filter, Operation, Payload, Point, PointId, UpdateMode, Vectors};
use serde::Deserialize;

use super::{
    selection::checked,
    vector::{PointVectors, VectorColumns},
};
use crate::error::{Error, Result};

/// Body of `PUT points`: `points`, or `batch` with the same in columns.
#[derive(Debug, Deserialize)]
pub struct UpsertRequest {
    /// One after another.
    pub points: Option<Vec<PointInput>>,
    /// In columns.
    pub batch: Option<Columns>,
    /// Existing points are only replaced if they match.
    pub update_filter: Option<Filter>,
    /// Which points are written.
    pub update_mode: Option<ModeInput>,
}

/// A point.
#[derive(Debug, Deserialize)]
pub struct PointInput {
    /// Its id.
    pub id: PointId,
    /// Its vectors.
    pub vector: PointVectors,
    /// Its payload.
    pub payload: Option<Payload>,
}

/// Points in columns, all of one length.
#[derive(Debug, Deserialize)]
pub struct Columns {
    /// Ids.
    pub ids: Vec<PointId>,
    /// Vectors.
    pub vectors: VectorColumns,
    /// Payloads.
    pub payloads: Option<Vec<Option<Payload>>>,
}

/// `update_mode`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeInput {
    /// New and existing ones.
    Upsert,
    /// Only new ones.
    InsertOnly,
    /// Only existing ones.
    UpdateOnly,
}

impl From<ModeInput> for UpdateMode {
    fn from(mode: ModeInput) -> Self {
        match mode {
            ModeInput::Upsert => Self::Upsert,
            ModeInput::InsertOnly => Self::InsertOnly,
            ModeInput::UpdateOnly => Self::UpdateOnly,
        }
    }
}

impl UpsertRequest {
    /// Checks and converts.
    ///
    /// # Errors
    /// When there is nothing to write, columns have different lengths, or a filter says nothing somewhere.
    pub fn check(self) -> Result<Operation> {
        let points = match (self.points, self.batch) {
            (Some(points), None) => points.into_iter().map(PointInput::point).collect(),
            (None, Some(columns)) => columns.points()?,
            (None, None) => return Err(Error::Format("missing field `points` or `batch`".into())),
            (Some(_), Some(_)) => return Err(Error::Format("`points` and `batch` are given, expected one".into())),
        };
        Ok(Operation::Upsert {
            points,
            mode: self.update_mode.map(Into::into).unwrap_or_default(),
            filter: self.update_filter.map(|filter| checked(filter, "update_filter")).transpose()?,
        })
    }
}

impl PointInput {
    fn point(self) -> Point {
        Point { id: self.id, vectors: self.vector.0, payload: self.payload.unwrap_or_default() }
    }
}

impl Columns {
    fn points(self) -> Result<Vec<Point>> {
        let count = self.ids.len();
        let same = |what: &str, found: usize| {
            let why = || format!("number of ids and {what} must be equal ({count} != {found})");
            if found == count { Ok(()) } else { Err(Error::body("batch.batch", why())) }
        };
        if let Some(payloads) = &self.payloads {
            same("payloads", payloads.len())?;
        }
        let payloads = self.payloads.unwrap_or_default().into_iter().map(Option::unwrap_or_default);
        let payloads = payloads.chain(std::iter::repeat_with(Payload::default));
        let point = |(id, payload)| Point { id, vectors: Vectors::new(), payload };
        let mut points: Vec<_> = self.ids.into_iter().zip(payloads).map(point).collect();
        for (name, vectors) in self.vectors.0 {
            same("vectors", vectors.len())?;
            for (point, vector) in points.iter_mut().zip(vectors) {
                point.vectors.insert(name.clone(), vector.0);
            }
        }
        Ok(points)
    }
}
