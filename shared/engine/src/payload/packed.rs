//! Arrays of unsigned integers of a fixed width of 0 to 8 whole bytes, little-endian.

use std::ops::Range;

use super::bytes::Bytes;
use crate::Result;

/// The bytes that hold every value up to `max`; none for 0.
pub(super) fn width(max: u64) -> u8 {
    (u64::BITS - max.leading_zeros()).div_ceil(8).to_le_bytes()[0]
}

/// The value that is written in `bytes`, at most 8 of them.
pub(super) fn value(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

/// Appends `values`, each of which fits `width` bytes.
pub(super) fn put(out: &mut Vec<u8>, width: u8, values: impl IntoIterator<Item = u64>) {
    for value in values {
        debug_assert!(width >= self::width(value), "{value} in {width} bytes");
        out.extend_from_slice(&value.to_le_bytes()[..usize::from(width)]);
    }
}

/// A view of such an array.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a> {
    raw: &'a [u8],
    width: usize,
    len: u64,
}

impl<'a> Packed<'a> {
    /// The `len` values of `width` bytes at the start of `bytes`, and what follows them.
    pub(super) fn open(bytes: Bytes<'a>, width: u8, len: u64) -> Result<(Self, Bytes<'a>)> {
        if width > 8 {
            return Err(bytes.corrupt(0, format!("integers of {width} bytes")));
        }
        let total = len.checked_mul(u64::from(width));
        let total = total.ok_or_else(|| bytes.corrupt(0, format!("{len} integers of {width} bytes")))?;
        let part = bytes.slice(0, total)?;
        Ok((Self { raw: part.raw(), width: usize::from(width), len }, bytes.tail(part.len())?))
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// When `index` is not below the length, which the caller knows.
    #[inline]
    pub(super) fn get(&self, index: u64) -> u64 {
        assert!(index < self.len, "index {index} of {}", self.len);
        #[expect(clippy::cast_possible_truncation, reason = "open found len * width bytes in memory")]
        let at = index as usize * self.width;
        if let Some(bytes) = self.raw.get(at..at + 8) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            let unused = 64 - 8 * self.width;
            return if unused == 64 { 0 } else { u64::from_le_bytes(word) << unused >> unused };
        }
        let mut word = [0; 8];
        word[..self.width].copy_from_slice(&self.raw[at..at + self.width]);
        u64::from_le_bytes(word)
    }

    /// The first index in `range` for which `before` fails, if it holds for a prefix.
    pub(super) fn partition_point(&self, range: Range<u64>, mut before: impl FnMut(u64) -> bool) -> u64 {
        let Range { mut start, mut end } = range;
        while start < end {
            let middle = start + (end - start) / 2;
            if before(self.get(middle)) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// Calls `visit` with every value of `range`, in order. The range lies inside the array.
    #[inline]
    pub(super) fn for_each(&self, range: Range<u64>, mut visit: impl FnMut(u64)) {
        match self.width {
            1 => self.chunks::<1>(range, visit),
            2 => self.chunks::<2>(range, visit),
            3 => self.chunks::<3>(range, visit),
            4 => self.chunks::<4>(range, visit),
            _ => range.for_each(|index| visit(self.get(index))),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the range lies inside bytes in memory")]
    fn chunks<const W: usize>(&self, range: Range<u64>, mut visit: impl FnMut(u64)) {
        let (chunks, _) = self.raw[range.start as usize * W..range.end as usize * W].as_chunks::<W>();
        for chunk in chunks {
            let mut word = [0; 8];
            word[..W].copy_from_slice(chunk);
            visit(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_at_every_width() {
        for bits in 0..=64u32 {
            let max = if bits == 0 { 0 } else { u64::MAX >> (64 - bits) };
            let values: Vec<u64> = (0..17).map(|i| (max / 17 * i).min(max)).chain([max]).collect();
            let width = width(max);
            assert_eq!(u32::from(width), bits.div_ceil(8));
            let mut out = Vec::new();
            put(&mut out, width, values.iter().copied());
            out.push(99);
            let (packed, rest) = Packed::open(Bytes::new("test", &out), width, values.len() as u64).unwrap();
            assert_eq!(rest.raw(), [99]);
            assert_eq!((0..18).map(|i| packed.get(i)).collect::<Vec<_>>(), values);
            let mut seen = Vec::new();
            packed.for_each(3..11, |value| seen.push(value));
            assert_eq!(seen, values[3..11]);
            assert!(Packed::open(Bytes::new("test", &out), width, u64::MAX).is_err() || width == 0);
            assert!(Packed::open(Bytes::new("test", &out), 9, 1).is_err());
        }
    }
}
