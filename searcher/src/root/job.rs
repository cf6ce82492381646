//! What a request computes: all leaves in parallel, an exact merge, the records to show.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use cairn_engine::{
    Watch,
    fresh::{Fresh, Put, Row},
    merge,
    segment::{Along, Strategy},
};
use cairn_model::{Distance, Filter, PointId, Strategies, TierBytes, Usage, Vector, VectorQuery};
use rayon::prelude::*;

use super::{choice::Choice, using::metric};
use crate::{
    error::{Error, Result, gather},
    heat::{Expand as _, Heat},
    leaf::{Candidate, Leaf, Selectors},
    live::Seen,
    request::{Query, Record, Request, ScoredPoint},
    searcher::Searcher,
    select::{PayloadSelector, VectorSelector},
    telemetry::Telemetry,
};

/// Score of points that were not searched for but listed, as Qdrant gives them.
const LISTED_SCORE: f32 = 1.0;
/// Records read by one thread before it is worth another's while.
const RECORDS_PER_TASK: usize = 16;
/// Bytes of a float in an answer, about.
const FLOAT_TEXT_BYTES: usize = 12;
/// Bytes of a point in an answer besides its payload and vector, about.
const POINT_TEXT_BYTES: usize = 64;

/// What a request's computation needs, on whichever thread it runs.
pub(super) struct Job {
    pub(super) leaves: Vec<Arc<Leaf>>,
    seen: Arc<Seen>,
    /// Whether what the logs hold is read as well: each shard's as if it were one more leaf, after the others.
    tails: bool,
    telemetry: Arc<Telemetry>,
    heat: Arc<Heat<Leaf>>,
    answer_bytes: AtomicUsize,
    answer_bytes_max: usize,
}

/// What one leaf found for one query.
type Searched = (Vec<Candidate>, Strategy, Usage);

/// This thread's processor time since a moment. Where a leaf's queries are searched by several threads, it is the one's that began them.
struct Cpu(rustix::time::Timespec);

impl Cpu {
    fn now() -> Self {
        Self(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
    }

    fn us(&self) -> u64 {
        let now = Self::now().0;
        let us = (now.tv_sec - self.0.tv_sec) * 1_000_000 + (now.tv_nsec - self.0.tv_nsec) / 1_000;
        u64::try_from(us).unwrap_or(0)
    }
}

/// The counter of a strategy.
fn counter(strategies: &mut Strategies, strategy: Strategy) -> &mut u64 {
    match strategy {
        Strategy::Graph => &mut strategies.graph,
        Strategy::FilteredGraph => &mut strategies.filtered_graph,
        Strategy::Hot => &mut strategies.hot,
        Strategy::Clusters => &mut strategies.clusters,
        Strategy::Scan => &mut strategies.scan,
        Strategy::Exact => &mut strategies.exact,
        Strategy::Ranges => &mut strategies.ranges,
        Strategy::Nothing => &mut strategies.nothing,
    }
}

/// What one request asks of the segments.
struct Asked {
    query: VectorQuery,
    /// The point that is left out of the answer, because its own vector is asked for.
    without: Option<PointId>,
}

/// A score that JSON can write: infinity, where sums of huge elements overflow, is the largest number instead.
pub(super) fn score(by: Distance, distance: f32) -> f32 {
    by.score(distance).clamp(f32::MIN, f32::MAX)
}

/// Whether what is as far away is as good as a threshold demands.
pub(super) fn passes(by: Distance, distance: f32, threshold: Option<f32>) -> bool {
    threshold.is_none_or(|limit| by.passes(score(by, distance), limit))
}

/// Bytes of a point in an answer, about.
pub(super) fn text_bytes(record: &Record) -> usize {
    let payload_bytes = record.payload.as_ref().map_or(0, |payload| payload.get().len());
    let values: usize = record.vectors.iter().flatten().map(|(_, vector)| vector.len()).sum();
    payload_bytes + values * FLOAT_TEXT_BYTES + POINT_TEXT_BYTES
}

pub(super) fn too_large(limit: usize) -> Error {
    Error::TooLarge(format!(
        "the answer would be larger than {limit} bytes: ask for fewer points, or select payload fields"
    ))
}

/// An error of points in memory: they are always at hand, so it is the request that is wrong, or cancelled.
pub(super) fn wrong_query(error: cairn_engine::Error) -> Error {
    Error::segment("in memory", error)
}

impl Job {
    pub(super) fn new(searcher: &Searcher, (seen, tails): (&Arc<Seen>, bool), leaves: Vec<Arc<Leaf>>) -> Self {
        Self {
            leaves,
            seen: Arc::clone(seen),
            tails,
            telemetry: Arc::clone(&searcher.telemetry),
            heat: Arc::clone(&searcher.heat),
            answer_bytes: AtomicUsize::new(0),
            answer_bytes_max: searcher.answer_bytes_max,
        }
    }

