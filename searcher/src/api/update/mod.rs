//! Updates: what clients send, as operations.
//!
//! Unlike elsewhere, fields that Qdrant does not know are ignored here, because it ignores them: only filters are strict.

mod points;
mod selection;
mod vector;

use cairn_model::{Filter, Operation, Path, Payload, PointId, Selection, limits::OPERATIONS_MAX};
use serde::{Deserialize, Serialize};

pub use points::{Columns, ModeInput, PointInput, UpsertRequest};
pub use selection::PointsSelector;
pub use vector::{PointVector, PointVectors, VectorColumns};

use self::selection::checked;
use crate::{
    error::{Error, Result},
    update::{UpdateResult, UpdateStatus},
};

/// Body of `PUT` and `POST points/payload`.
#[derive(Debug, Deserialize)]
pub struct SetPayload {
    /// Keys and values.
    pub payload: Payload,
    /// Below this key.
    pub key: Option<Path>,
    /// Of these points.
    pub points: Option<Vec<PointId>>,
    /// Of all that match.
    pub filter: Option<Filter>,
}

/// Body of `points/payload/delete`.
#[derive(Debug, Deserialize)]
pub struct DeletePayload {
    /// The keys.
    pub keys: Vec<Path>,
    /// Of these points.
    pub points: Option<Vec<PointId>>,
    /// Of all that match.
    pub filter: Option<Filter>,
}

/// Body of `PUT points/vectors`.
#[derive(Debug, Deserialize)]
pub struct UpdateVectors {
    /// Points, each with the vectors that change.
    pub points: Vec<VectorsOfPoint>,
    /// Only points that match change.
    pub update_filter: Option<Filter>,
}

/// New vectors of one point.
#[derive(Debug, Deserialize)]
pub struct VectorsOfPoint {
    /// Its id.
    pub id: PointId,
    /// Its vectors.
    pub vector: PointVectors,
}

/// Body of `points/vectors/delete`.
#[derive(Debug, Deserialize)]
pub struct DeleteVectors {
    /// The vectors' names.
    #[serde(alias = "vectors")]
    pub vector: Vec<String>,
    /// Of these points.
    pub points: Option<Vec<PointId>>,
    /// Of all that match.
    pub filter: Option<Filter>,
}

/// Body of `points/batch`.
#[derive(Debug, Deserialize)]
pub struct UpdateBatch {
    /// Carried out in this order.
    pub operations: Vec<BatchOperation>,
}

/// One operation of a batch: exactly one of the fields.
#[derive(Debug, Deserialize)]
pub struct BatchOperation {
    upsert: Option<UpsertRequest>,
    delete: Option<PointsSelector>,
    set_payload: Option<SetPayload>,
    overwrite_payload: Option<SetPayload>,
    delete_payload: Option<DeletePayload>,
    clear_payload: Option<PointsSelector>,
    update_vectors: Option<UpdateVectors>,
    delete_vectors: Option<DeleteVectors>,
}

/// What a request comes to: at least one operation.
type Operations = Vec<Operation>;

fn select(points: Option<Vec<PointId>>, filter: Option<Filter>) -> Result<Selection> {
    PointsSelector { points, filter }.check()
}

/// An operation that is about no point at all is refused, as Qdrant does.
fn some(operation: Operation) -> Result<Operation> {
    let none = match &operation {
        Operation::Upsert { points, .. } => points.is_empty(),
        Operation::UpdateVectors { points, .. } => points.is_empty(),
        Operation::Delete(selection)
        | Operation::ClearPayload(selection)
        | Operation::SetPayload { selection, .. }
        | Operation::OverwritePayload { selection, .. }
        | Operation::DeletePayload { selection, .. }
        | Operation::DeleteVectors { selection, .. } => matches!(selection, Selection::Ids(ids) if ids.is_empty()),
    };
    if none { Err(Error::Bad("Empty update request".into())) } else { Ok(operation) }
}

impl UpsertRequest {
    /// As one operation.
    ///
    /// # Errors
    /// As [`UpsertRequest::check`], and for no points.
    pub fn operations(self) -> Result<Operations> {
        Ok(vec![some(self.check()?)?])
    }
}

impl PointsSelector {
    /// Deletes the points.
    ///
    /// # Errors
    /// As [`PointsSelector::check`], and for no points.
    pub fn delete(self) -> Result<Operations> {
        Ok(vec![some(Operation::Delete(self.check()?))?])
    }

    /// Clears the points' payload.
    ///
    /// # Errors
    /// As [`PointsSelector::check`], and for no points.
    pub fn clear_payload(self) -> Result<Operations> {
        Ok(vec![some(Operation::ClearPayload(self.check()?))?])
    }
}

