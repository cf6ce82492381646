//! `cairn bench`: builds a segment from a file of vectors, maps it, and measures recall against speed.

mod cold;
mod corpus;
mod measure;
mod peak;
mod reference;
mod truth;

use std::path::PathBuf;

use anyhow::Context as _;
use bytesize::ByteSize;
use cairn_model::{Datatype, Distance, HnswConfig, Preset, QuantizationSearch, limits::OVERSAMPLING_MAX};
use serde::Serialize;

use self::{
    corpus::{Built, Expanded, Matrix},
    measure::{Bench, Run, Width},
    reference::Reference,
};

use crate::{failure::Usage, progress::Progress};

/// Measure recall against queries per second on your own vectors.
///
/// Builds one segment in a temporary file, maps it as a searcher would, and runs every query at every ef. With --tier cold the file lies in a store
/// with delays instead, and every query is asked of a searcher that has nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn bench --base base.npy.gz --queries queries.npy.gz --truth gt100.npy --distance euclid --ef 50,100,200
  cairn bench --base base.npy --queries queries.npy --payload docs.jsonl.zst \\
      --filter '{\"must\":[{\"key\":\"kev\",\"match\":{\"value\":true}}]}' --distance cosine --ef 100 --json
  cairn bench --base base.npy --queries queries.npy --distance cosine --recall-target 0.9,0.95,0.99 --originals none
  cairn bench --base base.npy --queries queries.npy --distance cosine --tier cold --cold-latency 15,60 --cold-bandwidth 80,78

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
    /// Search widths to measure [default: 50,100,200, unless --recall-target is given]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = clap::value_parser!(u32).range(1..))]
    ef: Vec<u32>,
    /// Recalls to ask for in place of widths, from 0.5 to 0.999
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = crate::args::recall)]
    recall_target: Vec<f32>,
    /// How the segment is held. Warm is the default because it was the faster one on all that was measured so far: the hot copy
    /// pays at best where codes are far larger than the processor's caches
    #[arg(long, value_enum, default_value_t = Tier::Warm)]
    tier: Tier,
    #[command(flatten)]
    cold: cold::Far,
    /// Whether the vectors themselves are kept beside their codes: keep or none
    #[arg(long, value_name = "keep|none", default_value = "keep", action = clap::ArgAction::Set,
          value_parser = cairn_indexer::parse_originals)]
    originals: bool,
    /// What the build spends its time on: recall, balanced or speed
    #[arg(long, value_name = "PRESET", default_value_t)]
    preset: Preset,
    /// Whether the originals settle the order of the best [default: yes, where they are kept]
    #[arg(long, value_name = "BOOL")]
    rescore: Option<bool>,
    /// Candidates per hit that the originals settle, 1 or more [default: the engine's own]
    #[arg(long, value_name = "FACTOR", value_parser = oversampling)]
    oversampling: Option<f32>,
    /// Queries that are handed over together and spread over the threads; times are then those of whole batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
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
    /// Use only the first N queries [default: all; 100 with --tier cold]
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
    /// Times that every ef is measured; the best run is reported, with all of them in "qps_runs" [default: 3; with --tier cold 1, further ones with
    /// other delays, all reported together]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a segment is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Tier {
    /// In a store with delays; every query meets a searcher that has nothing, and then another one that kept what it read
    Cold,
    /// Mapped from local disk
    Warm,
    /// Also expanded in memory, on huge pages
    Hot,
}

fn oversampling(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(factor) if (1.0..=OVERSAMPLING_MAX).contains(&factor) => Ok(factor),
        _ => Err(format!("expected a factor from 1 to {OVERSAMPLING_MAX}")),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    points: u64,
    dim: u32,
    distance: Distance,
    datatype: Datatype,
    originals: bool,
    preset: Preset,
    tier: Tier,
    kernel: &'static str,
    queries: usize,
    k: usize,
    threads: u32,
    batch: u32,
    build_s: f64,
    build_threads: u32,
    build_peak_bytes: Option<u64>,
    bytes: u64,
    bytes_per_vector: f64,
    bits_per_link: f64,
    /// What the copy in memory took, with `--tier hot`.
    hot_bytes_per_vector: Option<f64>,
    expand_s: Option<f64>,
    sections: serde_json::Map<String, serde_json::Value>,
    /// How far away the store is, with `--tier cold`.
    cold: Option<cold::Described>,
    runs: Vec<Row>,
}

/// Figures of one setting.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Near(Run),
    Cold(cold::Run),
}

