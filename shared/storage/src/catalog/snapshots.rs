//! Snapshots: a name for a generation as it was, without copying anything.
//!
//! A snapshot is one small object that holds `collection.json` without its history. What it pins stays readable and can be gone
//! back to when the history has forgotten it. Deleting the collection deletes its snapshots.

use std::sync::Arc;

use cairn_model::{CollectionName, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    AsOf, Catalog, Collection, CollectionDoc, FORMAT,
    commit::conflict,
    documents::{encode, parse},
    invariants,
    open::Known,
};
use crate::{
    Error, Result,
    store::{Key, Put, REQUESTS_IN_FLIGHT_MAX, keys::snapshot_of_key},
};

/// What a snapshot's object holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Format version, 1.
    pub format: u32,
    /// Its name, which follows the rules of collections' names.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Who made it.
    pub writer: String,
    /// Points of the pinned generation.
    pub points: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// `collection.json` as it was, without its history.
    pub collection: CollectionDoc,
}

/// Whether two documents are of one state: a generation does not change unless it takes writes.
fn pins_the_same(a: &CollectionDoc, b: &CollectionDoc) -> bool {
    a.generation == b.generation && (!b.live || a.writer == b.writer)
}

impl Catalog {
    /// Pins the segments of what is served, or of a past of it, under a name; what stands only in its logs has to be folded first. Safe to repeat.
    ///
    /// # Errors
    /// `NotFound` when the collection or its past does not exist; `Conflict` when the name is taken by a snapshot of something else; `Invalid` for a bad name; `Unavailable`.
    pub async fn create_snapshot(&self, name: &CollectionName, snapshot: &str, of: Option<&AsOf>) -> Result<Snapshot> {
        self.store.require_safe().await?;
        let key = Key::snapshot(name, snapshot)?;
        let mut pinned = self.open(name).await?;
        if let Some(of) = of {
            pinned = self.past(&pinned, of).await?;
        }
        let document = Snapshot {
            format: FORMAT,
            name: snapshot.to_owned(),
            created_ms: (self.clock)(),
            writer: Ulid::generate().to_string(),
            points: pinned.points(),
            bytes: pinned.bytes(),
            collection: CollectionDoc { history: Vec::new(), ..pinned.doc.as_ref().clone() },
        };
        let put = self.store.put_if_absent(&key, encode(&self.store.address(&key), &document)?).await?;
        // Whoever deletes the collection lists its snapshots after `collection.json` is gone: if that is still there, the deleter
        // will find this one. One that was created anew meanwhile is another collection.
        let still = match self.newest(name).await {
            Ok((doc, _)) => matches!(of, Some(AsOf::Snapshot(_))) || doc.names(&pinned.doc.generation),
            Err(error) if error.kind == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !still {
            self.store.delete(&key).await?;
            return Err(self.absent(name));
        }
        match put {
            Put::Done(_) => Ok(document),
            Put::Refused => match self.read_snapshot(name, snapshot).await? {
                found if pins_the_same(&found.collection, &document.collection) => Ok(found),
                found => {
                    let why =
                        format!("has a snapshot '{snapshot}' already, of generation {}", found.collection.generation);
                    Err(conflict(name, why))
                }
            },
        }
    }

    /// All snapshots of a collection, by name. Two waves.
    ///
    /// # Errors
    /// `NotFound` when there is no such collection; `Corrupt` names a damaged snapshot; `Unavailable`.
    pub async fn list_snapshots(&self, name: &CollectionName) -> Result<Vec<Snapshot>> {
        let folder = Key::snapshots(name);
        let (exists, found) = tokio::join!(self.exists(name), self.store.list(&folder));
        if !exists? {
            return Err(self.absent(name));
        }
        let mut names: Vec<_> = found?.iter().filter_map(|found| snapshot_of_key(&found.key)).collect();
        names.sort();
        stream::iter(names)
            .map(|snapshot| async move {
                match self.read_snapshot(name, &snapshot).await {
                    Ok(found) => Ok(Some(found)),
                    // Deleted since it was listed.
                    Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffered(REQUESTS_IN_FLIGHT_MAX)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await
    }

    /// Deletes a snapshot; false if there was none. What it pinned stays while anything else names it.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `Unavailable`.
    pub async fn delete_snapshot(&self, name: &CollectionName, snapshot: &str) -> Result<bool> {
        let key = Key::snapshot(name, snapshot)?;
        let existed = self.store.head(&key).await?.is_some();
        self.store.delete(&key).await?;
        Ok(existed)
    }

    pub(super) async fn open_snapshot(&self, name: &CollectionName, snapshot: &str) -> Result<Collection> {
        self.pinned(self.snapshot_doc(name, snapshot).await?).await
    }

    /// What a snapshot pins.
    pub(super) async fn snapshot_doc(&self, name: &CollectionName, snapshot: &str) -> Result<CollectionDoc> {
        Ok(self.read_snapshot(name, snapshot).await?.collection)
    }

    pub(super) async fn read_snapshot(&self, name: &CollectionName, snapshot: &str) -> Result<Snapshot> {
        let key = Key::snapshot(name, snapshot)?;
        let parse = |address: &str, content: &[u8]| {
            let found: Snapshot = parse(address, content)?;
            let holds = invariants::snapshot(&found, name, snapshot);
            holds.map(|()| found).map_err(|why| Error::corrupt(address, why))
        };
        match self.read(&key, None, parse).await? {
            Known::New((found, _)) => Ok(Arc::unwrap_or_clone(found)),
            Known::Absent | Known::Unchanged => {
                let why = format!("has no snapshot '{}'", snapshot.escape_debug());
                Err(Error::new(ErrorKind::NotFound, format!("collection '{name}'"), why))
            }
        }
    }
}
