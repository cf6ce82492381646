//! The graph in memory: flat arrays of neighbour slots, written under striped locks and read without any.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{level, walk::Graph};
use crate::Result;

/// An unused slot; also ends a list.
const EMPTY: u32 = u32::MAX;
/// Locks for writers; far more than threads, so that two writers seldom meet.
const STRIPES: usize = 1_024;
/// A built graph: every point's links on every level.
///
/// Slots are relaxed atomics: what a reader sees of a list that is being rewritten is a mix of old and new neighbours, all of them
/// points, which is as good for a walk as either.
pub struct Hnsw {
    m: usize,
    /// Links a node may have on level 0.
    base_max: usize,
    /// Slots of each node on level 0.
    base_width: usize,
    levels: Vec<u8>,
    entry_point: u32,
    base: Vec<AtomicU32>,
    upper: Vec<AtomicU32>,
    /// Per point, its first list in `upper`, in lists; a point has one per level above 0.
    upper_start: Vec<u32>,
    locks: Vec<Mutex<()>>,
}

impl Hnsw {
    /// `points` points at their levels, without links, and with `slots` slots on level 0, at least 2 m. `points` and `m` are at
    /// least 1.
    pub(super) fn unlinked(points: u32, m: usize, slots: usize, seed: u64) -> Self {
        let m_u32 = u32::try_from(m).unwrap_or(u32::MAX);
        let levels: Vec<u8> = (0..points).map(|ordinal| level::of(ordinal, seed, m_u32)).collect();
        let mut entry_point = 0;
        let mut lists = 0u32;
        let mut upper_start = Vec::with_capacity(levels.len());
        for (ordinal, &level) in (0..).zip(&levels) {
            upper_start.push(lists);
            lists += u32::from(level);
            if level > levels[entry_point as usize] {
                entry_point = ordinal;
            }
        }
        let empty = |slots: usize| (0..slots).map(|_| AtomicU32::new(EMPTY)).collect();
        Self {
            m,
            base_max: 2 * m,
            base_width: slots,
            entry_point,
            base: empty(levels.len() * slots),
            upper: empty(lists as usize * m),
            upper_start,
            levels,
            locks: (0..STRIPES).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Points.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "built from a u32")]
    pub fn len(&self) -> u32 {
        self.levels.len() as u32
    }

    /// Never: a graph has at least one point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Where searches start: the first point of the highest level.
    #[must_use]
    pub const fn entry_point(&self) -> u32 {
        self.entry_point
    }

    /// The highest level on which a point is.
    #[must_use]
    pub fn level(&self, ordinal: u32) -> u8 {
        self.levels[ordinal as usize]
    }

    /// Links a node may have on `level`: m, or on level 0 twice as many unless the build decided otherwise.
    #[must_use]
    pub const fn degree_max(&self, level: u8) -> usize {
        if level == 0 { self.base_max } else { self.m }
    }

    /// Sets what a node may have on level 0, at most its slots.
    pub(super) fn limit(&mut self, base_max: usize) {
        self.base_max = base_max.min(self.base_width);
    }

    /// The slots of a node: on level 0 possibly more than `degree_max` while building.
    fn slots(&self, node: u32, level: u8) -> &[AtomicU32] {
        if level == 0 {
            &self.base[node as usize * self.base_width..][..self.base_width]
        } else {
            let list = self.upper_start[node as usize] as usize + usize::from(level) - 1;
            &self.upper[list * self.m..][..self.m]
        }
    }

    /// Puts the neighbours of `node` on `level` in `out`, replacing what it held. `level` must not be above the node's.
    pub fn neighbours(&self, node: u32, level: u8, out: &mut Vec<u32>) {
        out.clear();
        out.extend(self.slots(node, level).iter().map(|slot| slot.load(Relaxed)).take_while(|&id| id != EMPTY));
    }

    /// Replaces the neighbours of `node`; the caller holds its lock or is alone.
    pub(super) fn set(&self, node: u32, level: u8, neighbours: &[u32]) {
        debug_assert!(neighbours.iter().all(|&id| id < self.len() && id != node));
        let mut ids = neighbours.iter().copied();
        for slot in self.slots(node, level) {
            let id = ids.next().unwrap_or(EMPTY);
            slot.store(id, Relaxed);
        }
        debug_assert!(ids.next().is_none(), "a list longer than its slots");
    }

    /// Adds a neighbour if there is a slot; the caller holds the lock of `node` or is alone.
    pub(super) fn add(&self, node: u32, level: u8, neighbour: u32) -> bool {
        for slot in self.slots(node, level) {
            let id = slot.load(Relaxed);
            if id == neighbour {
                return true;
            }
            if id == EMPTY {
                slot.store(neighbour, Relaxed);
                return true;
            }
        }
        false
    }

    /// The right to write a node's lists.
    pub(super) fn lock(&self, node: u32) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own, so a panic elsewhere leaves nothing broken behind.
        self.locks[node as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One level as a graph to walk.
    pub(super) const fn on(&self, level: u8) -> OnLevel<'_> {
        OnLevel { hnsw: self, level }
    }
}

/// One level of a graph in memory.
#[derive(Clone, Copy)]
pub(super) struct OnLevel<'a> {
    hnsw: &'a Hnsw,
    level: u8,
}

impl Graph for OnLevel<'_> {
    #[inline]
    fn neighbours(&self, node: u32, out: &mut Vec<u32>) -> Result<()> {
        self.hnsw.neighbours(node, self.level, out);
        Ok(())
    }
}
