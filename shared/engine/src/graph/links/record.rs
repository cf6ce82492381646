//! One node's list as bits: the plan, the writing and the reading of a record.

use crate::kernel::{LINE_BYTES, UNPACK_WIDTH_MAX, Unpack};

/// Bits of the two width fields.
const WIDTH_BITS: u32 = 6;
/// The widest value.
const WIDTH_MAX: u32 = 32;
/// The least record, so that any value can be read as part of eight bytes.
pub(super) const RECORD_BYTES_MIN: usize = 8;

/// What the records of one level have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Nodes of the level.
    pub(super) nodes: u32,
    /// Neighbours in a list at most.
    pub(super) degree_max: u32,
    /// Bits of a rank.
    rank_bits: u32,
    /// Bits of a count.
    count_bits: u32,
}

impl Shape {
    pub(super) fn new(nodes: u32, degree_max: u32) -> Self {
        let rank_bits = width(u64::from(nodes.saturating_sub(1))).max(1);
        Self { nodes, degree_max, rank_bits, count_bits: width(u64::from(degree_max)) }
    }

    /// Bits of the first near neighbour.
    #[inline]
    fn base_bits(&self, near_width: u32) -> u32 {
        self.rank_bits.min(near_width + self.count_bits)
    }

    /// Bits in front of the first neighbour.
    fn head_bits(&self) -> u32 {
        1 + 2 * self.count_bits + 2 * WIDTH_BITS
    }
}

/// Bits that `value` needs.
fn width(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// How a list is best written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The near group, as a range of the sorted list.
    from: usize,
    to: usize,
    near_width: u32,
    far_width: u32,
    /// Bits of the whole record.
    pub(super) bits: u64,
}

/// Finds the smallest record for a list; keeps its buffers between lists.
#[derive(Default)]
pub(super) struct Planner {
    /// The width of the gap after each neighbour but the last.
    gaps: Vec<u32>,
    /// The greatest of the first so many gaps.
    before: Vec<u32>,
    /// The greatest of the gaps from here on.
    after: Vec<u32>,
}

impl Planner {
    /// The smallest record for `list`, which is sorted and without duplicates.
    ///
    /// A run of neighbours with gaps up to some width may as well extend over every further gap of at most that width: so only the
    /// maximal runs for each width that occurs are tried, and those without gaps, down to single neighbours.
    pub(super) fn plan(&mut self, shape: &Shape, own: u32, list: &[u32]) -> Plan {
        if list.is_empty() {
            return Plan { from: 0, to: 0, near_width: 0, far_width: 0, bits: 1 + u64::from(shape.count_bits) };
        }
        self.measure(list);
        let widths = self.gaps.iter().fold(0u64, |seen, &gap| seen | 1 << gap);
        let widest = width(widths).saturating_sub(1);
        // All in one group.
        let mut best = self.with_run(shape, own, list, (0, list.len()), widest);
        for near_width in (0..widest).filter(|&width| width == 0 || widths >> width & 1 == 1) {
            let mut from = 0;
            let ends = self.gaps.iter().enumerate().filter(|&(_, &gap)| gap > near_width).map(|(at, _)| at + 1);
            for to in ends.chain([list.len()]) {
                let plan = self.with_run(shape, own, list, (from, to), near_width);
                if plan.bits < best.bits {
                    best = plan;
                }
                from = to;
            }
        }
        best
    }

    fn measure(&mut self, list: &[u32]) {
        let Self { gaps, before, after } = self;
        gaps.clear();
        gaps.extend(list.windows(2).map(|pair| width(u64::from(pair[1] - pair[0] - 1))));
        before.clear();
        before.push(0);
        after.clear();
        after.resize(list.len() + 1, 0);
        for (at, &gap) in gaps.iter().enumerate() {
            before.push(gap.max(before[at]));
        }
        for (at, &gap) in gaps.iter().enumerate().rev() {
            after[at] = gap.max(after[at + 1]);
        }
    }

