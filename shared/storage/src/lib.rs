//! Objects, catalog and cache: everything that waits for a store or a disk, and nothing that computes on vectors.
//!
//! Modules are layers; lower never imports higher: `store` < `catalog` < `cache`.

pub mod cache;
pub mod catalog;
mod error;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::{Cache, CacheOptions, Cached};
pub use catalog::{Catalog, Collection, CollectionDoc, Expect, Generation, Manifest, SegmentEntry};
pub use error::{Error, Result};
pub use store::{Meter, Store, StoreOptions};
