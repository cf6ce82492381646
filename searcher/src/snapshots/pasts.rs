//! Pasts that were read, by what they were asked for as and by their generation.

use std::{collections::HashMap, sync::Arc};

use cairn_model::CollectionName;
use cairn_storage::AsOf;

use crate::{live::Seen, request::View};

/// Pasts kept at once; the least recently used is forgotten and read anew when it is asked for.
const PASTS_MAX: usize = 32;

/// The known pasts.
#[derive(Debug, Default)]
pub(super) struct Pasts {
    known: HashMap<View, (Arc<Seen>, u64)>,
    clock: u64,
}

/// What never changes its meaning.
pub(super) fn of_generation(collection: &CollectionName, generation: &str) -> View {
    View { collection: collection.clone(), as_of: Some(AsOf::Generation(generation.to_owned())) }
}

impl Pasts {
    pub(super) fn get(&mut self, view: &View) -> Option<Arc<Seen>> {
        self.clock += 1;
        let (past, used) = self.known.get_mut(view)?;
        *used = self.clock;
        Some(Arc::clone(past))
    }

    pub(super) fn insert(&mut self, view: View, past: &Arc<Seen>) {
        self.clock += 1;
        self.known.insert(view, (Arc::clone(past), self.clock));
        while self.known.len() > PASTS_MAX {
            let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used).map(|(view, _)| view.clone());
            let Some(oldest) = oldest else { break };
            self.known.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, view: &View) {
        self.known.remove(view);
    }

    /// Forgets all pasts of a collection.
    pub(super) fn forget(&mut self, collection: &CollectionName) {
        self.known.retain(|view, _| view.collection != *collection);
    }
}
