//! Where things are in the file: preamble, section table, footer. See FORMAT.md.

use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result};

/// The format version that this build writes; it reads all up to this one.
pub const VERSION: u32 = 4;
/// The first version whose files may have groups of sections beside the main one.
const GROUPS_VERSION: u32 = 4;
/// The group of the points and of the first vector; see FORMAT.md.
pub(super) const MAIN: u16 = 0;
/// First bytes of the file.
pub(super) const MAGIC: [u8; 8] = *b"CAIRNSEG";
/// First bytes of the footer.
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"CAIRNEND";
/// Bytes of the preamble.
pub(super) const PREAMBLE_BYTES: usize = 64;
/// Bytes of the footer.
pub(super) const FOOTER_BYTES: usize = 64;
/// Bytes of one entry of the section table.
pub(super) const ENTRY_BYTES: usize = 32;
/// Sections begin at multiples of this.
pub(super) const ALIGN: u64 = 64;
/// Sections that a table may have: more than a point's vectors need, at most a dozen for each of them.
pub(super) const SECTIONS_MAX: u32 = 4_096;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum SectionKind {
    /// Schema, parameters and the codec's centre.
    Head = 1,
    /// Cluster starts and quantized centroids.
    Clusters = 2,
    /// High nibbles and factors, per ordinal.
    CodesHigh = 3,
    /// Low nibbles and factors, per ordinal.
    CodesLow = 4,
    /// HNSW links.
    Links = 5,
    /// Original vectors.
    Vectors = 6,
    /// Ids both ways.
    Ids = 7,
    /// Payload rows.
    Rows = 8,
    /// Field indexes.
    Fields = 9,
    /// Recall by width of search.
    Calibration = 10,
    /// How much wider walks with filters have to be.
    Filters = 11,
    /// Ids by ordinal, in place.
    OrdinalIds = 12,
    /// How much a search of clusters has to read.
    Reading = 13,
    /// Which points the rows of a further vector are of.
    Places = 14,
    /// Vectors that are stored and not searched.
    Values = 15,
}

impl SectionKind {
    /// All kinds that this build knows.
    pub const ALL: [Self; 15] = [
        Self::Head,
        Self::Clusters,
        Self::CodesHigh,
        Self::CodesLow,
        Self::Links,
        Self::Vectors,
        Self::Ids,
        Self::Rows,
        Self::Fields,
        Self::Calibration,
        Self::Filters,
        Self::OrdinalIds,
        Self::Reading,
        Self::Places,
        Self::Values,
    ];

    /// The name in errors and in `inspect`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Clusters => "clusters",
            Self::CodesHigh => "codes_high",
            Self::CodesLow => "codes_low",
            Self::Links => "links",
            Self::Vectors => "vectors",
            Self::Ids => "ids",
            Self::Rows => "rows",
            Self::Fields => "fields",
            Self::Calibration => "calibration",
            Self::Filters => "filters",
            Self::OrdinalIds => crate::payload::ordinal_ids::SECTION,
            Self::Reading => "reading",
            Self::Places => "places",
            Self::Values => "values",
        }
    }

    /// Whether a reader that does not know the section must not answer.
    const fn required(self) -> bool {
        !matches!(self, Self::Calibration | Self::Filters | Self::OrdinalIds | Self::Reading)
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u32 == number)
    }
}

/// A section's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Of which group: [`MAIN`], or one of a vector's own.
    pub(super) group: u16,
    /// What.
    pub(super) kind: SectionKind,
    /// First byte in the file.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) len: u64,
    /// xxh3-64 of the bytes.
    pub(super) checksum: u64,
}

impl Section {
    /// What no two sections of a file share, and by which they are sorted.
    pub(super) const fn key(&self) -> (u16, SectionKind) {
        (self.group, self.kind)
    }
}

/// The file's last 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// Where the section table begins.
    pub(super) table_offset: u64,
    /// Entries in it.
    pub(super) section_count: u32,
    /// xxh3-64 of the table.
    pub(super) table_checksum: u64,
    /// Points.
    pub(super) points: u32,
    /// Bytes of the whole file.
    pub(super) file_bytes: u64,
    /// The format version of the file.
    pub(super) version: u32,
}

/// The file's first bytes.
#[must_use]
pub(super) fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// The section table of known, required sections.
#[must_use]
pub(super) fn encode_table(sections: &[Section]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sections.len() * ENTRY_BYTES);
    for section in sections {
        bytes.extend((section.kind as u32 | u32::from(section.group) << 16).to_le_bytes());
        bytes.extend(if section.kind.required() { REQUIRED } else { 0 }.to_le_bytes());
        bytes.extend(section.offset.to_le_bytes());
        bytes.extend(section.len.to_le_bytes());
        bytes.extend(section.checksum.to_le_bytes());
    }
    bytes
}

/// Flag of a section that a reader must understand.
const REQUIRED: u32 = 1;

/// A section's number in the table: its kind, and its group from the 16th bit on.
fn group_and_kind(number: u32, version: u32) -> Option<(u16, SectionKind)> {
    if version < GROUPS_VERSION {
        return SectionKind::from_number(number).map(|kind| (MAIN, kind));
    }
    let kind = SectionKind::from_number(number & 0xFFFF)?;
    u16::try_from(number >> 16).ok().map(|group| (group, kind))
}

