//! Which segments of a shard are merged.
//!
//! A segment with `n` points that count is in tier `floor(log4 n)`. As soon as four are in one tier they become one, which is in a higher tier, as four
//! of at least `4^t` points have at least `4^(t+1)`. So a shard has at most three segments per tier, and a point is written at most once for every
//! tier that it rises: with at most [`POINTS_MAX`] points in a segment that is at most 11 times after it was folded, and mostly much less, as
//! points are folded in thousands.
//!
//! What is too large to be merged with another one within the bounds of points and memory is left alone. A segment more than a fifth of which is dead is
//! written anew whatever its tier: that writes at most four points for each that died.

use std::collections::BTreeMap;

/// Segments of one tier that become one.
pub(super) const FAN_IN: usize = 4;
/// Points of a merged segment at most. The dead of so many are at most 512 KiB.
pub(super) const POINTS_MAX: u64 = 4 << 20;
/// Part of a segment's points that may be dead: one in so many.
const DEAD_ONE_IN: u64 = 5;

/// A segment, as far as merging it is concerned; or the points of a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Points that count.
    pub(super) live: u64,
    /// Points that do not.
    pub(super) dead: u64,
    /// Memory that a segment of those that count takes while it is built.
    pub(super) bytes: u64,
    /// Whether it has to be written, whatever its tier: it is not a segment yet, or its dead are too many to be named.
    pub(super) must: bool,
}

/// What a merged segment may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) points: u64,
    pub(super) bytes: u64,
}

/// Members that become one segment.
#[derive(Clone, Debug)]
struct Pot {
    members: Vec<usize>,
    live: u64,
    bytes: u64,
    must: bool,
}

impl Pot {
    /// Whether two such would be too large for one segment.
    fn is_sealed(&self, bounds: Bounds) -> bool {
        self.live.saturating_mul(2) > bounds.points || self.bytes.saturating_mul(2) > bounds.bytes
    }
}

/// The tier of a segment with so many points, at least 1.
pub(super) fn tier(live: u64) -> u32 {
    live.max(1).ilog(FAN_IN as u64)
}

/// The segments that are to be written: of which members each. Members without points that count are in none.
pub(super) fn plan(members: &[Member], bounds: Bounds) -> Vec<Vec<usize>> {
    let mut pots: Vec<Pot> = members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.live > 0)
        .map(|(at, member)| Pot {
            members: vec![at],
            live: member.live,
            bytes: member.bytes,
            must: member.must || member.dead * DEAD_ONE_IN > member.live + member.dead,
        })
        .collect();
    while let Some(full) = full_tier(&pots, bounds) {
        let mut merged = Pot { members: Vec::new(), live: 0, bytes: 0, must: true };
        for &at in &full {
            let (live, bytes) = (merged.live + pots[at].live, merged.bytes.saturating_add(pots[at].bytes));
            // Two that are not sealed always fit, so each turn leaves fewer.
            if live > bounds.points || bytes > bounds.bytes {
                break;
            }
            (merged.live, merged.bytes) = (live, bytes);
            merged.members.append(&mut pots[at].members);
        }
        pots.retain(|pot| !pot.members.is_empty());
        pots.push(merged);
    }
    pots.retain(|pot| pot.must);
    pots.into_iter().map(|pot| pot.members).collect()
}

/// The lowest tier that is full: its pots, the smallest first.
fn full_tier(pots: &[Pot], bounds: Bounds) -> Option<Vec<usize>> {
    let mut tiers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, pot) in pots.iter().enumerate().filter(|(_, pot)| !pot.is_sealed(bounds)) {
        tiers.entry(tier(pot.live)).or_default().push(at);
    }
    let mut full = tiers.into_values().find(|tier| tier.len() >= FAN_IN)?;
    full.sort_by_key(|&at| pots[at].live);
    Some(full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { points: 20_000, bytes: 1_000_000 };

    fn member(live: u64, dead: u64, must: bool) -> Member {
        Member { live, dead, bytes: live * 40, must }
    }

    proptest! {
        #[test]
        fn no_tier_stays_full_and_nothing_is_in_two_segments(
            members in prop::collection::vec((0u64..25_000, 0u64..900, prop::bool::weighted(0.1)), 0..40),
        ) {
            let members: Vec<Member> = members.into_iter().map(|(live, dead, must)| member(live, dead, must)).collect();
            let plan = plan(&members, BOUNDS);
            let mut used = vec![0; members.len()];
            plan.iter().flatten().for_each(|&at| used[at] += 1);
            let mut after: Vec<u64> = Vec::new();
            for (member, used) in members.iter().zip(&used) {
                let stale = member.must || member.dead * 5 > member.live + member.dead;
                prop_assert!(*used <= 1 && (member.live > 0 || *used == 0));
                prop_assert!(*used == 1 || member.live == 0 || !stale, "{member:?}");
                if *used == 0 && member.live > 0 {
                    after.push(member.live);
                }
            }
            for group in &plan {
                let live: u64 = group.iter().map(|&at| members[at].live).sum();
                prop_assert!(group.len() == 1 || live <= BOUNDS.points);
                after.push(live);
            }
            let mut tiers = BTreeMap::<u32, usize>::new();
            after.iter().filter(|live| **live * 2 <= BOUNDS.points).for_each(|live| *tiers.entry(tier(*live)).or_default() += 1);
            prop_assert!(tiers.values().all(|count| *count < FAN_IN), "{tiers:?}");
        }
    }

    #[test]
    fn a_point_is_written_once_for_every_tier_that_it_rises() {
        // Folds of 7 to 60 points, until nothing can be merged any more.
        let mut shard: Vec<Member> = Vec::new();
        let (mut folded, mut written) = (0, 0);
        for round in 0..3_000u64 {
            let fresh = 7 + round * 31 % 54;
            folded += fresh;
            shard.push(member(fresh, 0, true));
            for group in plan(&shard, BOUNDS) {
                let live: u64 = group.iter().map(|&at| shard[at].live).sum();
                written += live;
                group.iter().for_each(|&at| shard[at].live = 0);
                shard.push(member(live, 0, false));
            }
            shard.retain(|member| member.live > 0);
            assert!(shard.iter().map(|member| member.live).sum::<u64>() == folded);
            let small = shard.iter().filter(|member| member.live * 2 <= BOUNDS.points).count();
            assert!(small <= 3 * 7, "{small} segments");
        }
        // From tier 1 or 2 to tier 6.
        let ratio = written as f64 / folded as f64;
        assert!((3.0..=6.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_dead_are_dropped_when_they_are_a_fifth() {
        assert!(plan(&[member(80, 20, false)], BOUNDS).is_empty());
        assert_eq!(plan(&[member(79, 21, false), member(500, 0, false), member(0, 9, false)], BOUNDS), [[0]]);
        // Too large to be merged, and written anew all the same.
        assert_eq!(plan(&[member(19_000, 9_000, false)], BOUNDS), [[0]]);
        assert!(plan(&[], BOUNDS).is_empty());
        assert_eq!(tier(0) + tier(3), 0);
        assert_eq!((tier(4), tier(15), tier(16), tier(POINTS_MAX)), (1, 1, 2, 11));
    }
}
