//! Numbers and texts of log objects: little-endian, lengths before contents, nothing read that is not there.

use super::frame::FrameError;

pub(super) type Result<T> = std::result::Result<T, FrameError>;

pub(super) fn wrong<T>(field: &'static str, why: impl ToString) -> Result<T> {
    Err(FrameError::Field { field, why: why.to_string() })
}

/// Bytes under construction. Whoever writes has checked that lengths fit.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, field: &'static str, value: usize) -> Result<()> {
        let Ok(value) = u16::try_from(value) else { return wrong(field, format!("{value} is too large")) };
        self.0.extend(value.to_le_bytes());
        Ok(())
    }

    pub(super) fn u32(&mut self, field: &'static str, value: usize) -> Result<()> {
        let Ok(value) = u32::try_from(value) else { return wrong(field, format!("{value} is too large")) };
        self.0.extend(value.to_le_bytes());
        Ok(())
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn text(&mut self, field: &'static str, text: &str) -> Result<()> {
        self.u16(field, text.len())?;
        self.0.extend(text.as_bytes());
        Ok(())
    }

    pub(super) fn long(&mut self, field: &'static str, bytes: &[u8]) -> Result<()> {
        self.u32(field, bytes.len())?;
        self.0.extend(bytes);
        Ok(())
    }

    pub(super) fn floats(&mut self, values: &[f32]) {
        self.0.reserve(values.len() * 4);
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
    }
}

/// Bytes being read.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn raw(&mut self, len: usize, field: &'static str) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(FrameError::Short(field))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(FrameError::Short(field))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<usize> {
        self.array(field).map(u16::from_le_bytes).map(usize::from)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<usize> {
        self.array(field).map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// So many things, each of at least `bytes_min` bytes: refused when the rest cannot hold them, before memory is taken.
    pub(super) fn count(&mut self, field: &'static str, limit: usize, bytes_min: usize) -> Result<usize> {
        let count = self.u32(field)?;
        if count > limit {
            return wrong(field, format!("{count} are given, at most {limit} are allowed"));
        }
        if count.saturating_mul(bytes_min) > self.0.len() {
            return Err(FrameError::Short(field));
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str> {
        let len = self.u16(field)?;
        std::str::from_utf8(self.raw(len, field)?).or_else(|error| wrong(field, error))
    }

    pub(super) fn long(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8]> {
        let len = self.count(field, limit, 1)?;
        self.raw(len, field)
    }

    pub(super) fn words<T>(&mut self, field: &'static str, count: usize, read: fn([u8; 4]) -> T) -> Result<Vec<T>> {
        let bytes = self.raw(count.checked_mul(4).ok_or(FrameError::Short(field))?, field)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| read(*word)).collect())
    }

    pub(super) fn end(&self, field: &'static str) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { wrong(field, format!("{} bytes too many", self.0.len())) }
    }
}
