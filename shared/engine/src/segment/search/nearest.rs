//! The best of a stream of candidates.

/// Distance, then ordinal.
pub(in crate::segment) type Candidate = (f32, u32);

pub(in crate::segment) fn nearer(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// The `size` nearest candidates of a stream.
///
/// Candidates below the bound are appended, and once there are twice as many as wanted, selection throws the worse
/// half away: constant time each, where a heap moves `log size` entries.
pub(in crate::segment) struct Nearest {
    kept: Vec<Candidate>,
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
            self.kept.push(candidate);
            if self.kept.len() >= self.size.saturating_mul(2) {
                self.select();
            }
        }
    }

    fn select(&mut self) {
        if self.kept.len() > self.size {
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.size - 1, nearer);
            self.bound = worst.0;
            self.kept.truncate(self.size);
        }
    }

    /// The distance of the `k`-th nearest so far, `k` from 1 to the size; infinite while there are fewer.
    pub(in crate::segment) fn kth(&mut self, k: usize) -> f32 {
        if self.kept.len() < k {
            return f32::INFINITY;
        }
        self.kept.select_nth_unstable_by(k - 1, nearer).1.0
    }

    pub(in crate::segment) fn sorted(mut self) -> Vec<Candidate> {
        self.select();
        self.kept.sort_unstable_by(nearer);
        self.kept
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
