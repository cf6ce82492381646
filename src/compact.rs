//! `cairn compact`: what was written moves into segments, and small segments become larger ones.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use cairn_indexer::{CompactJob, CompactOptions, CompactReport};
use cairn_model::{CollectionName, Partition};
use cairn_searcher::StoreSettings;
use cairn_storage::{Catalog, Store};

use crate::progress::{Progress, Signals};

/// Move what was written into segments, and merge small segments into larger ones.
///
/// Writes go to a log, one per shard, which every search reads to its end. Compacting folds a log that has grown (by bytes, objects, points or age)
/// into a new segment, marks what it replaces as dead in the old ones, merges four segments of about one size into one, and writes anew what is
/// more than a fifth dead. All of it is published by one compare-and-swap: searches see all or nothing, and go on meanwhile, as do writes. It may be
/// killed anywhere and run anywhere, also twice at once.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn compact --store ./data docs                       fold what has grown or waited long enough
  cairn compact --store ./data docs --force               fold everything
  cairn compact --store s3://bucket/cairn --all --watch 30
                                                          look at all collections every 30 seconds, until Ctrl-C
  cairn compact --store ./data --all --json               a report per collection, as JSON")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// The collections
    #[arg(value_name = "COLLECTION", required_unless_present = "all", conflicts_with = "all")]
    collections: Vec<CollectionName>,
    /// All collections that take writes
    #[arg(long)]
    all: bool,
    /// Do it again and again, with so many seconds in between
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    #[command(flatten)]
    options: CompactOptions,
    /// Print each report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let signals = Signals::listen();
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let Some(seconds) = args.watch else { return round(&args, &store, &signals).await };
    while !signals.token.is_cancelled() {
        // A store that is away for a while is no reason to end.
        if let Err(error) = round(&args, &store, &signals).await
            && !signals.token.is_cancelled()
        {
            tracing::error!(%error, "compacting failed: trying again in {seconds} s");
        }
        signals.token.run_until_cancelled(tokio::time::sleep(Duration::from_secs(seconds))).await;
    }
    Ok(())
}

/// All collections once; each is tried, and the first error is said.
async fn round(args: &Args, store: &Store, signals: &Signals) -> Result<()> {
    let names = if args.all { writable(store).await? } else { args.collections.clone() };
    let (mut first, mut failed) = (None, 0);
    for collection in &names {
        match one(args, store, collection, signals).await {
            Ok(()) => {}
            Err(error) if signals.token.is_cancelled() => return Err(error),
            Err(error) => {
                failed += 1;
                if first.is_some() {
                    eprintln!("{collection}: {error:#}");
                }
                first.get_or_insert(error.context(format!("collection {collection}")));
            }
        }
    }
    match first {
        None => Ok(()),
        Some(error) if failed == 1 => Err(error),
        Some(error) => bail!("{failed} of {} collections failed, the first: {error:#}", names.len()),
    }
}

/// The collections that may have writes.
async fn writable(store: &Store) -> Result<Vec<CollectionName>> {
    let catalog = Catalog::new(store.clone());
    let mut names = Vec::new();
    for name in catalog.list().await? {
        let doc = catalog.open(&name).await?.doc;
        if doc.live && doc.schema.partition != Partition::Space {
            names.push(name);
        }
    }
    Ok(names)
}

async fn one(args: &Args, store: &Store, collection: &CollectionName, signals: &Signals) -> Result<()> {
    let job = CompactJob { collection: collection.clone(), options: args.options.clone(), shared: None };
    let progress = Arc::new(Progress::new(args.watch.is_some()));
    let shown = Arc::clone(&progress) as Arc<dyn cairn_indexer::Progress>;
    let done = cairn_indexer::compact(job, store, shown, signals.token.clone()).await;
    progress.finish();
    let report = done?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else if report.shards > 0 || args.watch.is_none() {
        println!("{}", told(&report));
    }
    Ok(())
}

fn told(report: &CompactReport) -> String {
    let name = &report.collection;
    if report.shards == 0 {
        return format!("{name}: nothing to do");
    }
    let amplification =
        report.write_amplification.map_or_else(String::new, |ratio| format!(", {ratio:.1} written for each"));
    format!(
        "{name}: {} points folded and {} deleted from {} log objects of {} shards{amplification}; {} segments merged, {} built \
         ({}), in {:.1} s",
        report.points_folded,
        report.points_deleted,
        report.frames,
        report.shards,
        report.segments_merged,
        report.segments_built,
        bytesize::ByteSize(report.bytes_written),
        report.elapsed_s
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told() {
        let mut report = CompactReport { collection: "docs".to_owned(), ..CompactReport::default() };
        assert_eq!(told(&report), "docs: nothing to do");
        (report.shards, report.points_folded, report.write_amplification) = (2, 7, Some(1.25));
        let text = told(&report);
        assert!(
            text.starts_with("docs: 7 points folded") && text.contains("of 2 shards, 1.2 written for each"),
            "{text}"
        );
    }
}
