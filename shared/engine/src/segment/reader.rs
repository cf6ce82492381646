//! An open segment.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use cairn_model::{CollectionSchema, Filter, PointId, Vector, VectorParams, Vectors};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Calibration, ClustersView, Source,
    builder::vector_bytes,
    calibration::{Filtered, Reading},
    head::{CodecKind, Head},
    layout::{ENTRY_BYTES, FOOTER_BYTES, Footer, MAGIC, Section, SectionKind, decode_table},
    live::Live,
    originals::{Originals, Records},
    ranking::Ranking,
    vectors::unit,
};
use crate::{
    Error, Result, Watch,
    codec::{Codec, HighRecords, Scratch},
    graph::{Links, VisitedPool},
    payload::{
        self, View,
        fields::Fields,
        ids::Ids,
        ordinal_ids::{self, OrdinalIds},
        rows::Rows,
    },
    source::Region,
};

/// An open segment: its source, and what opening made of its head, which clones share. Reads take no locks.
#[derive(Clone)]
pub struct Segment {
    source: Arc<dyn Source>,
    footer: Footer,
    sections: Arc<[Section]>,
    pub(super) head: Arc<Head>,
    pub(super) codec: Option<Arc<Codec>>,
    calibration: Arc<Calibration>,
    pub(super) filtered: Arc<Filtered>,
    reading: Arc<Reading>,
    pub(super) visited: Arc<VisitedPool>,
    /// Made when it is first wanted.
    ranking: Arc<OnceLock<Option<Ranking>>>,
    /// `None` where all points count.
    pub(super) live: Option<Arc<Live>>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("footer", &self.footer).field("head", &self.head.params).finish_non_exhaustive()
    }
}

