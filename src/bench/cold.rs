//! The cold tier: the segment lies in a store with delays, and each query is asked of a searcher that has nothing.
//!
//! The searcher is the one that serves: from a collection's name to hits, without HTTP. Delays are really waited for.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_engine::segment::Built;
use cairn_model::{
    CollectionName, CollectionSchema, Filter, PointId, QuantizationSearch, SearchParams, SegmentPlan, Usage as Counts,
};
use cairn_searcher::{Query, Request, SearchSettings, Searcher};
use cairn_storage::{Cache, CacheOptions, Store, StoreOptions, store::Delays};
use serde::Serialize;

use super::{
    measure::percentile,
    reference::{Reference, Worst},
};
use crate::failure::Usage;

/// Queries by default: each takes some tenths of a second, and a process of its own.
pub(super) const QUERIES: usize = 100;
/// Bytes of segments on local disk; an empty cache that may keep everything.
const CACHE_BYTES: u64 = 1 << 40;

/// How far away the store is.
#[derive(clap::Args, Debug)]
pub(super) struct Far {
    /// With --tier cold: milliseconds until the first byte of a store's answer, median and 99th percentile (lognormal)
    #[arg(long, value_name = "P50,P99", default_value = "30,120", value_parser = pair, help_heading = "Cold")]
    cold_latency: [f64; 2],
    /// With --tier cold: megabytes a second over one connection to the store, and over all together
    #[arg(long, value_name = "ONE,ALL", default_value = "80,600", value_parser = pair, help_heading = "Cold")]
    cold_bandwidth: [f64; 2],
    /// With --tier cold: by ranges, as a whole file that is fetched first, or auto: whichever is sooner
    #[arg(long, value_name = "auto|ranges|whole", default_value = "auto", value_parser = plan, help_heading = "Cold")]
    cold_plan: SegmentPlan,
}

fn pair(text: &str) -> Result<[f64; 2], String> {
    let (first, second) = text.split_once(',').ok_or("expected two numbers, such as 30,120")?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|error| format!("{text}: {error}"));
    Ok([number(first)?, number(second)?])
}

fn plan(text: &str) -> Result<SegmentPlan, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected auto, ranges or whole".to_owned())
}

impl Far {
    /// The store's delays.
    pub(super) fn delays(&self) -> anyhow::Result<Delays> {
        Delays::new(self.cold_latency, self.cold_bandwidth).map_err(|error| {
            Usage(format!("--cold-latency P50,P99 or --cold-bandwidth ONE,ALL: {}: {}", error.what, error.why)).into()
        })
    }
}

/// What was measured against, in the report.
#[derive(Debug, Serialize)]
pub(super) struct Described {
    latency_ms: [f64; 2],
    bandwidth_mb_s: [f64; 2],
    plan: SegmentPlan,
}

impl From<&Far> for Described {
    fn from(args: &Far) -> Self {
        Self { latency_ms: args.cold_latency, bandwidth_mb_s: args.cold_bandwidth, plan: args.cold_plan }
    }
}

/// What a searcher has when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nothing: not even the collection.
    Empty,
    /// What it kept of one other query: the collection, the head, some codes.
    Heads,
}

/// Figures of one state. Counts are medians per query, `_max` the most.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    state: State,
    recall_target: Option<f32>,
    recall: f64,
    p50_ms: f64,
    p99_ms: f64,
    waves: u64,
    waves_max: u64,
    gets: u64,
    gets_max: u64,
    store_bytes: u64,
    store_bytes_max: u64,
}

/// A collection of one segment in a directory that plays the store, and how it is asked.
pub(super) struct Bench<'a> {
    store: Store,
    name: CollectionName,
    delays: Delays,
    plan: SegmentPlan,
    scratch: &'a Path,
    pub(super) filter: Option<Filter>,
    pub(super) quantization: QuantizationSearch,
    threads: usize,
    repeat: u32,
    seed: u64,
}

/// One answer.
struct Answer {
    query: usize,
    time: Duration,
    ids: Vec<PointId>,
    usage: Counts,
}

impl<'a> Bench<'a> {
    /// Publishes a finished segment file in a store below `scratch`.
    pub(super) async fn over(
        args: &super::Args,
        schema: &CollectionSchema,
        (file, built): (&Path, &Built),
        scratch: &'a Path,
    ) -> anyhow::Result<Self> {
        let url = scratch.join("store");
        let store = Store::open(&url.to_string_lossy(), &StoreOptions::default()).await?;
        let name = CollectionName::parse("bench")?;
        cairn_indexer::publish_file(&store, (&name, schema), (file, built)).await?;
        Ok(Self {
            store,
            name,
            delays: args.cold.delays()?,
            plan: args.cold.cold_plan,
            scratch,
            filter: None,
            quantization: QuantizationSearch::default(),
            threads: args.threads as usize,
            repeat: args.repeat(),
            seed: args.seed,
        })
    }

