//! Checked little-endian access to a section's bytes, and varints.

use crate::{Error, Result};

/// A part of a section; offsets in errors count from the section's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    section: &'static str,
    base: usize,
    raw: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// A whole section.
    pub(super) fn new(section: &'static str, raw: &'a [u8]) -> Self {
        Self { section, base: 0, raw }
    }

    /// Bytes that begin at `base` of a section.
    pub(super) fn within(section: &'static str, base: u64, raw: &'a [u8]) -> Self {
        Self { section, base: usize::try_from(base).unwrap_or(usize::MAX), raw }
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    pub(super) fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The error that `why` is wrong at `at` of this part.
    pub(super) fn corrupt(&self, at: usize, why: impl Into<String>) -> Error {
        Error::corrupt(self.section, self.base.saturating_add(at), why)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.raw.get(at..end));
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| self.corrupt(at, format!("{N} bytes expected, the part has {}", self.raw.len())))
    }

    pub(super) fn u8(&self, at: usize) -> Result<u8> {
        Ok(self.array::<1>(at)?[0])
    }

    pub(super) fn u32(&self, at: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    /// The part `at..at + len` of this part.
    pub(super) fn slice(&self, at: u64, len: u64) -> Result<Self> {
        let range = at.checked_add(len).and_then(|end| Some(usize::try_from(at).ok()?..usize::try_from(end).ok()?));
        match range.and_then(|range| Some((range.start, self.raw.get(range)?))) {
            Some((start, raw)) => Ok(Self { section: self.section, base: self.base + start, raw }),
            None => Err(self.corrupt(
                usize::try_from(at).unwrap_or(usize::MAX),
                format!("{len} bytes expected, the part has {}", self.raw.len()),
            )),
        }
    }

    /// Everything from `at` on.
    pub(super) fn tail(&self, at: usize) -> Result<Self> {
        self.slice(at as u64, (self.raw.len() as u64).saturating_sub(at as u64))
    }
}

/// Reads a part from its start to its end.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: Bytes<'a>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The error that `why` is wrong here.
    pub(super) fn corrupt(&self, why: impl Into<String>) -> Error {
        self.bytes.corrupt(self.at, why)
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Result<Bytes<'a>> {
        let taken = self.bytes.slice(self.at as u64, len)?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A LEB128 integer: seven bits a byte, least significant first.
    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.bytes.u8(self.at)?;
            if shift == 63 && byte > 1 {
                break;
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            if shift == 63 {
                break;
            }
        }
        Err(self.corrupt("varint of more than 64 bits"))
    }
}

/// Appends `value` as LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        let values = [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 62, u64::MAX];
        let mut out = Vec::new();
        for value in values {
            put_varint(&mut out, value);
        }
        let mut cursor = Cursor::new(Bytes::new("test", &out));
        for value in values {
            assert_eq!(cursor.varint().unwrap(), value);
        }
        assert!(cursor.is_at_end());
        assert!(cursor.varint().is_err());
    }

    #[test]
    fn overlong_varints_and_slices_are_refused() {
        let long = [0xff; 20];
        assert!(Cursor::new(Bytes::new("test", &long)).varint().is_err());
        let bytes = Bytes::new("test", &long);
        assert!(bytes.slice(19, 2).is_err());
        assert!(bytes.slice(u64::MAX, 2).is_err());
        assert!(bytes.tail(21).is_err());
        assert!(bytes.u64(13).is_err());
        assert!(bytes.slice(10, 5).unwrap().u32(2).unwrap_err().to_string().contains("byte 12"));
    }
}
