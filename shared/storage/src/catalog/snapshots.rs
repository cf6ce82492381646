//! Snapshots: a name for a generation as it was, without copying anything.
//!
//! A snapshot is one small object that holds `collection.json` without its history. What it pins stays readable and can be gone
//! back to when the history has forgotten it. Deleting the collection deletes its snapshots.
//!
//! A put may arrive after its collection was deleted and created anew under the same name. So a snapshot says of which creation it is; one of
//! another creation than `collection.json` is *stale*: it is not there for anybody who reads, it names nothing, another one may take its place, and
//! the collector deletes it. Whoever takes a snapshot for stale reads it first and `collection.json` after: its creation was there before it, is
//! not any more, and will not come back.

use std::sync::Arc;

use cairn_model::{CollectionName, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    AsOf, Catalog, Collection, CollectionDoc, FORMAT,
    commit::{COMMITS_MAX, conflict, overtaken},
    documents::{encode, parse},
    invariants,
    open::{Known, Versioned},
};
use crate::{
    Error, Result,
    store::{Found, Key, Put, REQUESTS_IN_FLIGHT_MAX, Version, keys::snapshot_of_key},
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
    /// Whether it is stale and about to be deleted: then nobody puts another one in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub condemned: bool,
    /// `collection.json` as it was, without its history.
    pub collection: CollectionDoc,
}

/// What a snapshot pins, when it is not known yet whether it is one of the collection that is there now.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub(super) snapshot: Snapshot,
    pub(super) past: Arc<Collection>,
}

impl Pinned {
    /// The past, of a collection that is `newest` now.
    ///
    /// # Errors
    /// `NotFound` when the snapshot is stale.
    pub fn of(self, newest: &Collection) -> Result<Arc<Collection>> {
        self.snapshot.document(&newest.doc)?;
        Ok(self.past)
    }
}

impl Snapshot {
    /// Whether it is a snapshot of the collection that is `newest` now, and not stale.
    pub(super) fn is_of(&self, newest: &CollectionDoc) -> bool {
        !self.condemned && self.collection.shares_creation(newest)
    }

    /// The document that it pins, of a collection that is `newest` now.
    pub(super) fn document(&self, newest: &CollectionDoc) -> Result<&CollectionDoc> {
        if self.is_of(newest) {
            return Ok(&self.collection);
        }
        let why = format!("has no snapshot '{}': the one of this name was made before it was created anew", self.name);
        Err(Error::new(ErrorKind::NotFound, format!("collection '{}'", newest.name), why))
    }
}

/// What nobody needs of a collection's snapshots.
#[derive(Default)]
pub(super) struct Stale {
    /// Stale ones.
    pub(super) snapshots: Vec<(Found, Versioned<Snapshot>)>,
    /// What is no snapshot that we could read, of a collection that is gone.
    pub(super) unreadable: Vec<Found>,
}

/// Whose a snapshot's name is.
enum Claim {
    /// Ours since just now.
    New(Version),
    /// A snapshot's that was made before, of the same.
    Before(Arc<Snapshot>),
}

/// Whether two documents are of one state: a generation does not change unless it takes writes.
fn pins_the_same(a: &CollectionDoc, b: &CollectionDoc) -> bool {
    a.generation == b.generation && (!b.live || a.writer == b.writer)
}

