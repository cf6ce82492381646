//! The logs that a process has: one for a shard, so that its tail is fetched once and its writes share puts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Counters, Log, LogOptions, Place, Position};
use crate::Store;

/// One log for each place. What is not used any more has to be forgotten by [`Logs::retain`].
pub struct Logs {
    store: Store,
    options: LogOptions,
    open: Mutex<HashMap<Place, Log>>,
}

impl Logs {
    /// No logs yet. All that are opened have these options, and each its own writer and jitter.
    #[must_use]
    pub fn new(store: Store, options: LogOptions) -> Self {
        Self { store, options, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Place, Log>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log at `place`; `position` is who knows the manifest's, for one that is new. Sends no request.
    pub fn get(&self, place: &Place, position: impl FnOnce() -> Arc<dyn Position>) -> Log {
        let mut open = self.open();
        if let Some(log) = open.get(place) {
            return log.clone();
        }
        let options = LogOptions { writer: None, seed: rand::random(), ..self.options.clone() };
        let log = Log::new(self.store.clone(), place.clone(), position(), options);
        open.insert(place.clone(), log.clone());
        log
    }

    /// Forgets all logs but these: of generations that are served no more. Writes that wait are still put.
    pub fn retain(&self, mut is_used: impl FnMut(&Place) -> bool) {
        self.open().retain(|place, _| is_used(place));
    }

    /// The places of all logs that are known to hold something that is not in a segment yet.
    #[must_use]
    pub fn unfolded(&self) -> Vec<Place> {
        let open = self.open();
        open.iter().filter(|(_, log)| !log.tail().frames().is_empty()).map(|(place, _)| place.clone()).collect()
    }

    /// What all logs did so far, as far as they are not forgotten.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for Counters { puts, appended, failed, failed_unheard } in self.open().values().map(Log::counters) {
            all.puts += puts;
            all.appended += appended;
            all.failed += failed;
            all.failed_unheard += failed_unheard;
        }
        all
    }

    /// Bytes of all tails, before compression.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        self.open().values().map(|log| log.tail().bytes()).sum()
    }
}
