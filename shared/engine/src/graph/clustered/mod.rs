//! Building from clusters instead of point by point.
//!
//! 1. Every point's candidates are the nearest of all points in the clusters nearest to it ([`Candidates`]); pruning makes them
//!    links.
//! 2. The few points above level 0 are inserted there as in the paper. On level 0, a few of their links on level 1 are the first
//!    of their list: candidates from near clusters alone would leave heaps of points with no way from one to the next.
//! 3. Every link is offered back to the point that it leads to, and lists are pruned again.
//! 4. While a sample of points is not found well enough, the graph is searched for every point; what is found are better
//!    candidates, and 3 is done again.
//! 5. Lists are cut to what a node's line holds, and level 0 is made strongly connected.
//!
//! Each stage reads what the stage before left and writes every point's own list only, so that the same points and seed give the
//! same graph on any number of threads, without a lock.

mod lists;
mod sample;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "test sizes are small")]
mod tests;

use std::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use cairn_model::HnswConfig;
use rayon::ThreadPool;

use super::{
    Coded, Effort, Hnsw, Pairs,
    build::{self, FromPoint},
    candidates::{self, Candidates, Clustered},
    connect,
    frontier::Key,
    hnsw::OnLevel,
    links::{Cut, Line},
    select::Selector,
    tasks::{Progress, each},
    visited::Scratch,
    walk::{Graph, Walk},
};
use crate::{Error, Result, Watch};
use lists::Lists;

/// Links that a node may have on level 0, as a multiple of m. What fits its line is fewer: about 2.6 m, where insertion has 2 m.
const SLOTS_PER_M: usize = 3;
/// A point above level 0 has one in so many of its slots on level 0 for links of level 1.
const LEADS_PER_SLOTS: usize = 6;
/// Points of one task.
const BATCH: u32 = 64;

/// Builds the graph over clustered points on `pool`. The same points and seed give the same graph, on any number of threads.
///
/// `config.m` sets the degrees, `config.ef_construct` the width of candidate pools. Level 0 is strongly connected afterwards.
///
/// # Errors
/// `Invalid` for no points, too many, m below 2 or ef_construct of 0; `Cancelled`.
pub fn build_clustered(
    clustered: Clustered<'_>,
    config: &HnswConfig,
    effort: Effort,
    seed: u64,
    pool: &ThreadPool,
    watch: &dyn Watch,
) -> Result<Hnsw> {
    let coded = clustered.coded;
    let points = build::check(coded.len(), config)?;
    let (m, ef) = (config.m as usize, config.ef_construct as usize);
    let slots = m * SLOTS_PER_M;
    let mut hnsw = Hnsw::unlinked(points, m, slots, seed);
    // Candidates, reverse links and lines, and two stages for each pass.
    let stages = 3 + 2 * effort.passes as u64;
    let progress = Progress { watch, before: 0, total: u64::from(points) * stages };
    let mut builder = Builder { coded, hnsw: &hnsw, ef, slots, pool, progress };
    build::upper(coded, &hnsw, ef, seed, watch)?;
    let forward = builder.candidates(clustered, effort.probes)?;
    builder.link_back(&forward)?;
    for _ in 0..effort.passes {
        if builder.recall(seed)? >= effort.recall {
            break;
        }
        builder.refine(&forward)?;
        builder.link_back(&forward)?;
    }
    drop(forward);
    let longest = builder.cut(m)?;
    hnsw.limit(longest);
    connect::connect(coded, &hnsw, ef, watch)?;
    if watch.cancelled() {
        return Err(Error::Cancelled);
    }
    watch.progress(crate::Phase::Graph, u64::from(points) * stages, u64::from(points) * stages);
    Ok(hnsw)
}

/// What all stages share.
struct Builder<'a> {
    coded: &'a Coded,
    hnsw: &'a Hnsw,
    /// Candidates of a point.
    ef: usize,
    /// Links of a point.
    slots: usize,
    pool: &'a ThreadPool,
    progress: Progress<'a>,
}

/// One thread's buffers.
#[derive(Default)]
struct Memory {
    candidates: candidates::Memory,
    selector: Selector,
    scratch: Scratch,
    keys: Vec<Key>,
    list: Vec<u32>,
    /// Links of another level.
    far: Vec<u32>,
    distances: Vec<f32>,
    cut: Cut,
}

impl Memory {
    /// Adds the points of `list` with their distances from `point` to the keys.
    fn weigh(&mut self, coded: &Coded, point: u32) {
        self.distances.resize(self.list.len(), 0.0);
        coded.distances(point, &self.list, &mut self.distances);
        self.keys.extend(self.list.iter().zip(&self.distances).map(|(&id, &distance)| Key::new(distance, id)));
    }

    /// Chooses from the keys, in any order; the choice is in `list`, best first.
    fn choose(&mut self, coded: &Coded, cap: usize) {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.selector.select(coded, &self.keys, cap, &mut self.list);
    }
}

/// A graph that remembers where a walk went. The nodes on the way from afar are candidates for long links, as in Vamana (arXiv
/// 1907.05024).
struct Way<'a> {
    graph: OnLevel<'a>,
    nodes: RefCell<Vec<u32>>,
}

