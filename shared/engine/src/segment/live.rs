//! Points of a segment that count no more: deleted, or replaced by a later write.
//!
//! A segment is never rewritten, so which of its rows are dead is said beside it. It is one more condition of every filter, and a filter
//! of its own where there is none.

use std::sync::{Arc, OnceLock};

use cairn_model::{PointId, Vectors};
use roaring::RoaringBitmap;

use super::{Segment, groups::Held, search::Allowed};
use crate::{Error, Result};

/// Dead rows as manifests have them: roaring's portable format.
///
/// # Errors
/// [`Error::Invalid`], never in memory.
pub fn encode_dead(dead: &RoaringBitmap) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(dead.serialized_size());
    dead.serialize_into(&mut bytes).map_err(|error| Error::invalid("dead", error.to_string()))?;
    Ok(bytes)
}

/// The dead rows that a manifest says.
///
/// # Errors
/// [`Error::Corrupt`] for other bytes, or other than `count` rows.
pub fn decode_dead(bytes: &[u8], count: u64) -> Result<RoaringBitmap> {
    let corrupt = |why: String| Error::corrupt("dead", 0, why);
    let dead = RoaringBitmap::deserialize_from(bytes).map_err(|error| corrupt(error.to_string()))?;
    if dead.len() == count { Ok(dead) } else { Err(corrupt(format!("{} rows, {count} are said to be", dead.len()))) }
}

/// The rows that count no more, and those that do in the forms that searches want.
pub(super) struct Live {
    dead: Arc<RoaringBitmap>,
    /// Made when a search without a filter first wants it; clones of the segment share it.
    allowed: OnceLock<Allowed>,
    /// The same for the rows of each further vector; `None` where none of them is dead.
    further: Box<[OnceLock<Option<Allowed>>]>,
}

impl Segment {
    /// The same segment in which `dead` rows count no more, beside those that were dead already. Every read leaves them out but those
    /// of one row by its ordinal. Ordinals past the end mean nothing.
    #[must_use]
    pub fn without(&self, dead: Arc<RoaringBitmap>) -> Self {
        let dead = if dead.max().is_some_and(|last| last >= self.len()) {
            let mut inside = RoaringBitmap::clone(&dead);
            inside.remove_range(self.len()..);
            Arc::new(inside)
        } else {
            dead
        };
        let dead = match self.dead() {
            _ if dead.is_empty() => return self.clone(),
            Some(before) => Arc::new(&**before | &*dead),
            None => dead,
        };
        let mut segment = self.clone();
        let further = (0..self.groups.further_len()).map(|_| OnceLock::new()).collect();
        segment.live = Some(Arc::new(Live { dead, allowed: OnceLock::new(), further }));
        segment
    }

    /// The rows that count no more; `None` where all count.
    #[must_use]
    pub fn dead(&self) -> Option<&Arc<RoaringBitmap>> {
        self.live.as_ref().map(|live| &live.dead)
    }

    /// Points that count.
    #[must_use]
    pub fn live_len(&self) -> u32 {
        let dead = self.dead().map_or(0, |dead| dead.len());
        self.len() - u32::try_from(dead).unwrap_or(self.len())
    }

    /// The rows that count; `None` where all do.
    pub(super) fn living(&self) -> Option<&Allowed> {
        let live = self.live.as_ref()?;
        Some(live.allowed.get_or_init(|| {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..self.len());
            Allowed::some(all - &*live.dead, self.len())
        }))
    }

    /// The rows of a vector whose points count; `None` where all do.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn living_rows(&self, held: &Held<'_>) -> Result<Option<&Allowed>> {
        let Some(further) = &held.further else { return Ok(self.living()) };
        let (Some(live), Some(living)) = (&self.live, self.living()) else { return Ok(None) };
        let Some(known) = live.further.get(further.at) else { return Ok(None) };
        if known.get().is_none() {
            let rows = Allowed::new(further.places.rows_of(living.set())?, held.dense.rows());
            // Another thread may have been faster, and made the same.
            let _ = known.set(rows);
        }
        Ok(known.get().and_then(Option::as_ref))
    }

    /// Calls `visit` with the id, the stored vectors widened to f32 and the payload's text of every row that counts, in the order of the
    /// file: what [`super::Builder::push_stored`] takes. Reads the whole segment.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Absent`]; what `visit` says, which ends it.
    pub fn each<E: From<Error>>(
        &self,
        mut visit: impl FnMut(PointId, &Vectors, &str) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let counts = |ordinal: &u32| self.dead().is_none_or(|dead| !dead.contains(*ordinal));
        let mut said = None;
        let read = self.rows()?.each((0..self.len()).filter(counts), |ordinal, payload| {
            visit(self.id(ordinal)?, &self.vectors(ordinal, &|_| true)?, payload).map_err(|error| {
                said = Some(error);
                Error::Cancelled
            })
        });
        match said {
            Some(error) => Err(error),
            None => Ok(read?),
        }
    }

    /// The row of an id, if it counts.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Absent`].
    pub fn ordinal(&self, id: PointId) -> Result<Option<u32>> {
        let ordinal = self.ids()?.ordinal(id)?;
        Ok(ordinal.filter(|&ordinal| self.dead().is_none_or(|dead| !dead.contains(ordinal))))
    }

    /// The rows of those of `ids` that the segment has, dead or not.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`]; [`crate::Error::Absent`], which names all that is needed for all of them.
    pub fn ordinals_of(&self, ids: &mut dyn Iterator<Item = PointId>) -> Result<RoaringBitmap> {
        self.ids()?.ordinals(ids)
    }
}
