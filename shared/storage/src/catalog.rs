//! Skeleton: the storage worktree replaces this.
use std::{path::Path, sync::Arc};

use cairn_model::{CollectionName, CollectionSchema};
use serde::{Deserialize, Serialize};

use crate::{Result, Store};

/// `collection.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionDoc {
    /// Format version, 1.
    pub format: u32,
    /// Name.
    pub name: CollectionName,
    /// Which generation is served: a ULID.
    pub generation: String,
    /// Schema.
    pub schema: CollectionSchema,
    /// Who wrote this version: tells a lost reply from a lost race.
    pub writer: String,
}

/// One segment of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// ULID.
    pub id: String,
    /// Points.
    pub points: u64,
    /// File size.
    pub bytes: u64,
    /// xxh3-64 of the file, 16 hexadecimal digits.
    pub checksum: String,
}

/// `manifest.json` of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version, 1.
    pub format: u32,
    /// Shard number.
    pub shard: u32,
    /// Counts up with every replacement.
    pub version: u64,
    /// Who wrote this version.
    pub writer: String,
    /// First log sequence number that is not in a segment.
    pub log_position: u64,
    /// Segments.
    pub segments: Vec<SegmentEntry>,
}

/// A consistent snapshot of a collection: collection.json and all of its generation's manifests.
#[derive(Clone, Debug)]
pub struct Collection {
    /// collection.json
    pub doc: Arc<CollectionDoc>,
    /// One per shard, in order.
    pub manifests: Vec<Arc<Manifest>>,
}

impl Collection {
    /// Points in all segments.
    pub fn points(&self) -> u64 {
        self.manifests.iter().flat_map(|m| &m.segments).map(|s| s.points).sum()
    }
}

/// A generation under construction: invisible until published.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its ULID.
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
pub struct Catalog {}

impl Catalog {
    /// The catalog of a store.
    pub fn new(store: Store) -> Self {
        let _ = store;
        unimplemented!()
    }
    /// The store underneath.
    pub fn store(&self) -> &Store {
        unimplemented!()
    }
    /// All collections, by name.
    pub async fn list(&self) -> Result<Vec<CollectionName>> {
        unimplemented!()
    }
    /// Creates an empty collection. `Conflict` if there is one.
    pub async fn create(&self, name: &CollectionName, schema: &CollectionSchema) -> Result<Collection> {
        let _ = (name, schema);
        unimplemented!()
    }
    /// Reads a collection. `NotFound` if there is none.
    pub async fn open(&self, name: &CollectionName) -> Result<Collection> {
        let _ = name;
        unimplemented!()
    }
    /// The newest version, by one wave of conditional GETs; `None` when `known` is still it.
    pub async fn refresh(&self, known: &Collection) -> Result<Option<Collection>> {
        let _ = known;
        unimplemented!()
    }
    /// Deletes a collection; false if there was none.
    pub async fn delete(&self, name: &CollectionName) -> Result<bool> {
        let _ = name;
        unimplemented!()
    }
    /// Starts a generation.
    pub fn begin(&self, name: &CollectionName, schema: &CollectionSchema) -> Generation {
        let _ = (name, schema);
        unimplemented!()
    }
    /// Uploads a finished segment file (multipart when large). `id`, `points`, `bytes`, `checksum` are in `entry`.
    pub async fn put_segment(
        &self,
        generation: &Generation,
        shard: u32,
        file: &Path,
        entry: &SegmentEntry,
    ) -> Result<()> {
        let _ = (generation, shard, file, entry);
        unimplemented!()
    }
    /// Writes the manifests, then makes the generation the served one by one conditional put. `Conflict` when `expect` does not hold.
    pub async fn publish(
        &self,
        generation: &Generation,
        segments: Vec<Vec<SegmentEntry>>,
        expect: Expect,
    ) -> Result<Collection> {
        let _ = (generation, segments, expect);
        unimplemented!()
    }
}
