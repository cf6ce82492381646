//! Whether operations fit a collection's schema and the limits: before anything of them is written.

use std::io::{self, Write};

use cairn_model::{
    CollectionSchema, Operation, Payload, PointId, Vector, Vectors, is_shallow,
    limits::{PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX},
};

use crate::error::{Error, Result};

/// Checks all operations against every limit and against the schema.
///
/// # Errors
/// `Validation` for a limit, `Invalid` in Qdrant's words for what contradicts the schema, `Unsupported` for what would leave a point
/// without its vector.
pub fn check_operations(schema: &CollectionSchema, operations: &[Operation]) -> Result<()> {
    operations.iter().try_for_each(|operation| {
        check(schema, operation)?;
        operation.validate().map_err(|error| Error::body(error.at, error.why))
    })
}

fn check(schema: &CollectionSchema, operation: &Operation) -> Result<()> {
    match operation {
        Operation::Upsert { points, .. } => points.iter().try_for_each(|point| {
            vectors(schema, &point.vectors)?;
            complete(schema, point.id, &point.vectors)?;
            payload(&point.payload)
        }),
        Operation::UpdateVectors { points, .. } => points.iter().try_for_each(|(_, named)| vectors(schema, named)),
        Operation::SetPayload { payload: new, .. } | Operation::OverwritePayload { payload: new, .. } => payload(new),
        Operation::DeleteVectors { names, .. } => {
            names.iter().try_for_each(|name| params(schema, name).map(|_| ()))?;
            Err(Error::Unsupported("deleting the only vector of points".into()))
        }
        Operation::Delete(_) | Operation::DeletePayload { .. } | Operation::ClearPayload(_) => Ok(()),
    }
}

/// How many dimensions a vector has.
fn params(schema: &CollectionSchema, name: &str) -> Result<u32> {
    match schema.vectors.get(name) {
        Some(params) => Ok(params.size),
        None => Err(Error::Invalid(format!("Not existing vector name error: {name}"))),
    }
}

fn vectors(schema: &CollectionSchema, vectors: &Vectors) -> Result<()> {
    vectors.iter().try_for_each(|(name, vector)| {
        let expected = params(schema, name)?;
        match vector {
            Vector::Dense(values) if values.len() == expected as usize => Ok(()),
            Vector::Dense(values) => {
                let got = values.len();
                Err(Error::Invalid(format!("Vector dimension error: expected dim: {expected}, got {got}")))
            }
            Vector::Multi { .. } => Err(Error::Invalid("Conversion between multi and regular vectors failed".into())),
            Vector::Sparse { .. } => Err(Error::Invalid("Conversion between sparse and regular vectors failed".into())),
        }
    })
}

/// Today every point has all vectors of its collection.
fn complete(schema: &CollectionSchema, id: PointId, vectors: &Vectors) -> Result<()> {
    match schema.vectors.keys().find(|name| !vectors.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::Invalid(format!(
            "Point {id} has no vector `{name}`: this version of Cairn stores every vector of the collection with every point"
        ))),
    }
}

/// What a log object can hold of one payload.
fn payload(payload: &Payload) -> Result<()> {
    if !is_shallow(payload) {
        return Err(Error::body("payload", format!("nested deeper than {PAYLOAD_DEPTH_MAX}")));
    }
    let mut bytes = Count(0);
    serde_json::to_writer(&mut bytes, payload).map_err(|error| Error::Internal(error.to_string()))?;
    if bytes.0 > PAYLOAD_BYTES_MAX {
        let why = format!("{} bytes long, at most {PAYLOAD_BYTES_MAX} are allowed", bytes.0);
        return Err(Error::body("payload", why));
    }
    Ok(())
}

