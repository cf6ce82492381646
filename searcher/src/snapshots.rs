//! The newest version of each collection that this process reads, and some of its pasts.
//!
//! Reads are strong: what a request sees was read from the store after the request arrived. Requests that arrive
//! together share that read: each draws a ticket, a refresh draws one when it begins, and a request is served by any
//! refresh with a later ticket than its own. A few refreshes of one collection may run at once; whoever comes while they
//! all run waits for a turn and then usually finds that a refresh that began after its arrival has finished.
//!
//! A generation never changes, so that what was read of one is kept (`pasts`). Whether it still is what a name or a time means, and
//! whether the collection is still there, is asked of the store for every request, as for the newest version.

mod pasts;

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cairn_model::{CollectionName, ErrorKind};
use cairn_storage::{AsOf, Catalog, Collection};
use tokio::sync::Semaphore;

use self::pasts::Pasts;
use crate::{
    error::{Error, Result},
    leaf::Leaves,
    live::{Seen, Tails},
    request::View,
};

/// Refreshes of one collection at once. One would make a request wait for up to two round trips, the running refresh's
/// and its own; with four the extra wait is a quarter of one on average, and the store sees at most four requests per
/// object at a time however many clients there are.
const REFRESHES_MAX: usize = 4;

/// Collections known at once; the least recently used is forgotten and read anew when it is asked for.
const COLLECTIONS_MAX: usize = 4_096;

/// The known collections.
#[derive(Debug)]
pub struct Snapshots {
    known: Mutex<HashMap<CollectionName, Arc<Slot>>>,
    pasts: Mutex<Pasts>,
    clock: AtomicU64,
    staleness_max: Duration,
    leaves: Arc<Leaves>,
    tails: Arc<Tails>,
}

#[derive(Debug)]
struct Slot {
    turns: Semaphore,
    version: Mutex<Version>,
    used: AtomicU64,
}

#[derive(Clone, Debug)]
struct Version {
    seen: Arc<Seen>,
    /// Ticket and time of the beginning of the refresh that read it.
    ticket: u64,
    began: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshots {
    /// Nothing known yet. A snapshot younger than `staleness_max` is served without asking the store; zero for strong
    /// reads. Segments that a newer version no longer names are closed in `leaves`.
    #[must_use]
    pub fn new(staleness_max: Duration, leaves: Arc<Leaves>, tails: Arc<Tails>) -> Self {
        Self {
            known: Mutex::default(),
            pasts: Mutex::default(),
            clock: AtomicU64::new(0),
            staleness_max,
            leaves,
            tails,
        }
    }

    /// How many collections are known.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.known).len()
    }

    /// The collection as it was when it was read last, if it ever was.
    #[must_use]
    pub fn known(&self, view: &View) -> Option<Arc<Seen>> {
        if view.as_of.is_some() {
            return lock(&self.pasts).get(view);
        }
        let slot = self.slot(&view.collection, self.tick())?;
        let version = lock(&slot.version);
        Some(Arc::clone(&version.seen))
    }

    /// The collection as it is now, or what a past means now. `newest` asks the store even where a stale snapshot would do. A past
    /// that was read before costs what the newest version costs: one wave.
    ///
    /// # Errors
    /// `NoCollection`, `NoPast`, or what the store says.
    pub async fn fresh(&self, catalog: &Catalog, view: &View, newest: bool) -> Result<Arc<Seen>> {
        let name = &view.collection;
        let reading = self.newest(catalog, name, newest);
        match &view.as_of {
            None => reading.await,
            Some(AsOf::Snapshot(snapshot)) => {
                let known = |generation: &str| self.generation(name, generation);
                let (newest, past) = tokio::join!(reading, catalog.open_pinned_by(name, snapshot, known));
                let newest = newest?;
                self.keep(view, past.and_then(|pinned| pinned.of(&newest)))
            }
            Some(as_of) => {
                let newest = reading.await?;
                self.past(catalog, &newest, as_of).await
            }
        }
    }

