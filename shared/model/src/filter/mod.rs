//! Filters: Qdrant's clauses as plain data. What they *mean* is `cairn_engine::payload`'s business.

mod json;

pub use json::FilterError;

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
    /// A nested filter.
    Filter(Box<Filter>),
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
}

/// Equality tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// Equal to this.
    Value(Scalar),
    /// Equal to one of these; none for an empty list.
    Any(Vec<Scalar>),
    /// Has a value other than null that is none of these.
    Except(Vec<Scalar>),
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

#[cfg(test)]
mod tests;
