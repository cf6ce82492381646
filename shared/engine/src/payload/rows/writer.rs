//! Packs rows.

use super::{BLOCK_BYTES, HEADER_BYTES, ROW_BYTES_MAX};
use crate::{Error, Result};

/// zstd's default: at 16 KiB a higher level costs time and saves next to nothing.
const LEVEL: i32 = 3;

/// Collects rows in ordinal order and packs them.
#[derive(Debug, Default)]
pub struct RowsWriter {
    points: u32,
    blocks: u32,
    table: Vec<u8>,
    stored: Vec<u8>,
    first: u32,
    ends: Vec<u32>,
    texts: Vec<u8>,
}

impl RowsWriter {
    /// No rows yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next row: the JSON text of an object, `{}` for a point without payload.
    ///
    /// # Errors
    /// `Invalid` for a row of more than eight times [`cairn_model::limits::PAYLOAD_BYTES_MAX`], and past `u32::MAX` rows.
    pub fn push(&mut self, json: &str) -> Result<()> {
        if json.len() > ROW_BYTES_MAX {
            let why =
                format!("{} bytes of JSON at row {}, at most {ROW_BYTES_MAX} can be stored", json.len(), self.points);
            return Err(Error::invalid("payload", why));
        }
        let points = self.points.checked_add(1);
        self.points = points.ok_or_else(|| Error::invalid("payload", "more rows than a segment may have"))?;
        self.texts.extend_from_slice(json.as_bytes());
        self.ends.push(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        if self.texts.len() + 4 * self.ends.len() >= BLOCK_BYTES {
            self.close();
        }
        Ok(())
    }

    /// Bytes held so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.len() + self.stored.len() + self.texts.len() + 4 * self.ends.len()
    }

    /// The section.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        let mut out = Vec::with_capacity(HEADER_BYTES + self.table.len() + self.stored.len());
        out.extend_from_slice(&self.points.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&self.table);
        out.extend_from_slice(&self.stored);
        out
    }

    fn close(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let mut block = Vec::with_capacity(4 * self.ends.len() + self.texts.len());
        self.ends.iter().for_each(|end| block.extend_from_slice(&end.to_le_bytes()));
        block.extend_from_slice(&self.texts);
        match zstd::bulk::compress(&block, LEVEL) {
            Ok(packed) if packed.len() < block.len() => self.stored.extend_from_slice(&packed),
            _ => self.stored.extend_from_slice(&block),
        }
        self.table.extend_from_slice(&self.first.to_le_bytes());
        self.table.extend_from_slice(&u32::try_from(block.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.table.extend_from_slice(&(self.stored.len() as u64).to_le_bytes());
        self.blocks += 1;
        self.first = self.points;
        self.ends.clear();
        self.texts.clear();
    }
}
