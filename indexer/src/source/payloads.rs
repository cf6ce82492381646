//! Payloads in a file of their own: JSON Lines, every line the whole payload of one point (an object or `null`).

use std::io::BufRead;

use cairn_model::limits::PAYLOAD_BYTES_MAX;

use super::{
    Input,
    jsonl::{PayloadText, reason},
};
use crate::{Error, Place, Result};

/// A file of payloads.
pub struct Payloads<R> {
    input: Input<R>,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Payloads<R> {
    /// Payloads from `input`.
    pub fn new(input: Input<R>) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        self.input.file()
    }

    /// The next row's payload as JSON text, `""` for none; `None` at the end. A blank line is an empty payload only when
    /// something follows it: files often end with one.
    ///
    /// # Errors
    /// [`Error::Malformed`], naming the line.
    pub fn read(&mut self) -> Result<Option<String>> {
        self.number += 1;
        if !self.input.line(self.number, &mut self.line)? {
            return Ok(None);
        }
        let fail = |why: String| Error::malformed(self.input.file(), Place::Line(self.number), why);
        let text = self.line.trim_ascii();
        if text.is_empty() {
            return if self.input.ended()? { Ok(None) } else { Ok(Some(String::new())) };
        }
        let payload: PayloadText = serde_json::from_slice(text).map_err(|error| fail(reason(&error)))?;
        if payload.0.len() > PAYLOAD_BYTES_MAX {
            return Err(fail(format!(
                "a payload of {} bytes, at most {PAYLOAD_BYTES_MAX} are allowed",
                payload.0.len()
            )));
        }
        Ok(Some(payload.0))
    }

    /// Rows that are left, without parsing them.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the file cannot be read on.
    pub fn rest(&mut self) -> Result<u64> {
        let mut rows = 0;
        loop {
            self.number += 1;
            if !self.input.line(self.number, &mut self.line)? {
                return Ok(rows);
            }
            if self.line.trim_ascii().is_empty() && self.input.ended()? {
                return Ok(rows);
            }
            rows += 1;
        }
    }
}
