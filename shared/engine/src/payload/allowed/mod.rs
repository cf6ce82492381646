//! Filters turned into sets of ordinals.
//!
//! Every clause is first bounded by what the indexes know: a set of points for which it certainly holds, and one outside of
//! which it certainly does not. Clauses that the indexes answer have both equal, and so have most filters; the rows
//! of the points in between, and no others, are read and asked what the filter means.

mod bounds;
mod needs;
mod nested;
mod places;
mod reading;
mod testing;

use std::collections::HashMap;

use cairn_model::{Condition, FieldTest, Filter, Match, Path, PointId, Scalar, Slice};
use roaring::RoaringBitmap;

pub(crate) use self::needs::regions;
use self::{bounds::Bounds, nested::passes_missing};
use super::{
    fields::{Fields, Lookup},
    ids::Ids,
    meaning,
    rows::Rows,
    tally::Tally,
};
use crate::{Error, Result, Watch, source::Region};

/// One ordinal costs as much in a set that is made of single ones as so many points in one that is made of bits.
const POINTS_PER_FEW: u64 = 128;
/// Ids that are hashed between two looks whether somebody still waits.
const IDS_PER_LOOK: usize = 4_096;

/// Which points have which vectors, for `has_vector`.
pub(crate) trait Holders: std::fmt::Debug + Send + Sync {
    /// The points that have a vector of this name.
    ///
    /// # Errors
    /// `Corrupt`, `Absent`.
    fn holders(&self, name: &str) -> Result<RoaringBitmap>;

    /// The bytes that telling them takes, at hand or not; `None` where it takes none.
    ///
    /// # Errors
    /// `Corrupt`.
    fn needed(&self, name: &str) -> Result<Option<Region<'_>>>;
}

/// The sections that filters need.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Points of the segment.
    pub points: u32,
    /// For `has_vector`.
    pub(crate) vectors: &'a dyn Holders,
    /// For `has_id` and `slice`.
    pub ids: Ids<'a>,
    /// For everything else.
    pub fields: Fields<'a>,
    /// For what the fields do not know.
    pub rows: Rows<'a>,
    /// Points that count no more, whatever the filter.
    pub dead: Option<&'a RoaringBitmap>,
}

/// The points for which `filter` holds, exactly.
///
/// # Errors
/// `Corrupt`, `Cancelled`.
pub fn allowed(filter: &Filter, view: &View<'_>, watch: &dyn Watch) -> Result<RoaringBitmap> {
    Doubt::bounded(filter, view, watch)?.settle()
}

/// Bounds on how many points `filter` holds for, from the indexes alone: equal unless rows would have to be read.
///
/// # Errors
/// `Corrupt`, `Cancelled`.
pub fn cardinality_bounds(filter: &Filter, view: &View<'_>, watch: &dyn Watch) -> Result<(u64, u64)> {
    let bounds = Evaluation::new(view, watch).living(filter)?;
    Ok((bounds.lower.len(), bounds.upper().len()))
}

/// A filter's answer as far as the indexes give it, and what is left to read.
pub struct Doubt<'a> {
    evaluation: Evaluation<'a>,
    filter: &'a Filter,
    known: Known,
}

/// What the indexes say about a filter.
enum Known {
    /// These points pass and no others; ascending.
    Few(Vec<u32>),
    Bounds(Bounds),
}

impl<'a> Doubt<'a> {
    /// Asks the indexes.
    ///
    /// # Errors
    /// `Corrupt`, `Cancelled`.
    pub fn new(filter: &'a Filter, view: &View<'a>, watch: &'a dyn Watch) -> Result<Self> {
        let mut evaluation = Evaluation::new(view, watch);
        let known = match evaluation.few(filter)? {
            Some(few) => Known::Few(few),
            None => Known::Bounds(evaluation.living(filter)?),
        };
        Ok(Self { evaluation, filter, known })
    }

    /// The same without looking whether few points pass, for those who want a set.
    fn bounded(filter: &'a Filter, view: &View<'a>, watch: &'a dyn Watch) -> Result<Self> {
        let mut evaluation = Evaluation::new(view, watch);
        let known = Known::Bounds(evaluation.living(filter)?);
        Ok(Self { evaluation, filter, known })
    }

    /// Points for which rows would have to be read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.known {
            Known::Bounds(Bounds { lower, upper: Some(upper) }) => upper.len() - lower.len(),
            Known::Bounds(_) | Known::Few(_) => 0,
        }
    }

    /// Points that may pass.
    #[must_use]
    pub fn candidates(&self) -> u64 {
        match &self.known {
            Known::Few(few) => few.len() as u64,
            Known::Bounds(bounds) => bounds.upper().len(),
        }
    }

    /// The points that pass, ascending, if they are known and few.
    #[must_use]
    pub fn few(&self) -> Option<&[u32]> {
        match &self.known {
            Known::Few(few) => Some(few),
            Known::Bounds(_) => None,
        }
    }

    /// The points that pass, after reading all rows in doubt.
    ///
    /// # Errors
    /// `Corrupt`, `Cancelled`.
    pub fn settle(&self) -> Result<RoaringBitmap> {
        match &self.known {
            Known::Few(few) => Ok(set_of(few, self.evaluation.view.points)),
            Known::Bounds(Bounds { lower, upper: None }) => Ok(lower.clone()),
            Known::Bounds(Bounds { lower, upper: Some(upper) }) => {
                Ok(self.evaluation.read(self.filter, &(upper - lower))? | lower)
            }
        }
    }

    /// Those of `ordinals` that pass, after reading their rows and no others.
    ///
    /// # Errors
    /// `Corrupt`, `Cancelled`.
    pub fn among(&self, ordinals: impl IntoIterator<Item = u32>) -> Result<RoaringBitmap> {
        let mut may: RoaringBitmap = ordinals.into_iter().collect();
        let Known::Bounds(bounds) = &self.known else { return Ok(may & self.settle()?) };
        may &= bounds.upper();
        let certain = &may & &bounds.lower;
        Ok(self.evaluation.read(self.filter, &(may - &certain))? | certain)
    }
}

