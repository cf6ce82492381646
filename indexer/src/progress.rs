//! How a caller watches a job.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cairn_engine::{Phase, Watch};

/// The stages of a job, in order; the last two repeat for every segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Fetching the source from a store; in bytes.
    Fetch,
    /// Reading the source; in bytes, or rows where the file tells their number.
    Read,
    /// Building segment `number` (from 1) of `shard`; in units of the engine's own.
    Build {
        /// The shard.
        shard: u32,
        /// Counts segments over all shards.
        number: u32,
        /// What the engine is at.
        phase: Phase,
    },
    /// Uploading segments; in segments.
    Upload,
}

/// The caller's eyes on a job. Called often and from many threads: be quick.
pub trait Progress: Send + Sync {
    /// `done` of `total` units of `stage` are done.
    fn progress(&self, stage: Stage, done: u64, total: u64);
}

/// Nobody watches.
pub struct Unwatched;

impl Progress for Unwatched {
    fn progress(&self, _: Stage, _: u64, _: u64) {}
}

/// Lets the engine stop when the job does.
pub(crate) struct Stopped(pub(crate) Arc<AtomicBool>);

impl Watch for Stopped {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Shows the engine's progress as the job's.
pub(crate) struct BuildWatch {
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) shard: u32,
    pub(crate) number: u32,
}

impl Watch for BuildWatch {
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn progress(&self, phase: Phase, done: u64, total: u64) {
        self.progress.progress(Stage::Build { shard: self.shard, number: self.number, phase }, done, total);
    }
}
