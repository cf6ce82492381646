//! Which points a walk has seen, and the other memory that walks use again and again.

use std::sync::{Mutex, TryLockError};

use super::frontier::{Heaps, Key, Sorted};

/// A set of ordinals that is emptied in O(1): a point is in it when its mark equals the current generation.
///
/// One byte per point, so that a million points' marks stay in the second-level cache; the marks are wiped once in 255 uses.
#[derive(Default)]
pub(super) struct Visited {
    marks: Vec<u8>,
    generation: u8,
}

impl Visited {
    /// Empties the set and makes room for ordinals below `points`.
    pub(super) fn reset(&mut self, points: u32) {
        let points = points as usize;
        if self.marks.len() < points {
            self.marks.resize(points, 0);
        }
        if self.generation == u8::MAX {
            self.marks.fill(0);
            self.generation = 0;
        }
        self.generation += 1;
    }

    /// Adds all of `ordinals`, and puts those that are new at the front of `fresh`, which has room for all: how many there are.
    #[inline]
    pub(super) fn insert_all(&mut self, ordinals: &[u32], fresh: &mut [u32]) -> usize {
        let (marks, generation) = (&mut *self.marks, self.generation);
        let fresh = &mut fresh[..ordinals.len()];
        let mut count = 0;
        for &ordinal in ordinals {
            let Some(mark) = marks.get_mut(ordinal as usize) else { continue };
            fresh[count] = ordinal;
            count += usize::from(*mark != generation);
            *mark = generation;
        }
        count
    }

    /// Adds `ordinal`; whether it is new. Ordinals beyond the room are never new.
    #[inline]
    pub(super) fn insert(&mut self, ordinal: u32) -> bool {
        let Some(mark) = self.marks.get_mut(ordinal as usize) else { return false };
        let new = *mark != self.generation;
        *mark = self.generation;
        new
    }
}

/// The memory of one walk.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) visited: Visited,
    pub(super) sorted: Sorted,
    pub(super) heaps: Heaps,
    pub(super) batch: Batch,
}

impl Scratch {
    /// Bytes that it holds; what its heaps and its sorted list take is little beside the marks.
    fn bytes(&self) -> usize {
        let Batch { neighbours, fresh, distances, keys } = &self.batch;
        self.visited.marks.capacity()
            + (neighbours.capacity() + fresh.capacity()) * size_of::<u32>()
            + distances.capacity() * size_of::<f32>()
            + keys.capacity() * size_of::<Key>()
    }
}

/// The buffers of one hop.
#[derive(Default)]
pub(super) struct Batch {
    /// A node's neighbours as read.
    pub(super) neighbours: Vec<u32>,
    /// Those of them not seen before.
    pub(super) fresh: Vec<u32>,
    /// The distances of `fresh`.
    pub(super) distances: Vec<f32>,
    /// Those of them that are near enough.
    pub(super) keys: Vec<Key>,
}

impl Batch {
    /// Makes room for lists of `degree` neighbours.
    pub(super) fn reserve(&mut self, degree: usize) {
        if self.fresh.len() < degree {
            self.neighbours.reserve(degree);
            self.fresh.resize(degree, 0);
            self.distances.resize(degree, 0.0);
            self.keys.resize(degree, Key::MAX);
        }
    }
}

/// Pooled visited lists and buffers, shared by all threads that search.
///
/// Nobody ever waits: a thread takes the first slot that is free at this moment, and allocates where there is none.
/// The pool holds at most as many lists as searches ran at the same time, and never more than [`VisitedPool::SLOTS`].
pub struct VisitedPool {
    slots: Box<[Mutex<Option<Box<Scratch>>>]>,
}

impl VisitedPool {
    /// Lists kept for reuse at most.
    pub const SLOTS: usize = 64;

