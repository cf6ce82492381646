//! What the collector found in a generation, and since when: one object, written anew by each run that finds something else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::FORMAT;

/// When something was found, in milliseconds since 1970 by the store's clock. `None` stands for when the object was put in which it is
/// written down: that is after all documents were read.
pub(super) type Since = Option<u64>;

/// Objects that are written down at most; others are found again.
pub(super) const OBJECTS_MAX: usize = 100_000;

/// `garbage/<ulid>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Garbage {
    pub(super) format: u32,
    /// The whole generation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) is_all: bool,
    /// Since when it is, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) all_since: Since,
    /// Single objects, by the rest of their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) objects: BTreeMap<String, Since>,
    /// Shards' logs in front of these sequence numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) logs: BTreeMap<u32, BTreeMap<u64, Since>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Default for Garbage {
    fn default() -> Self {
        Self { format: FORMAT, is_all: false, all_since: None, objects: BTreeMap::new(), logs: BTreeMap::new() }
    }
}

impl Garbage {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As it was read from an object of this age.
    pub(super) fn dated(mut self, modified_ms: u64) -> Self {
        if self.is_all {
            self.all_since.get_or_insert(modified_ms);
        }
        for since in self.objects.values_mut().chain(self.logs.values_mut().flat_map(BTreeMap::values_mut)) {
            since.get_or_insert(modified_ms);
        }
        self
    }

    /// Since when a log object is garbage: the earliest moment at which the log was in front of a number behind it.
    pub(super) fn log_since(&self, shard: u32, sequence: u64) -> Since {
        let floors = self.logs.get(&shard)?;
        floors.range(sequence.saturating_add(1)..).filter_map(|(_, since)| *since).min()
    }

    /// Takes over what was known of a shard's log, and that it ends in front of `floor` now. Of what `is_old`, the highest number says it all.
    pub(super) fn add_log(&mut self, shard: u32, floor: u64, before: &Self, is_old: impl Fn(u64) -> bool) {
        let known = before.logs.get(&shard).into_iter().flatten();
        // A log that is read from further in front again was not garbage all the while.
        let mut floors: BTreeMap<_, _> =
            known.filter(|(known, _)| **known <= floor).map(|(at, since)| (*at, *since)).collect();
        floors.entry(floor).or_insert(None);
        let old: BTreeSet<_> =
            floors.iter().filter(|(_, since)| since.is_some_and(&is_old)).map(|(at, _)| *at).collect();
        let highest = old.last().copied();
        floors.retain(|at, _| !old.contains(at) || Some(*at) == highest);
        self.logs.insert(shard, floors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn garbage(floors: &[(u64, u64)]) -> Garbage {
        let floors = floors.iter().map(|(at, since)| (*at, Some(*since))).collect();
        Garbage { logs: [(1, floors)].into(), ..Garbage::default() }
    }

    #[test]
    fn a_log_object_is_garbage_since_the_first_number_behind_it_was_seen() {
        let garbage = garbage(&[(10, 100), (20, 200), (30, 300)]);
        for (sequence, since) in [(0, Some(100)), (9, Some(100)), (10, Some(200)), (29, Some(300)), (30, None)] {
            assert_eq!(garbage.log_since(1, sequence), since, "{sequence}");
        }
        assert_eq!((garbage.log_since(0, 0), garbage.log_since(1, u64::MAX)), (None, None));
    }

    #[test]
    fn what_was_known_of_a_log_is_taken_over_while_it_still_holds() {
        let before = garbage(&[(10, 100), (20, 200), (30, 300), (40, 400)]);
        let is_old = |since| since <= 200;
        for (floor, expected) in [
            (50, &[(20u64, Some(200u64)), (30, Some(300)), (40, Some(400)), (50, None)] as &[_]),
            (40, &[(20, Some(200)), (30, Some(300)), (40, Some(400))]),
            // It is read from further in front again.
            (25, &[(20, Some(200)), (25, None)]),
            (5, &[(5, None)]),
        ] {
            let mut garbage = Garbage::default();
            garbage.add_log(1, floor, &before, is_old);
            assert_eq!(garbage.logs[&1], expected.iter().copied().collect(), "{floor}");
        }
    }

    #[test]
    fn records_come_back_with_the_date_of_their_object() {
        let objects = [("a".to_owned(), None), ("b".to_owned(), Some(5))].into();
        let written =
            Garbage { is_all: true, objects, logs: [(0, [(u64::MAX, None)].into())].into(), ..Garbage::default() };
        let read: Garbage = serde_json::from_slice(&serde_json::to_vec(&written).unwrap()).unwrap();
        assert_eq!(read, written);
        let dated = read.dated(9);
        assert_eq!((dated.all_since, dated.objects["a"], dated.objects["b"]), (Some(9), Some(9), Some(5)));
        assert_eq!(dated.log_since(0, 1), Some(9));
    }
}
