//! The collections of a store: what they are, which generation of them is served, and how that changes.
//!
//! A *generation* is a complete set of segments of a collection. It is built unseen, under a ULID of its own, and
//! becomes the served one by a single conditional put of `collection.json`; so readers see the old generation or the
//! new one and nothing in between, wherever a writer dies. What it leaves behind is garbage that nothing names.
//!
//! | file | what |
//! |---|---|
//! | `documents` | `collection.json` and `manifest.json`: their fields, and what is refused when they are read |
//! | `invariants` | what must hold before every commit |
//! | `open` | reading: open and refresh |
//! | `commit` | writing: create, publish |
//! | `fold` | changing the served generation: taking writes, moving them into segments, another schema |
//! | `delete` | deleting, and what is left to the collector |
//! | `heads` | bundles of segments' heads |
//! | `history` | what was served before: rollback, and reading a collection as it was |
//! | `snapshots`, `clone` | names for a past, and collections that begin with one, without copying |
//! | `aliases` | other names of collections |
//! | `collect` | deletes what nothing names |
//! | `position` | a shard's log position, for writers |
//! | `draft` | a generation that several builders make, a shard each |

mod aliases;
mod clone;
pub mod collect;
mod commit;
mod delete;
mod documents;
mod draft;
mod fold;
mod heads;
mod history;
mod invariants;
mod open;
mod position;
#[cfg(test)]
mod simulation;
mod snapshots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cairn_model::{CollectionName, CollectionSchema, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use crate::{
    Error, Result, Store,
    log::Standing,
    store::{Key, REQUESTS_IN_FLIGHT_MAX, Version, keys::collection_of_folder},
};

pub use aliases::{AliasMap, Aliases};
pub use documents::{
    CollectionDoc, DEAD_BYTES_MAX, DOCUMENT_BYTES_MAX, DeadRows, FORMAT, HEAD_BYTES_MAX, HEAD_FIELDS_MAX,
    HEAD_RANGES_MAX, HeadEntry, INLINE_BYTES_MAX, Manifest, REGION_BYTES_MAX, SegmentEntry,
};
pub use draft::{Draft, ShardDraft};
pub use fold::Fold;
pub use history::{AsOf, HISTORY_MAX, Origin, Served};
pub use position::ManifestPosition;
pub use snapshots::{Pinned, Snapshot};

/// A consistent snapshot of a collection: `collection.json` and all of its generation's manifests.
#[derive(Clone, Debug)]
pub struct Collection {
    /// `collection.json`.
    pub doc: Arc<CollectionDoc>,
    /// One per shard, in order.
    pub manifests: Vec<Arc<Manifest>>,
    /// `None` for a past, which never changes.
    doc_version: Option<Version>,
}

impl Collection {
    /// What the log of one of its manifests' shards has to be held against.
    #[must_use]
    pub fn standing(&self, manifest: &Manifest) -> Standing {
        Standing { position: manifest.log_position, edition: self.doc.schema.editions.newest }
    }

    /// Points that count in all segments.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.segments().map(|(_, segment)| segment.live_points()).fold(0, u64::saturating_add)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments().map(|(_, segment)| segment.bytes).fold(0, u64::saturating_add)
    }

    /// All segments, each with its shard.
    pub fn segments(&self) -> impl Iterator<Item = (u32, &SegmentEntry)> {
        self.manifests.iter().flat_map(|manifest| manifest.segments.iter().map(|segment| (manifest.shard, segment)))
    }

    /// Where a segment of this collection is.
    ///
    /// # Errors
    /// `Corrupt` when the entry's id is no ULID.
    pub fn segment_key(&self, shard: u32, entry: &SegmentEntry) -> Result<Key> {
        let (name, generation) = self.doc.folder_of(entry);
        Key::segment(name, generation, shard, &entry.id)
    }

    /// Where the bundle with this segment's head is.
    ///
    /// # Errors
    /// `Corrupt` when the bundle's id is no ULID.
    pub fn heads_key(&self, entry: &SegmentEntry, head: &HeadEntry) -> Result<Key> {
        let (name, generation) = self.doc.folder_of(entry);
        Key::heads(name, generation, &head.bundle)
    }

    /// The generation that is served, for whoever adds segments to it.
    #[must_use]
    pub fn generation(&self) -> Generation {
        let CollectionDoc { generation, name, schema, .. } = self.doc.as_ref();
        Generation { id: generation.clone(), name: name.clone(), schema: schema.clone() }
    }
}

/// A generation under construction: invisible until published.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its ULID. It is also its writer's id in every document of it: a generation is published at most once.
    pub id: String,
    /// Whose.
    pub name: CollectionName,
    /// With which schema.
    pub schema: CollectionSchema,
}

/// What must be true at the moment of publishing.
#[derive(Clone, Debug)]
pub enum Expect {
    /// There is no such collection.
    Absent,
    /// It is still exactly this version.
    Unchanged(Box<Collection>),
}

/// The collections of a store.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Store,
    /// Milliseconds since 1970.
    clock: fn() -> u64,
}

impl Catalog {
    /// The catalog of a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, clock: history::system_clock }
    }

    /// The same catalog with another clock, in milliseconds since 1970: for tests. It dates what is published and decides nothing.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> u64) -> Self {
        Self { clock, ..self }
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All collections, by name. Two waves: the folders, then which of them have a `collection.json`.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn list(&self) -> Result<Vec<CollectionName>> {
        let folders = self.store.list_folders(&Key::collections()).await?;
        // Collected, because a stream over this closure is a future that the compiler cannot prove to be `Send`.
        let names: Vec<_> = folders.iter().filter_map(|folder| collection_of_folder(folder)).collect();
        let found = stream::iter(names)
            .map(|name| async move {
                let exists = self.exists(&name).await?;
                Ok::<_, Error>(exists.then_some(name))
            })
            .buffer_unordered(REQUESTS_IN_FLIGHT_MAX)
            .try_filter_map(|name| async move { Ok(name) });
        let mut names: Vec<_> = found.try_collect().await?;
        names.sort();
        Ok(names)
    }

    /// Whether there is such a collection, by one HEAD.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn exists(&self, name: &CollectionName) -> Result<bool> {
        Ok(self.store.head(&Key::collection(name)).await?.is_some())
    }

    /// Starts a generation. Nothing is written yet.
    #[must_use]
    pub fn begin(&self, name: &CollectionName, schema: &CollectionSchema) -> Generation {
        Generation { id: Ulid::generate().to_string(), name: name.clone(), schema: schema.clone() }
    }

    fn absent(&self, name: &CollectionName) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("collection '{name}'"),
            format!("does not exist in {}", self.store.url()),
        )
    }
}
