//! Objects, catalog and cache: everything that waits for a store or a disk, and nothing that computes on vectors.
//!
//! Modules are layers; lower never imports higher: `store` < `cache` < `catalog`.

pub mod cache;
pub mod catalog;
mod error;
pub mod store;

pub use cache::{Cache, CacheOptions, Cached};
pub use catalog::{Catalog, Collection, CollectionDoc, Expect, Generation, Manifest, SegmentEntry};
pub use error::{Error, Result};
pub use store::{Meter, Store, StoreOptions};
