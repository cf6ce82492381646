//! Fetching whole segments in the background, so that the next queries find them here.
//!
//! A query that was answered by ranges leaves its segments to this, and does not wait. One segment is fetched at a time, in the order they
//! were wanted: queries need the connections more. What is fetched twice, because a query wanted it whole meanwhile, is fetched once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cairn_storage::{Collection, Meter};
use tokio::sync::Semaphore;

use crate::{leaf::Leaf, searcher::Searcher};

/// Segments that wait at once; what does not fit is wanted again by the next query.
const WAITING_MAX: usize = 1_024;

/// The segments that are on their way.
#[derive(Debug)]
pub(crate) struct Hydration {
    on: bool,
    turns: Arc<Semaphore>,
    /// Whoever needs all the room there is for files has it alone.
    room: Arc<tokio::sync::Mutex<()>>,
    wanted: Arc<Mutex<HashSet<String>>>,
}

impl Hydration {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, turns: Arc::new(Semaphore::new(1)), room: Arc::default(), wanted: Arc::default() }
    }

    /// Nothing is fetched in the background while this lives, and nobody else has it.
    pub(crate) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.room.lock().await
    }

    /// How many segments are on their way or wait.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.wanted).len()
    }
}

fn lock(wanted: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Searcher {
    /// Has the far ones of `leaves` fetched, as far as they fit in the cache.
    pub(super) fn hydrate(&self, collection: &Arc<Collection>, leaves: &[Arc<Leaf>]) {
        let far = leaves.iter().filter(|leaf| leaf.is_far() && self.hydration.on && self.cache.fits(leaf.bytes()));
        for leaf in far {
            let mut wanted = lock(&self.hydration.wanted);
            if wanted.len() >= WAITING_MAX || !wanted.insert(leaf.id().to_owned()) {
                continue;
            }
            drop(wanted);
            let (turns, wanted) = (Arc::clone(&self.hydration.turns), Arc::clone(&self.hydration.wanted));
            let room = Arc::clone(&self.hydration.room);
            let (cache, ranges, telemetry) =
                (Arc::clone(&self.cache), Arc::clone(&self.ranges), Arc::clone(&self.telemetry));
            let meter = Arc::new(Meter::default());
            let store = self.store.metered(Arc::clone(&meter));
            let (collection, leaf) = (Arc::clone(collection), Arc::clone(leaf));
            tokio::spawn(async move {
                let turn = turns.acquire().await;
                let _alone = room.lock().await;
                let entry = collection.segments().find(|(_, entry)| entry.id == leaf.id());
                if let (Ok(_), Some((shard, entry))) = (&turn, entry) {
                    match cache.segment(&store, &collection, shard, entry).await {
                        Ok(_) => {
                            leaf.far().into_iter().for_each(|far| ranges.forget_ranges(&far.place));
                            tracing::debug!(segment = leaf.id(), bytes = leaf.bytes(), "fetched in the background");
                        }
                        // The next query that wants it says what is wrong.
                        Err(error) => tracing::warn!(segment = leaf.id(), %error, "not fetched in the background"),
                    }
                }
                telemetry.used(&meter.usage());
                lock(&wanted).remove(leaf.id());
            });
        }
    }
}
