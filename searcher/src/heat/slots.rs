//! What is known of each segment, and which of them deserve the budget. Plain data: no threads, no clock, no memory.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use crate::workers::Stop;

/// Searches before a segment is worth its expansion: a single question to a function that then sleeps is not.
const USES_MIN: f64 = 4.0;
/// Searches after which all earlier ones count half.
const HALF_LIFE: u64 = 4_096;
/// Uses below which a segment is as good as forgotten: a few become so after about twelve halvings.
const USES_FORGOTTEN: f64 = 0.001;
/// How much more a segment must be used than those whose place it takes.
const HOTTER: f64 = 2.0;

/// An expansion that was decided. Its stop is raised when its copy is not wanted any more.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stop: Arc<Stop>,
}

enum State<H> {
    Warm,
    Expanding(Arc<Stop>),
    Hot(Arc<H>),
    /// It cannot be expanded.
    Refused,
}

struct Slot<H> {
    uses: f64,
    bytes: u64,
    state: State<H>,
}

impl<H> Slot<H> {
    /// Bytes of the budget that it takes.
    fn taken(&self) -> u64 {
        match self.state {
            State::Hot(_) | State::Expanding(_) => self.bytes,
            State::Warm | State::Refused => 0,
        }
    }
}

/// All segments that were used while open.
pub(super) struct Slots<H> {
    bytes_max: u64,
    slots: HashMap<String, Slot<H>>,
    uses: u64,
}

