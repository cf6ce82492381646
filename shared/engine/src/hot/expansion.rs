//! Codes and links to blocks.

use cairn_model::Distance;
use rayon::prelude::*;

use super::{
    Compact, ENTRIES_MAX, Hot, Memory,
    block::{LABEL_BYTES, LINE_BYTES, ROOT, Shape},
};
use crate::{
    Error, Result, Watch,
    codec::Codec,
    kernel::fastscan::{self, Edge, FastScan, LANES, TAIL_BYTES},
};

/// Nodes that one task expands; the watch is asked before each.
const TASK_NODES: usize = 512;
/// Addresses keep one bit for the walk.
const LINES_MAX: usize = 1 << 31;

/// Where each block of an expansion begins.
#[derive(Debug)]
pub struct Plan {
    shape: Shape,
    /// Every point's address, and the number of lines behind them.
    addresses: Vec<u32>,
    lines: usize,
}

impl Plan {
    /// Reads all lists' lengths, on the threads of the pool it is called in.
    ///
    /// # Errors
    /// `Corrupt` where a list is damaged, `Invalid` where blocks would take 128 GiB or more, `Cancelled`.
    pub fn new(compact: &Compact<'_>, watch: &dyn Watch) -> Result<Self> {
        let shape = Shape::new(compact.codec);
        let points = compact.links.points();
        let mut addresses = vec![0u32; points as usize + 1];
        addresses[..points as usize].par_chunks_mut(TASK_NODES).enumerate().try_for_each(|(task, lines)| {
            heard(watch)?;
            let mut list = Vec::new();
            for (node, lines) in (first(task)..).zip(lines) {
                compact.links.neighbours(node, &mut list)?;
                *lines = u32::try_from(shape.lines(list.len())).unwrap_or(u32::MAX);
            }
            Ok(())
        })?;
        let mut at = shape.lines(entries(points).count());
        for address in &mut addresses {
            let lines = std::mem::replace(address, u32::try_from(at).unwrap_or(u32::MAX)) as usize;
            at = at.saturating_add(lines);
        }
        if at >= LINES_MAX {
            return Err(Error::invalid("segment", format!("{at} lines are too many to be expanded in memory")));
        }
        Ok(Self { shape, addresses, lines: at })
    }

    /// Bytes of so many points with so many neighbours each.
    #[must_use]
    pub fn bytes_max(codec: &Codec, points: u32, neighbours: u32) -> u64 {
        let shape = Shape::new(codec);
        let lines = |neighbours: u32| shape.lines(neighbours as usize) as u64;
        let root = lines(points.min(ENTRIES_MAX));
        u64::from(points).saturating_mul(lines(neighbours)).saturating_add(root).saturating_mul(LINE_BYTES as u64)
    }

    /// Bytes that the expansion fills.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.lines * LINE_BYTES
    }

    /// Fills `memory`, on the threads of the pool it is called in.
    ///
    /// # Errors
    /// `Corrupt` where a list or record is damaged, `Invalid` for memory shorter than [`Plan::bytes`], `Cancelled`.
    pub fn expand(self, compact: &Compact<'_>, mut memory: Box<dyn Memory>, watch: &dyn Watch) -> Result<Hot> {
        let bytes = self.bytes();
        let scan = fastscan::get();
        let all = memory.bytes_mut();
        let given = all.len();
        let all = all
            .get_mut(..bytes)
            .ok_or_else(|| Error::invalid("memory", format!("an expansion of {bytes} bytes was given {given}")))?;
        let task = Task { plan: &self, compact, scan, watch };
        let (root, mut rest) = all.split_at_mut(self.addresses[0] as usize * LINE_BYTES);
        let mut tasks = Vec::new();
        for (index, nodes) in self.addresses[..self.addresses.len() - 1].chunks(TASK_NODES).enumerate() {
            let end = self.addresses[index * TASK_NODES + nodes.len()];
            let (own, others) = rest.split_at_mut((end - nodes[0]) as usize * LINE_BYTES);
            tasks.push((index, own));
            rest = others;
        }
        task.root(root)?;
        let squares =
            tasks.into_par_iter().map(|(index, blocks)| task.nodes(index, blocks)).collect::<Result<Vec<f64>>>()?;
        let points = compact.links.points();
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let length = (squares.iter().sum::<f64>() / f64::from(points.max(1))).max(0.0).sqrt() as f32;
        let centre = compact.codec.rotated_centre();
        Ok(Hot { memory, bytes, shape: self.shape, points, scan, centre, length, scratch: Default::default() })
    }
}

fn heard(watch: &dyn Watch) -> Result<()> {
    if watch.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

#[expect(clippy::cast_possible_truncation, reason = "a point's ordinal")]
const fn first(task: usize) -> u32 {
    (task * TASK_NODES) as u32
}

/// The points that walks may start from.
fn entries(points: u32) -> impl Iterator<Item = u32> {
    let step = points.div_ceil(ENTRIES_MAX).max(1);
    (step / 2..points).step_by(step as usize)
}

/// Work on some of the blocks.
struct Task<'a> {
    plan: &'a Plan,
    compact: &'a Compact<'a>,
    scan: &'static FastScan,
    watch: &'a dyn Watch,
}

/// The vectors and codes of one edge.
struct Edges {
    node: Vec<f32>,
    near: Vec<f32>,
    signs: Vec<u32>,
}

/// What an edge or a node has beside its codes: for Dot and Cosine, `<x - m, m>`.
type Bias = f32;

