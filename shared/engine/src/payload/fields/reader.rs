//! Reads the field indexes.

use std::cell::OnceCell;

use cairn_model::Path;
use roaring::RoaringBitmap;
use serde_json::json;

use super::{
    ENTRY_BYTES, FIELDS_MAX, Fit, HEADER_BYTES, INCOMPLETE, PARTS, SECTION,
    column::Column,
    field_for,
    keyword::Keywords,
    posting::{Areas, Slot},
};
use crate::{
    Result,
    payload::bytes::{Bytes, Cursor},
    source::Region,
};

/// The section's reader.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    region: Region<'a>,
    /// Header and directory.
    bytes: Bytes<'a>,
    points: u32,
    fields: u32,
    complete: bool,
    clusters: u32,
}

/// What the indexes know about a path.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// Everything.
    Field(Box<Field<'a>>),
    /// That no point has a value there.
    Absent,
    /// That all values there are among this field's values, or, if `entered`, inside arrays among them.
    Within {
        /// The field.
        field: Box<Field<'a>>,
        /// Whether the path enters arrays at its end.
        entered: bool,
    },
    /// That all values there are somewhere inside this field's values.
    Below(Box<Field<'a>>),
    /// Nothing.
    Unknown,
}

impl<'a> Fields<'a> {
    /// Opens the section of a segment of `points` points, in constant time. Reads the directory.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub(crate) fn open(region: Region<'a>, points: u32) -> Result<Self> {
        let bytes = Bytes::new(SECTION, region.bytes(0, HEADER_BYTES as u64)?);
        let (fields, flags, clusters) = (bytes.u32(0)?, bytes.u32(4)?, bytes.u32(8)?);
        if fields as usize > FIELDS_MAX {
            return Err(bytes.corrupt(0, format!("{fields} fields, at most {FIELDS_MAX} are allowed")));
        }
        if flags & !INCOMPLETE != 0 {
            return Err(bytes.corrupt(4, format!("unknown flags {flags:#x}")));
        }
        let directory_end = HEADER_BYTES as u64 + u64::from(fields) * ENTRY_BYTES as u64;
        let bytes = Bytes::new(SECTION, region.bytes(0, directory_end)?);
        Ok(Self { region, bytes, points, fields, complete: flags & INCOMPLETE == 0, clusters })
    }

    /// How much of the section's start has the directory and all names.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn head_bytes(&self) -> Result<u64> {
        let end = |at: u32| {
            let entry = HEADER_BYTES + at as usize * ENTRY_BYTES;
            Ok(self.bytes.u64(entry)?.saturating_add(u64::from(self.bytes.u32(entry + 8)?)))
        };
        let names = (0..self.fields).map(end).try_fold(0, |most, end: Result<u64>| Ok(most.max(end?)))?;
        Ok(names.max(self.bytes.len() as u64).min(self.region.len()))
    }

    /// The field that [`Fields::lookup`] reads for `path`, if there is one.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub(crate) fn needed(&self, path: &Path) -> Result<Option<Region<'a>>> {
        let Some((path, _)) = field_for(path) else { return Ok(None) };
        self.find(&path.to_string())?.map(|at| self.region_of(at)).transpose()
    }

    /// Where each field is, by name.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub(crate) fn places(&self) -> Result<Vec<(&'a str, Region<'a>)>> {
        (0..self.fields).map(|at| Ok((self.name(at)?, self.region_of(at)?))).collect()
    }

    /// The fields' paths, sorted by their bytes.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn names(&self) -> Result<Vec<&'a str>> {
        (0..self.fields).map(|at| self.name(at)).collect()
    }

    /// Whether every path at which some point has a value is a field, those apart that no field can have.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is known about `path`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn lookup(&self, path: &Path) -> Result<Lookup<'a>> {
        let Some((path, fit)) = field_for(path) else { return Ok(Lookup::Unknown) };
        Ok(match (self.field(&path.to_string())?.map(Box::new), fit) {
            (Some(field), Fit::Same) => Lookup::Field(field),
            (Some(field), Fit::Within { entered }) => Lookup::Within { field, entered },
            (Some(field), Fit::Below) => Lookup::Below(field),
            (None, _) if self.complete => Lookup::Absent,
            (None, _) => Lookup::Unknown,
        })
    }

    /// The field of this name, as [`Fields::names`] gives it.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    pub fn field(&self, name: &str) -> Result<Option<Field<'a>>> {
        self.find(name)?.map(|at| self.at(at)).transpose()
    }

    fn find(&self, name: &str) -> Result<Option<u32>> {
        let (mut start, mut end) = (0, self.fields);
        while start < end {
            let middle = start + (end - start) / 2;
            match self.name(middle)?.cmp(name) {
                std::cmp::Ordering::Less => start = middle + 1,
                std::cmp::Ordering::Greater => end = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    /// Decodes everything and checks order and bounds.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn verify(&self) -> Result<()> {
        let names = self.names()?;
        if let Some(pair) = names.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(self.bytes.corrupt(HEADER_BYTES, format!("field '{}' is out of order", pair[1])));
        }
        (0..self.fields).try_for_each(|at| self.at(at)?.verify(self.clusters))
    }

    /// Sizes and counts of every field, for people.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn describe(&self) -> Result<serde_json::Value> {
        let mut fields = serde_json::Map::new();
        for at in 0..self.fields {
            let field = self.at(at)?;
            let count = |column: Option<Column<'_>>| column.map_or(0, |column| column.count());
            fields.insert(
                self.name(at)?.to_owned(),
                json!({
                    "bytes": field.bytes.len(),
                    "points": field.filled()?.len(),
                    "keywords": field.keywords()?.map_or(0, |keywords| keywords.count()),
                    "integers": count(field.integers()?),
                    "floats": count(field.floats()?),
                    "bools": field.bools(false)?.len() + field.bools(true)?.len(),
                    "datetimes": count(field.datetimes()?),
                }),
            );
        }
        Ok(json!({ "fields": fields, "complete": self.complete, "clusters": self.clusters }))
    }

    fn name(&self, at: u32) -> Result<&'a str> {
        let entry = HEADER_BYTES + at as usize * ENTRY_BYTES;
        let offset = self.bytes.u64(entry)?;
        let name = self.region.bytes(offset, u64::from(self.bytes.u32(entry + 8)?))?;
        std::str::from_utf8(name).map_err(|error| self.region.corrupt(offset, error.to_string()))
    }

    fn region_of(&self, at: u32) -> Result<Region<'a>> {
        let entry = HEADER_BYTES + at as usize * ENTRY_BYTES;
        self.region.part(self.bytes.u64(entry + 16)?, self.bytes.u64(entry + 24)?)
    }

    fn at(&self, at: u32) -> Result<Field<'a>> {
        let region = self.region_of(at)?;
        let base = region.file_range().start - self.region.file_range().start;
        Field::open(Bytes::within(SECTION, base, region.all()?), self.points, self.clusters)
    }
}