    /// What `work` makes of the leaves without the rows that count no more. Where those are not all known, because the places of ids are not at hand,
    /// what else the work lacks is asked for with them.
    pub(super) fn masked<T>(mut self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let mut missing = Vec::new();
        for leaf in &mut self.leaves {
            match self.seen.masked(leaf) {
                Ok(masked) => *leaf = masked,
                Err(Error::Absent(absent)) => missing.extend(absent),
                Err(error) => return Err(error),
            }
        }
        let worked = work(&self);
        if missing.is_empty() {
            return worked;
        }
        match worked {
            Ok(_) => {}
            Err(Error::Absent(absent)) => missing.extend(absent),
            Err(error) => return Err(error),
        }
        Err(Error::Absent(missing))
    }

    /// What the logs hold, each shard's by the place that it has among the leaves.
    pub(super) fn fresh(&self) -> impl Iterator<Item = (usize, &Fresh)> {
        let shards = self.tails.then(|| self.seen.fresh().enumerate());
        shards.into_iter().flatten().map(|(shard, fresh)| (self.leaves.len() + shard, fresh))
    }

    /// A point in memory, by the place of its shard's log among the leaves.
    fn put(&self, id: PointId, at: usize) -> Result<&Put> {
        let fresh = at.checked_sub(self.leaves.len()).and_then(|shard| self.seen.fresh_of(shard));
        let row = fresh.and_then(|fresh| fresh.get(id)).and_then(Row::point);
        row.ok_or_else(|| Error::Internal(format!("point {id} is not where it was found")))
    }

    /// The stored dense vector of a point.
    ///
    /// # Errors
    /// `NoVector` where the point has none of this name.
    pub(super) fn vector(&self, id: PointId, (at, ordinal): (usize, u32), name: &str) -> Result<Vec<f32>> {
        let mut vectors = match self.leaves.get(at) {
            Some(leaf) => leaf.vectors(ordinal, &VectorSelector::Names(vec![name.to_owned()]))?,
            None => self.put(id, at)?.vectors(&|known| known == name),
        };
        match vectors.remove(name) {
            Some(Vector::Dense(values)) => Ok(values),
            _ => Err(Error::NoVector(name.to_owned())),
        }
    }

