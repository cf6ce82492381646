//! Writing the section.

use super::{
    header::{ALIGN, Entry, HEADER_BYTES, Header, LINE_BYTES_MAX},
    record::{Planner, Shape},
};
use crate::graph::Hnsw;
use rayon::prelude::*;

/// Nodes whose records are made by one task.
const RUN: u32 = 1_024;
/// What a list in the overflow area costs a reader beside its bytes: another cache line to wait for.
const OVERFLOW_COST_BYTES: usize = 2 * ALIGN;

impl Hnsw {
    /// Appends the bytes of the links section to `out`; see [`super`] for their meaning. Works on the current thread pool.
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
    lists: &(dyn Fn(u32, &mut Vec<u32>) + Sync),
    origin: usize,
    out: &mut Vec<u8>,
) -> Entry {
    let start = out.len() - origin;
    let runs: Vec<Records> = (0..shape.nodes.div_ceil(RUN))
        .into_par_iter()
        .map(|run| Records::pack(&shape, run * RUN..shape.nodes.min((run + 1).saturating_mul(RUN)), lists))
        .collect();
    let mut sizes = vec![0u64; LINE_BYTES_MAX + 2];
    for size in runs.iter().flat_map(|run| &run.sizes) {
        sizes[(*size as usize).min(LINE_BYTES_MAX + 1)] += 1;
    }
    let line_bytes = line_bytes(&sizes);

    out.extend(ordinals.iter().flat_map(|ordinal| ordinal.to_le_bytes()));
    pad(out, origin);
    let lines = out.len();
    out.resize(lines + shape.nodes as usize * line_bytes, 0);
    let mut overflow: Vec<u8> = Vec::new();
    let records = runs.iter().flat_map(Records::iter);
    for (record, line) in records.zip(out[lines..].chunks_exact_mut(line_bytes)) {
        if record.len() <= line_bytes {
            line[..record.len()].copy_from_slice(record);
        } else {
            let at = overflow.len();
            overflow.extend_from_slice(record);
            overflow.resize(at + record.len().next_multiple_of(8), 0);
            line[0] = 1;
            // Fit, as long as all overflow is below 32 GB and a record below 4 GB.
            line[4..8].copy_from_slice(&u32::try_from(at / 8).unwrap_or(u32::MAX).to_le_bytes());
            line[8..12].copy_from_slice(&u32::try_from(overflow.len() - at).unwrap_or(u32::MAX).to_le_bytes());
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
        links: runs.iter().map(|run| run.links).sum(),
        packed_bits: runs.iter().map(|run| run.packed_bits).sum(),
    }
}

/// The records of a run of nodes, end to end.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    sizes: Vec<u32>,
    links: u64,
    packed_bits: u64,
}

impl Records {
    fn pack(shape: &Shape, ranks: std::ops::Range<u32>, lists: &dyn Fn(u32, &mut Vec<u32>)) -> Self {
        let mut records = Self::default();
        let (mut list, mut planner) = (Vec::new(), Planner::default());
        for rank in ranks {
            lists(rank, &mut list);
            list.sort_unstable();
            list.dedup();
            let plan = planner.plan(shape, rank, &list);
            let start = records.bytes.len();
            records.bytes.resize(start + plan.bytes(), 0);
            plan.write(shape, rank, &list, &mut records.bytes[start..]);
            records.sizes.push(u32::try_from(plan.bytes()).unwrap_or(u32::MAX));
            records.links += list.len() as u64;
            records.packed_bits += plan.bits;
        }
        records
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.sizes.iter().map(move |&size| {
            let (record, after) = rest.split_at(size as usize);
            rest = after;
            record
        })
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
