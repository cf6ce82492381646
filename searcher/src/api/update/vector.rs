//! Vectors of points as they are written: bare, by name, of many rows, sparse.

use std::fmt;

use cairn_model::{
    Vector, Vectors,
    limits::{MULTI_VALUES_MAX, SPARSE_VALUES_MAX, VECTORS_MAX},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::api::vector::{Element, Float, push};

/// One vector.
#[derive(Clone, Debug, PartialEq)]
pub struct PointVector(pub Vector);

/// `vector` of a point: one vector, which is the unnamed one, or vectors by name.
#[derive(Clone, Debug, PartialEq)]
pub struct PointVectors(pub Vectors);

/// `vectors` of a batch: one for each point, or lists of them by name.
#[derive(Debug, PartialEq)]
pub struct VectorColumns(pub Vec<(String, Vec<PointVector>)>);

/// Fields of what Qdrant turns into a vector by a model.
const INFERENCE: [&str; 5] = ["text", "image", "object", "model", "options"];

fn inference<E: de::Error>(field: &str) -> E {
    E::custom(format_args!(
        "a vector given by `{field}` needs inference, which this version of Cairn does not do: give its values"
    ))
}

/// The rest of an array: a dense vector, or a multivector when its elements are arrays.
fn dense_or_multi<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Vector, A::Error> {
    let (mut values, mut dim) = (Vec::new(), None);
    while let Some(element) = seq.next_element()? {
        match (element, dim) {
            (Element::Number(value), None) => push(&mut values, value)?,
            (Element::Row(row), None) if values.is_empty() => {
                dim = Some(row.len());
                values = row;
            }
            (Element::Row(row), Some(dim)) if row.len() == dim && values.len() < MULTI_VALUES_MAX => {
                values.extend(row);
            }
            (Element::Row(row), Some(dim)) if row.len() != dim => {
                let found = row.len();
                return Err(de::Error::custom(format_args!(
                    "all vectors of a multivector must have the same dimension, found {found} beside {dim}"
                )));
            }
            (Element::Row(_), Some(_)) => {
                return Err(de::Error::custom(format_args!("a multivector has at most {MULTI_VALUES_MAX} values")));
            }
            _ => return Err(de::Error::custom("a vector is an array of numbers or of arrays, not of both")),
        }
    }
    Ok(match dim {
        // A row has at most as many elements as a dimension may have.
        Some(dim) => Vector::Multi { dim: u32::try_from(dim).unwrap_or(u32::MAX), values },
        None => Vector::Dense(values),
    })
}

/// The rest of an object that should be a sparse vector.
fn sparse<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vector, A::Error> {
    let (mut indices, mut values) = (None, None);
    while let Some(key) = map.next_key::<String>()? {
        match key.as_str() {
            "indices" => indices = Some(map.next_value::<Vec<u32>>()?),
            "values" => values = Some(map.next_value::<Vec<Float>>()?),
            key if INFERENCE.contains(&key) => return Err(inference(key)),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    let indices = indices.ok_or_else(|| de::Error::missing_field("indices"))?;
    let values = values.ok_or_else(|| de::Error::missing_field("values"))?;
    if indices.len() != values.len() || indices.len() > SPARSE_VALUES_MAX {
        // Not paired: the operation's own check says what is wrong with it.
        let values = values.into_iter().map(|Float(value)| value).collect();
        return Ok(Vector::Sparse { indices, values });
    }
    let mut pairs: Vec<_> = indices.into_iter().zip(values).collect();
    pairs.sort_by_key(|(index, _)| *index);
    let (indices, values) = pairs.into_iter().map(|(index, Float(value))| (index, value)).unzip();
    Ok(Vector::Sparse { indices, values })
}

impl<'de> Deserialize<'de> for PointVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Vector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector: an array, or an object with `indices` and `values`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vector, A::Error> {
                dense_or_multi(seq)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vector, A::Error> {
                sparse(map)
            }
        }
        deserializer.deserialize_any(One).map(Self)
    }
}

/// What may stand under a key beside vectors: a vector, or a text, which makes the key one of inference's.
enum Named {
    Vector(Vector),
    Text,
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VectorOrText;
        impl<'de> Visitor<'de> for VectorOrText {
            type Value = Named;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector: an array, or an object with `indices` and `values`")
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Named, E> {
                Ok(Named::Text)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Named, A::Error> {
                dense_or_multi(seq).map(Named::Vector)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named, A::Error> {
                sparse(map).map(Named::Vector)
            }
        }
        deserializer.deserialize_any(VectorOrText)
    }
}

impl<'de> Deserialize<'de> for PointVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vectors;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, or an object of vectors by name")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vectors, A::Error> {
                Ok(Vectors::from([(String::new(), dense_or_multi(seq)?)]))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
                let mut vectors = Vectors::new();
                while let Some((name, value)) = map.next_entry::<String, Named>()? {
                    let vector = match value {
                        Named::Vector(vector) => vector,
                        Named::Text if INFERENCE.contains(&name.as_str()) => return Err(inference(&name)),
                        Named::Text => return Err(de::Error::custom(format_args!("vector `{name}` is a string"))),
                    };
                    distinct(vectors.insert(name, vector).is_none(), vectors.len())?;
                }
                Ok(vectors)
            }
        }
        deserializer.deserialize_any(All).map(Self)
    }
}

