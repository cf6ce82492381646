//! The header and the directory: where writer and reader meet.

use super::{SECTION, corrupt};
use crate::{Error, Result};

/// Bytes of the header, and of each directory entry.
pub(super) const HEADER_BYTES: usize = 64;
/// Levels at most.
pub(super) const LEVELS_MAX: u32 = 32;
/// A line at most.
pub(super) const LINE_BYTES_MAX: usize = 1_024;
/// Neighbours in one list at most.
pub(super) const DEGREE_MAX: usize = u16::MAX as usize;
/// What sections and the arrays inside are aligned to: a cache line.
pub(super) const ALIGN: usize = 64;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) points: u32,
    pub(super) entry_point: u32,
    pub(super) levels: u32,
}

/// One directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) nodes: u32,
    pub(super) degree_max: u32,
    pub(super) line_bytes: u32,
    pub(super) start: u64,
    pub(super) overflow_bytes: u64,
    pub(super) links: u64,
    pub(super) packed_bits: u64,
}

/// Where the arrays of a level lie in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) ordinals: usize,
    pub(super) lines: usize,
    pub(super) overflow: usize,
    pub(super) end: usize,
}

impl Header {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let end = out.len() + HEADER_BYTES;
        for value in [self.points, self.entry_point, self.levels] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.resize(end, 0);
    }

    /// Reads the header, of a section that was checked.
    pub(super) fn read(section: &[u8]) -> Result<Self> {
        Ok(Self { points: u32_at(section, 0)?, entry_point: u32_at(section, 4)?, levels: u32_at(section, 8)? })
    }

    /// Reads and checks the header.
    pub(super) fn decode(section: &[u8]) -> Result<Self> {
        let header = Self::read(section)?;
        if header.entry_point >= header.points {
            return Err(corrupt(4, format!("entry point {} of {} points", header.entry_point, header.points)));
        }
        if !(1..=LEVELS_MAX).contains(&header.levels) {
            return Err(corrupt(8, format!("{} levels", header.levels)));
        }
        zeros(section, 12, HEADER_BYTES)?;
        Ok(header)
    }
}

impl Entry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let end = out.len() + HEADER_BYTES;
        for value in [self.nodes, self.degree_max, self.line_bytes, 0] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [self.start, self.overflow_bytes, self.links, self.packed_bits] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.resize(end, 0);
    }

    /// Reads the entry of `level`, of a section that was checked.
    pub(super) fn read(section: &[u8], level: u32) -> Result<Self> {
        let at = HEADER_BYTES * (level as usize + 1);
        Ok(Self {
            nodes: u32_at(section, at)?,
            degree_max: u32_at(section, at + 4)?,
            line_bytes: u32_at(section, at + 8)?,
            start: u64_at(section, at + 16)?,
            overflow_bytes: u64_at(section, at + 24)?,
            links: u64_at(section, at + 32)?,
            packed_bits: u64_at(section, at + 40)?,
        })
    }

    /// Reads the entry of `level` and checks what concerns it alone.
    pub(super) fn decode(section: &[u8], level: u32) -> Result<Self> {
        let at = HEADER_BYTES * (level as usize + 1);
        let entry = Self::read(section, level)?;
        let line = entry.line_bytes as usize;
        if entry.nodes == 0 {
            return Err(corrupt(at, format!("level {level} has no nodes")));
        }
        if !(1..=DEGREE_MAX).contains(&(entry.degree_max as usize)) {
            return Err(corrupt(at + 4, format!("degree_max {}", entry.degree_max)));
        }
        if line != ALIGN / 2 && (line == 0 || !line.is_multiple_of(ALIGN) || line > LINE_BYTES_MAX) {
            return Err(corrupt(at + 8, format!("lines of {line} bytes")));
        }
        if !entry.overflow_bytes.is_multiple_of(8) {
            return Err(corrupt(at + 24, format!("overflow of {} bytes", entry.overflow_bytes)));
        }
        zeros(section, at + 12, at + 16)?;
        zeros(section, at + 48, at + HEADER_BYTES)?;
        Ok(entry)
    }

    /// Where the level's arrays lie; `None` when their sizes go beyond all memory.
    pub(super) fn extent(&self, level: u32) -> Option<Extent> {
        let pad = |at: usize| at.checked_next_multiple_of(ALIGN);
        let nodes = self.nodes as usize;
        let ordinals = usize::try_from(self.start).ok()?;
        let ordinals_bytes = if level == 0 { 0 } else { nodes.checked_mul(4)? };
        let lines = pad(ordinals.checked_add(ordinals_bytes)?)?;
        let overflow = pad(lines.checked_add(nodes.checked_mul(self.line_bytes as usize)?)?)?;
        let end = pad(overflow.checked_add(usize::try_from(self.overflow_bytes).ok()?)?)?;
        Some(Extent { ordinals, lines, overflow, end })
    }
}

fn zeros(section: &[u8], from: usize, to: usize) -> Result<()> {
    match section.get(from..to).map(|bytes| bytes.iter().position(|&byte| byte != 0)) {
        Some(None) => Ok(()),
        Some(Some(at)) => Err(corrupt(from + at, "a reserved byte is not zero")),
        None => Err(ends(section)),
    }
}

pub(super) fn u32_at(section: &[u8], at: usize) -> Result<u32> {
    let bytes = section.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or_else(|| ends(section))
}

fn u64_at(section: &[u8], at: usize) -> Result<u64> {
    let bytes = section.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(|| ends(section))
}

/// The section is too short.
pub(super) fn ends(section: &[u8]) -> Error {
    Error::corrupt(SECTION, section.len(), "the section ends early")
}
