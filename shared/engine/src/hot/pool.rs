//! The candidates of a walk: the nearest found, in order, and which of them are expanded.

use crate::kernel::{ordered, unordered};

/// An estimate and an address as one integer whose order is that of the estimates; the lowest bit says "expanded".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    /// `address` is below 2^31; the estimate is a number.
    #[inline]
    fn new(estimate: f32, address: u32) -> Self {
        Self(u64::from(ordered(estimate)) << 32 | u64::from(address) << 1)
    }

    #[inline]
    const fn expanded(self) -> bool {
        self.0 & 1 == 1
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    const fn address(self) -> u32 {
        self.0 as u32 >> 1
    }

    #[inline]
    const fn estimate(self) -> f32 {
        unordered((self.0 >> 32) as u32)
    }
}

/// A sorted array of the nearest by estimate.
#[derive(Default)]
pub(super) struct Pool {
    keys: Vec<Key>,
    size: usize,
    /// No key before this one is open.
    cursor: usize,
}

impl Pool {
    /// Empties it, for `size` candidates.
    pub(super) fn reset(&mut self, size: usize) {
        self.keys.clear();
        self.size = size.max(1);
        self.cursor = 0;
    }

    /// Keeps `size` candidates from now on.
    pub(super) fn resize(&mut self, size: usize) {
        self.size = size.max(1);
        self.keys.truncate(self.size);
    }

    /// Only estimates below this can enter.
    #[inline(always)]
    pub(super) fn bound(&self) -> f32 {
        match self.keys.last() {
            Some(last) if self.keys.len() >= self.size => last.estimate(),
            _ => f32::INFINITY,
        }
    }

    /// Adds a candidate whose estimate is below the bound; gives the new bound.
    #[inline(always)]
    pub(super) fn offer(&mut self, estimate: f32, address: u32) -> f32 {
        let key = Key::new(estimate, address);
        // A binary search without branches to mispredict; a candidate may land anywhere.
        let (mut at, mut rest) = (0, self.keys.len());
        while rest > 1 {
            let half = rest / 2;
            at = std::hint::select_unpredictable(self.keys[at + half - 1] < key, at + half, at);
            rest -= half;
        }
        at += usize::from(rest == 1 && self.keys[at] < key);
        if self.keys.len() >= self.size {
            let end = self.keys.len() - 1;
            self.keys.copy_within(at.min(end)..end, at.min(end) + 1);
            self.keys[at.min(end)] = key;
        } else {
            self.keys.insert(at, key);
        }
        self.cursor = self.cursor.min(at);
        self.bound()
    }

    /// The nearest candidate not expanded yet; it counts as expanded from now on.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<u32> {
        let at = self.cursor + self.keys.get(self.cursor..)?.iter().position(|key| !key.expanded())?;
        self.keys[at].0 |= 1;
        self.cursor = at + 1;
        Some(self.keys[at].address())
    }

    /// Removes what was just taken: a second entry of a point that is expanded already.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.cursor -= 1;
        self.keys.remove(self.cursor);
    }
}

/// The best estimate so far of every block, and which are expanded: emptied in O(1), by generation.
///
/// Each of a node's neighbours that is expanded estimates it anew. Only a better estimate can change the order of a walk;
/// the others would fill the pool.
#[derive(Default)]
pub(super) struct Seen {
    /// The generation in the upper 8 bits, the upper 24 bits of an ordered estimate in the lower; 0 for "expanded".
    marks: Vec<u32>,
    generation: u32,
}

impl Seen {
    const GENERATIONS: u32 = 255;

    pub(super) fn reset(&mut self, marks: usize) {
        if self.marks.len() < marks {
            self.marks.resize(marks, 0);
        }
        if self.generation == Self::GENERATIONS {
            self.marks.fill(0);
            self.generation = 0;
        }
        self.generation += 1;
    }

    /// Whether the estimate is the best so far, or almost, of a block that is not expanded.
    #[inline(always)]
    pub(super) fn improve(&mut self, at: usize, estimate: f32) -> bool {
        let Some(mark) = self.marks.get_mut(at) else { return false };
        // 1 more, so that no estimate looks like "expanded".
        let new = self.generation << 24 | ((ordered(estimate) >> 8) + 1).min(0xFF_FFFF);
        let better = *mark >> 24 != self.generation || new < *mark;
        if better {
            *mark = new;
        }
        better
    }

    /// Marks a block as expanded; whether it was not.
    #[inline(always)]
    pub(super) fn expand(&mut self, at: usize) -> bool {
        let Some(mark) = self.marks.get_mut(at) else { return false };
        std::mem::replace(mark, self.generation << 24) != self.generation << 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::SplitMix64;

    #[test]
    fn a_pool_keeps_the_nearest_in_order() {
        let mut random = SplitMix64::new(1);
        for size in [1, 2, 3, 10, 33] {
            let mut pool = Pool::default();
            pool.reset(size);
            let mut all = Vec::new();
            for address in 0..100 {
                let estimate = random.unit() as f32 * 8.0 - 4.0;
                all.push((estimate, address));
                if estimate < pool.bound() {
                    let bound = pool.offer(estimate, address);
                    assert_eq!(bound, pool.bound());
                }
            }
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert_eq!(pool.bound(), all[size - 1].0);
            let taken: Vec<u32> = std::iter::from_fn(|| pool.take()).collect();
            assert_eq!(taken, all[..size].iter().map(|&(_, address)| address).collect::<Vec<_>>());
            pool.forget();
            assert_eq!(pool.bound(), f32::INFINITY);
            pool.offer(9.0, 100);
            assert_eq!((pool.take(), pool.take()), (Some(100), None));
        }
    }

    #[test]
    fn only_better_estimates_of_open_blocks_count() {
        let mut seen = Seen::default();
        for _ in 0..600 {
            seen.reset(4);
            assert!(seen.improve(2, -1.0) && !seen.improve(2, -1.0) && !seen.improve(2, 3.0) && seen.improve(2, -7.0));
            assert!(seen.expand(2) && !seen.expand(2) && !seen.improve(2, f32::MIN) && seen.improve(3, f32::MAX));
            assert!(seen.improve(1, f32::MIN) && seen.expand(1));
            assert!(!seen.improve(4, 0.0) && !seen.expand(4), "no such block");
        }
    }
}
