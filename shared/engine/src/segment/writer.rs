//! Writes sections one after another, aligned and checksummed, and closes the file.

use std::io::{self, Write};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::layout::{ALIGN, Footer, Section, SectionKind, VERSION, encode_table, preamble};

/// A segment file that is being written, front to back, once.
pub(super) struct Writer<'a> {
    out: &'a mut (dyn Write + Send),
    hash: Xxh3,
    offset: u64,
    sections: Vec<Section>,
}

/// A section that is being written.
pub(super) struct Part {
    group: u16,
    kind: SectionKind,
    offset: u64,
    hash: Xxh3,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut (dyn Write + Send)) -> io::Result<Self> {
        let mut writer = Self { out, hash: Xxh3::new(), offset: 0, sections: Vec::new() };
        writer.put(&preamble())?;
        Ok(writer)
    }

    /// Appends a section, then zeros up to the next boundary.
    pub(super) fn section(&mut self, group: u16, kind: SectionKind, bytes: &[u8]) -> io::Result<()> {
        let mut part = self.begin(group, kind);
        self.append(&mut part, bytes)?;
        self.end(&part)
    }

    /// Begins a section that comes piece by piece; nothing else may be written before its end.
    pub(super) fn begin(&self, group: u16, kind: SectionKind) -> Part {
        Part { group, kind, offset: self.offset, hash: Xxh3::new() }
    }

    /// Appends to a section.
    pub(super) fn append(&mut self, part: &mut Part, bytes: &[u8]) -> io::Result<()> {
        part.hash.update(bytes);
        self.put(bytes)
    }

    /// Ends a section with zeros up to the next boundary.
    pub(super) fn end(&mut self, part: &Part) -> io::Result<()> {
        let &Part { group, kind, offset, ref hash } = part;
        self.sections.push(Section { group, kind, offset, len: self.offset - offset, checksum: hash.digest() });
        let gap = usize::try_from(self.offset.next_multiple_of(ALIGN) - self.offset).unwrap_or(0);
        self.put(&[0; 64][..gap])
    }

    /// Appends table and footer; the file's length and checksum.
    pub(super) fn finish(mut self, points: u32) -> io::Result<(u64, u64)> {
        let table = encode_table(&self.sections);
        let mut footer = Footer {
            table_offset: self.offset,
            section_count: u32::try_from(self.sections.len()).unwrap_or(u32::MAX),
            table_checksum: xxh3_64(&table),
            points,
            file_bytes: 0,
            version: VERSION,
        };
        self.put(&table)?;
        footer.file_bytes = self.offset + super::layout::FOOTER_BYTES as u64;
        self.put(&footer.encode())?;
        self.out.flush()?;
        Ok((self.offset, self.hash.digest()))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
