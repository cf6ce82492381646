//! A whole segment in parallel ranges, written in order and verified on the way.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use memmap2::MmapMut;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::Xxh3;

use super::Wanted;
use crate::{Error, Store};

/// Bytes of one range.
pub const RANGE_BYTES: u64 = 8 << 20;
/// Ranges of one segment in flight.
pub const RANGES_IN_FLIGHT: usize = 4;
/// Bytes of all downloads of a cache in flight: received or on the way, and not yet written.
pub const DOWNLOAD_BYTES_IN_FLIGHT: u64 = 128 << 20;

const UNIT_BYTES: u64 = 1 << 20;

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
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    File(File),
    Memory { buffer: MmapMut, written: usize },
}

impl Sink {
    pub(super) fn memory(buffer: MmapMut) -> Self {
        Self::Memory { buffer, written: 0 }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Memory { buffer, written } => {
                let end = *written + bytes.len();
                let place = buffer.get_mut(*written..end).ok_or(io::ErrorKind::WriteZero)?;
                place.copy_from_slice(bytes);
                *written = end;
                Ok(())
            }
        }
    }
}

/// Fills `sink` with the segment and returns it. `in_flight` bounds the memory of all downloads together.
pub(super) async fn download(
    store: &Store,
    wanted: &Wanted,
    sink: Sink,
    in_flight: &Arc<Semaphore>,
) -> Result<Sink, Trouble> {
    let size = wanted.bytes;
    let ranges =
        stream::iter((0..size.div_ceil(RANGE_BYTES)).map(|n| n * RANGE_BYTES..size.min((n + 1) * RANGE_BYTES)));
    let parts = ranges
        .map(|range| async move {
            // Permits go first come first served, and a download asks for its ranges in order: the one that it must
            // write next never waits behind its own later ones.
            let count = u32::try_from(permits(range.end - range.start)).unwrap_or(1);
            let permit = Arc::clone(in_flight).acquire_many_owned(count).await;
            let part = store.get_range(&wanted.key, range, size).await.map_err(Trouble::Store)?;
            Ok::<_, Trouble>((part, permit))
        })
        .buffered(RANGES_IN_FLIGHT);
    let (sink, hash) = parts
        .try_fold((sink, Box::new(Xxh3::new())), |(mut sink, mut hash), (part, permit)| async move {
            let written = tokio::task::spawn_blocking(move || {
                sink.append(&part)?;
                hash.update(&part);
                drop((part, permit));
                Ok::<_, io::Error>((sink, hash))
            });
            Ok(written.await.map_err(io::Error::other)??)
        })
        .await?;
    let found = hash.digest();
    if found != wanted.checksum {
        let why = format!(
            "has the checksum {found:016x}, its manifest says {:016x}: restore it, or build the collection again",
            wanted.checksum
        );
        return Err(Trouble::Store(Error::corrupt(&wanted.address, why)));
    }
    Ok(sink)
}
