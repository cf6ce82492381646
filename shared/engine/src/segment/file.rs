//! A segment's file: where its bytes are, and what its footer and section table say.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Source,
    layout::{ENTRY_BYTES, FOOTER_BYTES, Footer, MAGIC, Section, SectionKind, decode_table},
};
use crate::{Error, Result, source::Region};

/// A file whose footer and section table were read. Clones share both.
#[derive(Clone)]
pub(super) struct File {
    source: Arc<dyn Source>,
    footer: Footer,
    /// By group, then by kind.
    sections: Arc<[Section]>,
}

impl File {
    /// Reads footer and table and checks both.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Version`], [`Error::UnknownSection`], [`Error::Absent`].
    pub(super) fn open(source: Arc<dyn Source>) -> Result<Self> {
        let file_bytes = source.len();
        let file = Region::new(&*source, "file", 0, file_bytes);
        let footer_offset = file_bytes.checked_sub(FOOTER_BYTES as u64);
        let footer_offset = footer_offset.ok_or_else(|| file.corrupt(file_bytes, "cut off"))?;
        let footer = Footer::decode(file.bytes(footer_offset, FOOTER_BYTES as u64)?, file_bytes)?;
        let table = file.bytes(footer.table_offset, u64::from(footer.section_count) * ENTRY_BYTES as u64)?;
        if xxh3_64(table) != footer.table_checksum {
            return Err(Error::corrupt("table", 0, "checksum mismatch"));
        }
        let sections = decode_table(table, &footer)?;
        Ok(Self { source, footer, sections: sections.into() })
    }

    /// The same file with its bytes elsewhere.
    pub(super) fn over(&self, source: Arc<dyn Source>) -> Self {
        Self { source, ..self.clone() }
    }

    pub(super) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Points, dead ones as well.
    pub(super) const fn points(&self) -> u32 {
        self.footer.points
    }

    /// All sections by group, then by kind.
    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// A section's place, if the group has one of the kind.
    pub(super) fn find(&self, group: u16, kind: SectionKind) -> Option<Section> {
        let at = self.sections.binary_search_by_key(&(group, kind), Section::key).ok()?;
        self.sections.get(at).copied()
    }

    /// A section that the group must have, at hand or not.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn region(&self, group: u16, kind: SectionKind) -> Result<Region<'_>> {
        let missing = || Error::corrupt("table", 0, format!("section {} is missing", kind.name()));
        self.find(group, kind).map(|section| self.of(section)).ok_or_else(missing)
    }

    /// A section's bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn bytes(&self, group: u16, kind: SectionKind) -> Result<&[u8]> {
        self.region(group, kind)?.all()
    }

    /// A section's bytes, if the group has it, after their checksum was checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn checked(&self, group: u16, kind: SectionKind) -> Result<Option<&[u8]>> {
        self.find(group, kind).map(|section| self.check(section)).transpose()
    }

    /// Checks every section's checksum; reads the whole file.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn verify(&self) -> Result<()> {
        if self.source.bytes(0, MAGIC.as_slice().len() as u64) != Some(&MAGIC) {
            return Err(Error::corrupt("file", 0, "the magic is missing"));
        }
        self.sections.iter().try_for_each(|&section| self.check(section).map(drop))
    }

    fn check(&self, section: Section) -> Result<&[u8]> {
        let bytes = self.of(section).all()?;
        if xxh3_64(bytes) == section.checksum {
            Ok(bytes)
        } else {
            Err(Error::corrupt(section.kind.name(), 0, "checksum mismatch"))
        }
    }

    fn of(&self, section: Section) -> Region<'_> {
        Region::new(&*self.source, section.kind.name(), section.offset, section.len)
    }
}
