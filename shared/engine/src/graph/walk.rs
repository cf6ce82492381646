//! The one loop that both building and searching run: best-first over a graph, in batches.

use super::{
    Scorer,
    frontier::{Frontier, Key},
    visited::{Batch, Visited},
};
use crate::{Error, Result, Watch};

/// Points scored in one batch; the next batch is prefetched while one is scored.
const BATCH: usize = 16;
/// Hops between two looks at the watch.
const WATCHED_HOPS: usize = 64;

/// Adjacency as a walk sees it.
pub(super) trait Graph {
    /// Puts the neighbours of `node` in `out`, replacing what it held.
    fn neighbours(&self, node: u32, out: &mut Vec<u32>) -> Result<()>;
    /// Fetches the list of `node` into the cache.
    fn prefetch(&self, node: u32) {
        let _ = node;
    }
}

/// The state of one walk, apart from its frontier.
pub(super) struct Walk<'a, S> {
    pub(super) scorer: &'a mut S,
    pub(super) visited: &'a mut Visited,
    pub(super) batch: &'a mut Batch,
    pub(super) watch: &'a dyn Watch,
}

impl<S: Scorer> Walk<'_, S> {
    /// Scores the entries and offers them.
    pub(super) fn enter(&mut self, entries: &[u32], frontier: &mut impl Frontier, allowed: impl Fn(u32) -> bool) {
        self.batch.reserve(entries.len());
        let count = self.visited.insert_all(entries, &mut self.batch.fresh);
        self.score(count, frontier, &allowed);
    }

    /// Expands the nearest open point until none can improve the results.
    ///
    /// # Errors
    /// `Cancelled`, and what reading the graph gives.
    pub(super) fn run(
        &mut self,
        graph: &impl Graph,
        frontier: &mut impl Frontier,
        allowed: impl Fn(u32) -> bool,
    ) -> Result<()> {
        let mut hops = 0usize;
        while let Some(node) = frontier.take() {
            hops += 1;
            if hops.is_multiple_of(WATCHED_HOPS) && self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            graph.neighbours(node, &mut self.batch.neighbours)?;
            // Most hops go on to the second best of now: its list is on its way while this one's points are scored.
            if let Some(next) = frontier.peek() {
                graph.prefetch(next);
            }
            self.batch.reserve(self.batch.neighbours.len());
            let count = self.visited.insert_all(&self.batch.neighbours, &mut self.batch.fresh);
            self.score(count, frontier, &allowed);
        }
        Ok(())
    }

    /// Scores the first `count` fresh points and offers them.
    #[inline]
    fn score(&mut self, count: usize, frontier: &mut impl Frontier, allowed: &impl Fn(u32) -> bool) {
        let Batch { fresh, distances, keys, .. } = &mut *self.batch;
        let (fresh, distances) = (&fresh[..count], &mut distances[..count]);
        for &ordinal in &fresh[..count.min(BATCH)] {
            self.scorer.prefetch(ordinal);
        }
        let mut ahead = fresh.chunks(BATCH).skip(1);
        for (chunk, distances) in fresh.chunks(BATCH).zip(distances.chunks_mut(BATCH)) {
            for &ordinal in ahead.next().unwrap_or_default() {
                self.scorer.prefetch(ordinal);
            }
            self.scorer.score(chunk, distances);
        }
        // Most points are too far to matter, and whether one is cannot be foreseen: written always, counted where it is near enough.
        let bound = frontier.bound();
        let mut near = 0;
        for (&ordinal, &distance) in fresh.iter().zip(&*distances) {
            keys[near] = Key::new(distance, ordinal);
            // What is no number counts as near: its key comes last of all.
            near += usize::from(!matches!(distance.partial_cmp(&bound), Some(std::cmp::Ordering::Greater)));
        }
        if near > 0 {
            frontier.offer(&mut keys[..near], allowed);
        }
    }

    /// Greedy descent inside one level of `graph`, with ordinals named by `name`: from `start` to a local minimum.
    ///
    /// # Errors
    /// What reading the graph gives.
    pub(super) fn descend(
        &mut self,
        graph: &impl Graph,
        start: (Key, u32),
        name: impl Fn(u32) -> Result<u32>,
    ) -> Result<(Key, u32)> {
        let mut best = start;
        loop {
            let from = best;
            graph.neighbours(from.1, &mut self.batch.neighbours)?;
            let count = self.batch.neighbours.len();
            self.batch.reserve(count);
            for (slot, &node) in self.batch.fresh.iter_mut().zip(&self.batch.neighbours) {
                *slot = name(node)?;
                self.scorer.prefetch(*slot);
            }
            let (fresh, distances) = (&self.batch.fresh[..count], &mut self.batch.distances[..count]);
            self.scorer.score(fresh, distances);
            for ((&ordinal, &distance), &node) in fresh.iter().zip(&*distances).zip(&self.batch.neighbours) {
                best = best.min((Key::new(distance, ordinal), node));
            }
            // Keys strictly fall, so even a damaged graph ends this loop.
            if best == from || self.watch.cancelled() {
                return Ok(best);
            }
        }
    }

    /// The distance of one point.
    pub(super) fn key(&mut self, ordinal: u32) -> Key {
        let mut distance = [0.0];
        self.scorer.score(&[ordinal], &mut distance);
        Key::new(distance[0], ordinal)
    }
}
