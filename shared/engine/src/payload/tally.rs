//! How many of several sets hold each point.

use roaring::RoaringBitmap;

/// A counter per point, kept as one bitmap per binary digit: adding a set costs a few bitmap operations, whatever the
/// number of points.
#[derive(Debug, Default)]
pub(super) struct Tally {
    digits: Vec<RoaringBitmap>,
}

impl Tally {
    /// Counts one for every point of `set`.
    pub(super) fn add(&mut self, set: &RoaringBitmap) {
        let mut carry = set.clone();
        for digit in &mut self.digits {
            if carry.is_empty() {
                return;
            }
            let next = &*digit & &carry;
            *digit ^= &carry;
            carry = next;
        }
        if !carry.is_empty() {
            self.digits.push(carry);
        }
    }

    /// The points counted at least `count` times, which is not 0.
    pub(super) fn at_least(&self, count: u64) -> RoaringBitmap {
        let digits = self.digits.len();
        if count == 0 || count.checked_shr(u32::try_from(digits).unwrap_or(u32::MAX)).is_some_and(|above| above > 0) {
            return RoaringBitmap::new();
        }
        // From the highest digit down: points whose digits so far are above those of `count`, and those equal to them.
        let mut above = RoaringBitmap::new();
        let mut equal: RoaringBitmap = self.digits.iter().fold(RoaringBitmap::new(), |all, digit| all | digit);
        for (at, digit) in self.digits.iter().enumerate().rev() {
            if count >> at & 1 == 0 {
                above |= &equal & digit;
                equal -= digit;
            } else {
                equal &= digit;
            }
        }
        above | equal
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_those_of_counting(sets in proptest::collection::vec(proptest::collection::vec(0u32..40, 0..30), 0..20)) {
            let sets: Vec<RoaringBitmap> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
            let mut tally = Tally::default();
            sets.iter().for_each(|set| tally.add(set));
            let count = |point| sets.iter().filter(|set| set.contains(point)).count() as u64;
            for wanted in (1..25).chain([u64::MAX]) {
                let at_least: RoaringBitmap = (0..40).filter(|point| count(*point) >= wanted).collect();
                prop_assert_eq!(tally.at_least(wanted), at_least);
            }
        }
    }
}
