//! `cairn snapshot`: names for what a collection serves.

use std::sync::Arc;

use anyhow::Result;
use bytesize::ByteSize;
use cairn_indexer::{Unwatched, fold_all};
use cairn_model::{CollectionName, ErrorKind, filter::show_datetime};
use cairn_searcher::StoreSettings;
use cairn_storage::{AsOf, Catalog, Snapshot, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Name what a collection serves now, so that it stays: nothing is copied.
///
/// A snapshot is one small object that pins a generation. It can be read (`as_of`), gone back to (`cairn rollback`) and cloned
/// (`cairn clone`), also when the collection's history has forgotten it. Deleting the collection deletes its snapshots.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn snapshot create before-the-sale --store ./data --collection docs
  cairn snapshot list --store ./data --collection docs
  cairn snapshot delete before-the-sale --store ./data --collection docs
  cairn rollback --as-of snapshot:before-the-sale --store ./data --collection docs")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Args, Debug)]
struct Place {
    #[command(flatten)]
    store: StoreSettings,
    /// The collection
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Place {
    async fn catalog(&self) -> Result<Catalog> {
        Ok(Catalog::new(Store::open(&self.store.store, &self.store.options()).await?))
    }
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Pin what is served, or a past of it; again under the same name it changes nothing
    Create {
        /// The snapshot's name
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        #[command(flatten)]
        place: Place,
        /// The past to pin: generation:ULID or time:TIME
        #[arg(long, value_name = "PAST")]
        as_of: Option<AsOf>,
    },
    /// Show all snapshots
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Delete a snapshot; what else names its generation keeps it
    Delete {
        /// The snapshot's name
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(crate) async fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Create { snapshot, place, as_of } => {
            let catalog = place.catalog().await?;
            if as_of.is_none() {
                fold_all(&place.collection, catalog.store(), Arc::new(Unwatched), CancellationToken::new()).await?;
            }
            let made = catalog.create_snapshot(&place.collection, &snapshot, as_of.as_ref()).await?;
            if place.json {
                println!("{}", row(&made));
            } else {
                let generation = &made.collection.generation;
                println!("{snapshot} pins generation {generation} of {}: {} points", place.collection, made.points);
            }
        }
        Action::List { place } => {
            let all = place.catalog().await?.list_snapshots(&place.collection).await?;
            if place.json {
                println!("{}", serde_json::to_string(&all.iter().map(row).collect::<Vec<_>>())?);
                return Ok(());
            }
            println!("{:<24} {:<26} {:>12} {:>12}  name", "created", "generation", "points", "bytes");
            for one in &all {
                let (created, bytes) = (show_datetime(one.created_ms), ByteSize(one.bytes).to_string());
                let generation = &one.collection.generation;
                println!("{created:<24} {generation:<26} {:>12} {bytes:>12}  {}", one.points, one.name);
            }
        }
        Action::Delete { snapshot, place } => {
            let deleted = place.catalog().await?.delete_snapshot(&place.collection, &snapshot).await?;
            if !deleted {
                let what = format!("snapshot '{snapshot}'");
                let why = format!("collection '{}' has none of this name", place.collection);
                return Err(cairn_storage::Error::new(ErrorKind::NotFound, what, why).into());
            }
            if place.json {
                println!("{}", json!({"name": snapshot, "deleted": true}));
            } else {
                println!("{snapshot} is deleted");
            }
        }
    }
    Ok(())
}

fn row(snapshot: &Snapshot) -> serde_json::Value {
    json!({"name": snapshot.name, "generation": snapshot.collection.generation, "created_ms": snapshot.created_ms,
           "created": show_datetime(snapshot.created_ms), "points": snapshot.points, "bytes": snapshot.bytes})
}