/// One field's index.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    bytes: Bytes<'a>,
    parts: [Bytes<'a>; PARTS],
    areas: Areas<'a>,
    sets: OnceCell<Sets<'a>>,
}

/// The slots of a field's sets.
#[derive(Clone, Debug)]
struct Sets<'a> {
    fixed: [Slot<'a>; 7],
    counts: Vec<(u64, Slot<'a>)>,
    distinct: Vec<(u64, Slot<'a>)>,
}

impl<'a> Field<'a> {
    fn open(bytes: Bytes<'a>, points: u32, cluster_count: u32) -> Result<Self> {
        let body = bytes.tail(8 * PARTS)?;
        let mut parts = [body; PARTS];
        let mut start = 0;
        for (at, part) in parts.iter_mut().enumerate() {
            let end = bytes.u64(8 * at)?;
            let len = end.checked_sub(start).ok_or_else(|| bytes.corrupt(8 * at, "a part of negative size"))?;
            *part = body.slice(start, len)?;
            start = end;
        }
        let areas = Areas { clusters: parts[2], postings: parts[3], points, cluster_count };
        Ok(Self { bytes, parts, areas, sets: OnceCell::new() })
    }

    /// Points with a value here that is neither null nor `[]`.
    ///
    /// # Errors
    /// `Corrupt`, as of all that follow.
    pub fn filled(&self) -> Result<RoaringBitmap> {
        self.set(0)
    }

    /// Points with null here, or an array that contains null.
    pub fn null(&self) -> Result<RoaringBitmap> {
        self.set(1)
    }

    /// Points with values that no index holds: objects, arrays in arrays, long strings.
    pub fn other(&self) -> Result<RoaringBitmap> {
        self.set(2)
    }

    /// Filled points without scalars.
    pub(crate) fn blank(&self) -> Result<RoaringBitmap> {
        self.set(3)
    }

    /// Points with this bool.
    pub fn bools(&self, value: bool) -> Result<RoaringBitmap> {
        self.set(5 + usize::from(value))
    }

    /// Points with a value here, whatever it is.
    pub fn present(&self) -> Result<RoaringBitmap> {
        let mut present = self.filled()?;
        for (_, slot) in self.sets()?.counts.iter().take_while(|(count, _)| *count == 0) {
            slot.add_to(&mut present)?;
        }
        Ok(present)
    }

    /// Points of whose values one has a count that is `wanted`; not those that have no value here.
    pub(crate) fn counts(&self, wanted: impl Fn(u64) -> bool) -> Result<RoaringBitmap> {
        let mut points = if wanted(1) { self.filled()? - self.set(4)? } else { RoaringBitmap::new() };
        for (_, slot) in self.sets()?.counts.iter().filter(|(count, _)| wanted(*count)) {
            slot.add_to(&mut points)?;
        }
        Ok(points)
    }

    /// For each number from 2: the points with so many different scalars.
    pub(crate) fn distinct(&self) -> Result<impl Iterator<Item = (u64, Slot<'a>)> + '_> {
        Ok(self.sets()?.distinct.iter().copied())
    }

    /// The strings, if there are any.
    pub fn keywords(&self) -> Result<Option<Keywords<'a>>> {
        Keywords::open(self.parts[1], self.areas)
    }

    /// The integers, if there are any.
    pub fn integers(&self) -> Result<Option<Column<'a>>> {
        Column::open(self.parts[4], self.areas.points)
    }

    /// The numbers that are not integers of 64 bits with a sign, if there are any.
    pub fn floats(&self) -> Result<Option<Column<'a>>> {
        Column::open(self.parts[5], self.areas.points)
    }

    /// The strings that are datetimes, if there are any: microseconds since 1970 UTC.
    pub fn datetimes(&self) -> Result<Option<Column<'a>>> {
        Column::open(self.parts[6], self.areas.points)
    }

    fn set(&self, at: usize) -> Result<RoaringBitmap> {
        self.sets()?.fixed[at].ordinals()
    }

    fn sets(&self) -> Result<&Sets<'a>> {
        if let Some(sets) = self.sets.get() {
            return Ok(sets);
        }
        let mut cursor = Cursor::new(self.parts[0]);
        let mut slot = || Slot::read(&mut cursor, &self.areas);
        let fixed = [slot()?, slot()?, slot()?, slot()?, slot()?, slot()?, slot()?];
        let mut table = || {
            let mut table = Vec::new();
            for _ in 0..cursor.varint()? {
                table.push((cursor.varint()?, Slot::read(&mut cursor, &self.areas)?));
            }
            Ok(table)
        };
        let sets = Sets { fixed, counts: table()?, distinct: table()? };
        if !cursor.is_at_end() {
            return Err(cursor.corrupt("bytes after the sets"));
        }
        Ok(self.sets.get_or_init(|| sets))
    }

    fn verify(&self, clusters: u32) -> Result<()> {
        let sets = self.sets()?;
        sets.fixed.iter().try_for_each(|slot| slot.verify(&self.areas).map(drop))?;
        for (table, least) in [(&sets.counts, 0), (&sets.distinct, 2)] {
            let keys: Vec<u64> = table.iter().map(|(key, _)| *key).collect();
            if keys.first().is_some_and(|first| *first < least) || keys.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(self.parts[0].corrupt(0, "a table of sets is out of order"));
            }
            table.iter().try_for_each(|(_, slot)| slot.verify(&self.areas).map(drop))?;
        }
        if let Some(keywords) = self.keywords()? {
            keywords.verify()?;
        }
        for column in [self.integers()?, self.floats()?, self.datetimes()?].into_iter().flatten() {
            column.verify(clusters)?;
        }
        Ok(())
    }
}
