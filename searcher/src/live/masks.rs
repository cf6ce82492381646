//! Which rows of a segment count no more: those that its manifest calls dead, and those of points that were written or removed since.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use cairn_engine::segment::decode_dead;
use cairn_model::{Change, PointId};
use cairn_storage::log::Frame;
use roaring::RoaringBitmap;

use super::seen::Seen;
use crate::{
    error::{Error, Result},
    leaf::Leaf,
};

/// The rows of each segment, as far as they were wanted: of one version of a collection. Later tails of the same version go on with them.
#[derive(Debug, Default)]
pub(crate) struct Masks(Mutex<HashMap<String, Mask>>);

/// The rows of one segment.
#[derive(Clone, Debug)]
struct Mask {
    /// The first sequence number of the log that it does not regard.
    next: u64,
    rows: Arc<RoaringBitmap>,
}

impl Masks {
    /// The same rows, to go on with.
    pub(super) fn kept(&self) -> Self {
        Self(Mutex::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    /// The rows of a segment that count no more in `seen`; `None` where all count.
    ///
    /// # Errors
    /// When the segment or its dead rows are corrupt; `Absent` when the places of ids are not at hand.
    pub(super) fn of(&self, seen: &Seen, leaf: &Leaf) -> Result<Option<Arc<RoaringBitmap>>> {
        let shard = usize::try_from(leaf.shard()).unwrap_or(usize::MAX);
        let tail = seen.tails.get(shard).filter(|tail| !tail.fresh.is_empty());
        let next = tail.map_or(0, |tail| tail.tail.next());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(leaf.id()).cloned();
        let rows = match (known, tail) {
            (Some(known), _) if known.next >= next => return Ok(Some(known.rows).filter(|rows| !rows.is_empty())),
            (Some(known), Some(tail)) => {
                let new = tail.tail.since(known.next.max(tail.position)).unwrap_or_default();
                known.rows.as_ref() | leaf.ordinals_of(&mut written(new))?
            }
            (_, tail) => {
                let manifest = seen.manifests.get(shard);
                let entry = manifest.and_then(|manifest| manifest.segments.iter().find(|entry| entry.id == leaf.id()));
                let mut rows = match entry.and_then(|entry| entry.dead.as_ref()) {
                    Some(dead) => {
                        decode_dead(&dead.bitmap, dead.count).map_err(|error| Error::segment(leaf.id(), error))?
                    }
                    None if tail.is_none() => return Ok(None),
                    None => RoaringBitmap::new(),
                };
                if let Some(tail) = tail {
                    rows |= leaf.ordinals_of(&mut tail.fresh.ids())?;
                }
                rows
            }
        };
        let rows = Arc::new(rows);
        let mask = Mask { next, rows: Arc::clone(&rows) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(leaf.id().to_owned(), mask);
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }
}

/// All ids that these objects of a log write or remove.
fn written(frames: &[Arc<Frame>]) -> impl Iterator<Item = PointId> + '_ {
    frames.iter().flat_map(|frame| &frame.parts).flat_map(|changes| changes.iter()).flat_map(Change::ids)
}
