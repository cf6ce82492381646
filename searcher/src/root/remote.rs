//! The root's side of fan-out: which segments there are, who searches them, and the exact merge of what comes back.
//!
//! What needs no search stays here: the vector of a query by id is read first, and points without a query are listed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use cairn_engine::merge;
use cairn_model::{Distance, PointId, Usage, VectorQuery};

use super::{
    Job, Shards, Wants, checked,
    choice::{self, Choice},
    groups::Together,
    job,
    opening::{Round, no_answer},
    order::joined_listings,
    using::metric,
};
use crate::{
    error::{Error, Result, gather},
    fanout::{Ask, Fanout, Hit, Part, Question, Team, spent},
    live::Seen,
    request::{Query, Request, ScoredPoint, View},
    searcher::{Call, Searcher},
    workers::Stop,
};

/// What a batch is answered with.
type Answers = (Vec<Vec<ScoredPoint>>, Usage);

impl Searcher {
    /// Several queries against the same version of a collection, searched by `fanout`'s leaves.
    pub(super) async fn query_leaves(&self, fanout: &Fanout, view: &View, requests: Vec<Request>) -> Result<Answers> {
        let call = self.call();
        let (call, requests): (_, &Arc<[Request]>) = (&call, &requests.into());
        self.freshly(call, view, move |seen| async move {
            let requests = &checked(&seen, requests)?;
            let wants = Wants { shards: choice::shards(&seen, requests)?, ..Wants::of_queries(requests) };
            self.within_cost(call, &seen, &wants).await?;
            let (answers, mut usage) = self.parts_answer(call, &Parts::Leaves(fanout), &seen, requests).await?;
            let own = call.usage();
            // The leaves begin once the root knows what to ask.
            usage.waves += own.waves;
            usage += Usage { waves: 0, ..own };
            Ok((answers, usage))
        })
        .await
    }

    /// Answers requests that were checked from parts, and says what the parts took that `call` does not count.
    pub(super) async fn parts_answer(
        &self,
        call: &Call<'_>,
        parts: &Parts<'_>,
        seen: &Arc<Seen>,
        requests: &Arc<[Request]>,
    ) -> Result<Answers> {
        let vectors = self.vectors(call, seen, requests).await?;
        let questions: Vec<Question> = requests.iter().filter_map(|request| question(request, &vectors)).collect();
        let partial = requests.iter().all(|request| request.partial);
        let (listed, gathered) = match parts {
            Parts::Leaves(fanout) => {
                let (listed, own, mut gathered) = tokio::try_join!(
                    self.listed(call, seen, requests),
                    self.unfolded(call, seen, questions.clone()),
                    gathered(fanout, seen, questions.clone(), partial)
                )?;
                gathered.parts.extend(own);
                (listed, gathered)
            }
            // One after the other: both need the room that there is.
            Parts::Groups(whole) => {
                let listed = self.listed(call, seen, requests).await?;
                let wants = Wants { cost_max: None, ..Wants::of_queries(requests) };
                (listed, self.grouped(call, seen, (wants, whole), questions.clone()).await?)
            }
        };
        let Gathered { mut parts, usage } = gathered;
        let (mut questions, mut listed) = (questions.iter().enumerate(), listed.into_iter());
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests.iter() {
            let answer = match &request.query {
                Query::All | Query::Order(_) => listed.next(),
                Query::Vector(_) | Query::Point(_) => match questions.next() {
                    Some((at, question)) => {
                        let by = metric(&seen.doc.schema, request.using.as_deref())?;
                        let lists = parts.iter_mut().map(|part| std::mem::take(&mut part.answers[at]));
                        Some(merged(request, question.query.k, by, lists))
                    }
                    None => None,
                },
            };
            answers.extend(answer);
        }
        let bytes: usize = answers.iter().flatten().map(|point| job::text_bytes(&point.record)).sum();
        if bytes > self.answer_bytes_max {
            return Err(job::too_large(self.answer_bytes_max));
        }
        Ok((answers, usage))
    }

