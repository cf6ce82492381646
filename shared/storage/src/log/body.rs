//! Operations as bytes. `FORMAT.md` is the specification.

use std::sync::Arc;

use cairn_model::{
    FilterText, Operation, Path, Payload, Point, PointId, Selection, UpdateMode, Vector, Vectors,
    limits::{
        DIM_MAX, FILTER_BYTES_MAX, IDS_MAX, MULTI_VALUES_MAX, OPERATIONS_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX,
        SPARSE_VALUES_MAX, VECTORS_MAX,
    },
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    frame::FrameError,
    wire::{Reader, Result, Writer, wrong},
};

/// An id takes at least so many bytes.
const ID_BYTES: usize = 9;
/// A kind and a length.
const OPERATION_BYTES: usize = 5;

pub(super) fn encode(operations: &[Operation]) -> Result<Vec<u8>> {
    if operations.is_empty() || operations.len() > OPERATIONS_MAX {
        let why = format!("{} are given, between 1 and {OPERATIONS_MAX} are allowed", operations.len());
        return wrong("operations", why);
    }
    let mut to = Writer::default();
    to.u32("operations", operations.len())?;
    for operation in operations {
        operation.validate().or_else(|error| wrong("operation", error))?;
        let (kind, content) = operation_bytes(operation)?;
        to.u8(kind);
        to.long("operation", &content)?;
    }
    Ok(to.0)
}

fn operation_bytes(operation: &Operation) -> Result<(u8, Vec<u8>)> {
    let mut to = Writer::default();
    let kind = match operation {
        Operation::Upsert { points, mode, filter } => {
            to.u8(match mode {
                UpdateMode::Upsert => 0,
                UpdateMode::InsertOnly => 1,
                UpdateMode::UpdateOnly => 2,
            });
            put_filter(&mut to, filter.as_ref())?;
            to.u32("points", points.len())?;
            for point in points {
                put_id(&mut to, point.id);
                put_vectors(&mut to, &point.vectors)?;
                put_payload(&mut to, &point.payload)?;
            }
            1
        }
        Operation::Delete(selection) => {
            put_selection(&mut to, selection)?;
            2
        }
        Operation::SetPayload { selection, payload, key } | Operation::OverwritePayload { selection, payload, key } => {
            put_selection(&mut to, selection)?;
            to.text("key", &key.as_ref().map(Path::to_string).unwrap_or_default())?;
            put_payload(&mut to, payload)?;
            if matches!(operation, Operation::SetPayload { .. }) { 3 } else { 4 }
        }
        Operation::DeletePayload { selection, keys } => {
            put_selection(&mut to, selection)?;
            to.u32("keys", keys.len())?;
            keys.iter().try_for_each(|key| to.text("key", &key.to_string()))?;
            5
        }
        Operation::ClearPayload(selection) => {
            put_selection(&mut to, selection)?;
            6
        }
        Operation::UpdateVectors { points, filter } => {
            put_filter(&mut to, filter.as_ref())?;
            to.u32("points", points.len())?;
            for (id, vectors) in points {
                put_id(&mut to, *id);
                put_vectors(&mut to, vectors)?;
            }
            7
        }
        Operation::DeleteVectors { selection, names } => {
            put_selection(&mut to, selection)?;
            to.u32("names", names.len())?;
            names.iter().try_for_each(|name| to.text("name", name))?;
            8
        }
    };
    Ok((kind, to.0))
}

fn put_id(to: &mut Writer, id: PointId) {
    match id {
        PointId::Num(number) => {
            to.u8(0);
            to.u64(number);
        }
        PointId::Uuid(uuid) => {
            to.u8(1);
            to.0.extend(uuid.as_bytes());
        }
    }
}

fn put_filter(to: &mut Writer, filter: Option<&FilterText>) -> Result<()> {
    let text = filter.map_or("", FilterText::text);
    if text.len() > FILTER_BYTES_MAX {
        return wrong("filter", format!("{} bytes long, at most {FILTER_BYTES_MAX} are allowed", text.len()));
    }
    to.long("filter", text.as_bytes())
}