impl<'de> Deserialize<'de> for VectorColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = Vec<(String, Vec<PointVector>)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of vectors, or an object of such arrays by name")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let vectors = Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))?;
                Ok(vec![(String::new(), vectors)])
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut columns: Self::Value = Vec::new();
                while let Some((name, vectors)) = map.next_entry::<String, _>()? {
                    distinct(columns.iter().all(|(other, _)| *other != name), columns.len() + 1)?;
                    columns.push((name, vectors));
                }
                Ok(columns)
            }
        }
        deserializer.deserialize_any(Columns).map(Self)
    }
}

fn distinct<E: de::Error>(new: bool, count: usize) -> Result<(), E> {
    match new {
        false => Err(E::custom("a vector's name is there twice")),
        true if count > VECTORS_MAX => Err(E::custom(format_args!("a point has at most {VECTORS_MAX} vectors"))),
        true => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::limits::DIM_MAX;

    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn vectors(json: &str) -> Result<Vec<(String, Vector)>, String> {
        read::<PointVectors>(json).map(|vectors| vectors.0.into_iter().collect())
    }

    #[test]
    fn every_form_of_a_points_vectors() {
        let unnamed = |vector| Ok(vec![(String::new(), vector)]);
        assert_eq!(vectors("[1, -2.5]"), unnamed(Vector::Dense(vec![1.0, -2.5])));
        assert_eq!(vectors(r#"{"": [1, -2.5]}"#), vectors("[1, -2.5]"));
        assert_eq!(vectors("[]"), unnamed(Vector::Dense(vec![])));
        assert_eq!(vectors("[[1, 2], [3, 4]]"), unnamed(Vector::Multi { dim: 2, values: vec![1.0, 2.0, 3.0, 4.0] }));
        let sparse = Vector::Sparse { indices: vec![2, 9], values: vec![0.5, 1.0] };
        assert_eq!(
            vectors(r#"{"text": [1], "image": {"indices": [9, 2], "values": [1, 0.5]}}"#),
            Ok(vec![("image".to_owned(), sparse), ("text".to_owned(), Vector::Dense(vec![1.0]))]),
            "names of inference's are names where vectors stand under them, and indices are put in order"
        );
        assert_eq!(vectors("{}"), Ok(vec![]));
        let columns = |json: &str| read::<VectorColumns>(json).map(|columns| columns.0);
        let column = || vec![PointVector(Vector::Dense(vec![1.0])), PointVector(Vector::Dense(vec![2.0]))];
        assert_eq!(columns("[[1], [2]]"), Ok(vec![(String::new(), column())]));
        assert_eq!(columns(r#"{"a": [[1], [2]]}"#), Ok(vec![("a".to_owned(), column())]));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, why) in [
            ("null", "expected a vector, or an object of vectors by name"),
            ("[1, [2]]", "not of both"),
            ("[[1], 2]", "not of both"),
            ("[[1, 2], [3]]", "found 1 beside 2"),
            ("[[[1]]]", "invalid type: sequence, expected a number"),
            ("[1e39]", "not a finite 32-bit float"),
            ("[[1e39]]", "not a finite 32-bit float"),
            (r#"["x"]"#, "expected a number"),
            (r#"{"text": "stone", "model": "m"}"#, "a vector given by `text` needs inference"),
            (r#"{"a": {"image": "x", "model": "m"}}"#, "a vector given by `image` needs inference"),
            (r#"{"a": "x"}"#, "vector `a` is a string"),
            (r#"{"a": [1], "a": [2]}"#, "there twice"),
            (r#"{"a": {"indices": [1]}}"#, "missing field `values`"),
            (r#"{"a": {"indices": [-1], "values": [1]}}"#, "invalid value: integer `-1`"),
            (r#"{"a": null}"#, "invalid type: null"),
        ] {
            let error = vectors(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
        let many: Vec<String> = (0..=VECTORS_MAX).map(|n| format!("\"{n}\": [1]")).collect();
        assert!(vectors(&format!("{{{}}}", many.join(","))).unwrap_err().contains("at most 256 vectors"));
        let rows = vec![format!("[{}1]", "1,".repeat(DIM_MAX - 1)); MULTI_VALUES_MAX / DIM_MAX + 1];
        assert!(vectors(&format!("[{}]", rows.join(","))).unwrap_err().contains("at most 1048576 values"));
    }
}
