//! Every query, at every setting, several times.

use std::time::{Duration, Instant};

use cairn_engine::{
    Unwatched,
    hot::Hot,
    segment::{Found, Hit, Segment},
};
use cairn_model::{Filter, QuantizationSearch, SearchParams, VectorQuery};
use rayon::prelude::*;
use serde::Serialize;

use super::{
    corpus::Matrix,
    reference::{Reference, Worst},
};

/// Queries before the clock starts.
const WARM_UP: usize = 50;

/// What is asked for: a width, or a recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Width {
    Ef(u32),
    Recall(f32),
}

/// Figures of one width.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) ef: Option<u32>,
    pub(super) recall_target: Option<f32>,
    pub(super) recall: f64,
    pub(super) qps: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    /// Mean per query.
    pub(super) distances: f64,
    pub(super) strategy: &'static str,
    pub(super) qps_runs: Vec<f64>,
}

/// All that stays the same from width to width.
pub(super) struct Bench<'a> {
    pub(super) segment: &'a Segment,
    /// The segment expanded in memory, when that is measured.
    pub(super) hot: Option<&'a Hot>,
    pub(super) queries: &'a Matrix,
    pub(super) filter: Option<Filter>,
    pub(super) k: usize,
    pub(super) quantization: QuantizationSearch,
    /// Threads that search.
    pub(super) threads: usize,
    /// Queries that are handed over together; 1 is one after another.
    pub(super) batch: usize,
    pub(super) repeat: u32,
}

struct Answer {
    time: Duration,
    hits: Vec<Hit>,
    scored: u64,
    strategy: &'static str,
}

impl Bench<'_> {
    /// The best of several runs, with the speed of all of them.
    pub(super) fn measure(
        &self,
        width: Width,
        reference: &Reference<'_>,
        worst: &[Worst],
        pool: &rayon::ThreadPool,
    ) -> anyhow::Result<Run> {
        let queries = self.prepared(width);
        let mut best: Option<(f64, Vec<Answer>)> = None;
        let mut qps_runs = Vec::new();
        for _ in 0..self.repeat {
            for query in queries.iter().take(WARM_UP) {
                self.search(query)?;
            }
            let start = Instant::now();
            let answers = if self.batch > 1 { self.batches(&queries, pool)? } else { self.singly(&queries, pool)? };
            let qps = ratio(queries.len(), start.elapsed().as_secs_f64());
            qps_runs.push(qps);
            if best.as_ref().is_none_or(|(speed, _)| qps > *speed) {
                best = Some((qps, answers));
            }
        }
        let (qps, answers) = best.ok_or_else(|| anyhow::anyhow!("nothing was measured"))?;
        let run = summarise(qps, &answers, reference, worst)?;
        let (ef, recall_target) = match width {
            Width::Ef(ef) => (Some(ef), None),
            Width::Recall(recall) => (None, Some(recall)),
        };
        Ok(Run { ef, recall_target, qps_runs, ..run })
    }

    fn prepared(&self, width: Width) -> Vec<VectorQuery> {
        let (ef, recall) = match width {
            Width::Ef(ef) => (Some(ef), None),
            Width::Recall(recall) => (None, Some(recall)),
        };
        let params = SearchParams { ef, recall, quantization: self.quantization, ..SearchParams::default() };
        let query = |row| VectorQuery {
            vector: self.queries.row(row).to_vec(),
            filter: self.filter.clone(),
            k: self.k,
            params,
            score_threshold: None,
        };
        (0..self.queries.rows()).map(query).collect()
    }

    /// Every thread takes its share and answers one query after another.
    fn singly(&self, queries: &[VectorQuery], pool: &rayon::ThreadPool) -> anyhow::Result<Vec<Answer>> {
        let share = queries.len().div_ceil(self.threads);
        let answer = |queries: &[VectorQuery]| {
            queries.iter().map(|query| self.answer(query)).collect::<anyhow::Result<Vec<Answer>>>()
        };
        let answers: Vec<Vec<Answer>> =
            pool.install(|| queries.par_chunks(share).map(answer).collect::<anyhow::Result<_>>())?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Batch after batch, each spread over all threads as the searcher spreads a request of `query/batch`; a query's time
    /// is that of its whole batch.
    fn batches(&self, queries: &[VectorQuery], pool: &rayon::ThreadPool) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(queries.len());
        for batch in queries.chunks(self.batch) {
            let start = Instant::now();
            let mut answered: Vec<Answer> =
                pool.install(|| batch.par_iter().map(|query| self.answer(query)).collect::<anyhow::Result<_>>())?;
            let time = start.elapsed();
            answered.iter_mut().for_each(|answer| answer.time = time);
            answers.append(&mut answered);
        }
        Ok(answers)
    }

    /// In the tier that is measured.
    fn search(&self, query: &VectorQuery) -> anyhow::Result<Found> {
        Ok(match self.hot {
            Some(hot) => self.segment.search_hot(hot, query, &Unwatched)?,
            None => self.segment.search(query, &Unwatched)?,
        })
    }

    fn answer(&self, query: &VectorQuery) -> anyhow::Result<Answer> {
        let start = Instant::now();
        let found = self.search(query)?;
        Ok(Answer {
            time: start.elapsed(),
            hits: found.hits,
            scored: found.usage.vectors_scored,
            strategy: found.strategy.name(),
        })
    }
}

/// A hit counts by its true distance: what the answer says may be an estimate.
fn summarise(qps: f64, answers: &[Answer], reference: &Reference<'_>, worst: &[Worst]) -> anyhow::Result<Run> {
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.time).collect();
    times.sort_unstable();
    let percentile = |p: usize| times[(times.len() - 1) * p / 100].as_secs_f64() * 1e6;
    let (mut found, mut wanted) = (0, 0);
    for (query, (answer, worst)) in answers.iter().zip(worst).enumerate() {
        // Room for rounding: the same vectors scored in another order of additions.
        let bound = worst.distance + 1e-6 * worst.distance.abs().max(1.0);
        let mut near = 0;
        for hit in &answer.hits {
            near += usize::from(reference.distance(query, hit.ordinal)? <= bound);
        }
        found += near.min(worst.count);
        wanted += worst.count;
    }
    let scored: u64 = answers.iter().map(|answer| answer.scored).sum();
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let distances = scored as f64 / answers.len() as f64;
    Ok(Run {
        ef: None,
        recall_target: None,
        recall: if wanted == 0 { 1.0 } else { ratio(found, ratio(wanted, 1.0)) },
        qps,
        p50_us: percentile(50),
        p90_us: percentile(90),
        p99_us: percentile(99),
        distances,
        strategy: answers.last().map_or("", |answer| answer.strategy),
        qps_runs: Vec::new(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of queries and hits")]
fn ratio(count: usize, over: f64) -> f64 {
    count as f64 / over
}
