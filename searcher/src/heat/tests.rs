//! Hot copies made, handed out, dropped and forgotten, with a machine's memory in a folder.

use std::{
    fs,
    sync::{
        atomic::{AtomicU64, AtomicUsize},
        mpsc,
    },
};

use super::*;

const MIB: u64 = 1 << 20;

/// A segment of so many bytes; expanding it copies them.
#[derive(Default)]
struct Block {
    bytes: u64,
    /// What it takes beyond the estimate.
    more: u64,
    fails: bool,
    /// Blocks an expansion until something is sent or the sender is gone.
    gate: Option<Mutex<mpsc::Receiver<()>>>,
    tried: AtomicUsize,
}

impl Expand for Block {
    type Hot = Vec<u8>;

    fn hot_bytes(&self) -> u64 {
        self.bytes
    }

    fn expand(&self, pool: &ThreadPool, stop: &Stop, grant: Grant<'_>) -> Result<Option<Vec<u8>>> {
        self.tried.fetch_add(1, Relaxed);
        assert!(std::thread::current().name().is_some_and(|name| name.starts_with("cairn-heat-")));
        if let Some(gate) = &self.gate {
            while !stop.load(Relaxed) && gate.lock().unwrap().try_recv() == Err(mpsc::TryRecvError::Empty) {
                std::thread::yield_now();
            }
        }
        if stop.load(Relaxed) {
            return Err(Error::Cancelled);
        }
        if self.fails {
            return Err(Error::Internal("no".into()));
        }
        if !grant(self.bytes + self.more) {
            return Ok(None);
        }
        Ok(Some(pool.install(|| vec![7; usize::try_from(self.bytes).unwrap()])))
    }
}

fn block(bytes: u64) -> Arc<Block> {
    Arc::new(Block { bytes, ..Block::default() })
}

/// A machine with so much memory to take.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(free_bytes: u64) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir(machine.0.path().join("proc")).unwrap();
        machine.set(free_bytes);
        machine
    }

    fn set(&self, free_bytes: u64) {
        fs::write(self.0.path().join("proc/meminfo"), format!("MemAvailable: {} kB\n", free_bytes / 1_024)).unwrap();
    }

    fn heat(&self, bytes_max: u64) -> (Arc<Heat<Block>>, Arc<HeatCounters>) {
        let counters = Arc::new(HeatCounters::default());
        let limits = HeatLimits { bytes_max, reserve_bytes: 10 * MIB, memory: Memory::under(self.0.path(), None) };
        (Heat::new(limits, 1, Arc::clone(&counters)), counters)
    }
}

/// Uses a segment until `done`.
fn until(heat: &Arc<Heat<Block>>, id: &str, segment: &Arc<Block>, now: Instant, done: impl Fn(bool) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done(heat.used(id, segment, now).is_some()) {
        assert!(Instant::now() < deadline, "nothing happened: {heat:?}");
        std::thread::yield_now();
    }
}

fn shown(counters: &HeatCounters) -> [u64; 4] {
    [&counters.bytes, &counters.segments, &counters.expansions, &counters.drops]
        .map(|counter: &AtomicU64| counter.load(Relaxed))
}

#[test]
fn what_is_used_becomes_hot_and_what_is_closed_is_forgotten() {
    let machine = Machine::new(1_000 * MIB);
    let (heat, counters) = machine.heat(100 * MIB);
    let (a, now) = (block(MIB), Instant::now());
    assert!(heat.used("a", &a, now).is_none());
    until(&heat, "a", &a, now, |hot| hot);
    assert_eq!(heat.used("a", &a, now).unwrap().len(), 1 << 20);
    assert_eq!(shown(&counters), [MIB, 1, 1, 0]);
    heat.forget("a");
    heat.forget("never");
    assert_eq!(shown(&counters), [0, 0, 1, 0]);
    assert!(heat.used("a", &a, now).is_none());
}

#[test]
fn nothing_is_expanded_when_it_is_off_or_memory_is_short() {
    let now = Instant::now();
    for (free, bytes_max) in [(1_000 * MIB, 0), (20 * MIB, 100 * MIB), (1_000 * MIB, MIB - 1)] {
        let machine = Machine::new(free);
        let (heat, counters) = machine.heat(bytes_max);
        let a = block(MIB);
        for _ in 0..50 {
            assert!(heat.used("a", &a, now).is_none());
        }
        assert_eq!(shown(&counters), [0; 4], "{free} {bytes_max}");
        assert_eq!(a.tried.load(Relaxed), 0);
    }
}

