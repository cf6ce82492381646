//! A plain bitset of the allowed ordinals: a membership test is one load, where a roaring bitmap searches, and a run of
//! ordinals is a few words.

use std::ops::Range;

use roaring::RoaringBitmap;

/// Roaring's own numbers of its serialised form: see its format specification.
const COOKIE_NO_RUNS: u32 = 12_346;
const BITMAP_BYTES: usize = 8_192;
const BITMAP_FROM: usize = 4_096;

/// One bit per point.
pub(in crate::segment) struct Bits(Vec<u64>);

impl Bits {
    /// The bits of those `ordinals` that are below `points`.
    pub(in crate::segment) fn new(ordinals: &RoaringBitmap, points: u32) -> Self {
        let mut words = vec![0u64; (points as usize).div_ceil(64)];
        // A bitmap's serialised form has its dense containers as plain words, which are copied; there is no other way to
        // get at them. Not worth it for few ordinals, and a form that is not understood is read one by one.
        let dense = ordinals.len() >= u64::from(points) / 64 && Self::copy_containers(ordinals, &mut words).is_some();
        if !dense {
            words.fill(0);
            let mut some = [0u32; 256];
            let mut all = ordinals.iter();
            loop {
                let next = all.next_many(&mut some);
                if next.is_empty() {
                    break;
                }
                for &mut ordinal in next {
                    set(&mut words, ordinal as usize);
                }
            }
        }
        if let Some(last) = words.last_mut()
            && !points.is_multiple_of(64)
        {
            *last &= (1 << (points % 64)) - 1;
        }
        Self(words)
    }

    /// The bits of those `ordinals`, few ones, that are below `points`.
    pub(super) fn of(ordinals: &[u32], points: u32) -> Self {
        let mut words = vec![0u64; (points as usize).div_ceil(64)];
        ordinals.iter().filter(|&&ordinal| ordinal < points).for_each(|&ordinal| set(&mut words, ordinal as usize));
        Self(words)
    }

    fn copy_containers(ordinals: &RoaringBitmap, words: &mut [u64]) -> Option<()> {
        let mut bytes = Vec::with_capacity(ordinals.serialized_size());
        ordinals.serialize_into(&mut bytes).ok()?;
        let u16_at = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if u32_at(0)? != COOKIE_NO_RUNS {
            return None;
        }
        let count = usize::try_from(u32_at(4)?).ok()?;
        let mut at = 8 + count * 8;
        for container in 0..count {
            let base = usize::from(u16_at(8 + container * 4)?) << 16;
            let values = usize::from(u16_at(10 + container * 4)?) + 1;
            if values > BITMAP_FROM {
                let from = bytes.get(at..at + BITMAP_BYTES)?.as_chunks().0;
                for (word, from) in words.get_mut(base / 64..).unwrap_or_default().iter_mut().zip(from) {
                    *word = u64::from_le_bytes(*from);
                }
                at += BITMAP_BYTES;
            } else {
                for value in bytes.get(at..at + values * 2)?.as_chunks().0 {
                    set(words, base | usize::from(u16::from_le_bytes(*value)));
                }
                at += values * 2;
            }
        }
        Some(())
    }

    #[inline]
    pub(in crate::segment) fn contains(&self, ordinal: u32) -> bool {
        self.0.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// The words that `range` touches, each with its first ordinal and without the bits outside of the range.
    #[inline]
    fn words(&self, range: Range<u32>) -> impl Iterator<Item = (u32, u64)> + '_ {
        let words = range.start / 64..range.end.div_ceil(64).max(range.start / 64);
        let found = self.0.get(words.start as usize..words.end as usize).unwrap_or_default();
        words.zip(found).map(move |(at, &word)| {
            let base = at * 64;
            let mut word = word;
            if base < range.start {
                word &= u64::MAX << (range.start - base);
            }
            if range.end - base < 64 {
                word &= (1 << (range.end - base)) - 1;
            }
            (base, word)
        })
    }

    /// How many ordinals of `range` are in it.
    pub(super) fn count(&self, range: Range<u32>) -> u32 {
        self.words(range).map(|(_, word)| word.count_ones()).sum()
    }

    /// Calls `visit` with the ordinals of `range` that are in it, ascending.
    #[inline]
    pub(super) fn each(&self, range: Range<u32>, mut visit: impl FnMut(u32)) {
        for (base, mut word) in self.words(range) {
            while word != 0 {
                visit(base + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }
}

fn set(words: &mut [u64], ordinal: usize) {
    if let Some(word) = words.get_mut(ordinal / 64) {
        *word |= 1 << (ordinal % 64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(set: &RoaringBitmap, points: u32, range: Range<u32>) {
        let bits = Bits::new(set, points);
        let all: Vec<u32> = set.iter().collect();
        assert_eq!(bits.0, Bits::of(&all, points).0);
        let expected: Vec<u32> = set.iter().filter(|&o| o < points && range.contains(&o)).collect();
        let mut found = Vec::new();
        bits.each(range.start..range.end.min(points), |ordinal| found.push(ordinal));
        assert_eq!(found, expected);
        assert_eq!(bits.count(range.start..range.end.min(points)) as usize, expected.len());
        for ordinal in [0, range.start, range.end, points - 1, points, points + 63] {
            assert_eq!(bits.contains(ordinal), ordinal < points && set.contains(ordinal));
        }
    }

    proptest! {
        #[test]
        fn bits_are_the_bitmap(
            ordinals in prop::collection::vec(0u32..900, 0..600), points in 1u32..900, start in 0u32..900, len in 0u32..900,
            optimised: bool,
        ) {
            let mut set: RoaringBitmap = ordinals.into_iter().collect();
            if optimised {
                set.optimize();
            }
            check(&set, points, start.min(points)..(start + len).min(points).max(start.min(points)));
        }
    }

    #[test]
    fn containers_of_every_kind_are_read() {
        let mut set: RoaringBitmap = (0..65_536).filter(|o| o % 3 > 0).collect();
        set.extend((65_536..131_072).filter(|o| o % 31 == 0));
        set.extend((200_000..262_144).filter(|o| o % 2 == 0));
        for runs in [false, true] {
            if runs {
                set.insert_range(70_000..120_000);
                set.optimize();
            }
            for points in [1, 65_536, 65_537, 201_111, 262_144, 300_000] {
                check(&set, points, 0..points);
                check(&set, points, points / 3..points / 2);
            }
        }
    }
}
