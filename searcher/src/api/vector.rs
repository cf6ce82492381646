//! Query vectors from JSON, without a detour over a JSON value: they are most of a request's bytes.

use std::fmt;

use cairn_model::{Order, PointId, limits::DIM_MAX};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Visitor},
};
use uuid::Uuid;

use super::order::OrderBy;

/// A dense vector: an array of numbers that a 32-bit float can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseVector(pub Vec<f32>);

/// What a query may be near to.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A vector.
    Vector(Vec<f32>),
    /// A point.
    Point(PointId),
    /// No vector: points in an order of their values.
    Order(Order),
    /// A form of Qdrant's that this version does not have, by name.
    Later(String),
}

/// `query` of a query request: a target, or an object that names the kind of query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryInput(pub Target);

/// `vector` of a legacy search: an array, or `{"name", "vector"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedInput {
    /// The vector's name; `None` is the unnamed one.
    pub name: Option<String>,
    /// The vector.
    pub target: Target,
}

/// Kinds of query of Qdrant's that this version does not have.
const LATER_QUERIES: [&str; 8] =
    ["recommend", "discover", "context", "fusion", "rrf", "formula", "sample", "relevance_feedback"];
/// Fields of vectors that are objects: sparse vectors, and texts and images to be embedded.
const OBJECT_VECTORS: [&str; 7] = ["indices", "values", "text", "image", "object", "model", "options"];

/// One element of an array that should be a vector, or a vector of a multivector.
pub(super) enum Element {
    Number(f32),
    Row(Vec<f32>),
}

/// A number that a 32-bit float can hold.
pub(super) struct Float(pub(super) f32);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Float;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is wanted")]
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Float, E> {
                let narrow = number as f32;
                if narrow.is_finite() {
                    return Ok(Float(narrow));
                }
                Err(E::custom(format_args!("vector element {number:e} is not a finite 32-bit float")))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Float, E> {
                Ok(Float(number as f32))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Float, E> {
                Ok(Float(number as f32))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrRow;
        impl<'de> Visitor<'de> for NumberOrRow {
            type Value = Element;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Element, E> {
                Float::deserialize(number.into_deserializer()).map(|Float(value)| Element::Number(value))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Element, E> {
                Ok(Element::Number(number as f32))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Element, E> {
                Ok(Element::Number(number as f32))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
                let mut row = Vec::new();
                while let Some(Float(value)) = seq.next_element()? {
                    push(&mut row, value)?;
                }
                Ok(Element::Row(row))
            }
        }
        deserializer.deserialize_any(NumberOrRow)
    }
}

/// One dimension more of a vector.
pub(super) fn push<E: de::Error>(values: &mut Vec<f32>, value: f32) -> Result<(), E> {
    if values.len() == DIM_MAX {
        return Err(E::custom(format_args!("a vector has at most {DIM_MAX} elements")));
    }
    values.push(value);
    Ok(())
}

/// The rest of an array: a vector, or a multivector when its elements are arrays.
fn elements<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Target, A::Error> {
    let mut values = Vec::new();
    let mut nested = false;
    while let Some(element) = seq.next_element()? {
        match element {
            Element::Number(value) => push(&mut values, value)?,
            Element::Row(_) => nested = true,
        }
    }
    Ok(if nested { Target::Later("a multivector".into()) } else { Target::Vector(values) })
}

/// Visits all forms of a target; `kinds` tells whether an object may also name a kind of query.
struct TargetVisitor {
    kinds: bool,
}

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector, a point ID, or an object such as {\"nearest\": ...}")
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Target, E> {
        Ok(Target::Point(PointId::Num(number)))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Target, E> {
        let wrong = || E::custom(cairn_model::ParseIdError(text.to_owned()));
        Uuid::try_parse(text).map(|uuid| Target::Point(PointId::Uuid(uuid))).map_err(|_| wrong())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Target, A::Error> {
        elements(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Target, A::Error> {
        let mut found = None;
        let mut later = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "nearest" if self.kinds => found = Some(map.next_value::<Nearest>()?.0),
                "order_by" if self.kinds => found = Some(Target::Order(map.next_value::<OrderBy>()?.0)),
                "mmr" if self.kinds => {
                    if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                        later = Some("`query.mmr`".to_owned());
                    }
                }
                key if self.kinds && LATER_QUERIES.contains(&key) => {
                    map.next_value::<IgnoredAny>()?;
                    later = Some(format!("`query.{key}`"));
                }
                key if OBJECT_VECTORS.contains(&key) => {
                    map.next_value::<IgnoredAny>()?;
                    later.get_or_insert_with(|| format!("a vector with `{key}`"));
                }
                key if self.kinds => {
                    let expected = "expected `nearest` or `order_by`";
                    return Err(de::Error::custom(format_args!("unknown field `{key}`, {expected}")));
                }
                key => {
                    return Err(de::Error::custom(format_args!("unknown field `{key}`, expected a vector or an ID")));
                }
            }
        }
        match (later, found) {
            (Some(name), _) => Ok(Target::Later(name)),
            (None, Some(target)) => Ok(target),
            (None, None) => Err(de::Error::missing_field("nearest")),
        }
    }
}

/// The value of `nearest`.
struct Nearest(Target);

impl<'de> Deserialize<'de> for Nearest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor { kinds: false }).map(Self)
    }
}

