//! Reading the section.

use super::{
    corrupt,
    header::{ALIGN, Entry, Extent, HEADER_BYTES, Header, ends, u32_at},
    record::{self, Shape},
};
use crate::{
    Result,
    graph::walk::Graph,
    kernel::{self, Unpack},
};

/// A view of a links section: a few words that point into its bytes. Opening it is O(1); lists are checked when they are read.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    section: &'a [u8],
    header: Header,
    base: Table<'a>,
    links: u64,
    packed_bits: u64,
}

/// The lists of one level, by rank.
#[derive(Clone, Copy)]
pub(in crate::graph) struct Table<'a> {
    lines: &'a [u8],
    overflow: &'a [u8],
    line_bytes: usize,
    shape: Shape,
    unpack: Unpack,
    /// Where `lines` begin in the section, for errors.
    at: usize,
}

/// A level above 0.
#[derive(Clone, Copy)]
pub(in crate::graph) struct Upper<'a> {
    pub(in crate::graph) table: Table<'a>,
    ordinals: &'a [u8],
    /// Where `ordinals` begin in the section.
    at: usize,
    points: u32,
}

impl<'a> Links<'a> {
    /// Opens the section of a segment of `points` points.
    ///
    /// # Errors
    /// `Corrupt` when header, directory, sizes and entry point do not fit together, the bytes or `points`.
    pub fn open(bytes: &'a [u8], points: u32) -> Result<Self> {
        let header = Header::decode(bytes)?;
        if header.points != points {
            return Err(corrupt(0, format!("links of {} points in a segment of {points}", header.points)));
        }
        let mut at = HEADER_BYTES * (header.levels as usize + 1);
        let (mut nodes, mut links, mut packed_bits) = (points, 0u64, 0u64);
        for level in 0..header.levels {
            let place = HEADER_BYTES * (level as usize + 1);
            let entry = Entry::decode(bytes, level)?;
            if entry.nodes > nodes || (level == 0 && entry.nodes != points) {
                return Err(corrupt(place, format!("level {level} has {} nodes, the one below {nodes}", entry.nodes)));
            }
            if entry.start != at as u64 {
                return Err(corrupt(place + 16, format!("level {level} starts at {} instead of {at}", entry.start)));
            }
            if entry.links > u64::from(entry.nodes) * u64::from(entry.degree_max) {
                return Err(corrupt(place + 32, format!("level {level} has {} links", entry.links)));
            }
            let extent = entry.extent(level).filter(|extent| extent.end <= bytes.len());
            at = extent.ok_or_else(|| ends(bytes))?.end;
            nodes = entry.nodes;
            links += entry.links;
            packed_bits = packed_bits.saturating_add(entry.packed_bits);
        }
        if at != bytes.len() {
            return Err(corrupt(at, format!("{} bytes after the last level", bytes.len() - at)));
        }
        let (table, _) = table(bytes, 0)?;
        let links = Self { section: bytes, header, base: table, links, packed_bits };
        for level in 1..header.levels {
            links.upper(level)?.rank(header.entry_point)?;
        }
        Ok(links)
    }

    /// The view of a section that was opened before and has not changed since: without the checks. On other bytes it gives errors, or lists that
    /// mean nothing, as a damaged section may.
    ///
    /// # Errors
    /// `Corrupt` when the section is too short for what it says.
    pub fn view(bytes: &'a [u8]) -> Result<Self> {
        let (base, _) = table(bytes, 0)?;
        Ok(Self { section: bytes, header: Header::read(bytes)?, base, links: 0, packed_bits: 0 })
    }

    /// Nodes of level 0.
    #[must_use]
    pub const fn points(&self) -> u32 {
        self.header.points
    }

    /// The ordinal where searches start; it is on every level.
    #[must_use]
    pub const fn entry_point(&self) -> u32 {
        self.header.entry_point
    }

    /// Levels, level 0 included.
    #[must_use]
    pub const fn levels(&self) -> u32 {
        self.header.levels
    }

    /// Links of all levels, as the directory states them.
    #[must_use]
    pub const fn link_count(&self) -> u64 {
        self.links
    }

