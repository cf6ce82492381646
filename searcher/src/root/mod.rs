//! The root: takes a request, opens the segments that it needs in one wave, lets all leaves work in parallel, and merges
//! exactly.
//!
//! | file | what |
//! |---|---|
//! | `freshness` | an answer from what is known of a collection, while the store is asked whether that still is it |
//! | `opening` | from a version of a collection to the leaves of one request, near or far, and to an answer from them |
//! | `job` | what a request computes over its leaves |
//! | `order`, `facet` | points by their values, and how many have which |
//! | `shards` | how many points each shard has |
//! | `choice` | which segments a query needs, where that is known from where they lie |
//! | `groups` | the same where more files are needed than may be here at once |
//! | `hydration` | fetching whole segments in the background |
//! | `using` | which vector a query is about |
//! | `remote`, `part` | the same request cut up for leaves that are other processes, and what each of them does |

mod choice;
mod facet;
mod freshness;
mod groups;
pub(crate) mod hydration;
mod job;
mod opening;
mod order;
mod part;
mod remote;
mod shards;
mod using;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use cairn_model::{Datatype, Filter, PointId, SegmentPlan, Usage};
use cairn_storage::{Collection, SegmentEntry};

use self::{
    groups::{Together, joined_pages},
    job::Job,
    remote::Parts,
    using::searched,
};
use crate::{
    check::{cast, dimension},
    error::{Error, Result, no_vector},
    leaf::Selectors,
    live::Seen,
    receipt::Estimate,
    request::{Page, Query, Record, Request, ScoredPoint, Scroll, View},
    searcher::{Call, Searcher},
    select::{PayloadSelector, VectorSelector},
    workers::Stop,
};

/// Which shards a request needs.
#[derive(Clone, Debug, PartialEq)]
enum Shards {
    All,
    Only(BTreeSet<u32>),
    /// These segments, of whichever shard.
    Segments(Arc<BTreeSet<String>>),
}

impl Shards {
    /// Those that can have these points.
    fn of_points(collection: &Collection, ids: &[PointId]) -> Self {
        let only: Option<_> = ids.iter().map(|id| collection.doc.schema.shard_of(*id)).collect();
        only.map_or(Self::All, Self::Only)
    }

    /// Whether what the logs hold is wanted as well: whoever names segments looks there by other means.
    fn tails(&self) -> bool {
        !matches!(self, Self::Segments(_))
    }

    fn has(&self, shard: u32, entry: &SegmentEntry) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(&shard),
            Self::Segments(some) => some.contains(&entry.id),
        }
    }
}

/// What a request needs of a collection.
#[derive(Clone, Debug)]
struct Wants {
    shards: Shards,
    /// The payload fields that its filters name.
    fields: BTreeSet<String>,
    /// How it wants segments to be read.
    plan: SegmentPlan,
    /// Billionths of a dollar that it may be estimated to cost.
    cost_max: Option<u64>,
}

impl Wants {
    fn of(shards: Shards, filter: Option<&Filter>) -> Self {
        let mut wants = Self { shards, fields: BTreeSet::new(), plan: SegmentPlan::Auto, cost_max: None };
        if let Some(filter) = filter {
            wants.add_fields(filter);
        }
        wants
    }

    /// Of a batch: what any of its queries needs, and at most what all of them may cost.
    fn of_queries(requests: &[Request]) -> Self {
        let mut wants = Self::of(Shards::All, None);
        for request in requests {
            wants.add_query(request);
            if request.params.plan != SegmentPlan::Auto {
                wants.plan = request.params.plan;
            }
        }
        let most = requests.iter().map(|request| request.cost_max);
        wants.cost_max = most.reduce(|a, b| Some(a?.saturating_add(b?))).flatten();
        wants
    }

    fn add_query(&mut self, request: &Request) {
        request.filter.iter().for_each(|filter| self.add_fields(filter));
        if let Query::Order(order) = &request.query {
            self.fields.insert(order.key.to_string());
        }
    }

    fn add_fields(&mut self, filter: &Filter) {
        self.fields.extend(filter.paths().into_iter().map(String::from));
    }
}