    pub(super) fn alive(&self, watch: &dyn Watch) -> Result<()> {
        if watch.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// All queries of a request over all leaves.
    pub(super) fn answers(&self, requests: &[Request], watch: &dyn Watch) -> Result<(Vec<Vec<ScoredPoint>>, Usage)> {
        let asked: Vec<Option<Asked>> = gather(requests.par_iter().map(|request| self.asked(request)).collect())?;
        let queries: Vec<VectorQuery> = asked.iter().flatten().map(|asked| asked.query.clone()).collect();
        let (mut found, usage) = if queries.is_empty() {
            (Vec::new().into_iter(), Usage::default())
        } else {
            let payload = requests.iter().any(|request| request.with_payload != PayloadSelector::None);
            let choice = self.choice(&queries)?;
            let (found, mut usage) = self.search((&queries, &choice), Along { payload }, watch)?;
            usage.segments_skipped = choice.skipped();
            (found.into_iter(), usage)
        };
        let nearest: Vec<Option<(Vec<Candidate>, Option<PointId>)>> =
            asked.into_iter().map(|asked| asked.and_then(|asked| Some((found.next()?, asked.without)))).collect();
        let shown = requests.par_iter().zip(nearest).map(|(request, nearest)| match nearest {
            Some(nearest) => self.shown(request, nearest, watch),
            None => self.list(request, watch),
        });
        Ok((gather(shown.collect())?, usage))
    }

    /// What the segments are asked; `None` for a request that wants any points.
    fn asked(&self, request: &Request) -> Result<Option<Asked>> {
        let (vector, without) = match &request.query {
            Query::All | Query::Order(_) => return Ok(None),
            Query::Vector(vector) => (vector.clone(), None),
            Query::Point(id) => {
                let row = self.find(*id)?.ok_or(Error::NoPoint(*id))?;
                (self.vector(*id, row, request.using.as_deref().unwrap_or_default())?, Some(*id))
            }
        };
        // One more where the point itself will be left out.
        let k = request.limit + request.offset + usize::from(without.is_some());
        let query = VectorQuery {
            using: request.using.clone().unwrap_or_default(),
            vector,
            filter: request.filter.clone(),
            k,
            params: request.params,
            score_threshold: request.score_threshold,
        };
        Ok(Some(Asked { query, without }))
    }

    /// The answer to one request from what is nearest to it.
    fn shown(
        &self,
        request: &Request,
        (mut nearest, without): (Vec<Candidate>, Option<PointId>),
        watch: &dyn Watch,
    ) -> Result<Vec<ScoredPoint>> {
        let select = Selectors { payload: &request.with_payload, vector: &request.with_vector };
        nearest.retain(|candidate| Some(candidate.id) != without);
        let by = self.metric(request.using.as_deref())?;
        let passes = |c: &Candidate| passes(by, c.distance, request.score_threshold);
        let shown: Vec<Candidate> =
            nearest.into_iter().filter(passes).skip(request.offset).take(request.limit).collect();
        let records = self.records(&shown, select, watch)?;
        let scored = |(candidate, record): (&Candidate, Record)| ScoredPoint {
            score: score(by, candidate.distance),
            order_value: None,
            record,
        };
        Ok(shown.iter().zip(records).map(scored).collect())
    }

    /// The metric of the vector that a query is about.
    pub(super) fn metric(&self, using: Option<&str>) -> Result<Distance> {
        metric(&self.seen.doc.schema, using)
    }

    /// What is chosen of this job's collection.
    pub(super) fn choice(&self, queries: &[VectorQuery]) -> Result<Choice> {
        Choice::of(&self.seen, queries)
    }

    /// For each query the nearest of all leaves that it needs.
    pub(super) fn search(
        &self,
        (queries, choice): (&[VectorQuery], &Choice),
        along: Along,
        watch: &dyn Watch,
    ) -> Result<(Vec<Vec<Candidate>>, Usage)> {
        let queries = &*self.settled(queries);
        let one = |(at, leaf): (usize, &Arc<Leaf>)| {
            let (started, cpu) = (Instant::now(), Cpu::now());
            let mine: Vec<usize> = (0..queries.len()).filter(|&query| choice.needs(query, leaf.id())).collect();
            if mine.is_empty() {
                return Ok((mine, Vec::new(), Usage::default()));
            }
            let some: Vec<VectorQuery>;
            let queries = if mine.len() == queries.len() {
                queries
            } else {
                some = mine.iter().map(|&query| queries[query].clone()).collect();
                &some
            };
            // Every query counts as a use. What lies far away is not expanded.
            let near = queries.iter().filter(|_| !leaf.is_far());
            let hot = near.map(|_| self.heat.used(leaf.id(), leaf, started)).last().flatten();
            let found = leaf.search(at, queries, (hot.as_deref(), along), watch)?;
            // Queries of a batch run beside one another: each took its share of the batch's time.
            let share = started.elapsed() / u32::try_from(queries.len()).unwrap_or(u32::MAX).max(1);
            found.iter().for_each(|(_, strategy, _)| self.telemetry.searched(*strategy, share));
            let tier_bytes = match &hot {
                Some(_) => TierBytes { hot: leaf.hot_bytes(), ..TierBytes::default() },
                None if leaf.is_far() => TierBytes { cold: leaf.bytes(), ..TierBytes::default() },
                None => TierBytes { warm: leaf.bytes(), ..TierBytes::default() },
            };
            Ok((mine, found, Usage { cpu_us: cpu.us(), tier_bytes, ..Usage::default() }))
        };
        let found: Vec<(Vec<usize>, Vec<Searched>, Usage)> =
            gather(self.leaves.par_iter().enumerate().map(one).collect())?;
        let mut usage = Usage::default();
        let mut lists: Vec<Vec<Vec<Candidate>>> = queries.iter().map(|_| Vec::new()).collect();
        for (mine, leaf, own) in found {
            usage += own;
            for (query, (candidates, strategy, cost)) in mine.into_iter().zip(leaf) {
                usage += cost;
                *counter(&mut usage.strategies, strategy) += 1;
                lists[query].push(candidates);
            }
        }
        usage.vectors_scored += self.search_fresh(queries, &mut lists, watch)?;
        let merged = lists.into_iter().zip(queries);
        let merged = merged
            .map(|(lists, query)| merge::top_k(lists, query.k, |candidate| (candidate.distance, candidate.id)))
            .collect();
        Ok((merged, usage))
    }

    /// The queries with filters whose texts are matched as the schema says.
    fn settled<'a>(&self, queries: &'a [VectorQuery]) -> Cow<'a, [VectorQuery]> {
        let filter = |query: &'a VectorQuery| query.filter.as_ref().map(|filter| self.seen.settled(filter));
        if !queries.iter().any(|query| matches!(filter(query), Some(Cow::Owned(_)))) {
            return Cow::Borrowed(queries);
        }
        let settled =
            |query: &'a VectorQuery| VectorQuery { filter: filter(query).map(Cow::into_owned), ..query.clone() };
        Cow::Owned(queries.iter().map(settled).collect())
    }

