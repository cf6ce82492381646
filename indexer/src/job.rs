//! What to index, and what came of it.

use cairn_model::{CollectionName, CollectionSchema, Distance};
use cairn_storage::StoreOptions;
use serde::Serialize;

use crate::IndexOptions;

/// A bulk load.
#[derive(Clone, Debug)]
pub struct IndexJob {
    /// The collection to make, fill or replace.
    pub collection: CollectionName,
    /// File of vectors: a local path, or a URL like `s3://bucket/key`.
    pub input: String,
    /// Metric; `None` takes the one of the collection that is there.
    pub distance: Option<Distance>,
    /// The rest.
    pub options: IndexOptions,
    /// How to reach sources that are URLs.
    pub store_options: StoreOptions,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The collection.
    pub collection: CollectionName,
    /// Its generation.
    pub generation: String,
    /// Whether points were there before.
    pub replaced: bool,
    /// Its schema.
    pub schema: CollectionSchema,
    /// Points.
    pub points: u64,
    /// Segments over all shards.
    pub segments: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes of rows that went through a temporary file.
    pub spilled_bytes: u64,
    /// The bound that held.
    pub memory_bytes: u64,
    /// Seconds of reading and checking the source.
    pub read_s: f64,
    /// Seconds of building and uploading.
    pub build_s: f64,
}
