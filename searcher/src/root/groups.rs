//! Requests over more files of segments than may be here at once: they are opened, searched and let go in groups that fit.
//!
//! Each group is computed as if it were the collection; what the groups found is merged exactly, as answers of leaves are. One request is in
//! groups at a time, and nothing is fetched in the background meanwhile: two of them would evict each other's segments.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use cairn_engine::merge;
use cairn_storage::{Collection, SegmentEntry};

use super::{
    Job, Wants,
    opening::{Opening, ROUNDS_MAX, Round, no_answer},
};
use crate::{
    error::Result,
    leaf::Leaf,
    live::Seen,
    request::{Page, Record},
    searcher::{Call, Searcher},
    workers::Stop,
};

/// A segment by its shard and its manifest's entry.
type Entry<'a> = (u32, &'a SegmentEntry);

/// What a computation over all segments at once came to.
pub(super) enum Together<T> {
    Answer(T),
    /// More files are needed than may be here at once: some that are read whole from the beginning, and these, of which too much is wanted to
    /// be read by ranges.
    Parted(BTreeSet<String>),
}

impl Searcher {
    /// What `work` finds in each group of segments. `whole` are not read by ranges.
    pub(super) async fn in_groups<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        wants: &Wants,
        whole: BTreeSet<String>,
        work: &Arc<impl Fn(&Job, &Stop) -> Result<T> + Send + Sync + 'static>,
    ) -> Result<Vec<T>> {
        let _alone = self.hydration.alone().await;
        let openings = self.openings(call, seen, wants).await?;
        let is_far = |opening: &Opening<'_>| opening.far && !whole.contains(&opening.entry.1.id);
        let (mut far, near): (Vec<_>, Vec<_>) = openings.into_iter().partition(is_far);
        // What is here first, before it is evicted for what is not.
        let (here, missing): (Vec<_>, Vec<_>) = near.into_iter().partition(|opening| opening.here);
        let mut waiting: VecDeque<Entry<'_>> = here.into_iter().chain(missing).map(|opening| opening.entry).collect();
        let mut parts = Vec::new();
        while !waiting.is_empty() || !far.is_empty() {
            let group = self.next_group(&mut waiting).await;
            let near = group.into_iter().map(|entry| Opening { entry, far: false, here: false });
            // Ranges are in memory, within a bound of their own.
            let opening = far.drain(..).chain(near).map(|opening| self.open_one(call, seen, opening, wants));
            let mut leaves = futures::future::try_join_all(opening).await?;
            let mut rounds = 0..ROUNDS_MAX;
            let part = loop {
                rounds.next().ok_or_else(no_answer)?;
                // What the logs hold is found once, with the first group.
                let tails = parts.is_empty() && wants.shards.tails();
                match self.round(call, (seen, tails), &mut leaves, work).await? {
                    Round::Answer(part) => break part,
                    Round::Again => {}
                    Round::TooMuch(segments) => waiting.extend(taken(seen, &mut leaves, &segments)),
                }
            };
            parts.push(part);
        }
        Ok(parts)
    }

    /// The first of those that wait, as many as fit, but one at least.
    async fn next_group<'a>(&self, waiting: &mut VecDeque<Entry<'a>>) -> Vec<Entry<'a>> {
        let mut room = self.cache.room_bytes().await;
        let mut group = Vec::new();
        while let Some((_, entry)) = waiting.front() {
            if entry.bytes > room && !group.is_empty() {
                break;
            }
            room = room.saturating_sub(entry.bytes);
            group.extend(waiting.pop_front());
        }
        group
    }
}

/// Takes segments out of a group, for a later one.
fn taken<'a>(collection: &'a Collection, leaves: &mut Vec<Arc<Leaf>>, segments: &BTreeSet<String>) -> Vec<Entry<'a>> {
    leaves.retain(|leaf| !segments.contains(leaf.id()));
    collection.segments().filter(|(_, entry)| segments.contains(&entry.id)).collect()
}

/// The first page of all, from the first page of each group.
pub(super) fn joined_pages(pages: Vec<Page>, limit: usize) -> Page {
    // What a group's page goes on with comes after `limit` points of that group, so it can only be what the joined one goes on with.
    let (mut points, mut next): (Vec<Record>, Vec<_>) = (Vec::new(), Vec::new());
    for page in pages {
        points.extend(page.points);
        next.extend(page.next);
    }
    points.sort_by_key(|record| record.id);
    next.extend(points.drain(limit.min(points.len())..).map(|record| record.id));
    Page { points, next: next.into_iter().min() }
}

/// For each query the `k` nearest of all groups.
pub(super) fn joined_lists<T, K: PartialOrd>(
    parts: Vec<Vec<Vec<T>>>,
    k: impl Fn(usize) -> usize,
    key: impl Fn(&T) -> K,
) -> Vec<Vec<T>> {
    let queries = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut lists: Vec<Vec<Vec<T>>> = (0..queries).map(|_| Vec::new()).collect();
    for (query, list) in parts.into_iter().flat_map(|part| part.into_iter().enumerate()) {
        lists[query].push(list);
    }
    lists.into_iter().enumerate().map(|(query, lists)| merge::top_k(lists, k(query), &key)).collect()
}

#[cfg(test)]
mod tests {
    use cairn_model::PointId;

    use super::*;

    fn page(ids: &[u64], next: Option<u64>) -> Page {
        let record = |id: &u64| Record { id: PointId::Num(*id), payload: None, vectors: None };
        Page { points: ids.iter().map(record).collect(), next: next.map(PointId::Num) }
    }

    #[test]
    fn joined_pages_are_the_page_of_all() {
        let ids = |page: &Page| page.points.iter().map(|record| record.id).collect::<Vec<_>>();
        for (pages, expected) in [
            (vec![page(&[1, 5, 9], Some(10)), page(&[2, 3, 4], Some(6))], page(&[1, 2, 3], Some(4))),
            (vec![page(&[7, 8, 9], Some(10)), page(&[2], None)], page(&[2, 7, 8], Some(9))),
            (vec![page(&[7, 8, 9], Some(10)), page(&[], None)], page(&[7, 8, 9], Some(10))),
            (vec![page(&[7], None), page(&[2], None)], page(&[2, 7], None)),
            (vec![], page(&[], None)),
        ] {
            let joined = joined_pages(pages, 3);
            assert_eq!((ids(&joined), joined.next), (ids(&expected), expected.next));
        }
    }
}
