//! Points in memory: the newest version of every point that was written since the segments were built, or that it was removed.
//!
//! It shadows segments: what is written of an id here counts, whatever a segment says of it. The vectors are as a segment would give them back, and
//! distances are a segment's exact ones, so it makes no difference to an answer whether a point is in a segment yet.

mod row;
mod search;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{Change, CollectionSchema, Edition, Payload, Point, PointId, Vectors, limits};
use rpds::RedBlackTreeMapSync;

pub use row::{Put, Row};

use crate::{Error, Result, segment::Stored};

/// The newest versions of points by id. A clone takes constant time and shares all that neither changes.
#[derive(Clone, Debug)]
pub struct Fresh {
    schema: Arc<CollectionSchema>,
    /// The vectors' names, which all points share.
    names: Arc<[Arc<str>]>,
    rows: RedBlackTreeMapSync<PointId, Arc<Row>>,
    live: usize,
    bytes: usize,
}

impl Fresh {
    /// Nothing was written yet, of a collection of this schema.
    #[must_use]
    pub fn new(schema: &CollectionSchema) -> Self {
        let names = schema.kinds().map(|(name, _)| name.into()).collect();
        Self { schema: Arc::new(schema.clone()), names, rows: RedBlackTreeMapSync::new_sync(), live: 0, bytes: 0 }
    }

    /// Writes a whole point at `sequence` of the log. Of two writes of one id the later sequence counts, of one sequence the later call.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector that the schema does not have, a wrong kind or dimension, NaN or infinity, a value that does not fit
    /// the datatype, or a payload over its limit; nothing changes then.
    pub fn put(&mut self, id: PointId, sequence: u64, vectors: &Vectors, payload: Payload) -> Result<()> {
        let mut stored = BTreeMap::new();
        for (name, vector) in vectors {
            let unknown = || Error::invalid("vector", format!("point {id} has a vector '{}'", name.escape_debug()));
            let kind = self.schema.kind(name).ok_or_else(unknown)?;
            let known = self.names.iter().find(|known| ***known == **name).ok_or_else(unknown)?;
            stored.insert(Arc::clone(known), Stored::new(vector, kind)?);
        }
        let put = Put { vectors: stored, payload };
        let text_bytes = put.payload_text()?.len();
        if text_bytes > limits::PAYLOAD_BYTES_MAX {
            let why = format!("{text_bytes} bytes of JSON, at most {} are allowed", limits::PAYLOAD_BYTES_MAX);
            return Err(Error::invalid("payload", why));
        }
        self.write(id, Row::new(sequence, Some(put), text_bytes));
        Ok(())
    }

    /// Removes a point at `sequence` of the log, whether it is anywhere or not.
    pub fn remove(&mut self, id: PointId, sequence: u64) {
        self.write(id, Row::new(sequence, None, 0));
    }

    /// Makes a change that is at `sequence` of the log and of this edition of the schema, which is not later than its own. Vectors that
    /// the schema does not show of that edition are left out.
    ///
    /// # Errors
    /// As [`Fresh::put`]; the points before are written then.
    pub fn apply(&mut self, (sequence, edition): (u64, Edition), change: &Change) -> Result<()> {
        match change {
            Change::Put(points) => points.iter().try_for_each(|Point { id, vectors, payload }| {
                if self.schema.editions.is_first() {
                    return self.put(*id, sequence, vectors, payload.clone());
                }
                let shown = vectors.iter().filter(|(name, _)| self.schema.shows(name, edition));
                let shown = shown.map(|(name, vector)| (name.clone(), vector.clone())).collect();
                self.put(*id, sequence, &shown, payload.clone())
            }),
            Change::Remove(ids) => {
                ids.iter().for_each(|id| self.remove(*id, sequence));
                Ok(())
            }
        }
    }

    fn write(&mut self, id: PointId, row: Row) {
        if let Some(before) = self.rows.get(&id) {
            if before.sequence() > row.sequence() {
                return;
            }
            self.bytes -= before.bytes();
            self.live -= usize::from(before.point().is_some());
        }
        self.bytes += row.bytes();
        self.live += usize::from(row.point().is_some());
        self.rows.insert_mut(id, Arc::new(row));
    }

    /// What was written at `position` of the log or later: the rest is in segments once a manifest has that log position.
    #[must_use]
    pub fn since(&self, position: u64) -> Self {
        let mut rest = Self { rows: RedBlackTreeMapSync::new_sync(), live: 0, bytes: 0, ..self.clone() };
        for (id, row) in self.rows.iter().filter(|(_, row)| row.sequence() >= position) {
            rest.bytes += row.bytes();
            rest.live += usize::from(row.point().is_some());
            rest.rows.insert_mut(*id, Arc::clone(row));
        }
        rest
    }

    /// What is known of an id: nothing, or that it was removed, or the point.
    #[must_use]
    pub fn get(&self, id: PointId) -> Option<&Row> {
        self.rows.get(&id).map(|row| &**row)
    }

    /// All ids that were written, removed ones as well, ascending: they count no more in segments.
    pub fn ids(&self) -> impl Iterator<Item = PointId> + '_ {
        self.rows.keys().copied()
    }

    /// The points that were not removed, in order of their ids.
    pub fn points(&self) -> impl Iterator<Item = (PointId, &Put)> + '_ {
        self.rows.iter().filter_map(|(id, row)| Some((*id, row.point()?)))
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Ids that were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.size()
    }

    /// Points that were not removed.
    #[must_use]
    pub const fn len_live(&self) -> usize {
        self.live
    }

    /// Memory that all this takes, in bytes: an estimate.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of which schema the points are.
    #[must_use]
    pub fn schema(&self) -> &CollectionSchema {
        &self.schema
    }
}