impl Catalog {
    /// Pins the segments of what is served, or of a past of it, under a name; what stands only in its logs has to be folded first. Safe to repeat.
    ///
    /// # Errors
    /// `NotFound` when the collection or its past does not exist; `Conflict` when the name is taken by a snapshot of something else, or by one that
    /// is just being deleted; `Invalid` for a bad name; `Unavailable`.
    pub async fn create_snapshot(&self, name: &CollectionName, snapshot: &str, of: Option<&AsOf>) -> Result<Snapshot> {
        self.store.require_safe().await?;
        let key = Key::snapshot(name, snapshot)?;
        let current = self.open(name).await?;
        let pinned = match of {
            Some(of) => self.past(&current, of).await?,
            None => current.clone(),
        };
        let (points, bytes) = (pinned.points(), pinned.bytes());
        let creation = current.doc.creation.clone();
        let document = Snapshot {
            format: FORMAT,
            name: snapshot.to_owned(),
            created_ms: (self.clock)(),
            writer: Ulid::generate().to_string(),
            points,
            bytes,
            condemned: false,
            collection: CollectionDoc { creation, history: Vec::new(), ..Arc::unwrap_or_clone(pinned.doc) },
        };
        // Documents of older versions say nothing of creations, but one that was created anew does not name what is pinned.
        let still = |doc: &CollectionDoc| {
            let is_named = matches!(of, Some(AsOf::Snapshot(_))) || doc.names(&document.collection.generation);
            document.is_of(doc) && is_named
        };
        let version = match self.claim(name, &document, still).await? {
            Claim::New(version) => version,
            Claim::Before(found) => return Ok(Arc::unwrap_or_clone(found)),
        };
        // Whoever deletes the collection lists its snapshots after `collection.json` is gone: if that is still there, the deleter
        // will find this one.
        match self.newest(name).await {
            Ok((doc, _)) if still(&doc) => return Ok(document),
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.discard(&key, &document, &version).await?;
        Err(self.absent(name))
    }

    /// Puts a snapshot under its name, where there is none, or a stale one: that is replaced by compare-and-swap, so that of several who do so one
    /// wins, and whoever deletes it at the same time loses.
    async fn claim(
        &self,
        name: &CollectionName,
        document: &Snapshot,
        still: impl Fn(&CollectionDoc) -> bool,
    ) -> Result<Claim> {
        let snapshot = &document.name;
        let key = Key::snapshot(name, snapshot)?;
        let content = encode(&self.store.address(&key), document)?;
        for _ in 0..COMMITS_MAX {
            if let Put::Done(version) = self.store.put_if_absent(&key, content.clone()).await? {
                return Ok(Claim::New(version));
            }
            let (found, version) = match self.read_snapshot(name, snapshot).await {
                Ok(found) => found,
                // Deleted since.
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let (doc, _) = self.newest(name).await?;
            if !still(&doc) {
                return Err(self.absent(name));
            }
            if found.is_of(&doc) {
                if pins_the_same(&found.collection, &document.collection) {
                    return Ok(Claim::Before(found));
                }
                let why = format!("has a snapshot '{snapshot}' already, of generation {}", found.collection.generation);
                return Err(conflict(name, why));
            }
            if found.condemned {
                // Its deletion may be on its way, and would take whatever is put in its place.
                let why = format!(
                    "has a snapshot '{snapshot}' from before it was created anew, which is being deleted: repeat it later, or delete that one"
                );
                return Err(conflict(name, why));
            }
            if let Put::Done(version) = self.store.compare_and_swap(&key, content.clone(), &version).await? {
                return Ok(Claim::New(version));
            }
        }
        Err(overtaken(name))
    }

    /// Deletes a stale snapshot, or one that should not have been made; false when somebody else is at it, or has put another one in its place.
    /// A bucket deletes without a condition, so it is condemned first, by compare-and-swap: nobody puts another one in the place of what is
    /// condemned. What is left is a deletion that is still on its way when somebody else deleted the same and a third one made it anew.
    pub(super) async fn discard(&self, key: &Key, found: &Snapshot, version: &Version) -> Result<bool> {
        let writer = Ulid::generate().to_string();
        let condemned = Snapshot { condemned: true, writer, ..found.clone() };
        let content = encode(&self.store.address(key), &condemned)?;
        if let Put::Refused = self.store.compare_and_swap(key, content, version).await? {
            return Ok(false);
        }
        self.store.delete(key).await?;
        Ok(true)
    }

    /// Which of these objects, that were found in the folder of a collection's snapshots, nobody needs.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` when `collection.json` cannot be read; `Unavailable`.
    pub(super) async fn stale(&self, name: &CollectionName, found: Vec<Found>) -> Result<Stale> {
        let mut stale = Stale::default();
        if found.is_empty() {
            return Ok(stale);
        }
        let mut unreadable = Vec::new();
        for found in found {
            let read = match snapshot_of_key(&found.key) {
                Some(snapshot) => self.read_snapshot(name, &snapshot).await.map(Some),
                None => Ok(None),
            };
            match read {
                Ok(Some(snapshot)) => stale.snapshots.push((found, snapshot)),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) if error.kind == ErrorKind::Unavailable => return Err(error),
                Ok(None) | Err(_) => unreadable.push(found),
            }
        }
        match self.newest(name).await {
            Ok((newest, _)) => stale.snapshots.retain(|(_, (snapshot, _))| !snapshot.is_of(&newest)),
            Err(error) if error.kind == ErrorKind::NotFound => stale.unreadable = unreadable,
            Err(error) => return Err(error),
        }
        Ok(stale)
    }

    /// All snapshots of a collection, by name. Two waves.
    ///
    /// # Errors
    /// `NotFound` when there is no such collection; `Corrupt` names a damaged document; `Unavailable`.
    pub async fn list_snapshots(&self, name: &CollectionName) -> Result<Vec<Snapshot>> {
        let folder = Key::snapshots(name);
        let (newest, found) = tokio::join!(self.newest(name), self.store.list(&folder));
        let (newest, _) = newest?;
        let mut names: Vec<_> = found?.iter().filter_map(|found| snapshot_of_key(&found.key)).collect();
        names.sort();
        let newest = newest.as_ref();
        stream::iter(names)
            .map(|snapshot| async move {
                match self.read_snapshot(name, &snapshot).await {
                    Ok((found, _)) => Ok(found.is_of(newest).then(|| Arc::unwrap_or_clone(found))),
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

    /// Deletes a snapshot, a stale one too; false if there was none. What it pinned stays while anything else names it.
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
        let (newest, found) = tokio::join!(self.newest(name), self.read_snapshot(name, snapshot));
        let ((newest, _), (found, _)) = (newest?, found?);
        self.pinned(found.document(&newest)?.clone()).await
    }

    /// A snapshot's object, stale or not.
    pub(super) async fn read_snapshot(&self, name: &CollectionName, snapshot: &str) -> Result<Versioned<Snapshot>> {
        let key = Key::snapshot(name, snapshot)?;
        let parse = |address: &str, content: &[u8]| {
            let found: Snapshot = parse(address, content)?;
            let holds = invariants::snapshot(&found, name, snapshot);
            holds.map(|()| found).map_err(|why| Error::corrupt(address, why))
        };
        match self.read(&key, None, parse).await? {
            Known::New(found) => Ok(found),
            Known::Absent | Known::Unchanged => {
                let why = format!("has no snapshot '{}'", snapshot.escape_debug());
                Err(Error::new(ErrorKind::NotFound, format!("collection '{name}'"), why))
            }
        }
    }
}