impl Task<'_> {
    fn edges(&self) -> Edges {
        let width = self.plan.shape.width;
        Edges { node: vec![0.0; width], near: vec![0.0; width], signs: vec![0; width / fastscan::UNIT_DIMS] }
    }

    fn records(&self, point: u32) -> Result<(&[u8], &[u8])> {
        let shape = &self.plan.shape;
        let at = point as usize * shape.high_bytes;
        let high = self.compact.high.get(at..at + shape.high_bytes);
        let high = high.ok_or_else(|| Error::corrupt("codes_high", at, "a record past the end"))?;
        let at = point as usize * shape.low_bytes;
        let low = self.compact.low.get(at..at + shape.low_bytes);
        let low = low.ok_or_else(|| Error::corrupt("codes_low", at, "a record past the end"))?;
        Ok((high, low))
    }

    /// The root's block.
    fn root(&self, block: &mut [u8]) -> Result<()> {
        let lanes: Vec<u32> = entries(self.compact.links.points()).collect();
        let (head, groups) = block.split_at_mut(self.plan.shape.head_bytes);
        head.fill(0);
        label(head, ROOT, lanes.len());
        let mut edges = self.edges();
        self.groups(&lanes, &mut edges, 0.0, groups)
    }

    /// The blocks of one task; gives the sum of the vectors' squared lengths.
    fn nodes(&self, task: usize, mut blocks: &mut [u8]) -> Result<f64> {
        heard(self.watch)?;
        let shape = &self.plan.shape;
        let (mut edges, mut list) = (self.edges(), Vec::new());
        let centre_squared: f64 = self.compact.codec.centre().iter().map(|&m| f64::from(m) * f64::from(m)).sum();
        let mut squares = 0.0;
        let mut node = first(task);
        while !blocks.is_empty() {
            self.compact.links.neighbours(node, &mut list)?;
            let bytes = (shape.lines(list.len()) * LINE_BYTES).min(blocks.len());
            let (block, rest) = std::mem::take(&mut blocks).split_at_mut(bytes);
            blocks = rest;
            let (head, groups) = block.split_at_mut(shape.head_bytes.min(bytes));
            let (high, low) = self.records(node)?;
            label(head, node, list.len());
            head[LABEL_BYTES..][..high.len()].copy_from_slice(high);
            head[LABEL_BYTES + high.len()..][..low.len()].copy_from_slice(low);
            head[LABEL_BYTES + high.len() + low.len()..].fill(0);
            let bias = self.compact.codec.residual(high, low, &mut edges.node);
            self.groups(&list, &mut edges, bias, groups)?;
            let offset: f64 = edges.node.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            squares += offset + 2.0 * f64::from(bias) + centre_squared;
            node += 1;
        }
        Ok(squares)
    }

    /// The groups of one node, which is `edges.node`.
    fn groups(&self, list: &[u32], edges: &mut Edges, bias: Bias, groups: &mut [u8]) -> Result<()> {
        let shape = &self.plan.shape;
        groups.fill(0);
        let lists = list.chunks(LANES).chain(list.is_empty().then_some(&[] as &[u32]));
        for (list, group) in lists.zip(groups.chunks_exact_mut(shape.group_bytes)) {
            let (codes, tail) = group.split_at_mut(shape.group_bytes - TAIL_BYTES);
            let (units, (words, _)) = (codes.as_chunks_mut().0, tail.as_chunks_mut::<4>());
            let (constants, words) = words.split_at_mut(LANES);
            let (weights, addresses) = words.split_at_mut(LANES);
            constants.fill(f32::INFINITY.to_le_bytes());
            for (lane, &point) in list.iter().enumerate() {
                let (high, low) = self.records(point)?;
                let near_bias = self.compact.codec.residual(high, low, &mut edges.near);
                let edge = (self.scan.edge)(&edges.node, &edges.near, &mut edges.signs);
                for (unit, &signs) in units.iter_mut().zip(&edges.signs) {
                    self.scan.order.put(unit, lane, signs);
                }
                let (constant, weight) = factors(self.compact.codec.distance(), &edge, near_bias - bias);
                constants[lane] = constant.to_le_bytes();
                weights[lane] = weight.to_le_bytes();
                // Links give points only, and every point has an address.
                let address = self.plan.addresses.get(point as usize).copied().unwrap_or_default();
                addresses[lane] = address.to_le_bytes();
            }
        }
        Ok(())
    }
}

fn label(head: &mut [u8], ordinal: u32, lanes: usize) {
    let (words, _) = head[..LABEL_BYTES].as_chunks_mut::<4>();
    words.fill([0; 4]);
    words[0] = ordinal.to_le_bytes();
    words[1] = u32::try_from(lanes).unwrap_or(u32::MAX).to_le_bytes();
}

/// Constant and weight of an edge, see the module's formulas; `with_centre` is `<r, m>`. What damaged or extreme codes
/// make of them is far or 0.
fn factors(distance: Distance, edge: &Edge, with_centre: f32) -> (f32, f32) {
    let f = if edge.magnitude > 0.0 { edge.squared / edge.magnitude } else { 0.0 };
    let (constant, weight) = match distance {
        Distance::Euclid => (edge.squared + 2.0 * f * edge.signs_node, 2.0 * f),
        Distance::Dot | Distance::Cosine | Distance::Manhattan => (f * edge.signs_node - edge.node - with_centre, f),
    };
    if constant.is_finite() && weight.is_finite() { (constant, weight) } else { (f32::MAX, 0.0) }
}
