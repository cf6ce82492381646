//! When memory gets short: what gives way, and in which order.
//!
//! Once a second at most, a search looks at how much memory the process may still take: its control group's, the function's, what
//! it was told (`--memory`), or the machine's. What is missing to a reserve is given back in the order of what it costs to do without:
//!
//! | | what | without it |
//! |---|---|---|
//! | 1 | hot copies, the least used first | searches are as fast as from mapped files |
//! | 2 | what searches use again and again and none uses now; then ranges of far segments | they take it anew, or read ranges again |
//! | 3 | heads of far segments, the least recently used first | a search of theirs takes two waves more |
//!
//! Mapped files need no rule: the kernel takes their pages back by itself.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_storage::{cache::RangeCache, machine::Memory};

use crate::{
    heat::Heat,
    leaf::{Leaf, Leaves},
};

/// Time between two looks at the memory that is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a process keeps in memory only because it makes searches faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of hot copies.
    pub hot_bytes: u64,
    /// Bytes that searches use again and again and that none uses now.
    pub idle_bytes: u64,
    /// Bytes of ranges of far segments.
    pub ranges_bytes: u64,
    /// Bytes of heads of far segments.
    pub heads_bytes: u64,
}

/// Looks at the memory, and has things give way.
#[derive(Debug)]
pub(crate) struct Pressure {
    pub(crate) memory: Memory,
    pub(crate) reserve_bytes: u64,
    pub(crate) heat: Arc<Heat<Leaf>>,
    pub(crate) leaves: Arc<Leaves>,
    pub(crate) ranges: Arc<RangeCache>,
    pub(crate) next_look: Mutex<Option<Instant>>,
}

impl Pressure {
    /// What is held now.
    pub(crate) fn held(&self) -> Held {
        let (heads_bytes, ranges_bytes) = self.ranges.bytes();
        Held { hot_bytes: self.heat.bytes(), idle_bytes: self.leaves.idle_bytes(), ranges_bytes, heads_bytes }
    }

    /// A look, if the last one is long enough ago. Called on a search thread: it reads a few small files.
    pub(crate) fn look(&self, now: Instant) {
        {
            let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
            if next.is_some_and(|next| now < next) {
                return;
            }
            *next = Some(now + LOOK_EVERY);
        }
        let Some(free) = self.memory.free_bytes() else { return };
        if let Some(short) = self.reserve_bytes.checked_sub(free).filter(|short| *short > 0) {
            let before = self.held();
            self.relieve(short);
            let after = self.held();
            if after != before {
                tracing::info!(free_bytes = free, ?before, ?after, "memory is short");
            }
        }
    }

    /// Gives back so many bytes, or all there is.
    fn relieve(&self, bytes: u64) {
        let missing = bytes.saturating_sub(self.heat.shrink(bytes));
        if missing == 0 {
            return;
        }
        let missing = missing.saturating_sub(self.leaves.shrink());
        if missing == 0 {
            return;
        }
        let (heads, ranges) = self.ranges.bytes();
        self.ranges.shrink((heads + ranges).saturating_sub(missing));
        // Open far leaves share the bytes of their heads.
        self.leaves.shrink_far(self.ranges.bytes().0);
    }
}
