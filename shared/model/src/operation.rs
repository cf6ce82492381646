//! What a write does to points: Qdrant's update operations as plain data. What they come to is decided where the points are known.

use std::collections::BTreeMap;

use crate::{
    Filter, Path, Payload, PointId,
    limits::{DIM_MAX, IDS_MAX, MULTI_VALUES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, SPARSE_VALUES_MAX, VECTORS_MAX},
};

/// A vector as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// One value per dimension.
    Dense(Vec<f32>),
    /// Several vectors of `dim` dimensions, one after another.
    Multi {
        /// Dimensions of each.
        dim: u32,
        /// All values.
        values: Vec<f32>,
    },
    /// The dimensions that are not zero, ascending, and their values.
    Sparse {
        /// Dimensions.
        indices: Vec<u32>,
        /// One for each.
        values: Vec<f32>,
    },
}

/// A point's vectors by name; the unnamed one is `""`.
pub type Vectors = BTreeMap<String, Vector>;

/// A point as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// Its vectors.
    pub vectors: Vectors,
    /// Its payload; empty when it has none.
    pub payload: Payload,
}

/// Which points an upsert may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpdateMode {
    /// New and existing ones.
    #[default]
    Upsert,
    /// Only new ones.
    InsertOnly,
    /// Only existing ones.
    UpdateOnly,
}

/// The points that an operation is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// These, as far as they exist.
    Ids(Vec<PointId>),
    /// All that match.
    Filter(Filter),
}

/// One update operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Writes whole points.
    Upsert {
        /// The points.
        points: Vec<Point>,
        /// Which of them are written.
        mode: UpdateMode,
        /// Existing points are only replaced if they match.
        filter: Option<Filter>,
    },
    /// Removes points.
    Delete(Selection),
    /// Sets keys of the payload and leaves the others.
    SetPayload {
        /// Of these points.
        selection: Selection,
        /// The keys and their values.
        payload: Payload,
        /// Below this key, if not at the top.
        key: Option<Path>,
    },
    /// Replaces the whole payload.
    OverwritePayload {
        /// Of these points.
        selection: Selection,
        /// The new payload.
        payload: Payload,
        /// What is replaced, if not everything.
        key: Option<Path>,
    },
    /// Removes keys of the payload.
    DeletePayload {
        /// Of these points.
        selection: Selection,
        /// The keys.
        keys: Vec<Path>,
    },
    /// Removes the whole payload.
    ClearPayload(Selection),
    /// Sets vectors and leaves the others, and the payload.
    UpdateVectors {
        /// The points that change, each with its new vectors.
        points: Vec<(PointId, Vectors)>,
        /// Only points that match change.
        filter: Option<Filter>,
    },
    /// Removes vectors.
    DeleteVectors {
        /// Of these points.
        selection: Selection,
        /// The vectors' names.
        names: Vec<String>,
    },
}

/// An operation that is larger than it may be, or says nothing that could be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct OperationError {
    /// The part at fault.
    pub at: String,
    /// What is wrong with it.
    pub why: String,
}

pub(crate) type Check = Result<(), OperationError>;

fn check(holds: bool, at: impl FnOnce() -> String, why: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(OperationError { at: at(), why: why() }) }
}

pub(crate) fn at_most(count: usize, limit: usize, at: impl FnOnce() -> String, what: &str) -> Check {
    check(count <= limit, at, || format!("{count} {what} are given, at most {limit} are allowed"))
}

impl Vector {
    /// Values that are written down.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Dense(values) | Self::Multi { values, .. } | Self::Sparse { values, .. } => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn validate(&self, at: &dyn Fn() -> String) -> Check {
        let values = match self {
            Self::Dense(values) => {
                check(!values.is_empty(), at, || "the vector is empty".to_owned())?;
                at_most(values.len(), DIM_MAX, at, "dimensions")?;
                values
            }
            Self::Multi { dim, values } => {
                let dim = *dim as usize;
                check(dim > 0 && !values.is_empty() && values.len().is_multiple_of(dim), at, || {
                    format!("{} values are no vectors of {dim} dimensions", values.len())
                })?;
                at_most(dim, DIM_MAX, at, "dimensions")?;
                at_most(values.len(), MULTI_VALUES_MAX, at, "values")?;
                values
            }
            Self::Sparse { indices, values } => {
                check(indices.len() == values.len(), at, || {
                    format!("{} indices are given for {} values", indices.len(), values.len())
                })?;
                at_most(values.len(), SPARSE_VALUES_MAX, at, "values")?;
                check(indices.is_sorted_by(|a, b| a < b), at, || "indices must be unique, and ascend".to_owned())?;
                values
            }
        };
        check(values.iter().all(|value| value.is_finite()), at, || "every value must be a finite number".to_owned())
    }
}