impl Args {
    fn widths(&self) -> Vec<Width> {
        let by_default: &[u32] = if self.recall_target.is_empty() { &[50, 100, 200] } else { &[] };
        let ef = if self.ef.is_empty() { by_default } else { &self.ef };
        let recalls = self.recall_target.iter().copied().map(Width::Recall);
        ef.iter().copied().map(Width::Ef).chain(recalls).collect()
    }

    /// Refuses what the tier does not know.
    fn check(&self) -> anyhow::Result<()> {
        if self.tier != Tier::Cold {
            return Ok(());
        }
        let refused = |why: &str| Err(Usage(format!("--tier cold: {why}")).into());
        if !self.ef.is_empty() {
            return refused("--ef means nothing to a search that reads clusters; use --recall-target");
        }
        if self.batch != 1 {
            return refused("--batch: queries are asked one by one, each of a searcher of its own");
        }
        self.cold.delays().map(|_| ())
    }

    fn repeat(&self) -> u32 {
        self.repeat.unwrap_or(if self.tier == Tier::Cold { 1 } else { 3 })
    }

    fn queries_max(&self) -> usize {
        self.queries_max.unwrap_or(if self.tier == Tier::Cold { cold::QUERIES } else { usize::MAX })
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let filter = args.filter.as_deref().map(crate::args::filter).transpose()?;
    let queries = Matrix::read(&args.queries, args.queries_max())?;
    anyhow::ensure!(queries.rows() > 0, "{} holds no queries", args.queries.display());
    let folder = tempfile::tempdir()?;
    let progress = Progress::new(args.json);
    let built = corpus::build(args, &queries, folder.path(), &progress)?;
    progress.finish();
    let segment = &built.segment;
    let expanded = (args.tier == Tier::Hot).then(|| corpus::expand(segment, built.threads)).transpose()?;
    let k = args.k as usize;
    // Without originals in the segment, only the base file knows how far things are.
    let base = if args.originals { None } else { Some(Matrix::read(&args.base, usize::MAX)?) };
    let reference = Reference { segment, queries: &queries, base: base.as_ref(), k };
    let worst = match &args.truth {
        Some(path) => reference.by_file(&truth::read(path, args.truth_index)?)?,
        None => reference.by_exact_search(filter.as_ref())?,
    };
    let mut report = report(args, &built, expanded.as_ref(), queries.rows())?;
    if !args.json {
        print_head(&report);
    }
    let quantization = QuantizationSearch { ignore: false, rescore: args.rescore, oversampling: args.oversampling };
    if args.tier == Tier::Cold {
        let schema = corpus::schema(segment.params().context("a segment without a vector")?);
        let mut bench = cold::Bench::over(args, &schema, (&built.path, &built.written), folder.path()).await?;
        (bench.filter, bench.quantization) = (filter, quantization);
        let by_default = [None];
        let asked: Vec<Option<f32>> = args.recall_target.iter().copied().map(Some).collect();
        for &recall in if asked.is_empty() { &by_default } else { asked.as_slice() } {
            report.runs.extend(bench.measure(recall, &reference, &worst).await?.map(Row::Cold));
            print_last(args, &report.runs, 2);
        }
    } else {
        let bench = Bench {
            segment,
            hot: expanded.as_ref().map(|expanded| &expanded.hot),
            queries: &queries,
            filter,
            k,
            quantization,
            threads: args.threads as usize,
            batch: args.batch as usize,
            repeat: args.repeat(),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads as usize).build()?;
        for width in args.widths() {
            report.runs.push(Row::Near(bench.measure(width, &reference, &worst, &pool)?));
            print_last(args, &report.runs, 1);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// All that is known before the first query.
fn report(args: &Args, built: &Built, expanded: Option<&Expanded>, queries: usize) -> anyhow::Result<Report> {
    let segment = &built.segment;
    let described = segment.describe()?;
    let first = described.first.context("a segment without a vector")?;
    Ok(Report {
        points: u64::from(segment.len()),
        dim: first.params.size,
        distance: args.distance,
        datatype: first.params.datatype,
        originals: args.originals,
        preset: args.preset,
        tier: args.tier,
        kernel: cairn_engine::kernel::get().name,
        queries,
        k: args.k as usize,
        threads: args.threads,
        batch: args.batch,
        build_s: built.seconds,
        build_threads: built.threads,
        build_peak_bytes: built.peak_bytes,
        bytes: described.bytes,
        bytes_per_vector: described.bytes_per_vector,
        bits_per_link: first.bits_per_link,
        hot_bytes_per_vector: expanded.map(Expanded::bytes_per_vector),
        expand_s: expanded.map(|expanded| expanded.seconds),
        sections: described.sections.iter().map(|section| (section.name.to_owned(), section.bytes.into())).collect(),
        cold: (args.tier == Tier::Cold).then(|| (&args.cold).into()),
        runs: Vec::new(),
    })
}

/// Shows the newest rows.
fn print_last(args: &Args, rows: &[Row], count: usize) {
    for row in rows.iter().skip(rows.len().saturating_sub(count)).filter(|_| !args.json) {
        match row {
            Row::Near(run) => print_run(run),
            Row::Cold(run) => cold::print_run(run),
        }
    }
}

fn print_head(report: &Report) {
    let peak = report.build_peak_bytes.map_or_else(|| "unknown".to_owned(), |bytes| ByteSize(bytes).to_string());
    println!(
        "{} points x {} ({:?}, {:?}, {} kernel, {:?}): built in {:.1} s on {} threads with at most {peak}, \
         {:.0} bytes per vector, {:.1} bits per link",
        report.points,
        report.dim,
        report.distance,
        report.datatype,
        report.kernel,
        report.tier,
        report.build_s,
        report.build_threads,
        report.bytes_per_vector,
        report.bits_per_link,
    );
    if let (Some(bytes), Some(seconds)) = (report.hot_bytes_per_vector, report.expand_s) {
        println!("expanded in {seconds:.1} s to {bytes:.0} bytes per vector in memory");
    }
    if let Some(cold) = &report.cold {
        return cold::print_head(cold);
    }
    println!(
        "{:>6} {:>8} {:>10} {:>9} {:>9} {:>9} {:>10}  plan",
        "ef", "recall", "qps", "p50 us", "p90 us", "p99 us", "distances"
    );
}

fn print_run(run: &Run) {
    let width = match (run.ef, run.recall_target) {
        (Some(ef), _) => ef.to_string(),
        (None, Some(recall)) => format!("@{recall}"),
        (None, None) => String::new(),
    };
    println!(
        "{width:>6} {:>8.4} {:>10.0} {:>9.1} {:>9.1} {:>9.1} {:>10.0}  {}",
        run.recall, run.qps, run.p50_us, run.p90_us, run.p99_us, run.distances, run.strategy
    );
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(more: &[&str]) -> Result<Args, String> {
        let all = ["x", "--base", "b", "--queries", "q", "--distance", "dot"].iter().chain(more);
        Command::try_parse_from(all).map(|command| command.args).map_err(|error| error.to_string())
    }

    #[test]
    fn widths_are_those_asked_for() {
        let widths = |more: &[&str]| parse(more).unwrap().widths();
        assert_eq!(widths(&[]), [50, 100, 200].map(Width::Ef));
        assert_eq!(widths(&["--ef", "7"]), [Width::Ef(7)]);
        assert_eq!(widths(&["--recall-target", "0.9,0.99"]), [0.9, 0.99].map(Width::Recall));
        assert_eq!(widths(&["--recall-target", "0.9", "--ef", "7"]), [Width::Ef(7), Width::Recall(0.9)]);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_by_name() {
        for bad in [
            ["--recall-target", "1"],
            ["--oversampling", "0.5"],
            ["--originals", "some"],
            ["--preset", "fast"],
            ["--tier", "lukewarm"],
            ["--rescore", "maybe"],
            ["--batch", "0"],
        ] {
            assert!(parse(&bad).unwrap_err().contains(bad[0]), "{bad:?}");
        }
        for (bad, culprit) in [
            (["--ef", "10"], "--recall-target"),
            (["--batch", "2"], "--batch"),
            (["--cold-latency", "30,20"], "--cold-latency"),
            (["--cold-bandwidth", "0,600"], "--cold-bandwidth"),
        ] {
            let error = parse(&[&["--tier", "cold"], &bad[..]].concat()).unwrap().check().unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(culprit), "{error}");
        }
        for bad in [
            ["--cold-latency", "30"],
            ["--cold-latency", "a,b"],
            ["--cold-bandwidth", "80;600"],
            ["--cold-plan", "some"],
        ] {
            assert!(parse(&[&["--tier", "cold"], &bad[..]].concat()).unwrap_err().contains(bad[0]), "{bad:?}");
        }
    }

    #[test]
    fn a_tier_has_its_own_defaults() {
        let warm = parse(&[]).unwrap();
        assert_eq!((warm.tier, warm.repeat(), warm.queries_max()), (Tier::Warm, 3, usize::MAX));
        let cold = parse(&["--tier", "cold"]).unwrap();
        assert_eq!((cold.tier, cold.repeat(), cold.queries_max()), (Tier::Cold, 1, cold::QUERIES));
        assert!(cold.check().is_ok());
        let cold = parse(&["--tier", "cold", "--repeat", "2", "--queries-max", "7"]).unwrap();
        assert_eq!((cold.repeat(), cold.queries_max()), (2, 7));
    }
}
