//! `cairn reindex`: a collection built anew from its source, published if it is good enough.

use std::sync::Arc;

use anyhow::Result;
use cairn_indexer::{Figures, ReindexJob, ReindexOptions};
use cairn_model::CollectionName;
use cairn_searcher::StoreSettings;
use cairn_storage::Store;

use crate::progress::{Progress, Signals};

/// Build a collection anew from its source, and publish it only if it is good enough.
///
/// The new generation has the collection's schema. It must pass a gate: enough points, against those that are served, and enough
/// recall@10, measured on points of the source that are held out of their own answers, at the settings that a query has which asks
/// for nothing. Then it is published by one compare-and-swap, and the generation before stays: `cairn rollback` goes back to it. A
/// generation that does not pass is removed, the figures are said, and the exit code is 3.
#[derive(clap::Args, Debug)]
#[command(after_help = "Inputs are those of `cairn index`. The job can be killed anywhere and run again.

Examples:
  cairn reindex --store s3://bucket/cairn --collection docs --input s3://bucket/export/docs.parquet
  cairn reindex --store ./data --collection docs --input docs.jsonl --min-points-ratio 0.99 --min-recall 0.95
  cairn reindex --store ./data --collection docs --input docs.jsonl --json    # the report, figures included")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// The collection, which exists
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// File of vectors
    #[arg(long, value_name = "FILE")]
    input: String,
    #[command(flatten)]
    options: ReindexOptions,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let signals = Signals::listen();
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let job = ReindexJob {
        collection: args.collection,
        input: args.input,
        options: args.options,
        store_options: args.store.options(),
    };
    let progress = Arc::new(Progress::new(false));
    let shown = Arc::clone(&progress) as Arc<dyn cairn_indexer::Progress>;
    let done = cairn_indexer::reindex(job, &store, shown, signals.token.clone()).await;
    progress.finish();
    let done = done?;
    if args.json {
        println!("{}", serde_json::to_string(&done)?);
        return Ok(());
    }
    crate::index::print(&done.report, store.url());
    if let Some(figures) = &done.gate {
        print(figures);
    }
    Ok(())
}

fn print(figures: &Figures) {
    if let Some(recall) = figures.recall {
        println!("  recall@10 {recall:.4} on {} sampled points (at least {})", figures.samples, figures.recall_min);
    }
    if let Some(ratio) = figures.points_ratio {
        println!("  {ratio:.3} points for every one before (at least {})", figures.points_ratio_min);
    }
    if let Some(before) = &figures.generation_before {
        println!("  back to what was served before: cairn rollback --to {before}");
    }
}