impl Searcher {
    /// The points that a query asks for, best first; equal scores by id.
    ///
    /// # Errors
    /// When the collection or the point is not there, the request contradicts the schema, or a segment cannot be read.
    pub async fn query(&self, view: &View, request: &Request) -> Result<(Vec<ScoredPoint>, Usage)> {
        let (mut answers, usage) = self.query_batch(view, vec![request.clone()]).await?;
        Ok((answers.pop().unwrap_or_default(), usage))
    }

    /// Several queries against the same version of a collection.
    ///
    /// # Errors
    /// As [`Searcher::query`]: one query that fails fails the batch.
    pub async fn query_batch(&self, view: &View, requests: Vec<Request>) -> Result<(Vec<Vec<ScoredPoint>>, Usage)> {
        if let Some(fanout) = &self.fanout {
            return self.query_leaves(fanout, view, requests).await;
        }
        let call = self.call();
        let requests: Arc<[Request]> = requests.into();
        let (call, requests) = (&call, &requests);
        let answering = self.freshly(call, view, move |seen| async move {
            let requests = checked(&seen, requests)?;
            let wants = Wants { shards: choice::shards(&seen, &requests)?, ..Wants::of_queries(&requests) };
            let asked = Arc::clone(&requests);
            let work = &Arc::new(move |job: &Job, stop: &Stop| job.answers(&asked, stop));
            match self.together(call, &seen, &wants, work).await? {
                Together::Answer(answers) => Ok(answers),
                Together::Parted(whole) => self.parts_answer(call, &Parts::Groups(whole), &seen, &requests).await,
            }
        });
        let (answers, usage) = answering.await?;
        call.add(usage);
        Ok((answers, call.usage()))
    }

    /// What a query would take and cost, without running it. One request to the store: is what is known still the newest?
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn explain(&self, view: &View, request: &Request) -> Result<(Estimate, Usage)> {
        let call = self.call();
        let collection = self.snapshots.fresh(&call.catalog, view, false).await?;
        let requests = checked(&collection, &[request.clone()].into())?;
        let wants = Wants { shards: choice::shards(&collection, &requests)?, ..Wants::of_queries(&requests) };
        let estimate = self.estimate(&call, &collection, &wants).await?;
        Ok((estimate, call.usage()))
    }

    /// Points by id, in the order asked for; those that do not exist are left out.
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn retrieve(
        &self,
        view: &View,
        ids: Vec<PointId>,
        payload: PayloadSelector,
        vector: VectorSelector,
    ) -> Result<(Vec<Record>, Usage)> {
        let call = self.call();
        let (asked, wanted, shown) = (ids.clone(), ids.clone(), vector.clone());
        let plan = move |collection: &Collection| {
            check_vector_names(collection, &shown)?;
            Ok(Wants::of(Shards::of_points(collection, &asked), None))
        };
        let work =
            move |job: &Job, stop: &Stop| job.retrieved(&ids, Selectors { payload: &payload, vector: &vector }, stop);
        let join = move |parts: Vec<Vec<Record>>| {
            let found: HashMap<PointId, Record> =
                parts.into_iter().flatten().map(|record| (record.id, record)).collect();
            wanted.iter().filter_map(|id| found.get(id).cloned()).collect()
        };
        let records = self.answer(&call, view, plan, work, join).await?;
        Ok((records, call.usage()))
    }

    /// One page of points by id.
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn scroll(&self, view: &View, request: Scroll) -> Result<(Page, Usage)> {
        let call = self.call();
        let wants = Wants::of(Shards::All, request.filter.as_ref());
        let (shown, limit) = (request.with_vector.clone(), request.limit);
        let plan = move |collection: &Collection| check_vector_names(collection, &shown).map(|()| wants.clone());
        let work = move |job: &Job, stop: &Stop| {
            let mut rows = job.rows(request.from, request.filter.as_ref(), request.limit + 1, stop)?;
            let next = if rows.len() > request.limit { rows.pop().map(|row| row.id) } else { None };
            let select = Selectors { payload: &request.with_payload, vector: &request.with_vector };
            Ok(Page { points: job.records(&rows, select, stop)?, next })
        };
        let page = self.answer(&call, view, plan, work, |pages| joined_pages(pages, limit)).await?;
        Ok((page, call.usage()))
    }

