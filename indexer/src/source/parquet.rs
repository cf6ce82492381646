//! Parquet: the column `vector`, perhaps `id`, and payload columns.
//!
//! - `vector`: a list or fixed-size list of half, single or double floats or unsigned bytes, never null.
//! - `id`: integers, or text that is an unsigned integer or a UUID.
//! - Every other column is a payload key: booleans, integers, floats, text, dates and timestamps (as ISO 8601 text, UTC),
//!   lists and structs of these. Null, and a float that is not finite, becomes null.
//!
//! [`BATCH_ROWS`] rows are decoded at a time. The reader's memory is that many rows and, per column, one page and one dictionary.

use std::{fs::File, path::Path};

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{
        ArrowPrimitiveType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
        Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_schema::{DataType, TimeUnit};
use cairn_model::{Payload, PointId, limits::PAYLOAD_BYTES_MAX};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use super::{Batch, Element, Layout, Source, check_dim, check_finite};
use crate::{Error, Place, Result};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 64;

/// A Parquet file of points.
pub struct Parquet {
    file: String,
    reader: ParquetRecordBatchReader,
    /// The batch that was read ahead.
    ahead: Option<RecordBatch>,
    layout: Layout,
    has_ids: bool,
    has_payloads: bool,
    row: u64,
    rows: u64,
}

impl Parquet {
    /// Reads the footer and the first rows.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::Malformed`]: no Parquet, no rows, no column `vector`, columns of types that are not read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let fail = |why: String| Error::malformed(&file, Place::File, why);
        let handle = File::open(path).map_err(|error| Error::disk(path, error))?;
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(handle)).map_err(fail)?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows())
            .map_err(|_| fail("a negative number of rows".into()))?;
        let schema = builder.schema().clone();
        let vector = schema
            .field_with_name("vector")
            .map_err(|_| fail("no column 'vector': expected a list of floats under this name".into()))?;
        let element = element(vector.data_type()).map_err(|why| fail(format!("column 'vector': {why}")))?;
        for field in schema.fields() {
            if !matches!(field.name().as_str(), "id" | "vector") {
                check_type(field.data_type()).map_err(|why| fail(format!("column '{}': {why}", field.name())))?;
            }
        }
        let mut reader = guarded(|| builder.with_batch_size(BATCH_ROWS).build()).map_err(fail)?;
        let first = guarded(|| reader.next().transpose()).map_err(fail)?.ok_or_else(|| fail("no rows".into()))?;
        let dim = first.column_by_name("vector").and_then(|column| row_of_list(column, 0)).map_or(0, |row| row.len());
        let dim = check_dim(&file, Place::Row(0), dim as u64)?;
        let has_ids = schema.field_with_name("id").is_ok();
        Ok(Self {
            layout: Layout { dim, element, rows: Some(rows) },
            has_ids,
            has_payloads: schema.fields().len() > 1 + usize::from(has_ids),
            ahead: Some(first),
            file,
            reader,
            row: 0,
            rows,
        })
    }

    fn push(&self, columns: &RecordBatch, row: usize, batch: &mut Batch) -> Result<()> {
        let place = Place::Row(self.row + row as u64);
        let fail = |why: String| Error::malformed(&self.file, place, why);
        let mut payload = Payload::new();
        for (field, column) in columns.schema_ref().fields().iter().zip(columns.columns()) {
            match field.name().as_str() {
                "id" => batch.ids.push(id(column, row).map_err(|why| fail(format!("column 'id': {why}")))?),
                "vector" => {
                    let start = batch.vectors.len();
                    let list = row_of_list(column, row).ok_or_else(|| fail("the vector is null".into()))?;
                    push_vector(&list, &mut batch.vectors).map_err(|why| fail(format!("column 'vector': {why}")))?;
                    let found = batch.vectors.len() - start;
                    if found != self.layout.dim {
                        let expected = self.layout.dim;
                        return Err(fail(format!("a vector of {found} dimensions, expected {expected} as in row 0")));
                    }
                    check_finite(&self.file, place, &batch.vectors[start..])?;
                }
                name => {
                    let value = value(column, row).map_err(|why| fail(format!("column '{name}': {why}")))?;
                    payload.insert(name.to_owned(), value);
                }
            }
        }
        if self.has_payloads {
            let text = serde_json::to_string(&payload).map_err(|error| fail(error.to_string()))?;
            if text.len() > PAYLOAD_BYTES_MAX {
                let bytes = text.len();
                return Err(fail(format!("a payload of {bytes} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")));
            }
            batch.payloads.push(text);
        }
        batch.rows += 1;
        Ok(())
    }
}

impl Source for Parquet {
    fn file(&self) -> &str {
        &self.file
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        let columns = match self.ahead.take() {
            Some(columns) => columns,
            None => {
                let fail = |why: String| Error::malformed(&self.file, Place::Row(self.row), why);
                match guarded(|| self.reader.next().transpose()).map_err(fail)? {
                    Some(columns) => columns,
                    None if self.row == self.rows => return Ok(false),
                    None => return Err(fail(format!("the file ends here, expected {} rows", self.rows))),
                }
            }
        };
        for row in 0..columns.num_rows() {
            self.push(&columns, row, batch)?;
        }
        self.row += columns.num_rows() as u64;
        Ok(batch.rows > 0)
    }

    fn has_ids(&self) -> bool {
        self.has_ids
    }

    fn has_payloads(&self) -> bool {
        self.has_payloads
    }

    fn progress(&self) -> (u64, u64) {
        (self.row, self.rows)
    }
}

