//! Orders of points by a payload field.

use std::cmp::{Ordering, Reverse};

use serde::{Serialize, Serializer};

use crate::{Path, PointId};

/// An order of points by their values at a path. A point without such a value is not in it, one with several is in it
/// once for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Which field.
    pub key: Path,
    /// Whether the largest comes first.
    pub descending: bool,
    /// The first value that may come.
    pub from: Option<OrderValue>,
}

/// A value by which points are ordered: a number, or a datetime as microseconds since 1970 UTC.
///
/// They are compared as numbers, exactly and whatever their type: an integer may equal a float.
#[derive(Clone, Copy, Debug)]
pub enum OrderValue {
    /// An integer or a datetime.
    Integer(i64),
    /// A number that is no integer of 64 bits; finite.
    Float(f64),
}

/// Where a value of a point stands in an order: smaller is earlier. Those of one order can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderPlace {
    /// In an ascending one.
    Ascending(OrderValue, PointId),
    /// In a descending one.
    Descending(Reverse<(OrderValue, PointId)>),
}

impl Order {
    /// Where `value` of a point stands; equal values by id.
    #[must_use]
    pub const fn place(&self, value: OrderValue, id: PointId) -> OrderPlace {
        if self.descending { OrderPlace::Descending(Reverse((value, id))) } else { OrderPlace::Ascending(value, id) }
    }

    /// Whether `value` is not before the first that may come.
    #[must_use]
    pub fn has(&self, value: OrderValue) -> bool {
        match self.from {
            None => true,
            Some(from) if self.descending => value <= from,
            Some(from) => value >= from,
        }
    }
}

/// Compares exactly: beyond 2^53 not every integer is a float.
fn compare(integer: i64, float: f64) -> Ordering {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if float >= END {
        return Ordering::Less;
    }
    if float < -END {
        return Ordering::Greater;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within the bounds of i64")]
    let whole = float.trunc() as i64;
    let fraction = float.fract();
    let rest = if fraction > 0.0 {
        Ordering::Less
    } else if fraction < 0.0 {
        Ordering::Greater
    } else {
        Ordering::Equal
    };
    integer.cmp(&whole).then(rest)
}

impl Ord for OrderValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            // All of them are finite.
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Self::Integer(a), Self::Float(b)) => compare(a, b),
            (Self::Float(a), Self::Integer(b)) => compare(b, a).reverse(),
        }
    }
}

impl PartialOrd for OrderValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for OrderValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OrderValue {}

impl Serialize for OrderValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = OrderValue> {
        let integers = vec![0, 1, -1, i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1];
        let floats =
            vec![0.0, -0.0, 0.5, -0.5, 1.0, 9_007_199_254_740_992.0, 9.3e18, -9.3e18, -9_223_372_036_854_775_808.0];
        prop_oneof![
            proptest::sample::select(integers).prop_map(OrderValue::Integer),
            (-3i64..3).prop_map(OrderValue::Integer),
            proptest::sample::select(floats).prop_map(OrderValue::Float),
            (-3.0..3.0f64).prop_map(OrderValue::Float),
        ]
    }

    proptest! {
        #[test]
        fn values_have_one_order(a in value(), b in value(), c in value()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(a.cmp(&c), b.cmp(&c));
            }
        }
    }

    #[test]
    fn integers_and_floats_are_compared_exactly() {
        let (integer, float) = (OrderValue::Integer, OrderValue::Float);
        let ascending = [
            float(-9.3e18),
            integer(i64::MIN),
            float(-0.5),
            integer(0),
            float(0.5),
            float(9_007_199_254_740_992.0),
            integer(9_007_199_254_740_993),
            integer(i64::MAX),
            float(9_223_372_036_854_775_808.0),
        ];
        assert!(ascending.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!([float(0.0), float(-9_223_372_036_854_775_808.0)], [integer(0), integer(i64::MIN)]);
        assert_eq!(float(-0.0), integer(0));
        assert_eq!(serde_json::to_string(&[integer(2), float(2.0)]).unwrap(), "[2,2.0]");
    }

    #[test]
    fn an_order_begins_where_it_is_told() {
        let order = |descending, from| Order { key: Path::key("a"), descending, from };
        let (two, three) = (OrderValue::Integer(2), OrderValue::Float(3.0));
        assert!(order(false, Some(two)).has(three) && order(false, Some(OrderValue::Float(2.0))).has(two));
        assert!(!order(true, Some(two)).has(three) && order(true, Some(three)).has(two));
        assert!(order(true, None).has(two));
        let place = |descending, value, id| order(descending, None).place(value, PointId::Num(id));
        assert!(place(false, two, 1) < place(false, two, 2) && place(false, two, 2) < place(false, three, 1));
        assert!(place(true, two, 2) < place(true, two, 1) && place(true, three, 1) < place(true, two, 2));
    }
}
