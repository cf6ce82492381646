//! A segment's file while it is being downloaded, and what is complete of it.
//!
//! ```text
//! the segment's bytes, each part at its place | a byte for each part: 1 once the part is written
//! ```
//!
//! Whoever downloads holds a lock on the file, which the operating system gives back when he dies: an unlocked one is unfinished, and is
//! gone on with. What it says is complete is believed until the checksum of the whole file says otherwise.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::download::RANGE_BYTES;

/// A file without a lock (on a file system that has none) that is older than this is nobody's.
const AGE_MAX: Duration = Duration::from_secs(3_600);
const WRITTEN: u8 = 1;

/// An unfinished file of this process. Unless it was admitted, dropping it leaves it to be gone on with, if that is worth it.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    /// `None` once it is another file.
    path: Option<PathBuf>,
    bytes: u64,
    written: Vec<bool>,
    /// Whether parts of it were written by somebody else.
    resumed: bool,
    /// Whether it may stay when it is dropped.
    stays: bool,
}

/// How many parts so many bytes have.
pub(super) fn parts(bytes: u64) -> u64 {
    bytes.div_ceil(RANGE_BYTES)
}

/// Bytes of the segment of which an unfinished file is so long.
pub(super) fn segment_bytes(file_bytes: u64) -> u64 {
    file_bytes - file_bytes.div_ceil(RANGE_BYTES + 1)
}

/// Whether the process that downloads into this file is gone.
pub(super) fn is_dead(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => {
            let age =
                file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
            age.is_some_and(|age| age > AGE_MAX)
        }
    }
}

/// Whether there is anything to go on with in an unfinished file.
pub(super) fn is_begun(path: &Path) -> bool {
    let begun = || {
        let file = File::open(path)?;
        let bytes = segment_bytes(file.metadata()?.len());
        Ok::<_, io::Error>(marks(&file, bytes)?.contains(&true))
    };
    begun().unwrap_or(false)
}

/// Which parts are written.
fn marks(file: &File, bytes: u64) -> io::Result<Vec<bool>> {
    let len = file.metadata()?.len();
    if len != bytes + parts(bytes) {
        let why = format!("it is {len} bytes long, not {} and a byte for each part", bytes);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut marks = vec![0; usize::try_from(parts(bytes)).map_err(io::Error::other)?];
    file.read_exact_at(&mut marks, bytes)?;
    Ok(marks.into_iter().map(|mark| mark == WRITTEN).collect())
}

impl Partial {
    /// Begins a file that does not exist yet.
    pub(super) fn create(path: PathBuf, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let mut partial = Self { file, path: Some(path), bytes, written: Vec::new(), resumed: false, stays: false };
        // A file system without locks is no reason to fail: who looks for unfinished files goes by age there.
        let _ = partial.file.try_lock();
        // From now on whoever counts sees all of it.
        partial.file.set_len(bytes + parts(bytes))?;
        partial.written = vec![false; usize::try_from(parts(bytes)).map_err(io::Error::other)?];
        Ok(partial)
    }

    /// Goes on with an unfinished file; `None` when somebody else does. One that makes no sense is removed.
    pub(super) fn resume(path: PathBuf, bytes: u64) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        file.try_lock().ok()?;
        // Whoever held the lock may have finished meanwhile: then this is the segment's file, or none.
        let (here, there) = (file.metadata().ok()?, fs::metadata(&path).ok()?);
        if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
            return None;
        }
        match marks(&file, bytes) {
            Ok(written) => Some(Self { file, path: Some(path), bytes, written, resumed: true, stays: true }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an unfinished download is of no use and is removed");
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Whether it may stay unfinished, once something of it is written.
    pub(super) fn may_stay(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Whether some of it was written before.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    pub(super) fn has(&self, part: usize) -> bool {
        self.written.get(part).copied().unwrap_or(false)
    }

    pub(super) fn write(&mut self, part: usize, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        super::tests::full::check(self.path.as_deref(), bytes.len() as u64)?;
        self.file.write_all_at(bytes, part as u64 * RANGE_BYTES)?;
        self.file.write_all_at(&[WRITTEN], self.bytes + part as u64)?;
        let written = self.written.get_mut(part).ok_or(io::ErrorKind::WriteZero)?;
        *written = true;
        Ok(())
    }

    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    /// All parts are written and verified: makes it what the segment's file is.
    pub(super) fn finish(&self) -> io::Result<&File> {
        self.file.set_len(self.bytes)?;
        Ok(&self.file)
    }

    /// Gives the finished file its name.
    pub(super) fn rename(&mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, to)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let worth_it = self.stays && self.written.contains(&true);
        if let Some(path) = self.path.take().filter(|_| !worth_it) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_file_tells_that_of_its_segment() {
        for bytes in [1, 100, RANGE_BYTES - 1, RANGE_BYTES, RANGE_BYTES + 1, 3 * RANGE_BYTES, 7 * RANGE_BYTES + 5] {
            assert_eq!(segment_bytes(bytes + parts(bytes)), bytes);
        }
    }

    #[test]
    fn what_is_written_stays_and_what_makes_no_sense_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        let bytes = 2 * RANGE_BYTES + 9;
        drop(Partial::create(path.clone(), bytes).unwrap());
        assert!(!path.exists(), "nothing is written");
        let mut partial = Partial::create(path.clone(), bytes).unwrap();
        partial.may_stay(true);
        partial.write(2, b"123456789").unwrap();
        assert!(!is_dead(&path) && is_begun(&path));
        assert!(Partial::resume(path.clone(), bytes).is_none(), "somebody is at it");
        drop(partial);
        assert!(is_dead(&path));
        let partial = Partial::resume(path.clone(), bytes).unwrap();
        assert_eq!([0, 1, 2, 3].map(|part| partial.has(part)), [false, false, true, false]);
        let mut found = [0; 9];
        partial.read(2 * RANGE_BYTES, &mut found).unwrap();
        assert_eq!(&found, b"123456789");
        drop(partial);
        assert!(Partial::resume(path.clone(), bytes + 1).is_none());
        assert!(!path.exists(), "it is another segment's");
    }
}
