//! Reads rows.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use super::{BLOCK_BYTES_MAX, ENTRY_BYTES, HEADER_BYTES, SECTION};
use crate::{Error, Result, payload::bytes::Bytes, source::Region};

/// The section's reader.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    points: u32,
    blocks: u32,
    table: Bytes<'a>,
    stored: Region<'a>,
}

/// One unpacked block.
struct Block<'a> {
    /// Where its table entry is, for errors.
    entry: usize,
    first: u32,
    rows: u32,
    unpacked: Cow<'a, [u8]>,
}

impl<'a> Rows<'a> {
    /// Opens the section of a segment of `points` points, in constant time. Reads the table of its blocks.
    ///
    /// # Errors
    /// `Corrupt` when the sizes contradict one another, `Absent`.
    pub(crate) fn open(region: Region<'a>, points: u32) -> Result<Self> {
        let header = Bytes::new(SECTION, region.bytes(0, HEADER_BYTES as u64)?);
        let (found, blocks) = (header.u32(0)?, header.u32(4)?);
        if found != points {
            return Err(header.corrupt(0, format!("{found} rows, the segment has {points} points")));
        }
        if blocks > points || (blocks == 0 && points > 0) {
            return Err(header.corrupt(4, format!("{blocks} blocks of {points} rows")));
        }
        let table_end = HEADER_BYTES as u64 + u64::from(blocks) * ENTRY_BYTES as u64;
        let table = Bytes::new(SECTION, region.bytes(0, table_end)?).tail(HEADER_BYTES)?;
        let stored = region.part(table_end, region.len() - table_end)?;
        let rows = Self { points, blocks, table, stored };
        let end = if blocks == 0 { 0 } else { rows.end(blocks - 1)? };
        if end != stored.len() {
            return Err(header.corrupt(4, format!("{} bytes of blocks, {end} in the table", stored.len())));
        }
        Ok(rows)
    }

