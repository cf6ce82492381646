//! `.fvecs` and `.bvecs`: every row is a little-endian i32 dimension, then that many f32 or bytes.

use std::io::BufRead;

use super::{Batch, Element, Input, Layout, Source, check_dim, check_finite};
use crate::{Error, Place, Result};

/// Rows that each begin with their dimension.
pub struct Vecs<R> {
    input: Input<R>,
    dim: usize,
    element: Element,
    row: u64,
    ended: bool,
    bytes: Vec<u8>,
}

impl<R: BufRead> Vecs<R> {
    /// `.fvecs`: reads the first row's dimension.
    ///
    /// # Errors
    /// [`Error::Malformed`]: an empty file or an impossible dimension.
    pub fn fvecs(input: Input<R>) -> Result<Self> {
        Self::new(input, Element::F32)
    }

    /// `.bvecs`: reads the first row's dimension.
    ///
    /// # Errors
    /// [`Error::Malformed`]: an empty file or an impossible dimension.
    pub fn bvecs(input: Input<R>) -> Result<Self> {
        Self::new(input, Element::U8)
    }

    fn new(mut input: Input<R>, element: Element) -> Result<Self> {
        let dim = dimension(&mut input)?;
        Ok(Self { input, dim, element, row: 0, ended: false, bytes: vec![0; dim * element.bytes()] })
    }

    /// Reads the elements of the current row, whose dimension was read before, then the next row's dimension if there is one.
    fn row(&mut self, batch: &mut Batch) -> Result<()> {
        let what = format!("row {}", self.row);
        self.input.exact(&mut self.bytes, &what)?;
        batch.push_bytes(self.element, &self.bytes);
        check_finite(self.input.file(), Place::Row(self.row), batch.vector(batch.rows - 1, self.dim))?;
        self.row += 1;
        self.ended = self.input.ended()?;
        if self.ended {
            return Ok(());
        }
        let at = Place::Byte(self.input.at());
        let dim = dimension(&mut self.input)?;
        if dim != self.dim {
            let why = format!("row {} has {dim} dimensions, expected {} as in row 0", self.row, self.dim);
            return Err(Error::malformed(self.input.file(), at, why));
        }
        Ok(())
    }
}

fn dimension<R: BufRead>(input: &mut Input<R>) -> Result<usize> {
    let at = Place::Byte(input.at());
    let mut bytes = [0u8; 4];
    input.exact(&mut bytes, "a row's dimension")?;
    // A negative dimension becomes a huge one, which is refused as such.
    check_dim(input.file(), at, u64::from(u32::from_le_bytes(bytes)))
}

impl<R: BufRead + Send> Source for Vecs<R> {
    fn file(&self) -> &str {
        self.input.file()
    }

    fn layout(&self) -> Layout {
        Layout { dim: self.dim, element: self.element, rows: None }
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        while !self.ended && batch.rows < Batch::rows_for(self.dim) {
            self.row(batch)?;
        }
        Ok(batch.rows > 0)
    }

    fn progress(&self) -> (u64, u64) {
        self.input.tally().progress()
    }
}
