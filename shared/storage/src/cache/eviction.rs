//! What the cache has given up: who is told of it, and what is still mapped.
//!
//! A file that is removed keeps its space until its last mapping goes. So whoever keeps mappings beyond a query is told to let them go, and what
//! queries still hold is counted.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use memmap2::Mmap;

/// Is told the id of a segment whose bytes the cache gave up. It must not ask the cache for anything.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// A segment's bytes, and whether the cache has them.
#[derive(Debug)]
pub(super) struct Mapping {
    map: Mmap,
    kept: AtomicBool,
}

impl Mapping {
    /// Bytes that the cache has.
    pub(super) fn kept(map: Mmap) -> Arc<Self> {
        Arc::new(Self { map, kept: AtomicBool::new(true) })
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept.load(Relaxed)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// What was given up.
#[derive(Default)]
pub(super) struct GivenUp {
    held: Mutex<Vec<Weak<Mapping>>>,
    listeners: RwLock<Vec<Listener>>,
}

impl fmt::Debug for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenUp").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

impl GivenUp {
    /// Tells one more.
    pub(super) fn listen(&self, listener: Listener) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// The cache has a segment's bytes no more, by its name in the cache.
    pub(super) fn give_up(&self, name: &str, mapping: Arc<Mapping>) {
        self.pass(&mapping);
        let id = name.rsplit_once('-').map_or(name, |(id, _)| id);
        self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|listener| listener(id));
        drop(mapping);
    }

    /// Bytes that the cache never had: they are somebody's.
    pub(super) fn pass(&self, mapping: &Arc<Mapping>) {
        mapping.kept.store(false, Relaxed);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|one| one.strong_count() > 0);
        held.push(Arc::downgrade(mapping));
    }

    /// Bytes that somebody still has mapped.
    pub(super) fn held_bytes(&self) -> u64 {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().filter_map(Weak::upgrade).map(|mapping| mapping.len() as u64).sum()
    }
}
