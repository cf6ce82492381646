//! Group commit: while a put is in flight, the writes that arrive wait together and share the next one, in the order in which they came.
//!
//! The puts are made by a task of its own, so that a caller who leaves takes nobody's write along, its own included. A write was encoded, and
//! with that checked, before it came here: none can fail its neighbours. Only whether its edition still is the newest shows when it is put.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use cairn_model::limits::LOG_PARTS_MAX;
use tokio::sync::oneshot;

use super::{AppendError, Appended, Log, Part};
use crate::Error;

type Answer = Result<Appended, AppendError>;

#[derive(Debug, Default)]
pub(super) struct Group {
    queue: Mutex<Queue>,
    puts: AtomicU64,
    appended: AtomicU64,
    failed: AtomicU64,
    unheard: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Whether a task is at it.
    is_served: bool,
}

#[derive(Debug)]
struct Waiting {
    part: Part,
    answer: oneshot::Sender<Answer>,
}

/// What a process's log did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Shared puts that succeeded.
    pub puts: u64,
    /// Writes that they made durable.
    pub appended: u64,
    /// Writes that failed, or of which it is not known.
    pub failed: u64,
    /// Those of them that nobody waited for any more.
    pub failed_unheard: u64,
}

/// A write that is on its way. Dropping it does not stop the write: with `wait=false` nobody keeps it.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Answer>);

impl Ticket {
    /// Waits until the write is durable.
    ///
    /// # Errors
    /// As [`AppendError`] says.
    pub async fn wait(self) -> Result<Appended, AppendError> {
        let gone = |_| AppendError::Unknown(Error::unavailable("log", "the process stops: try again"));
        self.0.await.map_err(gone)?
    }
}

impl Group {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes into the next put; none when nobody waits, and then the task must end.
    fn take(&self, bytes_max: usize, parts_max: usize) -> Vec<Waiting> {
        let mut queue = self.queue();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.waiting.front() {
            let more = next.part.bytes();
            if !taken.is_empty() && (bytes + more > bytes_max || taken.len() >= parts_max) {
                break;
            }
            bytes += more;
            taken.extend(queue.waiting.pop_front());
        }
        queue.bytes -= bytes;
        queue.is_served = !taken.is_empty();
        taken
    }

    fn answer(&self, batch: Vec<Waiting>, outcome: &Result<u64, AppendError>) {
        let count = batch.len() as u64;
        match outcome {
            Ok(_) => {
                self.puts.fetch_add(1, Relaxed);
                self.appended.fetch_add(count, Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(count, Relaxed);
                tracing::warn!(%error, writes = count, "writes failed");
            }
        }
        for (part, waiting) in (0..).zip(batch) {
            let answer = outcome.clone().map(|sequence| Appended { sequence, part });
            if waiting.answer.send(answer).is_err() && outcome.is_err() {
                self.unheard.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Ends the service when the task is dropped or panics: those who wait hear that the process stops, and the next write begins a new one.
struct Service<'a> {
    group: &'a Group,
    is_done: bool,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            *self.group.queue() = Queue::default();
        }
    }
}

impl Log {
    /// Appends changes at the log's end, with others that wait, and waits until they are durable.
    ///
    /// # Errors
    /// As [`AppendError`] says.
    pub async fn append(&self, part: Part) -> Result<Appended, AppendError> {
        self.submit(part).await?.wait().await
    }

    /// Takes a write in, to be durable soon after. Needs the process to go on: a function that is frozen between requests must wait.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`AppendError::Ended`] and [`AppendError::Outdated`] if that is known already, [`AppendError::Failed`] when the manifest had to be asked.
    pub async fn submit(&self, part: Part) -> Result<Ticket, AppendError> {
        if self.tail().is_ended() {
            return Err(AppendError::Ended);
        }
        if part.edition() < self.newest_edition(&[]) {
            return Err(AppendError::Outdated);
        }
        let options = &self.inner.options;
        let waiting_bytes = self.inner.group.queue().bytes;
        self.check_room(waiting_bytes as u64 + part.bytes() as u64).await?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut queue = self.inner.group.queue();
            if !queue.waiting.is_empty() && queue.bytes + part.bytes() > options.queue_bytes_max {
                let why = format!(
                    "{} bytes of writes wait for the store, at most {} are allowed",
                    queue.bytes, options.queue_bytes_max
                );
                return Err(AppendError::Full { why, retry_after: options.retry_after });
            }
            queue.bytes += part.bytes();
            queue.waiting.push_back(Waiting { part, answer: sender });
            if queue.is_served {
                return Ok(Ticket(receiver));
            }
            queue.is_served = true;
        }
        tokio::spawn(self.clone().serve());
        Ok(Ticket(receiver))
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Group { puts, appended, failed, unheard, .. } = &self.inner.group;
        Counters {
            puts: puts.load(Relaxed),
            appended: appended.load(Relaxed),
            failed: failed.load(Relaxed),
            failed_unheard: unheard.load(Relaxed),
        }
    }

    /// Puts what waited together, but for writes of earlier editions, which are refused.
    async fn put_batch(&self, mut batch: Vec<Waiting>) {
        let group = &self.inner.group;
        while !batch.is_empty() {
            let parts: Vec<_> = batch.iter().map(|waiting| waiting.part.clone()).collect();
            let outcome = self.commit(&parts).await;
            if outcome != Err(AppendError::Outdated) {
                return group.answer(batch, &outcome);
            }
            let newest = self.newest_edition(&parts);
            let (current, outdated) = batch.into_iter().partition(|waiting| waiting.part.edition() == newest);
            group.answer(outdated, &outcome);
            batch = current;
        }
    }

    async fn serve(self) {
        let group = &self.inner.group;
        let options = &self.inner.options;
        let mut service = Service { group, is_done: false };
        loop {
            // The turn first: who comes while a conditional write has it, shares the put as well.
            let turn = self.inner.turn.lock().await;
            let batch = group.take(options.batch_bytes, options.batch_parts.clamp(1, LOG_PARTS_MAX));
            if batch.is_empty() {
                service.is_done = true;
                return;
            }
            self.put_batch(batch).await;
            drop(turn);
        }
    }
}
