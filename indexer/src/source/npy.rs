//! NumPy's `.npy`: magic, version, a header that is a Python dict, then the elements.
//!
//! Read are versions 1 to 3, C order, two dimensions, `<f4`, `<f2` and `|u1`. The header's length is limited to
//! [`HEADER_BYTES_MAX`]; NumPy's own headers have about a hundred bytes.

use std::io::BufRead;

use super::{Batch, Element, Input, Layout, Source, check_dim, check_finite};
use crate::{Error, Place, Result};

/// The longest header that is read.
const HEADER_BYTES_MAX: usize = 64 << 10;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// What the header of a `.npy` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyHeader {
    /// NumPy's name of the element type, `<f4` for example.
    pub descr: String,
    /// Column-major order.
    pub fortran_order: bool,
    /// Sizes, slowest first.
    pub shape: Vec<u64>,
}

impl NpyHeader {
    /// Reads magic, version and header; leaves `input` at the first element.
    ///
    /// # Errors
    /// [`Error::Malformed`], naming the byte.
    pub fn read<R: BufRead>(input: &mut Input<R>) -> Result<Self> {
        let mut magic = [0u8; 8];
        input.exact(&mut magic, "the .npy magic")?;
        if &magic[..6] != MAGIC {
            return Err(Error::malformed(input.file(), Place::Byte(0), "no .npy file: expected the magic \\x93NUMPY"));
        }
        let length = match magic[6] {
            1 => {
                let mut bytes = [0u8; 2];
                input.exact(&mut bytes, "the header's length")?;
                usize::from(u16::from_le_bytes(bytes))
            }
            2 | 3 => {
                let mut bytes = [0u8; 4];
                input.exact(&mut bytes, "the header's length")?;
                usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
            }
            other => {
                let why = format!(".npy version {other}, expected 1, 2 or 3");
                return Err(Error::malformed(input.file(), Place::Byte(6), why));
            }
        };
        if length > HEADER_BYTES_MAX {
            return Err(input.fail(format!("a header of {length} bytes, at most {HEADER_BYTES_MAX} are read")));
        }
        let start = input.at();
        let mut text = vec![0u8; length];
        input.exact(&mut text, "the header")?;
        Dict { text: &text, at: 0 }
            .parse()
            .map_err(|(at, why)| Error::malformed(input.file(), Place::Byte(start + at as u64), why))
    }
}

/// The header's text, which is a Python literal: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct Dict<'a> {
    text: &'a [u8],
    at: usize,
}

type Parsed<T> = std::result::Result<T, (usize, String)>;

impl Dict<'_> {
    fn parse(mut self) -> Parsed<NpyHeader> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let at = self.at;
            let key = self.string()?;
            self.expect(b':')?;
            match key.as_str() {
                "descr" if descr.is_none() => descr = Some(self.string()?),
                "fortran_order" if fortran_order.is_none() => fortran_order = Some(self.boolean()?),
                "shape" if shape.is_none() => shape = Some(self.tuple()?),
                _ => return Err((at, format!("unexpected header key '{key}'"))),
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        let missing = |key: &str| (0, format!("the header has no '{key}'"));
        Ok(NpyHeader {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.take(byte) { Ok(()) } else { Err((self.at, format!("expected '{}' in the header", char::from(byte)))) }
    }

    fn string(&mut self) -> Parsed<String> {
        self.skip_space();
        let Some(&quote @ (b'\'' | b'"')) = self.text.get(self.at) else {
            return Err((self.at, "expected a quoted text in the header (records are not read)".into()));
        };
        let rest = &self.text[self.at + 1..];
        let end = rest.iter().position(|&b| b == quote).ok_or((self.at, "unclosed quote in the header".into()))?;
        self.at += end + 2;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn boolean(&mut self) -> Parsed<bool> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err((self.at, "expected True or False in the header".into()))
    }

    fn tuple(&mut self) -> Parsed<Vec<u64>> {
        let mut sizes = Vec::new();
        self.expect(b'(')?;
        while !self.take(b')') {
            self.skip_space();
            let digits = self.text[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
            let text = std::str::from_utf8(&self.text[self.at..self.at + digits]).unwrap_or_default();
            let size = text.parse().map_err(|_| (self.at, "expected a size in the header's shape".to_owned()))?;
            sizes.push(size);
            self.at += digits;
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

/// A `.npy` file of vectors.
pub struct Npy<R> {
    input: Input<R>,
    dim: usize,
    element: Element,
    rows: u64,
    row: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Npy<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Malformed`]: no `.npy`, another shape, order or element type than those that are read.
    pub fn new(mut input: Input<R>) -> Result<Self> {
        let header = NpyHeader::read(&mut input)?;
        let fail = |why: String| Err(Error::malformed(input.file(), Place::File, why));
        let element = match header.descr.as_str() {
            "<f4" => Element::F32,
            "<f2" => Element::F16,
            "|u1" | "<u1" => Element::U8,
            other => {
                return fail(format!(
                    "elements of type '{other}', expected '<f4', '<f2' or '|u1' (in NumPy: .astype('float32'))"
                ));
            }
        };
        let [rows, dim] = header.shape[..] else {
            return fail(format!("an array of {} dimensions, expected 2: rows and columns", header.shape.len()));
        };
        if header.fortran_order && rows > 1 && dim > 1 {
            return fail("column-major (Fortran) order, expected C order (in NumPy: numpy.ascontiguousarray)".into());
        }
        let dim = check_dim(input.file(), Place::File, dim)?;
        Ok(Self { input, dim, element, rows, row: 0, bytes: vec![0; dim * element.bytes()] })
    }
}

impl<R: BufRead + Send> Source for Npy<R> {
    fn file(&self) -> &str {
        self.input.file()
    }

    fn layout(&self) -> Layout {
        Layout { dim: self.dim, element: self.element, rows: Some(self.rows) }
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        while self.row < self.rows && batch.rows < Batch::rows_for(self.dim) {
            let what = format!("row {} of {}", self.row, self.rows);
            self.input.exact(&mut self.bytes, &what)?;
            batch.push_bytes(self.element, &self.bytes);
            let vector = batch.vector(batch.rows - 1, self.dim);
            check_finite(self.input.file(), Place::Row(self.row), vector)?;
            self.row += 1;
        }
        if self.row == self.rows && !self.input.ended()? {
            return Err(self.input.fail(format!("bytes after the last of {} rows, expected the end", self.rows)));
        }
        Ok(batch.rows > 0)
    }

    fn progress(&self) -> (u64, u64) {
        (self.row, self.rows)
    }
}

/// One row of a `.npy` file of vectors; rows before it are read and dropped.
///
/// # Errors
/// As [`Npy`]; [`Error::Malformed`] when there is no such row.
pub fn row(path: &std::path::Path, row: u64) -> Result<Vec<f32>> {
    let mut source = Npy::new(Input::open(path)?)?;
    let rows = source.rows;
    if row >= rows {
        return Err(Error::malformed(source.file(), Place::Row(row), format!("there are only {rows} rows")));
    }
    let mut batch = Batch::default();
    let mut first = 0;
    while source.next(&mut batch)? {
        if let Some(at) = usize::try_from(row - first).ok().filter(|&at| at < batch.rows) {
            return Ok(batch.vector(at, source.dim).to_vec());
        }
        first += batch.rows as u64;
    }
    Err(Error::malformed(source.file(), Place::Row(row), format!("there are only {rows} rows")))
}