/// The set of ordinals that ascend. Through plain bits, where those are no more than a few words for each.
fn set_of(few: &[u32], points: u32) -> RoaringBitmap {
    if few.len() as u64 * POINTS_PER_FEW < u64::from(points) {
        return RoaringBitmap::from_sorted_iter(few.iter().copied()).unwrap_or_default();
    }
    let mut bits = vec![0u8; points as usize / 8 + 1];
    for &ordinal in few {
        if let Some(byte) = bits.get_mut(ordinal as usize / 8) {
            *byte |= 1 << (ordinal % 8);
        }
    }
    RoaringBitmap::from_lsb0_bytes(0, &bits)
}

struct Evaluation<'a> {
    view: View<'a>,
    watch: &'a dyn Watch,
    /// The points for which those conditions of the filter hold that are not about payloads, by the condition's address.
    of_points: HashMap<usize, RoaringBitmap>,
}

impl<'a> Evaluation<'a> {
    fn new(view: &View<'a>, watch: &'a dyn Watch) -> Self {
        Self { view: *view, watch, of_points: HashMap::new() }
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.view.points);
        all
    }

    /// The points that pass a filter of one condition that a column of numbers answers, ascending, where they are few. Most filters that
    /// let few points pass are such, and sets of points would cost more than scoring them does.
    fn few(&self, filter: &Filter) -> Result<Option<Vec<u32>>> {
        let Filter { must, should, must_not, min_should: None } = filter else { return Ok(None) };
        let ([Condition::Field { key, tests }], [], []) = (&must[..], &should[..], &must_not[..]) else {
            return Ok(None);
        };
        let [test] = &tests[..] else { return Ok(None) };
        if !matches!(
            test,
            FieldTest::Range(_) | FieldTest::DatetimeRange(_) | FieldTest::Match(Match::Value(Scalar::Integer(_)))
        ) {
            return Ok(None);
        }
        if self.watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let Lookup::Field(field) = self.view.fields.lookup(key)? else { return Ok(None) };
        let mut few = testing::few(&field, test)?;
        if let (Some(few), Some(dead)) = (&mut few, self.view.dead) {
            few.retain(|&ordinal| !dead.contains(ordinal));
        }
        Ok(few)
    }

    /// What is known of a whole filter: of the points that count.
    fn living(&mut self, filter: &Filter) -> Result<Bounds> {
        let bounds = self.filter(filter)?;
        Ok(match self.view.dead {
            Some(dead) => bounds.and_not(Bounds::exact(dead.clone())),
            None => bounds,
        })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Bounds> {
        // Every condition on the points themselves must be known when rows are asked, so nothing is skipped even when no point is left.
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
            Condition::IsNull(key) => self.is_null(key),
            Condition::HasId(ids) => {
                let found = self.has_id(ids)?;
                Ok(self.known(condition, found))
            }
            Condition::Slice(slice) => {
                let found = self.slice(slice)?;
                Ok(self.known(condition, found))
            }
            Condition::HasVector(name) => {
                let found = self.view.vectors.holders(name)?;
                Ok(self.known(condition, found))
            }
            Condition::Nested { key, filter } => self.nested(key, filter),
            Condition::Filter(filter) => self.filter(filter),
        }
    }

    /// Remembers the points of a condition that rows do not answer.
    fn known(&mut self, condition: &Condition, found: RoaringBitmap) -> Bounds {
        self.of_points.insert(std::ptr::from_ref(condition).addr(), found.clone());
        Bounds::exact(found)
    }

    fn is_null(&self, key: &Path) -> Result<Bounds> {
        Ok(match self.view.fields.lookup(key)? {
            Lookup::Field(field) => Bounds::exact(field.null()?),
            Lookup::Absent => Bounds::nothing(),
            Lookup::Within { field, entered: false } => Bounds::between(RoaringBitmap::new(), field.null()?),
            Lookup::Within { field, entered: true } => {
                Bounds::between(RoaringBitmap::new(), field.null()? | field.other()?)
            }
            Lookup::Below(field) => Bounds::between(RoaringBitmap::new(), field.present()?),
            Lookup::Unknown => Bounds::between(RoaringBitmap::new(), self.all()),
        })
    }

    fn has_id(&self, ids: &[PointId]) -> Result<RoaringBitmap> {
        let mut found = RoaringBitmap::new();
        for id in ids {
            if let Some(ordinal) = self.view.ids.ordinal(*id)? {
                found.insert(ordinal);
            }
        }
        Ok(found)
    }

    fn slice(&self, slice: &Slice) -> Result<RoaringBitmap> {
        let mut found = Vec::new();
        for (i, entry) in self.view.ids.from(None).enumerate() {
            if i.is_multiple_of(IDS_PER_LOOK) && self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let (id, ordinal) = entry?;
            if meaning::is_in(slice, id) {
                found.push(ordinal);
            }
        }
        Ok(found.into_iter().collect())
    }

    fn field(&self, key: &Path, tests: &[FieldTest]) -> Result<Bounds> {
        let lookup = self.view.fields.lookup(key)?;
        tests.iter().try_fold(Bounds::nothing(), |any, test| {
            let empty_passes = passes_missing(test);
            if let FieldTest::Geo(area) = test {
                return Ok(any.or(self.places(key, &lookup, area)?));
            }
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
