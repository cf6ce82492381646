//! Filters turned into sets of ordinals.
//!
//! Every clause is first bounded by what the indexes know: a set of points for which it certainly holds, and one outside of
//! which it certainly does not. Clauses that the indexes answer have both equal, and so have most filters; the rows
//! of the points in between, and no others, are read and asked what the filter means.

use std::collections::HashMap;

use cairn_model::{Condition, FieldTest, Filter, Match, Path, PointId, Range, Scalar};
use roaring::RoaringBitmap;

use super::{
    fields::{
        Field, Fields, KEYWORD_BYTES_MAX, Lookup,
        column::{f64_of_key, i64_of_key},
    },
    ids::Ids,
    meaning,
    rows::Rows,
    tally::Tally,
};
use crate::{Error, Result, Watch};

/// The sections that filters need.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Points of the segment.
    pub points: u32,
    /// For `has_id`.
    pub ids: Ids<'a>,
    /// For everything else.
    pub fields: Fields<'a>,
    /// For what the fields do not know.
    pub rows: Rows<'a>,
}

/// What is known about a set of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Points that are certainly in it.
    lower: RoaringBitmap,
    /// Points that may be in it; `None` when they are the same.
    upper: Option<RoaringBitmap>,
}

/// The points for which `filter` holds, exactly.
///
/// # Errors
/// `Corrupt`, `Cancelled`.
pub fn allowed(filter: &Filter, view: &View<'_>, watch: &dyn Watch) -> Result<RoaringBitmap> {
    let mut evaluation = Evaluation::new(view, watch);
    let Bounds { mut lower, upper } = evaluation.filter(filter)?;
    let Some(mut open) = upper else { return Ok(lower) };
    open -= &lower;
    let mut found = Vec::new();
    view.rows.each(&open, |ordinal, row| {
        if watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let payload = serde_json::from_str(row);
        let payload = payload.map_err(|error| Error::corrupt("payload", 0, format!("row {ordinal}: {error}")))?;
        let is_among = |ids: &[PointId]| {
            evaluation.among.get(&ids.as_ptr()).is_some_and(|ordinals: &RoaringBitmap| ordinals.contains(ordinal))
        };
        if meaning::holds(filter, &payload, &is_among) {
            found.push(ordinal);
        }
        Ok(())
    })?;
    lower |= RoaringBitmap::from_sorted_iter(found).unwrap_or_default();
    Ok(lower)
}

/// Bounds on how many points `filter` holds for, from the indexes alone: equal unless rows would have to be read.
///
/// # Errors
/// `Corrupt`, `Cancelled`.
pub fn cardinality_bounds(filter: &Filter, view: &View<'_>, watch: &dyn Watch) -> Result<(u64, u64)> {
    let bounds = Evaluation::new(view, watch).filter(filter)?;
    Ok((bounds.lower.len(), bounds.upper().len()))
}

impl Bounds {
    fn exact(set: RoaringBitmap) -> Self {
        Self { lower: set, upper: None }
    }

    fn nothing() -> Self {
        Self::exact(RoaringBitmap::new())
    }

    fn between(lower: RoaringBitmap, upper: RoaringBitmap) -> Self {
        let upper = (lower != upper).then_some(upper);
        Self { lower, upper }
    }

    fn upper(&self) -> &RoaringBitmap {
        self.upper.as_ref().unwrap_or(&self.lower)
    }

    fn and(self, other: Self) -> Self {
        if self.upper.is_none() && other.upper.is_none() {
            return Self::exact(self.lower & other.lower);
        }
        let upper = self.upper() & other.upper();
        Self::between(self.lower & other.lower, upper)
    }

    fn or(self, other: Self) -> Self {
        if self.upper.is_none() && other.upper.is_none() {
            return Self::exact(self.lower | other.lower);
        }
        let upper = self.upper() | other.upper();
        Self::between(self.lower | other.lower, upper)
    }

    fn and_not(self, other: Self) -> Self {
        if self.upper.is_none() && other.upper.is_none() {
            return Self::exact(self.lower - other.lower);
        }
        let upper = self.upper() - &other.lower;
        Self::between(self.lower - other.upper(), upper)
    }
}

struct Evaluation<'a> {
    view: &'a View<'a>,
    watch: &'a dyn Watch,
    /// The ordinals of every list of ids in the filter, by the list's address.
    among: HashMap<*const PointId, RoaringBitmap>,
}

