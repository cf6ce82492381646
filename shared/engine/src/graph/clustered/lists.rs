//! Lists of points, one per point: of equal room while they are chosen, end to end when they are reversed.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// An unused slot; also ends a list.
const EMPTY: u32 = u32::MAX;

/// Lists of equal room. Each is written by one thread at a time; nobody reads a list that is being written.
pub(super) struct Lists {
    width: usize,
    slots: Vec<AtomicU32>,
}

/// For each point the points whose lists it is in, ascending.
pub(super) struct Reversed {
    /// `starts[p]..starts[p + 1]` are the places of point `p`.
    starts: Vec<u64>,
    points: Vec<u32>,
}

impl Lists {
    /// Empty lists.
    pub(super) fn new(points: u32, width: usize) -> Self {
        Self { width, slots: (0..points as usize * width).map(|_| AtomicU32::new(EMPTY)).collect() }
    }

    fn points(&self) -> u32 {
        u32::try_from(self.slots.len() / self.width).unwrap_or(u32::MAX)
    }

    fn slots(&self, point: u32) -> &[AtomicU32] {
        &self.slots[point as usize * self.width..][..self.width]
    }

    /// The list of `point`.
    pub(super) fn of(&self, point: u32) -> impl Iterator<Item = u32> + '_ {
        self.slots(point).iter().map(|slot| slot.load(Relaxed)).take_while(|&id| id != EMPTY)
    }

    /// Replaces the list of `point`, by at most so many as there is room for.
    pub(super) fn set(&self, point: u32, list: &[u32]) {
        debug_assert!(list.len() <= self.width, "a list longer than its room");
        let ids = list.iter().copied().chain(std::iter::repeat(EMPTY));
        self.slots(point).iter().zip(ids).for_each(|(slot, id)| slot.store(id, Relaxed));
    }

    /// The same links, found from their ends.
    pub(super) fn reversed(&self) -> Reversed {
        let points = self.points();
        // Counts are kept two places on; summed up, `starts[p + 1]` is where the next source of `p` goes.
        let mut starts = vec![0u64; points as usize + 2];
        for point in 0..points {
            self.of(point).for_each(|to| starts[to as usize + 2] += 1);
        }
        for at in 2..starts.len() {
            starts[at] += starts[at - 1];
        }
        let links = usize::try_from(starts[points as usize + 1]).unwrap_or(usize::MAX);
        let mut sources = vec![0u32; links];
        for point in 0..points {
            for to in self.of(point) {
                let at = &mut starts[to as usize + 1];
                sources[usize::try_from(*at).unwrap_or(usize::MAX)] = point;
                *at += 1;
            }
        }
        Reversed { starts, points: sources }
    }
}

impl Reversed {
    /// The points whose lists `point` is in.
    pub(super) fn of(&self, point: u32) -> &[u32] {
        let at = |point: usize| usize::try_from(self.starts[point]).unwrap_or(usize::MAX);
        &self.points[at(point as usize)..at(point as usize + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_from_their_ends() {
        let lists = Lists::new(4, 3);
        lists.set(0, &[3, 1]);
        lists.set(1, &[3]);
        lists.set(2, &[0, 1, 3]);
        lists.set(2, &[3, 0]);
        assert!(lists.of(2).eq([3, 0]) && lists.of(3).next().is_none());
        let reversed = lists.reversed();
        let all: Vec<&[u32]> = (0..4).map(|point| reversed.of(point)).collect();
        assert_eq!(all, [&[2][..], &[0], &[], &[0, 1, 2]]);
    }
}
