//! An open segment.

use std::sync::{Arc, OnceLock};

use cairn_model::{Filter, PointId, VectorParams};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Calibration, ClustersView, Source,
    builder::vector_bytes,
    head::{CodecKind, Head},
    layout::{ENTRY_BYTES, FOOTER_BYTES, Footer, MAGIC, Section, SectionKind, decode_table},
    ranking::Ranking,
    vectors::{Originals, Records, unit},
};
use crate::{
    Error, Result, Watch,
    codec::{Codec, HighRecords, Scratch},
    graph::{Links, VisitedPool},
    payload::{self, View, fields::Fields, ids::Ids, rows::Rows},
};

/// An open segment. Share it behind an `Arc`; reads take no locks.
pub struct Segment {
    source: Arc<dyn Source>,
    footer: Footer,
    sections: Vec<Section>,
    pub(super) head: Head,
    pub(super) codec: Option<Codec>,
    calibration: Calibration,
    pub(super) visited: VisitedPool,
    /// Made when it is first wanted.
    ranking: OnceLock<Option<Ranking>>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("footer", &self.footer).field("head", &self.head.params).finish_non_exhaustive()
    }
}

impl Segment {
    /// Opens a segment. Reads the footer, the section table and the head, whose sizes do not grow with the number
    /// of points, and validates what later code trusts: checksums of these three, that every section lies in the
    /// file, and that sections of fixed record size have the right length.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Version`], [`Error::UnknownSection`].
    pub fn open(source: Arc<dyn Source>) -> Result<Self> {
        let file_bytes = source.len();
        let cut_off = |at: u64| Error::corrupt("file", usize::try_from(at).unwrap_or(usize::MAX), "cut off");
        let footer_offset = file_bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| cut_off(file_bytes))?;
        let footer = source.bytes(footer_offset, FOOTER_BYTES as u64).ok_or_else(|| cut_off(footer_offset))?;
        let footer = Footer::decode(footer, file_bytes)?;
        let table = source
            .bytes(footer.table_offset, u64::from(footer.section_count) * ENTRY_BYTES as u64)
            .ok_or_else(|| cut_off(footer.table_offset))?;
        if xxh3_64(table) != footer.table_checksum {
            return Err(Error::corrupt("table", 0, "checksum mismatch"));
        }
        let sections = decode_table(table, &footer)?;
        let head = find(&sections, SectionKind::Head)?;
        let head_bytes = source.bytes(head.offset, head.len).ok_or_else(|| cut_off(head.offset))?;
        if xxh3_64(head_bytes) != head.checksum {
            return Err(Error::corrupt("head", 0, "checksum mismatch"));
        }
        let head = Head::decode(head_bytes)?;
        let codec = head
            .codec
            .multiple()
            .map(|multiple| Codec::of_multiple(head.params.distance, head.centre.clone(), head.seed, multiple))
            .transpose()
            .map_err(|error| Error::corrupt("head", 6, error.to_string()))?;
        let mut segment = Self {
            source,
            footer,
            sections,
            head,
            codec,
            calibration: Calibration::default(),
            visited: VisitedPool::default(),
            ranking: OnceLock::new(),
        };
        segment.check_lengths()?;
        segment.calibration = segment.read_calibration()?;
        segment.links()?;
        segment.ids()?;
        segment.rows()?;
        segment.fields()?;
        segment.clusters()?;
        Ok(segment)
    }

    fn read_calibration(&self) -> Result<Calibration> {
        let Some(section) = self.sections.iter().find(|section| section.kind == SectionKind::Calibration) else {
            return Ok(Calibration::default());
        };
        let bytes = self.bytes(SectionKind::Calibration)?;
        if xxh3_64(bytes) != section.checksum {
            return Err(Error::corrupt("calibration", 0, "checksum mismatch"));
        }
        Calibration::decode(bytes)
    }

    /// Which recall which width of search gives, as measured when the segment was built.
    #[must_use]
    pub const fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    fn check_lengths(&self) -> Result<()> {
        let mut sizes = Vec::new();
        if self.head.params.originals {
            sizes.push((SectionKind::Vectors, vector_bytes(self.head.params)));
        }
        if let Some(codec) = &self.codec {
            sizes.push((SectionKind::CodesHigh, codec.high_bytes()));
            sizes.push((SectionKind::CodesLow, codec.low_bytes()));
        }
        for (kind, record_bytes) in sizes {
            let section = find(&self.sections, kind)?;
            if section.len != u64::from(self.footer.points) * record_bytes as u64 {
                let why = format!("{} bytes for {} records of {record_bytes}", section.len, self.footer.points);
                return Err(Error::corrupt(kind.name(), 0, why));
            }
        }
        Ok(())
    }

    /// Checks every section's checksum and every reference between sections; reads the whole file.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming the section.
    pub fn verify(&self) -> Result<()> {
        let preamble = self.source.bytes(0, MAGIC.as_slice().len() as u64);
        if preamble != Some(&MAGIC) {
            return Err(Error::corrupt("file", 0, "the magic is missing"));
        }
        for section in &self.sections {
            if xxh3_64(self.bytes(section.kind)?) != section.checksum {
                return Err(Error::corrupt(section.kind.name(), 0, "checksum mismatch"));
            }
        }
        self.clusters()?.verify()?;
        self.links()?.verify()?;
        self.ids()?.verify()?;
        self.rows()?.verify()?;
        self.fields()?.verify()
    }

    /// Points.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.footer.points
    }

    /// Whether there are none; never, for a segment that opened.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.footer.points == 0
    }

    /// The format version of the file.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.footer.version
    }

    /// Bytes of the whole file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.footer.file_bytes
    }

    /// The vector's parameters, as at build time.
    #[must_use]
    pub const fn params(&self) -> VectorParams {
        self.head.params
    }

    /// The vector's name; may be empty.
    #[must_use]
    pub fn vector_name(&self) -> &str {
        &self.head.name
    }

    /// How vectors are scored while searching.
    #[must_use]
    pub const fn codec_kind(&self) -> CodecKind {
        self.head.codec
    }

    /// The id of a row.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for an ordinal past the end.
    pub fn id(&self, ordinal: u32) -> Result<PointId> {
        self.ids()?.id(ordinal)
    }

    /// The row of an id.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn ordinal(&self, id: PointId) -> Result<Option<u32>> {
        self.ids()?.ordinal(id)
    }

    /// The payload of a row: JSON text of an object, `{}` when it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn payload(&self, ordinal: u32) -> Result<String> {
        self.rows()?.get(ordinal)
    }

    /// The stored vector of a row, widened to f32; where no originals are kept, the vector that its code stands for.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn vector(&self, ordinal: u32) -> Result<Vec<f32>> {
        match (&self.codec, self.head.params.originals) {
            (Some(codec), false) => {
                let records = self.records(codec)?;
                let (high, low) = (records.high.get(ordinal), records.low(ordinal));
                if high.is_empty() || low.is_empty() {
                    return Err(Error::corrupt("codes_high", ordinal as usize, "row past the end"));
                }
                let mut scratch = Scratch::default();
                let decoded = codec.decode(high, low, &mut scratch);
                // What was stored was of length 1, and so is what is given back.
                Ok(unit(decoded, self.head.params.distance).unwrap_or_else(|| decoded.to_vec()))
            }
            _ => self.originals()?.vector(ordinal),
        }
    }

    /// Both code sections, by ordinal.
    pub(super) fn records(&self, codec: &Codec) -> Result<Records<'_>> {
        Ok(Records {
            high: HighRecords::new(self.bytes(SectionKind::CodesHigh)?, codec.high_bytes()),
            low: self.bytes(SectionKind::CodesLow)?,
            low_bytes: codec.low_bytes(),
        })
    }

    /// How many points match, exactly.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Cancelled`].
    pub fn count(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<u64> {
        Ok(self.allowed(filter, watch)?.map_or(u64::from(self.len()), |allowed| allowed.len()))
    }

    /// The first `limit` matching points in id order, with ids at or above `from`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Cancelled`].
    pub fn scroll(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<(PointId, u32)>> {
        let allowed = self.allowed(filter, watch)?;
        let mut page = Vec::new();
        for (i, entry) in self.ids()?.from(from).enumerate() {
            if page.len() >= limit {
                break;
            }
            if i % 4_096 == 0 && watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let (id, ordinal) = entry?;
            if allowed.as_ref().is_none_or(|allowed| allowed.contains(ordinal)) {
                page.push((id, ordinal));
            }
        }
        Ok(page)
    }

    /// The ordinals that match; `None` when all do because there is nothing to match.
    pub(super) fn allowed(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<Option<RoaringBitmap>> {
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return Ok(None) };
        let view = View { points: self.len(), ids: self.ids()?, fields: self.fields()?, rows: self.rows()? };
        payload::allowed(filter, &view, watch).map(Some)
    }

    /// The cluster section.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn clusters(&self) -> Result<ClustersView<'_>> {
        let dim = self.head.params.size as usize;
        ClustersView::open(self.bytes(SectionKind::Clusters)?, self.head.clusters, dim, self.len())
    }

    /// The clusters made ready for ranking, if they can be ranked.
    pub(super) fn ranking(&self) -> Option<&Ranking> {
        let new = || Ranking::new(&self.clusters().ok()?, self.head.params.distance, self.head.params.size as usize);
        self.ranking.get_or_init(new).as_ref()
    }

    pub(super) fn links(&self) -> Result<Links<'_>> {
        Links::open(self.bytes(SectionKind::Links)?, self.len())
    }

    /// The links, which were checked when the segment was opened.
    pub(super) fn checked_links(&self) -> Result<Links<'_>> {
        Links::view(self.bytes(SectionKind::Links)?)
    }

    pub(super) fn fields(&self) -> Result<Fields<'_>> {
        Fields::open(self.bytes(SectionKind::Fields)?, self.len())
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(super) fn originals(&self) -> Result<Originals<'_>> {
        Ok(Originals::new(self.bytes(SectionKind::Vectors)?, self.head.params))
    }

    fn ids(&self) -> Result<Ids<'_>> {
        Ids::open(self.bytes(SectionKind::Ids)?, self.len())
    }

    fn rows(&self) -> Result<Rows<'_>> {
        Rows::open(self.bytes(SectionKind::Rows)?, self.len())
    }

    /// A section's bytes.
    pub(super) fn bytes(&self, kind: SectionKind) -> Result<&[u8]> {
        let section = find(&self.sections, kind)?;
        self.source
            .bytes(section.offset, section.len)
            .ok_or_else(|| Error::corrupt(kind.name(), 0, "the section's bytes are not at hand"))
    }
}

fn find(sections: &[Section], kind: SectionKind) -> Result<Section> {
    let missing = || Error::corrupt("table", 0, format!("section {} is missing", kind.name()));
    sections.iter().find(|section| section.kind == kind).copied().ok_or_else(missing)
}