impl Segment {
    /// Bytes of the memory that its searches use again and again and that none uses at this moment.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        self.visited.idle_bytes()
    }

    /// Gives that memory back: how many bytes that was. The next searches take it anew.
    pub fn shrink(&self) -> usize {
        self.visited.shrink()
    }

    /// Opens a segment. Reads the footer, the section table and the head, whose sizes do not grow with the number
    /// of points, and validates what later code trusts: checksums of these three, that every section lies in the
    /// file, and that sections of fixed record size have the right length.
    ///
    /// The source need not have more than that: see [`Segment::head`]. Whatever else is needed and not at hand is
    /// [`Error::Absent`], from opening on; then [`Segment::over`] a source that has it goes on.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Version`], [`Error::UnknownSection`], [`Error::Absent`].
    pub fn open(source: Arc<dyn Source>) -> Result<Self> {
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
        let head = find(&sections, SectionKind::Head)?;
        let head_bytes = file.bytes(head.offset, head.len)?;
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
            sections: sections.into(),
            head: Arc::new(head),
            codec: codec.map(Arc::new),
            calibration: Arc::default(),
            filtered: Arc::default(),
            reading: Arc::default(),
            visited: Arc::default(),
            ranking: Arc::default(),
            live: None,
        };
        segment.check_lengths()?;
        segment.calibration = Arc::new(segment.read_measured(SectionKind::Calibration, Calibration::decode)?);
        segment.filtered = Arc::new(segment.read_measured(SectionKind::Filters, Filtered::decode)?);
        segment.reading = Arc::new(segment.read_measured(SectionKind::Reading, Reading::decode)?);
        let at_hand = |checked: Result<()>| match checked {
            Err(Error::Absent(_)) => Ok(()),
            checked => checked,
        };
        at_hand(segment.links().map(drop))?;
        at_hand(segment.ids().map(drop))?;
        at_hand(segment.ordinal_ids().map(drop))?;
        at_hand(segment.rows().map(drop))?;
        at_hand(segment.fields().map(drop))?;
        segment.clusters()?;
        Ok(segment)
    }

    /// The same segment with its bytes elsewhere: nothing is read or checked again.
    #[must_use]
    pub fn over(&self, source: Arc<dyn Source>) -> Self {
        Self { source, ..self.clone() }
    }

    /// What was measured when the segment was built, if it was.
    fn read_measured<T: Default>(&self, kind: SectionKind, decode: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        let Some(section) = self.sections.iter().find(|section| section.kind == kind) else {
            return Ok(T::default());
        };
        let bytes = self.bytes(kind)?;
        if xxh3_64(bytes) != section.checksum {
            return Err(Error::corrupt(kind.name(), 0, "checksum mismatch"));
        }
        decode(bytes)
    }

    /// Which recall which width of search gives, as measured when the segment was built.
    #[must_use]
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Which clusters a search by ranges has to read for which recall, as measured when the segment was built.
    pub(super) fn reading(&self) -> &Reading {
        &self.reading
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
        for section in &*self.sections {
            if xxh3_64(self.bytes(section.kind)?) != section.checksum {
                return Err(Error::corrupt(section.kind.name(), 0, "checksum mismatch"));
            }
        }
        self.clusters()?.verify()?;
        self.links()?.verify()?;
        self.ids()?.verify()?;
        if let Some(ids) = self.ordinal_ids()? {
            let other = self.ids()?;
            for ordinal in 0..self.len() {
                if ids.id(ordinal)? != other.id(ordinal)? {
                    let at = ids.needed(ordinal)?.file_range().start;
                    return Err(Error::corrupt(
                        ordinal_ids::SECTION,
                        usize::try_from(at).unwrap_or(usize::MAX),
                        "another id",
                    ));
                }
            }
        }
        self.rows()?.verify()?;
        self.fields()?.verify()
    }

    /// Points, dead ones as well.
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

    /// Where the section table begins; the footer follows it.
    pub(super) const fn table_offset(&self) -> u64 {
        self.footer.table_offset
    }

    /// The vector's parameters, as at build time.
    #[must_use]
    pub fn params(&self) -> VectorParams {
        self.head.params
    }

    /// The vector's name; may be empty.
    #[must_use]
    pub fn vector_name(&self) -> &str {
        &self.head.name
    }

    /// How vectors are scored while searching.
    #[must_use]
    pub fn codec_kind(&self) -> CodecKind {
        self.head.codec
    }

    /// The id of a row.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for an ordinal past the end.
    pub fn id(&self, ordinal: u32) -> Result<PointId> {
        match self.ordinal_ids()? {
            Some(ids) if ordinal < self.len() => ids.id(ordinal),
            _ => self.ids()?.id(ordinal),
        }
    }

    /// The bytes that tell a row's id.
    pub(super) fn id_region(&self, ordinal: u32) -> Result<Region<'_>> {
        match self.ordinal_ids()? {
            Some(ids) => ids.needed(ordinal),
            None => self.ids()?.needed(ordinal),
        }
    }

    fn ordinal_ids(&self) -> Result<Option<OrdinalIds<'_>>> {
        let Some(section) = self.sections.iter().find(|section| section.kind == SectionKind::OrdinalIds) else {
            return Ok(None);
        };
        let region = Region::new(&*self.source, section.kind.name(), section.offset, section.len);
        OrdinalIds::open(region, self.len()).map(Some)
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

    /// Those of a row's vectors whose names are wanted, as stored, widened to f32.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub fn vectors(&self, ordinal: u32, wanted: &dyn Fn(&str) -> bool) -> Result<Vectors> {
        let name = self.vector_name();
        if !wanted(name) {
            return Ok(Vectors::new());
        }
        Ok(Vectors::from([(name.to_owned(), Vector::Dense(self.vector(ordinal)?))]))
    }

    /// How the segment contradicts a collection's schema, if it does.
    #[must_use]
    pub fn contradicts(&self, schema: &CollectionSchema) -> Option<String> {
        let found = self.params();
        match schema.vectors.get(self.vector_name()) {
            Some(wanted) if (wanted.size, wanted.distance) == (found.size, found.distance) => None,
            wanted => Some(format!("vectors are {found:?}, the collection's are {wanted:?}")),
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

    /// How many points match and count, exactly.
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

    /// The ordinals that match and count; `None` when all do because there is nothing to match and none is dead.
    pub(super) fn allowed(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<Option<Cow<'_, RoaringBitmap>>> {
        match filter.filter(|filter| !filter.is_empty()) {
            Some(filter) => Ok(Some(Cow::Owned(payload::allowed(filter, &self.view()?, watch)?))),
            None => Ok(self.living().map(|living| Cow::Borrowed(living.set()))),
        }
    }

    /// What filters are asked of.
    pub(super) fn view(&self) -> Result<View<'_>> {
        Ok(View {
            points: self.len(),
            vector: self.vector_name(),
            ids: self.ids()?,
            fields: self.fields()?,
            rows: self.rows()?,
            dead: self.dead().map(|dead| &**dead),
        })
    }

    /// The cluster section.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn clusters(&self) -> Result<ClustersView<'_>> {
        let dim = self.head.params.size as usize;
        ClustersView::open(self.bytes(SectionKind::Clusters)?, self.version(), self.head.clusters, dim, self.len())
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
        Fields::open(self.region(SectionKind::Fields)?, self.len())
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(super) fn originals(&self) -> Result<Originals<'_>> {
        Ok(Originals::of_region(self.region(SectionKind::Vectors)?, self.head.params))
    }

    pub(super) fn ids(&self) -> Result<Ids<'_>> {
        Ids::open(self.region(SectionKind::Ids)?, self.len())
    }

    pub(super) fn rows(&self) -> Result<Rows<'_>> {
        Rows::open(self.region(SectionKind::Rows)?, self.len())
    }

    /// A section's bytes.
    pub(super) fn bytes(&self, kind: SectionKind) -> Result<&[u8]> {
        self.region(kind)?.all()
    }

    /// A section, at hand or not.
    pub(super) fn region(&self, kind: SectionKind) -> Result<Region<'_>> {
        let section = find(&self.sections, kind)?;
        Ok(Region::new(&*self.source, kind.name(), section.offset, section.len))
    }
}

fn find(sections: &[Section], kind: SectionKind) -> Result<Section> {
    let missing = || Error::corrupt("table", 0, format!("section {} is missing", kind.name()));
    sections.iter().find(|section| section.kind == kind).copied().ok_or_else(missing)
}
