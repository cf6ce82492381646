//! The tail: what the log has beyond the manifest's position. A process keeps it and asks only for what comes next.

use std::sync::Arc;

use bytes::Bytes;
use cairn_model::{Edition, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::{FRAME_BYTES_MAX, Frame, Log, Standing};
use crate::{Error, Result, Store, store::Fetched};

/// Objects above this many bytes are decoded on a thread that may block.
pub(super) const INLINE_BYTES_MAX: usize = 64 << 10;
/// How many objects are asked for at once when the first has been found.
const READS_FIRST: usize = 4;

/// A piece of the log without gaps, which never changes: taken once, a request's whole view of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    first: u64,
    frames: Vec<Arc<Frame>>,
    bytes: u64,
}

/// Why a tail and a manifest do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// The tail begins after the manifest's position, or has writes of a later edition: a newer version of the collection has what is missing.
    OldManifest,
    /// The tail ends before the manifest's position, or with an end that the manifest is past: give it to [`Log::fold`] and refresh the tail.
    OldTail,
}

impl Tail {
    pub(super) const fn new(first: u64) -> Self {
        Self { first, frames: Vec::new(), bytes: 0 }
    }

    /// The sequence number at which it begins.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The first sequence number that is not in it.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Its objects, in order.
    #[must_use]
    pub fn frames(&self) -> &[Arc<Frame>] {
        &self.frames
    }

    /// Bytes of their bodies, before compression.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The edition of its last write; 0 where there is none.
    #[must_use]
    pub fn edition(&self) -> Edition {
        self.frames.iter().rev().find(|frame| !frame.is_end()).map_or(0, |frame| frame.edition)
    }

    /// Whether it goes on where a version of the collection ends that stands so, and means nothing that its schema does not know.
    ///
    /// # Errors
    /// When they are too far apart to be one view.
    pub fn fits(&self, standing: Standing) -> std::result::Result<(), Apart> {
        self.since(standing.position)?;
        if self.edition() <= standing.edition { Ok(()) } else { Err(Apart::OldManifest) }
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.is_end())
    }

    /// What a manifest with this log position lacks.
    ///
    /// # Errors
    /// When tail and manifest are too far apart to be one view.
    pub fn since(&self, position: u64) -> std::result::Result<&[Arc<Frame>], Apart> {
        let skip = position.checked_sub(self.first).ok_or(Apart::OldManifest)?;
        // A manifest that is past an end opened the log again: what follows was not looked for, because nothing could follow.
        if self.is_ended() && position == self.next() {
            return Err(Apart::OldTail);
        }
        usize::try_from(skip).ok().and_then(|skip| self.frames.get(skip..)).ok_or(Apart::OldTail)
    }

    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.body_bytes;
        self.frames.push(frame);
    }

    fn drop_below(&mut self, position: u64) {
        let gone = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.frames.len());
        self.bytes -= self.frames.drain(..gone).map(|frame| frame.body_bytes).sum::<u64>();
        self.first = self.first.max(position);
    }
}

impl Log {
    /// What is known, without a request.
    #[must_use]
    pub fn tail(&self) -> Arc<Tail> {
        Arc::clone(&self.known().tail)
    }

    /// The tail as of now or later: one GET when nothing is new, none behind an end. To be sent in one wave with the manifest's conditional GET; if the
    /// manifest's position then lies beyond this tail ([`Apart::OldTail`]), fold and ask again. [`Log::tail`] does not do instead: others may have
    /// folded it past an end since, without looking at what follows.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer; `Corrupt` and `Unsupported` name the object.
    pub async fn refresh(&self) -> Result<Arc<Tail>> {
        self.refresh_through(&self.inner.store).await
    }

    /// The same, with the requests counted by `store`, which is this log's with another meter.
    ///
    /// # Errors
    /// As [`Log::refresh`].
    pub async fn refresh_through(&self, store: &Store) -> Result<Arc<Tail>> {
        let tail = self.tail();
        if tail.is_ended() {
            return Ok(tail);
        }
        let Some(frame) = self.read(store, tail.next()).await? else {
            return Ok(self.probed());
        };
        self.extend([frame]);
        self.catch_up(store).await
    }

