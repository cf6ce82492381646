//! The root: takes a request, opens the segments that it needs in one wave, lets all leaves work in parallel, and merges
//! exactly.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use cairn_engine::{Watch, merge};
use cairn_model::{CollectionName, Distance, Filter, PointId, Usage, VectorQuery};
use cairn_storage::Collection;
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    heat::Heat,
    leaf::{Candidate, Leaf, Selectors},
    request::{Page, Query, Record, Request, ScoredPoint, Scroll},
    searcher::{Call, Searcher},
    select::{PayloadSelector, VectorSelector},
    telemetry::Telemetry,
};

/// Score of points that were not searched for but listed, as Qdrant gives them.
const LISTED_SCORE: f32 = 1.0;
/// Records read by one thread before it is worth another's while.
const RECORDS_PER_TASK: usize = 16;

/// Which shards a request needs.
enum Shards {
    All,
    Only(BTreeSet<u32>),
}

/// The collection and the leaves of one request.
struct Opened {
    collection: Arc<Collection>,
    leaves: Vec<Arc<Leaf>>,
}

impl Searcher {
    /// The points that a query asks for, best first; equal scores by id.
    ///
    /// # Errors
    /// When the collection or the point is not there, the request contradicts the schema, or a segment cannot be read.
    pub async fn query(&self, name: &CollectionName, request: &Request) -> Result<(Vec<ScoredPoint>, Usage)> {
        let (mut answers, usage) = self.query_batch(name, vec![request.clone()]).await?;
        Ok((answers.pop().unwrap_or_default(), usage))
    }

    /// Several queries against the same version of a collection.
    ///
    /// # Errors
    /// As [`Searcher::query`]: one query that fails fails the batch.
    pub async fn query_batch(
        &self,
        name: &CollectionName,
        requests: Vec<Request>,
    ) -> Result<(Vec<Vec<ScoredPoint>>, Usage)> {
        let call = self.call();
        let check = |collection: &Collection| {
            requests.iter().try_for_each(|request| check_request(collection, request)).map(|()| Shards::All)
        };
        let Opened { collection, leaves } = self.leaves(&call, name, check).await?;
        let job = Job::new(self, &collection, leaves)?;
        let (answers, usage) = self
            .workers
            .run(move |stop| {
                let answered: Vec<(Vec<ScoredPoint>, Usage)> =
                    requests.par_iter().map(|request| job.answer(request, stop)).collect::<Result<_>>()?;
                let mut usage = Usage::default();
                let add = |(points, cost)| {
                    usage += cost;
                    points
                };
                Ok((answered.into_iter().map(add).collect::<Vec<_>>(), usage))
            })
            .await?;
        call.add(usage);
        Ok((answers, call.usage()))
    }

    /// Points by id, in the order asked for; those that do not exist are left out.
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn retrieve(
        &self,
        name: &CollectionName,
        ids: Vec<PointId>,
        payload: PayloadSelector,
        vector: VectorSelector,
    ) -> Result<(Vec<Record>, Usage)> {
        let call = self.call();
        let plan = |collection: &Collection| {
            check_vector_names(collection, &vector)?;
            let shard_count = collection.doc.schema.shard_count;
            Ok(Shards::Only(ids.iter().map(|id| id.shard(shard_count)).collect()))
        };
        let Opened { collection, leaves } = self.leaves(&call, name, plan).await?;
        let job = Job::new(self, &collection, leaves)?;
        let records = self
            .workers
            .run(move |stop| {
                let select = Selectors { payload: &payload, vector: &vector };
                let one = |id: &PointId| {
                    job.alive(stop)?;
                    let found = job.find(*id)?;
                    found.map(|(leaf, ordinal)| job.record(*id, leaf, ordinal, select)).transpose()
                };
                let found: Vec<Option<Record>> =
                    ids.par_iter().with_min_len(RECORDS_PER_TASK).map(one).collect::<Result<_>>()?;
                Ok(found.into_iter().flatten().collect())
            })
            .await?;
        Ok((records, call.usage()))
    }