/// Counts what is written into it.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::{Distance, FilterText, Point, Selection, UpdateMode, VectorParams};
    use serde_json::{Value, json};

    use super::*;

    fn upsert(vectors: Vectors, payload: Payload) -> Operation {
        let point = Point { id: PointId::Num(7), vectors, payload };
        Operation::Upsert { points: vec![point], mode: UpdateMode::Upsert, filter: None }
    }

    fn named(name: &str, vector: Vector) -> Vectors {
        Vectors::from([(name.to_owned(), vector)])
    }

    fn checked(operation: Operation) -> std::result::Result<(), String> {
        let schema = CollectionSchema::single("a", VectorParams::new(2, Distance::Dot), 1);
        check_operations(&schema, &[operation]).map_err(|error| error.to_string())
    }

    #[test]
    fn vectors_are_held_against_the_schema_in_qdrants_words() {
        let good = || named("a", Vector::Dense(vec![1.0, 2.0]));
        assert_eq!(checked(upsert(good(), Payload::default())), Ok(()));
        let sparse = Vector::Sparse { indices: vec![1], values: vec![1.0] };
        for (vectors, message) in [
            (named("a", Vector::Dense(vec![1.0])), "Wrong input: Vector dimension error: expected dim: 2, got 1"),
            (named("a", Vector::Dense(vec![])), "Wrong input: Vector dimension error: expected dim: 2, got 0"),
            (named("x", Vector::Dense(vec![1.0, 2.0])), "Wrong input: Not existing vector name error: x"),
            (named("", Vector::Dense(vec![1.0, 2.0])), "Wrong input: Not existing vector name error: "),
            (
                named("a", Vector::Multi { dim: 2, values: vec![1.0; 4] }),
                "Wrong input: Conversion between multi and regular vectors failed",
            ),
            (named("a", sparse), "Wrong input: Conversion between sparse and regular vectors failed"),
            (
                named("a", Vector::Dense(vec![1.0, f32::NAN])),
                "Validation error in JSON body: [point 7, vector 'a': every value must be a finite number]",
            ),
        ] {
            assert_eq!(checked(upsert(vectors.clone(), Payload::default())), Err(message.to_owned()));
            let change = Operation::UpdateVectors { points: vec![(PointId::Num(7), vectors)], filter: None };
            assert_eq!(checked(change), Err(message.to_owned()));
        }
        let error = checked(upsert(Vectors::new(), Payload::default())).unwrap_err();
        assert!(error.starts_with("Wrong input: Point 7 has no vector `a`: "), "{error}");
        let nothing = Operation::UpdateVectors { points: vec![(PointId::Num(7), Vectors::new())], filter: None };
        assert_eq!(checked(nothing), Ok(()));
    }

    #[test]
    fn a_point_keeps_its_only_vector() {
        let all = || Selection::Filter(FilterText::parse("{}").unwrap());
        let drop = |name: &str| checked(Operation::DeleteVectors { selection: all(), names: vec![name.to_owned()] });
        assert_eq!(drop("x").unwrap_err(), "Wrong input: Not existing vector name error: x");
        assert!(drop("a").unwrap_err().contains("deleting the only vector of points is not supported yet"));
        assert_eq!(checked(Operation::Delete(all())), Ok(()));
    }

    #[test]
    fn payloads_have_limits() {
        let nested = |depth| (0..depth).fold(json!(1), |value, _| json!([value]));
        let with = |value: Value| {
            let payload = Payload::from_iter([("k".to_owned(), value)]);
            let set = Operation::SetPayload { selection: Selection::Ids(vec![]), payload: payload.clone(), key: None };
            let set = checked(set);
            assert_eq!(set, checked(upsert(named("a", Vector::Dense(vec![1.0, 2.0])), payload)));
            set
        };
        assert_eq!(with(nested(PAYLOAD_DEPTH_MAX)), Ok(()));
        assert!(with(nested(PAYLOAD_DEPTH_MAX + 1)).unwrap_err().contains("nested deeper than 120"));
        let quotes_bytes = r#"{"k":""}"#.len();
        assert_eq!(with(json!("x".repeat(PAYLOAD_BYTES_MAX - quotes_bytes))), Ok(()));
        assert!(with(json!("x".repeat(PAYLOAD_BYTES_MAX))).unwrap_err().contains("at most 4194304 are allowed"));
    }
}
