//! Makes level 0 strongly connected, so that every point can be found from wherever the upper levels lead.
//!
//! Heaps of identical points and the pruning of links can leave a point that nobody links to, or a group that links to nobody
//! else. Two passes mend that without a list growing over m0. Both know a tree of links that reaches every point from the entry
//! point, and give up only links outside of it, of which there are always some: a tree has one link per node, full lists have m0.

use super::{Hnsw, Pairs, build::FromPoint, visited::Scratch, walk::Walk};
use crate::{Error, Result, Watch};

/// No parent yet.
const NONE: u32 = u32::MAX;

/// Connects level 0 of `hnsw`, looking `ef` wide for good places.
///
/// # Errors
/// `Cancelled`.
pub(super) fn connect(pairs: &impl Pairs, hnsw: &Hnsw, ef: usize, watch: &dyn Watch) -> Result<()> {
    let mut mender = Mender {
        pairs,
        hnsw,
        ef,
        watch,
        parent: vec![NONE; hnsw.len() as usize],
        scratch: Scratch::default(),
        list: Vec::new(),
    };
    mender.reach_all()?;
    mender.lead_back()
}

struct Mender<'a, P> {
    pairs: &'a P,
    hnsw: &'a Hnsw,
    ef: usize,
    watch: &'a dyn Watch,
    /// The tree: who links to a point on its way from the entry point.
    parent: Vec<u32>,
    scratch: Scratch,
    list: Vec<u32>,
}

impl<P: Pairs> Mender<'_, P> {
    /// First pass: a link to every point that cannot be reached, from the nearest that can.
    fn reach_all(&mut self) -> Result<()> {
        let entry = self.hnsw.entry_point();
        self.parent[entry as usize] = entry;
        self.grow(entry);
        for point in 0..self.hnsw.len() {
            if self.parent[point as usize] != NONE {
                continue;
            }
            self.pause()?;
            let from = self
                .nearest(point, |mender, node| mender.parent[node as usize] != NONE && mender.spare(node).is_some())?;
            if let Some(from) = from {
                self.link(from, point);
                self.parent[point as usize] = from;
                self.grow(point);
            }
        }
        Ok(())
    }

    /// Extends the tree by everything that can be reached from `root`.
    fn grow(&mut self, root: u32) {
        let mut open = std::collections::VecDeque::from([root]);
        while let Some(node) = open.pop_front() {
            self.hnsw.neighbours(node, 0, &mut self.list);
            for &neighbour in &self.list {
                if self.parent[neighbour as usize] == NONE {
                    self.parent[neighbour as usize] = node;
                    open.push_back(neighbour);
                }
            }
        }
    }

    /// Second pass: a link from every group that cannot reach the entry point, to the nearest that can.
    fn lead_back(&mut self) -> Result<()> {
        let mut leads = vec![false; self.hnsw.len() as usize];
        leads[self.hnsw.entry_point() as usize] = true;
        let mut lost: Vec<u32> = (0..self.hnsw.len()).collect();
        self.spread(&mut leads, &mut lost);
        while let Some(&point) = lost.first() {
            self.pause()?;
            let to = self.nearest(point, |_, node| leads[node as usize])?;
            let (Some(to), Some(from)) = (to, self.spare_within_reach(point)) else { return Ok(()) };
            self.link(from, to);
            self.spread(&mut leads, &mut lost);
        }
        Ok(())
    }

    /// Marks those of `lost` that link to a marked node, until nothing changes; keeps the others.
    fn spread(&mut self, leads: &mut [bool], lost: &mut Vec<u32>) {
        loop {
            let before = lost.len();
            lost.retain(|&node| {
                self.hnsw.neighbours(node, 0, &mut self.list);
                leads[node as usize] |= self.list.iter().any(|&neighbour| leads[neighbour as usize]);
                !leads[node as usize]
            });
            if lost.len() == before {
                return;
            }
            // Marks run along ascending ordinals within one pass; turning round lets them run back in the next.
            lost.reverse();
        }
    }

    /// The slot of `node` that a new link may take: a free one, else that of its last link outside the tree.
    fn spare(&mut self, node: u32) -> Option<usize> {
        self.hnsw.neighbours(node, 0, &mut self.list);
        if self.list.len() < self.hnsw.degree_max(0) {
            return Some(self.list.len());
        }
        self.list.iter().rposition(|&neighbour| self.parent[neighbour as usize] != node)
    }

    /// The first node in breadth-first order from `start` that has a spare slot.
    fn spare_within_reach(&mut self, start: u32) -> Option<u32> {
        let mut seen = std::collections::HashSet::from([start]);
        let mut open = std::collections::VecDeque::from([start]);
        while let Some(node) = open.pop_front() {
            if self.spare(node).is_some() {
                return Some(node);
            }
            // `spare` has just read the list of `node`.
            open.extend(self.list.iter().copied().filter(|&neighbour| seen.insert(neighbour)));
        }
        None
    }

    /// Puts the link `from` -> `to` in a spare slot of `from`, which must have one.
    fn link(&mut self, from: u32, to: u32) {
        if let Some(slot) = self.spare(from) {
            match self.list.get_mut(slot) {
                Some(given_up) => *given_up = to,
                None => self.list.push(to),
            }
            self.hnsw.set(from, 0, &self.list);
        }
    }

    /// A near point that `fits`: the nearest among those that a search finds, else the nearest by ordinal, which is near as well
    /// because ordinals are in cluster order.
    fn nearest(&mut self, point: u32, mut fits: impl FnMut(&mut Self, u32) -> bool) -> Result<Option<u32>> {
        for found in self.search(point)? {
            if found != point && fits(self, found) {
                return Ok(Some(found));
            }
        }
        let outward = (1..self.hnsw.len()).flat_map(|step| [point.checked_sub(step), point.checked_add(step)]);
        for found in outward.flatten().filter(|&found| found < self.hnsw.len()) {
            if fits(self, found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The points nearest to `point` that a search from the entry point finds.
    fn search(&mut self, point: u32) -> Result<Vec<u32>> {
        let Scratch { visited, sorted, batch, .. } = &mut self.scratch;
        let mut scorer = FromPoint::new(self.pairs, point);
        visited.reset(self.hnsw.len());
        let mut walk = Walk { scorer: &mut scorer, visited, batch, watch: self.watch };
        let entry = self.hnsw.entry_point();
        let mut nearest = (walk.key(entry), entry);
        for level in (1..=self.hnsw.level(entry)).rev() {
            nearest = walk.descend(&self.hnsw.on(level), nearest, Ok)?;
        }
        sorted.reset(self.ef);
        walk.enter(&[nearest.1], sorted, |_| true);
        walk.run(&self.hnsw.on(0), sorted, |_| true)?;
        Ok(sorted.keys().map(|key| key.ordinal()).collect())
    }

    fn pause(&self) -> Result<()> {
        if self.watch.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