    /// One page of points by id.
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn scroll(&self, name: &CollectionName, request: Scroll) -> Result<(Page, Usage)> {
        let call = self.call();
        let plan = |collection: &Collection| check_vector_names(collection, &request.with_vector).map(|()| Shards::All);
        let Opened { collection, leaves } = self.leaves(&call, name, plan).await?;
        let job = Job::new(self, &collection, leaves)?;
        let page = self
            .workers
            .run(move |stop| {
                let mut rows = job.rows(request.from, request.filter.as_ref(), request.limit + 1, stop)?;
                let next = if rows.len() > request.limit { rows.pop().map(|row| row.id) } else { None };
                let select = Selectors { payload: &request.with_payload, vector: &request.with_vector };
                Ok(Page { points: job.records(&rows, select, stop)?, next })
            })
            .await?;
        Ok((page, call.usage()))
    }

    /// How many points match, exactly.
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn count(&self, name: &CollectionName, filter: Option<Filter>) -> Result<(u64, Usage)> {
        let call = self.call();
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            // The manifests know.
            let collection = self.snapshots.fresh(&call.catalog, name, false).await?;
            return Ok((collection.points(), call.usage()));
        };
        let Opened { leaves, .. } = self.leaves(&call, name, |_| Ok(Shards::All)).await?;
        let count = self
            .workers
            .run(move |stop| leaves.par_iter().map(|leaf| leaf.count(Some(&filter), stop)).sum::<Result<u64>>())
            .await?;
        Ok((count, call.usage()))
    }

    /// The newest snapshot and its open segments. `plan` checks the request before anything is fetched and says which
    /// shards it needs. A segment that is gone was collected after a newer version took its place: that one is read.
    async fn leaves(
        &self,
        call: &Call<'_>,
        name: &CollectionName,
        plan: impl Fn(&Collection) -> Result<Shards>,
    ) -> Result<Opened> {
        let mut newest = false;
        loop {
            let collection = self.snapshots.fresh(&call.catalog, name, newest).await?;
            let shards = plan(&collection)?;
            match self.open_segments(call, &collection, &shards).await {
                Err(Error::Storage(error)) if error.kind == cairn_model::ErrorKind::NotFound && !newest => {
                    newest = true
                }
                leaves => return leaves.map(|leaves| Opened { collection, leaves }),
            }
        }
    }

    async fn open_segments(&self, call: &Call<'_>, collection: &Collection, shards: &Shards) -> Result<Vec<Arc<Leaf>>> {
        let wanted = |shard: u32| match shards {
            Shards::All => true,
            Shards::Only(some) => some.contains(&shard),
        };
        let manifests = collection.manifests.iter().filter(|manifest| wanted(manifest.shard));
        let entries = manifests.flat_map(|manifest| manifest.segments.iter().map(|entry| (manifest.shard, entry)));
        let opening = entries.map(|(shard, entry)| async move {
            let bytes = self.cache.segment(&call.store, collection, shard, entry).await?;
            let opened = self.leaves.leaf(&self.workers, bytes, (shard, entry), &collection.doc.schema).await?;
            let usage = if opened.hit {
                Usage { cache_hits: 1, cache_bytes: entry.bytes, ..Usage::default() }
            } else {
                Usage { cache_misses: 1, ..Usage::default() }
            };
            call.add(usage);
            Ok(opened.leaf)
        });
        futures::future::try_join_all(opening).await
    }
}

/// What a request's computation needs, on whichever thread it runs.
struct Job {
    leaves: Vec<Arc<Leaf>>,
    distance: Distance,
    shard_count: u32,
    telemetry: Arc<Telemetry>,
    heat: Arc<Heat<Leaf>>,
    answer_bytes: AtomicUsize,
    answer_bytes_max: usize,
}

