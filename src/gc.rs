//! `cairn gc`: deletes what nothing names.

use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use cairn_model::CollectionName;
use cairn_searcher::StoreSettings;
use cairn_storage::{
    Catalog, Store,
    catalog::collect::{Fate, Options, Report, Tally},
    store::Found,
};
use indicatif::ProgressBar;

/// Delete what no collection, history, snapshot or clone names, and has not for a while.
///
/// What a run finds it writes down in the store; what an earlier run has written down at least --grace before, it deletes. So the first run deletes
/// next to nothing, and it is meant to run by the clock: every hour is right where collections take writes, as logs are collected after a quarter of
/// an hour whatever --grace is. It may be interrupted at any time, and run while everything else goes on. Uploads in parts that were never
/// finished are no objects: let the bucket abort them by a lifecycle rule, as the one in infra/ does.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn gc --store ./data --dry-run
  cairn gc --store s3://bucket/cairn
  cairn gc --store s3://bucket/cairn --grace 3days docs")]
pub(crate) struct Args {
    /// Only in these collections [default: all, and deleted ones]
    #[arg(value_name = "COLLECTION")]
    collections: Vec<CollectionName>,
    #[command(flatten)]
    store: StoreSettings,
    /// How long something must have been garbage: longer than any query, fold or clone takes and any builder pauses, at least 15min
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cairn_indexer::parse_grace)]
    grace: Duration,
    /// Show what would be deleted, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let Args { collections, dry_run, json, .. } = args;
    let grace_ms = u64::try_from(args.grace.as_millis()).unwrap_or(u64::MAX);
    let options = Options { collections, grace_ms, dry_run };
    // Drawn on a terminal only.
    let bar = ProgressBar::new_spinner();
    let watch = |found: &Found, fate: Fate| {
        if fate == Fate::Deleted {
            bar.inc(1);
            bar.set_message(format!("{} objects deleted", bar.position()));
            if dry_run && !json {
                bar.suspend(|| println!("{:>12}  {}", ByteSize(found.bytes).to_string(), found.key.as_str()));
            }
        }
    };
    let report = Catalog::new(store).collect(&options, watch).await;
    bar.finish_and_clear();
    let report = report?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report, dry_run, args.grace);
    }
    Ok(())
}

fn print(report: &Report, dry_run: bool, grace: Duration) {
    let shown = |tally: Tally| format!("{} objects, {}", tally.objects, ByteSize(tally.bytes));
    let deleted = if dry_run { "To be deleted" } else { "Deleted" };
    println!("{deleted}: {}", shown(report.deleted));
    let hours = grace.as_secs_f64() / 3_600.0;
    for (tally, meaning) in [
        (report.waiting, format!("garbage, found less than {hours} h ago (logs: 15 min)")),
        (report.young, format!("nothing names their generation; it was written to in the last {hours} h")),
        (report.named, "in use".to_owned()),
        (report.foreign, "none of Cairn's".to_owned()),
    ] {
        println!("  stay: {} ({meaning})", shown(tally));
    }
    for error in &report.skipped {
        println!("  left alone: {error}");
    }
}