/// Reads the table: the sections by group, then by kind. Unknown optional sections are skipped.
///
/// # Errors
/// [`Error::UnknownSection`] for an unknown required one, [`Error::Corrupt`] for one that leaves the file, is
/// not aligned, or occurs twice in a group.
pub(super) fn decode_table(bytes: &[u8], footer: &Footer) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for (i, entry) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
        let at = i * ENTRY_BYTES;
        let number = u32_at(entry, 0);
        let Some((group, kind)) = group_and_kind(number, footer.version) else {
            if u32_at(entry, 4) & REQUIRED != 0 {
                return Err(Error::UnknownSection { kind: number });
            }
            continue;
        };
        let section =
            Section { group, kind, offset: u64_at(entry, 8), len: u64_at(entry, 16), checksum: u64_at(entry, 24) };
        let end = section.offset.checked_add(section.len);
        if !section.offset.is_multiple_of(ALIGN)
            || section.offset < PREAMBLE_BYTES as u64
            || end.is_none_or(|end| end > footer.table_offset)
        {
            return Err(Error::corrupt("table", at, format!("section {} lies outside the file", kind.name())));
        }
        sections.push(section);
    }
    sections.sort_unstable_by_key(Section::key);
    match sections.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
        Some(pair) => Err(Error::corrupt("table", 0, format!("section {} occurs twice", pair[0].kind.name()))),
        None => Ok(sections),
    }
}

impl Footer {
    /// The footer's bytes.
    #[must_use]
    pub(super) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..8].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.section_count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.table_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.table_checksum.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.points.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.file_bytes.to_le_bytes());
        let checksum = xxh3_64(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a footer of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Version`] for another format, [`Error::Corrupt`] for anything that does not add up.
    pub(super) fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let corrupt = |at, why: &str| Err(Error::corrupt("footer", at, why));
        if bytes.len() != FOOTER_BYTES || bytes[..8] != FOOTER_MAGIC {
            return corrupt(0, "no Cairn segment, or cut off: the footer's magic is missing");
        }
        let version = u32_at(bytes, 8);
        if !(1..=VERSION).contains(&version) {
            return Err(Error::Version { found: version, supported: VERSION });
        }
        if xxh3_64(&bytes[..56]) != u64_at(bytes, 56) {
            return corrupt(56, "checksum mismatch");
        }
        let footer = Self {
            section_count: u32_at(bytes, 12),
            table_offset: u64_at(bytes, 16),
            table_checksum: u64_at(bytes, 24),
            points: u32_at(bytes, 32),
            file_bytes: u64_at(bytes, 40),
            version,
        };
        if footer.file_bytes != file_bytes {
            return corrupt(40, &format!("the file has {file_bytes} bytes, written were {}", footer.file_bytes));
        }
        if footer.section_count > SECTIONS_MAX {
            return corrupt(12, "too many sections");
        }
        if footer.points == 0 || footer.points == u32::MAX {
            return corrupt(32, "impossible number of points");
        }
        let table_bytes = u64::from(footer.section_count) * ENTRY_BYTES as u64;
        let end = footer.table_offset.checked_add(table_bytes).and_then(|end| end.checked_add(FOOTER_BYTES as u64));
        if end != Some(file_bytes) {
            return corrupt(16, "the section table does not end at the footer");
        }
        Ok(footer)
    }
}

/// Little-endian `u32` at `at`; 0 past the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// Little-endian `u64` at `at`; 0 past the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// Little-endian `f32` at `at`; 0 past the end.
pub(super) fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer {
            table_offset: 1_024,
            section_count: 2,
            table_checksum: 7,
            points: 3,
            file_bytes: 1_024 + 64 + 64,
            version: VERSION,
        }
    }

    #[test]
    fn footers_round_trip_and_every_flipped_bit_is_seen() {
        let bytes = footer().encode();
        assert_eq!(Footer::decode(&bytes, footer().file_bytes), Ok(footer()));
        for bit in 0..FOOTER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&bad, footer().file_bytes).is_err(), "bit {bit}");
        }
        assert!(Footer::decode(&bytes, 99).is_err());
    }

    #[test]
    fn sections_to_come_are_skipped_or_refused() {
        let known = Section { group: MAIN, kind: SectionKind::Ids, offset: 64, len: 100, checksum: 1 };
        let mut table = encode_table(&[known]);
        let mut unknown = encode_table(&[known]);
        unknown[0] = 200;
        unknown[4] = 0;
        table.extend(&unknown);
        assert_eq!(decode_table(&table, &footer()), Ok(vec![known]));
        let end = table.len() - ENTRY_BYTES;
        table[end + 4] = 1;
        assert_eq!(decode_table(&table, &footer()), Err(Error::UnknownSection { kind: 200 }));
    }

    #[test]
    fn sections_outside_the_file_are_refused() {
        for (offset, len) in [(0, 1), (65, 1), (64, 1_000), (u64::MAX - 63, 64), (1_024, 1)] {
            let table = encode_table(&[Section { group: MAIN, kind: SectionKind::Ids, offset, len, checksum: 0 }]);
            assert!(decode_table(&table, &footer()).is_err(), "{offset} {len}");
        }
    }
}
