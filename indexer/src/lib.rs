//! From a file of points to a published collection.
//!
//! ```text
//! file or URL -> source -> intake: checked, one lane per shard -> build: segment files -> store -> one commit
//! ```
//!
//! Modules are layers; lower never imports higher: `source`, `spool` < `ledger` < `intake` < `build` < `index`.

mod build;
mod error;
mod event;
mod fetch;
mod index;
mod intake;
mod job;
mod ledger;
pub mod memory;
mod options;
mod pool;
mod progress;
mod record;
pub mod source;
mod spool;
#[cfg(test)]
mod tests;
mod workplace;

pub use error::{Error, Place, Result};
pub use event::Event;
pub use index::index;
pub use job::{IndexJob, Report};
pub use options::{IndexOptions, parse_datatype, parse_originals};
pub use pool::build_pool;
pub use progress::{Progress, Stage, Unwatched};
