//! Scoring the neighbours of a node from one-bit codes, sixteen at once, by table look-up (FastScan; André, Kermarrec and
//! Le Scouarnec, arXiv 1704.07355).
//!
//! A one-bit code is a vector of signs, so its inner product with a query `t` is a sum over *quads*, groups of four
//! dimensions: each quad has 16 possible values, which [`fill`] puts in a table of bytes once per query. Scoring is then a
//! byte shuffle and an addition for each quad of 16 or more neighbours at once.
//!
//! # Groups
//!
//! Neighbours come in groups of [`LANES`]. With `w` the dimension rounded up to whole [`UNIT_DIMS`], a group is
//!
//! ```text
//! 0         codes       2w bytes, in units of 64 bytes
//! 2w        constants   16 f32
//! 2w + 64   weights     16 f32
//! 2w + 128  [u32; 16]   whatever the caller keeps beside a neighbour
//! ```
//!
//! A unit holds 32 dimensions, eight quads, of all 16 lanes. Quad `t` below 4 is in the low nibble of a byte, quad `4 + t`
//! in its high nibble; which byte that is depends on the [`Order`] that the table of functions wants. Groups live in memory
//! only, so the order may follow the CPU.
//!
//! A lane's estimate is `base + constant - weight * (step * sum + low)`, where `sum` adds the table's entries.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

/// Neighbours in a group.
pub const LANES: usize = 16;
/// Dimensions in a unit of codes.
pub const UNIT_DIMS: usize = 32;
/// Bytes of a unit: sixteen lanes of 32 bits.
pub const UNIT_BYTES: usize = LANES * UNIT_DIMS / 8;
/// Bytes of a unit's table: eight quads with 16 entries each.
pub const UNIT_TABLE_BYTES: usize = 128;
/// Groups that one call scores at most.
pub const GROUPS_MAX: usize = 4;
/// Bytes of a group behind its codes.
pub const TAIL_BYTES: usize = 3 * LANES * 4;

/// Which byte of a unit belongs to lane `l` and quads `t` and `4 + t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Byte `4 l + t`: the four quads of a lane lie together and are summed by one instruction; a shuffle must reach over
    /// 64 bytes (AVX-512 VBMI).
    ByLane,
    /// Byte `16 t + 2 (l % 8) + l / 8`: a shuffle of 16 bytes looks up one quad of all lanes. Even bytes belong to the first
    /// eight lanes, so that sums of 16 bits come out in order.
    ByQuad,
}

impl Order {
    /// The byte of a unit.
    #[inline]
    #[must_use]
    pub const fn byte(self, lane: usize, quad: usize) -> usize {
        match self {
            Self::ByLane => 4 * lane + quad,
            Self::ByQuad => 16 * quad + 2 * (lane % 8) + lane / 8,
        }
    }

    /// Writes 32 signs of one lane, bit `i` for dimension `i`, over the zeros of a unit.
    #[inline]
    pub fn put(self, unit: &mut [u8; UNIT_BYTES], lane: usize, signs: u32) {
        for quad in 0..4 {
            unit[self.byte(lane, quad)] =
                (signs >> (4 * quad) & 15) as u8 | ((signs >> (16 + 4 * quad) & 15) as u8) << 4;
        }
    }
}

/// What the estimates of a call have in common.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Added to every estimate.
    pub base: f32,
    /// What one step of the table stands for.
    pub step: f32,
    /// What a sum of 0 stands for.
    pub low: f32,
    /// Only estimates below it are wanted.
    pub bound: f32,
}

/// Scores up to [`GROUPS_MAX`] whole groups against a table; gives the lanes whose estimate is below the bound, lane 0 in
/// bit 0. `out` is overwritten for the lanes of these groups. An estimate that is not a number is never below.
pub type Scan = fn(groups: &[u8], table: &[u8], terms: &Terms, out: &mut [f32; GROUPS_MAX * LANES]) -> u64;

/// Sums over one edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Edge {
    /// `|r|^2`.
    pub squared: f32,
    /// `<b, r>`, where `b` are the signs of `r`: the sum of magnitudes.
    pub magnitude: f32,
    /// `<b, node>`.
    pub signs_node: f32,
    /// `<r, node>`.
    pub node: f32,
}

/// The functions of one instruction set.
#[derive(Clone, Copy)]
pub struct FastScan {
    /// The instruction set, for logs and tests.
    pub name: &'static str,
    /// The order of codes that `scan` reads.
    pub order: Order,
    /// Scores groups.
    pub scan: Scan,
    /// Measures the edge `r = near - node` of two equally long vectors of whole units, and writes the signs of `r`, 1 for
    /// those at or above 0: one word for each unit.
    pub edge: fn(node: &[f32], near: &[f32], signs: &mut [u32]) -> Edge,
}

impl std::fmt::Debug for FastScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastScan").field("name", &self.name).finish_non_exhaustive()
    }
}

