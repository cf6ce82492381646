//! Mapped files and page-aligned memory: the only `unsafe` of this crate.

use std::{fs::File, io};

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};

fn length(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::Error::other(format!("{bytes} bytes do not fit in this machine's memory")))
}

/// Maps the first `bytes` bytes of a cache file. `populate` asks the kernel to read it ahead; otherwise pages come
/// one by one, as a graph search touches them.
#[expect(unsafe_code, reason = "a file mapping is only as safe as the file is stable")]
pub(super) fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    if file.metadata()?.len() != bytes {
        return Err(io::Error::other("the file changed its length while it was opened"));
    }
    // SAFETY: the mapping is valid as long as nobody truncates or rewrites the file. Cache files are private to Cairn:
    // each is written under a temporary name, complete before it is mapped or renamed into place, and never written or
    // truncated afterwards; a damaged one is unlinked and replaced by a new file (a new inode), and eviction only
    // unlinks, which leaves the mapped pages valid.
    unsafe { MmapOptions::new().len(length(bytes)?).map(file) }
}

/// Tells the kernel how the mapping will be read. Advice: when it is refused, nothing is wrong.
pub(super) fn advise(map: &Mmap, populate: bool) {
    let _ = map.advise(Advice::Random);
    if populate {
        let _ = map.advise(Advice::WillNeed);
    }
}

/// Tells the kernel that the mapping is about to be read once from its beginning to its end.
pub(super) fn advise_verification(map: &Mmap) {
    let _ = map.advise(Advice::Sequential);
}

/// A whole file that nobody else writes, mapped: for measuring a segment that no store holds.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file that was written completely. It must stay as it is while it is mapped, as cache files do.
    ///
    /// # Errors
    /// The file cannot be opened or mapped.
    pub fn open(path: &std::path::Path, populate: bool) -> io::Result<Self> {
        let file = File::open(path)?;
        let map = map(&file, file.metadata()?.len())?;
        advise(&map, populate);
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Zeroed memory that begins at a page boundary, like a mapped file.
pub(super) fn buffer(bytes: u64) -> io::Result<MmapMut> {
    MmapMut::map_anon(length(bytes)?)
}
