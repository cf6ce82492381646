//! Where a segment's bytes are, and parts of it that may not be at hand.

use crate::{Error, Result};

/// Where a segment's bytes are: a mapped file, a buffer, or a set of ranges that were fetched.
pub trait Source: Send + Sync {
    /// Bytes of the whole file.
    fn len(&self) -> u64;

    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes at `offset..offset + len`, or `None` where they are not at hand or not in the file.
    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]>;
}

impl<T: AsRef<[u8]> + Send + Sync> Source for T {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.as_ref().get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }
}

/// A byte range of a source, such as a section: what is asked of it is in the file, but perhaps not at hand.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    source: &'a dyn Source,
    name: &'static str,
    offset: u64,
    len: u64,
}

impl std::fmt::Debug for Region<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region")
            .field("name", &self.name)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish()
    }
}

impl<'a> Region<'a> {
    /// The bytes at `offset..offset + len` of `source`, which are in the file.
    pub(crate) fn new(source: &'a dyn Source, name: &'static str, offset: u64, len: u64) -> Self {
        Self { source, name, offset, len }
    }

    /// All of a source.
    #[cfg(test)]
    pub(crate) fn whole(source: &'a dyn Source, name: &'static str) -> Self {
        Self::new(source, name, 0, source.len())
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The error that `why` is wrong at `at` of this region.
    pub(crate) fn corrupt(&self, at: u64, why: impl Into<String>) -> Error {
        Error::Corrupt { section: self.name, at, why: why.into() }
    }

    /// All of it.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub(crate) fn all(&self) -> Result<&'a [u8]> {
        self.bytes(0, self.len)
    }

    /// The bytes at `at..at + len` of this region.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they are not in it, [`Error::Absent`] when they are not at hand.
    pub(crate) fn bytes(&self, at: u64, len: u64) -> Result<&'a [u8]> {
        let part = self.part(at, len)?;
        self.source.bytes(part.offset, len).ok_or_else(|| Error::Absent(vec![part.file_range()]))
    }

    /// The part `at..at + len` of this region, at hand or not.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not in it.
    pub(crate) fn part(&self, at: u64, len: u64) -> Result<Self> {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(self.corrupt(at, format!("{len} bytes expected, the part has {}", self.len)));
        }
        Ok(Self { offset: self.offset + at, len, ..*self })
    }

    /// Whether all of it is at hand.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.source.bytes(self.offset, self.len).is_some()
    }

    /// Where it is in the file.
    pub(crate) const fn file_range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.len
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Only the first half is at hand.
    struct Half(Vec<u8>);

    impl Source for Half {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
            self.0[..self.0.len() / 2].get(offset as usize..(offset + len) as usize)
        }
    }

    #[test]
    fn what_is_not_at_hand_is_named_and_what_is_not_there_is_refused() {
        let half = Half((0..20).collect());
        let region = Region::new(&half, "ids", 4, 12);
        assert_eq!(region.bytes(0, 3), Ok(&[4u8, 5, 6][..]));
        let absent = |start, end| Err(Error::Absent(Vec::from_iter([Range { start, end }])));
        assert_eq!(region.bytes(5, 3), absent(9, 12));
        assert_eq!(region.all(), absent(4, 16));
        assert!(matches!(region.bytes(10, 3), Err(Error::Corrupt { section: "ids", at: 10, .. })));
        assert!(region.bytes(u64::MAX, 2).is_err());
        assert!(region.part(0, 6).unwrap().is_at_hand() && !region.is_at_hand());
    }
}