impl<'a> Evaluation<'a> {
    fn new(view: &'a View<'a>, watch: &'a dyn Watch) -> Self {
        Self { view, watch, among: HashMap::new() }
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.view.points);
        all
    }

    fn filter(&mut self, filter: &Filter) -> Result<Bounds> {
        // Every list of ids must be known when rows are asked, so nothing is skipped even when no point is left.
        let mut bounds: Option<Bounds> = None;
        let both = |bounds: Option<Bounds>, with: Bounds| match bounds {
            Some(bounds) => Some(bounds.and(with)),
            None => Some(with),
        };
        for condition in &filter.must {
            bounds = both(bounds, self.condition(condition)?);
        }
        if !filter.should.is_empty() {
            bounds = both(bounds, self.any(&filter.should)?);
        }
        if let Some(min_should) = &filter.min_should {
            bounds = both(bounds, self.at_least(min_should.min_count, &min_should.conditions)?);
        }
        let mut bounds = bounds.unwrap_or_else(|| Bounds::exact(self.all()));
        if !filter.must_not.is_empty() {
            bounds = bounds.and_not(self.any(&filter.must_not)?);
        }
        Ok(bounds)
    }

    fn any(&mut self, conditions: &[Condition]) -> Result<Bounds> {
        conditions.iter().try_fold(Bounds::nothing(), |any, condition| Ok(any.or(self.condition(condition)?)))
    }

    fn at_least(&mut self, count: usize, conditions: &[Condition]) -> Result<Bounds> {
        let (mut lower, mut upper) = (Tally::default(), Tally::default());
        for condition in conditions {
            let bounds = self.condition(condition)?;
            lower.add(&bounds.lower);
            upper.add(bounds.upper());
        }
        if count == 0 {
            return Ok(Bounds::exact(self.all()));
        }
        Ok(Bounds::between(lower.at_least(count as u64), upper.at_least(count as u64)))
    }

    fn condition(&mut self, condition: &Condition) -> Result<Bounds> {
        if self.watch.cancelled() {
            return Err(Error::Cancelled);
        }
        match condition {
            Condition::Field { key, tests } => self.field(key, tests),
            Condition::IsEmpty(key) => Ok(match self.view.fields.lookup(key)? {
                Lookup::Field(field) => Bounds::exact(self.all() - field.filled()?),
                Lookup::Absent => Bounds::exact(self.all()),
                Lookup::Below(field) => Bounds::between(self.all() - field.present()?, self.all()),
                Lookup::Unknown => Bounds::between(RoaringBitmap::new(), self.all()),
            }),
            Condition::IsNull(key) => Ok(match self.view.fields.lookup(key)? {
                Lookup::Field(field) => Bounds::exact(field.null()?),
                Lookup::Absent => Bounds::nothing(),
                Lookup::Below(field) => Bounds::between(RoaringBitmap::new(), field.present()?),
                Lookup::Unknown => Bounds::between(RoaringBitmap::new(), self.all()),
            }),
            Condition::HasId(ids) => self.has_id(ids),
            Condition::Filter(filter) => self.filter(filter),
        }
    }

    fn has_id(&mut self, ids: &[PointId]) -> Result<Bounds> {
        let mut found = RoaringBitmap::new();
        for id in ids {
            if let Some(ordinal) = self.view.ids.ordinal(*id)? {
                found.insert(ordinal);
            }
        }
        self.among.insert(ids.as_ptr(), found.clone());
        Ok(Bounds::exact(found))
    }

    fn field(&self, key: &Path, tests: &[FieldTest]) -> Result<Bounds> {
        let lookup = self.view.fields.lookup(key)?;
        tests.iter().try_fold(Bounds::nothing(), |any, test| {
            // The one test that a missing field can pass.
            let empty_passes = matches!(test, FieldTest::ValuesCount(range) if range.contains(0));
            Ok(any.or(match &lookup {
                Lookup::Field(field) => self.test(field, test)?,
                Lookup::Absent if empty_passes => Bounds::exact(self.all()),
                Lookup::Absent => Bounds::nothing(),
                Lookup::Below(field) if empty_passes => Bounds::between(self.all() - field.present()?, self.all()),
                Lookup::Below(field) => Bounds::between(RoaringBitmap::new(), field.present()?),
                Lookup::Unknown => Bounds::between(RoaringBitmap::new(), self.all()),
            }))
        })
    }

    fn test(&self, field: &Field<'_>, test: &FieldTest) -> Result<Bounds> {
        match test {
            FieldTest::Match(Match::Value(scalar)) => among(field, std::slice::from_ref(scalar)),
            FieldTest::Match(Match::Any(scalars)) => among(field, scalars),
            FieldTest::Match(Match::Except(scalars)) => except(field, scalars),
            FieldTest::Range(range) => Ok(Bounds::exact(numbers(field, range)?)),
            FieldTest::DatetimeRange(range) => Ok(Bounds::exact(match field.datetimes()? {
                Some(column) => {
                    column.find(|key| !range.above_low(i64_of_key(key)), |key| range.below_high(i64_of_key(key)))?
                }
                None => RoaringBitmap::new(),
            })),
            FieldTest::ValuesCount(range) => {
                let mut found = field.counts(|count| range.contains(count))?;
                if range.contains(0) {
                    found |= self.all() - field.present()?;
                }
                Ok(Bounds::exact(found))
            }
        }
    }
}

