//! `cairn index`: from a file of vectors to a published collection.

use std::{str::FromStr, sync::Arc};

use anyhow::{Result, bail};
use bytesize::ByteSize;
use cairn_indexer::{IndexJob, IndexOptions, Part, Report, ShardReport};
use cairn_model::{CollectionName, Distance};
use cairn_searcher::StoreSettings;
use cairn_storage::Store;

use crate::progress::{Progress, Signals};

/// Load a file of vectors into a collection.
///
/// Reads the file once, builds segments within a memory bound, uploads them, and publishes them with one atomic step: until then,
/// and if anything fails, readers see what was there before.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Inputs: .npy (float32, float16, uint8; also .gz, .zst), .fvecs, .bvecs, .jsonl (also .gz, .zst), .parquet;
a local path or a URL such as s3://bucket/points.parquet.
A JSONL line is {\"id\": 7, \"vector\": [...], \"payload\": {...}}; without \"payload\" all other keys are the payload.
A Parquet file has the columns vector, perhaps id, and payload columns.

Examples:
  cairn index --store ./data --collection digits --input base.npy.gz --distance euclid
  cairn index --store s3://bucket/cairn --collection docs --input docs.npy --ids ids.npy \\
      --payload docs.jsonl.zst --distance cosine --shards 4
  cairn index --store ./data --collection docs --input docs.jsonl --replace

On many machines, a shard on each, all of which read the same source:
  G=$(cairn index --store s3://bucket/cairn --collection docs --input s3://bucket/points/ --shards 8 --begin)
  cairn index --store s3://bucket/cairn --collection docs --input s3://bucket/points/ --distance cosine \\
      --generation $G --only-shard 0/8                     and so on to 7/8, in any order
  cairn index --store s3://bucket/cairn --collection docs --publish $G"
)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// The collection: created, filled if it is empty, or replaced with --replace
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// File of vectors, or a folder of files that bring their own ids and payloads
    #[arg(long, value_name = "FILE", required_unless_present = "publish")]
    input: Option<String>,
    /// cosine, dot, euclid or manhattan; needed for a new collection
    #[arg(long)]
    distance: Option<Distance>,
    #[command(flatten)]
    options: IndexOptions,
    #[command(flatten)]
    part: Parts,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// One job on many machines.
#[derive(clap::Args, Debug)]
#[group(multiple = true)]
struct Parts {
    /// Name a new generation for --only-shard, and do no more
    #[arg(long, conflicts_with_all = ["generation", "only_shard", "publish"])]
    begin: bool,
    /// Build only one of N shards, which count from 0, of a generation whose other shards are built elsewhere. It can be repeated;
    /// what is built already is not built again
    #[arg(long, value_name = "I/N", requires = "generation")]
    only_shard: Option<OnlyShard>,
    /// Which generation that is: a ULID, the same for all its shards
    #[arg(long, value_name = "ULID", requires = "only_shard")]
    generation: Option<String>,
    /// Publish a generation whose shards are all built
    #[arg(long, value_name = "ULID", conflicts_with_all = ["input", "only_shard"])]
    publish: Option<String>,
}

/// `3/8`: shard 3 of the shards 0 to 7.
#[derive(Clone, Copy, Debug)]
struct OnlyShard {
    shard: u32,
    shards: u32,
}

impl FromStr for OnlyShard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("'{text}': expected I/N, such as 0/8 to 7/8");
        let (shard, shards) = text.split_once('/').ok_or_else(expected)?;
        let parsed =
            Self { shard: shard.parse().map_err(|_| expected())?, shards: shards.parse().map_err(|_| expected())? };
        if parsed.shard < parsed.shards { Ok(parsed) } else { Err(expected()) }
    }
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let signals = Signals::listen();
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    if let Some(generation) = &args.part.publish {
        let report = cairn_indexer::publish(&args.collection, generation, &store).await?;
        return show(&report, args.json, || print(&report, store.url()));
    }
    let mut job = IndexJob {
        collection: args.collection,
        input: args.input.unwrap_or_default(),
        distance: args.distance,
        options: args.options,
        store_options: args.store.options(),
    };
    if args.part.begin {
        let begun = cairn_indexer::begin(&job, &store).await?;
        return show(&begun, args.json, || println!("{}", begun.generation));
    }
    let progress = Arc::new(Progress::new(false));
    let shown = Arc::clone(&progress) as Arc<dyn cairn_indexer::Progress>;
    let (Some(only), Some(generation)) = (args.part.only_shard, args.part.generation) else {
        let report = cairn_indexer::index(job, &store, shown, signals.token.clone()).await;
        progress.finish();
        let report = report?;
        return show(&report, args.json, || print(&report, store.url()));
    };
    if job.options.shards.is_some_and(|shards| shards != only.shards) {
        bail!("--shards and --only-shard disagree on the number of shards");
    }
    job.options.shards = Some(only.shards);
    let part = Part { generation, shard: only.shard };
    let report = cairn_indexer::index_shard(job, &part, &store, shown, signals.token.clone()).await;
    progress.finish();
    let report = report?;
    show(&report, args.json, || print_shard(&report, only.shards))
}

fn show(report: &impl serde::Serialize, json: bool, print: impl FnOnce()) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print();
    }
    Ok(())
}

fn print_shard(report: &ShardReport, shards: u32) {
    let ShardReport { shard, collection, points, rows, generation, .. } = report;
    let done = if report.built { "Built" } else { "Found built:" };
    println!("{done} shard {shard} of {shards} of {collection}: {points} of {rows} points, generation {generation}");
}

pub(crate) fn print(report: &Report, url: &str) {
    let (points, segments) = (report.points, report.segments);
    let many = if segments == 1 { "" } else { "s" };
    println!(
        "{} {}: {points} points in {segments} segment{many}, {}, in {url} (read {:.1} s, built {:.1} s)",
        if report.replaced { "Replaced" } else { "Indexed" },
        report.collection,
        ByteSize(report.bytes),
        report.read_s,
        report.build_s,
    );
}
