//! `order_by`: a payload key, or an object with a key, a direction and where to begin.

use std::fmt;

use cairn_model::{Order, OrderValue, Path, filter::parse_datetime};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// The value of `order_by`.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderBy(pub Order);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    key: Path,
    direction: Option<Direction>,
    start_from: Option<Start>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Asc,
    Desc,
}

/// A number or a datetime.
struct Start(OrderValue);

impl<'de> Deserialize<'de> for OrderBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = OrderBy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a payload key, or an object with `key`, `direction` and `start_from`")
            }
            fn visit_str<E: de::Error>(self, key: &str) -> Result<OrderBy, E> {
                let key = Path::parse(key).map_err(E::custom)?;
                Ok(OrderBy(Order { key, descending: false, from: None }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OrderBy, A::Error> {
                let Whole { key, direction, start_from } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                let descending = direction == Some(Direction::Desc);
                Ok(OrderBy(Order { key, descending, from: start_from.map(|start| start.0) }))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Start;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or an RFC 3339 datetime")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Start, E> {
                Ok(Start(OrderValue::Integer(number)))
            }
            #[expect(clippy::cast_precision_loss, reason = "what no i64 holds is a float, in payloads too")]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Start, E> {
                Ok(Start(i64::try_from(number).map_or(OrderValue::Float(number as f64), OrderValue::Integer)))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Start, E> {
                Ok(Start(OrderValue::Float(number)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Start, E> {
                let moment = parse_datetime(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Start(OrderValue::Integer(moment)))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(json: serde_json::Value) -> Result<(String, bool, Option<OrderValue>), String> {
        let parsed: Result<OrderBy, _> = serde_json::from_value(json);
        parsed.map(|OrderBy(order)| (order.key.to_string(), order.descending, order.from)).map_err(|e| e.to_string())
    }

    #[test]
    fn every_form_is_read() {
        let integer = |value| Some(OrderValue::Integer(value));
        for (json, expected) in [
            (json!("a.b[]"), ("a.b[]", false, None)),
            (json!({"key": "a"}), ("a", false, None)),
            (json!({"key": "a", "direction": "asc", "start_from": null}), ("a", false, None)),
            (json!({"key": "a", "direction": "desc", "start_from": -3}), ("a", true, integer(-3))),
            (json!({"key": "a", "start_from": 2.5}), ("a", false, Some(OrderValue::Float(2.5)))),
            (json!({"key": "a", "start_from": u64::MAX}), ("a", false, Some(OrderValue::Float(u64::MAX as f64)))),
            (json!({"key": "a", "start_from": "2024-01-01"}), ("a", false, integer(1_704_067_200_000_000))),
        ] {
            assert_eq!(order(json.clone()), Ok((expected.0.to_owned(), expected.1, expected.2)), "{json}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, why) in [
            (json!(1), "a payload key, or an object"),
            (json!("a["), "byte 1"),
            (json!({}), "missing field `key`"),
            (json!({"key": "a", "dir": "asc"}), "unknown field `dir`"),
            (json!({"key": "a", "direction": "up"}), "`asc` or `desc`"),
            (json!({"key": "a", "start_from": "soon"}), "RFC 3339"),
            (json!({"key": "a", "start_from": true}), "a number or"),
        ] {
            let error = order(json.clone()).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
