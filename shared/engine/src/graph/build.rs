//! Insertion of points, in parallel (Malkov and Yashunin, arXiv 1603.09320, Algorithms 1 to 4).

use cairn_model::{HnswConfig, limits::SEGMENT_POINTS_MAX};

use super::{
    Hnsw, Pairs, Scorer, connect,
    frontier::Key,
    level,
    select::Selector,
    tasks::{self, Progress},
    visited::Scratch,
    walk::Walk,
};
use crate::{Error, Result, Watch};

/// Points that one thread inserts before the others join: a graph that several threads start at once falls apart.
const ALONE: usize = 256;
/// Slots of level 0 beyond m0 while building, as a share of m0: lists are pruned once they spill over, not at each new link.
const SLACK_PER_M0: (usize, usize) = (1, 2);
/// Points that a thread takes at a time.
const BATCH: usize = 64;

/// Builds the graph over all points of `pairs` on `pool`. With one thread, the same seed gives the same graph.
///
/// Level 0 is strongly connected afterwards: every point can be reached from every other.
///
/// # Errors
/// `Invalid` for no points, too many, m below 2 or ef_construct of 0; `Cancelled`.
pub fn build(
    pairs: &impl Pairs,
    config: &HnswConfig,
    seed: u64,
    pool: &rayon::ThreadPool,
    watch: &dyn Watch,
) -> Result<Hnsw> {
    let points = check(pairs.len(), config)?;
    let m = config.m as usize;
    let hnsw = Hnsw::unlinked(points, m, 2 * m + 2 * m * SLACK_PER_M0.0 / SLACK_PER_M0.1, seed);
    let insertion = Insertion { pairs, hnsw: &hnsw, ef: config.ef_construct as usize, lowest: 0, watch };
    let order = level::order(points, hnsw.entry_point(), seed);
    let (alone, together) = order.split_at(ALONE.min(order.len()));
    let total = u64::from(points);
    let insert = |point, memory: &mut Memory| insertion.insert(point, memory);
    in_batches(alone, None, &Progress { watch, before: 0, total }, &insert)?;
    in_batches(together, Some(pool), &Progress { watch, before: alone.len() as u64, total }, &insert)?;
    let trim = |point, memory: &mut Memory| {
        insertion.trim(point, memory);
        Ok(())
    };
    in_batches(&order, Some(pool), &Progress { watch, before: total, total }, &trim)?;
    connect::connect(pairs, &hnsw, insertion.ef, watch)?;
    Ok(hnsw)
}

/// The number of points, if a graph can have so many.
pub(super) fn check(points: usize, config: &HnswConfig) -> Result<u32> {
    if config.m < 2 || config.ef_construct == 0 {
        return Err(Error::invalid("hnsw_config", "m must be at least 2 and ef_construct at least 1"));
    }
    match u32::try_from(points) {
        Ok(count) if count > 0 && points <= SEGMENT_POINTS_MAX => Ok(count),
        _ => Err(Error::invalid("points", format!("{points} points cannot be a graph"))),
    }
}

/// Inserts the points of level 1 and more on those levels, one after another; level 0 is left alone.
///
/// They are few, and one thread gives the same graph every time.
pub(super) fn upper(pairs: &impl Pairs, hnsw: &Hnsw, ef: usize, seed: u64, watch: &dyn Watch) -> Result<()> {
    let insertion = Insertion { pairs, hnsw, ef, lowest: 1, watch };
    let mut memory = Memory::default();
    let order = level::order(hnsw.len(), hnsw.entry_point(), seed);
    for point in order.into_iter().filter(|&point| hnsw.level(point) >= 1) {
        if watch.cancelled() {
            return Err(Error::Cancelled);
        }
        insertion.insert(point, &mut memory)?;
    }
    Ok(())
}

/// Runs `work` on all `points`, each thread taking the next batch in order, until done, failed or cancelled.
fn in_batches(
    points: &[u32],
    pool: Option<&rayon::ThreadPool>,
    progress: &Progress<'_>,
    work: &(dyn Fn(u32, &mut Memory) -> Result<()> + Sync),
) -> Result<()> {
    tasks::each(points.len().div_ceil(BATCH), pool, progress, &|task, memory: &mut Memory| {
        let batch = &points[task * BATCH..points.len().min((task + 1) * BATCH)];
        batch.iter().try_for_each(|&point| work(point, memory))?;
        Ok(batch.len())
    })
}

/// One thread's buffers.
#[derive(Default)]
struct Memory {
    scratch: Scratch,
    /// Neighbours chosen for the point being inserted, by level.
    chosen: Vec<Vec<u32>>,
    list: Vec<u32>,
    distances: Vec<f32>,
    keys: Vec<Key>,
    selector: Selector,
}

