//! One dense vector of an open segment: the rows that have it, and what searches them.
//!
//! Rows are numbered from 0 in the order of the vector's own clusters. Of the first vector they are the points; which points those of a further
//! one are is said by [`super::places`].

use std::{ops::Range, sync::OnceLock};

use cairn_model::{Datatype, VectorParams};

use super::{
    Calibration, ClustersView,
    calibration::{Filtered, Reading},
    file::File,
    head::{CodecKind, Head},
    layout::SectionKind,
    originals::{Exact, Originals, Records},
    ranking::Ranking,
    vectors::unit,
};
use crate::{
    Error, Result,
    codec::{Codec, HighRecords, Scratch},
    graph::{Links, VisitedPool},
    source::Region,
};

/// What opening made of the small sections of a dense vector's group.
pub(super) struct DenseParts {
    group: u16,
    /// Rows: the points that have the vector.
    rows: u32,
    head: Head,
    codec: Option<Codec>,
    calibration: Calibration,
    filtered: Filtered,
    reading: Reading,
    visited: VisitedPool,
    /// Made when it is first wanted.
    ranking: OnceLock<Option<Ranking>>,
}

impl DenseParts {
    /// Reads and checks what is small, and that sections of fixed record size have the right length.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Absent`] where a small section is not at hand.
    pub(super) fn open(file: &File, group: u16, rows: u32, head: Head) -> Result<Self> {
        let codec = head
            .codec
            .multiple()
            .map(|multiple| Codec::of_multiple(head.params.distance, head.centre.clone(), head.seed, multiple))
            .transpose()
            .map_err(|error| Error::corrupt("head", 6, error.to_string()))?;
        let parts = Self {
            group,
            rows,
            head,
            codec,
            calibration: measured(file.checked(group, SectionKind::Calibration)?, Calibration::decode)?,
            filtered: measured(file.checked(group, SectionKind::Filters)?, Filtered::decode)?,
            reading: measured(file.checked(group, SectionKind::Reading)?, Reading::decode)?,
            visited: VisitedPool::default(),
            ranking: OnceLock::new(),
        };
        let dense = parts.over(file);
        dense.check_lengths()?;
        match dense.links() {
            Ok(_) | Err(Error::Absent(_)) => {}
            Err(error) => return Err(error),
        }
        dense.clusters()?;
        Ok(parts)
    }

    /// The vector as it is read from `file`, from which it was opened, perhaps with its bytes elsewhere.
    pub(super) const fn over<'a>(&'a self, file: &'a File) -> Dense<'a> {
        Dense { file, parts: self }
    }

    pub(super) const fn group(&self) -> u16 {
        self.group
    }

    pub(super) fn name(&self) -> &str {
        &self.head.name
    }

    pub(super) const fn params(&self) -> VectorParams {
        self.head.params
    }

    pub(super) const fn visited(&self) -> &VisitedPool {
        &self.visited
    }
}

/// What was measured when the segment was built, if it was.
fn measured<T: Default>(bytes: Option<&[u8]>, decode: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
    bytes.map_or_else(|| Ok(T::default()), decode)
}

/// One dense vector with the bytes that it is read from.
#[derive(Clone, Copy)]
pub(super) struct Dense<'a> {
    file: &'a File,
    parts: &'a DenseParts,
}

impl<'a> Dense<'a> {
    pub(super) const fn rows(self) -> u32 {
        self.parts.rows
    }

