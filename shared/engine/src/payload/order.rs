//! Points in the order of their values at a path.

use std::ops::ControlFlow;

use cairn_model::{Order, OrderValue, Path, Payload, PointId, filter::parse_datetime};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::{
    View,
    fields::{
        Field, Lookup,
        column::{f64_of_key, i64_of_key},
    },
    picked::each_row,
};
use crate::{Error, Result, Watch};

/// Entries that may wait to be cut, beside twice as many as are wanted.
const WAITING: usize = 1_024;

/// A point at one of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The value.
    pub value: OrderValue,
    /// The point's id.
    pub id: PointId,
    /// Its row.
    pub ordinal: u32,
}

/// The values by which a point is ordered, ascending and each once: the numbers and datetimes at `key`, where an array is
/// entered one level.
#[must_use]
pub fn order_values(key: &Path, payload: &Payload) -> Vec<OrderValue> {
    let mut values = Vec::new();
    for value in key.values(payload) {
        match value {
            Value::Array(elements) => values.extend(elements.iter().filter_map(order_value)),
            value => values.extend(order_value(value)),
        }
    }
    values.sort_unstable_by_key(shown_first);
    values.dedup();
    values
}

/// Of equal values the integer is the one that is shown.
const fn shown_first(value: &OrderValue) -> (OrderValue, bool) {
    (*value, matches!(value, OrderValue::Float(_)))
}

/// A float as it is ordered: there is but one zero.
fn float(number: f64) -> OrderValue {
    OrderValue::Float(number + 0.0)
}

fn order_value(value: &Value) -> Option<OrderValue> {
    match value {
        Value::Number(number) => number.as_i64().map(OrderValue::Integer).or_else(|| number.as_f64().map(float)),
        Value::String(text) => parse_datetime(text).map(OrderValue::Integer),
        _ => None,
    }
}

/// The first `limit` of the `allowed` points in an order; of all points where nothing is said.
///
/// # Errors
/// `Corrupt`, `Absent`, `Cancelled`.
pub fn ordered(
    order: &Order,
    allowed: Option<&RoaringBitmap>,
    limit: usize,
    view: &View<'_>,
    watch: &dyn Watch,
) -> Result<Vec<Ordered>> {
    let mut page = Page { order, limit, view, found: Vec::new() };
    let narrowed = |points: RoaringBitmap| match allowed {
        Some(allowed) => points & allowed,
        None => points,
    };
    let rows = match view.fields.lookup(&order.key)? {
        Lookup::Field(field) => {
            view.ids.region().all()?;
            page.columns(&field, allowed, watch)?;
            return Ok(page.finish());
        }
        Lookup::Absent => return Ok(Vec::new()),
        Lookup::Within { field, .. } | Lookup::Below(field) => narrowed(field.present()?),
        Lookup::Unknown => narrowed((0..view.points).collect()),
    };
    view.ids.region().all()?;
    each_row((view, watch), &order.key, &rows, |ordinal, payload| {
        let values = order_values(&order.key, payload).into_iter().filter(|value| order.has(*value));
        values.into_iter().try_for_each(|value| page.push(value, ordinal))
    })?;
    Ok(page.finish())
}

/// The first entries of an order among those that were seen.
struct Page<'a> {
    order: &'a Order,
    limit: usize,
    view: &'a View<'a>,
    found: Vec<Ordered>,
}