impl Graph for Way<'_> {
    #[inline]
    fn neighbours(&self, node: u32, out: &mut Vec<u32>) -> Result<()> {
        self.nodes.borrow_mut().push(node);
        self.graph.neighbours(node, out)
    }
}

impl Builder<'_> {
    /// Does `work` for all points in batches of consecutive ones, as one stage.
    fn stage(&mut self, work: &(dyn Fn(&Self, u32, &mut Memory) -> Result<()> + Sync)) -> Result<()> {
        let points = self.hnsw.len();
        let builder: &Self = self;
        each(points.div_ceil(BATCH) as usize, Some(self.pool), &self.progress, &|task, memory: &mut Memory| {
            let from = u32::try_from(task).unwrap_or(u32::MAX).saturating_mul(BATCH);
            let to = points.min(from.saturating_add(BATCH));
            (from..to).try_for_each(|point| work(builder, point, memory))?;
            Ok((to - from) as usize)
        })?;
        self.progress.before += u64::from(points);
        Ok(())
    }

    /// Links every point to a choice of its candidates.
    fn candidates(&mut self, clustered: Clustered<'_>, probes: usize) -> Result<Lists> {
        let candidates = Candidates::new(clustered, probes, self.ef);
        let lists = Lists::new(self.hnsw.len(), self.slots);
        each(candidates.shares(), Some(self.pool), &self.progress, &|share, memory: &mut Memory| {
            let Memory { candidates: found, selector, list, .. } = memory;
            candidates.find(share, found, self.progress.watch, &mut |point, keys| {
                selector.select(self.coded, keys, self.slots, list);
                lists.set(point, list);
                Ok(())
            })
        })?;
        self.progress.before += u64::from(self.hnsw.len());
        Ok(lists)
    }

    /// Gives every point a choice of the points that it has chosen and of those that have chosen it.
    fn link_back(&mut self, forward: &Lists) -> Result<()> {
        let incoming = forward.reversed();
        self.stage(&|builder, point, memory| {
            memory.list.clear();
            memory.list.extend(forward.of(point));
            memory.list.extend_from_slice(incoming.of(point));
            memory.keys.clear();
            memory.weigh(builder.coded, point);
            memory.choose(builder.coded, builder.slots);
            if builder.hnsw.level(point) > 0 {
                builder.lead_out(point, memory);
            }
            builder.hnsw.set(point, 0, &memory.list);
            Ok(())
        })
    }

    /// Puts the first links of level 1 in front of the list.
    fn lead_out(&self, point: u32, Memory { list, far, .. }: &mut Memory) {
        self.hnsw.neighbours(point, 1, far);
        far.truncate(self.slots / LEADS_PER_SLOTS);
        far.extend(list.iter().filter(|id| !far.contains(id)).copied().collect::<Vec<_>>());
        far.truncate(self.slots);
        std::mem::swap(list, far);
    }

    /// Searches the graph for every point, for better candidates; `forward` becomes the choice of them and of the links so far.
    ///
    /// The search starts where all searches start. From the point itself it would be shorter, but it would stay among what the
    /// point knows already: on two sets of sentence embeddings with queries of another kind, a search of the graph needs 3 to 6%
    /// fewer distances for the same recall when the build's searches come from afar.
    fn refine(&mut self, forward: &Lists) -> Result<()> {
        self.stage(&|builder, point, memory| {
            let Scratch { visited, sorted, batch, .. } = &mut memory.scratch;
            let mut scorer = FromPoint::new(builder.coded, point);
            visited.reset(builder.hnsw.len());
            // One more than asked for: a point finds itself.
            sorted.reset(builder.ef + 1);
            let mut walk = Walk { scorer: &mut scorer, visited, batch, watch: builder.progress.watch };
            walk.enter(&[builder.hnsw.entry_point()], sorted, |_| true);
            let way = Way { graph: builder.hnsw.on(0), nodes: RefCell::new(std::mem::take(&mut memory.far)) };
            walk.run(&way, sorted, |_| true)?;
            memory.far = way.nodes.into_inner();
            memory.keys.clear();
            memory.keys.extend(sorted.keys().filter(|key| key.ordinal() != point));
            builder.hnsw.neighbours(point, 0, &mut memory.list);
            memory.list.extend(memory.far.drain(..).filter(|&node| node != point));
            memory.weigh(builder.coded, point);
            memory.choose(builder.coded, builder.slots);
            forward.set(point, &memory.list);
            Ok(())
        })
    }

    /// Cuts every list to what the line of a node holds; gives the length of the longest.
    fn cut(&mut self, m: usize) -> Result<usize> {
        let bytes = Line::bytes_for(2 * m);
        let line = Line::new(self.hnsw.len(), u32::try_from(self.slots).unwrap_or(u32::MAX), bytes);
        let longest = AtomicUsize::new(1);
        self.stage(&|builder, point, memory| {
            builder.hnsw.neighbours(point, 0, &mut memory.list);
            line.cut(point, &mut memory.list, &mut memory.cut);
            longest.fetch_max(memory.list.len(), Relaxed);
            builder.hnsw.set(point, 0, &memory.list);
            Ok(())
        })?;
        Ok(longest.into_inner())
    }
}
