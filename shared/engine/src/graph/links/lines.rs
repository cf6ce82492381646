//! How many links a node's line holds: a build gives each node as many as fit, and no more.

use super::{
    header::{ALIGN, LINE_BYTES_MAX},
    record::{Planner, Shape},
};

/// The line of one level's nodes.
pub(in crate::graph) struct Line {
    shape: Shape,
    bytes: usize,
}

/// Buffers of [`Line::cut`].
#[derive(Default)]
pub(in crate::graph) struct Cut {
    planner: Planner,
    sorted: Vec<u32>,
}

impl Line {
    /// Bits that a link is taken to need where lines are chosen, and those of a record's head.
    const LINK_BITS: usize = 12;
    const HEAD_BITS: usize = 40;

    /// Bytes of a line that holds about `links` links: 64 for 32.
    pub(in crate::graph) fn bytes_for(links: usize) -> usize {
        match (links * Self::LINK_BITS + Self::HEAD_BITS).div_ceil(8) {
            short if short <= ALIGN / 2 => ALIGN / 2,
            long => long.next_multiple_of(ALIGN).min(LINE_BYTES_MAX),
        }
    }

    /// Lines of `bytes` on a level of so many nodes with at most `degree_max` links.
    pub(in crate::graph) fn new(nodes: u32, degree_max: u32, bytes: usize) -> Self {
        Self { shape: Shape::new(nodes, degree_max), bytes }
    }

    /// Cuts `list`, best first, to the longest beginning that fits the line of node `own`.
    pub(in crate::graph) fn cut(&self, own: u32, list: &mut Vec<u32>, memory: &mut Cut) {
        let mut fits = |count: usize| {
            memory.sorted.clear();
            memory.sorted.extend_from_slice(&list[..count]);
            memory.sorted.sort_unstable();
            memory.planner.plan(&self.shape, own, &memory.sorted).bytes() <= self.bytes
        };
        if fits(list.len()) {
            return;
        }
        // Adding a link practically always makes the record longer.
        let (mut low, mut high) = (0, list.len());
        while low + 1 < high {
            let middle = low.midpoint(high);
            if fits(middle) { low = middle } else { high = middle }
        }
        list.truncate(low);
    }
}