impl Page<'_> {
    fn columns(&mut self, field: &Field<'_>, allowed: Option<&RoaringBitmap>, watch: &dyn Watch) -> Result<()> {
        let integer = |key| OrderValue::Integer(i64_of_key(key));
        let columns: [(_, &dyn Fn(u64) -> OrderValue); 3] = [
            (field.integers()?, &integer),
            (field.floats()?, &|key| float(f64_of_key(key))),
            (field.datetimes()?, &integer),
        ];
        for (column, value) in columns {
            let Some(column) = column else { continue };
            let (order, mut count, mut last) = (self.order, 0, None);
            column.each(
                order.descending,
                |key| order.has(value(key)),
                |key, ordinals| {
                    if watch.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let value = value(key);
                    // Each column's first so many are enough: what is in two of them is the same entry. The two zeros of floats
                    // are one as well, of which a point may have both, so zeros do not count.
                    if count >= self.limit && last != Some(value) {
                        return Ok(ControlFlow::Break(()));
                    }
                    let counts = usize::from(value != OrderValue::Integer(0));
                    for ordinal in ordinals.iter().filter(|ordinal| allowed.is_none_or(|some| some.contains(**ordinal)))
                    {
                        self.push(value, *ordinal)?;
                        count += counts;
                    }
                    last = Some(value);
                    Ok(ControlFlow::Continue(()))
                },
            )?;
        }
        Ok(())
    }

    fn push(&mut self, value: OrderValue, ordinal: u32) -> Result<()> {
        self.found.push(Ordered { value, id: self.view.ids.id(ordinal)?, ordinal });
        if self.found.len() >= 2 * self.limit + WAITING {
            self.cut();
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.found.sort_unstable_by_key(|entry| (self.order.place(entry.value, entry.id), shown_first(&entry.value)));
        self.found.dedup();
        self.found.truncate(self.limit);
    }

    fn finish(mut self) -> Vec<Ordered> {
        self.cut();
        self.found
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
            allowed, matches,
            samples::{FLOATS, INTEGERS, MOMENTS, Sections, VECTOR, filter, path, points},
        },
    };

    fn from() -> impl Strategy<Value = Option<OrderValue>> {
        let integers = proptest::sample::select(INTEGERS.to_vec()).prop_map(OrderValue::Integer);
        let floats = proptest::sample::select(FLOATS.to_vec()).prop_map(OrderValue::Float);
        let moments = MOMENTS.iter().filter_map(|text| parse_datetime(text)).map(OrderValue::Integer);
        let moments = proptest::sample::select(moments.collect::<Vec<_>>());
        proptest::option::of(prop_oneof![integers, floats, moments])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(800))]

        #[test]
        fn orders_are_those_of_sorting_every_value(
            points in points(0..30),
            (key, descending, from) in (path(), any::<bool>(), from()),
            filter in filter(),
            limit in 1usize..40,
        ) {
            let order = Order { key, descending, from };
            let sections = Sections::new(&points, 4);
            let view = sections.view().unwrap();
            for filter in [None, Some(&filter)] {
                let some = filter.map(|filter| allowed(filter, &view, &Unwatched).unwrap());
                let mut expected = Vec::new();
                for (ordinal, (id, payload)) in (0..).zip(&points) {
                    if filter.is_none_or(|filter| matches(filter, *id, payload, &|name| name == VECTOR)) {
                        let values = order_values(&order.key, payload).into_iter().filter(|value| order.has(*value));
                        expected.extend(values.map(|value| Ordered { value, id: *id, ordinal }));
                    }
                }
                expected.sort_by_key(|entry| order.place(entry.value, entry.id));
                expected.truncate(limit);
                prop_assert_eq!(ordered(&order, some.as_ref(), limit, &view, &Unwatched).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_point_has_an_entry_for_each_of_its_values() {
        let payload = json!({"a": [3, 1.5, "2024-01-01", 3, "x", null, [7], true], "b": {"c": 2}, "n": u64::MAX});
        let at = |key: &str| {
            let values = order_values(&Path::parse(key).unwrap(), payload.as_object().unwrap());
            serde_json::to_value(values).unwrap()
        };
        assert_eq!(at("a"), json!([1.5, 3, 1_704_067_200_000_000i64]));
        assert_eq!(at("b.c"), json!([2]));
        assert_eq!(at("n"), json!([u64::MAX as f64]));
        assert_eq!(at("b"), json!([]));
    }

    #[test]
    fn many_equal_values_are_cut_by_id_and_the_rest_is_not_looked_at() {
        let point = |i: u64| (PointId::Num(5_000 - i), json!({"same": 1, "each": i}).as_object().unwrap().clone());
        let points: Vec<(PointId, Payload)> = (0..5_000).map(point).collect();
        let sections = Sections::new(&points, 64);
        let view = sections.view().unwrap();
        let ids = |key: &str, descending: bool, from: Option<i64>| {
            let order = Order { key: Path::key(key), descending, from: from.map(OrderValue::Integer) };
            let found = ordered(&order, None, 3, &view, &Unwatched).unwrap();
            found.into_iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids("same", false, None), "1 2 3");
        assert_eq!(ids("same", true, None), "5000 4999 4998");
        assert_eq!(ids("each", false, Some(10)), "4990 4989 4988");
        assert_eq!(ids("each", true, Some(10)), "4990 4991 4992");
        assert_eq!(ids("each", true, Some(-1)), "");
        let stop = std::sync::atomic::AtomicBool::new(true);
        let order = Order { key: Path::key("each"), descending: false, from: None };
        assert_eq!(ordered(&order, None, 3, &view, &stop), Err(Error::Cancelled));
    }
}
