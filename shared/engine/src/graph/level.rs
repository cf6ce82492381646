//! Chance, seeded: each point's level, and the order of insertion.

use crate::seed::SplitMix64;

/// Upper levels at most; level 31 is out of reach of any segment at m of 2 or more.
pub(super) const LEVEL_MAX: u8 = 31;

/// The top level of a point: floor(-ln(u) / ln(m)) for a u in (0, 1] drawn from the seed and the ordinal.
///
/// In integers, so that every machine agrees: the level is the largest l with u * m^l <= 1.
pub(super) fn of(ordinal: u32, seed: u64, m: u32) -> u8 {
    let draw = SplitMix64::new(seed ^ SplitMix64::new(u64::from(ordinal)).next()).next();
    let (mut level, mut bound) = (0, u64::MAX / u64::from(m.max(2)));
    while draw <= bound && level < LEVEL_MAX {
        level += 1;
        bound /= u64::from(m.max(2));
    }
    level
}

/// All points in the order of insertion: `first`, then the others shuffled.
///
/// Ordinals come in cluster order. Inserted in that order, a cluster would be complete before the next begins, and the early
/// clusters' nodes would have spent their links before anything else exists.
pub(super) fn order(points: u32, first: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..points).collect();
    order.swap(0, first as usize);
    let mut chance = SplitMix64::new(seed);
    for at in (2..points).rev() {
        let other = 1 + chance.below(u64::from(at));
        #[expect(clippy::cast_possible_truncation, reason = "at most `at`")]
        order.swap(at as usize, other as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_thin_out_by_m() {
        for m in [2, 16, 256] {
            let mut counts = [0u32; 32];
            for ordinal in 0..200_000 {
                counts[usize::from(of(ordinal, 7, m))] += 1;
            }
            let upper: u32 = counts[1..].iter().sum();
            let expected = 200_000 / m;
            assert!(upper.abs_diff(expected) < expected / 5, "m {m}: {upper} points above level 0");
        }
        assert_eq!(of(5, 1, 16), of(5, 1, 16));
        assert!((0..1_000).any(|o| of(o, 1, 2) != of(o, 2, 2)), "the seed matters");
    }

    #[test]
    fn the_order_is_a_permutation() {
        for points in [1, 2, 3, 100] {
            let order = order(points, points - 1, 3);
            assert_eq!(order[0], points - 1);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..points));
            assert!(points < 100 || order != super::order(points, points - 1, 4));
        }
    }
}
