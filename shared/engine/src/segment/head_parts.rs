//! What a reader brings first of a segment that lies far away.

use std::{collections::BTreeMap, ops::Range};

use super::{Segment, layout::SectionKind};
use crate::{
    Result,
    payload::{ids, ordinal_ids, rows::Rows},
};

/// Ranges that are nearer to one another than this are one: asking twice costs more.
const GAP_BYTES: u64 = 4 << 10;
/// A table of payload blocks that is larger is not part of the head: it is brought when a payload is wanted.
const ROWS_HEAD_BYTES_MAX: u64 = 256 << 10;
/// A fields section that is not larger belongs to the head as a whole.
const FIELDS_BYTES_MAX: u64 = 64 << 10;

/// Where a segment's head is: what opens it and chooses the clusters of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadParts {
    /// Byte ranges of the file: ascending, disjoint.
    pub ranges: Vec<Range<u64>>,
    /// Byte ranges of its payload fields' indexes, by path: a reader that knows which fields a filter names brings them with the head.
    pub fields: BTreeMap<String, Range<u64>>,
}

impl Segment {
    /// Where the head is, of a segment whose bytes are at hand: the small sections of all its vectors, and of its points what leads to the rest.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Absent`].
    pub fn head(&self) -> Result<HeadParts> {
        let small = [
            SectionKind::Calibration,
            SectionKind::Filters,
            SectionKind::Reading,
            SectionKind::Clusters,
            SectionKind::Head,
        ];
        let sections = self.file.sections().iter().filter(|section| small.contains(&section.kind));
        let mut ranges: Vec<Range<u64>> =
            sections.map(|section| section.offset..section.offset + section.len).collect();
        ranges.push(self.table_offset()..self.file_bytes());
        let (ids, rows) = (self.region(SectionKind::Ids)?, self.region(SectionKind::Rows)?);
        ranges.push(ids.part(0, ids::HEAD_BYTES.min(ids.len()))?.file_range());
        if let Ok(ids) = self.region(SectionKind::OrdinalIds) {
            ranges.push(ids.part(0, ordinal_ids::HEADER_BYTES.min(ids.len()))?.file_range());
        }
        let table_bytes = Rows::head_bytes(rows)?;
        if table_bytes <= ROWS_HEAD_BYTES_MAX {
            ranges.push(rows.part(0, table_bytes)?.file_range());
        }
        let fields = self.fields()?;
        let section = self.region(SectionKind::Fields)?;
        let whole = section.len() <= FIELDS_BYTES_MAX;
        ranges.push(section.part(0, if whole { section.len() } else { fields.head_bytes()? })?.file_range());
        let places = fields.places()?;
        let fields = places.into_iter().map(|(name, region)| (name.to_owned(), region.file_range())).collect();
        Ok(HeadParts { ranges: merged(ranges), fields })
    }
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_close_together_is_one_range() {
        assert_eq!(merged(vec![50_000..50_010, 0..24, 4_000..4_100]), [0..4_100, 50_000..50_010]);
        assert_eq!(merged(vec![5..9, 90_000..90_001, 0..20]), [0..20, 90_000..90_001]);
    }
}
