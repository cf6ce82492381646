//! Rows on their way from a source to the spool.

use std::mem::size_of;

use cairn_model::PointId;

use super::Element;

/// Bytes of vectors (as f32) that a batch aims for; one row may be larger.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// Rows of a source, column by column.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Ids; empty when the source has none.
    pub ids: Vec<PointId>,
    /// Vectors one after another, widened to f32.
    pub vectors: Vec<f32>,
    /// Payloads as JSON text of an object, `""` for none; empty when the source has none.
    pub payloads: Vec<String>,
    /// Vectors in `vectors`.
    pub rows: usize,
}

impl Batch {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.vectors.clear();
        self.payloads.clear();
        self.rows = 0;
    }

    /// Rows of `dim` dimensions that a batch holds; at least 1.
    #[must_use]
    pub fn rows_for(dim: usize) -> usize {
        (BATCH_BYTES / (dim.max(1) * size_of::<f32>())).clamp(1, 4_096)
    }

    /// Row `row`'s vector of `dim` dimensions.
    #[must_use]
    pub fn vector(&self, row: usize, dim: usize) -> &[f32] {
        &self.vectors[row * dim..(row + 1) * dim]
    }

    /// Appends `dim` elements from their little-endian bytes.
    pub(crate) fn push_bytes(&mut self, element: Element, bytes: &[u8]) {
        element.widen(bytes, &mut self.vectors);
        self.rows += 1;
    }
}