    /// A past of a collection whose newest version was just read.
    ///
    /// # Errors
    /// `NoPast`, or what the store says.
    pub(crate) async fn past(&self, catalog: &Catalog, newest: &Collection, as_of: &AsOf) -> Result<Arc<Seen>> {
        let name = &newest.doc.name;
        let past = catalog.open_past(newest, as_of, |generation| self.generation(name, generation)).await;
        self.keep(&View { collection: name.clone(), as_of: Some(as_of.clone()) }, past)
    }

    fn generation(&self, name: &CollectionName, generation: &str) -> Option<Arc<Collection>> {
        lock(&self.pasts).get(&pasts::of_generation(name, generation)).map(|past| Arc::clone(past.collection()))
    }

    fn keep(&self, view: &View, past: cairn_storage::Result<Arc<Collection>>) -> Result<Arc<Seen>> {
        let mut pasts = lock(&self.pasts);
        match past {
            Ok(past) => {
                let known = pasts.get(view).filter(|known| Arc::ptr_eq(known.collection(), &past));
                let past = known.unwrap_or_else(|| Arc::new(Seen::still(past)));
                pasts.insert(pasts::of_generation(&view.collection, &past.doc.generation), &past);
                pasts.insert(view.clone(), &past);
                Ok(past)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                pasts.remove(view);
                Err(Error::NoPast(error))
            }
            Err(error) => Err(Error::Storage(error)),
        }
    }

    async fn newest(&self, catalog: &Catalog, name: &CollectionName, newest: bool) -> Result<Arc<Seen>> {
        let arrived = self.tick();
        // Only collections that exist get a slot: a stranger's names take no memory.
        let Some(slot) = self.slot(name, arrived) else {
            let (ticket, began) = (self.tick(), Instant::now());
            let seen = self.open(catalog, name).await?;
            return Ok(self.insert(name, Version { seen, ticket, began }));
        };
        let known = lock(&slot.version).clone();
        if !newest && known.began.elapsed() < self.staleness_max {
            return Ok(known.seen);
        }
        let _turn = slot.turns.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
        let known = lock(&slot.version).clone();
        if known.ticket > arrived {
            return Ok(known.seen);
        }
        let (ticket, began) = (self.tick(), Instant::now());
        match self.look(catalog, &known.seen).await {
            Ok(seen) => self.replace(&slot, Version { seen, ticket, began }),
            Err(error) => {
                let error = missing(error, name);
                if matches!(error, Error::NoCollection(_)) {
                    self.forget(name);
                }
                return Err(error);
            }
        }
        // A newer version may have come in meanwhile; it is as good.
        Ok(Arc::clone(&lock(&slot.version).seen))
    }

    /// Reads a collection of which nothing is known: its logs when it is known where they are.
    async fn open(&self, catalog: &Catalog, name: &CollectionName) -> Result<Arc<Seen>> {
        let asked = tokio::time::Instant::now();
        let collection = Arc::new(catalog.open(name).await.map_err(|error| missing(error.into(), name))?);
        self.with_tails(catalog, collection, asked).await
    }

    async fn with_tails(
        &self,
        catalog: &Catalog,
        collection: Arc<Collection>,
        asked: tokio::time::Instant,
    ) -> Result<Arc<Seen>> {
        self.tails.see(catalog, collection, asked, None, None).await
    }