    /// A filter whose texts are matched as the schema says.
    pub(super) fn settled_filter<'a>(&self, filter: Option<&'a Filter>) -> Option<Cow<'a, Filter>> {
        filter.map(|filter| self.seen.settled(filter))
    }

    /// Adds to each query's lists what the logs hold near it. How many points were scored.
    fn search_fresh(
        &self,
        queries: &[VectorQuery],
        lists: &mut [Vec<Vec<Candidate>>],
        watch: &dyn Watch,
    ) -> Result<u64> {
        let mut scored = 0;
        for (at, fresh) in self.fresh().filter(|(_, fresh)| fresh.len_live() > 0) {
            let one = |query: &VectorQuery| fresh.search(query, watch).map_err(wrong_query);
            for (list, hits) in lists.iter_mut().zip(gather(queries.par_iter().map(one).collect())?) {
                let candidate = |(id, distance): (PointId, f32)| {
                    let distance = if distance.is_nan() { f32::INFINITY } else { distance };
                    Candidate { distance, id, leaf: at, ordinal: 0 }
                };
                list.push(hits.into_iter().map(candidate).collect());
            }
            scored += (fresh.len_live() * queries.len()) as u64;
        }
        Ok(scored)
    }

    /// Points by id or in an order, for a query without a vector.
    fn list(&self, request: &Request, watch: &dyn Watch) -> Result<Vec<ScoredPoint>> {
        let (filter, limit) = (request.filter.as_ref(), request.limit + request.offset);
        let (values, rows) = match &request.query {
            Query::Order(order) => {
                let entries = self.ordered(order, filter, limit, watch)?.into_iter();
                entries.map(|(value, row)| (Some(value), row)).unzip()
            }
            _ => {
                let rows = self.rows(None, filter, limit, watch)?;
                (vec![None; rows.len()], rows)
            }
        };
        let select = Selectors { payload: &request.with_payload, vector: &request.with_vector };
        let records = self.records(rows.get(request.offset..).unwrap_or_default(), select, watch)?;
        let listed = values.into_iter().skip(request.offset).zip(records);
        Ok(listed.map(|(order_value, record)| ScoredPoint { score: LISTED_SCORE, order_value, record }).collect())
    }

    /// The first `limit` matching rows of all leaves, by id.
    pub(super) fn rows(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<Candidate>> {
        let filter = self.settled_filter(filter);
        let filter = filter.as_deref();
        let one = |(at, leaf): (usize, &Arc<Leaf>)| {
            let rows = leaf.scroll(from, filter, limit, watch)?;
            let candidate = |(id, ordinal)| Candidate { distance: 0.0, id, leaf: at, ordinal };
            Ok(rows.into_iter().map(candidate).collect())
        };
        let mut lists: Vec<Vec<Candidate>> = gather(self.leaves.par_iter().enumerate().map(one).collect())?;
        for (at, fresh) in self.fresh() {
            let ids = fresh.scroll(from, filter, limit, watch).map_err(wrong_query)?;
            lists.push(ids.into_iter().map(|id| Candidate { distance: 0.0, id, leaf: at, ordinal: 0 }).collect());
        }
        Ok(merge::top_k(lists, limit, |candidate| candidate.id))
    }

    /// The leaf and row of a point: only its own shard can have it, where its id says which that is.
    pub(super) fn find(&self, id: PointId) -> Result<Option<(usize, u32)>> {
        if let Some((at, row)) = self.fresh().find_map(|(at, fresh)| Some((at, fresh.get(id)?))) {
            return Ok(row.point().map(|_| (at, 0)));
        }
        let shard = self.seen.doc.schema.shard_of(id);
        let leaves = self.leaves.iter().enumerate().filter(|(_, leaf)| shard.is_none_or(|shard| leaf.shard() == shard));
        // All are asked, so that what far ones lack is brought at once.
        let found = gather(leaves.map(|(at, leaf)| Ok(leaf.find(id)?.map(|ordinal| (at, ordinal)))).collect())?;
        Ok(found.into_iter().flatten().next())
    }

    pub(super) fn records(&self, rows: &[Candidate], select: Selectors<'_>, watch: &dyn Watch) -> Result<Vec<Record>> {
        let one = |row: &Candidate| {
            self.alive(watch)?;
            self.record(row.id, row.leaf, row.ordinal, select)
        };
        gather(rows.par_iter().with_min_len(RECORDS_PER_TASK).map(one).collect())
    }

    /// One record, counted against the bound of the whole answer.
    pub(super) fn record(&self, id: PointId, leaf: usize, ordinal: u32, select: Selectors<'_>) -> Result<Record> {
        let record = match self.leaves.get(leaf) {
            Some(leaf) => leaf.record(id, ordinal, select)?,
            None => self.put_record(id, leaf, select)?,
        };
        let bytes = text_bytes(&record);
        if self.answer_bytes.fetch_add(bytes, Relaxed) + bytes > self.answer_bytes_max {
            return Err(too_large(self.answer_bytes_max));
        }
        Ok(record)
    }

    /// The selected parts of a point in memory.
    fn put_record(&self, id: PointId, at: usize, select: Selectors<'_>) -> Result<Record> {
        let put = self.put(id, at)?;
        let payload = match select.payload {
            PayloadSelector::None => None,
            selector => {
                let text = put.payload_text().map_err(wrong_query)?;
                selector.apply(text).map_err(|error| Error::Internal(format!("the payload of point {id}: {error}")))?
            }
        };
        let vectors = match select.vector {
            VectorSelector::None => None,
            selector => Some(put.vectors(&|name| selector.shows(name))),
        };
        Ok(Record { id, payload, vectors })
    }

    /// Points by id; `None` for those that are not there.
    pub(super) fn retrieved(&self, ids: &[PointId], select: Selectors<'_>, watch: &dyn Watch) -> Result<Vec<Record>> {
        let one = |id: &PointId| {
            self.alive(watch)?;
            let found = self.find(*id)?;
            found.map(|(leaf, ordinal)| self.record(*id, leaf, ordinal, select)).transpose()
        };
        let found = gather(ids.par_iter().with_min_len(RECORDS_PER_TASK).map(one).collect())?;
        Ok(found.into_iter().flatten().collect())
    }

    /// How many points match.
    pub(super) fn count(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<u64> {
        let filter = self.settled_filter(filter);
        let filter = filter.as_deref();
        let counts = gather(self.leaves.par_iter().map(|leaf| leaf.count(filter, watch)).collect())?;
        let fresh = self.fresh().map(|(_, fresh)| fresh.count(filter, watch).map_err(wrong_query));
        Ok(counts.into_iter().sum::<u64>() + fresh.sum::<Result<u64>>()?)
    }
}
