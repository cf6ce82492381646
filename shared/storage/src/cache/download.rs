//! A whole segment in parallel ranges: each is written when it is there, and verified on the way as far as there are no gaps.

use std::{io, ops::Range, pin::pin, sync::Arc};

use cairn_model::ErrorKind;
use futures::{StreamExt as _, stream};
use memmap2::MmapMut;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::Xxh3;

use super::{
    Wanted,
    partial::{self, Partial},
};
use crate::{Error, Store};

/// Bytes of one range.
pub const RANGE_BYTES: u64 = 8 << 20;
/// Ranges of one segment in flight.
pub const RANGES_IN_FLIGHT: usize = 4;
/// Bytes of all downloads of a cache in flight: received or on the way, and not yet written.
pub const DOWNLOAD_BYTES_IN_FLIGHT: u64 = 128 << 20;

const UNIT_BYTES: u64 = 1 << 20;
/// Bytes that are read back at once.
const READ_BYTES: usize = 1 << 20;

/// How many permits so many bytes in flight need.
pub(super) fn permits(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(Semaphore::MAX_PERMITS).clamp(1, Semaphore::MAX_PERMITS)
}

/// Whose fault it was that there is no segment.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store's: no place on this machine would help.
    Store(Error),
    /// This machine's: another place may help.
    Local(io::Error),
    /// An unfinished file's: it was not what it said, and is gone.
    Partial,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    File(Partial),
    Memory { buffer: MmapMut, written: Vec<bool> },
}

impl Sink {
    pub(super) fn memory(buffer: MmapMut) -> Self {
        let parts = usize::try_from(partial::parts(buffer.len() as u64)).unwrap_or(0);
        Self::Memory { buffer, written: vec![false; parts] }
    }

    fn has(&self, part: usize) -> bool {
        match self {
            Self::File(partial) => partial.has(part),
            Self::Memory { written, .. } => written.get(part).copied().unwrap_or(false),
        }
    }

    fn is_resumed(&self) -> bool {
        matches!(self, Self::File(partial) if partial.is_resumed())
    }

    /// Nobody is to go on with it.
    fn discard(&mut self) {
        if let Self::File(partial) = self {
            partial.may_stay(false);
        }
    }

    fn write(&mut self, part: usize, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(partial) => partial.write(part, bytes),
            Self::Memory { buffer, written } => {
                let start = usize::try_from(part as u64 * RANGE_BYTES).unwrap_or(usize::MAX);
                let place = buffer.get_mut(start..start.saturating_add(bytes.len())).ok_or(io::ErrorKind::WriteZero)?;
                place.copy_from_slice(bytes);
                *written.get_mut(part).ok_or(io::ErrorKind::WriteZero)? = true;
                Ok(())
            }
        }
    }

    /// Reads back what was written, into the checksum.
    fn hash(&self, range: Range<u64>, hash: &mut Xxh3) -> io::Result<()> {
        match self {
            Self::File(partial) => {
                let mut piece = vec![0; READ_BYTES];
                let mut offset = range.start;
                while offset < range.end {
                    let len = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(READ_BYTES);
                    partial.read(offset, &mut piece[..len])?;
                    hash.update(&piece[..len]);
                    offset += len as u64;
                }
            }
            Self::Memory { buffer, .. } => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                hash.update(buffer.get(place(range.start)..place(range.end)).ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(())
    }
}

/// A segment that comes together.
struct Assembly {
    sink: Sink,
    bytes: u64,
    hash: Box<Xxh3>,
    /// Parts before this one are in the checksum.
    hashed: usize,
}

impl Assembly {
    fn put(&mut self, part: usize, bytes: &[u8]) -> io::Result<()> {
        self.sink.write(part, bytes)?;
        if part == self.hashed {
            self.hash.update(bytes);
            self.hashed += 1;
        }
        self.advance()
    }

    /// Takes into the checksum what was written ahead of its turn, or by an earlier attempt.
    fn advance(&mut self) -> io::Result<()> {
        while self.sink.has(self.hashed) {
            self.sink.hash(range(self.hashed, self.bytes), &mut self.hash)?;
            self.hashed += 1;
        }
        Ok(())
    }

    /// Work on a disk, off the async threads. A file that fails is of no use.
    async fn with(mut self, work: impl FnOnce(&mut Self) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let done = tokio::task::spawn_blocking(move || match work(&mut self) {
            Ok(()) => Ok(self),
            Err(error) => {
                self.sink.discard();
                Err(error)
            }
        });
        done.await.map_err(io::Error::other)?
    }
}

/// The bytes of a part.
fn range(part: usize, bytes: u64) -> Range<u64> {
    let start = part as u64 * RANGE_BYTES;
    start..bytes.min(start + RANGE_BYTES)
}

/// Fills `sink` with what it lacks of the segment and returns it. `in_flight` bounds the memory of all downloads together.
///
/// What was written stays in the sink's file when the store fails, the future is dropped or the process dies.
pub(super) async fn download(
    store: &Store,
    wanted: &Wanted,
    sink: Sink,
    in_flight: &Arc<Semaphore>,
) -> Result<Sink, Trouble> {
    let size = wanted.bytes;
    let count = usize::try_from(partial::parts(size)).map_err(io::Error::other)?;
    let missing: Vec<usize> = (0..count).filter(|part| !sink.has(*part)).collect();
    let assembly = Assembly { sink, bytes: size, hash: Box::new(Xxh3::new()), hashed: 0 };
    let mut assembly = assembly.with(Assembly::advance).await?;
    let parts = stream::iter(missing)
        .map(|part| async move {
            let range = range(part, size);
            let count = u32::try_from(permits(range.end - range.start)).unwrap_or(1);
            let permit = Arc::clone(in_flight).acquire_many_owned(count).await;
            Ok::<_, Error>((part, store.get_range(&wanted.key, range, size).await?, permit))
        })
        // Each is written when it is there, so that what was received is kept when another one fails.
        .buffer_unordered(RANGES_IN_FLIGHT);
    let mut parts = pin!(parts);
    while let Some(part) = parts.next().await {
        match part {
            Ok((part, bytes, permit)) => {
                let put = move |assembly: &mut Assembly| {
                    assembly.put(part, &bytes)?;
                    drop((bytes, permit));
                    Ok(())
                };
                assembly = assembly.with(put).await?;
            }
            Err(error) => {
                if error.kind != ErrorKind::Unavailable {
                    assembly.sink.discard();
                }
                return Err(Trouble::Store(error));
            }
        }
    }
    let Assembly { mut sink, hash, .. } = assembly;
    let found = hash.digest();
    if found == wanted.checksum {
        return Ok(sink);
    }
    sink.discard();
    if sink.is_resumed() {
        tracing::warn!(segment = wanted.name, "an unfinished download was damaged: it is begun anew");
        return Err(Trouble::Partial);
    }
    let why = format!(
        "has the checksum {found:016x}, its manifest says {:016x}: restore it, or build the collection again",
        wanted.checksum
    );
    Err(Trouble::Store(Error::corrupt(&wanted.address, why)))
}
