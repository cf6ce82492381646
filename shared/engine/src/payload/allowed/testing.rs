//! One test of one field, answered by its index.

use cairn_model::{FieldTest, Match, Range, Scalar};
use roaring::RoaringBitmap;

use super::Bounds;
use crate::{
    Result,
    payload::{
        fields::{
            Field, KEYWORD_BYTES_MAX,
            column::{f64_of_key, i64_of_key},
        },
        tally::Tally,
        text,
    },
};

/// The points that pass; `all` gives all points.
pub(super) fn test(field: &Field<'_>, test: &FieldTest, all: impl Fn() -> RoaringBitmap) -> Result<Bounds> {
    match test {
        FieldTest::Match(Match::Value(scalar)) => among(field, std::slice::from_ref(scalar)),
        FieldTest::Match(Match::Any(scalars)) => among(field, scalars),
        FieldTest::Match(Match::Except(scalars)) => except(field, scalars),
        FieldTest::Match(Match::Text(wanted)) => strings(field, "", |string| text::contains(wanted, string)),
        FieldTest::Match(Match::Prefix(prefix)) => strings(field, prefix, |_| true),
        // The points with objects: which places those are no index of this field says.
        FieldTest::Geo(_) => Ok(Bounds::between(RoaringBitmap::new(), field.other()?)),
        FieldTest::Range(range) => numbers(field, range).map(Bounds::exact),
        FieldTest::DatetimeRange(range) => moments(field, range).map(Bounds::exact),
        FieldTest::ValuesCount(range) => {
            let mut found = field.counts(|count| range.contains(count))?;
            if range.contains(0) {
                found |= all() - field.present()?;
            }
            Ok(Bounds::exact(found))
        }
    }
}

/// Points that can pass a test of a path whose values are among the field's, or, if `entered`, inside arrays among them. A
/// missing value does not pass the test.
pub(super) fn candidates(field: &Field<'_>, test: &FieldTest, entered: bool) -> Result<RoaringBitmap> {
    match test {
        FieldTest::ValuesCount(_) if entered => field.present(),
        // A field's array is entered one level anyway; what lies deeper is in its others.
        _ => {
            let mut found = self::test(field, test, RoaringBitmap::new)?.into_upper();
            if entered {
                found |= field.other()?;
            }
            Ok(found)
        }
    }
}

/// Points with a datetime in `range`.
fn moments(field: &Field<'_>, range: &Range<i64>) -> Result<RoaringBitmap> {
    let Some(column) = field.datetimes()? else { return Ok(RoaringBitmap::new()) };
    column.find(|key| !range.above_low(i64_of_key(key)), |key| range.below_high(i64_of_key(key)))
}

/// Points with a number in `range`.
pub(super) fn numbers(field: &Field<'_>, range: &Range<f64>) -> Result<RoaringBitmap> {
    let mut found = RoaringBitmap::new();
    // Where no point has two different scalars, a column that is as long as the field has points is all there is of them.
    let single = if field.distinct()?.next().is_none() { field.filled()? } else { RoaringBitmap::new() };
    if let Some(column) = field.integers()? {
        // Rounding to f64 keeps the order, so the run of integers whose f64 is in the range is found by bisection too.
        #[expect(clippy::cast_precision_loss, reason = "a range compares numbers as f64, as Qdrant does")]
        let number = |key| i64_of_key(key) as f64;
        let (below, within) = (|key| !range.above_low(number(key)), |key| range.below_high(number(key)));
        found |= column.find_among(&single, below, within)?;
    }
    if let Some(column) = field.floats()? {
        let (below, within) = (|key| !range.above_low(f64_of_key(key)), |key| range.below_high(f64_of_key(key)));
        found |= column.find_among(&single, below, within)?;
    }
    Ok(found)
}

/// The points that pass, ascending, where the test is of numbers and they are few.
pub(super) fn few(field: &Field<'_>, test: &FieldTest) -> Result<Option<Vec<u32>>> {
    match test {
        FieldTest::Range(range) => match (field.integers()?, field.floats()?) {
            (None, None) => Ok(Some(Vec::new())),
            (Some(column), None) => {
                #[expect(clippy::cast_precision_loss, reason = "as in `numbers`")]
                let number = |key| i64_of_key(key) as f64;
                column.few(|key| !range.above_low(number(key)), |key| range.below_high(number(key)))
            }
            (None, Some(column)) => {
                column.few(|key| !range.above_low(f64_of_key(key)), |key| range.below_high(f64_of_key(key)))
            }
            (Some(_), Some(_)) => Ok(None),
        },
        FieldTest::DatetimeRange(range) => field.datetimes()?.map_or(Ok(Some(Vec::new())), |column| {
            column.few(|key| !range.above_low(i64_of_key(key)), |key| range.below_high(i64_of_key(key)))
        }),
        FieldTest::Match(Match::Value(Scalar::Integer(value))) => {
            field.integers()?.map_or(Ok(Some(Vec::new())), |column| {
                column.few(|key| i64_of_key(key) < *value, |key| i64_of_key(key) <= *value)
            })
        }
        _ => Ok(None),
    }
}

/// Points with a string that begins with `prefix` and passes `test`.
fn strings(field: &Field<'_>, prefix: &str, test: impl Fn(&str) -> bool) -> Result<Bounds> {
    let mut found = RoaringBitmap::new();
    if let Some(keywords) = field.keywords()? {
        keywords.each(prefix, |keyword, slot| if test(keyword) { slot.add_to(&mut found) } else { Ok(()) })?;
    }
    // Strings that are too long to be indexed.
    let upper = &found | field.other()?;
    Ok(Bounds::between(found, upper))
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
