//! How many points each shard has.

use std::{collections::BTreeSet, sync::Arc};

use cairn_model::Usage;
use cairn_storage::SegmentEntry;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Job, Shards, Wants};
use crate::{
    error::Result,
    live::Seen,
    request::View,
    searcher::{Call, Searcher},
    workers::Stop,
};

/// Shards that are counted at once.
const SHARDS_AT_ONCE: usize = 8;

impl Searcher {
    /// How many points each shard has, exactly, in the order of their numbers.
    ///
    /// # Errors
    /// As [`Searcher::count`].
    pub async fn points_by_shard(&self, view: &View) -> Result<(Vec<u64>, Usage)> {
        let call = self.call();
        let counted = &call;
        let counts = self.freshly(&call, view, move |seen| async move { self.shards_of(counted, &seen).await }).await?;
        Ok((counts, call.usage()))
    }

    async fn shards_of(&self, call: &Call<'_>, seen: &Arc<Seen>) -> Result<Vec<u64>> {
        if !seen.has_writes() {
            // The manifests know.
            let manifests = seen.manifests.iter();
            return Ok(manifests.map(|shard| shard.segments.iter().map(SegmentEntry::live_points).sum()).collect());
        }
        let work = &Arc::new(|job: &Job, stop: &Stop| job.count(None, stop));
        let one = |shard: usize| async move {
            let segments = seen.manifests.get(shard).into_iter().flat_map(|shard| &shard.segments);
            let segments: BTreeSet<String> = segments.map(|segment| segment.id.clone()).collect();
            let wants = Wants::of(Shards::Segments(Arc::new(segments)), None);
            let (plan, sum) = (move |_: &_| Ok(wants.clone()), |counts: Vec<u64>| counts.into_iter().sum());
            let stored: u64 = self.answer_from(call, seen, &plan, work, &sum).await?;
            Ok(stored + seen.fresh_of(shard).map_or(0, |fresh| fresh.len_live() as u64))
        };
        stream::iter(0..seen.manifests.len()).map(one).buffered(SHARDS_AT_ONCE).try_collect().await
    }
}