pub(crate) fn vectors(id: PointId, vectors: &Vectors) -> Check {
    at_most(vectors.len(), VECTORS_MAX, || format!("point {id}"), "vectors")?;
    vectors.iter().try_for_each(|(name, vector)| {
        let at = || format!("point {id}, vector '{}'", name.escape_debug());
        at_most(name.len(), NAME_BYTES_MAX, at, "bytes of a name")?;
        vector.validate(&at)
    })
}

fn path(path: &Path) -> Check {
    let text = path.to_string();
    let at = || format!("key '{}'", text.escape_debug());
    at_most(text.len(), PATH_BYTES_MAX, at, "bytes")?;
    check(Path::parse(&text).as_ref() == Ok(path), at, || "cannot be written as a path".to_owned())
}

impl Selection {
    fn validate(&self) -> Check {
        match self {
            Self::Ids(ids) => at_most(ids.len(), IDS_MAX, || "points".to_owned(), "ids"),
            Self::Filter(_) => Ok(()),
        }
    }
}

impl Operation {
    /// Checks every limit that does not depend on a schema.
    ///
    /// # Errors
    /// Names the part at fault.
    pub fn validate(&self) -> Result<(), OperationError> {
        let count = |count| at_most(count, IDS_MAX, || "points".to_owned(), "points");
        match self {
            Self::Upsert { points, .. } => {
                count(points.len())?;
                points.iter().try_for_each(|point| vectors(point.id, &point.vectors))
            }
            Self::UpdateVectors { points, .. } => {
                count(points.len())?;
                points.iter().try_for_each(|(id, named)| vectors(*id, named))
            }
            Self::Delete(selection) | Self::ClearPayload(selection) => selection.validate(),
            Self::SetPayload { selection, key, .. } | Self::OverwritePayload { selection, key, .. } => {
                selection.validate()?;
                key.as_ref().map_or(Ok(()), path)
            }
            Self::DeletePayload { selection, keys } => {
                selection.validate()?;
                at_most(keys.len(), IDS_MAX, || "keys".to_owned(), "keys")?;
                keys.iter().try_for_each(path)
            }
            Self::DeleteVectors { selection, names } => {
                selection.validate()?;
                at_most(names.len(), VECTORS_MAX, || "vector".to_owned(), "names")?;
                let name = |name: &String| at_most(name.len(), NAME_BYTES_MAX, || "vector".to_owned(), "bytes");
                names.iter().try_for_each(name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upsert(vector: Vector) -> Operation {
        let point =
            Point { id: PointId::Num(7), vectors: [("a".to_owned(), vector)].into(), payload: Payload::default() };
        Operation::Upsert { points: vec![point], mode: UpdateMode::Upsert, filter: None }
    }

    #[test]
    fn what_is_no_vector_is_refused_by_name() {
        let bad = [
            (Vector::Dense(vec![]), "empty"),
            (Vector::Dense(vec![1.0, f32::NAN]), "finite"),
            (Vector::Dense(vec![0.0; DIM_MAX + 1]), "at most"),
            (Vector::Multi { dim: 2, values: vec![1.0; 3] }, "no vectors of 2"),
            (Vector::Multi { dim: 0, values: vec![] }, "no vectors of 0"),
            (Vector::Sparse { indices: vec![1], values: vec![] }, "1 indices"),
            (Vector::Sparse { indices: vec![2, 2], values: vec![1.0; 2] }, "unique"),
            (Vector::Sparse { indices: vec![2], values: vec![f32::INFINITY] }, "finite"),
        ];
        for (vector, why) in bad {
            let error = upsert(vector).validate().unwrap_err();
            assert!(error.at == "point 7, vector 'a'" && error.why.contains(why), "{error}");
        }
        assert_eq!(upsert(Vector::Sparse { indices: vec![1, 9], values: vec![0.5, 2.0] }).validate(), Ok(()));
        assert_eq!(upsert(Vector::Multi { dim: 2, values: vec![1.0; 4] }).validate(), Ok(()));
    }

    #[test]
    fn a_key_that_its_text_does_not_give_back_is_refused() {
        let keys = vec![Path::key("a\"b.c")];
        let error = Operation::DeletePayload { selection: Selection::Ids(vec![]), keys }.validate().unwrap_err();
        assert!(error.why.contains("path"), "{error}");
        let keys = vec![Path::key("a.b"), Path::parse("a[].b").unwrap()];
        assert_eq!(Operation::DeletePayload { selection: Selection::Ids(vec![]), keys }.validate(), Ok(()));
    }
}
