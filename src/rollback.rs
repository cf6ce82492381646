//! `cairn rollback`: back to a generation that was served before.

use std::sync::Arc;

use anyhow::Result;
use bytesize::ByteSize;
use cairn_indexer::{Unwatched, go_back};
use cairn_model::{CollectionName, filter::show_datetime};
use cairn_searcher::StoreSettings;
use cairn_storage::{AsOf, Catalog, Collection, Served, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::failure::Usage;

/// Serve a generation again that was served before.
///
/// Nothing is copied: one compare-and-swap makes an older generation the served one, and the one that is left stays in the
/// history, so that one can go there again. Searchers see it with their next query. A collection that takes writes goes on to: what was
/// in the log of the older generation is moved into segments first. Without --to, it goes to what was served before this generation was for
/// the first time: twice in a row goes back by two.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn rollback --store ./data --collection docs --list
  cairn rollback --store ./data --collection docs
  cairn rollback --store ./data --collection docs --to 01JDXK7Q9X3M5V8R2T4W6Y8Z0A
  cairn rollback --store ./data --collection docs --as-of snapshot:before-the-sale
  cairn rollback --store ./data --collection docs --as-of time:2026-11-24T06:00:00Z --from 01JDXK7Q9X3M5V8R2T4W6Y8Z0A")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// The collection
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// The generation to go to
    #[arg(long, value_name = "GENERATION", conflicts_with = "as_of")]
    to: Option<String>,
    /// The past to go to: snapshot:NAME, generation:ULID or time:TIME
    #[arg(long, value_name = "PAST")]
    as_of: Option<AsOf>,
    /// Do nothing unless this generation is the served one: for scripts that may run twice
    #[arg(long, value_name = "GENERATION")]
    from: Option<String>,
    /// Show what was served, oldest first, and change nothing
    #[arg(long, conflicts_with_all = ["to", "as_of", "from"])]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let catalog = Catalog::new(store);
    if args.list {
        return list(&catalog.open(&args.collection).await?, args.json);
    }
    let to = args.to.map(AsOf::Generation).or(args.as_of);
    if let Some(AsOf::Generation(to)) = &to
        && args.from.as_ref() == Some(to)
    {
        return Err(Usage("--from and --to name the same generation".into()).into());
    }
    let way = (to.as_ref(), args.from.as_deref());
    let now = go_back(&args.collection, way, catalog.store(), Arc::new(Unwatched), CancellationToken::new()).await?;
    let served = now.served();
    if args.json {
        println!("{}", row(&served, true));
    } else {
        println!(
            "{} serves generation {} again: {} points, {}",
            args.collection,
            served.generation,
            served.points,
            ByteSize(served.bytes)
        );
    }
    Ok(())
}

fn list(collection: &Collection, as_json: bool) -> Result<()> {
    let now = collection.served();
    let all = collection.doc.history.iter().map(|served| (served, false)).chain([(&now, true)]);
    if as_json {
        let rows: Vec<_> = all.map(|(served, now)| row(served, now)).collect();
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    println!("{:<24} {:<26} {:>12} {:>12}", "since", "generation", "points", "bytes");
    for (served, now) in all {
        let bytes = ByteSize(served.bytes).to_string();
        let mark = if now { "  served" } else { "" };
        println!(
            "{:<24} {:<26} {:>12} {bytes:>12}{mark}",
            show_datetime(served.since_ms),
            served.generation,
            served.points
        );
    }
    Ok(())
}

fn row(served: &Served, now: bool) -> serde_json::Value {
    json!({"generation": served.generation, "since_ms": served.since_ms, "since": show_datetime(served.since_ms),
           "points": served.points, "bytes": served.bytes, "origin": served.origin, "served": now})
}
