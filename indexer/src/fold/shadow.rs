//! Which rows of a segment were written anew: by its ids, of which no more is read than that takes.

use std::sync::Arc;

use cairn_engine::{
    fresh::Fresh,
    segment::{Segment, Source},
};
use cairn_model::ErrorKind;
use cairn_storage::{
    Cache, Collection, SegmentEntry, Store,
    cache::{RangeCache, Ranges},
};
use roaring::RoaringBitmap;

use crate::{Result, pool::joined};

/// Waves of ranges that a segment may need to be opened and asked for its ids; then it is read whole.
const WAVES_MAX: usize = 6;

/// What of a segment is here, as the engine reads it.
struct Part(Ranges);

impl Source for Part {
    fn len(&self) -> u64 {
        self.0.file_bytes()
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        self.0.get(offset, len)
    }
}

/// Where segments are read.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) store: Store,
    pub(super) cache: Arc<Cache>,
    pub(super) ranges: Arc<RangeCache>,
}

impl Shelf {
    /// A whole segment.
    ///
    /// # Errors
    /// [`crate::Error::Storage`], [`crate::Error::Engine`].
    pub(super) async fn whole(&self, collection: &Collection, (shard, entry): (u32, &SegmentEntry)) -> Result<Segment> {
        let file = self.cache.segment(&self.store, collection, shard, entry).await?;
        joined(tokio::task::spawn_blocking(move || Ok(Segment::open(Arc::new(file))?))).await
    }

    /// The rows of a segment whose ids were written.
    ///
    /// # Errors
    /// [`crate::Error::Storage`], [`crate::Error::Engine`].
    pub(super) async fn rows(
        &self,
        collection: &Collection,
        (shard, entry): (u32, &SegmentEntry),
        written: &Arc<Fresh>,
    ) -> Result<RoaringBitmap> {
        if entry.head.is_some()
            && !self.cache.has(&self.store, collection, shard, entry).await?
            && let Some(rows) = self.rows_by_ranges(collection, (shard, entry), written).await?
        {
            return Ok(rows);
        }
        let (segment, written) = (self.whole(collection, (shard, entry)).await?, Arc::clone(written));
        joined(tokio::task::spawn_blocking(move || Ok(segment.ordinals_of(&mut written.ids())?))).await
    }

    /// The same by ranges; `None` where they would be too many.
    async fn rows_by_ranges(
        &self,
        collection: &Collection,
        segment: (u32, &SegmentEntry),
        written: &Arc<Fresh>,
    ) -> Result<Option<RoaringBitmap>> {
        let opened = self.ranges.open(&self.store, collection, segment, &[]).await?;
        let mut ranges = opened.ranges;
        for _ in 0..WAVES_MAX {
            let (part, ids) = (Part(ranges.clone()), Arc::clone(written));
            let asked = tokio::task::spawn_blocking(move || {
                Ok(Segment::open(Arc::new(part)).and_then(|segment| segment.ordinals_of(&mut ids.ids())))
            });
            let missing = match joined(asked).await? {
                Ok(rows) => return Ok(Some(rows)),
                Err(cairn_engine::Error::Absent(missing)) => missing,
                Err(error) => return Err(error.into()),
            };
            ranges = match self.ranges.bring(&self.store, &opened.place, &ranges, missing).await {
                Ok(more) => more,
                Err(error) if error.kind == ErrorKind::TooLarge => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(None)
    }
}
