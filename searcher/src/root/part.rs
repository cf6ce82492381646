//! The leaf's side of fan-out: a whole request, over some segments of one generation.

use std::{collections::BTreeSet, sync::Arc};

use cairn_engine::{Watch, segment::Along};
use cairn_model::{ErrorKind, SegmentPlan, Usage, VectorQuery};
use cairn_storage::{AsOf, Collection};
use rayon::prelude::*;

use super::{Job, Shards, Wants, check_vector_names, groups::joined_lists, job::passes, using::searched};
use crate::{
    check::dimension,
    error::{Error, Result, gather},
    fanout::{Ask, Hit, Part, Question, deadline},
    leaf::{Candidate, Selectors},
    live::Seen,
    request::View,
    searcher::{Call, Searcher},
    select::PayloadSelector,
    workers::Stop,
};

impl Searcher {
    /// What a root asks of this process as its leaf.
    ///
    /// # Errors
    /// `Elsewhere` when the segments are not to be seen from here; else as [`Searcher::query_batch`].
    pub async fn part(&self, ask: Ask) -> Result<Part> {
        let limit = deadline::left().map_or(ask.limit, |left| left.min(ask.limit));
        let answering = deadline::within(limit, async {
            match &self.sub_root {
                _ if ask.team.leaves.is_empty() => self.part_of(ask).await,
                Some(sub_root) => sub_root.answer(&ask).await,
                None => Err(Error::Elsewhere("this leaf may not ask others: start it with --sub-root".to_owned())),
            }
        });
        tokio::time::timeout(limit, answering).await.unwrap_or(Err(Error::Cancelled))
    }

    async fn part_of(&self, ask: Ask) -> Result<Part> {
        let call = self.call();
        let segments: Arc<BTreeSet<String>> = Arc::new(ask.segments.iter().cloned().collect());
        let collection = self.generation(&call, &ask, &segments).await?;
        let seen = Arc::new(Seen::shadowed(collection, &ask.shadows)?);
        let questions: Arc<[Question]> = ask.queries.into();
        let (asked, merging) = (Arc::clone(&questions), Arc::clone(&questions));
        let plan = move |collection: &Collection| {
            asked.iter().try_for_each(|question| check_question(collection, question))?;
            let mut wants = Wants::of(Shards::Segments(Arc::clone(&segments)), None);
            for query in asked.iter().map(|question| &question.query) {
                query.filter.iter().for_each(|filter| wants.add_fields(filter));
                if query.params.plan != SegmentPlan::Auto {
                    wants.plan = query.params.plan;
                }
            }
            Ok(wants)
        };
        let work = Arc::new(move |job: &Job, stop: &Stop| job.part(&questions, stop));
        let join = |parts: Vec<(Vec<Vec<Hit>>, Usage)>| {
            let (lists, usages): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let key = |hit: &Hit| (hit.distance, hit.record.id);
            let mut usage = Usage::default();
            usages.into_iter().for_each(|own| usage += own);
            (joined_lists(lists, |at| merging[at].query.k, key), usage)
        };
        match self.answer_from(&call, &seen, &plan, &work, &join).await {
            Ok((answers, usage)) => {
                call.add(usage);
                Ok(Part { answers, usage: call.usage() })
            }
            // Collected since the root looked: it will look again.
            Err(Error::Storage(error)) if error.kind == ErrorKind::NotFound => Err(unseen(&ask.generation)),
            Err(error) => Err(error),
        }
    }

    /// The generation that the root reads, whichever is the newest one that was seen here.
    async fn generation(&self, call: &Call<'_>, ask: &Ask, segments: &BTreeSet<String>) -> Result<Arc<Collection>> {
        let name = &ask.collection;
        let sees = |collection: &Collection| {
            let mine = || collection.segments().filter(|(_, entry)| segments.contains(&entry.id)).count();
            let same = (&collection.doc.generation, &collection.doc.writer) == (&ask.generation, &ask.version);
            same && mine() == segments.len()
        };
        let still = |seen: Arc<Seen>| Arc::clone(seen.collection());
        let newest = View::from(name.clone());
        let as_of = AsOf::Generation(ask.generation.clone());
        let past = View { as_of: Some(as_of.clone()), ..newest.clone() };
        // The root has seen it just now: what never changes need not be asked for again.
        if let Some(known) =
            [&newest, &past].into_iter().find_map(|view| self.snapshots.known(view).filter(|c| sees(c)))
        {
            return Ok(still(known));
        }
        let newest = match self.snapshots.fresh(&call.catalog, &newest, true).await {
            Ok(newest) if sees(&newest) => return Ok(still(newest)),
            Ok(newest) => newest,
            Err(Error::NoCollection(_)) => return Err(unseen(&ask.generation)),
            Err(error) => return Err(error),
        };
        match self.snapshots.past(&call.catalog, &newest, &as_of).await {
            Ok(past) if sees(&past) => Ok(still(past)),
            Err(Error::Storage(error)) if error.kind == ErrorKind::Unavailable => Err(error.into()),
            _ => Err(unseen(&ask.generation)),
        }
    }
}

fn unseen(generation: &str) -> Error {
    Error::Elsewhere(format!(
        "generation {} or a segment of it is not to be seen from this leaf",
        generation.escape_debug()
    ))
}

/// The root has checked the request; this is what would otherwise make no sense here.
fn check_question(collection: &Collection, question: &Question) -> Result<()> {
    let params = searched(&collection.doc.schema, Some(&question.query.using))?;
    dimension(params.size, question.query.vector.len())?;
    check_vector_names(collection, &question.vector)
}

impl Job {
    /// For each question its nearest points, with what they show.
    pub(super) fn part(&self, questions: &[Question], watch: &dyn Watch) -> Result<(Vec<Vec<Hit>>, Usage)> {
        let queries: Vec<VectorQuery> = questions.iter().map(|question| question.query.clone()).collect();
        let payload = questions.iter().any(|question| question.payload != PayloadSelector::None);
        let choice = self.choice(&queries)?;
        let (found, usage) = self.search((&queries, &choice), Along { payload }, watch)?;
        let one = |(nearest, question): (Vec<Candidate>, &Question)| {
            let by = self.metric(Some(&question.query.using))?;
            let passes = |candidate: &Candidate| passes(by, candidate.distance, question.query.score_threshold);
            let nearest: Vec<Candidate> = nearest.into_iter().filter(passes).collect();
            let select = Selectors { payload: &question.payload, vector: &question.vector };
            let records = self.records(&nearest, select, watch)?;
            let hits = nearest.iter().zip(records);
            Ok(hits.map(|(candidate, record)| Hit { distance: candidate.distance, record }).collect())
        };
        Ok((gather(found.into_par_iter().zip(questions).map(one).collect())?, usage))
    }
}