    /// Bits of the whole section, padding and all, per link.
    #[must_use]
    pub fn bits_per_link(&self) -> f64 {
        self.section.len() as f64 * 8.0 / self.links.max(1) as f64
    }

    /// Bits of the records alone per link: what compression achieves before lines are filled up.
    #[must_use]
    pub fn packed_bits_per_link(&self) -> f64 {
        self.packed_bits as f64 / self.links.max(1) as f64
    }

    /// Bytes of a line of level 0, and of the lists that did not fit theirs.
    #[must_use]
    pub const fn line_bytes(&self) -> (usize, usize) {
        (self.base.line_bytes, self.base.overflow.len())
    }

    /// Puts the level-0 neighbours of `ordinal` in `out`, in no particular order, replacing what it held.
    ///
    /// # Errors
    /// `Corrupt`.
    #[inline]
    pub fn neighbours(&self, ordinal: u32, out: &mut Vec<u32>) -> Result<()> {
        self.base.neighbours(ordinal, out)
    }

    /// Level 0.
    pub(in crate::graph) const fn base(&self) -> &Table<'a> {
        &self.base
    }

    /// A level above 0.
    pub(in crate::graph) fn upper(&self, level: u32) -> Result<Upper<'a>> {
        let (table, extent) = table(self.section, level)?;
        let bytes = table.shape.nodes as usize * 4;
        let ordinals = self.section.get(extent.ordinals..extent.ordinals + bytes).ok_or_else(|| ends(self.section))?;
        Ok(Upper { table, ordinals, at: extent.ordinals, points: self.header.points })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that contradicts the format.
    pub fn verify(&self) -> Result<()> {
        let mut below: Option<Upper<'a>> = None;
        for level in 0..self.header.levels {
            let (table, extent) = table(self.section, level)?;
            let (links, packed_bits) = table.verify()?;
            let entry = Entry::decode(self.section, level)?;
            if (entry.links, entry.packed_bits) != (links, packed_bits) {
                let place = HEADER_BYTES * (level as usize + 1) + 32;
                return Err(corrupt(place, format!("level {level} has {links} links in {packed_bits} bits")));
            }
            let mut ordinals_end = extent.ordinals;
            if level > 0 {
                let upper = self.upper(level)?;
                upper.verify(below.as_ref())?;
                ordinals_end += upper.ordinals.len();
                below = Some(upper);
            }
            zeros(self.section, ordinals_end, extent.lines)?;
            zeros(self.section, extent.lines + table.lines.len(), extent.overflow)?;
            zeros(self.section, extent.overflow + table.overflow.len(), extent.end)?;
        }
        Ok(())
    }
}

/// The table of `level`, and where it lies. The directory was checked at `open`.
fn table(section: &[u8], level: u32) -> Result<(Table<'_>, Extent)> {
    let entry = Entry::read(section, level)?;
    let extent = entry.extent(level).ok_or_else(|| ends(section))?;
    let line_bytes = entry.line_bytes as usize;
    let overflow_bytes = usize::try_from(entry.overflow_bytes).map_err(|_| ends(section))?;
    let part =
        |at: usize, bytes: usize| section.get(at..).and_then(|rest| rest.get(..bytes)).ok_or_else(|| ends(section));
    let lines = part(extent.lines, entry.nodes as usize * line_bytes)?;
    let overflow = part(extent.overflow, overflow_bytes)?;
    let shape = Shape::new(entry.nodes, entry.degree_max);
    Ok((Table { lines, overflow, line_bytes, shape, unpack: kernel::get().unpack, at: extent.lines }, extent))
}

fn zeros(section: &[u8], from: usize, to: usize) -> Result<()> {
    match section[from..to].iter().position(|&byte| byte != 0) {
        None => Ok(()),
        Some(at) => Err(corrupt(from + at, "padding is not zero")),
    }
}