    /// Every query of a searcher that has nothing; and of the same searcher the query after it.
    pub(super) async fn measure(
        &self,
        recall: Option<f32>,
        reference: &Reference<'_>,
        worst: &[Worst],
    ) -> anyhow::Result<[Run; 2]> {
        let queries = reference.queries.rows();
        let (mut first, mut next) = (Vec::new(), Vec::new());
        let numbers = (0..self.repeat as usize).flat_map(|_| 0..queries).enumerate();
        for (number, query) in numbers {
            let folder = tempfile::tempdir_in(self.scratch)?;
            let searcher = self.empty(folder.path(), self.seed.wrapping_add(number as u64))?;
            first.push(self.ask(&searcher, query, recall, reference).await?);
            next.push(self.ask(&searcher, (query + 1) % queries, recall, reference).await?);
        }
        Ok([
            summarised((State::Empty, recall), &first, reference, worst)?,
            summarised((State::Heads, recall), &next, reference, worst)?,
        ])
    }

    /// A searcher that has nothing, and a store whose delays come from `seed`.
    fn empty(&self, cache: &Path, seed: u64) -> anyhow::Result<Searcher> {
        let cache = Cache::open(CacheOptions { dir: Some(cache.to_owned()), bytes_max: CACHE_BYTES, populate: false })?;
        let settings = SearchSettings { no_hydration: true, threads: Some(self.threads), ..SearchSettings::default() };
        Ok(Searcher::from_store(self.store.far(self.delays, seed), Arc::new(cache), &settings)?)
    }

    async fn ask(
        &self,
        searcher: &Searcher,
        query: usize,
        recall: Option<f32>,
        reference: &Reference<'_>,
    ) -> anyhow::Result<Answer> {
        let vector = reference.queries.row(query).to_vec();
        let params =
            SearchParams { recall, quantization: self.quantization, plan: self.plan, ..SearchParams::default() };
        let request = Request {
            query: Query::Vector(vector.clone()),
            filter: self.filter.clone(),
            params,
            ..Request::nearest(vector, reference.k)
        };
        let start = Instant::now();
        let (points, usage) = searcher.query(&self.name.clone().into(), &request).await?;
        let time = start.elapsed();
        Ok(Answer { query, time, ids: points.iter().map(|point| point.record.id).collect(), usage })
    }
}

fn summarised(
    (state, recall_target): (State, Option<f32>),
    answers: &[Answer],
    reference: &Reference<'_>,
    worst: &[Worst],
) -> anyhow::Result<Run> {
    let mut found = Vec::with_capacity(answers.len());
    for answer in answers {
        let ordinals = answer.ids.iter().map(|&id| reference.ordinal(id)).collect::<anyhow::Result<Vec<u32>>>()?;
        found.push((answer.query, ordinals));
    }
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.time).collect();
    times.sort_unstable();
    let ms = |p| percentile(&times, p).as_secs_f64() * 1e3;
    let counts = |of: fn(&Counts) -> u64| {
        let mut counts: Vec<u64> = answers.iter().map(|answer| of(&answer.usage)).collect();
        counts.sort_unstable();
        (percentile(&counts, 50), percentile(&counts, 100))
    };
    let ((waves, waves_max), (gets, gets_max)) = (counts(|usage| usage.waves), counts(|usage| usage.gets));
    let (store_bytes, store_bytes_max) = counts(|usage| usage.store_bytes);
    Ok(Run {
        state,
        recall_target,
        recall: reference.recall(found.iter().map(|(query, ordinals)| (*query, ordinals.as_slice())), worst)?,
        p50_ms: ms(50),
        p99_ms: ms(99),
        waves,
        waves_max,
        gets,
        gets_max,
        store_bytes,
        store_bytes_max,
    })
}

pub(super) fn print_head(described: &Described) {
    let Described { latency_ms: [p50, p99], bandwidth_mb_s: [one, all], .. } = described;
    println!("store: first byte {p50} ms at the median, {p99} ms at p99; {one} MB/s over one connection, {all} in all");
    println!(
        "{:>6} {:>6} {:>8} {:>9} {:>9} {:>11} {:>11} {:>15}",
        "has", "recall", "found", "p50 ms", "p99 ms", "waves (max)", "GETs (max)", "MB (max)"
    );
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
pub(super) fn print_run(run: &Run) {
    let has = if run.state == State::Empty { "-" } else { "heads" };
    let target = run.recall_target.map_or_else(|| "-".to_owned(), |recall| format!("@{recall}"));
    let [mb, mb_max] = [run.store_bytes, run.store_bytes_max].map(|bytes| bytes as f64 / 1e6);
    println!(
        "{has:>6} {target:>6} {:>8.4} {:>9.0} {:>9.0} {:>11} {:>11} {:>15}",
        run.recall,
        run.p50_ms,
        run.p99_ms,
        format!("{} ({})", run.waves, run.waves_max),
        format!("{} ({})", run.gets, run.gets_max),
        format!("{mb:.2} ({mb_max:.2})")
    );
}
