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
    /// By the processor's time of the threads that searched, which other programs do not lengthen; none of batches.
    pub(super) qps_cpu_runs: Vec<f64>,
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

impl Answer {
    fn new(found: Found, time: Duration) -> Self {
        Self { time, hits: found.hits, scored: found.usage.vectors_scored, strategy: found.strategy.name() }
    }
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
        let (mut qps_runs, mut qps_cpu_runs) = (Vec::new(), Vec::new());
        for _ in 0..self.repeat {
            for query in queries.iter().take(WARM_UP) {
                self.search(query)?;
            }
            let start = Instant::now();
            let answers = if self.batch > 1 {
                self.batches(&queries, pool)?
            } else {
                let (answers, ran) = self.singly(&queries, pool)?;
                qps_cpu_runs.push(ratio(queries.len(), ran.as_secs_f64() / ratio(self.threads, 1.0)));
                answers
            };
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
        Ok(Run { ef, recall_target, qps_runs, qps_cpu_runs, ..run })
    }

    fn prepared(&self, width: Width) -> Vec<VectorQuery> {
        let (ef, recall) = match width {
            Width::Ef(ef) => (Some(ef), None),
            Width::Recall(recall) => (None, Some(recall)),
        };
        let params = SearchParams { ef, recall, quantization: self.quantization, ..SearchParams::default() };
        let query = |row| VectorQuery {
            using: String::new(),
            vector: self.queries.row(row).to_vec(),
            filter: self.filter.clone(),
            k: self.k,
            params,
            score_threshold: None,
        };
        (0..self.queries.rows()).map(query).collect()
    }

    /// Every thread takes its share and answers one query after another; with the processor's time that all took together.
    fn singly(&self, queries: &[VectorQuery], pool: &rayon::ThreadPool) -> anyhow::Result<(Vec<Answer>, Duration)> {
        let share = queries.len().div_ceil(self.threads);
        let answer = |queries: &[VectorQuery]| {
            let before = computed();
            let answers = queries.iter().map(|query| self.answer(query)).collect::<anyhow::Result<Vec<Answer>>>()?;
            Ok((answers, computed().saturating_sub(before)))
        };
        let parts: Vec<(Vec<Answer>, Duration)> =
            pool.install(|| queries.par_chunks(share).map(answer).collect::<anyhow::Result<_>>())?;
        let ran = parts.iter().map(|(_, ran)| *ran).sum();
        Ok((parts.into_iter().flat_map(|(answers, _)| answers).collect(), ran))
    }

    /// Batch after batch, each spread over all threads as the searcher spreads a request of `query/batch`; a query's time
    /// is that of its whole batch.
    fn batches(&self, queries: &[VectorQuery], pool: &rayon::ThreadPool) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(queries.len());
        for batch in queries.chunks(self.batch) {
            let start = Instant::now();
            let found = pool.install(|| self.segment.search_batch(batch, self.hot, &Unwatched))?;
            let time = start.elapsed();
            answers.extend(found.into_iter().map(|found| Answer::new(found, time)));
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
        Ok(Answer::new(found, start.elapsed()))
    }
}

/// Processor's time of this thread so far.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The value at a percentile of a sorted list that is not empty.
pub(super) fn percentile<T: Copy>(sorted: &[T], p: usize) -> T {
    sorted[(sorted.len() - 1) * p / 100]
}

fn summarise(qps: f64, answers: &[Answer], reference: &Reference<'_>, worst: &[Worst]) -> anyhow::Result<Run> {
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.time).collect();
    times.sort_unstable();
    let us = |p: usize| percentile(&times, p).as_secs_f64() * 1e6;
    let ordinals = |answer: &Answer| answer.hits.iter().map(|hit| hit.ordinal).collect::<Vec<u32>>();
    let found: Vec<Vec<u32>> = answers.iter().map(ordinals).collect();
    let scored: u64 = answers.iter().map(|answer| answer.scored).sum();
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let distances = scored as f64 / answers.len() as f64;
    Ok(Run {
        ef: None,
        recall_target: None,
        recall: reference.recall(found.iter().map(Vec::as_slice).enumerate(), worst)?,
        qps,
        p50_us: us(50),
        p90_us: us(90),
        p99_us: us(99),
        distances,
        strategy: answers.last().map_or("", |answer| answer.strategy),
        qps_runs: Vec::new(),
        qps_cpu_runs: Vec::new(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of queries and hits")]
fn ratio(count: usize, over: f64) -> f64 {
    count as f64 / over
}
