//! One vector as segments store it, of whichever kind.

use cairn_model::{Vector, VectorKind, VectorParams};

use super::vectors::Vectors;
use crate::{Error, Result};

/// A vector of a point: checked, normalised where its metric wants that, in its datatype.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// One row.
    Dense(Vectors),
    /// As many rows as there are vectors.
    Multi(Vectors),
    /// Ascending dimensions, and their values.
    Sparse(Box<[u32]>, Box<[f32]>),
}

impl Stored {
    /// Checks and converts a vector from outside, exactly as a segment's builder does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another kind, a wrong dimension, NaN or infinity, a value that does not fit the datatype, or
    /// dimensions of a sparse vector that do not ascend.
    pub(crate) fn new(vector: &Vector, kind: VectorKind<'_>) -> Result<Self> {
        Self::of(vector, kind, Vectors::push)
    }

    /// The same of a vector that was stored before: it is not normalised a second time.
    ///
    /// # Errors
    /// As [`Stored::new`].
    pub(crate) fn again(vector: &Vector, kind: VectorKind<'_>) -> Result<Self> {
        Self::of(vector, kind, Vectors::push_stored)
    }

    fn of(vector: &Vector, kind: VectorKind<'_>, push: fn(&mut Vectors, &[f32]) -> Result<()>) -> Result<Self> {
        let rows = |params: VectorParams, values: &[f32], dim: usize| {
            let mut rows = Vectors::new(params);
            values.chunks(dim.max(1)).try_for_each(|row| push(&mut rows, row))?;
            Ok(rows)
        };
        match (vector, kind) {
            (Vector::Dense(values), VectorKind::Dense(params)) => {
                let mut row = Vectors::new(*params);
                push(&mut row, values)?;
                Ok(Self::Dense(row))
            }
            (Vector::Multi { dim, values }, VectorKind::Multi(params)) => {
                rows(*params, values, *dim as usize).map(Self::Multi)
            }
            (Vector::Sparse { indices, values }, VectorKind::Sparse(_)) => {
                if indices.len() != values.len() || !indices.is_sorted_by(|a, b| a < b) {
                    return Err(Error::invalid("vector", "indices of a sparse vector must ascend, one for each value"));
                }
                if let Some(i) = values.iter().position(|value| !value.is_finite()) {
                    return Err(Error::invalid(
                        "vector",
                        format!("element {i} is {}, vectors must be finite", values[i]),
                    ));
                }
                Ok(Self::Sparse(indices.as_slice().into(), values.as_slice().into()))
            }
            _ => Err(Error::invalid("vector", "of another kind than the collection's")),
        }
    }

    /// The bytes of a dense vector, aligned for its datatype; `None` for other kinds.
    pub(crate) fn row(&self) -> Option<&[u8]> {
        match self {
            Self::Dense(row) => Some(row.bytes()),
            Self::Multi(_) | Self::Sparse(..) => None,
        }
    }

    /// Memory that it takes, in bytes, without what is the same for all.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Dense(rows) | Self::Multi(rows) => rows.bytes().len(),
            Self::Sparse(indices, values) => size_of_val(&**indices) + size_of_val(&**values),
        }
    }

    /// As a segment gives it back, widened to f32.
    pub(crate) fn widened(&self) -> Vector {
        match self {
            Self::Dense(row) => Vector::Dense(row.widened()),
            Self::Multi(rows) => Vector::Multi { dim: rows.params().size, values: rows.widened() },
            Self::Sparse(indices, values) => Vector::Sparse { indices: indices.to_vec(), values: values.to_vec() },
        }
    }
}
