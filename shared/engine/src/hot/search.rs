//! One walk over blocks.

use super::{
    Hot,
    block::{self, Block, LINE_BYTES},
    pool::{Pool, Seen},
    query::Table,
};
use crate::{
    Error, Result, Watch, codec,
    kernel::{
        self,
        fastscan::{GROUPS_MAX, LANES, Terms},
    },
};
use cairn_model::Distance;

/// Candidates that the root gives.
const ENTRIES: usize = 16;
/// Lines of a block that are asked for ahead at most; the CPU sees the stream and goes on by itself.
const PREFETCH_LINES_MAX: usize = 64;
/// Hops between two looks at the watch.
const WATCHED_HOPS: u64 = 128;

/// How to search.
#[derive(Clone, Copy)]
pub struct Options<'f> {
    /// Candidates kept: the more, the better the nearest of them.
    pub ef: usize,
    /// Points wanted.
    pub k: usize,
    /// Which points may be found; all when `None`. Others are walked through all the same.
    pub allowed: Option<&'f dyn Fn(u32) -> bool>,
}

/// The memory of one walk.
#[derive(Default)]
pub(super) struct Scratch {
    table: Table,
    pool: Pool,
    seen: Seen,
    /// Distance by full code and ordinal of what was expanded and is allowed.
    found: Vec<(f32, u32)>,
}

/// What a walk did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walked {
    /// Distance and ordinal of the points found, nearest first.
    pub found: Vec<(f32, u32)>,
    /// Points expanded, which is also how many were scored by their full code.
    pub hops: u64,
    /// Estimates made.
    pub estimates: u64,
}

impl Hot {
    /// The allowed points among those that a walk expands, nearest first by their full codes.
    ///
    /// `query` is prepared by the codec whose segment was expanded, `length` its length before that. Candidates are ordered
    /// by estimates, the walk ends when all of the nearest `ef` are expanded. Where a filter left fewer than `k` of them, it
    /// starts again with more candidates.
    ///
    /// # Errors
    /// `Cancelled`, `Invalid` for a query of another codec.
    pub fn search(
        &self,
        (query, distance, length): (&codec::Query, Distance, f32),
        options: &Options<'_>,
        watch: &dyn Watch,
    ) -> Result<Walked> {
        if query.len() > self.shape.width {
            return Err(Error::invalid("query", "it was prepared for other codes"));
        }
        let mut scratch = self.lease();
        scratch.table.prepare(self, query, distance, length);
        let mut walk = Walk {
            hot: self,
            memory: &self.memory.bytes()[..self.bytes],
            query,
            hops: 0,
            estimates: 0,
            shift: self.shape.lines(1).ilog2(),
        };
        let answer = walk.widening(&mut scratch, options, watch).map(|()| {
            scratch.found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            Walked { found: scratch.found.clone(), hops: walk.hops, estimates: walk.estimates }
        });
        self.give_back(scratch);
        answer
    }
}

struct Walk<'a> {
    hot: &'a Hot,
    memory: &'a [u8],
    query: &'a codec::Query,
    hops: u64,
    estimates: u64,
    shift: u32,
}

impl Walk<'_> {
    /// A block's place among those seen: its own, because no block is shorter than `2^shift` lines.
    #[inline]
    fn mark(&self, address: u32) -> usize {
        address as usize >> self.shift
    }

    /// Walks, with more candidates each time, until enough is found or everything is reached.
    fn widening(&mut self, scratch: &mut Scratch, options: &Options<'_>, watch: &dyn Watch) -> Result<()> {
        let points = self.hot.points as usize;
        let mut ef = options.ef.clamp(1, points);
        loop {
            self.run(scratch, ef, options, watch)?;
            if scratch.found.len() >= options.k || ef == points {
                return Ok(());
            }
            ef = (4 * ef).min(points);
        }
    }

    /// One walk with `ef` candidates.
    fn run(&mut self, scratch: &mut Scratch, ef: usize, options: &Options<'_>, watch: &dyn Watch) -> Result<()> {
        let Scratch { table, pool, seen, found } = scratch;
        found.clear();
        let marks = ((self.memory.len() / LINE_BYTES) >> self.shift) + 1;
        seen.reset(marks);
        pool.reset(ENTRIES);
        let mut terms = Terms { base: table.root, step: table.step, low: table.low, bound: f32::INFINITY };
        let Some(root) = Block::read(&self.hot.shape, self.memory, 0) else { return Ok(()) };
        self.neighbours(&root, table, &mut terms, pool, seen);
        pool.resize(ef);
        // Entries that fell out of the small pool may come back.
        seen.reset(marks);
        let mut next = self.take(pool, seen);
        while let Some(address) = next {
            if self.hops.is_multiple_of(WATCHED_HOPS) && watch.cancelled() {
                return Err(Error::Cancelled);
            }
            // Always one hop ahead, so that a block is on its way while another is worked on.
            next = self.take(pool, seen);
            if let Some(block) = Block::read(&self.hot.shape, self.memory, address) {
                let distance = self.query.fine(block.high, block.low);
                if options.allowed.is_none_or(|allowed| allowed(block.ordinal)) {
                    found.push((distance, block.ordinal));
                }
                self.hops += 1;
                terms.base = table.scale * distance;
                self.neighbours(&block, table, &mut terms, pool, seen);
            }
            if next.is_none() {
                next = self.take(pool, seen);
            }
        }
        Ok(())
    }

    /// The next block to expand; asks for its lines.
    #[inline(always)]
    fn take(&self, pool: &mut Pool, seen: &mut Seen) -> Option<u32> {
        while let Some(address) = pool.take() {
            if seen.expand(self.mark(address)) {
                let at = address as usize * LINE_BYTES;
                let bytes = self.hot.shape.lines(2 * LANES).min(PREFETCH_LINES_MAX) * LINE_BYTES;
                kernel::prefetch_all(self.memory.get(at..(at + bytes).min(self.memory.len())).unwrap_or_default());
                return Some(address);
            }
            pool.forget();
        }
        None
    }

    /// Estimates a block's neighbours and offers those that are near.
    #[inline(always)]
    fn neighbours(&mut self, block: &Block<'_>, table: &Table, terms: &mut Terms, pool: &mut Pool, seen: &mut Seen) {
        let shape = &self.hot.shape;
        let mut out = [0.0; GROUPS_MAX * LANES];
        for groups in block.groups.chunks(GROUPS_MAX * shape.group_bytes) {
            terms.bound = pool.bound();
            let mut below = (self.hot.scan.scan)(groups, &table.bytes, terms, &mut out);
            self.estimates += (groups.len() / shape.group_bytes * LANES) as u64;
            while below != 0 {
                let lane = below.trailing_zeros() as usize;
                below &= below - 1;
                let estimate = out[lane % out.len()];
                if estimate >= terms.bound {
                    continue;
                }
                let Some(address) = block::address(shape, groups, lane) else { continue };
                if seen.improve(self.mark(address), estimate) {
                    terms.bound = pool.offer(estimate, address);
                }
            }
        }
    }
}
