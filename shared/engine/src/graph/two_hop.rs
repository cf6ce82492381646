//! Walking the graph of the allowed points alone: a neighbour that is not allowed is looked through, to its own neighbours.
//!
//! After ACORN (Patel et al., arXiv 2403.04871), without its denser graph: what a filter takes out of a node's list, the lists of
//! the points taken out give back. No point is scored that is not allowed.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Links, Scorer, VisitedPool, frontier::Key, visited::Visited, walk::Graph};
use crate::{Error, Result, Watch};

/// Points scored in one batch; the next batch is prefetched while one is scored.
const BATCH: usize = 8;
/// Hops between two looks at the watch.
const WATCHED_HOPS: usize = 32;

/// The `ef` nearest allowed points found from `entries`, sorted by distance, then ordinal. The entries are allowed points with
/// their distances.
///
/// # Errors
/// `Corrupt` when a list that the search meets is damaged, `Cancelled`.
pub fn two_hop(
    links: &Links<'_>,
    scorer: &mut impl Scorer,
    entries: &[(f32, u32)],
    (ef, allowed): (usize, impl Fn(u32) -> bool),
    visited: &VisitedPool,
    watch: &dyn Watch,
) -> Result<Vec<(f32, u32)>> {
    let mut lease = visited.lease(links.points());
    let visited = &mut lease.scratch().visited;
    let mut pool = Pool { open: BinaryHeap::new(), nearest: BinaryHeap::new(), ef: ef.max(1) };
    for &(distance, ordinal) in entries {
        if visited.insert(ordinal) {
            pool.offer(Key::new(distance, ordinal));
        }
    }
    let mut lists = Lists::default();
    let mut distances = Vec::new();
    let mut hops = 0usize;
    while let Some(node) = pool.take() {
        if hops.is_multiple_of(WATCHED_HOPS) && watch.cancelled() {
            return Err(Error::Cancelled);
        }
        hops += 1;
        lists.fill(links.base(), node, visited, &allowed)?;
        if let Some(&Reverse(next)) = pool.open.peek() {
            links.base().prefetch(next.ordinal());
        }
        distances.clear();
        distances.resize(lists.fresh.len(), 0.0);
        lists.fresh.iter().take(BATCH).for_each(|&ordinal| scorer.prefetch(ordinal));
        let mut ahead = lists.fresh.chunks(BATCH).skip(1);
        for (ordinals, distances) in lists.fresh.chunks(BATCH).zip(distances.chunks_mut(BATCH)) {
            ahead.next().unwrap_or_default().iter().for_each(|&ordinal| scorer.prefetch(ordinal));
            scorer.score(ordinals, distances);
            ordinals.iter().zip(&*distances).for_each(|(&ordinal, &distance)| pool.offer(Key::new(distance, ordinal)));
        }
    }
    let mut keys = pool.nearest.into_vec();
    keys.sort_unstable();
    Ok(keys.into_iter().map(|key| (key.distance(), key.ordinal())).collect())
}

/// The lists of one hop.
#[derive(Default)]
struct Lists {
    neighbours: Vec<u32>,
    /// Neighbours that are not allowed.
    through: Vec<u32>,
    /// Allowed points not seen before, one or two links away.
    fresh: Vec<u32>,
}

impl Lists {
    fn fill(
        &mut self,
        graph: &impl Graph,
        node: u32,
        visited: &mut Visited,
        allowed: &impl Fn(u32) -> bool,
    ) -> Result<()> {
        self.fresh.clear();
        self.through.clear();
        graph.neighbours(node, &mut self.neighbours)?;
        for &neighbour in &self.neighbours {
            if visited.insert(neighbour) {
                if allowed(neighbour) {
                    self.fresh.push(neighbour);
                } else {
                    // Seen, and so looked through but once in a search.
                    graph.prefetch(neighbour);
                    self.through.push(neighbour);
                }
            }
        }
        for &blocked in &self.through {
            graph.neighbours(blocked, &mut self.neighbours)?;
            // Those that are not allowed stay unseen: another node may have them as direct neighbours.
            let found = self.neighbours.iter().copied().filter(|&ordinal| allowed(ordinal) && visited.insert(ordinal));
            self.fresh.extend(found);
        }
        Ok(())
    }
}

/// Points to expand, and the nearest of all.
struct Pool {
    open: BinaryHeap<Reverse<Key>>,
    nearest: BinaryHeap<Key>,
    ef: usize,
}

impl Pool {
    fn bound(&self) -> Key {
        if self.nearest.len() < self.ef { Key::MAX } else { self.nearest.peek().copied().unwrap_or(Key::MAX) }
    }

    #[inline]
    fn offer(&mut self, key: Key) {
        if key >= self.bound() {
            return;
        }
        self.open.push(Reverse(key));
        if self.nearest.len() < self.ef {
            self.nearest.push(key);
        } else if let Some(mut worst) = self.nearest.peek_mut() {
            *worst = key;
        }
    }

    /// The nearest point not expanded yet, while one can lead to something nearer than what was found.
    fn take(&mut self) -> Option<u32> {
        let Reverse(key) = self.open.pop()?;
        (key <= self.bound()).then(|| key.ordinal())
    }
}
