//! What was written of one point.

use cairn_model::Payload;

use crate::{Error, Result, segment::Stored};

/// What a row takes beside its vector and payload: its place in the tree, counters, the map of the payload.
const ROW_BYTES: usize = 256;
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
        let vector_bytes = point.as_ref().map_or(0, |put| put.vector.bytes().len());
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
    pub(super) vector: Stored,
    pub(super) payload: Payload,
}

impl Put {
    /// The vector as a segment would give it back: normalised where the metric wants that, rounded to its datatype, widened to f32.
    #[must_use]
    pub fn vector(&self) -> Vec<f32> {
        self.vector.widened()
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
