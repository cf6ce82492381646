//! A shard's log: the writes that are not in a segment yet, as a sequence of objects that are put if absent.
//!
//! An object's name is its sequence number, so one writer gets each number, whoever they are and however many: no server owns a log. What
//! is acknowledged at a number was put when all smaller ones were there, so the order of the numbers is an order in which
//! the writes could have happened one after another, and one that began after another was acknowledged comes later.
//!
//! The log belongs to a *generation*, as its segments do, and not to the collection: another generation has other shards, and a collection
//! that is deleted and made again must not find the old one's writes. Whoever replaces a generation puts an *end* behind its last
//! write ([`Log::end`]); from then on this log refuses, and writers learn that they must look up the collection again.
//!
//! | file | what |
//! |---|---|
//! | `frame`, `body`, `wire` | one object, as bytes: `FORMAT.md` |
//! | `tail` | what is known of the log behind the manifest's position; probing for more |
//! | `append` | putting the next object; lost replies and lost races |
//! | `group` | writes of one process share a put |
//! | `conditional` | writes that depend on what is there |
//! | `spread` | writes to several shards |
//! | `open` | the logs that a process has |
//!
//! # Editions
//!
//! Each object says of which edition of the schema its writes are ([`cairn_model::Editions`]), and none is put behind one of a later edition: who knows
//! an earlier one only learns that the collection's vectors were changed ([`AppendError::Outdated`]). Whoever changes them puts a *fence* of the new edition
//! into every log ([`Log::fence`]) before anybody is told, so that what is acknowledged later is written by who knows of it.
//!
//! # Positions, and what may be deleted
//!
//! A manifest says which sequence number is the first that is not in its segments: its *log position*. Objects below are garbage,
//! but not at once: a writer that slept would find the place of a deleted object free, put its own there, and nobody would ever read
//! it. So (a) the collector leaves a log object alone until a manifest has been past it for [`KEPT_MS_MIN`]; (b) a put is acknowledged only if a
//! manifest that was asked for at most [`LogOptions::position_age_max`] before the reply, or one asked for after it, is not past the place. Both
//! together, and only monotonic clocks, make it certain that every acknowledged write is where readers look.

mod append;
mod body;
mod conditional;
mod frame;
mod group;
mod open;
mod spread;
mod tail;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use cairn_model::{CollectionName, Edition};
use tokio::time::Instant;
use ulid::Ulid;

use crate::{
    Result, Store,
    store::{Key, Retry},
};

pub use append::{AppendError, Appended};
pub use conditional::Outcome;
pub use frame::{FRAME_BYTES_MAX, Frame, FrameError, HEADER_BYTES, Part, VERSION};
pub use group::{Counters, Ticket};
pub use open::Logs;
pub use spread::{Spread, append_all};
pub use tail::{Apart, Tail};

/// The collector keeps a log object at least so long after a manifest went past it, in milliseconds.
pub const KEPT_MS_MIN: u64 = 15 * 60 * 1_000;

/// Bounds and patience.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A put takes waiting writes until their bodies have so many bytes; a single larger one goes alone.
    pub batch_bytes: usize,
    /// Most writes in one put, at most [`cairn_model::limits::LOG_PARTS_MAX`].
    pub batch_parts: usize,
    /// Bytes of writes that wait for a put; past it, writes are refused.
    pub queue_bytes_max: usize,
    /// Bytes (before compression) between the manifest's position and the end of the log; past it, writes are refused. Writers that do not
    /// know of one another may each exceed it by a batch. Reading has no such bound.
    pub tail_bytes_max: u64,
    /// Objects between the manifest's position and the end of the log, likewise.
    pub tail_frames_max: usize,
    /// What a refused writer is told to wait.
    pub retry_after: Duration,
    /// How long a write goes on losing races; every request has the store's own deadline.
    pub deadline: Duration,
    /// Most races that one write may lose.
    pub attempts_max: u32,
    /// How old the knowledge of the manifest's position may be; much less than [`KEPT_MS_MIN`].
    pub position_age_max: Duration,
    /// Objects of the log that are read at once.
    pub reads_max: usize,
    /// Who writes, for tests that are to repeat themselves; else every [`Log`] is a new one, as it must be: two logs of one writer would
    /// take each other's objects for their own.
    pub writer: Option<Ulid>,
    /// Decides the jitter of pauses.
    pub seed: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            batch_bytes: 8 << 20,
            batch_parts: 256,
            queue_bytes_max: 128 << 20,
            tail_bytes_max: 256 << 20,
            tail_frames_max: 4_096,
            retry_after: Duration::from_secs(1),
            deadline: Duration::from_secs(30),
            attempts_max: 64,
            position_age_max: Duration::from_secs(60),
            reads_max: 16,
            writer: None,
            seed: rand::random(),
        }
    }
}

/// Where a log lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Whose.
    pub collection: CollectionName,
    /// Of which generation: a ULID.
    pub generation: String,
    /// Of which shard.
    pub shard: u32,
}

impl Place {
    fn key(&self, sequence: u64) -> Result<Key> {
        Key::log(&self.collection, &self.generation, self.shard, sequence)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log of '{}', generation {}, shard {}", self.collection, self.generation, self.shard)
    }
}

/// What a log has to be held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest manifest's log position.
    pub position: u64,
    /// The newest schema's edition.
    pub edition: Edition,
}

/// Who knows how far the segments go: the collection's document.
#[async_trait]
pub trait Position: Send + Sync {
    /// What the newest version of the collection says.
    ///
    /// # Errors
    /// `NotFound` when the generation is gone, `Unavailable` when the store does not answer.
    async fn standing(&self) -> Result<Standing>;
}

/// One shard's log as one process knows it. Cheap to clone; clones are the same log.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    place: Place,
    position: Arc<dyn Position>,
    options: LogOptions,
    writer: Ulid,
    retry: Retry,
    nonce: AtomicU64,
    known: Mutex<Known>,
    /// Held while catching up over several objects, so that one reader fetches them for all.
    catching_up: tokio::sync::Mutex<()>,
    /// Held by whoever puts; it is fair.
    turn: tokio::sync::Mutex<()>,
    group: group::Group,
}

/// Locked for moments only, never across a request.
struct Known {
    tail: Arc<Tail>,
    /// When the manifest was asked for that had the position of the tail's beginning.
    position_asked: Option<Instant>,
    /// Whether the end of the log was seen once: before, the tail says nothing about it.
    probed: bool,
    /// The latest edition of which anything was seen: of the log, or of the collection.
    edition: Edition,
}

impl Log {
    /// The log at `place`. Sends no request.
    #[must_use]
    pub fn new(store: Store, place: Place, position: Arc<dyn Position>, options: LogOptions) -> Self {
        let mut retry = Retry::new(options.deadline, options.seed);
        retry.backoff_first = Duration::from_millis(5);
        retry.backoff_max = Duration::from_millis(500);
        let known = Known { tail: Arc::new(Tail::new(0)), position_asked: None, probed: false, edition: 0 };
        let inner = Inner {
            store,
            place,
            position,
            writer: options.writer.unwrap_or_else(Ulid::generate),
            options,
            retry,
            nonce: AtomicU64::new(0),
            known: Mutex::new(known),
            catching_up: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            group: group::Group::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.inner.place).finish()
    }
}
