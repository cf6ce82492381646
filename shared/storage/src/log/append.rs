//! Putting the next object.
//!
//! Every object names its writer and counts its attempts, so no two are alike. When the store refuses a put, it has read back what is there
//! (`store/write`): our own bytes mean that an earlier attempt had won; others that the race is lost, and the same writes go to the next
//! number. When the store does not answer at all, the place is read once more; if that leaves it open, the writer is told
//! so and nothing is tried again, because a request that still travels may arrive.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use cairn_model::{Edition, ErrorKind, Kind};
use tokio::time::{Instant, sleep};

use super::{Frame, Log, Part, Tail, tail::INLINE_BYTES_MAX};
use crate::{Error, Result, store::Put};

/// A full tail is looked at again when the manifest's position is known for longer than this.
const FULL_AGE: Duration = Duration::from_secs(1);

/// Where a write is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Appended {
    /// The object.
    pub sequence: u64,
    /// Which of its parts.
    pub part: u32,
}

/// Why a write was not acknowledged, by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written: too much waits to be folded into segments, or to be put. HTTP 429, with Retry-After.
    #[error("{why}; try again in {} s", retry_after.as_secs_f32().ceil())]
    Full {
        /// What is full.
        why: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing was written: the generation takes no more writes. Open the collection again.
    #[error("this generation of the collection takes no more writes: open the collection again")]
    Ended,
    /// Nothing was written: the collection's vectors were changed since the edition that the writer knows. Open the collection again.
    #[error("the vectors of the collection were changed: open the collection again")]
    Outdated,
    /// Nothing was written.
    #[error(transparent)]
    Failed(Error),
    /// It may be durable or not, and if it is not, it may still become so. Writing it again is safe where twice is as good as once.
    #[error("it is not known whether this was written: {0}")]
    Unknown(Error),
}

impl Kind for AppendError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Full { .. } => ErrorKind::Unavailable,
            Self::Ended | Self::Outdated => ErrorKind::Conflict,
            Self::Failed(error) | Self::Unknown(error) => error.kind,
        }
    }
}

impl From<Error> for AppendError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The patience of one write.
#[derive(Debug)]
pub(super) struct Attempts {
    started: Instant,
    count: u32,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), count: 0 }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Pauses after a lost race.
    pub(super) async fn pause(&mut self, log: &Log) -> Result<()> {
        self.count += 1;
        let (options, elapsed) = (&log.inner.options, self.started.elapsed());
        let pause = log.inner.retry.pause(self.count);
        if self.count >= options.attempts_max || elapsed + pause >= options.deadline {
            let why = format!(
                "others wrote first, {} time(s) in {} ms: try again, or write more points at once",
                self.count,
                elapsed.as_millis()
            );
            return Err(Error::unavailable(log.inner.place.to_string(), why));
        }
        sleep(pause).await;
        Ok(())
    }
}

impl Log {
    /// Puts an end behind the last write, after which this log takes no more. Ending twice is fine.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`AppendError::Unknown`]: end it again.
    pub async fn end(&self) -> std::result::Result<Arc<Tail>, AppendError> {
        let _turn = self.inner.turn.lock().await;
        match self.commit(&[]).await {
            Ok(_) | Err(AppendError::Ended) => Ok(self.tail()),
            Err(error) => Err(error),
        }
    }