impl<'a> Table<'a> {
    #[inline]
    fn line(&self, rank: u32) -> Option<&'a [u8]> {
        self.lines.get(rank as usize * self.line_bytes..)?.get(..self.line_bytes)
    }

    /// The record that a line refers to.
    fn elsewhere(&self, line: &[u8]) -> Option<&'a [u8]> {
        let offset = usize::try_from(u32_at(line, 4).ok()?).ok()?.checked_mul(8)?;
        self.overflow.get(offset..)?.get(..usize::try_from(u32_at(line, 8).ok()?).ok()?)
    }

    #[cold]
    fn corrupt(&self, rank: u32, why: &str) -> crate::Error {
        corrupt(self.at + rank as usize * self.line_bytes, format!("node {rank}: {why}"))
    }

    #[inline]
    fn read(&self, rank: u32, out: &mut Vec<u32>) -> std::result::Result<(), &'static str> {
        let line = self.line(rank).ok_or("not a node")?;
        if line.first().ok_or("a line without bytes")? & 1 == 1 {
            let record = self.elsewhere(line).ok_or("its list lies beyond the overflow area")?;
            return record::read(&self.shape, rank, record, self.unpack, out);
        }
        // The common length as a constant lets the compiler drop the bounds checks.
        match <&[u8; ALIGN]>::try_from(line) {
            Ok(line) => record::read(&self.shape, rank, line, self.unpack, out),
            Err(_) => record::read(&self.shape, rank, line, self.unpack, out),
        }
    }

    /// Reads all lists; gives the sums of degrees and of bits.
    fn verify(&self) -> Result<(u64, u64)> {
        let (mut links, mut packed_bits) = (0, 0);
        let mut list = Vec::new();
        for rank in 0..self.shape.nodes {
            self.neighbours(rank, &mut list)?;
            links += list.len() as u64;
            packed_bits += self.bits(rank).map_err(|why| self.corrupt(rank, why))?;
            list.sort_unstable();
            if list.binary_search(&rank).is_ok() {
                return Err(self.corrupt(rank, "a link to itself"));
            }
            if list.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(self.corrupt(rank, "two links to one neighbour"));
            }
        }
        Ok((links, packed_bits))
    }

    /// The length of a record in bits; checks that nothing but zeros follows.
    fn bits(&self, rank: u32) -> std::result::Result<u64, &'static str> {
        let line = self.line(rank).ok_or("not a node")?;
        let record = if line[0] & 1 == 1 {
            if line[0] != 1 || line[1..4].iter().chain(&line[12..]).any(|&byte| byte != 0) {
                return Err("a reference with bits that are not zero");
            }
            self.elsewhere(line).filter(|record| record.len().is_multiple_of(8)).ok_or("its list is nowhere")?
        } else {
            line
        };
        record::length(&self.shape, record)
    }
}

impl Graph for Table<'_> {
    #[inline]
    fn neighbours(&self, node: u32, out: &mut Vec<u32>) -> Result<()> {
        self.read(node, out).map_err(|why| self.corrupt(node, why))
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        if let Some(line) = self.line(node) {
            kernel::prefetch(line);
        }
    }
}

impl Upper<'_> {
    /// The ordinal of a rank.
    #[inline]
    pub(in crate::graph) fn ordinal(&self, rank: u32) -> Result<u32> {
        let at = rank as usize * 4;
        match self.ordinals.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes)) {
            Some(ordinal) if ordinal < self.points => Ok(ordinal),
            _ => Err(corrupt(self.at + at, "an ordinal that is not a point")),
        }
    }

    /// The rank of an ordinal.
    pub(in crate::graph) fn rank(&self, ordinal: u32) -> Result<u32> {
        let (mut low, mut high) = (0, self.table.shape.nodes);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.ordinal(middle)? < ordinal { low = middle + 1 } else { high = middle }
        }
        if low < self.table.shape.nodes && self.ordinal(low)? == ordinal {
            return Ok(low);
        }
        Err(corrupt(self.at, format!("point {ordinal} is not on a level that leads to it")))
    }

    fn verify(&self, below: Option<&Self>) -> Result<()> {
        let mut last = None;
        for rank in 0..self.table.shape.nodes {
            let ordinal = self.ordinal(rank)?;
            if last.is_some_and(|last| last >= ordinal) {
                return Err(corrupt(self.at + rank as usize * 4, "ordinals do not ascend"));
            }
            below.map_or(Ok(0), |below| below.rank(ordinal))?;
            last = Some(ordinal);
        }
        Ok(())
    }
}
