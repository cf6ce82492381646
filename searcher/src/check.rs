//! Whether operations fit a collection's schema and the limits: before anything of them is written.

use std::io::{self, Write};

use cairn_engine::fresh::Fresh;
use cairn_model::{
    CollectionSchema, Datatype, Operation, Payload, PointId, Vector, VectorKind, Vectors, is_shallow,
    limits::{PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX},
};

use crate::error::{Error, Result, no_vector};

/// Checks all operations against every limit and against the schema, and makes of vectors what is kept of them: one that is given where a point
/// has several is one of several, and elements of `uint8` are cast.
///
/// # Errors
/// `Validation` for a limit, `Invalid` in Qdrant's words for what contradicts the schema.
pub fn check_operations(schema: &CollectionSchema, operations: &mut [Operation]) -> Result<()> {
    operations.iter_mut().try_for_each(|operation| {
        fit(schema, operation)?;
        operation.validate().map_err(|error| Error::body(error.at, error.why))?;
        fit_datatypes(schema, operation)
    })
}

fn fit(schema: &CollectionSchema, operation: &mut Operation) -> Result<()> {
    match operation {
        Operation::Upsert { points, .. } => points.iter_mut().try_for_each(|point| {
            fit_vectors(schema, &mut point.vectors)?;
            payload(&point.payload)
        }),
        Operation::UpdateVectors { points, .. } => {
            points.iter_mut().try_for_each(|(_, named)| fit_vectors(schema, named))
        }
        Operation::SetPayload { payload: new, .. } | Operation::OverwritePayload { payload: new, .. } => payload(new),
        Operation::DeleteVectors { names, .. } => names.iter().try_for_each(|name| kind(schema, name).map(|_| ())),
        Operation::Delete(_) | Operation::DeletePayload { .. } | Operation::ClearPayload(_) => Ok(()),
    }
}

fn kind<'a>(schema: &'a CollectionSchema, name: &str) -> Result<VectorKind<'a>> {
    schema.kind(name).ok_or_else(|| no_vector(name))
}

fn fit_vectors(schema: &CollectionSchema, vectors: &mut Vectors) -> Result<()> {
    vectors.iter_mut().try_for_each(|(name, vector)| fit_vector(kind(schema, name)?, vector))
}

fn fit_vector(kind: VectorKind<'_>, vector: &mut Vector) -> Result<()> {
    let other = |what| Err(Error::Invalid(format!("Conversion between {what} and regular vectors failed")));
    match (kind, &mut *vector) {
        (VectorKind::Dense(params), Vector::Dense(values)) => dimension(params.size, values.len()),
        (VectorKind::Multi(params), Vector::Multi { dim, .. }) => dimension(params.size, *dim as usize),
        (VectorKind::Multi(params), Vector::Dense(values)) => {
            dimension(params.size, values.len())?;
            *vector = Vector::Multi { dim: params.size, values: std::mem::take(values) };
            Ok(())
        }
        (VectorKind::Sparse(_), Vector::Sparse { .. }) => Ok(()),
        (VectorKind::Dense(_) | VectorKind::Sparse(_), Vector::Multi { .. }) => other("multi"),
        (VectorKind::Sparse(_), Vector::Dense(_))
        | (VectorKind::Dense(_) | VectorKind::Multi(_), Vector::Sparse { .. }) => other("sparse"),
    }
}

pub(crate) fn dimension(expected: u32, got: usize) -> Result<()> {
    if got == expected as usize {
        return Ok(());
    }
    Err(Error::Invalid(format!("Vector dimension error: expected dim: {expected}, got {got}")))
}

/// Makes of finite values what their datatypes hold, so that the log and every answer have the same, and refuses what they do not. What reads the
/// log is asked, which can refuse nothing any more once an operation is there. 32-bit floats always fit.
fn fit_datatypes(schema: &CollectionSchema, operation: &mut Operation) -> Result<()> {
    if schema.vectors.values().all(|params| params.datatype == Datatype::Float32) {
        return Ok(());
    }
    let mut judge = Fresh::new(schema);
    let mut fits = |id: PointId, vectors: &mut Vectors| {
        for (name, vector) in vectors.iter_mut() {
            if let (Some(params), Vector::Dense(values) | Vector::Multi { values, .. }) =
                (schema.vectors.get(name), vector)
            {
                cast(params.datatype, values);
            }
        }
        let put = judge.put(id, 0, vectors, Payload::default());
        put.map_err(|error| Error::Invalid(format!("point {id}: {error}")))
    };
    match operation {
        Operation::Upsert { points, .. } => points.iter_mut().try_for_each(|point| fits(point.id, &mut point.vectors)),
        Operation::UpdateVectors { points, .. } => points.iter_mut().try_for_each(|(id, vectors)| fits(*id, vectors)),
        _ => Ok(()),
    }
}

