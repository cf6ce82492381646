//! `cairn clone`: a collection that begins with another one's segments.

use std::sync::Arc;

use anyhow::Result;
use bytesize::ByteSize;
use cairn_indexer::{Unwatched, fold_all};
use cairn_model::CollectionName;
use cairn_searcher::StoreSettings;
use cairn_storage::{AsOf, Catalog, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Make a collection that begins as another one is, or was: nothing is copied.
///
/// Both use the same segments; from then on each goes its own way. Deleting either does not harm the other: segments are deleted
/// with the last collection that uses them.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn clone docs docs-test --store ./data
  cairn clone docs docs-yesterday --store ./data --as-of time:2026-11-23T18:00:00Z
  cairn clone docs docs-sale --store ./data --as-of snapshot:before-the-sale")]
pub(crate) struct Args {
    /// The collection to begin with
    #[arg(value_name = "FROM")]
    from: CollectionName,
    /// The new collection
    #[arg(value_name = "TO")]
    to: CollectionName,
    #[command(flatten)]
    store: StoreSettings,
    /// A past of it: snapshot:NAME, generation:ULID or time:TIME
    #[arg(long, value_name = "PAST")]
    as_of: Option<AsOf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let catalog = Catalog::new(Store::open(&args.store.store, &args.store.options()).await?);
    if args.as_of.is_none() {
        fold_all(&args.from, catalog.store(), Arc::new(Unwatched), CancellationToken::new()).await?;
    }
    let clone = catalog.clone_collection(&args.from, &args.to, args.as_of.as_ref()).await?;
    let (points, bytes) = (clone.points(), clone.bytes());
    if args.json {
        let doc = &clone.doc;
        println!(
            "{}",
            json!({"collection": doc.name, "generation": doc.generation, "origin": doc.origin, "points": points, "bytes": bytes})
        );
    } else {
        println!("Cloned {} as {}: {points} points, {}, none of it copied", args.from, args.to, ByteSize(bytes));
    }
    Ok(())
}