    /// What the logs hold, which leaves do not read.
    async fn unfolded(&self, call: &Call<'_>, seen: &Arc<Seen>, questions: Vec<Question>) -> Result<Option<Part>> {
        if questions.is_empty() || !seen.has_writes() {
            return Ok(None);
        }
        let work = Arc::new(move |job: &Job, stop: &Stop| job.part(&questions, stop));
        match self.round(call, (seen, true), &mut [], &work).await? {
            Round::Answer((answers, usage)) => {
                call.add(usage);
                Ok(Some(Part { answers, usage }))
            }
            Round::Again | Round::TooMuch(_) => Err(no_answer()),
        }
    }

    /// What groups of this process's own segments find.
    async fn grouped(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        (wants, whole): (Wants, &BTreeSet<String>),
        questions: Vec<Question>,
    ) -> Result<Gathered> {
        if questions.is_empty() {
            return Ok(Gathered { parts: Vec::new(), usage: Usage::default() });
        }
        let queries: Vec<VectorQuery> = questions.iter().map(|question| question.query.clone()).collect();
        let choice = Choice::of(seen, &queries)?;
        let segments_skipped = choice.skipped();
        let wants = Wants { shards: choice.union(), ..wants };
        let work = Arc::new(move |job: &Job, stop: &Stop| job.part(&questions, stop));
        let found = self.in_groups(call, seen, &wants, whole.clone(), &work).await?;
        let mut usage = Usage { segments_skipped, ..Usage::default() };
        let part = |(answers, own): (Vec<Vec<Hit>>, Usage)| {
            usage += own;
            Part { answers, usage: own }
        };
        Ok(Gathered { parts: found.into_iter().map(part).collect(), usage })
    }

    /// The vectors of the points that queries name.
    async fn vectors(&self, call: &Call<'_>, seen: &Arc<Seen>, requests: &[Request]) -> Result<PointVectors> {
        let named: Vec<(PointId, String)> = requests.iter().filter_map(named).collect();
        if named.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<PointId> = named.iter().map(|(id, _)| *id).collect();
        let shards = Shards::of_points(seen, &ids);
        let plan = move |_: &_| Ok(Wants::of(shards.clone(), None));
        let asked = named.clone();
        let work = Arc::new(move |job: &Job, _: &Stop| {
            let one = |named: &(PointId, String)| {
                let (id, using) = named;
                let found = job.find(*id)?;
                found.map(|row| Ok((named.clone(), job.vector(*id, row, using)?))).transpose()
            };
            Ok(gather(asked.iter().map(one).collect())?.into_iter().flatten().collect())
        });
        let join = |groups: Vec<PointVectors>| groups.into_iter().flatten().collect();
        let vectors: PointVectors = self.answer_from(call, seen, &plan, &work, &join).await?;
        match named.iter().find(|named| !vectors.contains_key(named)) {
            Some((id, _)) => Err(Error::NoPoint(*id)),
            None => Ok(vectors),
        }
    }

    /// The answers to requests that want any points.
    async fn listed(&self, call: &Call<'_>, seen: &Arc<Seen>, requests: &[Request]) -> Result<Vec<Vec<ScoredPoint>>> {
        let any: Vec<Request> = requests.iter().filter(|request| request.query.lists()).cloned().collect();
        if any.is_empty() {
            return Ok(Vec::new());
        }
        let mut wants = Wants::of(Shards::All, None);
        any.iter().for_each(|request| wants.add_query(request));
        let asked = any.clone();
        let work = Arc::new(move |job: &Job, stop: &Stop| job.answers(&asked, stop).map(|(answers, _)| answers));
        let whole = match self.together(call, seen, &wants, &work).await? {
            Together::Answer(answers) => return Ok(answers),
            Together::Parted(whole) => whole,
        };
        // What a group lists is skipped once all have listed.
        let wide = any.iter().map(|any| Request { limit: any.limit + any.offset, offset: 0, ..any.clone() });
        let asked: Vec<Request> = wide.collect();
        let work = Arc::new(move |job: &Job, stop: &Stop| job.answers(&asked, stop).map(|(answers, _)| answers));
        let found = self.in_groups(call, seen, &wants, whole, &work).await?;
        let lists = joined_listings(&any, found);
        let shown = any.iter().zip(lists).map(|(any, list)| list.into_iter().skip(any.offset).collect());
        Ok(shown.collect())
    }
}