    /// How many points match, exactly.
    ///
    /// # Errors
    /// As [`Searcher::query`].
    pub async fn count(&self, view: &View, filter: Option<Filter>) -> Result<(u64, Usage)> {
        let call = self.call();
        let filter = filter.filter(|filter| !filter.is_empty());
        if filter.is_none() {
            let seen = self.snapshots.fresh(&call.catalog, view, false).await?;
            if !seen.has_writes() {
                // The manifests know.
                return Ok((seen.points(), call.usage()));
            }
        }
        let wants = Wants::of(Shards::All, filter.as_ref());
        let work = move |job: &Job, stop: &Stop| job.count(filter.as_ref(), stop);
        let count =
            self.answer(&call, view, move |_| Ok(wants.clone()), work, |counts| counts.into_iter().sum()).await?;
        Ok((count, call.usage()))
    }
}

impl Searcher {
    /// Points of one shard whole, as far as they are there, for a write that depends on them.
    ///
    /// # Errors
    /// As [`Searcher::retrieve`].
    pub(crate) async fn points_of(
        &self,
        call: &Call<'_>,
        (seen, shard): (&Arc<Seen>, u32),
        ids: Vec<PointId>,
    ) -> Result<Vec<Record>> {
        let wants = Wants::of(Shards::Only([shard].into()), None);
        let select = Selectors { payload: &PayloadSelector::All, vector: &VectorSelector::All };
        let work = Arc::new(move |job: &Job, stop: &Stop| job.retrieved(&ids, select, stop));
        self.answer_from(call, seen, &move |_: &_| Ok(wants.clone()), &work, &|parts: Vec<_>| parts.concat()).await
    }

    /// The ids of all points of one shard that match, for a write that is about them.
    ///
    /// # Errors
    /// As [`Searcher::scroll`].
    pub(crate) async fn ids_of(
        &self,
        call: &Call<'_>,
        (seen, shard): (&Arc<Seen>, u32),
        filter: &Filter,
    ) -> Result<Vec<PointId>> {
        let wants = Wants::of(Shards::Only([shard].into()), Some(filter));
        let filter = filter.clone();
        let work = Arc::new(move |job: &Job, stop: &Stop| {
            let rows = job.rows(None, Some(&filter), usize::MAX, stop)?;
            Ok(rows.into_iter().map(|row| row.id).collect())
        });
        let join = |parts: Vec<Vec<PointId>>| parts.concat();
        self.answer_from(call, seen, &move |_: &_| Ok(wants.clone()), &work, &join).await
    }
}

/// Requests that the schema allows, with the vectors that are searched for: near bytes that is one of bytes, as in Qdrant, for whoever looks at it,
/// be it codes, originals or regions.
fn checked(collection: &Collection, requests: &Arc<[Request]>) -> Result<Arc<[Request]>> {
    requests.iter().try_for_each(|request| check_request(collection, request))?;
    let datatype = |request: &Request| match &request.query {
        Query::Vector(_) => searched(&collection.doc.schema, request.using.as_deref()).map(|params| params.datatype),
        Query::Point(_) | Query::All | Query::Order(_) => Ok(Datatype::Float32),
    };
    let datatypes: Vec<Datatype> = requests.iter().map(datatype).collect::<Result<_>>()?;
    if datatypes.iter().all(|datatype| *datatype != Datatype::Uint8) {
        return Ok(Arc::clone(requests));
    }
    let mut requests = requests.to_vec();
    for (request, datatype) in requests.iter_mut().zip(datatypes) {
        if let Query::Vector(vector) = &mut request.query {
            cast(datatype, vector);
        }
    }
    Ok(requests.into())
}

fn check_request(collection: &Collection, request: &Request) -> Result<()> {
    check_vector_names(collection, &request.with_vector)?;
    if request.score_threshold.is_some_and(|threshold| !threshold.is_finite()) {
        return Err(Error::Invalid("score_threshold is not a finite number".into()));
    }
    if request.query.lists() {
        return Ok(());
    }
    let params = searched(&collection.doc.schema, request.using.as_deref())?;
    if let Query::Vector(vector) = &request.query {
        dimension(params.size, vector.len())?;
        if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
            return Err(Error::Invalid(format!("vector element {at} is not a finite number")));
        }
    }
    Ok(())
}

fn check_vector_names(collection: &Collection, selector: &VectorSelector) -> Result<()> {
    let VectorSelector::Names(names) = selector else { return Ok(()) };
    match names.iter().find(|name| collection.doc.schema.kind(name).is_none()) {
        Some(name) => Err(no_vector(name)),
        None => Ok(()),
    }
}