    /// Keeps out, from now on, whoever knows earlier editions of the schema only. Fencing twice is fine, and a log that was ended needs none: nothing is
    /// put behind its end by anybody who has not opened the collection again.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`AppendError::Unknown`]: fence it again.
    pub async fn fence(&self, edition: Edition) -> std::result::Result<(), AppendError> {
        let _turn = self.inner.turn.lock().await;
        // Only a position that is asked for now tells an end from one that a fold went past.
        self.ask_position().await?;
        loop {
            match self.ready(&[]).await {
                Err(AppendError::Ended) => return Ok(()),
                ready => ready?,
            };
            // Somebody else may have changed the schema again, and have put no fence yet.
            let (tail, newest) = (self.refresh().await?, self.newest_edition(&[]).max(edition));
            if tail.is_ended() || tail.edition() == newest {
                return Ok(());
            }
            match self.commit(&[Part::fence(newest)?]).await {
                Err(AppendError::Outdated) => {}
                Ok(_) | Err(AppendError::Ended) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The edition of which a write has to be that is put together with these.
    pub(super) fn newest_edition(&self, parts: &[Part]) -> Edition {
        let known = self.known().edition;
        parts.iter().map(Part::edition).fold(known, Edition::max)
    }

    /// Puts parts into one object, at whatever number is free; none put an end. The caller has the turn.
    pub(super) async fn commit(&self, parts: &[Part]) -> std::result::Result<u64, AppendError> {
        let mut attempts = Attempts::new();
        loop {
            let tail = self.ready(parts).await?;
            if let Some(sequence) = self.put(tail.next(), parts).await? {
                return Ok(sequence);
            }
            attempts.pause(self).await?;
            self.refresh().await?;
        }
    }

    /// What has to be known and to hold before a put. The tail that it answers is what the put must follow.
    pub(super) async fn ready(&self, parts: &[Part]) -> std::result::Result<Arc<Tail>, AppendError> {
        self.inner.store.require_safe().await?;
        // Half of it is left for the put itself.
        if self.position_age().is_none_or(|age| age > self.inner.options.position_age_max / 2) {
            self.ask_position().await?;
        }
        if !self.known().probed {
            self.refresh().await?;
        }
        let tail = self.tail();
        if tail.is_ended() {
            return Err(AppendError::Ended);
        }
        self.check_edition(parts)?;
        // An end and a fence must always find room.
        if !parts.iter().all(Part::is_fence) {
            self.check_room(parts.iter().map(|part| part.bytes() as u64).sum()).await?;
        }
        Ok(self.tail())
    }

    /// Whether no part is of an earlier edition than another, or than one of which anything was seen.
    fn check_edition(&self, parts: &[Part]) -> std::result::Result<(), AppendError> {
        let newest = self.newest_edition(parts);
        let is_current = parts.iter().all(|part| part.edition() == newest);
        if is_current { Ok(()) } else { Err(AppendError::Outdated) }
    }

    /// Whether the tail takes so many bytes more.
    pub(super) async fn check_room(&self, bytes: u64) -> std::result::Result<(), AppendError> {
        let options = &self.inner.options;
        let has_room = |tail: &Tail| {
            tail.frames().len() < options.tail_frames_max
                && (tail.frames().is_empty() || tail.bytes().saturating_add(bytes) <= options.tail_bytes_max)
        };
        if has_room(&self.tail()) {
            return Ok(());
        }
        if self.position_age().is_none_or(|age| age > FULL_AGE) {
            self.ask_position().await?;
        }
        let tail = self.tail();
        if has_room(&tail) {
            return Ok(());
        }
        let why = format!(
            "the {} has {} objects of {} bytes that are not in a segment yet, at most {} of {} are allowed",
            self.inner.place,
            tail.frames().len(),
            tail.bytes(),
            options.tail_frames_max,
            options.tail_bytes_max
        );
        Err(AppendError::Full { why, retry_after: options.retry_after })
    }

    /// When a manifest was asked for that was not past this number.
    fn asked_for(&self, sequence: u64) -> Option<Instant> {
        let known = self.known();
        known.position_asked.filter(|_| known.tail.first() <= sequence)
    }

    fn position_age(&self) -> Option<Duration> {
        self.known().position_asked.map(|asked| asked.elapsed())
    }

    /// Puts parts at this number: `None` when somebody else was first. The caller has the turn.
    pub(super) async fn put(&self, sequence: u64, parts: &[Part]) -> std::result::Result<Option<u64>, AppendError> {
        let max = self.inner.options.position_age_max;
        // Taken before the put: what is learnt meanwhile may be that the manifest went past.
        let asked = self.asked_for(sequence);
        let nonce = self.inner.nonce.fetch_add(1, Relaxed);
        let frame = Arc::new(Frame::of(sequence, self.inner.writer, nonce, parts));
        let object = self.encode(Arc::clone(&frame), parts.to_vec()).await?;
        let key = self.inner.place.key(sequence)?;
        let is_put = match self.inner.store.put_if_absent(&key, object.clone()).await {
            Ok(Put::Done(_)) => true,
            Ok(Put::Refused) => false,
            Err(error) => match self.fetch(&self.inner.store, sequence).await {
                Ok(Some(found)) => found == object,
                Ok(None) | Err(_) => return Err(AppendError::Unknown(error)),
            },
        };
        if !is_put {
            return Ok(None);
        }
        self.extend([frame]);
        if [asked, self.asked_for(sequence)].into_iter().flatten().any(|asked| asked.elapsed() <= max) {
            return Ok(Some(sequence));
        }
        // This process slept. If the manifest is not past the place even now, readers find it there.
        match self.ask_position().await {
            Ok(position) if position <= sequence => Ok(Some(sequence)),
            Ok(position) => {
                let why = format!(
                    "number {sequence} was put after a pause of this process, and the manifest is at {position}: it was \
                     folded into a segment, or came too late"
                );
                Err(AppendError::Unknown(Error::unavailable(self.inner.place.to_string(), why)))
            }
            Err(error) => Err(AppendError::Unknown(error)),
        }
    }

    async fn encode(&self, frame: Arc<Frame>, parts: Vec<Part>) -> Result<Bytes> {
        let failed = |why: String| Error::unavailable(self.inner.place.to_string(), why);
        let encoded = if frame.body_bytes > INLINE_BYTES_MAX as u64 {
            let encoded = tokio::task::spawn_blocking(move || frame.encode_parts(&parts)).await;
            encoded.map_err(|error| failed(error.to_string()))?
        } else {
            frame.encode_parts(&parts)
        };
        encoded.map_err(|error| failed(error.to_string()))
    }
}