static TABLES: LazyLock<Vec<FastScan>> = LazyLock::new(|| {
    let mut tables = vec![scalar::table()];
    #[cfg(target_arch = "x86_64")]
    {
        tables.extend(avx2::detect());
        tables.extend(avx512::detect());
    }
    #[cfg(target_arch = "aarch64")]
    tables.extend(neon::detect());
    tables
});

/// The best functions for this CPU.
pub fn get() -> &'static FastScan {
    let tables: &'static [FastScan] = &TABLES;
    tables.last().expect("scalar is always there")
}

/// All functions that this CPU can run, `scalar` first, the best last.
pub fn available() -> &'static [FastScan] {
    &TABLES
}

/// The dimension in whole units.
#[must_use]
pub const fn width(dim: usize) -> usize {
    dim.div_ceil(UNIT_DIMS) * UNIT_DIMS
}

/// Bytes of a group for vectors of `width` dimensions.
#[must_use]
pub const fn group_bytes(width: usize) -> usize {
    2 * width + TAIL_BYTES
}

/// Replaces `table` by the look-up table of a query of whole units; gives `step` and `low` of its [`Terms`].
///
/// Entry `m` of a quad is the inner product of its four values with the signs in the bits of `m`, in steps above the least.
pub fn fill(query: &[f32], table: &mut Vec<u8>) -> (f32, f32) {
    debug_assert!(query.len().is_multiple_of(UNIT_DIMS));
    let (quads, _) = query.as_chunks::<4>();
    let sizes = quads.iter().map(|quad| quad.iter().map(|value| value.abs()).sum::<f32>());
    let (mut widest, mut low) = (0.0f32, 0.0f32);
    for size in sizes {
        widest = widest.max(2.0 * size);
        low -= size;
    }
    table.clear();
    if !low.is_finite() || widest == 0.0 {
        table.resize(query.len() * UNIT_TABLE_BYTES / UNIT_DIMS, 0);
        return (0.0, 0.0);
    }
    let steps = 255.0 / widest;
    table.resize(query.len() * UNIT_TABLE_BYTES / UNIT_DIMS, 0);
    for (&[a, b, c, d], entries) in quads.iter().zip(table.as_chunks_mut::<16>().0) {
        let (a, b, c, d) = (a * steps, b * steps, c * steps, d * steps);
        // From the middle of the range, with half a step for rounding down.
        let zero = a.abs() + b.abs() + c.abs() + d.abs() + 0.5;
        let (plus, minus) = (a + b, a - b);
        let seconds = [zero - c - d, zero + c - d, zero - c + d, zero + c + d];
        for (second, entries) in seconds.into_iter().zip(entries.as_chunks_mut::<4>().0) {
            // Rounding may go a little beyond either end; the cast saturates.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
            {
                *entries =
                    [(second - plus) as u8, (second + minus) as u8, (second - minus) as u8, (second + plus) as u8];
            }
        }
    }
    (widest / 255.0, low)
}

/// The four parts of a group.
#[inline]
fn split(group: &[u8]) -> (&[[u8; UNIT_BYTES]], &[u8; 64], &[u8; 64]) {
    let (codes, tail) = group.split_at(group.len().saturating_sub(TAIL_BYTES));
    // A caller's error would read zeros.
    let (parts, _) = tail.as_chunks::<64>();
    match parts {
        [constants, weights, _] => (codes.as_chunks().0, constants, weights),
        _ => (&[], &[0; 64], &[0; 64]),
    }
}

/// The groups of a call, each as long as `table` wants.
#[inline]
fn groups<'a>(groups: &'a [u8], table: &[u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
    let bytes = table.len() / 2 + TAIL_BYTES;
    debug_assert!(groups.len().is_multiple_of(bytes) && groups.len() / bytes <= GROUPS_MAX);
    groups.chunks_exact(bytes).take(GROUPS_MAX)
}

/// [`FastScan::edge`], to be compiled for every instruction set.
#[inline(always)]
fn edge(node: &[f32], near: &[f32], signs: &mut [u32]) -> Edge {
    debug_assert!(node.len() == near.len() && node.len() == signs.len() * UNIT_DIMS);
    let mut sums = [[0.0f32; 16]; 4];
    let units = node.as_chunks::<UNIT_DIMS>().0.iter().zip(near.as_chunks::<UNIT_DIMS>().0);
    for ((node, near), signs) in units.zip(signs) {
        let mut word = 0u32;
        for half in [0, 16] {
            for lane in 0..16 {
                let value = node[half + lane];
                let r = near[half + lane] - value;
                let negative = r.to_bits() >> 31;
                word |= (1 - negative) << (half + lane);
                sums[0][lane] += r * r;
                sums[1][lane] += r.abs();
                sums[2][lane] += f32::from_bits(value.to_bits() ^ (negative << 31));
                sums[3][lane] += r * value;
            }
        }
        *signs = word;
    }
    let [squared, magnitude, signs_node, node] = sums.map(|lanes| lanes.iter().sum::<f32>());
    Edge { squared, magnitude, signs_node, node }
}
