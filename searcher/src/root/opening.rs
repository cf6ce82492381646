//! From a version of a collection to an answer: its leaves, and as many rounds as far ones need.
//!
//! A segment that is here is mapped; one that is not is either fetched or read by ranges, whichever is sooner. What a computation lacks of a
//! far segment it says all at once; it is brought in one wave, and the computation begins anew: it is short, and a wave is long.
//! Where files are needed that do not fit here together, [`groups`](super::groups) takes over.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_model::{ErrorKind, SegmentPlan, Usage};
use cairn_storage::{
    Collection, SegmentEntry,
    cache::{RANGE_BYTES, ranges::RANGES_PER_WAVE},
    store::Pace,
};

use super::{Job, Wants, groups::Together};
use crate::{
    error::{Absent, Error, Result},
    fanout::deadline,
    leaf::Leaf,
    live::Seen,
    receipt::{Estimate, Step},
    request::View,
    searcher::{Call, Searcher},
    workers::Stop,
};

/// Rounds of one computation. Searches need two, three with a filter on large fields.
pub(super) const ROUNDS_MAX: usize = 12;
/// A file that is not larger is fetched whole: ranges of it would save nothing.
const WHOLE_BYTES: u64 = 1 << 20;
/// Connections over which a whole segment is fetched.
const CONNECTIONS: u64 = cairn_storage::cache::RANGES_IN_FLIGHT as u64;
/// Of a far segment a search reads, beside its head, about so large a part, but not more than so many bytes.
const READ_SHARE: u64 = 30;
const READ_BYTES_MAX: u64 = 4 << 20;
/// A request holds this part of the process's memory at most in ranges and heads of far segments, as far as their files fit on disk.
const RANGES_SHARE: u64 = 4;
/// Waves of a search by ranges.
const WAVES: f64 = 3.0;

/// How a segment is to be read.
pub(super) struct Opening<'a> {
    /// Its shard, and what its manifest says.
    pub(super) entry: (u32, &'a SegmentEntry),
    /// Whether it is read by ranges.
    pub(super) far: bool,
    /// Whether its file is here.
    pub(super) here: bool,
}

/// What a round of a computation came to.
pub(super) enum Round<T> {
    Answer(T),
    /// What it lacked is here now.
    Again,
    /// Of these segments it lacked too much to be read by ranges.
    TooMuch(BTreeSet<String>),
}

/// Whether to read ranges of a file rather than fetch all of it: they answer sooner, or the whole could not be here within the time that
/// is `left` and would only cost more.
fn ranges_are_sooner(head_bytes: u64, file_bytes: u64, pace: Pace, left: Option<Duration>) -> bool {
    let read = head_bytes + (file_bytes / READ_SHARE).min(READ_BYTES_MAX);
    let ranges_s = pace.seconds(read, CONNECTIONS) + (WAVES - 1.0) * pace.latency_s;
    let whole_s = pace.seconds(file_bytes, CONNECTIONS);
    ranges_s < whole_s || left.is_some_and(|left| whole_s > left.as_secs_f64())
}

/// Bytes of the head of a segment that can be read by ranges and is large enough for that to save something.
fn head_bytes(entry: &SegmentEntry) -> Option<u64> {
    entry.head.as_ref().filter(|_| entry.bytes > WHOLE_BYTES).map(|head| head.bytes())
}

pub(super) fn no_answer() -> Error {
    Error::Internal(format!("no answer after {ROUNDS_MAX} rounds of reading far segments"))
}