/// Makes `uint8` of values where that is their datatype, as Qdrant does: a fraction is cut off, and what is below 0 or above 255 is the nearest
/// of them.
pub(crate) fn cast(datatype: Datatype, values: &mut [f32]) {
    #[expect(clippy::cast_possible_truncation, reason = "it truncates and saturates, which is what is wanted")]
    let byte = |value: f32| value as u8;
    if datatype == Datatype::Uint8 {
        values.iter_mut().for_each(|value| *value = f32::from(byte(*value)));
    }
}

/// What a log object can hold of one payload.
///
/// # Errors
/// `Validation` when it is too deep or too long.
pub(crate) fn payload(payload: &Payload) -> Result<()> {
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
    use cairn_model::{
        Comparator, Distance, Filter, MultivectorConfig, Point, Selection, SparseVectorParams, UpdateMode, VectorParams,
    };
    use serde_json::{Value, json};

    use super::*;

    fn upsert(vectors: Vectors, payload: Payload) -> Operation {
        let point = Point { id: PointId::Num(7), vectors, payload };
        Operation::Upsert { points: vec![point], mode: UpdateMode::Upsert, filter: None }
    }

    fn named(name: &str, vector: Vector) -> Vectors {
        Vectors::from([(name.to_owned(), vector)])
    }

    /// A collection of all kinds of vectors.
    fn schema() -> CollectionSchema {
        let mut schema = CollectionSchema::single("a", VectorParams::new(2, Distance::Dot), 1);
        let mut more = |name: &str, params: VectorParams| {
            schema.vectors.insert(name.to_owned(), params);
        };
        more("bytes", VectorParams { datatype: Datatype::Uint8, ..VectorParams::new(2, Distance::Dot) });
        more("half", VectorParams { datatype: Datatype::Float16, ..VectorParams::new(2, Distance::Dot) });
        let multivector = Some(MultivectorConfig { comparator: Comparator::MaxSim });
        more("rows", VectorParams { multivector, ..VectorParams::new(2, Distance::Cosine) });
        let datatype = Datatype::Uint8;
        more("byte rows", VectorParams { multivector, datatype, ..VectorParams::new(2, Distance::Dot) });
        schema.sparse_vectors.insert("s".into(), SparseVectorParams::default());
        schema
    }

    fn checked(mut operation: Operation) -> std::result::Result<Operation, String> {
        let done = check_operations(&schema(), std::slice::from_mut(&mut operation));
        done.map(|()| operation).map_err(|error| error.to_string())
    }

    fn dense(values: &[f32]) -> Vector {
        Vector::Dense(values.to_vec())
    }

    #[test]
    fn vectors_are_held_against_the_schema_in_qdrants_words() {
        let multi = |dim, values: &[f32]| Vector::Multi { dim, values: values.to_vec() };
        let sparse = |indices: &[u32]| Vector::Sparse { indices: indices.to_vec(), values: vec![1.0; indices.len()] };
        for (vectors, message) in [
            (named("a", dense(&[1.0])), "Wrong input: Vector dimension error: expected dim: 2, got 1"),
            (named("a", dense(&[])), "Wrong input: Vector dimension error: expected dim: 2, got 0"),
            (named("x", dense(&[1.0, 2.0])), "Wrong input: Not existing vector name error: x"),
            (named("", dense(&[1.0, 2.0])), "Wrong input: Not existing vector name error: "),
            (named("a", multi(2, &[1.0; 4])), "Wrong input: Conversion between multi and regular vectors failed"),
            (named("s", multi(2, &[1.0; 4])), "Wrong input: Conversion between multi and regular vectors failed"),
            (named("a", sparse(&[1])), "Wrong input: Conversion between sparse and regular vectors failed"),
            (named("rows", sparse(&[1])), "Wrong input: Conversion between sparse and regular vectors failed"),
            (named("s", dense(&[1.0, 2.0])), "Wrong input: Conversion between sparse and regular vectors failed"),
            (named("rows", multi(3, &[1.0; 6])), "Wrong input: Vector dimension error: expected dim: 2, got 3"),
            (named("rows", dense(&[1.0; 3])), "Wrong input: Vector dimension error: expected dim: 2, got 3"),
            (named("rows", multi(0, &[])), "Wrong input: Vector dimension error: expected dim: 2, got 0"),
            (
                named("a", dense(&[1.0, f32::NAN])),
                "Validation error in JSON body: [point 7, vector 'a': every value must be a finite number]",
            ),
            (
                named("s", sparse(&[3, 3])),
                "Validation error in JSON body: [point 7, vector 's': indices must be unique, and ascend]",
            ),
        ] {
            assert_eq!(checked(upsert(vectors.clone(), Payload::default())), Err(message.to_owned()));
            let change = Operation::UpdateVectors { points: vec![(PointId::Num(7), vectors)], filter: None };
            assert_eq!(checked(change), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_point_may_lack_any_vector() {
        let all = Vectors::from([
            ("a".to_owned(), dense(&[1.0, 2.0])),
            ("bytes".to_owned(), dense(&[0.0, 255.0])),
            ("half".to_owned(), dense(&[0.1, 65_504.0])),
            ("rows".to_owned(), Vector::Multi { dim: 2, values: vec![1.0; 6] }),
            ("byte rows".to_owned(), Vector::Multi { dim: 2, values: vec![3.0; 4] }),
            ("s".to_owned(), Vector::Sparse { indices: vec![], values: vec![] }),
        ]);
        let some =
            (0..=all.len()).map(|n| all.iter().take(n).map(|(k, v)| (k.clone(), v.clone())).collect::<Vectors>());
        for vectors in some {
            let operation = upsert(vectors.clone(), Payload::default());
            assert_eq!(checked(operation.clone()), Ok(operation));
            let change = Operation::UpdateVectors { points: vec![(PointId::Num(7), vectors)], filter: None };
            assert_eq!(checked(change.clone()), Ok(change));
        }
    }

    #[test]
    fn one_vector_where_there_may_be_several_is_the_only_row() {
        let rows = Vector::Multi { dim: 2, values: vec![1.0, 2.0] };
        let given = |vector| upsert(named("rows", vector), Payload::default());
        assert_eq!(checked(given(dense(&[1.0, 2.0]))), Ok(given(rows)));
    }

    #[test]
    fn bytes_are_cut_off_at_their_point_and_at_both_ends() {
        let given = [0.0, -0.0, 0.999, 1.5, 254.999, 255.0, 255.5, 256.0, 1e9, -0.5, -1.0, f32::MIN];
        let kept = [0.0, 0.0, 0.0, 1.0, 254.0, 255.0, 255.0, 255.0, 255.0, 0.0, 0.0, 0.0];
        let both = |name: &str, vector: Vector| {
            let change = vec![(PointId::Num(7), named(name, vector.clone()))];
            [upsert(named(name, vector), Payload::default()), Operation::UpdateVectors { points: change, filter: None }]
        };
        for (given, kept) in given.chunks(2).zip(kept.chunks(2)) {
            let row = |values: &[f32]| Vector::Multi { dim: 2, values: values.to_vec() };
            let many = |values: &[f32]| row(&[values, values].concat());
            for (name, given, kept) in [
                ("bytes", dense(given), dense(kept)),
                ("byte rows", many(given), many(kept)),
                ("byte rows", dense(given), row(kept)),
                ("a", dense(given), dense(given)),
            ] {
                for (given, kept) in both(name, given).into_iter().zip(both(name, kept)) {
                    assert_eq!(checked(given), Ok(kept), "{name}");
                }
            }
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for operation in both("bytes", dense(&[1.0, value])) {
                assert!(checked(operation).unwrap_err().contains("every value must be a finite number"), "{value}");
            }
        }
    }

    #[test]
    fn what_its_datatype_cannot_hold_never_reaches_the_log() {
        let vectors = || named("half", dense(&[1.0, 70_000.0]));
        let change = Operation::UpdateVectors { points: vec![(PointId::Num(7), vectors())], filter: None };
        for operation in [upsert(vectors(), Payload::default()), change] {
            let error = checked(operation).unwrap_err();
            assert_eq!(error, "Wrong input: point 7: vector: element 1 is 70000, beyond float16");
        }
    }

    #[test]
    fn vectors_are_deleted_by_names_that_there_are() {
        let all = || Selection::Filter(Filter::default());
        let drop = |name: &str| checked(Operation::DeleteVectors { selection: all(), names: vec![name.to_owned()] });
        assert_eq!(drop("x").unwrap_err(), "Wrong input: Not existing vector name error: x");
        for (name, _) in schema().kinds() {
            assert!(drop(name).is_ok(), "{name}");
        }
        assert!(checked(Operation::Delete(all())).is_ok());
    }

    #[test]
    fn payloads_have_limits() {
        let nested = |depth| (0..depth).fold(json!(1), |value, _| json!([value]));
        let with = |value: Value| {
            let payload = Payload::from_iter([("k".to_owned(), value)]);
            let set = Operation::SetPayload { selection: Selection::Ids(vec![]), payload: payload.clone(), key: None };
            let set = checked(set).map(|_| ());
            assert_eq!(set, checked(upsert(named("a", dense(&[1.0, 2.0])), payload)).map(|_| ()));
            set
        };
        assert_eq!(with(nested(PAYLOAD_DEPTH_MAX)), Ok(()));
        assert!(with(nested(PAYLOAD_DEPTH_MAX + 1)).unwrap_err().contains("nested deeper than 120"));
        let quotes_bytes = r#"{"k":""}"#.len();
        assert_eq!(with(json!("x".repeat(PAYLOAD_BYTES_MAX - quotes_bytes))), Ok(()));
        assert!(with(json!("x".repeat(PAYLOAD_BYTES_MAX))).unwrap_err().contains("at most 4194304 are allowed"));
    }
}