/// What a request is answered from, in parts.
pub(super) enum Parts<'a> {
    /// Leaves that are other processes.
    Leaves(&'a Fanout),
    /// Groups of segments, one after the other; these are read whole.
    Groups(BTreeSet<String>),
}

/// What the leaves of one request found, and what they spent together.
struct Gathered {
    parts: Vec<Part>,
    usage: Usage,
}

async fn gathered(fanout: &Fanout, seen: &Seen, queries: Vec<Question>, partial: bool) -> Result<Gathered> {
    let asked: Vec<VectorQuery> = queries.iter().map(|question| question.query.clone()).collect();
    let choice = Choice::of(seen, &asked)?;
    let (segments_skipped, shards) = (choice.skipped(), choice.union());
    let segments: Vec<String> =
        seen.segments().filter(|(shard, entry)| shards.has(*shard, entry)).map(|(_, entry)| entry.id.clone()).collect();
    if queries.is_empty() || segments.is_empty() {
        return Ok(Gathered { parts: Vec::new(), usage: Usage::default() });
    }
    let doc = &seen.doc;
    let ask = Ask {
        collection: doc.name.clone(),
        generation: doc.generation.clone(),
        version: doc.writer.clone(),
        limit: Duration::ZERO,
        segments,
        shadows: seen.shadows(),
        team: Team::default(),
        partial,
        queries,
    };
    let gathered = fanout.gather(&ask).await?;
    let leaves = gathered.asked;
    let (parts, leaves_failed) = gathered.complete(partial)?;
    let usage = Usage { leaves, leaves_failed, segments_skipped, ..spent(&parts) };
    Ok(Gathered { parts, usage })
}

/// The vectors of points by the points' ids and the vectors' names.
type PointVectors = HashMap<(PointId, String), Vec<f32>>;

/// Which vector of which point a request looks near, if it names one.
fn named(request: &Request) -> Option<(PointId, String)> {
    match &request.query {
        Query::Point(id) => Some((*id, request.using.clone().unwrap_or_default())),
        Query::Vector(_) | Query::All | Query::Order(_) => None,
    }
}

/// What the leaves are asked for a request; `None` for one that wants any points.
fn question(request: &Request, vectors: &PointVectors) -> Option<Question> {
    let vector = match &request.query {
        Query::All | Query::Order(_) => return None,
        Query::Vector(vector) => vector,
        Query::Point(_) => vectors.get(&named(request)?)?,
    };
    let query = VectorQuery {
        using: request.using.clone().unwrap_or_default(),
        vector: vector.clone(),
        filter: request.filter.clone(),
        // One more where the point itself will be left out.
        k: request.limit + request.offset + usize::from(matches!(request.query, Query::Point(_))),
        params: request.params,
        score_threshold: request.score_threshold,
    };
    Some(Question { query, payload: request.with_payload.clone(), vector: request.with_vector.clone() })
}

/// The answer that one process with all segments would have given.
fn merged(request: &Request, k: usize, by: Distance, lists: impl Iterator<Item = Vec<Hit>>) -> Vec<ScoredPoint> {
    let mut nearest = merge::top_k(lists, k, |hit| (hit.distance, hit.record.id));
    if let Query::Point(without) = &request.query {
        nearest.retain(|hit| hit.record.id != *without);
    }
    let scored = nearest.into_iter().map(|hit| ScoredPoint {
        score: job::score(by, hit.distance),
        order_value: None,
        record: hit.record,
    });
    let passes = |point: &ScoredPoint| request.score_threshold.is_none_or(|limit| by.passes(point.score, limit));
    scored.filter(passes).skip(request.offset).take(request.limit).collect()
}
