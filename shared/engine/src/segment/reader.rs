//! An open segment.

use std::{borrow::Cow, sync::Arc};

use cairn_model::{CollectionSchema, Edition, Filter, PointId, VectorParams};
use roaring::RoaringBitmap;

use super::{
    Calibration, ClustersView, Source,
    dense::{Dense, DenseParts},
    file::File,
    groups::{Groups, Held},
    head::CodecKind,
    layout::{MAIN, SectionKind},
    live::Live,
};
use crate::{
    Error, Result, Watch,
    graph::VisitedPool,
    payload::{
        self, View,
        fields::Fields,
        ids::Ids,
        ordinal_ids::{self, OrdinalIds},
        rows::Rows,
    },
    source::Region,
};

/// An open segment: its file, and what opening made of the heads of its vectors, which clones share. Reads take no locks.
#[derive(Clone)]
pub struct Segment {
    pub(super) file: File,
    pub(super) groups: Arc<Groups>,
    /// `None` where all points count.
    pub(super) live: Option<Arc<Live>>,
    /// The names of vectors that are not shown.
    hidden: Arc<[String]>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vectors: Vec<&str> = self.groups.dense_parts().map(DenseParts::name).collect();
        f.debug_struct("Segment").field("footer", self.file.footer()).field("vectors", &vectors).finish_non_exhaustive()
    }
}

