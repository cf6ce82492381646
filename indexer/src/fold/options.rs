//! When a tail is worth a fold, and what may be used for it.

use std::{num::NonZeroUsize, path::PathBuf};

use bytesize::ByteSize;
use serde::Deserialize;

use crate::{Result, memory, pool};

/// Options of compacting, under the flags' names with `_` for `-` in an event.
#[derive(Clone, Debug, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct CompactOptions {
    /// Fold every shard that has writes, however few
    #[arg(long)]
    pub force: bool,
    /// Fold a shard whose log has at least so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = Self::default().fold_bytes)]
    pub fold_bytes: ByteSize,
    /// Fold a shard whose log has at least so many objects: a reader who knows nothing fetches each
    #[arg(long, value_name = "N", default_value_t = Self::default().fold_frames)]
    pub fold_frames: usize,
    /// Fold a shard whose log has at least so many points: every search scores them all
    #[arg(long, value_name = "N", default_value_t = Self::default().fold_points)]
    pub fold_points: u64,
    /// Fold a shard whose oldest write is at least so many seconds old, by the store's clock
    #[arg(long, value_name = "SECONDS", default_value_t = Self::default().fold_age_s)]
    pub fold_age_s: u64,
    /// Memory bound, like 512MiB or 4GB. Default: half of what is available
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,
    /// Threads that build. Default: one for every core that the process may use
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of the build's randomness
    #[arg(long, default_value_t)]
    pub seed: u64,
    /// Directory for temporary files. Default: the system's
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
    /// Go past the ends of logs, however new: the generation was gone back to.
    #[arg(skip)]
    #[serde(skip)]
    pub opens: bool,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            force: false,
            fold_bytes: ByteSize::mib(16),
            fold_frames: 256,
            fold_points: 10_000,
            fold_age_s: 300,
            memory: None,
            threads: None,
            seed: 0,
            temp_dir: None,
            opens: false,
        }
    }
}

/// How much a tail has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) frames: usize,
    pub(super) bytes: u64,
    /// Points written and deleted, one by one.
    pub(super) points: u64,
}

impl CompactOptions {
    /// The memory bound.
    ///
    /// # Errors
    /// As [`memory::bound`].
    pub(super) fn memory_bytes(&self) -> Result<u64> {
        memory::bound(self.memory)
    }

    /// Threads that build: as asked, else one for every core.
    pub(super) fn threads(&self) -> usize {
        pool::threads(self.threads)
    }

    /// Whether a tail is worth a fold, as far as that does not depend on its age.
    pub(super) fn is_enough(&self, tail: Amount) -> bool {
        let much =
            tail.frames >= self.fold_frames || tail.bytes >= self.fold_bytes.0 || tail.points >= self.fold_points;
        tail.frames > 0 && (self.force || much)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_enough_by_any_measure_and_an_empty_one_never() {
        let options =
            CompactOptions { fold_frames: 3, fold_points: 40, fold_bytes: ByteSize(100), ..Default::default() };
        let tail = |frames, bytes, points| Amount { frames, bytes, points };
        for (tail, enough) in [
            (tail(2, 99, 39), false),
            (tail(3, 1, 1), true),
            (tail(1, 100, 1), true),
            (tail(1, 1, 40), true),
            (tail(0, 0, 0), false),
        ] {
            assert_eq!(options.is_enough(tail), enough, "{tail:?}");
            let force = CompactOptions { force: true, ..options.clone() };
            assert_eq!(force.is_enough(tail), tail.frames > 0, "{tail:?}");
        }
        let little = CompactOptions { memory: Some(ByteSize(1)), ..Default::default() };
        assert!(little.memory_bytes().unwrap_err().to_string().contains("memory: 1 B is too little"));
    }
}
