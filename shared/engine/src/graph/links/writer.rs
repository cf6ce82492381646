//! Writing the section.

use super::{
    header::{ALIGN, Entry, HEADER_BYTES, Header, LINE_BYTES_MAX},
    record::{Planner, Shape},
};
use crate::graph::Hnsw;

/// What a list in the overflow area costs a reader beside its bytes: another cache line to wait for.
const OVERFLOW_COST_BYTES: usize = 2 * ALIGN;

impl Hnsw {
    /// Appends the bytes of the links section to `out`; see [`super`] for their meaning.
    pub fn write(&self, out: &mut Vec<u8>) {
        let origin = out.len();
        let top = self.level(self.entry_point());
        Header { points: self.len(), entry_point: self.entry_point(), levels: u32::from(top) + 1 }.encode(out);
        let directory = out.len();
        out.resize(directory + HEADER_BYTES * (usize::from(top) + 1), 0);
        let mut below: Vec<u32> = Vec::new();
        for level in 0..=top {
            // Each level's nodes are among those of the level below, so that the levels together are read in O(n).
            let ordinals: Vec<u32> = match level {
                0 => Vec::new(),
                1 => (0..self.len()).filter(|&ordinal| self.level(ordinal) >= 1).collect(),
                _ => below.iter().copied().filter(|&ordinal| self.level(ordinal) >= level).collect(),
            };
            let degree_max = u32::try_from(self.degree_max(level)).unwrap_or(u32::MAX);
            let nodes = if level == 0 { self.len() } else { u32::try_from(ordinals.len()).unwrap_or(u32::MAX) };
            let lists = |rank: u32, list: &mut Vec<u32>| {
                if level == 0 {
                    self.neighbours(rank, level, list);
                } else {
                    self.neighbours(ordinals[rank as usize], level, list);
                    // A link on a level leads to a node of that level.
                    list.iter_mut().for_each(|id| *id = rank_of(&ordinals, *id));
                }
            };
            let entry = write_level(Shape::new(nodes, degree_max), &ordinals, &lists, origin, out);
            let mut encoded = Vec::with_capacity(HEADER_BYTES);
            entry.encode(&mut encoded);
            out[directory + usize::from(level) * HEADER_BYTES..][..HEADER_BYTES].copy_from_slice(&encoded);
            below = ordinals;
        }
    }
}

fn rank_of(ordinals: &[u32], ordinal: u32) -> u32 {
    u32::try_from(ordinals.partition_point(|&other| other < ordinal)).unwrap_or(u32::MAX)
}

/// Appends one level whose lists `lists` gives by rank, in any order; the section began at `origin`.
pub(super) fn write_level(
    shape: Shape,
    ordinals: &[u32],
    lists: &dyn Fn(u32, &mut Vec<u32>),
    origin: usize,
    out: &mut Vec<u8>,
) -> Entry {
    let sorted = |rank: u32, list: &mut Vec<u32>| {
        lists(rank, list);
        list.sort_unstable();
        list.dedup();
    };
    let start = out.len() - origin;
    let (mut list, mut planner) = (Vec::new(), Planner::default());
    let mut sizes = vec![0u64; LINE_BYTES_MAX + 2];
    let (mut links, mut packed_bits) = (0, 0);
    for rank in 0..shape.nodes {
        sorted(rank, &mut list);
        let plan = planner.plan(&shape, rank, &list);
        sizes[plan.bytes().min(LINE_BYTES_MAX + 1)] += 1;
        links += list.len() as u64;
        packed_bits += plan.bits;
    }
    let line_bytes = line_bytes(&sizes);

    out.extend(ordinals.iter().flat_map(|ordinal| ordinal.to_le_bytes()));
    pad(out, origin);
    let lines = out.len();
    out.resize(lines + shape.nodes as usize * line_bytes, 0);
    let mut overflow: Vec<u8> = Vec::new();
    for rank in 0..shape.nodes {
        sorted(rank, &mut list);
        let plan = planner.plan(&shape, rank, &list);
        let line = &mut out[lines + rank as usize * line_bytes..][..line_bytes];
        if plan.bytes() <= line_bytes {
            plan.write(&shape, rank, &list, line);
        } else {
            let at = overflow.len();
            let bytes = plan.bytes().next_multiple_of(8);
            overflow.resize(at + bytes, 0);
            plan.write(&shape, rank, &list, &mut overflow[at..]);
            line[0] = 1;
            // Fit, as long as all overflow is below 32 GB and a record below 4 GB.
            line[4..8].copy_from_slice(&u32::try_from(at / 8).unwrap_or(u32::MAX).to_le_bytes());
            line[8..12].copy_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    pad(out, origin);
    out.extend_from_slice(&overflow);
    pad(out, origin);
    Entry {
        nodes: shape.nodes,
        degree_max: shape.degree_max,
        line_bytes: u32::try_from(line_bytes).unwrap_or(u32::MAX),
        start: start as u64,
        overflow_bytes: overflow.len() as u64,
        links,
        packed_bits,
    }
}

/// The cheapest length of lines, given how many records there are of each size in bytes.
fn line_bytes(sizes: &[u64]) -> usize {
    let cost = |line: usize| {
        let fits: u64 = sizes[..=line].iter().sum();
        let spills = sizes.iter().enumerate().skip(line + 1);
        let spill_cost: u64 =
            spills.map(|(bytes, &count)| count * (bytes.next_multiple_of(8) + line + OVERFLOW_COST_BYTES) as u64).sum();
        fits * line as u64 + spill_cost
    };
    let candidates = [ALIGN / 2].into_iter().chain((ALIGN..=LINE_BYTES_MAX).step_by(ALIGN));
    candidates.min_by_key(|&line| cost(line)).unwrap_or(ALIGN)
}

fn pad(out: &mut Vec<u8>, origin: usize) {
    let end = origin + (out.len() - origin).next_multiple_of(ALIGN);
    out.resize(end, 0);
}