    pub(super) fn name(self) -> &'a str {
        &self.parts.head.name
    }

    pub(super) const fn params(self) -> VectorParams {
        self.parts.head.params
    }

    pub(super) const fn codec_kind(self) -> CodecKind {
        self.parts.head.codec
    }

    pub(super) const fn codec(self) -> Option<&'a Codec> {
        self.parts.codec.as_ref()
    }

    pub(super) const fn calibration(self) -> &'a Calibration {
        &self.parts.calibration
    }

    pub(super) const fn filtered(self) -> &'a Filtered {
        &self.parts.filtered
    }

    pub(super) const fn reading(self) -> &'a Reading {
        &self.parts.reading
    }

    pub(super) const fn visited(self) -> &'a VisitedPool {
        &self.parts.visited
    }

    /// The clusters made ready for ranking, if they can be ranked.
    pub(super) fn ranking(self) -> Option<&'a Ranking> {
        let params = self.params();
        let new = || Ranking::new(&self.clusters().ok()?, params.distance, params.size as usize);
        self.parts.ranking.get_or_init(new).as_ref()
    }

    /// A section of the vector's group, at hand or not.
    pub(super) fn region(self, kind: SectionKind) -> Result<Region<'a>> {
        self.file.region(self.parts.group, kind)
    }

    fn bytes(self, kind: SectionKind) -> Result<&'a [u8]> {
        self.file.bytes(self.parts.group, kind)
    }

    pub(super) fn clusters(self) -> Result<ClustersView<'a>> {
        let (head, version) = (&self.parts.head, self.file.footer().version);
        let bytes = self.bytes(SectionKind::Clusters)?;
        ClustersView::open(bytes, version, head.clusters, head.params.size as usize, self.rows())
    }

    pub(super) fn links(self) -> Result<Links<'a>> {
        Links::open(self.bytes(SectionKind::Links)?, self.rows())
    }

    /// The links, which were checked when the segment was opened.
    pub(super) fn checked_links(self) -> Result<Links<'a>> {
        Links::view(self.bytes(SectionKind::Links)?)
    }

    /// Both code sections, by row.
    pub(super) fn records(self, codec: &Codec) -> Result<Records<'a>> {
        Ok(Records {
            high: HighRecords::new(self.bytes(SectionKind::CodesHigh)?, codec.high_bytes()),
            low: self.bytes(SectionKind::CodesLow)?,
            low_bytes: codec.low_bytes(),
        })
    }

    pub(super) fn originals(self) -> Result<Originals<'a>> {
        Ok(Originals::of_region(self.region(SectionKind::Vectors)?, self.params()))
    }

    /// Both code records of a row, at hand or not.
    pub(super) fn codes_of(self, codec: &Codec, row: u32) -> Result<[Region<'a>; 2]> {
        let part =
            |kind: SectionKind, bytes: usize| self.region(kind)?.part(u64::from(row) * bytes as u64, bytes as u64);
        Ok([part(SectionKind::CodesHigh, codec.high_bytes())?, part(SectionKind::CodesLow, codec.low_bytes())?])
    }

    /// The original of a row, at hand or not.
    pub(super) fn original_of(self, row: u32) -> Result<Region<'a>> {
        let bytes = row_bytes(self.params()) as u64;
        self.region(SectionKind::Vectors)?.part(u64::from(row) * bytes, bytes)
    }

    /// The stored vector of a row, widened to f32; where no originals are kept, the vector that its code stands for.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Absent`], which names all that is needed.
    pub(super) fn vector(self, row: u32) -> Result<Vec<f32>> {
        let Some(codec) = self.codec().filter(|_| !self.params().originals) else {
            return self.originals()?.vector(row);
        };
        if row >= self.rows() {
            return Err(Error::corrupt("codes_high", row as usize, "row past the end"));
        }
        let codes = self.codes_of(codec, row)?;
        let missing: Vec<Range<u64>> =
            codes.iter().filter(|part| !part.is_at_hand()).map(|part| part.file_range()).collect();
        if !missing.is_empty() {
            return Err(Error::Absent(missing));
        }
        let mut scratch = Scratch::default();
        let decoded = codec.decode(codes[0].all()?, codes[1].all()?, &mut scratch);
        // What was stored was of length 1, and so is what is given back.
        Ok(unit(decoded, self.params().distance).unwrap_or_else(|| decoded.to_vec()))
    }

    /// The best distances there are from a checked query, given as it came and normalised. Bytes are compared with bytes, so a uint8 query stays as it
    /// came: its cosine does not need a unit vector.
    pub(super) fn exact<'b>(self, query: &'b [f32], unit: &'b [f32]) -> Result<Exact<'b>>
    where
        'a: 'b,
    {
        match self.codec() {
            Some(codec) if !self.params().originals => Ok(Exact::Codes(codec.query(unit), self.records(codec)?)),
            _ => {
                let bytes = self.params().datatype == Datatype::Uint8;
                Ok(Exact::originals(self.originals()?, if bytes { query } else { unit }))
            }
        }
    }

    fn check_lengths(self) -> Result<()> {
        let mut sizes = Vec::new();
        if self.params().originals {
            sizes.push((SectionKind::Vectors, row_bytes(self.params())));
        }
        if let Some(codec) = self.codec() {
            sizes.push((SectionKind::CodesHigh, codec.high_bytes()));
            sizes.push((SectionKind::CodesLow, codec.low_bytes()));
        }
        for (kind, record_bytes) in sizes {
            let len = self.region(kind)?.len();
            if len != u64::from(self.rows()) * record_bytes as u64 {
                let why = format!("{len} bytes for {} records of {record_bytes}", self.rows());
                return Err(Error::corrupt(kind.name(), 0, why));
            }
        }
        Ok(())
    }

    /// Checks the references inside the group, whose checksums were checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`].
    pub(super) fn verify(self) -> Result<()> {
        self.clusters()?.verify()?;
        self.links()?.verify()
    }
}

/// Bytes that one original takes.
const fn row_bytes(params: VectorParams) -> usize {
    params.size as usize * params.datatype.bytes()
}
