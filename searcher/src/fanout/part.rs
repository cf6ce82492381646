//! What a leaf answers: for each query its nearest points, as near as the engine measures, and what they show.

use cairn_model::{Usage, Vector};
use serde_json::value::RawValue;

use super::wire::{Reader, Result, Writer, wrong};
use crate::request::Record;

/// Largest frame that answers.
pub const PART_BYTES_MAX: usize = 256 << 20;

const MAGIC: [u8; 4] = *b"CRNA";
/// Bytes of a hit without payload and vector.
const HIT_BYTES_MIN: usize = 14;
const PAYLOAD: u8 = 1;
const VECTORS: u8 = 2;
/// Kinds of vectors.
const DENSE: u8 = 0;
const MULTI: u8 = 1;
const SPARSE: u8 = 2;
/// Bytes of a vector without values.
const VECTOR_BYTES_MIN: usize = 9;

/// A point, and how near it is.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The engine's distance: smaller is nearer. Never NaN.
    pub distance: f32,
    /// The point.
    pub record: Record,
}

/// What a leaf answers.
#[derive(Clone, Debug)]
pub struct Part {
    /// One list per query.
    pub answers: Vec<Vec<Hit>>,
    /// What the leaf spent.
    pub usage: Usage,
}

impl Part {
    /// The frame.
    ///
    /// # Errors
    /// `TooLarge` above [`PART_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut to = Writer::new(MAGIC);
        // Not what it costs, nor what was left out: the root prices all requests together, and chooses for all.
        let mut usage = Usage { cost_nanodollars: 0, segments_skipped: 0, ..self.usage };
        let counters = usage.counters();
        to.count(counters.len());
        counters.into_iter().for_each(|counter| to.u64(*counter));
        to.count(self.answers.len());
        for hits in &self.answers {
            to.count(hits.len());
            for hit in hits {
                write_hit(&mut to, hit);
                if to.len() > PART_BYTES_MAX {
                    return to.finish(PART_BYTES_MAX);
                }
            }
        }
        to.finish(PART_BYTES_MAX)
    }

    /// Reads the answer to `queries` queries.
    ///
    /// # Errors
    /// Says what is wrong with the frame.
    pub fn decode(frame: &[u8], queries: usize) -> Result<Self> {
        let mut from = Reader::new(frame, MAGIC, PART_BYTES_MAX)?;
        let mut usage = Usage::default();
        let count = from.count(8, "the usage")?;
        let values = (0..count).map(|_| from.u64("the usage")).collect::<Result<Vec<u64>>>()?;
        usage.counters().into_iter().zip(values).for_each(|(counter, value)| *counter = value);
        // Whatever a leaf says: these are the root's.
        (usage.cost_nanodollars, usage.segments_skipped) = (0, 0);
        let answers = from.count(4, "the answers")?;
        if answers != queries {
            return Err(wrong("the answers", format!("{answers} of them for {queries} queries")));
        }
        let one = |from: &mut Reader<'_>| {
            let hits = from.count(HIT_BYTES_MIN, "the hits")?;
            (0..hits).map(|_| read_hit(from)).collect::<Result<Vec<Hit>>>()
        };
        let answers = (0..answers).map(|_| one(&mut from)).collect::<Result<_>>()?;
        from.end()?;
        Ok(Self { answers, usage })
    }
}

fn write_hit(to: &mut Writer, hit: &Hit) {
    let Record { id, payload, vectors } = &hit.record;
    to.f32(hit.distance);
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    to.u8(flag(payload.is_some(), PAYLOAD) | flag(vectors.is_some(), VECTORS));
    to.id(*id);
    if let Some(payload) = payload {
        to.bytes(payload.get().as_bytes());
    }
    if let Some(vectors) = vectors {
        to.count(vectors.len());
        for (name, vector) in vectors {
            to.bytes(name.as_bytes());
            write_vector(to, vector);
        }
    }
}

fn write_vector(to: &mut Writer, vector: &Vector) {
    match vector {
        Vector::Dense(values) => {
            to.u8(DENSE);
            to.floats(values);
        }
        Vector::Multi { dim, values } => {
            to.u8(MULTI);
            to.u32(*dim);
            to.floats(values);
        }
        Vector::Sparse { indices, values } => {
            to.u8(SPARSE);
            to.count(indices.len());
            indices.iter().for_each(|index| to.u32(*index));
            to.floats(values);
        }
    }
}

fn read_vector(from: &mut Reader<'_>) -> Result<Vector> {
    const FIELD: &str = "a vector";
    match from.u8(FIELD)? {
        DENSE => from.floats(FIELD).map(Vector::Dense),
        MULTI => Ok(Vector::Multi { dim: from.u32(FIELD)?, values: from.floats(FIELD)? }),
        SPARSE => {
            let count = from.count(4, FIELD)?;
            let indices = (0..count).map(|_| from.u32(FIELD)).collect::<Result<_>>()?;
            Ok(Vector::Sparse { indices, values: from.floats(FIELD)? })
        }
        other => Err(wrong(FIELD, format!("kind {other}"))),
    }
}

fn read_hit(from: &mut Reader<'_>) -> Result<Hit> {
    let distance = from.f32("a distance")?;
    if distance.is_nan() {
        return Err(wrong("a distance", "is not a number"));
    }
    let flags = from.u8("a hit")?;
    if flags & !(PAYLOAD | VECTORS) != 0 {
        return Err(wrong("a hit", format!("flags {flags}")));
    }
    let id = from.id("an id")?;
    let payload = if flags & PAYLOAD == 0 {
        None
    } else {
        let text = from.text("a payload")?.to_owned();
        Some(RawValue::from_string(text).map_err(|error| wrong("a payload", error))?)
    };
    let vectors = if flags & VECTORS == 0 {
        None
    } else {
        let count = from.count(VECTOR_BYTES_MIN, "the vectors")?;
        let one = |from: &mut Reader<'_>| Ok((from.text("a vector's name")?.to_owned(), read_vector(from)?));
        Some((0..count).map(|_| one(from)).collect::<Result<_>>()?)
    };
    Ok(Hit { distance, record: Record { id, payload, vectors } })
}
