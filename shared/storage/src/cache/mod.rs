//! Segments on local disk, or in memory where there is no disk, under a budget of bytes.
//!
//! | file | what |
//! |---|---|
//! | `disk` | the directory: files, budget, eviction, what several processes and crashes do to it |
//! | `memory` | the same without a directory, and when the directory fails |
//! | `download` | parallel ranges into a file or memory, verified on the way |
//! | `budget` | how much may be in flight |
//! | `flight` | one download however many ask |
//! | `huge` | anonymous memory on huge pages, for what is expanded from a segment |
//! | `mmap` | mapping; the only `unsafe` of this crate |
//!
//! A segment is verified (size and xxh3-64) when it is downloaded, and once per process when its file is found. What
//! is wrong is fetched again; what cannot be written to disk is kept in memory within a stated bound; what fits
//! nowhere is an error that says so.
//!
//! Memory: segments on disk are mapped, so the kernel takes their pages back as it likes. Downloads hold at most
//! [`DOWNLOAD_BYTES_IN_FLIGHT`] in all. Without a directory, segments take at most the budget; with one that fails, at
//! most [`FALLBACK_BYTES_MAX`]. What a query still holds after it was evicted comes on top, until the query ends.

mod budget;
mod disk;
mod download;
mod flight;
mod huge;
mod memory;
mod mmap;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc};

use cairn_model::ErrorKind;
use memmap2::Mmap;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Collection, Error, Result, SegmentEntry, Store, store::Key};
use disk::{Disk, Reserved};
use download::{Sink, Trouble};
use flight::Flights;
use memory::Shelf;

pub use download::{DOWNLOAD_BYTES_IN_FLIGHT, RANGE_BYTES, RANGES_IN_FLIGHT};
pub use huge::HugePages;
pub use mmap::MappedFile;

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
    bytes: Arc<Mmap>,
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

    /// The bytes of a segment, fetched at most once however many ask. `store` may be metered.
    ///
    /// A segment larger than the budget is downloaded into an unnamed file, shared by those who use it at the same
    /// time, and gone with the last of them; without a directory it is refused.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt` names the object; `Unavailable` when the store does not answer, or when the segment
    /// fits neither on disk nor in memory.
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

    /// What this process has open already.
    async fn lookup(&self, wanted: &Wanted) -> Option<Arc<Mmap>> {
        match &self.disk {
            Some(disk) => match Disk::opened(disk, &wanted.name).await {
                None => self.memory.get(&wanted.name),
                found => found,
            },
            None => self.memory.get(&wanted.name),
        }
    }

    async fn fetch(&self, store: &Store, wanted: &Wanted) -> Result<Cached> {
        let trouble = match &self.disk {
            None => None,
            Some(disk) => match self.fetch_to_disk(disk, store, wanted).await {
                Ok(cached) => return Ok(cached),
                Err(Trouble::Store(error)) => return Err(error),
                Err(Trouble::Local(error)) => {
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
                if trouble.is_some() {
                    "repair the cache directory"
                } else {
                    "raise the cache's budget or give it a directory"
                },
            );
            return Err(Error::unavailable(&wanted.address, why));
        }
        let room = self.memory.reserve(wanted.bytes).await;
        let buffer = mmap::buffer(wanted.bytes).map_err(|error| Error::unavailable(&wanted.address, error))?;
        match download::download(store, wanted, Sink::memory(buffer), &self.in_flight).await {
            Ok(Sink::Memory { buffer, .. }) => {
                let bytes =
                    Arc::new(buffer.make_read_only().map_err(|error| Error::unavailable(&wanted.address, error))?);
                room.keep(&wanted.name, &bytes);
                Ok(Cached { hit: false, bytes })
            }
            Ok(Sink::File(_)) => Err(Error::unavailable(&wanted.address, "went to a file instead of memory")),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Local(error)) => Err(Error::unavailable(&wanted.address, error)),
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
        let name = wanted.name.clone();
        let Reserved { file, temp, keep } = with_disk(disk, move |disk| disk.reserve(&name, bytes)).await?;
        let sink = download::download(store, wanted, Sink::File(file), &self.in_flight).await?;
        let Sink::File(file) = sink else {
            return Err(Trouble::Local(io::Error::other("went to memory instead of a file")));
        };
        let name = wanted.name.clone();
        let bytes = with_disk(disk, move |disk| disk.admit(&name, bytes, Reserved { file, temp, keep })).await?;
        Ok(Cached { hit: false, bytes })
    }
}

/// File work, off the async threads.
async fn with_disk<T: Send + 'static>(
    disk: &Arc<Disk>,
    work: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let disk = Arc::clone(disk);
    tokio::task::spawn_blocking(move || work(&disk)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
