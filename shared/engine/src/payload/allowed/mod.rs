//! Filters turned into sets of ordinals.
//!
//! Every clause is first bounded by what the indexes know: a set of points for which it certainly holds, and one outside of
//! which it certainly does not. Clauses that the indexes answer have both equal, and so have most filters; the rows
//! of the points in between, and no others, are read and asked what the filter means.

mod bounds;
mod reading;
mod testing;

use std::collections::HashMap;

use cairn_model::{Condition, FieldTest, Filter, Path, PointId};
use roaring::RoaringBitmap;

use self::bounds::Bounds;
use super::{
    fields::{Fields, Lookup},
    ids::Ids,
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

/// The points for which `filter` holds, exactly.
///
/// # Errors
/// `Corrupt`, `Cancelled`.
pub fn allowed(filter: &Filter, view: &View<'_>, watch: &dyn Watch) -> Result<RoaringBitmap> {
    let mut evaluation = Evaluation::new(view, watch);
    let Bounds { lower, upper } = evaluation.filter(filter)?;
    match upper {
        None => Ok(lower),
        Some(upper) => Ok(evaluation.read(filter, &(upper - &lower))? | lower),
    }
}

/// Bounds on how many points `filter` holds for, from the indexes alone: equal unless rows would have to be read.
///
/// # Errors
/// `Corrupt`, `Cancelled`.
pub fn cardinality_bounds(filter: &Filter, view: &View<'_>, watch: &dyn Watch) -> Result<(u64, u64)> {
    let bounds = Evaluation::new(view, watch).filter(filter)?;
    Ok((bounds.lower.len(), bounds.upper().len()))
}

struct Evaluation<'a> {
    view: &'a View<'a>,
    watch: &'a dyn Watch,
    /// The ordinals of every list of ids in the filter, by the list's address.
    among: HashMap<usize, RoaringBitmap>,
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
                Lookup::Within { field, .. } | Lookup::Below(field) => {
                    Bounds::between(self.all() - field.present()?, self.all())
                }
                Lookup::Unknown => Bounds::between(RoaringBitmap::new(), self.all()),
            }),
            Condition::IsNull(key) => Ok(match self.view.fields.lookup(key)? {
                Lookup::Field(field) => Bounds::exact(field.null()?),
                Lookup::Absent => Bounds::nothing(),
                Lookup::Within { field, entered: false } => Bounds::between(RoaringBitmap::new(), field.null()?),
                Lookup::Within { field, entered: true } => {
                    Bounds::between(RoaringBitmap::new(), field.null()? | field.other()?)
                }
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
        self.among.insert(ids.as_ptr().addr(), found.clone());
        Ok(Bounds::exact(found))
    }

    fn field(&self, key: &Path, tests: &[FieldTest]) -> Result<Bounds> {
        let lookup = self.view.fields.lookup(key)?;
        tests.iter().try_fold(Bounds::nothing(), |any, test| {
            // The one test that a missing field can pass.
            let empty_passes = matches!(test, FieldTest::ValuesCount(range) if range.contains(0));
            Ok(any.or(match &lookup {
                Lookup::Field(field) => testing::test(field, test, || self.all())?,
                Lookup::Absent if empty_passes => Bounds::exact(self.all()),
                Lookup::Absent => Bounds::nothing(),
                Lookup::Within { field, .. } | Lookup::Below(field) if empty_passes => {
                    Bounds::between(self.all() - field.present()?, self.all())
                }
                Lookup::Within { field, entered } => {
                    Bounds::between(RoaringBitmap::new(), testing::candidates(field, test, *entered)?)
                }
                Lookup::Below(field) => Bounds::between(RoaringBitmap::new(), field.present()?),
                Lookup::Unknown => Bounds::between(RoaringBitmap::new(), self.all()),
            }))
        })
    }
}