/// What all threads of a build share.
struct Insertion<'a, P> {
    pairs: &'a P,
    hnsw: &'a Hnsw,
    ef: usize,
    /// Levels below are left alone.
    lowest: u8,
    watch: &'a dyn Watch,
}

impl<P: Pairs> Insertion<'_, P> {
    fn insert(&self, point: u32, memory: &mut Memory) -> Result<()> {
        if point == self.hnsw.entry_point() {
            return Ok(());
        }
        let levels = usize::from(self.hnsw.level(point)) + 1;
        memory.chosen.resize_with(memory.chosen.len().max(levels), Vec::new);
        self.choose(point, memory)?;
        let chosen = std::mem::take(&mut memory.chosen);
        // Others may walk through the point as soon as anybody links to it: it must lead somewhere on every level before that.
        for (level, neighbours) in (0u8..).zip(&chosen[..levels]).skip(self.lowest.into()) {
            let _lock = self.hnsw.lock(point);
            self.hnsw.set(point, level, neighbours);
        }
        for (level, neighbours) in (0u8..).zip(&chosen[..levels]).skip(self.lowest.into()) {
            for &neighbour in neighbours {
                self.link_back(neighbour, point, level, memory);
            }
        }
        memory.chosen = chosen;
        Ok(())
    }

    /// Finds the neighbours of `point` on each of its levels.
    fn choose(&self, point: u32, memory: &mut Memory) -> Result<()> {
        let Scratch { visited, sorted, batch, .. } = &mut memory.scratch;
        let mut scorer = FromPoint::new(self.pairs, point);
        let entry = self.hnsw.entry_point();
        visited.reset(self.hnsw.len());
        let mut walk = Walk { scorer: &mut scorer, visited, batch, watch: self.watch };
        let mut nearest = (walk.key(entry), entry);
        for level in (self.lowest..=self.hnsw.level(entry)).rev() {
            if level > self.hnsw.level(point) {
                nearest = walk.descend(&self.hnsw.on(level), nearest, Ok)?;
                continue;
            }
            walk.visited.reset(self.hnsw.len());
            walk.visited.insert(point);
            sorted.reset(self.ef);
            walk.enter(&[nearest.1], sorted, |_| true);
            walk.run(&self.hnsw.on(level), sorted, |_| true)?;
            let cap = self.hnsw.degree_max(level);
            memory.keys.clear();
            memory.keys.extend(sorted.keys());
            memory.selector.select(self.pairs, &memory.keys, cap, &mut memory.chosen[usize::from(level)]);
            if let Some(&key) = memory.keys.first() {
                nearest = (key, key.ordinal());
            }
        }
        Ok(())
    }

    /// Adds the link `node` -> `point`, pruning the list of `node` when it is full.
    fn link_back(&self, node: u32, point: u32, level: u8, memory: &mut Memory) {
        let _lock = self.hnsw.lock(node);
        if !self.hnsw.add(node, level, point) {
            self.hnsw.neighbours(node, level, &mut memory.list);
            memory.list.push(point);
            self.prune(node, level, memory);
        }
    }

    /// Cuts level 0's list of `node` down to m0.
    fn trim(&self, node: u32, memory: &mut Memory) {
        let _lock = self.hnsw.lock(node);
        self.hnsw.neighbours(node, 0, &mut memory.list);
        if memory.list.len() > self.hnsw.degree_max(0) {
            self.prune(node, 0, memory);
        }
    }

    /// Sets the list of `node` to the best of `memory.list`.
    fn prune(&self, node: u32, level: u8, memory: &mut Memory) {
        let Memory { list, distances, keys, selector, .. } = memory;
        distances.resize(list.len(), 0.0);
        self.pairs.distances(node, list, distances);
        keys.clear();
        keys.extend(list.iter().zip(&*distances).map(|(&id, &distance)| Key::new(distance, id)));
        keys.sort_unstable();
        let cap = self.hnsw.degree_max(level);
        selector.select(self.pairs, keys, cap, list);
        self.hnsw.set(node, level, list);
    }
}

/// Scores by the distance from one stored point.
pub(super) struct FromPoint<'a, P> {
    pairs: &'a P,
    point: u32,
}

impl<'a, P: Pairs> FromPoint<'a, P> {
    pub(super) const fn new(pairs: &'a P, point: u32) -> Self {
        Self { pairs, point }
    }
}

impl<P: Pairs> Scorer for FromPoint<'_, P> {
    #[inline]
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        self.pairs.distances(self.point, ordinals, out);
    }

    #[inline]
    fn prefetch(&self, ordinal: u32) {
        self.pairs.prefetch(ordinal);
    }
}
