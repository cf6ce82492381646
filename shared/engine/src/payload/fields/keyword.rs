//! A field's strings, sorted, each with its points.
//!
//! # Layout
//!
//! ```text
//! offset  bytes
//!      0  8             keywords
//!      8  1             w: bytes of an offset
//!      9  7             zero
//!     16  (blocks+1)*w  start of each block of 16 keywords, counted from the end of this table, and the end of the last
//!         ...           blocks
//! ```
//!
//! In a block, for each keyword: varint bytes that it shares with the one before it (0 for the first), varint bytes of the
//! rest, the rest, its slot. Keywords ascend by their bytes.

use super::{
    KEYWORD_BYTES_MAX,
    posting::{Areas, Postings, Slot},
};
use crate::{
    Result,
    payload::{
        bytes::{Bytes, Cursor, put_varint},
        packed::{self, Packed},
    },
};

/// Keywords of a block: found by binary search over blocks, then by reading at most this many.
const BLOCK: usize = 16;
const HEADER_BYTES: usize = 16;

/// Writes keywords that ascend, each with its ordinals, which ascend too.
pub(super) fn write<'k, 'o>(
    keywords: impl Iterator<Item = (&'k str, &'o [u32])>,
    postings: &mut Postings<'_>,
) -> Vec<u8> {
    let mut blocks = Vec::new();
    let mut starts = Vec::new();
    let (mut count, mut last) = (0u64, "");
    for (keyword, ordinals) in keywords {
        let shared = if count.is_multiple_of(BLOCK as u64) {
            starts.push(blocks.len() as u64);
            0
        } else {
            last.bytes().zip(keyword.bytes()).take_while(|(a, b)| a == b).count()
        };
        put_varint(&mut blocks, shared as u64);
        put_varint(&mut blocks, (keyword.len() - shared) as u64);
        blocks.extend_from_slice(&keyword.as_bytes()[shared..]);
        postings.put_sorted(&mut blocks, ordinals);
        count += 1;
        last = keyword;
    }
    if count == 0 {
        return Vec::new();
    }
    starts.push(blocks.len() as u64);
    let width = packed::width(blocks.len() as u64);
    let mut out = count.to_le_bytes().to_vec();
    out.extend_from_slice(&[width, 0, 0, 0, 0, 0, 0, 0]);
    packed::put(&mut out, width, starts);
    out.extend_from_slice(&blocks);
    out
}

/// A field's dictionary.
#[derive(Clone, Copy, Debug)]
pub struct Keywords<'a> {
    count: u64,
    starts: Packed<'a>,
    blocks: Bytes<'a>,
    areas: Areas<'a>,
}

impl<'a> Keywords<'a> {
    /// Opens the part; `None` when the field has no strings.
    pub(super) fn open(bytes: Bytes<'a>, areas: Areas<'a>) -> Result<Option<Self>> {
        if bytes.len() == 0 {
            return Ok(None);
        }
        let (count, width) = (bytes.u64(0)?, bytes.u8(8)?);
        if count == 0 || width == 0 {
            return Err(bytes.corrupt(0, format!("{count} keywords, offsets of {width} bytes")));
        }
        let (starts, blocks) = Packed::open(bytes.tail(HEADER_BYTES)?, width, count.div_ceil(BLOCK as u64) + 1)?;
        Ok(Some(Self { count, starts, blocks, areas }))
    }

    /// How many different strings there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The points that have `keyword`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn get(&self, keyword: &str) -> Result<Option<Slot<'a>>> {
        let Some(at) = self.block_before(|first| first <= keyword.as_bytes())? else { return Ok(None) };
        let mut block = self.block(at)?;
        while let Some(slot) = block.next()? {
            match block.keyword.as_slice().cmp(keyword.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(slot)),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Calls `visit` with every keyword that begins with `prefix`, in order, and its points.
    ///
    /// # Errors
    /// `Corrupt`; what `visit` returns.
    pub fn each(&self, prefix: &str, mut visit: impl FnMut(&str, Slot<'a>) -> Result<()>) -> Result<()> {
        // Some of the block before may be at or above the prefix.
        let start = self.block_before(|first| first < prefix.as_bytes())?.unwrap_or(0);
        for at in start..self.blocks() {
            let mut block = self.block(at)?;
            while let Some(slot) = block.next()? {
                if !block.keyword.starts_with(prefix.as_bytes()) {
                    if block.keyword.as_slice() > prefix.as_bytes() {
                        return Ok(());
                    }
                    continue;
                }
                let keyword = std::str::from_utf8(&block.keyword);
                visit(keyword.map_err(|error| block.cursor.corrupt(error.to_string()))?, slot)?;
            }
        }
        Ok(())
    }

    fn blocks(&self) -> u64 {
        self.count.div_ceil(BLOCK as u64)
    }

    /// The last block whose first keyword is `before` something; that holds for some blocks and then for none.
    fn block_before(&self, before: impl Fn(&[u8]) -> bool) -> Result<Option<u64>> {
        let (mut start, mut end) = (0, self.blocks());
        while start < end {
            let middle = start + (end - start) / 2;
            let mut block = self.block(middle)?;
            if block.next()?.is_some_and(|_| before(&block.keyword)) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        Ok(start.checked_sub(1))
    }

    /// Checks order, bounds and every set.
    pub(super) fn verify(&self) -> Result<()> {
        let mut last: Option<String> = None;
        let mut count = 0u64;
        self.each("", |keyword, slot| {
            if last.as_deref().is_some_and(|last| last >= keyword) {
                return Err(self.blocks.corrupt(0, format!("keyword '{keyword}' is out of order")));
            }
            if slot.verify(&self.areas)?.is_empty() {
                return Err(self.blocks.corrupt(0, format!("keyword '{keyword}' has no points")));
            }
            last = Some(keyword.to_owned());
            count += 1;
            Ok(())
        })?;
        if count != self.count {
            return Err(self.blocks.corrupt(0, format!("{count} keywords in blocks, {} in the header", self.count)));
        }
        Ok(())
    }

    fn block(&self, at: u64) -> Result<Block<'a>> {
        let (start, end) = (self.starts.get(at), self.starts.get(at + 1));
        let bytes = end.checked_sub(start).ok_or_else(|| self.blocks.corrupt(0, "a block of negative size"))?;
        let cursor = Cursor::new(self.blocks.slice(start, bytes)?);
        Ok(Block { cursor, keyword: Vec::with_capacity(64), areas: self.areas })
    }
}

/// Reads a block; `keyword` is the one that was read last.
struct Block<'a> {
    cursor: Cursor<'a>,
    keyword: Vec<u8>,
    areas: Areas<'a>,
}

impl<'a> Block<'a> {
    fn next(&mut self) -> Result<Option<Slot<'a>>> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let (shared, rest) = (self.cursor.varint()?, self.cursor.varint()?);
        let shared = usize::try_from(shared).ok().filter(|shared| *shared <= self.keyword.len());
        let shared = shared.ok_or_else(|| self.cursor.corrupt("a keyword shares more than there is"))?;
        if rest > KEYWORD_BYTES_MAX as u64 - shared as u64 {
            return Err(self.cursor.corrupt(format!("a keyword of {rest} bytes after {shared}")));
        }
        self.keyword.truncate(shared);
        self.keyword.extend_from_slice(self.cursor.take(rest)?.raw());
        Slot::read(&mut self.cursor, &self.areas).map(Some)
    }
}
