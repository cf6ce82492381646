//! What was written of one point.

use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{Payload, Vectors};

use crate::{Error, Result, segment::Stored};

/// What a row takes beside its vector and payload: its place in the tree, counters, the map of the payload.
const ROW_BYTES: usize = 160;
/// What a vector takes beside its values: its place among a point's.
const VECTOR_BYTES: usize = 96;
/// A payload in memory over its JSON: a few keys and numbers, each a node of a tree and perhaps a string.
const PAYLOAD_FACTOR: usize = 4;

/// The newest that was written of a point.
#[derive(Clone, Debug)]
pub struct Row {
    sequence: u64,
    point: Option<Put>,
    bytes: usize,
}

impl Row {
    pub(super) fn new(sequence: u64, point: Option<Put>, text_bytes: usize) -> Self {
        let vectors = point.iter().flat_map(|put| put.vectors.values());
        let vector_bytes: usize = vectors.map(|vector| VECTOR_BYTES + vector.heap_bytes()).sum();
        Self { sequence, point, bytes: ROW_BYTES + vector_bytes + PAYLOAD_FACTOR * text_bytes }
    }

    /// Where it stands in the log.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The point; `None` where it was removed.
    #[must_use]
    pub const fn point(&self) -> Option<&Put> {
        self.point.as_ref()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A point that was written whole.
#[derive(Clone, Debug)]
pub struct Put {
    pub(super) vectors: BTreeMap<Arc<str>, Stored>,
    pub(super) payload: Payload,
}

impl Put {
    /// Those of its vectors whose names are wanted, as a segment would give them back: normalised where the metric wants that, rounded to their
    /// datatypes, widened to f32.
    #[must_use]
    pub fn vectors(&self, wanted: &dyn Fn(&str) -> bool) -> Vectors {
        let wanted = self.vectors.iter().filter(|(name, _)| wanted(name));
        wanted.map(|(name, vector)| ((**name).to_owned(), vector.widened())).collect()
    }

    /// Whether it has a vector of this name.
    #[must_use]
    pub fn has_vector(&self, name: &str) -> bool {
        self.vectors.contains_key(name)
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The payload as a segment would give it back: JSON text of an object, `{}` when it has none.
    ///
    /// # Errors
    /// [`Error::Invalid`], never for what was read from JSON.
    pub fn payload_text(&self) -> Result<String> {
        serde_json::to_string(&self.payload).map_err(|error| Error::invalid("payload", error.to_string()))
    }
}