impl Job {
    fn new(searcher: &Searcher, collection: &Collection, leaves: Vec<Arc<Leaf>>) -> Result<Self> {
        let schema = &collection.doc.schema;
        let (_, params) = schema.vector().map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self {
            leaves,
            distance: params.distance,
            shard_count: schema.shard_count,
            telemetry: Arc::clone(&searcher.telemetry),
            heat: Arc::clone(&searcher.heat),
            answer_bytes: AtomicUsize::new(0),
            answer_bytes_max: searcher.answer_bytes_max,
        })
    }

    fn alive(&self, watch: &dyn Watch) -> Result<()> {
        if watch.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// One query over all leaves.
    fn answer(&self, request: &Request, watch: &dyn Watch) -> Result<(Vec<ScoredPoint>, Usage)> {
        let select = Selectors { payload: &request.with_payload, vector: &request.with_vector };
        let (vector, without) = match &request.query {
            Query::All => return self.list(request, watch).map(|points| (points, Usage::default())),
            Query::Vector(vector) => (vector.clone(), None),
            Query::Point(id) => {
                let (leaf, ordinal) = self.find(*id)?.ok_or(Error::NoPoint(*id))?;
                (self.leaves[leaf].vector(ordinal)?, Some(*id))
            }
        };
        // One more where the point itself will be left out.
        let k = request.limit + request.offset + usize::from(without.is_some());
        let query = VectorQuery {
            vector,
            filter: request.filter.clone(),
            k,
            params: request.params,
            score_threshold: request.score_threshold,
        };
        let (mut nearest, usage) = self.search(&query, watch)?;
        nearest.retain(|candidate| Some(candidate.id) != without);
        let passes = |c: &Candidate| {
            request.score_threshold.is_none_or(|limit| self.distance.passes(self.score(c.distance), limit))
        };
        let shown: Vec<Candidate> =
            nearest.into_iter().filter(passes).skip(request.offset).take(request.limit).collect();
        let records = self.records(&shown, select, watch)?;
        let scored =
            |(candidate, record): (&Candidate, Record)| ScoredPoint { score: self.score(candidate.distance), record };
        Ok((shown.iter().zip(records).map(scored).collect(), usage))
    }

    /// A score that JSON can write: infinity, where sums of huge elements overflow, is the largest number instead.
    fn score(&self, distance: f32) -> f32 {
        self.distance.score(distance).clamp(f32::MIN, f32::MAX)
    }

    fn search(&self, query: &VectorQuery, watch: &dyn Watch) -> Result<(Vec<Candidate>, Usage)> {
        let one = |(at, leaf): (usize, &Arc<Leaf>)| {
            let started = Instant::now();
            let hot = self.heat.used(leaf.id(), leaf, started);
            let (candidates, strategy, usage) = leaf.search(at, query, hot.as_deref(), watch)?;
            self.telemetry.searched(strategy, started.elapsed());
            Ok((candidates, usage))
        };
        let found: Vec<(Vec<Candidate>, Usage)> = self.leaves.par_iter().enumerate().map(one).collect::<Result<_>>()?;
        let mut usage = Usage::default();
        let add = |(candidates, cost)| {
            usage += cost;
            candidates
        };
        let lists: Vec<Vec<Candidate>> = found.into_iter().map(add).collect();
        Ok((merge::top_k(lists, query.k, |candidate| (candidate.distance, candidate.id)), usage))
    }

    /// Points by id, for a query without a vector.
    fn list(&self, request: &Request, watch: &dyn Watch) -> Result<Vec<ScoredPoint>> {
        let rows = self.rows(None, request.filter.as_ref(), request.limit + request.offset, watch)?;
        let select = Selectors { payload: &request.with_payload, vector: &request.with_vector };
        let shown = rows.get(request.offset..).unwrap_or_default();
        let records = self.records(shown, select, watch)?;
        Ok(records.into_iter().map(|record| ScoredPoint { score: LISTED_SCORE, record }).collect())
    }

    /// The first `limit` matching rows of all leaves, by id.
    fn rows(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<Candidate>> {
        let one = |(at, leaf): (usize, &Arc<Leaf>)| {
            let rows = leaf.scroll(from, filter, limit, watch)?;
            let candidate = |(id, ordinal)| Candidate { distance: 0.0, id, leaf: at, ordinal };
            Ok(rows.into_iter().map(candidate).collect())
        };
        let lists: Vec<Vec<Candidate>> = self.leaves.par_iter().enumerate().map(one).collect::<Result<_>>()?;
        Ok(merge::top_k(lists, limit, |candidate| candidate.id))
    }

    /// The leaf and row of a point: only its own shard's segments can have it.
    fn find(&self, id: PointId) -> Result<Option<(usize, u32)>> {
        let shard = id.shard(self.shard_count);
        for (at, leaf) in self.leaves.iter().enumerate().filter(|(_, leaf)| leaf.shard() == shard) {
            if let Some(ordinal) = leaf.find(id)? {
                return Ok(Some((at, ordinal)));
            }
        }
        Ok(None)
    }

    fn records(&self, rows: &[Candidate], select: Selectors<'_>, watch: &dyn Watch) -> Result<Vec<Record>> {
        let one = |row: &Candidate| {
            self.alive(watch)?;
            self.record(row.id, row.leaf, row.ordinal, select)
        };
        rows.par_iter().with_min_len(RECORDS_PER_TASK).map(one).collect()
    }

    /// One record, counted against the bound of the whole answer.
    fn record(&self, id: PointId, leaf: usize, ordinal: u32, select: Selectors<'_>) -> Result<Record> {
        let record = self.leaves[leaf].record(id, ordinal, select)?;
        let payload_bytes = record.payload.as_ref().map_or(0, |payload| payload.get().len());
        let vector_bytes = record.vector.as_ref().map_or(0, |vector| vector.values.len() * FLOAT_TEXT_BYTES);
        let bytes = payload_bytes + vector_bytes + POINT_TEXT_BYTES;
        if self.answer_bytes.fetch_add(bytes, Relaxed) + bytes > self.answer_bytes_max {
            let limit = self.answer_bytes_max;
            return Err(Error::TooLarge(format!(
                "the answer would be larger than {limit} bytes: ask for fewer points, or select payload fields"
            )));
        }
        Ok(record)
    }
}

/// Bytes of a float in an answer, about.
const FLOAT_TEXT_BYTES: usize = 12;
/// Bytes of a point in an answer besides its payload and vector, about.
const POINT_TEXT_BYTES: usize = 64;

fn check_request(collection: &Collection, request: &Request) -> Result<()> {
    let schema = &collection.doc.schema;
    let (name, params) = schema.vector().map_err(|error| Error::Invalid(error.to_string()))?;
    check_vector_names(collection, &request.with_vector)?;
    if request.score_threshold.is_some_and(|threshold| !threshold.is_finite()) {
        return Err(Error::Invalid("score_threshold is not a finite number".into()));
    }
    match request.using.as_deref() {
        _ if request.query == Query::All => {}
        None if !name.is_empty() => {
            return Err(Error::Invalid(format!(
                "Collection requires specified vector name in the request, specify one of: {name}"
            )));
        }
        Some(using) if using != name => return Err(no_vector(using)),
        _ => {}
    }
    if let Query::Vector(vector) = &request.query {
        if vector.len() != params.size as usize {
            let (expected, got) = (params.size, vector.len());
            return Err(Error::Invalid(format!("Vector dimension error: expected dim: {expected}, got {got}")));
        }
        if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
            return Err(Error::Invalid(format!("vector element {at} is not a finite number")));
        }
    }
    Ok(())
}

fn check_vector_names(collection: &Collection, selector: &VectorSelector) -> Result<()> {
    let VectorSelector::Names(names) = selector else { return Ok(()) };
    match names.iter().find(|name| !collection.doc.schema.vectors.contains_key(*name)) {
        Some(name) => Err(no_vector(name)),
        None => Ok(()),
    }
}

fn no_vector(name: &str) -> Error {
    Error::Invalid(format!("Not existing vector name error: {name}"))
}