impl<H> Slots<H> {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, slots: HashMap::new(), uses: 0 }
    }

    /// Bytes taken, and copies that are there.
    pub(super) fn totals(&self) -> (u64, u64) {
        let hot = self.slots.values().filter(|slot| matches!(slot.state, State::Hot(_))).count();
        (self.slots.values().map(Slot::taken).sum(), hot as u64)
    }

    /// Counts a use. The copy if there is one, and whether one should be made.
    pub(super) fn used(&mut self, id: &str, bytes: impl FnOnce() -> u64) -> (Option<Arc<H>>, bool) {
        self.uses += 1;
        if !self.slots.contains_key(id) {
            let slot = Slot { uses: 0.0, bytes: bytes(), state: State::Warm };
            self.slots.insert(id.to_owned(), slot);
        }
        let Some(slot) = self.slots.get_mut(id) else { return (None, false) };
        slot.uses += 1.0;
        match &slot.state {
            State::Hot(hot) => (Some(Arc::clone(hot)), false),
            State::Warm => {
                let wanted = slot.uses >= USES_MIN && slot.bytes > 0 && slot.bytes <= self.bytes_max;
                (None, wanted && !self.expanding())
            }
            State::Expanding(_) | State::Refused => (None, false),
        }
    }

    /// From time to time halves all uses, and forgets what nobody asked for in a long while: that a request held on to a segment
    /// beyond its end leaves nothing for good. What was hot of it, to be dropped.
    pub(super) fn fade(&mut self) -> Vec<Arc<H>> {
        if !self.uses.is_multiple_of(HALF_LIFE) {
            return Vec::new();
        }
        self.slots.values_mut().for_each(|slot| slot.uses /= 2.0);
        let forgotten = self.slots.iter().filter(|(_, slot)| slot.uses < USES_FORGOTTEN);
        let forgotten: Vec<String> = forgotten.map(|(id, _)| id.clone()).collect();
        forgotten.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// One expansion at a time: each reads a whole segment.
    fn expanding(&self) -> bool {
        self.slots.values().any(|slot| matches!(slot.state, State::Expanding(_)))
    }

    /// Makes room in the budget and reserves it. `room` is how much memory may be taken; what is dropped for it adds to
    /// that. `None` when there is no room, or not for this segment.
    pub(super) fn plan(&mut self, id: &str, room: u64) -> Option<(Plan, Vec<Arc<H>>)> {
        let slot = self.slots.get(id).filter(|slot| matches!(slot.state, State::Warm))?;
        if self.expanding() {
            return None;
        }
        let (bytes, uses) = (slot.bytes, slot.uses);
        let mut taken = self.totals().0;
        let mut freed = 0;
        let mut victims = Vec::new();
        for (victim, slot) in self.coldest() {
            if taken.saturating_add(bytes) <= self.bytes_max || slot.uses * HOTTER > uses {
                break;
            }
            taken -= slot.bytes;
            freed += slot.bytes;
            victims.push(victim.to_owned());
        }
        if taken.saturating_add(bytes) > self.bytes_max || bytes > room.saturating_add(freed) {
            return None;
        }
        let gone = victims.iter().filter_map(|victim| self.cool(victim)).collect();
        let stop = Arc::new(Stop::new(false));
        self.slots.get_mut(id)?.state = State::Expanding(Arc::clone(&stop));
        Some((Plan { stop }, gone))
    }

    /// What the expansion takes is known now: whether it may. The slot remembers the number either way.
    pub(super) fn grant(&mut self, id: &str, plan: &Plan, bytes: u64) -> bool {
        let Some(slot) = self.expected(id, plan) else { return false };
        slot.bytes = bytes;
        self.totals().0 <= self.bytes_max
    }

    /// The copy is there; handed back when it is not wanted any more.
    pub(super) fn finish(&mut self, id: &str, plan: &Plan, hot: H) -> Option<H> {
        match self.expected(id, plan) {
            Some(slot) => {
                slot.state = State::Hot(Arc::new(hot));
                None
            }
            None => Some(hot),
        }
    }

    /// The expansion was stopped: it may be tried again.
    pub(super) fn abandon(&mut self, id: &str, plan: &Plan) {
        if let Some(slot) = self.expected(id, plan) {
            slot.state = State::Warm;
        }
    }

    /// The segment cannot be expanded.
    pub(super) fn refuse(&mut self, id: &str, plan: &Plan) {
        if let Some(slot) = self.expected(id, plan) {
            slot.state = State::Refused;
        }
    }

    /// The slot whose expansion this plan is: the segment may have been closed, or stopped and begun anew.
    fn expected(&mut self, id: &str, plan: &Plan) -> Option<&mut Slot<H>> {
        let is_it =
            |slot: &&mut Slot<H>| matches!(&slot.state, State::Expanding(stop) if Arc::ptr_eq(stop, &plan.stop));
        self.slots.get_mut(id).filter(is_it)
    }

    /// Drops the least used copies until `bytes` are free, and stops an expansion that is under way.
    pub(super) fn shrink(&mut self, bytes: u64) -> Vec<Arc<H>> {
        for slot in self.slots.values_mut() {
            if let State::Expanding(stop) = &slot.state {
                stop.store(true, Relaxed);
                // It begins anew only when it has been used as much again.
                slot.state = State::Warm;
                slot.uses = 0.0;
            }
        }
        let mut freed = 0;
        let mut victims = Vec::new();
        for (id, slot) in self.coldest() {
            if freed >= bytes {
                break;
            }
            freed += slot.bytes;
            victims.push(id.to_owned());
        }
        victims.iter().filter_map(|id| self.cool(id)).collect()
    }

    /// Forgets a segment, and stops its expansion.
    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<H>> {
        match self.slots.remove(id)?.state {
            State::Hot(hot) => Some(hot),
            State::Expanding(stop) => {
                stop.store(true, Relaxed);
                None
            }
            State::Warm | State::Refused => None,
        }
    }

    /// Hot segments, the least used first.
    fn coldest(&self) -> Vec<(&str, &Slot<H>)> {
        let hot = self.slots.iter().filter(|(_, slot)| matches!(slot.state, State::Hot(_)));
        let mut hot: Vec<(&str, &Slot<H>)> = hot.map(|(id, slot)| (id.as_str(), slot)).collect();
        hot.sort_unstable_by(|a, b| a.1.uses.total_cmp(&b.1.uses).then(a.0.cmp(b.0)));
        hot
    }

    fn cool(&mut self, id: &str) -> Option<Arc<H>> {
        let slot = self.slots.get_mut(id)?;
        match std::mem::replace(&mut slot.state, State::Warm) {
            State::Hot(hot) => Some(hot),
            other => {
                slot.state = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heated(slots: &mut Slots<u8>, id: &str, bytes: u64, uses: usize) {
        for _ in 0..uses {
            slots.used(id, || bytes);
        }
        let (plan, _) = slots.plan(id, u64::MAX).expect(id);
        assert_eq!(slots.finish(id, &plan, 0), None);
    }

    #[test]
    fn a_few_uses_make_a_segment_worth_it_unless_it_can_never_fit() {
        let mut slots = Slots::<u8>::new(100);
        let wanted: Vec<bool> = (0..5).map(|_| slots.used("a", || 60).1).collect();
        assert_eq!(wanted, [false, false, false, true, true]);
        for (id, bytes) in [("huge", 101), ("none", 0)] {
            assert!((0..9).all(|_| !slots.used(id, || bytes).1), "{id}");
        }
        let (plan, gone) = slots.plan("a", 60).unwrap();
        assert!(gone.is_empty() && slots.plan("a", 60).is_none());
        assert_eq!(slots.totals(), (60, 0), "reserved while it is made");
        (0..9).for_each(|_| assert!(!slots.used("b", || 1).1, "one at a time"));
        assert_eq!(slots.finish("a", &plan, 7), None);
        assert_eq!(slots.used("a", || 60).0, Some(Arc::new(7)));
        assert_eq!(slots.totals(), (60, 1));
    }

    #[test]
    fn only_a_much_hotter_segment_takes_a_place() {
        let mut slots = Slots::<u8>::new(100);
        heated(&mut slots, "a", 60, 10);
        heated(&mut slots, "b", 40, 5);
        (0..19).for_each(|_| {
            slots.used("c", || 70);
        });
        // It would need both places, and is not twice as hot as one of them.
        assert!(slots.plan("c", u64::MAX).is_none());
        assert_eq!(slots.totals(), (100, 2));
        slots.used("c", || 70);
        assert!(slots.plan("c", 0).is_some_and(|(_, gone)| gone.len() == 2), "memory that is freed counts as room");
        assert_eq!(slots.totals(), (70, 0));
    }

    #[test]
    fn old_uses_fade() {
        let mut slots = Slots::<u8>::new(10);
        heated(&mut slots, "old", 10, 3_000);
        let mut taken = None;
        for at in 0..10_000 {
            let wanted = slots.used("new", || 10).1;
            assert!(slots.fade().is_empty());
            if wanted && slots.plan("new", 10).is_some() {
                taken = Some(at);
                break;
            }
        }
        // Without fading 6,000 would be needed.
        assert!(taken.is_some_and(|at| at < 5_000), "{taken:?}");
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut slots = Slots::<u8>::new(100);
        heated(&mut slots, "old", 10, 4);
        let gone = (0..20 * HALF_LIFE).map(|_| {
            slots.used("new", || 10);
            slots.fade().len()
        });
        assert_eq!(gone.sum::<usize>(), 1);
        assert_eq!((slots.totals(), slots.slots.len()), ((0, 0), 1));
    }

    #[test]
    fn without_memory_there_is_no_plan() {
        let mut slots = Slots::<u8>::new(100);
        (0..9).for_each(|_| {
            slots.used("a", || 60);
        });
        assert!(slots.plan("a", 59).is_none());
        assert!(slots.plan("a", 60).is_some());
    }

    #[test]
    fn the_exact_number_decides_and_is_remembered() {
        let mut slots = Slots::<u8>::new(100);
        (0..9).for_each(|_| {
            slots.used("a", || 60);
        });
        let (plan, _) = slots.plan("a", 60).unwrap();
        assert!(slots.grant("a", &plan, 70));
        assert_eq!(slots.totals(), (70, 0));
        assert!(!slots.grant("a", &plan, 101));
        slots.abandon("a", &plan);
        assert_eq!(slots.totals(), (0, 0));
        assert!((0..9).all(|_| !slots.used("a", || 60).1), "it can never fit");
        assert!(!slots.grant("b", &plan, 1), "nobody asked for that");
    }

    #[test]
    fn shrinking_takes_the_least_used_first_and_stops_what_is_under_way() {
        let mut slots = Slots::<u8>::new(100);
        heated(&mut slots, "a", 30, 9);
        heated(&mut slots, "b", 30, 5);
        (0..9).for_each(|_| {
            slots.used("c", || 30);
        });
        let (plan, _) = slots.plan("c", 30).unwrap();
        assert_eq!(slots.shrink(1).len(), 1);
        assert!(plan.stop.load(Relaxed));
        assert_eq!(slots.finish("c", &plan, 3), Some(3), "what comes too late is handed back");
        assert_eq!(slots.totals(), (30, 1));
        assert!(slots.used("a", || 30).0.is_some() && slots.used("b", || 30).0.is_none());
        assert_eq!(slots.shrink(u64::MAX).len(), 1);
        assert_eq!(slots.totals(), (0, 0));
    }

    #[test]
    fn a_closed_segment_leaves_nothing() {
        let mut slots = Slots::<u8>::new(100);
        heated(&mut slots, "a", 30, 9);
        assert_eq!(slots.remove("a"), Some(Arc::new(0)));
        (0..9).for_each(|_| {
            slots.used("b", || 30);
        });
        let (plan, _) = slots.plan("b", 30).unwrap();
        assert!(slots.remove("b").is_none() && plan.stop.load(Relaxed));
        // The same segment, opened again, is another expansion.
        (0..9).for_each(|_| {
            slots.used("b", || 30);
        });
        let (again, _) = slots.plan("b", 30).unwrap();
        assert_eq!(slots.finish("b", &plan, 1), Some(1));
        slots.refuse("b", &again);
        assert!((0..9).all(|_| !slots.used("b", || 30).1));
        assert_eq!(slots.totals(), (0, 0));
    }
}