    /// The record whose near group is `list[from..to]`, with gaps of at most `near_width` bits.
    fn with_run(&self, shape: &Shape, own: u32, list: &[u32], (from, to): (usize, usize), near_width: u32) -> Plan {
        let offset = i64::from(list[from]) - i64::from(own);
        let offset_bits = 1 + width(if offset < 0 { !offset } else { offset }.unsigned_abs());
        let near_width = near_width.max(offset_bits.min(shape.rank_bits).saturating_sub(shape.count_bits));
        let (near, far) = (to - from, list.len() - (to - from));
        let mut far_width = self.before[from.saturating_sub(1)].max(self.after[to]);
        if from > 0 && to < list.len() {
            far_width = far_width.max(width(u64::from(list[to] - list[from - 1] - 1)));
        }
        let near_bits = u64::from(shape.base_bits(near_width)) + (near - 1) as u64 * u64::from(near_width);
        let far_bits = if far == 0 { 0 } else { u64::from(shape.rank_bits) + (far - 1) as u64 * u64::from(far_width) };
        Plan { from, to, near_width, far_width, bits: u64::from(shape.head_bits()) + near_bits + far_bits }
    }
}

impl Plan {
    /// Bytes of the record.
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bits.div_ceil(8)).unwrap_or(usize::MAX).max(RECORD_BYTES_MIN)
    }

    /// Writes the record of `list`, the one that was planned for, over the zeros of `out`.
    pub(super) fn write(&self, shape: &Shape, own: u32, list: &[u32], out: &mut [u8]) {
        let mut bits = BitWriter { out, at: 0 };
        bits.put(0, 1);
        bits.put(list.len() as u64, shape.count_bits);
        if list.is_empty() {
            return;
        }
        bits.put((self.to - self.from) as u64, shape.count_bits);
        bits.put(u64::from(self.near_width), WIDTH_BITS);
        bits.put(u64::from(self.far_width), WIDTH_BITS);
        let (near, base_bits) = (&list[self.from..self.to], shape.base_bits(self.near_width));
        let first = u64::from(near[0]);
        if base_bits == shape.rank_bits {
            bits.put(first, base_bits);
        } else {
            bits.put(first + (1 << (base_bits - 1)) - u64::from(own), base_bits);
        }
        let gap = |pair: &[u32]| u64::from(pair[1] - pair[0] - 1);
        near.windows(2).for_each(|pair| bits.put(gap(pair), self.near_width));
        let far: Vec<u32> = list[..self.from].iter().chain(&list[self.to..]).copied().collect();
        if let Some(&first) = far.first() {
            bits.put(u64::from(first), shape.rank_bits);
        }
        far.windows(2).for_each(|pair| bits.put(gap(pair), self.far_width));
    }
}

struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl BitWriter<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "takes the value apart into bytes")]
    fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width == 64 || value >> width == 0, "{value} does not fit {width} bits");
        let mut rest = u128::from(value) << (self.at % 8);
        let mut byte = self.at / 8;
        while rest != 0 {
            self.out[byte] |= rest as u8;
            rest >>= 8;
            byte += 1;
        }
        self.at += width as usize;
    }
}