    /// What [`Rows::open`] reads of a section that begins with `header`: from its first byte on.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn head_bytes(region: Region<'a>) -> Result<u64> {
        let blocks = Bytes::new(SECTION, region.bytes(0, HEADER_BYTES as u64)?).u32(4)?;
        Ok((HEADER_BYTES as u64 + u64::from(blocks) * ENTRY_BYTES as u64).min(region.len()))
    }

    /// The stored block of a row: what [`Rows::get`] reads.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn stored(&self, ordinal: u32) -> Result<Region<'a>> {
        let at = self.block_of(ordinal)?;
        let start = if at == 0 { 0 } else { self.end(at - 1)? };
        let len = self.end(at)?.checked_sub(start);
        let entry = at as usize * ENTRY_BYTES;
        self.stored.part(start, len.ok_or_else(|| self.table.corrupt(entry, "a block of negative size"))?)
    }

    /// Checks that the blocks of all these rows are at hand, so that who brings them brings them at once.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`, which names all that are not.
    pub(crate) fn at_hand(&self, ordinals: &RoaringBitmap) -> Result<()> {
        let mut absent = Vec::new();
        let mut ordinals = ordinals.iter();
        while let Some(ordinal) = ordinals.next() {
            let stored = self.stored(ordinal)?;
            if !stored.is_at_hand() {
                absent.push(stored.file_range());
            }
            ordinals.advance_to(self.first(self.block_of(ordinal)? + 1)?.max(ordinal));
        }
        if absent.is_empty() { Ok(()) } else { Err(Error::Absent(absent)) }
    }

    /// The JSON text of a row's object; `{}` when it has no payload.
    ///
    /// # Errors
    /// `Corrupt`, also for an ordinal that the segment does not have: it came from other stored bytes.
    pub fn get(&self, ordinal: u32) -> Result<String> {
        let block = self.block(self.block_of(ordinal)?)?;
        Ok(block.row(self, ordinal)?.to_owned())
    }

    /// Calls `visit` with each of the `ordinals`, which ascend, and its row. Unpacks every block once.
    ///
    /// # Errors
    /// `Corrupt`; what `visit` returns.
    pub fn each(
        &self,
        ordinals: impl IntoIterator<Item = u32>,
        mut visit: impl FnMut(u32, &str) -> Result<()>,
    ) -> Result<()> {
        let mut block: Option<Block<'_>> = None;
        for ordinal in ordinals {
            if block.as_ref().is_none_or(|block| !block.holds(ordinal)) {
                block = Some(self.block(self.block_of(ordinal)?)?);
            }
            if let Some(block) = &block {
                visit(ordinal, block.row(self, ordinal)?)?;
            }
        }
        Ok(())
    }

    /// Unpacks every block and checks every row: its bounds, and that it is a JSON object.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn verify(&self) -> Result<()> {
        let mut next = 0;
        for at in 0..self.blocks {
            let block = self.block(at)?;
            if block.first != next {
                return Err(self.table.corrupt(block.entry, format!("block at row {}, expected {next}", block.first)));
            }
            next = block.first + block.rows;
            for ordinal in block.first..next {
                let parsed: serde_json::Result<cairn_model::Payload> = serde_json::from_str(block.row(self, ordinal)?);
                if let Err(error) = parsed {
                    return Err(self.table.corrupt(block.entry, format!("row {ordinal}: {error}")));
                }
            }
        }
        if next != self.points {
            return Err(self.table.corrupt(0, format!("{next} rows in blocks, {} in the header", self.points)));
        }
        Ok(())
    }

    /// Blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    fn first(&self, block: u32) -> Result<u32> {
        if block == self.blocks { Ok(self.points) } else { self.table.u32(block as usize * ENTRY_BYTES) }
    }

    fn end(&self, block: u32) -> Result<u64> {
        self.table.u64(block as usize * ENTRY_BYTES + 8)
    }

    fn block_of(&self, ordinal: u32) -> Result<u32> {
        if ordinal >= self.points {
            return Err(self.table.corrupt(0, format!("row {ordinal} of {}", self.points)));
        }
        let (mut start, mut end) = (0, self.blocks);
        while start < end {
            let middle = start + (end - start) / 2;
            if self.first(middle)? <= ordinal {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start.checked_sub(1).ok_or_else(|| self.table.corrupt(0, format!("no block has row {ordinal}")))
    }

    fn block(&self, at: u32) -> Result<Block<'a>> {
        let entry = at as usize * ENTRY_BYTES;
        let (first, next) = (self.first(at)?, self.first(at + 1)?);
        let rows = next.checked_sub(first).filter(|rows| *rows > 0);
        let rows = rows.ok_or_else(|| self.table.corrupt(entry, format!("block of rows {first} to {next}")))?;
        let start = if at == 0 { 0 } else { self.end(at - 1)? };
        let stored = self.end(at)?.checked_sub(start);
        let stored = stored.ok_or_else(|| self.table.corrupt(entry, "a block of negative size"))?;
        let base = HEADER_BYTES as u64 + self.table.len() as u64 + start;
        let stored = Bytes::within(SECTION, base, self.stored.bytes(start, stored)?);
        let size = self.table.u32(entry + 4)? as usize;
        if size > BLOCK_BYTES_MAX || u64::from(rows) * 4 > size as u64 {
            return Err(self.table.corrupt(entry, format!("{rows} rows in {size} bytes")));
        }
        let unpacked = if size == stored.len() {
            Cow::Borrowed(stored.raw())
        } else {
            let unpacked = zstd::bulk::decompress(stored.raw(), size);
            let unpacked = unpacked.map_err(|error| stored.corrupt(0, format!("zstd: {error}")))?;
            if unpacked.len() != size {
                return Err(stored.corrupt(0, format!("{} bytes unpacked, {size} expected", unpacked.len())));
            }
            Cow::Owned(unpacked)
        };
        Ok(Block { entry, first, rows, unpacked })
    }
}

impl Block<'_> {
    fn holds(&self, ordinal: u32) -> bool {
        ordinal.checked_sub(self.first).is_some_and(|row| row < self.rows)
    }

    fn row(&self, rows: &Rows<'_>, ordinal: u32) -> Result<&str> {
        let corrupt = |why: &str| rows.table.corrupt(self.entry, format!("row {ordinal}: {why}"));
        if !self.holds(ordinal) {
            return Err(corrupt("not in its block"));
        }
        let row = (ordinal - self.first) as usize;
        let unpacked = Bytes::new(SECTION, &self.unpacked);
        let end = |row: usize| unpacked.u32(4 * row);
        let start = if row == 0 { 0 } else { end(row - 1)? } as usize;
        let end = end(row)? as usize;
        let texts = self.unpacked.get(4 * self.rows as usize..).unwrap_or_default();
        let text = texts.get(start..end).ok_or_else(|| corrupt("outside its block"))?;
        std::str::from_utf8(text).map_err(|error| corrupt(&error.to_string()))
    }
}