impl Searcher {
    /// Computes `work` over what `view` means. `plan` checks the request before anything is fetched; `join` makes one answer of those of several
    /// groups of segments, where not all fit here at once.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        view: &View,
        plan: impl Fn(&Collection) -> Result<Wants>,
        work: impl Fn(&Job, &Stop) -> Result<T> + Send + Sync + 'static,
        join: impl Fn(Vec<T>) -> T,
    ) -> Result<T> {
        let (plan, work, join) = (&plan, &Arc::new(work), &join);
        self.freshly(call, view, move |seen| async move { self.answer_from(call, &seen, plan, work, join).await }).await
    }

    pub(super) async fn answer_from<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        plan: &impl Fn(&Collection) -> Result<Wants>,
        work: &Arc<impl Fn(&Job, &Stop) -> Result<T> + Send + Sync + 'static>,
        join: &impl Fn(Vec<T>) -> T,
    ) -> Result<T> {
        let wants = plan(seen)?;
        match self.together(call, seen, &wants, work).await? {
            Together::Answer(answer) => Ok(answer),
            Together::Parted(whole) => Ok(join(self.in_groups(call, seen, &wants, whole, work).await?)),
        }
    }

    /// Computes `work` over all segments at once, if those whose files are needed fit here together.
    pub(super) async fn together<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        wants: &Wants,
        work: &Arc<impl Fn(&Job, &Stop) -> Result<T> + Send + Sync + 'static>,
    ) -> Result<Together<T>> {
        self.within_cost(call, seen, wants).await?;
        let openings = self.openings(call, seen, wants).await?;
        let near = || openings.iter().filter(|opening| !opening.far);
        let missing = near().any(|opening| !opening.here);
        if missing && near().count() > 1 {
            let bytes = near().map(|opening| opening.entry.1.bytes).sum::<u64>();
            if bytes > self.cache.room_bytes().await {
                return Ok(Together::Parted(BTreeSet::new()));
            }
        }
        let opening = openings.into_iter().map(|opening| self.open_one(call, seen, opening, wants));
        let mut leaves = futures::future::try_join_all(opening).await?;
        for _ in 0..ROUNDS_MAX {
            match self.round(call, (seen, wants.shards.tails()), &mut leaves, work).await? {
                Round::Answer(answer) => {
                    if wants.plan == SegmentPlan::Auto {
                        self.hydrate(seen.collection(), &leaves);
                    }
                    return Ok(Together::Answer(answer));
                }
                Round::Again => {}
                Round::TooMuch(segments) => {
                    let stays = leaves.iter().filter(|leaf| !leaf.is_far() || segments.contains(leaf.id()));
                    let (count, bytes) = stays.fold((0, 0), |(count, bytes), leaf| (count + 1, bytes + leaf.bytes()));
                    if count > 1 && bytes > self.cache.room_bytes().await {
                        return Ok(Together::Parted(segments));
                    }
                    self.come_near(call, seen, &mut leaves, &segments).await?;
                }
            }
        }
        Err(no_answer())
    }

    /// Computes `work` over leaves, and over what the logs hold beside them if `tails` says so; or brings what that lacked.
    pub(super) async fn round<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        (seen, tails): (&Arc<Seen>, bool),
        leaves: &mut [Arc<Leaf>],
        work: &Arc<impl Fn(&Job, &Stop) -> Result<T> + Send + Sync + 'static>,
    ) -> Result<Round<T>> {
        let job = Job::new(self, (seen, tails), leaves.to_vec());
        let (work, pressure) = (Arc::clone(work), Arc::clone(&self.pressure));
        let computing = self.workers.run(move |stop| {
            pressure.look(Instant::now());
            job.masked(|job| work(job, stop))
        });
        match computing.await {
            Err(Error::Absent(missing)) => {
                let too_much = self.bring(call, leaves, missing).await?;
                Ok(if too_much.is_empty() { Round::Again } else { Round::TooMuch(too_much) })
            }
            answer => answer.map(Round::Answer),
        }
    }

    /// The segments that a request needs, and how each is read.
    pub(super) async fn openings<'a>(
        &self,
        call: &Call<'_>,
        collection: &'a Collection,
        wants: &Wants,
    ) -> Result<Vec<Opening<'a>>> {
        let one = |(shard, entry): (u32, &'a SegmentEntry)| async move {
            let here = self.cache.has(&call.store, collection, shard, entry).await?;
            let far = match wants.plan {
                SegmentPlan::Whole => false,
                SegmentPlan::Ranges => entry.head.is_some(),
                SegmentPlan::Auto => !here && self.pays(entry),
            };
            Ok(Opening { entry: (shard, entry), far, here })
        };
        let entries = collection.segments().filter(|(shard, entry)| wants.shards.has(*shard, entry));
        futures::future::try_join_all(entries.map(one)).await
    }

    /// Refuses a query that is estimated to cost more than it may. What leaves have cached the root does not know: they are taken to have nothing.
    pub(super) async fn within_cost(&self, call: &Call<'_>, collection: &Collection, wants: &Wants) -> Result<()> {
        if let Some(max) = wants.cost_max {
            let estimate = self.estimate(call, collection, wants).await?.usage.cost_nanodollars;
            if estimate > max {
                #[expect(clippy::cast_precision_loss, reason = "shown to people")]
                let [estimate, max] = [estimate, max].map(|nanodollars| nanodollars as f64 / 1e9);
                return Err(Error::Invalid(format!(
                    "the query is estimated to cost {estimate} dollars, max_cost is {max}: raise it, or wait until its segments are cached"
                )));
            }
        }
        Ok(())
    }

    /// What a query would take, by what is here now.
    pub(super) async fn estimate(&self, call: &Call<'_>, collection: &Collection, wants: &Wants) -> Result<Estimate> {
        let mut steps = Vec::new();
        for Opening { entry: (shard, entry), far, here: has } in self.openings(call, collection, wants).await? {
            let (read, gets, store_bytes, waves) = match (&entry.head, far) {
                (Some(head), true) => {
                    let opened = self.ranges.has_head(&call.store, collection, (shard, entry))?;
                    let (head_gets, head_bytes) = if opened { (0, 0) } else { (1, head.bytes()) };
                    let codes = (entry.bytes / READ_SHARE).min(READ_BYTES_MAX);
                    // The look for the newest version is the first wave where the head has to be fetched after it.
                    ("ranges", head_gets + 2 * RANGES_PER_WAVE as u64, head_bytes + codes, if opened { 2 } else { 4 })
                }
                _ if has => ("here", 0, 0, 0),
                _ => ("whole", entry.bytes.div_ceil(RANGE_BYTES), entry.bytes, 2),
            };
            let segment = entry.id.clone();
            steps.push(Step { segment, shard, points: entry.points, read, gets, store_bytes, waves });
        }
        let skipped = collection.segments().count() - steps.len();
        let mut estimate = Estimate::new(steps, self.store.pace(), &self.till);
        estimate.usage.segments_skipped = skipped as u64;
        Ok(estimate)
    }

    pub(super) async fn open_one(
        &self,
        call: &Call<'_>,
        collection: &Collection,
        opening: Opening<'_>,
        wants: &Wants,
    ) -> Result<Arc<Leaf>> {
        let Opening { entry: (shard, entry), far, .. } = opening;
        if !far {
            return self.open_near(call, collection, (shard, entry)).await;
        }
        let fields: Vec<&str> = wants.fields.iter().map(String::as_str).collect();
        let opened = self.ranges.open(&call.store, collection, (shard, entry), &fields).await?;
        let hit = u64::from(opened.hit);
        call.add(Usage { cache_hits: hit, cache_misses: 1 - hit, ..Usage::default() });
        self.leaves.far(&self.workers, opened, (shard, entry), &collection.doc.schema).await
    }

    async fn open_near(
        &self,
        call: &Call<'_>,
        collection: &Collection,
        (shard, entry): (u32, &SegmentEntry),
    ) -> Result<Arc<Leaf>> {
        let bytes = self.cache.segment(&call.store, collection, shard, entry).await?;
        let opened = self.leaves.leaf(&self.workers, bytes, (shard, entry), &collection.doc.schema).await?;
        call.add(if opened.hit {
            Usage { cache_hits: 1, cache_bytes: entry.bytes, ..Usage::default() }
        } else {
            Usage { cache_misses: 1, ..Usage::default() }
        });
        Ok(opened.leaf)
    }

    /// Whether reading a segment by ranges answers sooner than fetching it, from what the store's answers have taken lately.
    fn pays(&self, entry: &SegmentEntry) -> bool {
        let Some(head_bytes) = head_bytes(entry) else { return false };
        if !self.cache.fits(entry.bytes) {
            return true;
        }
        ranges_are_sooner(head_bytes, entry.bytes, self.store.pace(), deadline::left())
    }

    /// Brings what a computation lacked, in one wave. The segments of which that is too much are returned.
    async fn bring(&self, call: &Call<'_>, leaves: &mut [Arc<Leaf>], missing: Vec<Absent>) -> Result<BTreeSet<String>> {
        let mut wanted: Vec<(usize, Vec<Range<u64>>)> = Vec::new();
        for Absent { segment, ranges } in missing {
            let at = leaves.iter().position(|leaf| leaf.id() == segment);
            let at =
                at.ok_or_else(|| Error::Internal(format!("bytes of segment {segment} are wanted, which is not open")))?;
            match wanted.iter_mut().find(|(other, _)| *other == at) {
                Some((_, all)) => all.extend(ranges),
                None => wanted.push((at, ranges)),
            }
        }
        let mut too_much = self.too_much(leaves, &mut wanted);
        let bringing = wanted.into_iter().map(|(at, ranges)| {
            let leaf = Arc::clone(&leaves[at]);
            async move {
                let Some(far) = leaf.far() else {
                    return Err(Error::Internal(format!("segment {} is here and lacks bytes", leaf.id())));
                };
                match self.ranges.bring(&call.store, &far.place, &far.ranges, ranges).await {
                    Ok(ranges) => Ok((at, Some(Arc::new(leaf.over(ranges))))),
                    Err(error) if error.kind == ErrorKind::TooLarge && self.cache.fits(leaf.bytes()) => Ok((at, None)),
                    Err(error) => Err(error.into()),
                }
            }
        });
        for (at, leaf) in futures::future::try_join_all(bringing).await? {
            match leaf {
                Some(leaf) => leaves[at] = leaf,
                None => too_much.extend([leaves[at].id().to_owned()]),
            }
        }
        Ok(too_much)
    }

    /// Takes out of what is wanted the segments of which most is, until what a request holds in memory is within its part of the process's: their
    /// files are on disk instead, and are mapped.
    fn too_much(&self, leaves: &[Arc<Leaf>], wanted: &mut Vec<(usize, Vec<Range<u64>>)>) -> BTreeSet<String> {
        let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        let held = |leaf: &Arc<Leaf>| leaf.far().map_or(0, |far| far.ranges.bytes());
        let most = self.pressure.memory.most_bytes().map_or(u64::MAX, |bytes| bytes / RANGES_SHARE);
        let new = wanted.iter().map(|(_, ranges)| bytes(ranges)).sum::<u64>();
        let mut all = leaves.iter().map(held).sum::<u64>() + new;
        let mut too_much = BTreeSet::new();
        // The smallest first.
        wanted.sort_by_key(|(at, ranges)| (held(&leaves[*at]) + bytes(ranges), *at));
        while all > most {
            let Some(last) = wanted.iter().rposition(|(at, _)| self.cache.fits(leaves[*at].bytes())) else { break };
            let (at, ranges) = wanted.remove(last);
            all -= held(&leaves[at]) + bytes(&ranges);
            too_much.extend([leaves[at].id().to_owned()]);
        }
        too_much
    }

    /// Has the files of far segments fetched.
    async fn come_near(
        &self,
        call: &Call<'_>,
        collection: &Collection,
        leaves: &mut [Arc<Leaf>],
        segments: &BTreeSet<String>,
    ) -> Result<()> {
        let entries = collection.segments().filter(|(_, entry)| segments.contains(&entry.id));
        let opening = entries.map(|entry| self.open_near(call, collection, entry));
        for near in futures::future::try_join_all(opening).await? {
            if let Some(leaf) = leaves.iter_mut().find(|leaf| leaf.id() == near.id()) {
                *leaf = near;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_follows_sizes_the_pace_and_the_time_that_is_left() {
        let sooner = |file: u64, pace: Pace, left: Option<f64>| {
            ranges_are_sooner(file / 100, file, pace, left.map(Duration::from_secs_f64))
        };
        assert!(sooner(2 << 30, Pace::REMOTE, None));
        // Two round trips more than the whole file takes.
        assert!(!sooner(8 << 20, Pace::REMOTE, None));
        assert!(!sooner(8 << 20, Pace { latency_s: 0.1, ..Pace::REMOTE }, Some(10.0)));
        // A slow connection makes bytes dearer than round trips.
        assert!(sooner(8 << 20, Pace { bytes_per_s: 1e6, ..Pace::REMOTE }, None));
        // The whole cannot be here in time, so nothing is lost by not fetching it.
        assert!(sooner(8 << 20, Pace { latency_s: 0.1, ..Pace::REMOTE }, Some(0.05)));
    }
}