impl<'de> Deserialize<'de> for QueryInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor { kinds: true }).map(Self)
    }
}

impl<'de> Deserialize<'de> for NamedInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = NamedInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, or an object with `name` and `vector`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<NamedInput, A::Error> {
                Ok(NamedInput { name: None, target: elements(seq)? })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedInput, A::Error> {
                let (mut name, mut target) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "name" => name = Some(map.next_value()?),
                        "vector" => target = Some(map.next_value::<Nearest>()?.0),
                        key => return Err(de::Error::unknown_field(key, &["name", "vector"])),
                    }
                }
                let target = match target.ok_or_else(|| de::Error::missing_field("vector"))? {
                    Target::Point(_) => {
                        return Err(de::Error::custom("a legacy search needs a vector, not a point ID"));
                    }
                    target => target,
                };
                Ok(NamedInput { name, target })
            }
        }
        deserializer.deserialize_any(Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(json: &str) -> Result<Target, String> {
        serde_json::from_str::<QueryInput>(json).map(|query| query.0).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_a_target_is_read() {
        assert_eq!(query("[1, -2, 0.5]"), Ok(Target::Vector(vec![1.0, -2.0, 0.5])));
        assert_eq!(query(r#"{"nearest": [1.5], "mmr": null}"#), Ok(Target::Vector(vec![1.5])));
        assert_eq!(query(r#"{"nearest": 7}"#), Ok(Target::Point(PointId::Num(7))));
        assert!(matches!(query(r#""936DA01F9ABD4d9d80C702AF85C822A8""#), Ok(Target::Point(PointId::Uuid(_)))));
        for (json, name) in [
            (r#"{"fusion": "rrf"}"#, "`query.fusion`"),
            (r#"{"nearest": [1], "mmr": {"diversity": 0.5}}"#, "`query.mmr`"),
            (r#"{"indices": [1], "values": [0.5]}"#, "a vector with `indices`"),
            (r#"{"nearest": {"text": "x", "model": "m"}}"#, "a vector with `text`"),
            ("[[1, 2], [3, 4]]", "a multivector"),
        ] {
            assert_eq!(query(json), Ok(Target::Later(name.into())), "{json}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, culprit) in [
            ("[1, 1e39]", "vector element 1e39"),
            ("[1e999]", "number out of range"),
            (r#"[1, "x"]"#, "invalid type: string \"x\", expected a number"),
            ("[null]", "invalid type: null, expected a number"),
            ("-1", "invalid type: integer `-1`"),
            ("\"12\"", "12 is not a valid point ID"),
            (r#"{"neares": [1]}"#, "unknown field `neares`"),
            (r#"{"nearest": {"nearest": [1]}}"#, "unknown field `nearest`"),
            ("{}", "missing field `nearest`"),
            ("true", "invalid type: boolean"),
        ] {
            let error = query(json).unwrap_err();
            assert!(error.contains(culprit), "{json}: {error}");
        }
        let long = format!("[{}1]", "1,".repeat(DIM_MAX));
        assert!(query(&long).unwrap_err().contains("at most 65536"));
    }
}
