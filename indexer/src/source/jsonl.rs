//! JSON Lines: one object per line, `{"id": 7, "vector": [0.1, 0.2], "payload": {"a": 1}}`.
//!
//! - `vector` is required: an array of numbers.
//! - `id` is an unsigned integer or a UUID; every line has one, or none does and row numbers are the ids.
//! - The payload is the object under `payload`; where a line has no such key, it is all the line's other keys.
//!   A line with `payload` *and* other keys is refused: it is unclear what the others would be for.
//! - Blank lines are skipped.

use std::{fmt, io::BufRead};

use cairn_model::{
    PointId,
    limits::{DIM_MAX, PAYLOAD_BYTES_MAX},
};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Batch, Element, Input, Layout, Source, batch::BATCH_BYTES, check_dim, check_finite};
use crate::{Error, Place, Result};

/// A JSONL file of points.
pub struct Jsonl<R> {
    input: Input<R>,
    dim: usize,
    has_ids: bool,
    /// The row that was read ahead.
    next: Option<Row>,
    line: Vec<u8>,
    number: u64,
}

/// One line.
struct Row {
    id: Option<PointId>,
    vector: Vec<f32>,
    payload: String,
}

impl<R: BufRead> Jsonl<R> {
    /// Reads the first line, which settles the dimension and whether there are ids.
    ///
    /// # Errors
    /// [`Error::Malformed`]: an empty file or a bad first line.
    pub fn new(input: Input<R>) -> Result<Self> {
        let mut this = Self { input, dim: 0, has_ids: false, next: None, line: Vec::new(), number: 0 };
        let Some(row) = this.row()? else {
            return Err(Error::malformed(this.input.file(), Place::File, "no lines, expected one point per line"));
        };
        this.dim = check_dim(this.input.file(), Place::Line(this.number), row.vector.len() as u64)?;
        this.has_ids = row.id.is_some();
        this.next = Some(row);
        Ok(this)
    }

    fn fail(&self, why: impl Into<String>) -> Error {
        Error::malformed(self.input.file(), Place::Line(self.number), why)
    }

    /// The next line that is not blank.
    fn row(&mut self) -> Result<Option<Row>> {
        loop {
            self.number += 1;
            if !self.input.line(self.number, &mut self.line)? {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let row: Row = serde_json::from_slice(&self.line).map_err(|error| self.fail(reason(&error)))?;
        check_finite(self.input.file(), Place::Line(self.number), &row.vector)?;
        if row.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(
                self.fail(format!("a payload of {} bytes, at most {PAYLOAD_BYTES_MAX} are allowed", row.payload.len()))
            );
        }
        Ok(Some(row))
    }

    fn check(&self, row: &Row) -> Result<()> {
        if row.vector.len() != self.dim {
            let why =
                format!("a vector of {} dimensions, expected {} as in the first line", row.vector.len(), self.dim);
            return Err(self.fail(why));
        }
        match (self.has_ids, row.id.is_some()) {
            (true, false) => Err(self.fail("no \"id\", but earlier lines have one")),
            (false, true) => Err(self.fail("an \"id\", but earlier lines have none")),
            _ => Ok(()),
        }
    }
}

/// serde_json's reason, with its "line 1" cut to the column: the line is named already.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((why, _)) => format!("column {}: {why}", error.column()),
        None => text,
    }
}

impl<R: BufRead + Send> Source for Jsonl<R> {
    fn file(&self) -> &str {
        self.input.file()
    }

    fn layout(&self) -> Layout {
        Layout { dim: self.dim, element: Element::F32, rows: None }
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        let mut payload_bytes = 0;
        while batch.rows < Batch::rows_for(self.dim) && payload_bytes < BATCH_BYTES {
            let row = match self.next.take() {
                Some(row) => row,
                None => match self.row()? {
                    Some(row) => row,
                    None => break,
                },
            };
            self.check(&row)?;
            batch.ids.extend(row.id);
            batch.vectors.extend_from_slice(&row.vector);
            payload_bytes += row.payload.len();
            batch.payloads.push(row.payload);
            batch.rows += 1;
        }
        Ok(batch.rows > 0)
    }

    fn has_ids(&self) -> bool {
        self.has_ids
    }

    fn has_payloads(&self) -> bool {
        true
    }

    fn progress(&self) -> (u64, u64) {
        self.input.tally().progress()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"vector\" and perhaps \"id\" and \"payload\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Row, A::Error> {
        let (mut id, mut vector, mut payload) = (None, None, None);
        let (mut others, mut first_other) = (String::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" if id.is_none() => id = Some(map.next_value::<PointId>()?),
                "vector" if vector.is_none() => vector = Some(map.next_value_seed(Elements)?),
                "payload" if payload.is_none() => payload = Some(map.next_value::<PayloadText>()?.0),
                "id" | "vector" | "payload" => {
                    return Err(de::Error::custom(format_args!("the key \"{key}\" occurs twice")));
                }
                _ => {
                    let value = map.next_value::<&RawValue>()?;
                    others.push(if others.is_empty() { '{' } else { ',' });
                    others.push_str(&serde_json::to_string(&key).map_err(de::Error::custom)?);
                    others.push(':');
                    others.push_str(value.get());
                    first_other.get_or_insert(key);
                }
            }
        }
        if let (Some(_), Some(key)) = (&payload, &first_other) {
            return Err(de::Error::custom(format_args!(
                "the key \"{key}\" beside \"payload\": put it inside the payload, or all keys beside \"vector\""
            )));
        }
        if first_other.is_some() {
            others.push('}');
        }
        let vector = vector.ok_or_else(|| de::Error::custom("no \"vector\""))?;
        Ok(Row { id, vector, payload: payload.unwrap_or(others) })
    }
}

/// The text of a JSON object, or `""` for null and `{}`.
pub(super) struct PayloadText(pub(super) String);

impl<'de> Deserialize<'de> for PayloadText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text == "null" || text == "{}" {
            return Ok(Self(String::new()));
        }
        if !text.starts_with('{') {
            return Err(de::Error::custom("the payload is not an object"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads a vector without more memory than the largest allowed one.
struct Elements;

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<f32>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Vec<f32>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<f32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> std::result::Result<Vec<f32>, A::Error> {
        let mut vector = Vec::new();
        while let Some(element) = elements.next_element::<f32>()? {
            if vector.len() == DIM_MAX {
                return Err(de::Error::custom(format_args!("a vector of more than {DIM_MAX} dimensions")));
            }
            vector.push(element);
        }
        Ok(vector)
    }
}
