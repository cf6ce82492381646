//! From a file of points to a published collection.
//!
//! ```text
//! file or URL -> source -> intake: checked, one lane per shard -> build: segment files -> store -> one commit
//! ```
//!
//! Modules are layers; lower never imports higher: `source`, `spool` < `ledger` < `intake` < `deal` < `build` < `gate` < `heads` < `index` < `reindex` < `jobs`
//! `index` < `fold` < `jobs`, and `index` < `shard` < `event`.

mod allocator;
mod build;
mod deal;
mod error;
mod event;
mod fetch;
mod fold;
mod gate;
mod grace;
mod heads;
mod index;
mod intake;
mod job;
mod jobs;
mod ledger;
pub mod memory;
mod options;
mod pool;
mod progress;
mod record;
mod reindex;
mod shard;
pub mod source;
mod spool;
#[cfg(test)]
mod tests;
mod workplace;

pub use allocator::give_memory_back;
pub use error::{Error, Place, Result};
pub use event::{Event, answer};
pub use fold::{CompactJob, CompactOptions, CompactReport, Shared, compact, fold_all, go_back};
pub use gate::{Figures, Gate, RECALL_K, SAMPLES_MAX};
pub use grace::parse_grace;
pub use index::{index, publish_file};
pub use job::{IndexJob, Report};
pub use jobs::Job;
pub use options::{IndexOptions, parse_datatype, parse_originals};
pub use pool::build_pool;
pub use progress::{Progress, Stage, Unwatched};
pub use reindex::{ReindexJob, ReindexOptions, ReindexReport, reindex};
pub use shard::{Begun, Part, ShardReport, begin, index_shard, publish};
