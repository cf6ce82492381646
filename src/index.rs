//! `cairn index`: from a file of vectors to a published collection.

use std::sync::Arc;

use anyhow::Result;
use bytesize::ByteSize;
use cairn_indexer::{IndexJob, IndexOptions, Report};
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
  cairn index --store ./data --collection docs --input docs.jsonl --replace"
)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// The collection: created, filled if it is empty, or replaced with --replace
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// File of vectors
    #[arg(long, value_name = "FILE")]
    input: String,
    /// cosine, dot, euclid or manhattan; needed for a new collection
    #[arg(long)]
    distance: Option<Distance>,
    #[command(flatten)]
    options: IndexOptions,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let signals = Signals::listen();
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let job = IndexJob {
        collection: args.collection,
        input: args.input,
        distance: args.distance,
        options: args.options,
        store_options: args.store.options(),
    };
    let progress = Arc::new(Progress::new(false));
    let shown = Arc::clone(&progress) as Arc<dyn cairn_indexer::Progress>;
    let report = cairn_indexer::index(job, &store, shown, signals.token.clone()).await;
    progress.finish();
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report, store.url());
    }
    Ok(())
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