/// Runs a part of the Parquet reader. It answers most damage with errors, but some with a panic; both mean a malformed file.
fn guarded<T, E: std::fmt::Display>(
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("damaged in a way that the Parquet reader does not survive".into()),
    }
}

/// The number format of a column of vectors.
fn element(list: &DataType) -> std::result::Result<Element, String> {
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) = list else {
        return Err(format!("type {list}, expected a list"));
    };
    match item.data_type() {
        DataType::Float32 | DataType::Float64 => Ok(Element::F32),
        DataType::Float16 => Ok(Element::F16),
        DataType::UInt8 => Ok(Element::U8),
        other => Err(format!("a list of {other}, expected floats or unsigned bytes")),
    }
}

/// One row of a column of lists; `None` when it is null.
fn row_of_list(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::List(_) => Some(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
        _ => None,
    }
}

fn push_vector(list: &ArrayRef, vector: &mut Vec<f32>) -> std::result::Result<(), String> {
    if list.null_count() > 0 {
        return Err("the vector holds a null".into());
    }
    match list.data_type() {
        DataType::Float32 => vector.extend_from_slice(list.as_primitive::<Float32Type>().values()),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "doubles become singles; too large ones become infinite and are refused"
        )]
        DataType::Float64 => vector.extend(list.as_primitive::<Float64Type>().values().iter().map(|&x| x as f32)),
        DataType::Float16 => vector.extend(list.as_primitive::<Float16Type>().values().iter().map(|x| x.to_f32())),
        DataType::UInt8 => vector.extend(list.as_primitive::<UInt8Type>().values().iter().map(|&x| f32::from(x))),
        other => return Err(format!("a list of {other}")),
    }
    Ok(())
}

fn id(column: &ArrayRef, row: usize) -> std::result::Result<PointId, String> {
    let expected = |found: &Value| format!("{found} is no id, expected an unsigned integer or a UUID");
    match value(column, row)? {
        Value::Number(number) if number.is_u64() => Ok(PointId::Num(number.as_u64().unwrap_or_default())),
        Value::String(text) => text.parse().map_err(|_| expected(&Value::String(text.chars().take(64).collect()))),
        other => Err(expected(&other)),
    }
}

/// Whether [`value`] reads this type.
fn check_type(data_type: &DataType) -> std::result::Result<(), String> {
    use DataType as T;
    match data_type {
        T::Null
        | T::Boolean
        | T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::UInt64
        | T::Float16
        | T::Float32
        | T::Float64
        | T::Utf8
        | T::LargeUtf8
        | T::Utf8View
        | T::Date32
        | T::Date64
        | T::Timestamp(..) => Ok(()),
        T::Dictionary(_, value) => check_type(value),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => check_type(item.data_type()),
        T::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        other => Err(format!("type {other} is not read into payloads: leave the column out or convert it to text")),
    }
}

/// One cell as JSON.
fn value(column: &ArrayRef, row: usize) -> std::result::Result<Value, String> {
    use DataType as T;
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |cells: ArrayRef| (0..cells.len()).map(|i| value(&cells, i)).collect::<std::result::Result<_, _>>();
    Ok(match column.data_type() {
        T::Null => Value::Null,
        T::Boolean => column.as_boolean().value(row).into(),
        T::Int8 => cell::<Int8Type>(column, row).into(),
        T::Int16 => cell::<Int16Type>(column, row).into(),
        T::Int32 => cell::<Int32Type>(column, row).into(),
        T::Int64 => cell::<Int64Type>(column, row).into(),
        T::UInt8 => cell::<UInt8Type>(column, row).into(),
        T::UInt16 => cell::<UInt16Type>(column, row).into(),
        T::UInt32 => cell::<UInt32Type>(column, row).into(),
        T::UInt64 => cell::<UInt64Type>(column, row).into(),
        T::Float16 => cell::<Float16Type>(column, row).to_f64().into(),
        T::Float32 => cell::<Float32Type>(column, row).into(),
        T::Float64 => cell::<Float64Type>(column, row).into(),
        T::Utf8 => column.as_string::<i32>().value(row).into(),
        T::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        T::Utf8View => column.as_string_view().value(row).into(),
        T::Date32 => {
            column.as_primitive::<Date32Type>().value_as_date(row).map_or(Value::Null, |d| d.to_string().into())
        }
        T::Date64 => {
            column.as_primitive::<Date64Type>().value_as_date(row).map_or(Value::Null, |d| d.to_string().into())
        }
        T::Timestamp(unit, _) => {
            let time = match unit {
                TimeUnit::Second => column.as_primitive::<TimestampSecondType>().value_as_datetime(row),
                TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value_as_datetime(row),
                TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row),
                TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value_as_datetime(row),
            };
            time.map_or(Value::Null, |time| format!("{}T{}Z", time.date(), time.time()).into())
        }
        T::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            value(dictionary.values(), key)?
        }
        T::List(_) => Value::Array(list(column.as_list::<i32>().value(row))?),
        T::LargeList(_) => Value::Array(list(column.as_list::<i64>().value(row))?),
        T::FixedSizeList(..) => Value::Array(list(column.as_fixed_size_list().value(row))?),
        T::Struct(fields) => {
            let cells = column.as_struct();
            let mut object = Payload::new();
            for (field, column) in fields.iter().zip(cells.columns()) {
                object.insert(field.name().clone(), value(column, row)?);
            }
            Value::Object(object)
        }
        other => return Err(format!("type {other} is not read")),
    })
}

fn cell<T: ArrowPrimitiveType>(column: &ArrayRef, row: usize) -> T::Native {
    column.as_primitive::<T>().value(row)
}
