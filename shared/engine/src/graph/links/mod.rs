//! The links section: every level of an HNSW graph, compressed, with any node's list at a fixed place.
//!
//! All integers are little-endian. Bits are numbered from the least significant bit of byte 0 on: bit `b` of a run of bytes is
//! bit `b % 8` of byte `b / 8`. *Pad to N* means zero bytes up to the next multiple of N from the section's start.
//! `width(x)` is the number of bits that x needs: 0 for 0, else floor(log2 x) + 1.
//!
//! ```text
//! section    header | directory | level 0 | level 1 | ... | level L-1
//!
//! header     64 bytes
//!            0  u32  points: nodes of level 0, at least 1
//!            4  u32  entry_point: an ordinal, a node of every level
//!            8  u32  L: levels, 1 to 32
//!           12  52 zero bytes
//!
//! directory  L entries of 64 bytes, level 0 first
//!            0  u32  nodes: of level 0 all points; of each other level 1 to those of the level below
//!            4  u32  degree_max: a list's neighbours at most, 1 to 65,535
//!            8  u32  line_bytes: 32 or a multiple of 64 up to 1,024
//!           12  u32  zero
//!           16  u64  start: of the level's bytes, from the section's start
//!           24  u64  overflow_bytes: a multiple of 8
//!           32  u64  links: the sum of all degrees
//!           40  u64  packed_bits: the sum of all records' lengths before padding, for statistics
//!           48  16 zero bytes
//!
//! level      starts where the one before ends, the first where the directory ends; the last ends with the section
//!            ordinals  nodes x u32, strictly ascending, pad to 64: the ordinal of each rank. Absent on level 0, where rank = ordinal
//!            lines     nodes x line_bytes: the record of rank r at r x line_bytes, zero bits after it; pad to 64
//!            overflow  overflow_bytes, pad to 64
//! ```
//!
//! A level names its nodes by *rank*. A record is the list of one node; the order of neighbours has no meaning, so they are
//! sorted and split in two groups: the *near* one is a run of the sorted list, the *far* one is what lies on either side. Inside
//! a group, only the gaps are stored. The writer takes the run that makes the record smallest. Points are ordered by cluster, so
//! the near group's gaps are short.
//!
//! ```text
//! a = max(1, width(nodes - 1)),  c = width(degree_max)
//!
//! record     1 bit   elsewhere: 0
//!            c bits  degree, at most degree_max; nothing follows when it is 0
//!            c bits  near: neighbours in the near group, 1 to degree
//!            6 bits  near_width, at most 32
//!            6 bits  far_width, at most 32
//!            b bits  first near neighbour, b = min(a, near_width + c):
//!                    its rank if b = a, else its rank - own rank + 2^(b-1)
//!            (near - 1) x near_width bits: each next near neighbour's rank - the one before - 1
//!            a bits  first far neighbour's rank, if degree > near
//!            (degree - near - 1) x far_width bits: each next far neighbour's rank - the one before - 1
//!
//! line       the record if it fits line_bytes; else
//!            1 bit   elsewhere: 1
//!            31 bits zero
//!            u32     at 4:  offset in the overflow area, in units of 8 bytes
//!            u32     at 8:  length in bytes, a multiple of 8: the record there, zero bits after it
//! ```
//!
//! A reader checks at `open` everything above that concerns the header and the directory, and each record when it is read: its
//! end, and that every neighbour is below `nodes`. [`Links::verify`] checks the rest: that ordinals ascend and are nodes of the
//! level below, that no node links to itself or twice to another, that zero bits are zero, and the sums.

mod header;
mod lines;
mod reader;
mod record;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test sizes are small")]
mod tests;
mod writer;

pub(super) use lines::{Cut, Line};
pub use reader::Links;

use crate::Error;

/// The section's name in errors.
const SECTION: &str = "links";

fn corrupt(at: usize, why: impl Into<String>) -> Error {
    Error::corrupt(SECTION, at, why)
}