    /// Reads a collection of which nothing is known, and answers from its segments while its logs are looked at. The answer comes back if
    /// that was all that there is.
    ///
    /// # Errors
    /// As [`Snapshots::fresh`].
    pub(crate) async fn opened<T, F: Future<Output = Result<T>>>(
        &self,
        catalog: &Catalog,
        view: &View,
        answer: impl Fn(Arc<Seen>) -> F,
    ) -> Result<(Arc<Seen>, Option<Result<T>>)> {
        let name = &view.collection;
        let (ticket, began) = (self.tick(), Instant::now());
        let asked = tokio::time::Instant::now();
        let collection = Arc::new(catalog.open(name).await.map_err(|error| missing(error.into(), name))?);
        let still = Arc::new(Seen::still(Arc::clone(&collection)));
        let (seen, answered) = if collection.doc.live {
            let (seen, answered) =
                tokio::join!(self.with_tails(catalog, Arc::clone(&collection), asked), answer(still));
            let seen = seen?;
            let is_all = !seen.has_writes() && Arc::ptr_eq(seen.collection(), &collection);
            (seen, is_all.then_some(answered))
        } else {
            (still, None)
        };
        Ok((self.insert(name, Version { seen, ticket, began }), answered))
    }

    /// What is new, in the collection and in its logs at once. `known` itself comes back if nothing is.
    async fn look(&self, catalog: &Catalog, known: &Arc<Seen>) -> Result<Arc<Seen>> {
        let asked = tokio::time::Instant::now();
        let (collection, probed) =
            tokio::join!(catalog.refresh(known.collection()), self.tails.probe(catalog.store(), known));
        let collection = match collection? {
            None => Arc::clone(known.collection()),
            Some(newer) => Arc::new(newer),
        };
        // Where these are other logs than those that were looked at, it does not matter whether those answered.
        let is_same = collection.doc.generation == known.doc.generation && known.doc.live;
        let probed = if is_same { Some(probed?) } else { None };
        self.tails.see(catalog, collection, asked, probed, Some(known)).await
    }

    /// Forgets a collection: it was deleted or created through this process.
    pub fn forget(&self, name: &CollectionName) {
        lock(&self.pasts).forget(name);
        if let Some(slot) = lock(&self.known).remove(name) {
            let seen = Arc::clone(&lock(&slot.version).seen);
            self.leaves.forget(segments(&seen));
            self.tails.forget(&seen);
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed)
    }

    fn slot(&self, name: &CollectionName, now: u64) -> Option<Arc<Slot>> {
        let slot = lock(&self.known).get(name).cloned()?;
        slot.used.store(now, Relaxed);
        Some(slot)
    }

    fn insert(&self, name: &CollectionName, version: Version) -> Arc<Seen> {
        let seen = Arc::clone(&version.seen);
        let now = self.tick();
        let mut known = lock(&self.known);
        if !known.contains_key(name) {
            if known.len() >= COLLECTIONS_MAX {
                let oldest = known.iter().min_by_key(|(_, slot)| slot.used.load(Relaxed)).map(|(name, _)| name.clone());
                oldest.and_then(|name| known.remove(&name));
            }
            let (turns, version) = (Semaphore::new(REFRESHES_MAX), Mutex::new(version));
            known.insert(name.clone(), Arc::new(Slot { turns, version, used: AtomicU64::new(now) }));
        }
        seen
    }

    /// Puts a version in the slot unless a later one is there.
    fn replace(&self, slot: &Slot, version: Version) {
        let before = {
            let mut current = lock(&slot.version);
            if current.ticket > version.ticket {
                return;
            }
            std::mem::replace(&mut *current, version.clone())
        };
        let (before, after) = (before.seen, version.seen);
        if !Arc::ptr_eq(before.collection(), after.collection()) {
            let alive: std::collections::HashSet<&str> = segments(&after).collect();
            self.leaves.forget(segments(&before).filter(|id| !alive.contains(id)));
        }
        if before.doc.generation != after.doc.generation {
            self.tails.forget(&before);
        }
    }
}

fn segments(collection: &Collection) -> impl Iterator<Item = &str> {
    collection.manifests.iter().flat_map(|manifest| &manifest.segments).map(|entry| entry.id.as_str())
}

fn missing(error: Error, name: &CollectionName) -> Error {
    match error {
        Error::Storage(error) if error.kind == ErrorKind::NotFound => Error::NoCollection(name.clone()),
        error => error,
    }
}