    /// Reads on until something is absent.
    async fn catch_up(&self, store: &Store) -> Result<Arc<Tail>> {
        let _one = self.inner.catching_up.lock().await;
        let widest = self.inner.options.reads_max.max(1);
        let mut width = READS_FIRST.min(widest);
        loop {
            let tail = self.tail();
            if tail.is_ended() {
                self.probed();
                return Ok(tail);
            }
            let wanted = (tail.next()..).take(width).map(|sequence| self.read(store, sequence)).collect::<Vec<_>>();
            let read: Vec<_> = stream::iter(wanted).buffered(width).try_collect().await?;
            // One that was absent when it was asked for may have come before a later one was: only what has no gap counts.
            let found: Vec<_> = read.into_iter().map_while(|frame| frame).collect();
            let more = found.len() == width;
            self.extend(found);
            if !more {
                return Ok(self.probed());
            }
            width = (width * 2).min(widest);
        }
    }

    /// Says how a version of the collection stands that was asked for at `asked`: what lies below its position is dropped, and writes of earlier editions
    /// are refused from now on. Older news change nothing.
    pub fn fold(&self, Standing { position, edition }: Standing, asked: Instant) {
        let mut known = self.known();
        known.edition = known.edition.max(edition);
        if position < known.tail.first {
            return;
        }
        if position > known.tail.first {
            // Behind an end nobody looked.
            let end = known.tail.next() - u64::from(known.tail.is_ended());
            known.probed &= position <= end;
            Arc::make_mut(&mut known.tail).drop_below(position);
        }
        known.position_asked = known.position_asked.max(Some(asked));
    }

    /// Asks the manifest for its position.
    ///
    /// # Errors
    /// Those of [`super::Position`].
    pub(super) async fn ask_position(&self) -> Result<u64> {
        let asked = Instant::now();
        let standing = self.inner.position.standing().await?;
        self.fold(standing, asked);
        Ok(standing.position)
    }

    /// Takes up frames that follow what is known; others it has already, or has dropped.
    pub(super) fn extend(&self, frames: impl IntoIterator<Item = Arc<Frame>>) {
        let mut known = self.known();
        for frame in frames {
            if frame.sequence == known.tail.next() {
                known.edition = known.edition.max(frame.edition);
                Arc::make_mut(&mut known.tail).push(frame);
            }
        }
    }

    fn probed(&self) -> Arc<Tail> {
        let mut known = self.known();
        known.probed = true;
        Arc::clone(&known.tail)
    }

    /// The object at a sequence number, if there is one.
    async fn read(&self, store: &Store, sequence: u64) -> Result<Option<Arc<Frame>>> {
        match self.fetch(store, sequence).await? {
            Some(bytes) => self.decode(sequence, bytes).await.map(|frame| Some(Arc::new(frame))),
            None => Ok(None),
        }
    }

    pub(super) async fn fetch(&self, store: &Store, sequence: u64) -> Result<Option<Bytes>> {
        let key = self.inner.place.key(sequence)?;
        match store.get(&key, None, FRAME_BYTES_MAX).await? {
            Fetched::Found(object) => Ok(Some(object.bytes)),
            Fetched::Absent | Fetched::Unchanged => Ok(None),
        }
    }

    async fn decode(&self, sequence: u64, bytes: Bytes) -> Result<Frame> {
        let decoded = if bytes.len() > INLINE_BYTES_MAX {
            let decoded = tokio::task::spawn_blocking(move || Frame::decode(&bytes)).await;
            decoded.map_err(|error| Error::unavailable(self.inner.place.to_string(), error))?
        } else {
            Frame::decode(&bytes)
        };
        let address = || Ok::<_, Error>(self.inner.store.address(&self.inner.place.key(sequence)?));
        match decoded {
            Ok(frame) if frame.sequence == sequence => Ok(frame),
            Ok(frame) => {
                let why = format!("was written as number {}", frame.sequence);
                Err(Error::new(ErrorKind::Corrupt, address()?, why))
            }
            Err(error) => Err(error.of(address()?)),
        }
    }
}
