//! Objects, log, catalog and cache: everything that waits for a store or a disk, and nothing that computes on vectors. And what
//! the machine gives the process, beside all of them: [`machine`].
//!
//! Modules are layers; lower never imports higher: `machine` < `store` < `log` < `catalog` < `cache`.

pub mod cache;
pub mod catalog;
mod error;
pub mod log;
pub mod machine;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::{Cache, CacheOptions, Cached};
pub use catalog::{
    AliasMap, Aliases, AsOf, Catalog, Collection, CollectionDoc, Draft, Expect, Generation, HeadEntry, Manifest,
    Origin, Pinned, SegmentEntry, Served, ShardDraft, Snapshot,
};
pub use error::{Error, Result};
pub use store::{
    Meter, Store, StoreOptions,
    doctor::{Diagnosis, Effort, Finding, Verdict},
};
