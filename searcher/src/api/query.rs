//! `points/query`, `points/search` and their batches.

use cairn_model::{
    Filter, Usage,
    limits::{BATCH_MAX, LIMIT_MAX},
};
use cairn_storage::AsOf;
use serde::{Deserialize, Serialize};

use super::{
    check_filter, check_limit,
    field::{Ignored, Later},
    points::ScoredPointBody,
    selector::{Params, WithPayload, WithVector},
    vector::{NamedInput, QueryInput, Target},
};
use crate::{
    error::{Error, Result},
    receipt::{Estimate, Step},
    request::{Query, Request},
};

/// Points of a query that does not say how many.
const LIMIT_DEFAULT: usize = 10;

/// Body of `points/query`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryRequest {
    /// What to look for; points by id when missing.
    pub query: Option<QueryInput>,
    /// The vector's name.
    pub using: Option<String>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// How hard to search.
    pub params: Option<Params>,
    /// Only points at least as good.
    pub score_threshold: Option<f32>,
    /// Points to return.
    pub limit: Option<usize>,
    /// Points to leave out first.
    pub offset: Option<usize>,
    /// Which vectors to return.
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    /// Which payload to return.
    pub with_payload: Option<WithPayload>,
    /// Not supported yet.
    pub prefetch: Later,
    /// Not supported yet.
    pub lookup_from: Later,
    /// Ignored: there are no shard keys.
    pub shard_key: Ignored,
    /// Cairn's own: say what the query would take and cost instead of running it.
    pub explain: bool,
}

/// Body of `points/query/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryBatch {
    /// The queries.
    pub searches: Vec<QueryRequest>,
}

/// Body of the legacy `points/search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The vector, with its name or without.
    pub vector: NamedInput,
    /// Which points count.
    pub filter: Option<Filter>,
    /// How hard to search.
    pub params: Option<Params>,
    /// Points to return.
    #[serde(alias = "top")]
    pub limit: usize,
    /// Points to leave out first.
    pub offset: Option<usize>,
    /// Which payload to return.
    pub with_payload: Option<WithPayload>,
    /// Which vectors to return.
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    /// Only points at least as good.
    pub score_threshold: Option<f32>,
    /// Ignored: there are no shard keys.
    #[serde(default)]
    pub shard_key: Ignored,
}

/// Body of the legacy `points/search/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchBatch {
    /// The searches.
    pub searches: Vec<SearchRequest>,
}

/// Result of `points/query` with `explain`.
#[derive(Debug, Serialize)]
pub struct ExplainResult {
    /// By segment.
    pub plan: Vec<Step>,
    /// What all of them would take; its `cost_nanodollars` too.
    pub estimate: Usage,
    /// Dollars.
    pub cost_usd: f64,
    /// Seconds of waiting for the store.
    pub waiting_s: f64,
}

impl From<Estimate> for ExplainResult {
    fn from(estimate: Estimate) -> Self {
        let Estimate { steps, usage, waiting } = estimate;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let cost_usd = usage.cost_nanodollars as f64 / 1e9;
        Self { plan: steps, estimate: usage, cost_usd, waiting_s: waiting.as_secs_f64() }
    }
}

/// Result of `points/query`.
#[derive(Debug, Serialize)]
pub struct QueryResult<'a> {
    /// Best first.
    pub points: Vec<ScoredPointBody<'a>>,
}

fn target(target: Target) -> Result<Query> {
    match target {
        Target::Vector(vector) => Ok(Query::Vector(vector)),
        Target::Point(id) => Ok(Query::Point(id)),
        Target::Order(order) => Ok(Query::Order(order)),
        Target::Later(name) => Err(Error::Unsupported(name)),
    }
}

impl QueryRequest {
    /// Checks and converts; `at` is the request's path in the body, with its dot.
    ///
    /// # Errors
    /// Names the field that is out of range or not supported.
    pub fn check(self, at: &str) -> Result<Request> {
        self.prefetch.refuse("prefetch")?;
        self.lookup_from.refuse("lookup_from")?;
        // Qdrant nests the request's fields in an inner structure that its messages show.
        let at = format!("{at}internal.");
        let (limit, offset) = (self.limit.unwrap_or(LIMIT_DEFAULT), self.offset.unwrap_or(0));
        check_limit(&at, limit, offset)?;
        let params = self.params.unwrap_or_default();
        Ok(Request {
            query: self.query.map_or(Ok(Query::All), |query| target(query.0))?,
            using: self.using,
            filter: check_filter(&at, self.filter)?,
            params: params.check(&at)?,
            cost_max: params.cost_max(&at)?,
            partial: params.partial,
            limit,
            offset,
            score_threshold: self.score_threshold,
            with_payload: self.with_payload.map(|with| with.0).unwrap_or_default(),
            with_vector: self.with_vector.map(|with| with.0).unwrap_or_default(),
        })
    }
}

