//! Filters: Qdrant's clauses as plain data. What they *mean* is `cairn_engine::payload`'s business.

mod check;
mod geo;
mod json;
mod paths;
mod text;

pub use geo::{GeoArea, GeoBox, GeoCircle, GeoPoint, GeoPolygon};
pub use json::FilterError;
pub use text::{Analysis, TextMatch, TextWant, Tokenizer, TokenizerKind, Tokens};

use crate::{Path, PointId};

/// Clauses over conditions; a point must satisfy all of them. An empty filter accepts every point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// All must hold.
    pub must: Vec<Condition>,
    /// If there are any, at least one must hold.
    pub should: Vec<Condition>,
    /// None may hold.
    pub must_not: Vec<Condition>,
    /// At least so many must hold.
    pub min_should: Option<MinShould>,
}

/// A `should` with a count.
#[derive(Clone, Debug, PartialEq)]
pub struct MinShould {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// How many must hold.
    pub min_count: usize,
}

/// One condition on a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A test of a payload field. Several tests in one condition are alternatives, as in Qdrant.
    Field {
        /// Which field.
        key: Path,
        /// At least one must hold.
        tests: Vec<FieldTest>,
    },
    /// The field is missing, null or `[]`.
    IsEmpty(Path),
    /// The field is null, or an array that contains null.
    IsNull(Path),
    /// The point's id is one of these.
    HasId(Vec<PointId>),
    /// The point has a vector of this name.
    HasVector(String),
    /// The point's id is in this slice.
    Slice(Slice),
    /// One element of an array is an object for which the filter holds, as if it were a payload.
    Nested {
        /// The array's elements: ends in [`Step::Each`](crate::Step::Each).
        key: Path,
        /// What must hold for one element. Conditions on the point itself hold for none.
        filter: Box<Filter>,
    },
    /// A filter inside the filter.
    Filter(Box<Filter>),
}

/// One of `total` disjoint parts of all ids: those whose SipHash-2-4 with a zero key, over 8 little-endian bytes or a
/// UUID's 16 bytes, is `index` modulo `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which part, below `total`.
    pub index: u32,
    /// How many parts; at least 1.
    pub total: u32,
}

/// A test of a field's values; an array passes when one of its elements does.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldTest {
    /// Equality.
    Match(Match),
    /// Numbers in an interval.
    Range(Range<f64>),
    /// Datetimes in an interval, in microseconds since 1970 UTC.
    DatetimeRange(Range<i64>),
    /// The number of values: an array's length, 0 for null or a missing field, else 1.
    ValuesCount(Range<u64>),
    /// Places, `{"lon": ..., "lat": ...}` in degrees, in an area.
    Geo(GeoArea),
}

/// Tests of one value for what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// Equal to this.
    Value(Scalar),
    /// Equal to one of these; none for an empty list.
    Any(Vec<Scalar>),
    /// Has a value other than null that is none of these.
    Except(Vec<Scalar>),
    /// A string that contains a text.
    Text(TextMatch),
    /// A string that begins with this, byte by byte.
    Prefix(String),
}

/// A value that can be matched exactly. Floats cannot, as in Qdrant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// A string.
    Keyword(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Bool(bool),
}

/// An interval; every bound that is present must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range<T> {
    /// Greater than.
    pub gt: Option<T>,
    /// At least.
    pub gte: Option<T>,
    /// Less than.
    pub lt: Option<T>,
    /// At most.
    pub lte: Option<T>,
}

impl<T> Default for Range<T> {
    fn default() -> Self {
        Self { gt: None, gte: None, lt: None, lte: None }
    }
}

impl<T: PartialOrd + Copy> Range<T> {
    /// Whether `value` lies in the interval.
    #[must_use]
    pub fn contains(&self, value: T) -> bool {
        self.above_low(value) && self.below_high(value)
    }

    /// Whether `value` satisfies the lower bounds.
    #[must_use]
    pub fn above_low(&self, value: T) -> bool {
        self.gt.is_none_or(|bound| value > bound) && self.gte.is_none_or(|bound| value >= bound)
    }

    /// Whether `value` satisfies the upper bounds.
    #[must_use]
    pub fn below_high(&self, value: T) -> bool {
        self.lt.is_none_or(|bound| value < bound) && self.lte.is_none_or(|bound| value <= bound)
    }
}

impl Filter {
    /// Whether the filter accepts everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.must.is_empty() && self.should.is_empty() && self.must_not.is_empty() && self.min_should.is_none()
    }

    /// A filter of one condition.
    #[must_use]
    pub fn must(condition: Condition) -> Self {
        Self { must: vec![condition], ..Self::default() }
    }
}

/// Parses a datetime as Qdrant does: RFC 3339, or a date and time without offset (taken as UTC), with `T` or a
/// blank between them, or a date alone. Microseconds since 1970 UTC.
#[must_use]
pub fn parse_datetime(text: &str) -> Option<i64> {
    use chrono::{DateTime, NaiveDate, NaiveDateTime};
    // Cheap way out for the many strings that are no dates: they begin with a year or a sign.
    if text.len() < 8 || text.len() > 40 || !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%:z"] {
        if let Ok(at) = DateTime::parse_from_str(text, format) {
            return Some(at.timestamp_micros());
        }
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, format) {
            return Some(at.and_utc().timestamp_micros());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

/// Milliseconds since 1970 as a date and time, as [`parse_datetime`] reads it; the number itself where the calendar ends.
#[must_use]
pub fn show_datetime(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    time.map_or_else(|| ms.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests;
