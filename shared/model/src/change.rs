//! What is written of points, whatever was there before: all that a log holds.

use crate::{
    Operation, OperationError, Point, PointId, Selection, UpdateMode,
    limits::IDS_MAX,
    operation::{Check, at_most, vectors},
};

/// One change of points that says everything about them. Operations that depend on what is there come to some of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Writes whole points, in place of those that have their ids.
    Put(Vec<Point>),
    /// Removes points, as far as they exist.
    Remove(Vec<PointId>),
}

impl Change {
    /// Checks every limit that does not depend on a schema.
    ///
    /// # Errors
    /// Names the part at fault.
    pub fn validate(&self) -> Result<(), OperationError> {
        let count = |count, what| -> Check { at_most(count, IDS_MAX, || "points".to_owned(), what) };
        match self {
            Self::Put(points) => {
                count(points.len(), "points")?;
                points.iter().try_for_each(|point| vectors(point.id, &point.vectors))
            }
            Self::Remove(ids) => count(ids.len(), "ids"),
        }
    }

    /// Points that it is about.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Put(points) => points.len(),
            Self::Remove(ids) => ids.len(),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those points' ids.
    pub fn ids(&self) -> impl Iterator<Item = PointId> + '_ {
        let (points, ids) = match self {
            Self::Put(points) => (points.as_slice(), [].as_slice()),
            Self::Remove(ids) => ([].as_slice(), ids.as_slice()),
        };
        points.iter().map(|point| point.id).chain(ids.iter().copied())
    }
}

impl Operation {
    /// Whether it says everything about its points, so that it is a [`Change`] as it stands.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Upsert { mode: UpdateMode::Upsert, filter: None, .. } | Self::Delete(Selection::Ids(_)))
    }
}

impl TryFrom<Operation> for Change {
    type Error = OperationError;

    /// Of an operation that [is whole](Operation::is_whole).
    fn try_from(operation: Operation) -> Result<Self, OperationError> {
        match operation {
            Operation::Upsert { points, mode: UpdateMode::Upsert, filter: None } => Ok(Self::Put(points)),
            Operation::Delete(Selection::Ids(ids)) => Ok(Self::Remove(ids)),
            _ => Err(OperationError { at: "operation".to_owned(), why: "depends on what is there".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, Payload};

    #[test]
    fn operations_are_changes_that_do_not_depend_on_what_is_there() {
        let id = PointId::Num(7);
        let points = || vec![Point { id, vectors: [].into(), payload: Payload::default() }];
        let all = Filter::default;
        let upsert = |mode, filter| Operation::Upsert { points: points(), mode, filter };
        for (operation, change) in [
            (upsert(UpdateMode::Upsert, None), Some(Change::Put(points()))),
            (Operation::Delete(Selection::Ids(vec![id])), Some(Change::Remove(vec![id]))),
            (upsert(UpdateMode::Upsert, Some(all())), None),
            (upsert(UpdateMode::InsertOnly, None), None),
            (Operation::Delete(Selection::Filter(all())), None),
            (Operation::ClearPayload(Selection::Ids(vec![id])), None),
        ] {
            assert_eq!(operation.is_whole(), change.is_some(), "{operation:?}");
            let found = Change::try_from(operation).ok();
            assert!(found.iter().all(|change| change.len() == 1 && change.ids().eq([id])));
            assert_eq!(found, change);
        }
    }

    #[test]
    fn changes_have_limits() {
        let many = Change::Remove(vec![PointId::Num(1); IDS_MAX + 1]);
        assert!(many.validate().unwrap_err().why.contains("at most 100000 are allowed"));
        assert_eq!(Change::Remove(vec![PointId::Num(1); IDS_MAX]).validate(), Ok(()));
        let empty = [("a".to_owned(), crate::Vector::Dense(vec![]))].into();
        let point = Point { id: PointId::Num(7), vectors: empty, payload: Payload::default() };
        assert_eq!(Change::Put(vec![point]).validate().unwrap_err().at, "point 7, vector 'a'");
    }
}
