//! The best of a stream of candidates.

use crate::kernel::{ordered, unordered};

/// Distance, then ordinal.
pub(in crate::segment) type Candidate = (f32, u32);

pub(in crate::segment) fn nearer(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// A candidate as one integer that sorts as the candidate does: comparing two is one instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    #[inline]
    const fn new((distance, ordinal): Candidate) -> Self {
        Self((ordered(distance) as u64) << 32 | ordinal as u64)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the key's two halves apart")]
    const fn candidate(self) -> Candidate {
        (unordered((self.0 >> 32) as u32), self.0 as u32)
    }
}

/// The `size` nearest candidates of a stream.
///
/// Candidates below the bound are appended, and once there are twice as many as wanted, selection throws the worse
/// half away: constant time each, where a heap moves `log size` entries.
pub(in crate::segment) struct Nearest {
    kept: Vec<Key>,
    size: usize,
    /// Nothing from here on can be among the nearest: the worst of them, at the last selection.
    bound: f32,
}

impl Nearest {
    /// `size` is at least 1.
    pub(in crate::segment) fn new(size: usize) -> Self {
        Self { kept: Vec::with_capacity(size.saturating_mul(2).min(65_536)), size, bound: f32::INFINITY }
    }

    #[inline]
    pub(in crate::segment) fn offer(&mut self, candidate: Candidate) {
        // At the bound itself the ordinal decides. What is infinitely far is kept while there is room, as any other.
        if candidate.0 <= self.bound {
            self.kept.push(Key::new(candidate));
            if self.kept.len() >= self.size.saturating_mul(2) {
                self.select();
            }
        }
    }

    fn select(&mut self) {
        if self.kept.len() > self.size {
            let (_, worst, _) = self.kept.select_nth_unstable(self.size - 1);
            self.bound = worst.candidate().0;
            self.kept.truncate(self.size);
        }
    }

    /// The distance of the `k`-th nearest so far, `k` from 1 to the size; infinite while there are fewer.
    pub(in crate::segment) fn kth(&mut self, k: usize) -> f32 {
        if self.kept.len() < k {
            return f32::INFINITY;
        }
        self.kept.select_nth_unstable(k - 1).1.candidate().0
    }

    pub(in crate::segment) fn sorted(self) -> Vec<Candidate> {
        let size = self.size;
        self.ascending().first(size)
    }

    /// The same, sorted as far as they are looked at, and perhaps some more.
    pub(in crate::segment) fn ascending(self) -> Ascending {
        Ascending { all: self.kept, sorted: 0 }
    }
}

/// Candidates, nearest first, sorted no farther than they are looked at: rescoring mostly looks at a few dozen of some hundred.
pub(in crate::segment) struct Ascending {
    all: Vec<Key>,
    /// So many are in their places.
    sorted: usize,
}

impl Ascending {
    /// Candidates that are sorted in the first place.
    const FIRST: usize = 32;

    /// Of candidates that are sorted already.
    pub(in crate::segment) fn of_sorted(candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let all: Vec<Key> = candidates.into_iter().map(Key::new).collect();
        debug_assert!(all.is_sorted(), "candidates out of order");
        Self { sorted: all.len(), all }
    }

    pub(in crate::segment) const fn len(&self) -> usize {
        self.all.len()
    }

    /// The candidate in place `at`, if there are so many.
    #[inline]
    pub(in crate::segment) fn get(&mut self, at: usize) -> Option<Candidate> {
        if at >= self.sorted {
            self.reach(at);
        }
        self.all.get(at).map(|key| key.candidate())
    }

    pub(in crate::segment) fn sorted(self) -> Vec<Candidate> {
        self.first(usize::MAX)
    }

    /// The nearest so many.
    pub(in crate::segment) fn first(mut self, count: usize) -> Vec<Candidate> {
        self.reach(count);
        self.all.into_iter().take(count).map(Key::candidate).collect()
    }

    /// Makes sure that place `at` has its candidate.
    fn reach(&mut self, at: usize) {
        let rest = &mut self.all[self.sorted..];
        // Twice as many each time: whoever looks at all of them pays for one sort.
        let wanted = at.saturating_add(1).max(self.sorted * 2).max(Self::FIRST) - self.sorted;
        let wanted = wanted.min(rest.len());
        if wanted < rest.len() {
            rest.select_nth_unstable(wanted);
        }
        rest[..wanted].sort_unstable();
        self.sorted += wanted;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_of_a_stream_are_those_of_a_sort(
            distances in prop::collection::vec(0u8..40, 0..200), size in 1usize..30, k in 1usize..30,
        ) {
            let mut all: Vec<Candidate> = (0u32..).zip(&distances).map(|(i, &d)| (f32::from(d), i)).collect();
            let mut nearest = Nearest::new(size);
            all.iter().for_each(|&candidate| nearest.offer(candidate));
            all.sort_by(nearer);
            if k <= size {
                prop_assert_eq!(nearest.kth(k), all.get(k - 1).map_or(f32::INFINITY, |found| found.0));
            }
            all.truncate(size);
            prop_assert_eq!(nearest.sorted(), all);
        }

        /// Whatever is looked at, and in whichever order, is what a sort puts there.
        #[test]
        fn what_is_looked_at_is_in_its_place(
            distances in prop::collection::vec(-40i8..40, 0..300), looks in prop::collection::vec(0usize..320, 1..20),
        ) {
            let mut all: Vec<Candidate> = (0u32..).zip(&distances).map(|(i, &d)| (f32::from(d), i)).collect();
            let mut nearest = Nearest::new(300);
            all.iter().for_each(|&candidate| nearest.offer(candidate));
            all.sort_by(nearer);
            let mut ascending = nearest.ascending();
            let mut sorted = Ascending::of_sorted(all.iter().copied());
            for at in looks {
                prop_assert_eq!(ascending.get(at), all.get(at).copied());
                prop_assert_eq!(sorted.get(at), all.get(at).copied());
            }
        }
    }

    #[test]
    fn infinite_distances_are_kept_while_there_is_room() {
        let mut nearest = Nearest::new(2);
        for ordinal in [3, 1, 2] {
            nearest.offer((f32::INFINITY, ordinal));
        }
        nearest.offer((1.0, 9));
        assert_eq!(nearest.sorted(), [(1.0, 9), (f32::INFINITY, 1)]);
    }
}