/// The record of node `own`, decoded into `out`.
///
/// # Errors
/// What is wrong with it. `out` then holds anything.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "fields are masked to their bits")]
pub(super) fn read(
    shape: &Shape,
    own: u32,
    record: &[u8],
    unpack: Unpack,
    out: &mut Vec<u32>,
) -> Result<(), &'static str> {
    out.clear();
    if record.len() < RECORD_BYTES_MIN {
        return Err("a record shorter than 8 bytes");
    }
    let count_mask = (1u64 << shape.count_bits) - 1;
    // The head has at most 1 + 2 x 16 + 2 x 6 bits.
    let head = bits(record, 0, 64) >> 1;
    let degree = (head & count_mask) as usize;
    if degree == 0 {
        return Ok(());
    }
    let near = (head >> shape.count_bits & count_mask) as usize;
    let near_width = (head >> (2 * shape.count_bits)) as u32 & 63;
    let far_width = (head >> (2 * shape.count_bits + WIDTH_BITS)) as u32 & 63;
    if degree > shape.degree_max as usize || near == 0 || near > degree {
        return Err("a degree out of range");
    }
    if near_width > WIDTH_MAX || far_width > WIDTH_MAX {
        return Err("a width out of range");
    }
    let far = degree - near;
    let base_bits = shape.base_bits(near_width);
    let near_at = (shape.head_bits() + base_bits) as usize;
    let far_at = near_at + (near - 1) * near_width as usize;
    let end = if far == 0 { far_at } else { far_at + shape.rank_bits as usize + (far - 1) * far_width as usize };
    if end > record.len() * 8 {
        return Err("a record that does not end");
    }
    out.resize(degree, 0);
    let (near_out, far_out) = out.split_at_mut(near);
    let mut first = bits(record, shape.head_bits() as usize, base_bits);
    if base_bits < shape.rank_bits {
        // Wraps to a huge rank when it would be negative.
        first = (first + u64::from(own)).wrapping_sub(1 << (base_bits - 1));
    }
    let first_far = if far > 0 { bits(record, far_at, shape.rank_bits) } else { 0 };
    let far_gaps_at = far_at + shape.rank_bits as usize;
    let last = match record.first_chunk() {
        Some(line) if record.len() == LINE_BYTES && near_width.max(far_width) <= UNPACK_WIDTH_MAX => {
            let near = unpack(line, near_at, near_width, first as u32, near_out);
            u64::from(near.max(unpack(line, far_gaps_at, far_width, first_far as u32, far_out)))
        }
        _ => {
            let near = run(record, near_at, near_width, first, near_out);
            near.max(run(record, far_gaps_at, far_width, first_far, far_out))
        }
    };
    if last >= u64::from(shape.nodes) || first >= u64::from(shape.nodes) {
        return Err("a neighbour that is not a node");
    }
    Ok(())
}

/// A group's ranks from its first and its gaps; gives the last, which is the greatest.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller refuses a list whose last and greatest rank is not below `nodes`"
)]
fn run(record: &[u8], mut at: usize, width: u32, first: u64, out: &mut [u32]) -> u64 {
    let mut rank = first;
    let Some((head, tail)) = out.split_first_mut() else { return rank };
    *head = rank as u32;
    for slot in tail {
        rank = rank.wrapping_add(bits(record, at, width) + 1);
        at += width as usize;
        *slot = rank as u32;
    }
    rank
}

/// `width` bits of `record` from bit `at` on, where they end inside the record, which has 8 bytes or more.
#[inline(always)]
fn bits(record: &[u8], at: usize, width: u32) -> u64 {
    let byte = (at / 8).min(record.len() - 8);
    // Up to 7, or up to 63 at the record's end, where less is left than eight bytes.
    let shift = at - byte * 8;
    let word =
        record.get(byte..byte + 8).and_then(|word| word.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
    let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
    word >> (shift & 63) & mask
}

/// The length in bits of a record that [`read`] accepts.
///
/// # Errors
/// Bits behind it that are not zero.
pub(super) fn length(shape: &Shape, record: &[u8]) -> Result<u64, &'static str> {
    let field = |at: u32, width: u32| bits(record, at as usize, width);
    let count = shape.count_bits;
    let degree = field(1, count);
    let length = if degree == 0 {
        1 + u64::from(count)
    } else {
        let near = field(1 + count, count);
        let near_width = field(1 + 2 * count, WIDTH_BITS);
        let far_width = field(1 + 2 * count + WIDTH_BITS, WIDTH_BITS);
        let base_bits = shape.base_bits(u32::try_from(near_width).unwrap_or(WIDTH_MAX));
        let far = degree.saturating_sub(near);
        let far_bits = if far == 0 { 0 } else { u64::from(shape.rank_bits) + (far - 1) * far_width };
        u64::from(shape.head_bits() + base_bits) + near.saturating_sub(1) * near_width + far_bits
    };
    let rest = (length / 8..).map_while(|at| record.get(usize::try_from(at).ok()?)).enumerate();
    for (at, &byte) in rest {
        let used = if at == 0 { length % 8 } else { 0 };
        if byte >> used != 0 {
            return Err("bits after the list that are not zero");
        }
    }
    Ok(length)
}
