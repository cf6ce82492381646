//! The newest version of each collection that this process reads.
//!
//! Reads are strong: what a request sees was read from the store after the request arrived. Requests that arrive
//! together share that read: each draws a ticket, a refresh draws one when it begins, and a request is served by any
//! refresh with a later ticket than its own. A few refreshes of one collection may run at once; whoever comes while they
//! all run waits for a turn and then usually finds that a refresh that began after its arrival has finished.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cairn_model::{CollectionName, ErrorKind};
use cairn_storage::{Catalog, Collection};
use tokio::sync::Semaphore;

use crate::{
    error::{Error, Result},
    leaf::Leaves,
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
    clock: AtomicU64,
    staleness_max: Duration,
    leaves: Arc<Leaves>,
}

#[derive(Debug)]
struct Slot {
    turns: Semaphore,
    version: Mutex<Version>,
    used: AtomicU64,
}

#[derive(Clone, Debug)]
struct Version {
    collection: Arc<Collection>,
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
    pub fn new(staleness_max: Duration, leaves: Arc<Leaves>) -> Self {
        Self { known: Mutex::default(), clock: AtomicU64::new(0), staleness_max, leaves }
    }

    /// How many collections are known.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.known).len()
    }

    /// The collection as it is now. `newest` asks the store even where a stale snapshot would do.
    ///
    /// # Errors
    /// `NoCollection`, or what the store says.
    pub async fn fresh(&self, catalog: &Catalog, name: &CollectionName, newest: bool) -> Result<Arc<Collection>> {
        let arrived = self.tick();
        // Only collections that exist get a slot: a stranger's names take no memory.
        let Some(slot) = self.slot(name, arrived) else {
            let (ticket, began) = (self.tick(), Instant::now());
            let collection = Arc::new(catalog.open(name).await.map_err(|error| missing(error, name))?);
            return Ok(self.insert(name, Version { collection, ticket, began }));
        };
        let known = lock(&slot.version).clone();
        if !newest && known.began.elapsed() < self.staleness_max {
            return Ok(known.collection);
        }
        let _turn = slot.turns.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
        let known = lock(&slot.version).clone();
        if known.ticket > arrived {
            return Ok(known.collection);
        }
        let (ticket, began) = (self.tick(), Instant::now());
        match catalog.refresh(&known.collection).await {
            Ok(None) => self.replace(&slot, Version { ticket, began, ..known.clone() }),
            Ok(Some(collection)) => self.replace(&slot, Version { collection: Arc::new(collection), ticket, began }),
            Err(error) => {
                let error = missing(error, name);
                if matches!(error, Error::NoCollection(_)) {
                    self.forget(name);
                }
                return Err(error);
            }
        }
        // A newer version may have come in meanwhile; it is as good.
        Ok(Arc::clone(&lock(&slot.version).collection))
    }

    /// Forgets a collection: it was deleted or created through this process.
    pub fn forget(&self, name: &CollectionName) {
        if let Some(slot) = lock(&self.known).remove(name) {
            let collection = Arc::clone(&lock(&slot.version).collection);
            self.leaves.forget(segments(&collection));
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

    fn insert(&self, name: &CollectionName, version: Version) -> Arc<Collection> {
        let collection = Arc::clone(&version.collection);
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
        collection
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
        if !Arc::ptr_eq(&before.collection, &version.collection) {
            let alive: std::collections::HashSet<&str> = segments(&version.collection).collect();
            self.leaves.forget(segments(&before.collection).filter(|id| !alive.contains(id)));
        }
    }
}

fn segments(collection: &Collection) -> impl Iterator<Item = &str> {
    collection.manifests.iter().flat_map(|manifest| &manifest.segments).map(|entry| entry.id.as_str())
}

fn missing(error: cairn_storage::Error, name: &CollectionName) -> Error {
    if error.kind == ErrorKind::NotFound { Error::NoCollection(name.clone()) } else { Error::Storage(error) }
}
