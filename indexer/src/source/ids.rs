//! Ids in a file of their own: a one-dimensional `.npy` of integers, or text with one id per line.

use std::{io::BufRead, path::Path};

use cairn_model::PointId;

use super::{Input, npy::NpyHeader};
use crate::{Error, Place, Result};

/// The longest line of a file of ids that can still be one.
const SHOWN_BYTES: usize = 64;

/// A stream of ids.
pub(super) trait Ids: Send {
    /// The file's name.
    fn file(&self) -> &str;
    /// The next id; `None` at the end.
    fn read(&mut self) -> Result<Option<PointId>>;
    /// Ids that are left.
    fn rest(&mut self) -> Result<u64> {
        let mut rows = 0;
        while self.read()?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }
}

/// Opens a file of ids: `.npy` by its name, else text.
pub(super) fn open(path: &Path) -> Result<Box<dyn Ids>> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    let input = Input::open(path)?;
    Ok(if bare.ends_with(".npy") { Box::new(NpyIds::new(input)?) } else { Box::new(IdLines::new(input)) })
}

/// A `.npy` of unsigned or signed, 32- or 64-bit integers.
pub struct NpyIds<R> {
    input: Input<R>,
    signed: bool,
    bytes: usize,
    rows: u64,
    row: u64,
}

impl<R: BufRead> NpyIds<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Malformed`]: no `.npy`, or another shape or element type.
    pub fn new(mut input: Input<R>) -> Result<Self> {
        let header = NpyHeader::read(&mut input)?;
        let fail = |why: String| Err(Error::malformed(input.file(), Place::File, why));
        let (signed, bytes) = match header.descr.as_str() {
            "<u8" => (false, 8),
            "<i8" => (true, 8),
            "<u4" => (false, 4),
            "<i4" => (true, 4),
            other => return fail(format!("ids of type '{other}', expected '<u8', '<i8', '<u4' or '<i4'")),
        };
        let [rows] = header.shape[..] else {
            return fail(format!("an array of {} dimensions, expected 1: ids", header.shape.len()));
        };
        Ok(Self { input, signed, bytes, rows, row: 0 })
    }

    /// The next id.
    ///
    /// # Errors
    /// [`Error::Malformed`]: a negative id, a file that ends early or late.
    pub fn read(&mut self) -> Result<Option<PointId>> {
        if self.row == self.rows {
            return if self.input.ended()? {
                Ok(None)
            } else {
                Err(self.input.fail(format!("bytes after the last of {} ids, expected the end", self.rows)))
            };
        }
        let mut bytes = [0u8; 8];
        self.input.exact(&mut bytes[..self.bytes], &format!("id {} of {}", self.row, self.rows))?;
        let negative = self.signed && bytes[self.bytes - 1] & 0x80 != 0;
        if negative {
            let why = "a negative id, expected an unsigned integer";
            return Err(Error::malformed(self.input.file(), Place::Row(self.row), why));
        }
        self.row += 1;
        Ok(Some(PointId::Num(u64::from_le_bytes(bytes))))
    }
}

impl<R: BufRead + Send> Ids for NpyIds<R> {
    fn file(&self) -> &str {
        self.input.file()
    }
    fn read(&mut self) -> Result<Option<PointId>> {
        Self::read(self)
    }
    fn rest(&mut self) -> Result<u64> {
        Ok(self.rows - self.row)
    }
}

/// Text with one id per line: an unsigned integer or a UUID, bare or as JSON.
pub struct IdLines<R> {
    input: Input<R>,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> IdLines<R> {
    /// Ids from `input`.
    pub fn new(input: Input<R>) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    /// The next id. A blank line is allowed only at the end.
    ///
    /// # Errors
    /// [`Error::Malformed`], naming the line.
    pub fn read(&mut self) -> Result<Option<PointId>> {
        self.number += 1;
        if !self.input.line(self.number, &mut self.line)? {
            return Ok(None);
        }
        let text = self.line.trim_ascii();
        if text.is_empty() && self.input.ended()? {
            return Ok(None);
        }
        let bare = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text);
        let id = std::str::from_utf8(bare).ok().and_then(|text| text.parse().ok());
        id.map(Some).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES)]);
            let why = format!("'{}' is no id, expected an unsigned integer or a UUID", shown.escape_debug());
            Error::malformed(self.input.file(), Place::Line(self.number), why)
        })
    }
}

impl<R: BufRead + Send> Ids for IdLines<R> {
    fn file(&self) -> &str {
        self.input.file()
    }
    fn read(&mut self) -> Result<Option<PointId>> {
        Self::read(self)
    }
}