fn put_selection(to: &mut Writer, selection: &Selection) -> Result<()> {
    match selection {
        Selection::Ids(ids) => {
            to.u8(0);
            to.u32("ids", ids.len())?;
            ids.iter().for_each(|id| put_id(to, *id));
            Ok(())
        }
        Selection::Filter(filter) => {
            to.u8(1);
            put_filter(to, Some(filter))
        }
    }
}

fn put_vectors(to: &mut Writer, vectors: &Vectors) -> Result<()> {
    to.u16("vectors", vectors.len())?;
    for (name, vector) in vectors {
        to.text("name", name)?;
        match vector {
            Vector::Dense(values) => {
                to.u8(0);
                to.u32("vector", values.len())?;
                to.floats(values);
            }
            Vector::Multi { dim, values } => {
                to.u8(1);
                to.u32("dimensions", *dim as usize)?;
                to.u32("vector", values.len() / (*dim).max(1) as usize)?;
                to.floats(values);
            }
            Vector::Sparse { indices, values } => {
                to.u8(2);
                to.u32("vector", values.len())?;
                indices.iter().for_each(|index| to.0.extend(index.to_le_bytes()));
                to.floats(values);
            }
        }
    }
    Ok(())
}

fn put_payload(to: &mut Writer, payload: &Payload) -> Result<()> {
    if payload.is_empty() {
        return to.u32("payload", 0);
    }
    if !payload.values().all(|value| is_shallow(value, PAYLOAD_DEPTH_MAX)) {
        return wrong("payload", format!("nested more than {PAYLOAD_DEPTH_MAX} deep"));
    }
    let text = serde_json::to_vec(payload).or_else(|error| wrong("payload", error))?;
    if text.len() > PAYLOAD_BYTES_MAX {
        return wrong("payload", format!("{} bytes long, at most {PAYLOAD_BYTES_MAX} are allowed", text.len()));
    }
    to.long("payload", &text)
}

fn is_shallow(value: &Value, depth_max: usize) -> bool {
    match (value, depth_max.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => false,
        (Value::Array(values), Some(left)) => values.iter().all(|value| is_shallow(value, left)),
        (Value::Object(map), Some(left)) => map.values().all(|value| is_shallow(value, left)),
        _ => true,
    }
}

/// Reads `count` parts, and nothing may follow them.
pub(super) fn decode(body: &[u8], count: usize) -> Result<Vec<Arc<[Operation]>>> {
    let mut from = Reader(body);
    // A part has its count and one operation: a number that the body cannot hold takes no memory.
    let mut parts = Vec::with_capacity(count.min(body.len() / (4 + OPERATION_BYTES)));
    for _ in 0..count {
        let operations = from.count("operations", OPERATIONS_MAX, OPERATION_BYTES)?;
        if operations == 0 {
            return wrong("operations", "a part without one");
        }
        parts.push((0..operations).map(|_| operation(&mut from)).collect::<Result<Vec<_>>>()?.into());
    }
    from.end("body")?;
    Ok(parts)
}

fn operation(from: &mut Reader<'_>) -> Result<Operation> {
    let kind = from.u8("operation")?;
    let mut from = Reader(from.long("operation", usize::MAX)?);
    let from = &mut from;
    let operation = match kind {
        1 => {
            let mode = match from.u8("mode")? {
                0 => UpdateMode::Upsert,
                1 => UpdateMode::InsertOnly,
                2 => UpdateMode::UpdateOnly,
                other => return wrong("mode", format!("{other} is unknown")),
            };
            let filter = filter(from)?;
            let count = from.count("points", IDS_MAX, ID_BYTES + 2 + 4)?;
            let point = |_| Ok(Point { id: id(from)?, vectors: vectors(from)?, payload: payload(from)? });
            Operation::Upsert { points: (0..count).map(point).collect::<Result<_>>()?, mode, filter }
        }
        2 => Operation::Delete(selection(from)?),
        3 | 4 => {
            let selection = selection(from)?;
            let key = match from.text("key")? {
                "" => None,
                text => Some(path(text)?),
            };
            let payload = payload(from)?;
            if kind == 3 {
                Operation::SetPayload { selection, payload, key }
            } else {
                Operation::OverwritePayload { selection, payload, key }
            }
        }
        5 => {
            let selection = selection(from)?;
            let count = from.count("keys", IDS_MAX, 2)?;
            let keys = (0..count).map(|_| path(from.text("key")?)).collect::<Result<_>>()?;
            Operation::DeletePayload { selection, keys }
        }
        6 => Operation::ClearPayload(selection(from)?),
        7 => {
            let filter = filter(from)?;
            let count = from.count("points", IDS_MAX, ID_BYTES + 2)?;
            let points = (0..count).map(|_| Ok((id(from)?, vectors(from)?))).collect::<Result<_>>()?;
            Operation::UpdateVectors { points, filter }
        }
        8 => {
            let selection = selection(from)?;
            let count = from.count("names", VECTORS_MAX, 2)?;
            let names = (0..count).map(|_| from.text("name").map(str::to_owned)).collect::<Result<_>>()?;
            Operation::DeleteVectors { selection, names }
        }
        other => return wrong("operation", format!("kind {other} is unknown")),
    };
    from.end("operation")?;
    operation.validate().or_else(|error| wrong("operation", error))?;
    Ok(operation)
}