impl SetPayload {
    /// Sets the keys that are given.
    ///
    /// # Errors
    /// Without points, or without a word about them.
    pub fn set(self) -> Result<Operations> {
        let selection = select(self.points, self.filter)?;
        Ok(vec![some(Operation::SetPayload { selection, payload: self.payload, key: self.key })?])
    }

    /// Replaces everything.
    ///
    /// # Errors
    /// As [`SetPayload::set`].
    pub fn overwrite(self) -> Result<Operations> {
        let selection = select(self.points, self.filter)?;
        Ok(vec![some(Operation::OverwritePayload { selection, payload: self.payload, key: self.key })?])
    }
}

impl DeletePayload {
    /// As one operation.
    ///
    /// # Errors
    /// Without points, or without a word about them.
    pub fn operations(self) -> Result<Operations> {
        let selection = select(self.points, self.filter)?;
        Ok(vec![some(Operation::DeletePayload { selection, keys: self.keys })?])
    }
}

impl UpdateVectors {
    /// As one operation.
    ///
    /// # Errors
    /// For no points, or a filter that says nothing somewhere.
    pub fn operations(self) -> Result<Operations> {
        if self.points.is_empty() {
            return Err(Error::body("points", "must specify points to update"));
        }
        let points = self.points.into_iter().map(|point| (point.id, point.vector.0)).collect();
        let filter = self.update_filter.map(|filter| checked(filter, "update_filter")).transpose()?;
        Ok(vec![Operation::UpdateVectors { points, filter }])
    }
}

impl DeleteVectors {
    /// One operation, or two: here, and only here, Qdrant heeds ids and filter both, the filter first.
    ///
    /// # Errors
    /// Without names, without points, or without a word about them.
    pub fn operations(self) -> Result<Operations> {
        if self.vector.is_empty() {
            return Err(Error::body("vector", "must specify vector names to delete"));
        }
        let names = self.vector;
        let of = |selection| some(Operation::DeleteVectors { selection, names: names.clone() });
        let filtered = self.filter.map(|filter| of(Selection::Filter(checked(filter, "filter")?))).transpose()?;
        let listed = self.points.map(|ids| of(Selection::Ids(ids))).transpose()?;
        let operations: Operations = filtered.into_iter().chain(listed).collect();
        if operations.is_empty() {
            return Err(Error::Bad("No filter or points provided".into()));
        }
        Ok(operations)
    }
}

impl BatchOperation {
    fn operations(self) -> Result<Operations> {
        const EXPECTED: &str = "expected exactly one of `upsert`, `delete`, `set_payload`, `overwrite_payload`, \
            `delete_payload`, `clear_payload`, `update_vectors` or `delete_vectors`";
        let all = [
            self.upsert.map(UpsertRequest::operations),
            self.delete.map(PointsSelector::delete),
            self.set_payload.map(SetPayload::set),
            self.overwrite_payload.map(SetPayload::overwrite),
            self.delete_payload.map(DeletePayload::operations),
            self.clear_payload.map(PointsSelector::clear_payload),
            self.update_vectors.map(UpdateVectors::operations),
            self.delete_vectors.map(DeleteVectors::operations),
        ];
        let mut given = all.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(operations), None) => operations,
            _ => Err(Error::Format(format!("an operation is an object of one field, {EXPECTED}"))),
        }
    }
}

impl UpdateBatch {
    /// Checks and converts. Tells with the operations how many results the answer has: one for each that was asked for.
    ///
    /// # Errors
    /// Those of the first operation that is wrong, or for too many of them.
    pub fn operations(self) -> Result<(Operations, usize)> {
        let asked = self.operations.len();
        let mut operations = Vec::with_capacity(asked);
        for operation in self.operations {
            operations.extend(operation.operations()?);
            if operations.len() > OPERATIONS_MAX {
                let why = format!("{asked} operations are given, at most {OPERATIONS_MAX} are allowed");
                return Err(Error::body("operations", why));
            }
        }
        Ok((operations, asked))
    }
}

/// Qdrant's `UpdateResult`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UpdateBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_id: Option<u64>,
    status: &'static str,
}

impl From<UpdateResult> for UpdateBody {
    fn from(UpdateResult { operation_id, status }: UpdateResult) -> Self {
        let status = match status {
            UpdateStatus::Acknowledged => "acknowledged",
            UpdateStatus::Completed => "completed",
        };
        Self { operation_id, status }
    }
}

#[cfg(test)]
mod tests;
