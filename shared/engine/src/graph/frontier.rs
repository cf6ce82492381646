//! What a walk keeps in order: the nearest points found, and which of them are still to be expanded.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A distance and an ordinal as one integer whose order is (distance, ordinal), NaN last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    /// After every other key.
    pub(super) const MAX: Self = Self(u64::MAX);

    #[inline]
    pub(super) fn new(distance: f32, ordinal: u32) -> Self {
        let bits = distance.to_bits();
        // IEEE 754 floats order like sign-magnitude integers: flip all bits of negatives, the sign of the others.
        let negative = 0u32.wrapping_sub(bits >> 31);
        let ordered = bits ^ (negative | 1 << 31);
        Self(u64::from(ordered) << 32 | u64::from(ordinal))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the key's two halves apart")]
    pub(super) fn ordinal(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn distance(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        let positive = 0u32.wrapping_sub(ordered >> 31);
        f32::from_bits(ordered ^ (!positive | 1 << 31))
    }
}

/// Candidates and results of a best-first walk.
pub(super) trait Frontier {
    /// Only keys below this one can matter.
    fn bound(&self) -> Key;
    /// A point was scored; `allowed` says whether it may be a result.
    fn offer(&mut self, key: Key, allowed: bool);
    /// The nearest point not expanded yet; it counts as expanded from now on. `None` when no open point can improve the results.
    fn take(&mut self) -> Option<u32>;
    /// What `take` would probably give next.
    fn peek(&self) -> Option<u32>;
}

/// A sorted array of the `ef` nearest, for walks without a filter, where results and candidates are the same points.
/// Up to about a thousand entries, moving a tail of integers beats any heap.
#[derive(Default)]
pub(super) struct Sorted {
    keys: Vec<Key>,
    /// Which keys wait to be expanded.
    open: Vec<bool>,
    /// No key before this one is open.
    cursor: usize,
    ef: usize,
}

impl Sorted {
    /// The largest `ef` it is meant for.
    pub(super) const EF_MAX: usize = 1_024;

    pub(super) fn reset(&mut self, ef: usize) {
        self.keys.clear();
        self.open.clear();
        self.keys.reserve(ef);
        self.open.reserve(ef);
        (self.cursor, self.ef) = (0, ef);
    }

    /// Nearest first.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

impl Frontier for Sorted {
    #[inline]
    fn bound(&self) -> Key {
        if self.keys.len() < self.ef { Key::MAX } else { self.keys[self.keys.len() - 1] }
    }

    #[inline]
    fn offer(&mut self, key: Key, _allowed: bool) {
        if key >= self.bound() {
            return;
        }
        if self.keys.len() == self.ef {
            self.keys.pop();
            self.open.pop();
        }
        let at = self.keys.partition_point(|&other| other < key);
        self.keys.insert(at, key);
        self.open.insert(at, true);
        self.cursor = self.cursor.min(at);
    }

    #[inline]
    fn take(&mut self) -> Option<u32> {
        let at = self.cursor + self.open.get(self.cursor..)?.iter().position(|&open| open)?;
        self.open[at] = false;
        self.cursor = at + 1;
        Some(self.keys[at].ordinal())
    }

    #[inline]
    fn peek(&self) -> Option<u32> {
        let at = self.cursor + self.open.get(self.cursor..)?.iter().position(|&open| open)?;
        Some(self.keys[at].ordinal())
    }
}

/// Two heaps: candidates of any kind, and the `ef` nearest that are allowed. For filters and for very wide searches.
#[derive(Default)]
pub(super) struct Heaps {
    open: BinaryHeap<Reverse<Key>>,
    nearest: BinaryHeap<Key>,
    ef: usize,
}

impl Heaps {
    /// Entries of heap memory kept between walks.
    const KEEP: usize = 1 << 16;

    pub(super) fn reset(&mut self, ef: usize) {
        self.open.clear();
        self.nearest.clear();
        self.ef = ef;
    }

    /// Takes the results out, in no order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Key> + '_ {
        self.nearest.drain()
    }

    /// Gives memory of unusually large walks back.
    pub(super) fn shrink(&mut self) {
        if self.open.capacity().max(self.nearest.capacity()) > Self::KEEP {
            *self = Self::default();
        }
    }
}

impl Frontier for Heaps {
    #[inline]
    fn bound(&self) -> Key {
        if self.nearest.len() < self.ef { Key::MAX } else { self.nearest.peek().copied().unwrap_or(Key::MAX) }
    }

    #[inline]
    fn offer(&mut self, key: Key, allowed: bool) {
        if key >= self.bound() {
            return;
        }
        self.open.push(Reverse(key));
        if !allowed {
            return;
        }
        if self.nearest.len() < self.ef {
            self.nearest.push(key);
        } else if let Some(mut worst) = self.nearest.peek_mut() {
            *worst = key;
        }
    }

    #[inline]
    fn take(&mut self) -> Option<u32> {
        let Reverse(key) = self.open.pop()?;
        (key <= self.bound()).then(|| key.ordinal())
    }

    #[inline]
    fn peek(&self) -> Option<u32> {
        self.open.peek().map(|Reverse(key)| key.ordinal())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_order_like_distances(a in any::<f32>(), b in any::<f32>(), i in any::<u32>(), j in any::<u32>()) {
            let expected = if a.is_nan() || b.is_nan() || (a == 0.0 && b == 0.0) { return Ok(()) } else { a.total_cmp(&b).then(i.cmp(&j)) };
            prop_assert_eq!(Key::new(a, i).cmp(&Key::new(b, j)), expected);
            prop_assert_eq!((Key::new(a, i).distance().to_bits(), Key::new(a, i).ordinal()), (a.to_bits(), i));
        }

        #[test]
        fn both_frontiers_keep_the_nearest(distances in prop::collection::vec(-3.0f32..9.0, 0..80), ef in 1usize..20, takes in 0usize..6) {
            let (mut sorted, mut heaps) = (Sorted::default(), Heaps::default());
            sorted.reset(ef);
            heaps.reset(ef);
            for (ordinal, &distance) in (0u32..).zip(&distances) {
                let key = Key::new(distance.round(), ordinal);
                sorted.offer(key, true);
                heaps.offer(key, true);
                if ordinal as usize % 7 < takes {
                    prop_assert_eq!(sorted.peek(), heaps.peek().filter(|_| sorted.peek().is_some()));
                    prop_assert_eq!(sorted.take(), heaps.take());
                }
                prop_assert_eq!(sorted.bound(), heaps.bound());
            }
            let mut expected: Vec<Key> = (0u32..).zip(&distances).map(|(o, d)| Key::new(d.round(), o)).collect();
            expected.sort();
            expected.truncate(ef);
            prop_assert_eq!(sorted.keys(), &expected[..]);
            let mut found: Vec<Key> = heaps.drain().collect();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
