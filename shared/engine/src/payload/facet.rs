//! How many points have which value at a path.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use cairn_model::{Path, Payload, Scalar, limits::FACET_VALUES_MAX};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::{
    View,
    fields::{Field, KEYWORD_BYTES_MAX, Lookup, column::i64_of_key},
    picked::each_row,
};
use crate::{Error, Result, Watch};

/// The values that a facet counts in one point, ascending: the strings, integers and booleans at `key`, where an array is
/// entered one level.
#[must_use]
pub fn facet_values(key: &Path, payload: &Payload) -> BTreeSet<Scalar> {
    let mut values = BTreeSet::new();
    for value in key.values(payload) {
        match value {
            Value::Array(elements) => values.extend(elements.iter().filter_map(scalar)),
            value => values.extend(scalar(value)),
        }
    }
    values
}

fn scalar(value: &Value) -> Option<Scalar> {
    match value {
        Value::String(text) => Some(Scalar::Keyword(text.clone())),
        Value::Number(number) => number.as_i64().map(Scalar::Integer),
        Value::Bool(value) => Some(Scalar::Bool(*value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How many of the `allowed` points have each value at `key`; of all points where nothing is said. Values that none of them has
/// are left out.
///
/// # Errors
/// `Corrupt`, `Absent`, `Cancelled`; `Invalid` when there are more than [`FACET_VALUES_MAX`] values.
pub fn facet(
    key: &Path,
    allowed: Option<&RoaringBitmap>,
    view: &View<'_>,
    watch: &dyn Watch,
) -> Result<BTreeMap<Scalar, u64>> {
    let mut counts = Counts { allowed, watch, counts: BTreeMap::new() };
    let (rows, is_counted): (RoaringBitmap, fn(&Scalar) -> bool) = match view.fields.lookup(key)? {
        Lookup::Field(field) => {
            counts.index(&field)?;
            (field.other()?, |value| !is_long(value))
        }
        Lookup::Absent => return Ok(BTreeMap::new()),
        Lookup::Within { field, .. } | Lookup::Below(field) => (field.present()?, |_| false),
        Lookup::Unknown => ((0..view.points).collect(), |_| false),
    };
    let rows = match allowed {
        Some(allowed) => rows & allowed,
        None => rows,
    };
    each_row((view, watch), key, &rows, |_, payload| {
        let values = facet_values(key, payload).into_iter().filter(|value| !is_counted(value));
        values.into_iter().try_for_each(|value| counts.add(value, 1))
    })?;
    Ok(counts.counts)
}

/// Whether a value is a string that no index holds.
fn is_long(value: &Scalar) -> bool {
    matches!(value, Scalar::Keyword(text) if text.len() > KEYWORD_BYTES_MAX)
}

struct Counts<'a> {
    allowed: Option<&'a RoaringBitmap>,
    watch: &'a dyn Watch,
    counts: BTreeMap<Scalar, u64>,
}

impl Counts<'_> {
    /// What the index of a field holds.
    fn index(&mut self, field: &Field<'_>) -> Result<()> {
        let count = |points: RoaringBitmap, allowed: Option<&RoaringBitmap>| {
            allowed.map_or(points.len(), |allowed| points.intersection_len(allowed))
        };
        if let Some(keywords) = field.keywords()? {
            keywords.each("", |keyword, slot| {
                let count = count(slot.ordinals()?, self.allowed);
                self.add_some(|| Scalar::Keyword(keyword.to_owned()), count)
            })?;
        }
        if let Some(integers) = field.integers()? {
            integers.each(
                false,
                |_| true,
                |key, ordinals| {
                    let passes = |ordinal: &&u32| self.allowed.is_none_or(|allowed| allowed.contains(**ordinal));
                    let count = ordinals.iter().filter(passes).count() as u64;
                    self.add_some(|| Scalar::Integer(i64_of_key(key)), count)?;
                    Ok(ControlFlow::Continue(()))
                },
            )?;
        }
        for value in [false, true] {
            self.add_some(|| Scalar::Bool(value), count(field.bools(value)?, self.allowed))?;
        }
        Ok(())
    }

    fn add_some(&mut self, value: impl Fn() -> Scalar, count: u64) -> Result<()> {
        if self.watch.cancelled() {
            return Err(Error::Cancelled);
        }
        if count > 0 { self.add(value(), count) } else { Ok(()) }
    }

    fn add(&mut self, value: Scalar, count: u64) -> Result<()> {
        *self.counts.entry(value).or_default() += count;
        if self.counts.len() > FACET_VALUES_MAX {
            let why = format!("the points have more than {FACET_VALUES_MAX} different values there: use a filter");
            return Err(Error::invalid("key", why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        Unwatched,
        payload::{
            allowed,
            samples::{Sections, filter, path, points},
        },
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(800))]

        #[test]
        fn counts_are_those_of_counting_every_point(points in points(0..30), key in path(), filter in filter()) {
            let sections = Sections::new(&points, 4);
            let view = sections.view().unwrap();
            let some = allowed(&filter, &view, &Unwatched).unwrap();
            for some in [None, Some(&some)] {
                let mut expected = BTreeMap::new();
                for (ordinal, (_, payload)) in (0u32..).zip(&points) {
                    if some.is_none_or(|some| some.contains(ordinal)) {
                        facet_values(&key, payload).into_iter().for_each(|value| *expected.entry(value).or_default() += 1);
                    }
                }
                prop_assert_eq!(facet(&key, some, &view, &Unwatched).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_value_counts_once_in_a_point() {
        let payload = json!({"a": ["x", "x", 1, 1.5, true, null, ["y"], {"z": 1}], "b": "x"});
        let values = |key: &str| facet_values(&Path::key(key), payload.as_object().unwrap());
        let expected = [Scalar::Keyword("x".into()), Scalar::Integer(1), Scalar::Bool(true)];
        assert_eq!(values("a"), BTreeSet::from(expected));
        assert_eq!(values("b").len(), 1);
        assert!(values("c").is_empty());
    }
}
