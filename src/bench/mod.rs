//! `cairn bench`: builds a segment from a file of vectors, maps it, and measures recall against speed.

mod truth;

use std::{
    fs::File,
    io::BufWriter,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_engine::{
    hot::Hot,
    segment::{Builder, Found, Hit, Segment},
};
use cairn_indexer::source::{self, Batch, Files};
use cairn_model::{Datatype, Distance, Filter, HnswConfig, Payload, PointId, SearchParams, VectorParams, VectorQuery};
use cairn_storage::cache::HugePages;
use rayon::prelude::*;
use serde::Serialize;

use crate::progress::Progress;

/// Measure recall against queries per second on your own vectors.
///
/// Builds one segment in a temporary file, maps it as a searcher would, and runs every query at every ef.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn bench --base base.npy.gz --queries queries.npy.gz --truth gt100.npy --distance euclid --ef 50,100,200
  cairn bench --base base.npy --queries queries.npy --payload docs.jsonl.zst \\
      --filter '{\"must\":[{\"key\":\"kev\",\"match\":{\"value\":true}}]}' --distance cosine --ef 100 --json

A hit counts when it is at least as near as the true k-th neighbour, so that duplicates in the data do not look like misses.
Without --truth the true neighbours are computed by exact search.")]
pub(crate) struct Args {
    /// Vectors to index: .npy, .fvecs, .bvecs, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// Query vectors, in any of these formats
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// Row numbers of the true neighbours: .npy of [queries, >= k] integers, or of [filters, queries, >= k] with --truth-index
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Which plane of a three-dimensional truth file
    #[arg(long, value_name = "N", default_value_t = 0)]
    truth_index: usize,
    /// cosine, dot, euclid or manhattan
    #[arg(long)]
    distance: Distance,
    /// Number format of the stored vectors [default: that of the base file]
    #[arg(long, value_parser = crate::args::datatype)]
    datatype: Option<Datatype>,
    /// Search widths to measure
    #[arg(long, value_delimiter = ',', default_value = "50,100,200", value_parser = clap::value_parser!(u32).range(1..))]
    ef: Vec<u32>,
    /// Neighbours per query
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Threads that search
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: u32,
    /// Threads that build [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    build_threads: Option<u32>,
    /// Payloads of the base vectors, one JSON object per line, for --filter
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// A filter for every query, in Qdrant's JSON
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Use only the first N queries
    #[arg(long, value_name = "N")]
    queries_max: Option<usize>,
    /// HNSW's m
    #[arg(long, default_value_t = HnswConfig::default().m)]
    m: u32,
    /// HNSW's build width
    #[arg(long, default_value_t = HnswConfig::default().ef_construct)]
    ef_construct: u32,
    /// Kilobytes of vectors below which a search scans instead of walking the graph
    #[arg(long, default_value_t = HnswConfig::default().full_scan_threshold)]
    full_scan_threshold: u32,
    /// Seed of everything random in the build
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Times that every ef is measured; the best run is reported, with all of them in "qps_runs"
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Where searches find the graph: the mapped file, or expanded in memory
    #[arg(long, value_enum, default_value_t = Tier::Warm)]
    tier: Tier,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Warm,
    Hot,
}

#[derive(Debug, Serialize)]
struct Report {
    points: u64,
    dim: u32,
    distance: Distance,
    datatype: Datatype,
    kernel: &'static str,
    queries: usize,
    k: usize,
    threads: u32,
    build_s: f64,
    build_threads: u32,
    bytes: u64,
    bytes_per_vector: f64,
    bits_per_link: f64,
    sections: serde_json::Map<String, serde_json::Value>,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
struct Run {
    ef: u32,
    recall: f64,
    qps: f64,
    p50_us: f64,
    p99_us: f64,
    /// Mean per query.
    distances: f64,
    strategy: &'static str,
    qps_runs: Vec<f64>,
}

/// All vectors of one file.
struct Matrix {
    dim: usize,
    datatype: Datatype,
    values: Vec<f32>,
    payloads: Vec<String>,
}

impl Matrix {
    fn read(input: &std::path::Path, payload: Option<&std::path::Path>, rows_max: usize) -> anyhow::Result<Self> {
        let mut source = source::open(&Files { input, ids: None, payload })?;
        let layout = source.layout();
        let mut matrix =
            Self { dim: layout.dim, datatype: layout.element.datatype(), values: Vec::new(), payloads: Vec::new() };
        let mut batch = Batch::default();
        while matrix.rows() < rows_max && source.next(&mut batch)? {
            matrix.values.extend_from_slice(&batch.vectors);
            matrix.payloads.append(&mut batch.payloads);
        }
        matrix.values.truncate(rows_max.saturating_mul(matrix.dim));
        Ok(matrix)
    }

    fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let filter = args.filter.as_deref().map(serde_json::from_str::<Filter>).transpose()?;
    let queries = Matrix::read(&args.queries, None, args.queries_max.unwrap_or(usize::MAX))?;
    anyhow::ensure!(queries.rows() > 0, "{} holds no queries", args.queries.display());
    let folder = tempfile::tempdir()?;
    let progress = Progress::new(args.json);
    let (segment, build_s, build_threads) = build(args, &queries, folder.path(), &progress)?;
    progress.finish();
    let described = segment.describe()?;
    let hot = if args.tier == Tier::Hot { expand(args, &segment)? } else { None };
    let bench = Bench { segment: &segment, hot, queries: &queries, filter, k: args.k as usize };
    let worst = match &args.truth {
        Some(path) => {
            let truth = truth::read(path, args.truth_index)?;
            bench.worst_of(&truth, queries.rows())?
        }
        None => bench.worst_by_exact_search()?,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads as usize).build()?;
    let mut runs = Vec::new();
    for &ef in &args.ef {
        runs.push(bench.measure(ef, &worst, &pool, args)?);
    }
    let report = Report {
        points: u64::from(segment.len()),
        dim: segment.params().size,
        distance: args.distance,
        datatype: segment.params().datatype,
        kernel: cairn_engine::kernel::get().name,
        queries: queries.rows(),
        k: bench.k,
        threads: args.threads,
        build_s,
        build_threads,
        bytes: described.bytes,
        bytes_per_vector: described.bytes_per_vector,
        bits_per_link: described.bits_per_link,
        sections: described.sections.iter().map(|section| (section.name.to_owned(), section.bytes.into())).collect(),
        runs,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// The segment's graph in memory, and on standard error what that took.
fn expand(args: &Args, segment: &Segment) -> anyhow::Result<Option<Hot>> {
    let pool = cairn_indexer::build_pool(args.build_threads.unwrap_or(1) as usize)?;
    let start = Instant::now();
    let memory = |bytes| Some(Box::new(HugePages::new(bytes).ok()?) as Box<dyn cairn_engine::hot::Memory>);
    let hot = segment.expand(memory, &pool, &cairn_engine::Unwatched)?;
    if let Some(hot) = &hot {
        let per_node = ratio(hot.bytes(), f64::from(hot.len()));
        eprintln!("expanded in {:.2} s, {per_node:.0} bytes per vector", start.elapsed().as_secs_f64());
    }
    Ok(hot)
}

fn print(report: &Report) {
    println!(
        "{} points x {} ({:?}, {:?}, {} kernel): built in {:.1} s on {} threads, {:.0} bytes per vector, {:.1} bits per link",
        report.points,
        report.dim,
        report.distance,
        report.datatype,
        report.kernel,
        report.build_s,
        report.build_threads,
        report.bytes_per_vector,
        report.bits_per_link,
    );
    println!("{:>6} {:>8} {:>10} {:>9} {:>9} {:>10}  plan", "ef", "recall", "qps", "p50 us", "p99 us", "distances");
    for run in &report.runs {
        println!(
            "{:>6} {:>8.4} {:>10.0} {:>9.1} {:>9.1} {:>10.0}  {}",
            run.ef, run.recall, run.qps, run.p50_us, run.p99_us, run.distances, run.strategy
        );
    }
}

fn build(
    args: &Args,
    queries: &Matrix,
    folder: &std::path::Path,
    progress: &Progress,
) -> anyhow::Result<(Segment, f64, u32)> {
    let base = Matrix::read(&args.base, args.payload.as_deref(), usize::MAX)?;
    anyhow::ensure!(
        base.dim == queries.dim,
        "{} has {} dimensions, {} has {}",
        args.base.display(),
        base.dim,
        args.queries.display(),
        queries.dim
    );
    let params = VectorParams {
        size: u32::try_from(base.dim)?,
        distance: args.distance,
        datatype: args.datatype.unwrap_or(base.datatype),
        hnsw: HnswConfig { m: args.m, ef_construct: args.ef_construct, full_scan_threshold: args.full_scan_threshold },
    };
    cairn_model::CollectionSchema::single("", params, 1).validate()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let build_threads = args.build_threads.map_or(cores, |threads| threads as usize);
    let pool = cairn_indexer::build_pool(build_threads)?;
    let start = Instant::now();
    let mut builder = Builder::new("", params, args.seed);
    for row in 0..base.rows() {
        let payload: Option<Payload> = match base.payloads.get(row).map(String::as_str) {
            None | Some("") => None,
            Some(json) => Some(serde_json::from_str(json)?),
        };
        builder.push(PointId::Num(row as u64), base.row(row), payload.as_ref())?;
    }
    drop(base);
    let path = folder.join("bench.seg");
    let mut out = BufWriter::new(File::create(&path)?);
    builder.write(&pool, progress, &mut out)?;
    drop(out);
    let build_s = start.elapsed().as_secs_f64();
    let mapped = cairn_storage::cache::MappedFile::open(&path, true)?;
    Ok((Segment::open(Arc::new(mapped))?, build_s, u32::try_from(build_threads)?))
}

struct Bench<'a> {
    segment: &'a Segment,
    hot: Option<Hot>,
    queries: &'a Matrix,
    filter: Option<Filter>,
    k: usize,
}

impl Bench<'_> {
    fn search(&self, query: &VectorQuery) -> anyhow::Result<Found> {
        Ok(match &self.hot {
            Some(hot) => self.segment.search_hot(hot, query, &cairn_engine::Unwatched)?,
            None => self.segment.search(query, &cairn_engine::Unwatched)?,
        })
    }

    fn query(&self, row: usize, ef: Option<u32>, exact: bool) -> VectorQuery {
        VectorQuery {
            vector: self.queries.row(row).to_vec(),
            filter: self.filter.clone(),
            k: self.k,
            params: SearchParams { ef, exact },
            score_threshold: None,
        }
    }

    /// Per query, how many neighbours there are to find and how far the last of them is.
    fn worst_by_exact_search(&self) -> anyhow::Result<Vec<(usize, f32)>> {
        (0..self.queries.rows())
            .into_par_iter()
            .map(|row| {
                let found = self.segment.search(&self.query(row, None, true), &cairn_engine::Unwatched)?;
                Ok((found.hits.len(), found.hits.last().map_or(f32::INFINITY, |hit| hit.distance)))
            })
            .collect()
    }

    /// The same from a file of row numbers: distances are computed here, from the stored vectors, so that rounding in
    /// the file's own distances does not matter.
    fn worst_of(&self, truth: &truth::Truth, rows: usize) -> anyhow::Result<Vec<(usize, f32)>> {
        anyhow::ensure!(truth.rows() >= rows, "the truth file has {} rows for {rows} queries", truth.rows());
        anyhow::ensure!(
            truth.columns() >= self.k,
            "the truth file has {} neighbours, k is {}",
            truth.columns(),
            self.k
        );
        let worst = |row: usize| {
            let ids = truth.row(row).iter().take(self.k).filter_map(|&id| u64::try_from(id).ok());
            let mut distances = Vec::new();
            for id in ids {
                let Some(ordinal) = self.segment.ordinal(PointId::Num(id))? else {
                    anyhow::bail!("the truth file names row {id}, the base file has {} rows", self.segment.len());
                };
                distances.push(self.segment.distance(self.queries.row(row), ordinal)?);
            }
            Ok((distances.len(), distances.into_iter().fold(f32::NEG_INFINITY, f32::max)))
        };
        (0..rows).into_par_iter().map(worst).collect()
    }

    fn measure(&self, ef: u32, worst: &[(usize, f32)], pool: &rayon::ThreadPool, args: &Args) -> anyhow::Result<Run> {
        let queries: Vec<VectorQuery> = (0..self.queries.rows()).map(|row| self.query(row, Some(ef), false)).collect();
        let mut best: Option<Run> = None;
        let mut qps_runs = Vec::new();
        for _ in 0..args.repeat {
            for query in queries.iter().take(50) {
                self.search(query)?;
            }
            let start = Instant::now();
            let share = queries.len().div_ceil(args.threads as usize);
            let answers: Vec<Vec<Answer>> = pool.install(|| {
                queries.par_chunks(share).map(|queries| self.answer(queries)).collect::<anyhow::Result<_>>()
            })?;
            let qps = ratio(queries.len(), start.elapsed().as_secs_f64());
            let answers: Vec<Answer> = answers.into_iter().flatten().collect();
            qps_runs.push(qps);
            if best.as_ref().is_none_or(|best| qps > best.qps) {
                best = Some(summarise(ef, qps, &answers, worst));
            }
        }
        let mut run = best.ok_or_else(|| anyhow::anyhow!("nothing was measured"))?;
        run.qps_runs = qps_runs;
        Ok(run)
    }

    fn answer(&self, queries: &[VectorQuery]) -> anyhow::Result<Vec<Answer>> {
        let one = |query: &VectorQuery| {
            let start = Instant::now();
            let found = self.search(query)?;
            Ok(Answer {
                time: start.elapsed(),
                hits: found.hits,
                scored: found.usage.vectors_scored,
                strategy: found.strategy.name(),
            })
        };
        queries.iter().map(one).collect()
    }
}

struct Answer {
    time: Duration,
    hits: Vec<Hit>,
    scored: u64,
    strategy: &'static str,
}

fn summarise(ef: u32, qps: f64, answers: &[Answer], worst: &[(usize, f32)]) -> Run {
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.time).collect();
    times.sort_unstable();
    let percentile = |p: usize| times[(times.len() - 1) * p / 100].as_secs_f64() * 1e6;
    let (mut found, mut wanted) = (0, 0);
    for (answer, &(count, distance)) in answers.iter().zip(worst) {
        // Room for rounding: the same vectors scored in another order of additions.
        let bound = distance + 1e-6 * distance.abs().max(1.0);
        found += answer.hits.iter().filter(|hit| hit.distance <= bound).count().min(count);
        wanted += count;
    }
    let scored: u64 = answers.iter().map(|answer| answer.scored).sum();
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let distances = scored as f64 / answers.len() as f64;
    Run {
        ef,
        recall: if wanted == 0 { 1.0 } else { ratio(found, ratio(wanted, 1.0)) },
        qps,
        p50_us: percentile(50),
        p99_us: percentile(99),
        distances,
        strategy: answers.last().map_or("", |answer| answer.strategy),
        qps_runs: Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of queries and hits")]
fn ratio(count: usize, over: f64) -> f64 {
    count as f64 / over
}
