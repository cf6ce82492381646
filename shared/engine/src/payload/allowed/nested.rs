//! Filters on elements of arrays, bounded by what the indexes know of all elements together.
//!
//! An index says which points have a value somewhere in an array, not in which element. So a nested filter can only be
//! bounded from above: by points with objects in the array and, for each condition that needs a value to hold, by points
//! with such a value in any element. Rows settle the rest.

use cairn_model::{Condition, FieldTest, Filter, Path};
use roaring::RoaringBitmap;

use super::{Bounds, Evaluation};
use crate::{Result, payload::fields::Lookup};

impl Evaluation<'_> {
    /// Points of which one element of the array `key` satisfies `filter`.
    pub(super) fn nested(&mut self, key: &Path, filter: &Filter) -> Result<Bounds> {
        let upper = self.may_have(key, filter)?;
        Ok(Bounds::between(RoaringBitmap::new(), upper))
    }

    /// Points outside of which no element of the array satisfies `filter`.
    fn may_have(&mut self, key: &Path, filter: &Filter) -> Result<RoaringBitmap> {
        let mut may = match self.view.fields.lookup(key)? {
            // An object in an array is none of a field's scalars.
            Lookup::Field(field) | Lookup::Within { field, .. } => field.other()?,
            Lookup::Below(field) => field.present()?,
            Lookup::Absent => RoaringBitmap::new(),
            Lookup::Unknown => self.all(),
        };
        if let Some(inside) = self.may_hold(key, filter)? {
            may &= inside;
        }
        Ok(may)
    }

    /// Points outside of which `filter` holds for no element of `inside`; `None` for all of them.
    fn may_hold(&mut self, inside: &Path, filter: &Filter) -> Result<Option<RoaringBitmap>> {
        let mut may = None;
        for condition in &filter.must {
            may = both(may, self.may(inside, condition)?);
        }
        let least = filter.min_should.iter().filter(|min_should| min_should.min_count > 0);
        let least = least.map(|min_should| &min_should.conditions);
        for some in [&filter.should].into_iter().filter(|should| !should.is_empty()).chain(least) {
            let mut any = Some(RoaringBitmap::new());
            for condition in some {
                any = match (any, self.may(inside, condition)?) {
                    (Some(any), Some(one)) => Some(any | one),
                    _ => None,
                };
            }
            may = both(may, any);
        }
        Ok(may)
    }

    fn may(&mut self, inside: &Path, condition: &Condition) -> Result<Option<RoaringBitmap>> {
        Ok(match condition {
            // An element without a value can pass, and no index says that there is one.
            Condition::Field { tests, .. } if tests.iter().any(passes_missing) => None,
            Condition::Field { key, tests } => Some(self.field(&inside.join(key), tests)?.into_upper()),
            Condition::IsNull(key) => Some(self.is_null(&inside.join(key))?.into_upper()),
            Condition::IsEmpty(_) => None,
            Condition::Nested { key, filter } => Some(self.may_have(&inside.join(key), filter)?),
            Condition::Filter(filter) => self.may_hold(inside, filter)?,
            Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice(_) => Some(RoaringBitmap::new()),
        })
    }
}

/// Whether a field that is not there passes a test.
pub(super) fn passes_missing(test: &FieldTest) -> bool {
    matches!(test, FieldTest::ValuesCount(range) if range.contains(0))
}

fn both(a: Option<RoaringBitmap>, b: Option<RoaringBitmap>) -> Option<RoaringBitmap> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a & b),
        (a, b) => a.or(b),
    }
}