impl SearchRequest {
    /// Checks and converts; `at` is the request's path in the body, with its dot.
    ///
    /// # Errors
    /// Names the field that is out of range or not supported.
    pub fn check(self, at: &str) -> Result<Request> {
        let at = format!("{at}search_request.");
        let offset = self.offset.unwrap_or(0);
        check_limit(&at, self.limit, offset)?;
        let params = self.params.unwrap_or_default();
        Ok(Request {
            query: target(self.vector.target)?,
            using: self.vector.name,
            filter: check_filter(&at, self.filter)?,
            params: params.check(&at)?,
            cost_max: params.cost_max(&at)?,
            partial: params.partial,
            limit: self.limit,
            offset,
            score_threshold: self.score_threshold,
            with_payload: self.with_payload.map(|with| with.0).unwrap_or_default(),
            with_vector: self.with_vector.map(|with| with.0).unwrap_or_default(),
        })
    }
}

/// Checks a batch as a whole: how many requests, and how many points in all, since all answers are in memory at once.
fn check_batch<T>(searches: Vec<T>, check: impl Fn(T, &str) -> Result<Request>) -> Result<Vec<Request>> {
    if searches.len() > BATCH_MAX {
        let why = format!("{} searches are given, at most {BATCH_MAX} are allowed", searches.len());
        return Err(Error::body("searches", why));
    }
    let one = |(at, search)| check(search, &format!("searches[{at}]."));
    let requests: Vec<Request> = searches.into_iter().enumerate().map(one).collect::<Result<_>>()?;
    let total: usize = requests.iter().map(|request| request.limit + request.offset).sum();
    if total > LIMIT_MAX {
        let why = format!("limits and offsets add up to {total}, must be {LIMIT_MAX} or smaller");
        return Err(Error::body("searches", why));
    }
    Ok(requests)
}

impl QueryRequest {
    /// The past that its `params` name.
    ///
    /// # Errors
    /// When they name none.
    pub fn past(&self, at: &str) -> Result<Option<AsOf>> {
        self.params.as_ref().map_or(Ok(None), |params| params.past(at))
    }
}

impl SearchRequest {
    /// The past that its `params` name.
    ///
    /// # Errors
    /// When they name none.
    pub fn past(&self, at: &str) -> Result<Option<AsOf>> {
        self.params.as_ref().map_or(Ok(None), |params| params.past(at))
    }
}

fn pasts<T>(searches: &[T], past: impl Fn(&T, &str) -> Result<Option<AsOf>>) -> Result<Vec<Option<AsOf>>> {
    searches.iter().enumerate().map(|(at, search)| past(search, &format!("searches[{at}]."))).collect()
}

impl QueryBatch {
    /// The pasts that its queries name.
    ///
    /// # Errors
    /// Names the query.
    pub fn pasts(&self) -> Result<Vec<Option<AsOf>>> {
        pasts(&self.searches, QueryRequest::past)
    }

    /// Checks and converts every query.
    ///
    /// # Errors
    /// Names the query and the field.
    pub fn check(self) -> Result<Vec<Request>> {
        if self.searches.iter().any(|search| search.explain) {
            return Err(Error::Invalid("explain is for one query, not for a batch".into()));
        }
        check_batch(self.searches, QueryRequest::check)
    }
}

impl SearchBatch {
    /// The pasts that its searches name.
    ///
    /// # Errors
    /// Names the search.
    pub fn pasts(&self) -> Result<Vec<Option<AsOf>>> {
        pasts(&self.searches, SearchRequest::past)
    }

    /// Checks and converts every search.
    ///
    /// # Errors
    /// Names the search and the field.
    pub fn check(self) -> Result<Vec<Request>> {
        check_batch(self.searches, SearchRequest::check)
    }
}
