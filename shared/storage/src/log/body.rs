//! Changes as bytes. `FORMAT.md` is the specification.

use std::sync::Arc;

use cairn_model::{
    Change, Payload, Point, PointId, Vector, Vectors, is_shallow,
    limits::{
        DIM_MAX, IDS_MAX, MULTI_VALUES_MAX, OPERATIONS_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX, SPARSE_VALUES_MAX,
    },
};
use uuid::Uuid;

use super::{
    frame::FrameError,
    wire::{Reader, Result, Writer, wrong},
};

/// A kind and a count.
const CHANGE_BYTES: usize = 5;
/// An id takes at least so many bytes.
const ID_BYTES: usize = 9;
/// And a point: an id, no vectors and an empty payload.
const POINT_BYTES: usize = ID_BYTES + 2 + 4;

const PUT: u8 = 1;
const REMOVE: u8 = 2;

pub(super) fn encode(changes: &[Change]) -> Result<Vec<u8>> {
    if changes.is_empty() || changes.len() > OPERATIONS_MAX {
        let why = format!("{} are given, between 1 and {OPERATIONS_MAX} are allowed", changes.len());
        return wrong("changes", why);
    }
    let mut to = Writer::default();
    to.u32("changes", changes.len())?;
    changes.iter().try_for_each(|change| put_change(&mut to, change))?;
    Ok(to.0)
}

fn put_change(to: &mut Writer, change: &Change) -> Result<()> {
    change.validate().or_else(|error| wrong("change", error))?;
    match change {
        Change::Put(points) => {
            to.u8(PUT);
            to.u32("points", points.len())?;
            for point in points {
                put_id(to, point.id);
                put_vectors(to, &point.vectors)?;
                put_payload(to, &point.payload)?;
            }
        }
        Change::Remove(ids) => {
            to.u8(REMOVE);
            to.u32("ids", ids.len())?;
            ids.iter().for_each(|id| put_id(to, *id));
        }
    }
    Ok(())
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
    if !is_shallow(payload) {
        return wrong("payload", format!("nested more than {PAYLOAD_DEPTH_MAX} deep"));
    }
    let text = serde_json::to_vec(payload).or_else(|error| wrong("payload", error))?;
    if text.len() > PAYLOAD_BYTES_MAX {
        return wrong("payload", format!("{} bytes long, at most {PAYLOAD_BYTES_MAX} are allowed", text.len()));
    }
    to.long("payload", &text)
}

/// Reads `count` parts, and nothing may follow them.
pub(super) fn decode(body: &[u8], count: usize) -> Result<Vec<Arc<[Change]>>> {
    let mut from = Reader(body);
    // A part has its count and one change: a number that the body cannot hold takes no memory.
    let mut parts = Vec::with_capacity(count.min(body.len() / (4 + CHANGE_BYTES)));
    for _ in 0..count {
        let changes = from.count("changes", OPERATIONS_MAX, CHANGE_BYTES)?;
        if changes == 0 {
            return wrong("changes", "a part without one");
        }
        parts.push((0..changes).map(|_| change(&mut from)).collect::<Result<Vec<_>>>()?.into());
    }
    from.end("body")?;
    Ok(parts)
}

fn change(from: &mut Reader<'_>) -> Result<Change> {
    let change = match from.u8("change")? {
        PUT => {
            let count = from.count("points", IDS_MAX, POINT_BYTES)?;
            let point = |_| Ok(Point { id: id(from)?, vectors: vectors(from)?, payload: payload(from)? });
            Change::Put((0..count).map(point).collect::<Result<_>>()?)
        }
        REMOVE => {
            let count = from.count("ids", IDS_MAX, ID_BYTES)?;
            Change::Remove((0..count).map(|_| id(from)).collect::<Result<_>>()?)
        }
        other => return wrong("change", format!("kind {other} is unknown")),
    };
    change.validate().or_else(|error| wrong("change", error))?;
    Ok(change)
}

fn id(from: &mut Reader<'_>) -> Result<PointId> {
    match from.u8("id")? {
        0 => from.u64("id").map(PointId::Num),
        1 => from.array("id").map(|bytes| PointId::Uuid(Uuid::from_bytes(bytes))),
        other => wrong("id", format!("kind {other} is unknown")),
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