/// Points with a number in `range`.
fn numbers(field: &Field<'_>, range: &Range<f64>) -> Result<RoaringBitmap> {
    let mut found = RoaringBitmap::new();
    if let Some(column) = field.integers()? {
        // Rounding to f64 keeps the order, so the run of integers whose f64 is in the range is found by bisection too.
        #[expect(clippy::cast_precision_loss, reason = "a range compares numbers as f64, as Qdrant does")]
        let number = |key| i64_of_key(key) as f64;
        found |= column.find(|key| !range.above_low(number(key)), |key| range.below_high(number(key)))?;
    }
    if let Some(column) = field.floats()? {
        found |= column.find(|key| !range.above_low(f64_of_key(key)), |key| range.below_high(f64_of_key(key)))?;
    }
    Ok(found)
}

/// Calls `visit` with the points of each of the `scalars`, and says whether one of them is a string too long to be
/// indexed. The scalars are all different.
fn each_set(field: &Field<'_>, scalars: &[&Scalar], mut visit: impl FnMut(RoaringBitmap)) -> Result<bool> {
    let (keywords, integers) = (field.keywords()?, field.integers()?);
    let mut has_long = false;
    for scalar in scalars {
        match scalar {
            Scalar::Keyword(text) if text.len() > KEYWORD_BYTES_MAX => has_long = true,
            Scalar::Keyword(text) => {
                if let Some(keywords) = &keywords
                    && let Some(slot) = keywords.get(text)?
                {
                    visit(slot.ordinals()?);
                }
            }
            Scalar::Integer(value) => {
                if let Some(integers) = &integers {
                    visit(integers.find_i64(*value)?);
                }
            }
            Scalar::Bool(value) => visit(field.bools(*value)?),
        }
    }
    Ok(has_long)
}

/// Points with one of the `scalars`.
fn among(field: &Field<'_>, scalars: &[Scalar]) -> Result<Bounds> {
    let mut found = RoaringBitmap::new();
    let has_long = each_set(field, &different(scalars), |set| found |= set)?;
    if has_long {
        let upper = &found | field.other()?;
        return Ok(Bounds::between(found, upper));
    }
    Ok(Bounds::exact(found))
}

/// Points with a value other than null that is none of the `scalars`.
fn except(field: &Field<'_>, scalars: &[Scalar]) -> Result<Bounds> {
    let mut hits = Tally::default();
    let has_long = each_set(field, &different(scalars), |set| hits.add(&set))?;
    // A point fails when it has nothing but what is listed: as many different scalars as were hit, and no others.
    let mut single = field.filled()? - field.blank()?;
    let with_scalars = single.clone();
    let mut failed = RoaringBitmap::new();
    for (count, slot) in field.distinct()? {
        let points = slot.ordinals()?;
        failed |= hits.at_least(count) & &points;
        single -= points;
    }
    failed |= hits.at_least(1) & single;
    let certain = with_scalars - failed;
    let other = field.other()?;
    let upper = &certain | &other;
    // An object, an array or a string that is not indexed is none of the scalars, unless one of those is not indexed either.
    Ok(if has_long { Bounds::between(certain, upper) } else { Bounds::exact(upper) })
}

fn different(scalars: &[Scalar]) -> Vec<&Scalar> {
    let mut different: Vec<&Scalar> = scalars.iter().collect();
    different.sort_unstable();
    different.dedup();
    different
}