    /// An empty pool; it may serve segments of any size.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: (0..Self::SLOTS).map(|_| Mutex::new(None)).collect() }
    }

    /// Bytes of what nobody uses at this moment.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        let mut bytes = 0;
        self.visit::<()>(|slot| {
            bytes += slot.as_ref().map_or(0, |scratch| scratch.bytes());
            None
        });
        bytes
    }

    /// Gives back what nobody uses at this moment: how many bytes that was.
    pub fn shrink(&self) -> usize {
        let mut bytes = 0;
        self.visit::<()>(|slot| {
            bytes += slot.take().map_or(0, |scratch| scratch.bytes());
            None
        });
        bytes
    }

    /// Takes a list for the time of one walk over `points` points.
    pub(super) fn lease(&self, points: u32) -> Lease<'_> {
        let mut scratch = self.visit(Option::take).unwrap_or_default();
        scratch.visited.reset(points);
        Lease { pool: self, scratch: Some(scratch) }
    }

    /// Applies `f` to the slots not held by others until it gives something.
    fn visit<T>(&self, mut f: impl FnMut(&mut Option<Box<Scratch>>) -> Option<T>) -> Option<T> {
        self.slots.iter().find_map(|slot| match slot.try_lock() {
            Ok(mut slot) => f(&mut slot),
            Err(TryLockError::Poisoned(slot)) => f(&mut slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }
}

impl Default for VisitedPool {
    fn default() -> Self {
        Self::new()
    }
}

/// A [`Scratch`] that returns to its pool when dropped.
pub(super) struct Lease<'p> {
    pool: &'p VisitedPool,
    scratch: Option<Box<Scratch>>,
}

impl Lease<'_> {
    pub(super) fn scratch(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_with(Box::default)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = &mut self.scratch {
            scratch.heaps.shrink();
        }
        let scratch = &mut self.scratch;
        self.pool.visit(|slot| if slot.is_none() { scratch.take().map(|mine| *slot = Some(mine)) } else { None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visited_set_is_empty_after_each_reset() {
        let mut visited = Visited::default();
        for round in 0..1_000 {
            visited.reset(100);
            let ordinals = [round % 100, (round + 1) % 100, 99 - round % 2];
            let distinct = ordinals.iter().collect::<std::collections::BTreeSet<_>>().len();
            assert_eq!(ordinals.into_iter().filter(|&ordinal| visited.insert(ordinal)).count(), distinct);
            assert!(ordinals.into_iter().all(|ordinal| !visited.insert(ordinal)));
            assert!(!visited.insert(100), "out of room");
        }
        visited.reset(50);
        visited.reset(101);
        assert!(visited.insert(100) && !visited.insert(101));
        let mut fresh = [0; 6];
        assert_eq!(visited.insert_all(&[7, 100, 3, 7, 101, 4], &mut fresh), 3);
        assert_eq!(fresh[..3], [7, 3, 4]);
        assert_eq!(visited.insert_all(&[4, 3, 7, 100], &mut fresh), 0);
    }

    #[test]
    fn the_pool_reuses_and_never_blocks() {
        let pool = VisitedPool::new();
        let leases: Vec<_> = (0..VisitedPool::SLOTS + 3).map(|_| pool.lease(10)).collect();
        drop(leases);
        let mut held = 0;
        pool.visit::<()>(|slot| {
            held += usize::from(slot.is_some());
            None
        });
        assert_eq!(held, VisitedPool::SLOTS);
        drop(pool.lease(1_000));
        assert_eq!(pool.lease(5).scratch().visited.marks.len(), 1_000, "the list comes back");
        let (used, idle) = (pool.lease(1_000), pool.idle_bytes());
        assert!(idle >= 10 * (VisitedPool::SLOTS - 1), "{idle}");
        assert_eq!((pool.shrink(), pool.idle_bytes(), pool.shrink()), (idle, 0, 0));
        drop(used);
        assert!(pool.idle_bytes() >= 1_000, "what was in use comes back all the same");
    }
}
