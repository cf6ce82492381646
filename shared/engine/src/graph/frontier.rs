//! What a walk keeps in order: the nearest points found, and which of them are still to be expanded.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::kernel::{ordered, unordered};

/// A distance and an ordinal as one integer whose order is (distance, ordinal), NaN last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    /// After every other key.
    pub(super) const MAX: Self = Self(u64::MAX);

    #[inline]
    pub(super) fn new(distance: f32, ordinal: u32) -> Self {
        Self(u64::from(ordered(distance)) << 32 | u64::from(ordinal))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the key's two halves apart")]
    pub(super) fn ordinal(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn distance(self) -> f32 {
        unordered((self.0 >> 32) as u32)
    }
}

/// Candidates and results of a best-first walk.
pub(super) trait Frontier {
    /// Only distances up to this one can matter.
    fn bound(&self) -> f32;
    /// Points were scored, none of them before; `allowed` says which may be results. The order of `keys` is left changed.
    fn offer(&mut self, keys: &mut [Key], allowed: impl Fn(u32) -> bool);
    /// The nearest point not expanded yet; it counts as expanded from now on. `None` when no open point can improve the results.
    fn take(&mut self) -> Option<u32>;
    /// What `take` would probably give next.
    fn peek(&self) -> Option<u32>;
}

/// A sorted array of the `ef` nearest, for walks without a filter, where results and candidates are the same points.
/// Up to about a thousand entries, moving a tail of integers beats any heap.
#[derive(Default)]
pub(super) struct Sorted {
    /// Nearest first. The lowest bit, which ordinals leave free, is set once a point is expanded: [`Slot`].
    slots: Vec<Slot>,
    /// No slot before this one is open.
    cursor: usize,
    ef: usize,
    /// Where what is offered comes to lie.
    places: Vec<usize>,
}

/// A key with room for a mark: distance, ordinal, whether it was expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot(u64);

impl Slot {
    const EXPANDED: u64 = 1;

    #[inline]
    fn open(key: Key) -> Self {
        // The distance's 32 bits stay at the top; the ordinal's highest bit is 0.
        Self(key.0 & !0xFFFF_FFFF | u64::from(key.ordinal() << 1))
    }

    #[inline]
    fn is_open(self) -> bool {
        self.0 & Self::EXPANDED == 0
    }

    #[inline]
    fn key(self) -> Key {
        Key(self.0 & !0xFFFF_FFFF | (self.0 & 0xFFFF_FFFF) >> 1)
    }
}

impl Sorted {
    /// The largest `ef` it is meant for.
    pub(super) const EF_MAX: usize = 1_024;
    /// The most points whose ordinals leave a bit free.
    pub(super) const POINTS_MAX: u32 = 1 << 31;

    pub(super) fn reset(&mut self, ef: usize) {
        self.slots.clear();
        (self.cursor, self.ef) = (0, ef);
    }

    /// Nearest first.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = Key> + '_ {
        self.slots.iter().map(|slot| slot.key())
    }
}

impl Frontier for Sorted {
    #[inline]
    fn bound(&self) -> f32 {
        if self.slots.len() < self.ef {
            f32::INFINITY
        } else {
            self.slots.last().map_or(f32::INFINITY, |slot| slot.key().distance())
        }
    }

    #[inline]
    fn offer(&mut self, keys: &mut [Key], _allowed: impl Fn(u32) -> bool) {
        keys.sort_unstable();
        let Self { slots, places, .. } = self;
        // All places first, each in the slots as they are: searches of one length do not wait for one another.
        places.clear();
        places.extend(keys.iter().map(|&key| {
            let slot = Slot::open(key);
            slots.partition_point(|&other| other < slot)
        }));
        // From the last to the first: what lies behind a new slot moves once, by as many places as there are new slots before it.
        let mut end = self.slots.len();
        self.slots.resize(end + keys.len(), Slot(0));
        for (before, (key, &at)) in keys.iter().zip(&self.places).enumerate().rev() {
            let slot = Slot::open(*key);
            self.slots.copy_within(at..end, at + before + 1);
            self.slots[at + before] = slot;
            end = at;
        }
        if !keys.is_empty() {
            self.cursor = self.cursor.min(end);
        }
        self.slots.truncate(self.ef);
    }

    #[inline]
    fn take(&mut self) -> Option<u32> {
        let at = self.cursor + self.slots.get(self.cursor..)?.iter().position(|slot| slot.is_open())?;
        let slot = &mut self.slots[at];
        let ordinal = slot.key().ordinal();
        slot.0 |= Slot::EXPANDED;
        self.cursor = at + 1;
        Some(ordinal)
    }

    #[inline]
    fn peek(&self) -> Option<u32> {
        self.slots.get(self.cursor..)?.iter().find(|slot| slot.is_open()).map(|slot| slot.key().ordinal())
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

impl Heaps {
    fn worst(&self) -> Key {
        if self.nearest.len() < self.ef { Key::MAX } else { self.nearest.peek().copied().unwrap_or(Key::MAX) }
    }
}

impl Frontier for Heaps {
    #[inline]
    fn bound(&self) -> f32 {
        if self.nearest.len() < self.ef { f32::INFINITY } else { self.worst().distance() }
    }

    #[inline]
    fn offer(&mut self, keys: &mut [Key], allowed: impl Fn(u32) -> bool) {
        for &key in &*keys {
            if key >= self.worst() {
                continue;
            }
            self.open.push(Reverse(key));
            if !allowed(key.ordinal()) {
                continue;
            }
            if self.nearest.len() < self.ef {
                self.nearest.push(key);
            } else if let Some(mut worst) = self.nearest.peek_mut() {
                *worst = key;
            }
        }
    }

    #[inline]
    fn take(&mut self) -> Option<u32> {
        let Reverse(key) = self.open.pop()?;
        (key <= self.worst()).then(|| key.ordinal())
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
        fn both_frontiers_keep_the_nearest(
            distances in prop::collection::vec(prop::collection::vec(-3.0f32..9.0, 0..12), 0..12), ef in 1usize..20, takes in 0usize..4,
        ) {
            let (mut sorted, mut heaps) = (Sorted::default(), Heaps::default());
            sorted.reset(ef);
            heaps.reset(ef);
            let mut expected = Vec::new();
            for batch in &distances {
                let first = expected.len() as u32;
                let mut keys: Vec<Key> = (first..).zip(batch).map(|(o, d)| Key::new(d.round(), o)).collect();
                expected.extend_from_slice(&keys);
                sorted.offer(&mut keys.clone(), |_| true);
                heaps.offer(&mut keys, |_| true);
                for _ in 0..takes {
                    prop_assert_eq!(sorted.peek(), heaps.peek().filter(|_| sorted.peek().is_some()));
                    prop_assert_eq!(sorted.take(), heaps.take());
                }
                prop_assert_eq!(sorted.bound(), heaps.bound());
            }
            expected.sort();
            expected.truncate(ef);
            prop_assert_eq!(sorted.keys().collect::<Vec<_>>(), expected.clone());
            let mut found: Vec<Key> = heaps.drain().collect();
            found.sort();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn slots_order_like_keys(a in any::<f32>(), b in any::<f32>(), i in 0u32..Sorted::POINTS_MAX, j in 0u32..Sorted::POINTS_MAX) {
            let (a, b) = (Key::new(a, i), Key::new(b, j));
            prop_assert_eq!(Slot::open(a).cmp(&Slot::open(b)), a.cmp(&b));
            prop_assert_eq!(Slot::open(a).key(), a);
        }
    }
}
