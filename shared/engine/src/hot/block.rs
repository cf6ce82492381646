//! The bytes of one node.
//!
//! ```text
//! 0    ordinal   u32, of the root u32::MAX
//! 4    lanes     u32, neighbours
//! 8    unused
//! 16   the node's own high record, then its low record
//! ...  zeros to a whole line
//! ...  groups of 16 neighbours, at least one; see `kernel::fastscan`. Beside each neighbour: its address
//! ```
//!
//! An *address* is the number of a block's first line. Unused lanes are infinitely far.

use crate::{
    codec::Codec,
    kernel::fastscan::{self, LANES},
};

/// Bytes of a line.
pub(super) const LINE_BYTES: usize = 64;
/// The root's ordinal.
pub(super) const ROOT: u32 = u32::MAX;
/// Bytes in front of the node's own records.
pub(super) const LABEL_BYTES: usize = 16;

/// What the blocks of one segment have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The codes' dimension in whole units.
    pub(super) width: usize,
    pub(super) high_bytes: usize,
    pub(super) low_bytes: usize,
    /// Bytes in front of the first group.
    pub(super) head_bytes: usize,
    pub(super) group_bytes: usize,
}

impl Shape {
    pub(super) const fn new(codec: &Codec) -> Self {
        let width = fastscan::width(codec.padded());
        let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
        let head_bytes = (LABEL_BYTES + high_bytes + low_bytes).div_ceil(LINE_BYTES) * LINE_BYTES;
        Self { width, high_bytes, low_bytes, head_bytes, group_bytes: fastscan::group_bytes(width) }
    }

    /// Lines of a block with so many neighbours.
    pub(super) const fn lines(&self, neighbours: usize) -> usize {
        let groups = if neighbours == 0 { 1 } else { neighbours.div_ceil(LANES) };
        (self.head_bytes + groups * self.group_bytes) / LINE_BYTES
    }
}

/// A block as it is read.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) ordinal: u32,
    pub(super) high: &'a [u8],
    pub(super) low: &'a [u8],
    pub(super) groups: &'a [u8],
}

impl<'a> Block<'a> {
    /// The block at an address; `None` where there is none.
    #[inline]
    pub(super) fn read(shape: &Shape, memory: &'a [u8], address: u32) -> Option<Self> {
        let bytes = memory.get(address as usize * LINE_BYTES..)?;
        let (label, records) = bytes.split_first_chunk::<LABEL_BYTES>()?;
        let [a, b, c, d, e, f, g, h, ..] = *label;
        let lanes = u32::from_le_bytes([e, f, g, h]) as usize;
        let end = shape.lines(lanes) * LINE_BYTES;
        Some(Self {
            ordinal: u32::from_le_bytes([a, b, c, d]),
            high: records.get(..shape.high_bytes)?,
            low: records.get(shape.high_bytes..shape.high_bytes + shape.low_bytes)?,
            groups: bytes.get(shape.head_bytes..end)?,
        })
    }
}

/// The address beside a lane of a run of groups.
#[inline]
pub(super) fn address(shape: &Shape, groups: &[u8], lane: usize) -> Option<u32> {
    let at = (lane / LANES + 1) * shape.group_bytes - 4 * (LANES - lane % LANES);
    groups.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
