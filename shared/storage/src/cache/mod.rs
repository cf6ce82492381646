//! Segments on local disk, or in memory where there is no disk, under a budget of bytes.
//!
//! | file | what |
//! |---|---|
//! | `disk` | the directory: files, budget, eviction, what several processes and crashes do to it |
//! | `memory` | the same without a directory, and when the directory fails |
//! | `download` | parallel ranges into a file or memory, verified on the way |
//! | `partial` | an unfinished file, which is gone on with |
//! | `budget` | how much may be in flight |
//! | `eviction` | what was given up: who is told, and what is still mapped |
//! | `flight` | one download however many ask |
//! | `huge` | anonymous memory on huge pages, for what is expanded from a segment |
//! | `ranges` | heads and ranges of segments that are not here |
//! | `mmap` | mapping; the only `unsafe` of this crate |
//!
//! A segment is verified (size and xxh3-64) when it is downloaded, and once per process when its file is found. What
//! is wrong is fetched again; what cannot be written to disk is kept in memory within a stated bound; what fits
//! nowhere is an error that says so.
//!
//! Memory: segments on disk are mapped, so the kernel takes their pages back as it likes. Downloads hold at most
//! [`DOWNLOAD_BYTES_IN_FLIGHT`] in all. Without a directory, segments take at most the budget; with one that fails, at
//! most [`FALLBACK_BYTES_MAX`]. What a query still holds after it was evicted comes on top until the query ends; it is counted
//! ([`Cache::held_bytes`]), and less room is offered meanwhile ([`Cache::room_bytes`]). Whoever keeps bytes longer is told to let them go
//! ([`Cache::on_eviction`]).
//!
//! A disk that proves full, whatever was counted, has everything evicted that can be, and the download is tried once more.

mod budget;
mod disk;
mod download;
mod eviction;
mod flight;
mod huge;
mod memory;
mod mmap;
mod partial;
pub mod ranges;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc};

use cairn_model::ErrorKind;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Collection, Error, Result, SegmentEntry, Store, store::Key};
use disk::{Disk, Reserved};
use download::{Sink, Trouble};
use eviction::Mapping;
use flight::Flights;
use memory::Shelf;
use partial::Partial;

pub use download::{DOWNLOAD_BYTES_IN_FLIGHT, RANGE_BYTES, RANGES_IN_FLIGHT};
pub use eviction::Listener;
pub use huge::HugePages;
pub use mmap::MappedFile;
pub use ranges::{RangeCache, Ranges};

/// Most bytes of segments kept in memory because the cache directory failed.
pub const FALLBACK_BYTES_MAX: u64 = 256 << 20;

/// Where and how much.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Directory; `None` keeps segments in memory only.
    pub dir: Option<PathBuf>,
    /// Budget in bytes.
    pub bytes_max: u64,
    /// Ask the kernel to read mapped files ahead (`MADV_WILLNEED`).
    pub populate: bool,
}

/// A segment's bytes on local disk (mapped) or in memory. They start at a page boundary.
///
/// They stay valid while this lives, also when the file is evicted. Ask the cache again for every query instead of
/// keeping this for long: asking is cheap and is what the cache's notion of "recently used" lives on.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Whether it was there already, so that this call asked the store for nothing.
    pub hit: bool,
    bytes: Arc<Mapping>,
}

impl Cached {
    /// Whether the cache still has them. Bytes that it gave up, or never had, are to be let go with the query.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.bytes.is_kept()
    }
}

impl AsRef<[u8]> for Cached {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    key: Key,
    /// The object, for messages.
    address: String,
    /// Its name in the cache: the segment's id, and a hash of its address and checksum, so that neither another
    /// store's segment of the same id nor a rebuilt one can be taken for it.
    name: String,
    bytes: u64,
    checksum: u64,
}

impl Wanted {
    fn new(store: &Store, collection: &Collection, shard: u32, entry: &SegmentEntry) -> Result<Self> {
        let key = collection.segment_key(shard, entry)?;
        let (address, checksum) = (store.address(&key), entry.checksum_value()?);
        if entry.bytes == 0 {
            return Err(Error::corrupt(address, "has no bytes, says its manifest"));
        }
        let hash = xxh3_128(format!("{address} {} {checksum:016x}", entry.bytes).as_bytes());
        Ok(Self { name: format!("{}-{hash:032x}", entry.id), key, address, bytes: entry.bytes, checksum })
    }
}

/// Segment files on local disk, under a budget.
#[derive(Debug)]
pub struct Cache {
    disk: Option<Arc<Disk>>,
    memory: Shelf,
    flights: Flights,
    in_flight: Arc<Semaphore>,
}

