//! Payload rows: JSON texts in compressed blocks, addressed by ordinal.
//!
//! # Layout
//!
//! ```text
//! offset  bytes
//!      0  4            points
//!      4  4            blocks
//!      8  blocks x 16  table: first ordinal (4), bytes of the block when unpacked (4), end of the stored block (8)
//!         ...          stored blocks, one after another; ends count from here
//! ```
//!
//! A block holds the rows from its first ordinal to the next block's. Unpacked it is
//!
//! ```text
//!      0  rows x 4     end of each row's text, counted from the first text
//!         ...          the texts: JSON objects in UTF-8
//! ```
//!
//! Stored it is one zstd frame, or the unpacked bytes themselves where packing saves nothing: then both sizes are equal.
//! A block is closed when its unpacked bytes reach 16 KiB, so it never exceeds that and one row.

mod reader;
mod writer;

use cairn_model::limits::PAYLOAD_BYTES_MAX;

pub use reader::Rows;
pub use writer::RowsWriter;

const SECTION: &str = "payload";
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 16;
/// Bytes of an unpacked block at which it is closed: zstd packs little better above, and a hit costs one block.
const BLOCK_BYTES: usize = 16 << 10;
/// Bytes of a row at most: a payload of the largest size, whose numbers may have grown when they were written out.
const ROW_BYTES_MAX: usize = 8 * PAYLOAD_BYTES_MAX;
/// Bytes of an unpacked block at most.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + ROW_BYTES_MAX + 4;

#[cfg(test)]
mod tests;
