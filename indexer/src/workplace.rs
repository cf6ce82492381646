//! A job's directory for temporary files: removed at its end, and after a kill -9 by the next job that works beside it.

use std::{
    fs::{self, File},
    path::Path,
};

use tempfile::TempDir;

use crate::{Error, Result};

const PREFIX: &str = "cairn-index-";
/// Locked while the job lives; the system unlocks it however the process ends.
const LOCK: &str = "lock";
/// The lock before it is locked.
const UNNAMED: &str = "lock.new";

/// A locked temporary directory.
pub(crate) struct Workplace {
    dir: TempDir,
    _lock: File,
}

impl Workplace {
    /// Makes a directory in `parent`, and removes those of jobs that are dead.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub(crate) fn open(parent: &Path) -> Result<Self> {
        sweep(parent);
        let fail = |error| Error::disk(parent, error);
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(fail)?;
        // It has its name only once it is locked: before, others would take it for a dead job's.
        let unnamed = dir.path().join(UNNAMED);
        let lock = File::create_new(&unnamed).map_err(fail)?;
        lock.lock().map_err(fail)?;
        fs::rename(&unnamed, dir.path().join(LOCK)).map_err(fail)?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Best effort: what cannot be read or removed is somebody else's. A directory that has no lock yet is being made.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() && fs::remove_dir_all(entry.path()).is_ok() {
            tracing::debug!(dir = %entry.path().display(), "removed what a dead job left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_removed_and_the_living_are_spared() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("cairn-index-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("x.seg"), "x").unwrap();
        let other = parent.path().join("others");
        fs::create_dir(&other).unwrap();
        let begun = parent.path().join("cairn-index-begun");
        fs::create_dir(&begun).unwrap();
        fs::write(begun.join(UNNAMED), "").unwrap();

        let living = Workplace::open(parent.path()).unwrap();
        assert!(!dead.exists() && other.exists() && begun.exists());
        assert!(File::open(living.path().join(LOCK)).unwrap().try_lock().is_err(), "it is locked under its name");
        let second = Workplace::open(parent.path()).unwrap();
        assert!(living.path().exists() && second.path().exists());
        drop((living, second));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
    }
}