impl Cache {
    /// Opens or creates the cache directory and sweeps what a dead process left.
    ///
    /// # Errors
    /// `Invalid` for a budget of zero, `Unavailable` when the directory cannot be created or read.
    pub fn open(options: CacheOptions) -> Result<Self> {
        if options.bytes_max == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "cache",
                "its budget is 0 bytes: at least one segment must fit",
            ));
        }
        let disk = match options.dir {
            Some(dir) => {
                let disk = Disk::open(&dir, options.bytes_max, options.populate)
                    .map_err(|error| Error::unavailable(format!("cache directory {}", dir.display()), error))?;
                Some(Arc::new(disk))
            }
            None => None,
        };
        let memory_bytes_max =
            if disk.is_some() { options.bytes_max.min(FALLBACK_BYTES_MAX) } else { options.bytes_max };
        Ok(Self {
            disk,
            memory: Shelf::new(memory_bytes_max),
            flights: Flights::default(),
            in_flight: Arc::new(Semaphore::new(download::permits(DOWNLOAD_BYTES_IN_FLIGHT))),
        })
    }

    /// The same, keeping at most so many bytes of segments in memory because the directory failed, and never more than
    /// [`FALLBACK_BYTES_MAX`]: queries hold on to what they read, and a process that is killed answers nobody.
    #[must_use]
    pub fn with_fallback(self, bytes_max: u64) -> Self {
        match self.disk {
            Some(_) => Self { memory: Shelf::new(self.memory.bytes_max().min(bytes_max)), ..self },
            None => self,
        }
    }

    /// Has `listener` told of every segment whose bytes are given up. The space of an evicted file is free when nobody has it mapped.
    pub fn on_eviction(&self, listener: Listener) {
        if let Some(disk) = &self.disk {
            disk.given_up.listen(Arc::clone(&listener));
        }
        self.memory.given_up.listen(listener);
    }

    /// Bytes of evicted segments that somebody still has mapped.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.given_up.held_bytes()) + self.memory.given_up.held_bytes()
    }

    /// Bytes of segments that may be here at once now, whatever is evicted for them: by the budget, by the disk's free space, and by what
    /// downloads and queries take.
    pub async fn room_bytes(&self) -> u64 {
        match &self.disk {
            // A directory that cannot be read holds nothing.
            Some(disk) => with_disk(disk, Disk::room_bytes).await.unwrap_or_else(|_| self.memory.room_bytes()),
            None => self.memory.room_bytes(),
        }
    }

    /// The bytes of a segment, fetched at most once however many ask. `store` may be metered.
    ///
    /// A segment larger than the budget is downloaded into an unnamed file, shared by those who use it at the same
    /// time, and gone with the last of them; without a directory it is refused.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt` names the object; `Unavailable` when the store does not answer, or when the segment
    /// fits neither on disk nor in memory; `Full` when that is because the disk is full.
    pub async fn segment(
        &self,
        store: &Store,
        collection: &Collection,
        shard: u32,
        entry: &SegmentEntry,
    ) -> Result<Cached> {
        let wanted = Wanted::new(store, collection, shard, entry)?;
        if let Some(bytes) = self.lookup(&wanted).await {
            return Ok(Cached { hit: true, bytes });
        }
        let flight = self.flights.join(&wanted.name);
        let mut failure = flight.lock().await;
        if let Some(error) = &*failure {
            return Err(Error::clone(error));
        }
        if let Some(bytes) = self.lookup(&wanted).await {
            return Ok(Cached { hit: true, bytes });
        }
        let fetched = self.fetch(store, &wanted).await;
        if let Err(error) = &fetched {
            *failure = Some(error.clone());
        }
        self.flights.leave(&wanted.name, &flight);
        fetched
    }

    /// Whether the segment is here, so that asking for it asks the store for nothing, unless it proves damaged.
    ///
    /// # Errors
    /// `Corrupt` when the entry contradicts itself.
    pub async fn has(&self, store: &Store, collection: &Collection, shard: u32, entry: &SegmentEntry) -> Result<bool> {
        let wanted = Wanted::new(store, collection, shard, entry)?;
        if self.lookup(&wanted).await.is_some() {
            return Ok(true);
        }
        let Some(disk) = &self.disk else { return Ok(false) };
        let (name, bytes) = (wanted.name.clone(), wanted.bytes);
        Ok(with_disk(disk, move |disk| Ok(disk.has(&name, bytes))).await.unwrap_or(false))
    }

    /// Whether a segment of so many bytes could be kept here.
    #[must_use]
    pub fn fits(&self, bytes: u64) -> bool {
        bytes <= self.disk.as_ref().map_or(self.memory.bytes_max(), |disk| disk.budget().bytes_max())
    }

    /// What this process has open already.
    async fn lookup(&self, wanted: &Wanted) -> Option<Arc<Mapping>> {
        match &self.disk {
            Some(disk) => match Disk::opened(disk, &wanted.name).await {
                None => self.memory.get(&wanted.name),
                found => found,
            },
            None => self.memory.get(&wanted.name),
        }
    }

    async fn fetch(&self, store: &Store, wanted: &Wanted) -> Result<Cached> {
        let mut full = false;
        let trouble = match &self.disk {
            None => None,
            Some(disk) => match self.fetch_to_disk(disk, store, wanted).await {
                Ok(cached) => return Ok(cached),
                Err(Trouble::Store(error)) => return Err(error),
                Err(Trouble::Partial) => Some("an unfinished download was damaged".to_owned()),
                Err(Trouble::Local(error)) => {
                    full = is_full(&error);
                    tracing::warn!(dir = %disk.dir().display(), segment = %wanted.name, %error,
                        "the cache directory failed: the segment is kept in memory");
                    Some(format!("cache directory {}: {error}", disk.dir().display()))
                }
            },
        };
        if wanted.bytes > self.memory.bytes_max() {
            let why = format!(
                "{}: its {} bytes do not fit in the {} bytes that may be kept in memory: {}",
                trouble.as_deref().unwrap_or("no cache directory"),
                wanted.bytes,
                self.memory.bytes_max(),
                if full {
                    "give its file system more space, or ask for less at once"
                } else if trouble.is_some() {
                    "repair the cache directory"
                } else {
                    "raise the cache's budget or give it a directory"
                },
            );
            let kind = if full { ErrorKind::Full } else { ErrorKind::Unavailable };
            return Err(Error::new(kind, &wanted.address, why));
        }
        let room = self.memory.reserve(wanted.bytes).await;
        let buffer = mmap::buffer(wanted.bytes).map_err(|error| Error::unavailable(&wanted.address, error))?;
        match download::download(store, wanted, Sink::memory(buffer), &self.in_flight).await {
            Ok(Sink::Memory { buffer, .. }) => {
                let map = buffer.make_read_only().map_err(|error| Error::unavailable(&wanted.address, error))?;
                let bytes = Mapping::kept(map);
                room.keep(&wanted.name, &bytes);
                Ok(Cached { hit: false, bytes })
            }
            Ok(Sink::File(_)) => Err(Error::unavailable(&wanted.address, "went to a file instead of memory")),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Local(error)) => Err(Error::unavailable(&wanted.address, error)),
            Err(Trouble::Partial) => Err(Error::unavailable(&wanted.address, "was read from an unfinished download")),
        }
    }

    async fn fetch_to_disk(
        &self,
        disk: &Arc<Disk>,
        store: &Store,
        wanted: &Wanted,
    ) -> std::result::Result<Cached, Trouble> {
        let (name, bytes, checksum) = (wanted.name.clone(), wanted.bytes, wanted.checksum);
        let found = with_disk(disk, move |disk| disk.reuse(&name, bytes, checksum)).await?;
        if let Some(bytes) = found {
            return Ok(Cached { hit: true, bytes });
        }
        let _permit = disk.budget().acquire(bytes).await;
        let (partial, keep) = match self.fetch_to_file(disk, store, wanted, true).await {
            Err(Trouble::Partial) => self.fetch_to_file(disk, store, wanted, false).await?,
            Err(Trouble::Local(error)) if is_full(&error) => {
                with_disk(disk, Disk::clear).await?;
                tracing::warn!(dir = %disk.dir().display(), %error, held_bytes = disk.given_up.held_bytes(),
                    "the cache's disk is full: everything was evicted, once more");
                self.fetch_to_file(disk, store, wanted, true).await?
            }
            fetched => fetched?,
        };
        let name = wanted.name.clone();
        let bytes = with_disk(disk, move |disk| disk.admit(&name, bytes, Reserved { partial, keep })).await?;
        Ok(Cached { hit: false, bytes })
    }

    /// The whole segment in a file that has no name yet, and whether it may stay.
    async fn fetch_to_file(
        &self,
        disk: &Arc<Disk>,
        store: &Store,
        wanted: &Wanted,
        resume: bool,
    ) -> std::result::Result<(Partial, bool), Trouble> {
        let (name, bytes) = (wanted.name.clone(), wanted.bytes);
        let Reserved { partial, keep } = with_disk(disk, move |disk| disk.reserve(&name, bytes, resume)).await?;
        match download::download(store, wanted, Sink::File(partial), &self.in_flight).await? {
            Sink::File(partial) => Ok((partial, keep)),
            Sink::Memory { .. } => Err(Trouble::Local(io::Error::other("went to memory instead of a file"))),
        }
    }
}

/// Whether a disk, or what may be taken of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// File work, off the async threads.
async fn with_disk<T: Send + 'static>(
    disk: &Arc<Disk>,
    work: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let disk = Arc::clone(disk);
    tokio::task::spawn_blocking(move || work(&disk)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