impl Segment {
    /// Bytes of the memory that its searches use again and again and that none uses at this moment.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        self.pools().map(VisitedPool::idle_bytes).sum()
    }

    /// Gives that memory back: how many bytes that was. The next searches take it anew.
    pub fn shrink(&self) -> usize {
        self.pools().map(VisitedPool::shrink).sum()
    }

    fn pools(&self) -> impl Iterator<Item = &VisitedPool> {
        self.groups.dense_parts().map(DenseParts::visited)
    }

    /// Opens a segment. Reads the footer, the section table and the heads of its vectors, whose sizes do not grow with the number
    /// of points, and validates what later code trusts: checksums of these three, that every section lies in the
    /// file, and that sections of fixed record size have the right length.
    ///
    /// The source need not have more than that: see [`Segment::head`]. Whatever else is needed and not at hand is
    /// [`Error::Absent`], from opening on; then [`Segment::over`] a source that has it goes on.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Version`], [`Error::UnknownSection`], [`Error::Absent`].
    pub fn open(source: Arc<dyn Source>) -> Result<Self> {
        let file = File::open(source)?;
        let groups = Groups::open(&file)?;
        let segment = Self { file, groups: Arc::new(groups), live: None, hidden: Arc::default() };
        let at_hand = |checked: Result<()>| match checked {
            Err(Error::Absent(_)) => Ok(()),
            checked => checked,
        };
        at_hand(segment.ids().map(drop))?;
        at_hand(segment.ordinal_ids().map(drop))?;
        at_hand(segment.rows().map(drop))?;
        at_hand(segment.fields().map(drop))?;
        Ok(segment)
    }

    /// The same segment with its bytes elsewhere: nothing is read or checked again.
    #[must_use]
    pub fn over(&self, source: Arc<dyn Source>) -> Self {
        Self { file: self.file.over(source), ..self.clone() }
    }

    /// The same segment, which is of this edition of the schema, with those of its vectors that the schema shows: reads by name, searches and filters find
    /// no others.
    #[must_use]
    pub fn showing(&self, schema: &CollectionSchema, edition: Edition) -> Self {
        let hidden = self.groups.names().filter(|name| !schema.shows(name, edition)).map(ToOwned::to_owned);
        Self { hidden: hidden.collect(), ..self.clone() }
    }

    /// Whether a vector of this name would be shown, if there is one.
    #[must_use]
    pub fn shows(&self, name: &str) -> bool {
        self.hidden.iter().all(|hidden| hidden != name)
    }

    /// A dense vector by name; `None` where no point of the segment has such a vector, or it is not shown.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector that is not searched, [`Error::Corrupt`].
    pub(super) fn held(&self, name: &str) -> Result<Option<Held<'_>>> {
        if self.shows(name) { self.groups.dense(&self.file, name) } else { Ok(None) }
    }

    /// Checks every section's checksum and every reference between sections; reads the whole file.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming the section.
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        for held in self.groups.held(&self.file) {
            let Held { dense, further } = held?;
            dense.verify()?;
            further.map_or(Ok(()), |further| further.places.verify())?;
        }
        self.groups.values(&self.file).try_for_each(|values| values?.1.verify())?;
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
        self.file.points()
    }

    /// Whether there are none; never, for a segment that opened.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.file.points() == 0
    }

    /// The format version of the file.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.file.footer().version
    }

    /// Bytes of the whole file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.file.footer().file_bytes
    }

    /// Where the section table begins; the footer follows it.
    pub(super) const fn table_offset(&self) -> u64 {
        self.file.footer().table_offset
    }

    /// The dense vectors that points of the segment have: their names, and their parameters as at build time. The first one, if there is one, is
    /// that of [`Segment::params`].
    pub fn dense(&self) -> impl Iterator<Item = (&str, VectorParams)> {
        self.groups.dense_parts().map(|parts| (parts.name(), parts.params()))
    }

    /// The first vector: that which orders the points, because each of them has it.
    pub(super) fn first(&self) -> Option<Dense<'_>> {
        self.groups.first().map(|parts| parts.over(&self.file))
    }

    /// The first vector, for what asks for it by row.
    pub(super) fn must_first(&self) -> Result<Dense<'_>> {
        self.first().ok_or_else(|| Error::invalid("vector", "the segment has none that all points have"))
    }

    /// The first vector's parameters; `None` where no dense vector is had by all points.
    #[must_use]
    pub fn params(&self) -> Option<VectorParams> {
        self.first().map(Dense::params)
    }

    /// The first vector's name, which may be empty; `None` where no dense vector is had by all points.
    #[must_use]
    pub fn vector_name(&self) -> Option<&str> {
        self.first().map(Dense::name)
    }

    /// How the first vector is scored while searching; `None` where no dense vector is had by all points.
    #[must_use]
    pub fn codec_kind(&self) -> Option<CodecKind> {
        self.first().map(Dense::codec_kind)
    }

    /// Which recall which width of search of the first vector gives, as measured when the segment was built; `None` where no dense vector is had
    /// by all points.
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibration> {
        self.first().map(Dense::calibration)
    }

    /// The clusters of the first vector.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Invalid`] where no dense vector is had by all points.
    pub fn clusters(&self) -> Result<ClustersView<'_>> {
        self.must_first()?.clusters()
    }

    /// How the segment, which is of this edition of it, contradicts a collection's schema, if it does. Points may lack any vector of the schema, so it may have
    /// more than the segment; and the segment those that the schema does not show.
    #[must_use]
    pub fn contradicts(&self, schema: &CollectionSchema, edition: Edition) -> Option<String> {
        self.groups.contradict(schema, edition)
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
        match self.file.find(MAIN, SectionKind::OrdinalIds) {
            Some(_) => OrdinalIds::open(self.region(SectionKind::OrdinalIds)?, self.len()).map(Some),
            None => Ok(None),
        }
    }

    /// The payload of a row: JSON text of an object, `{}` when it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn payload(&self, ordinal: u32) -> Result<String> {
        self.rows()?.get(ordinal)
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
            vectors: self,
            ids: self.ids()?,
            fields: self.fields()?,
            rows: self.rows()?,
            dead: self.dead().map(|dead| &**dead),
        })
    }

    pub(super) fn fields(&self) -> Result<Fields<'_>> {
        Fields::open(self.region(SectionKind::Fields)?, self.len())
    }

    pub(super) fn ids(&self) -> Result<Ids<'_>> {
        Ids::open(self.region(SectionKind::Ids)?, self.len())
    }

    pub(super) fn rows(&self) -> Result<Rows<'_>> {
        Rows::open(self.region(SectionKind::Rows)?, self.len())
    }

    /// A section of the points, at hand or not.
    pub(super) fn region(&self, kind: SectionKind) -> Result<Region<'_>> {
        self.file.region(MAIN, kind)
    }
}