#[test]
fn hot_copies_go_first_when_memory_gets_short_and_come_back_later() {
    let machine = Machine::new(1_000 * MIB);
    let (heat, counters) = machine.heat(100 * MIB);
    let (a, b, start) = (block(MIB), block(2 * MIB), Instant::now());
    until(&heat, "a", &a, start, |hot| hot);
    until(&heat, "b", &b, start, |hot| hot);
    // So often that it does not matter how often the other was asked for while it was made.
    (0..30_000).for_each(|_| {
        heat.used("a", &a, start);
    });
    machine.set(9 * MIB);
    let later = start + LOOK_EVERY;
    assert!(heat.used("b", &b, later).is_some());
    // The less used copy is enough.
    assert_eq!(heat.shrink(MIB), 2 * MIB);
    assert!(heat.used("b", &b, later).is_none());
    assert!(heat.used("a", &a, later).is_some());
    assert_eq!(shown(&counters), [MIB, 1, 2, 1]);
    // Just above the reserve is not enough to begin anew.
    machine.set(15 * MIB);
    (0..50).for_each(|_| assert!(heat.used("b", &b, later).is_none()));
    machine.set(1_000 * MIB);
    assert!(heat.used("b", &b, later).is_none(), "nobody tries twice in a second");
    until(&heat, "b", &b, later + LOOK_EVERY, |hot| hot);
    assert_eq!(shown(&counters), [3 * MIB, 2, 3, 1]);
}

#[test]
fn an_expansion_under_way_stops_when_memory_is_short_or_its_segment_is_closed() {
    for close in [false, true] {
        let machine = Machine::new(1_000 * MIB);
        let (heat, counters) = machine.heat(100 * MIB);
        let (_open, gate) = mpsc::channel();
        let (a, now) =
            (Arc::new(Block { bytes: MIB, gate: Some(Mutex::new(gate)), ..Block::default() }), Instant::now());
        until(&heat, "a", &a, now, |_| a.tried.load(Relaxed) == 1);
        assert_eq!(shown(&counters), [MIB, 0, 0, 0], "its bytes are reserved");
        if close {
            heat.forget("a");
        } else {
            machine.set(MIB);
            assert_eq!(heat.shrink(9 * MIB), MIB);
        }
        assert_eq!(shown(&counters), [0; 4]);
        // The thread is free again: the gate is still shut, so it was the stop.
        machine.set(1_000 * MIB);
        let b = block(MIB);
        until(&heat, "b", &b, now + LOOK_EVERY, |hot| hot);
        assert_eq!(shown(&counters), [MIB, 1, 1, 0]);
    }
}

#[test]
fn what_cannot_be_expanded_is_not_tried_again() {
    let machine = Machine::new(1_000 * MIB);
    let (heat, counters) = machine.heat(100 * MIB);
    let (bad, now) = (Arc::new(Block { bytes: MIB, fails: true, ..Block::default() }), Instant::now());
    until(&heat, "bad", &bad, now, |_| bad.tried.load(Relaxed) == 1);
    let good = block(MIB);
    until(&heat, "good", &good, now, |hot| hot);
    (0..50).for_each(|_| assert!(heat.used("bad", &bad, now).is_none()));
    assert_eq!((bad.tried.load(Relaxed), shown(&counters)), (1, [MIB, 1, 1, 0]));
}

#[test]
fn what_turns_out_too_large_is_given_up() {
    let machine = Machine::new(1_000 * MIB);
    let (heat, counters) = machine.heat(2 * MIB);
    let (large, now) = (Arc::new(Block { bytes: MIB, more: 2 * MIB, ..Block::default() }), Instant::now());
    until(&heat, "large", &large, now, |_| large.tried.load(Relaxed) == 1 && shown(&counters)[0] == 0);
    (0..50).for_each(|_| assert!(heat.used("large", &large, now).is_none()));
    assert_eq!((large.tried.load(Relaxed), shown(&counters)), (1, [0; 4]));
}