fn id(from: &mut Reader<'_>) -> Result<PointId> {
    match from.u8("id")? {
        0 => from.u64("id").map(PointId::Num),
        1 => from.array("id").map(|bytes| PointId::Uuid(Uuid::from_bytes(bytes))),
        other => wrong("id", format!("kind {other} is unknown")),
    }
}

fn path(text: &str) -> Result<Path> {
    Path::parse(text).or_else(|error| wrong("key", error))
}

fn filter(from: &mut Reader<'_>) -> Result<Option<FilterText>> {
    let bytes = from.long("filter", FILTER_BYTES_MAX)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(bytes).or_else(|error| wrong("filter", error))?;
    // The checksum has held: what does not parse was written by somebody who knows more conditions.
    FilterText::parse(text).map(Some).map_err(|error| FrameError::Filter(error.to_string()))
}

fn selection(from: &mut Reader<'_>) -> Result<Selection> {
    match from.u8("selection")? {
        0 => {
            let count = from.count("ids", IDS_MAX, ID_BYTES)?;
            Ok(Selection::Ids((0..count).map(|_| id(from)).collect::<Result<_>>()?))
        }
        1 => match filter(from)? {
            Some(filter) => Ok(Selection::Filter(filter)),
            None => wrong("selection", "a filter without a byte"),
        },
        other => wrong("selection", format!("kind {other} is unknown")),
    }
}

fn vectors(from: &mut Reader<'_>) -> Result<Vectors> {
    let count = from.u16("vectors")?;
    let mut vectors = Vectors::new();
    for _ in 0..count {
        let name = from.text("name")?;
        if vectors.last_key_value().is_some_and(|(last, _)| last.as_str() >= name) {
            return wrong("name", "names must ascend, each once");
        }
        vectors.insert(name.to_owned(), vector(from)?);
    }
    Ok(vectors)
}

fn vector(from: &mut Reader<'_>) -> Result<Vector> {
    const FIELD: &str = "vector";
    match from.u8(FIELD)? {
        0 => {
            let count = from.count(FIELD, DIM_MAX, 4)?;
            Ok(Vector::Dense(from.words(FIELD, count, f32::from_le_bytes)?))
        }
        1 => {
            let dim = u32::from_le_bytes(from.array("dimensions")?);
            let rows = from.count(FIELD, MULTI_VALUES_MAX, 4)?;
            let count = rows.checked_mul(dim as usize).ok_or(FrameError::Short(FIELD))?;
            Ok(Vector::Multi { dim, values: from.words(FIELD, count, f32::from_le_bytes)? })
        }
        2 => {
            let count = from.count(FIELD, SPARSE_VALUES_MAX, 8)?;
            let indices = from.words(FIELD, count, u32::from_le_bytes)?;
            Ok(Vector::Sparse { indices, values: from.words(FIELD, count, f32::from_le_bytes)? })
        }
        other => wrong(FIELD, format!("kind {other} is unknown")),
    }
}

fn payload(from: &mut Reader<'_>) -> Result<Payload> {
    let bytes = from.long("payload", PAYLOAD_BYTES_MAX)?;
    if bytes.is_empty() {
        return Ok(Payload::default());
    }
    serde_json::from_slice(bytes).or_else(|error| wrong("payload", error))
}
