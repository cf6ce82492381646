//! Which open segments are expanded in memory: the hot tier's budget.
//!
//! A segment that is searched again and again is expanded in the background, on threads of low priority, while searches go on
//! with what is mapped. Expansions stay within a budget of bytes: one that is used more than twice as much takes the
//! place of others. Nothing depends on a hot copy, so it is also the first to go when memory gets short
//! ([`pressure`](crate::pressure)): the least used copies are dropped.
//!
//! Uses are halved every so many searches, so that what was popular once gives way. No thread of its own, no timer: all this
//! is driven by searches, and time is brought in by them.

mod slots;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use cairn_storage::machine::{Memory, lower_priority};
use rayon::ThreadPool;

use self::slots::{Plan, Slots};
use crate::{
    error::{Error, Result},
    telemetry::HeatCounters,
    workers::Stop,
};

/// Time between two attempts to find room for a copy.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What can be expanded in memory.
pub trait Expand: Send + Sync + 'static {
    /// The expansion. Dropping it gives its memory back.
    type Hot: Send + Sync + 'static;

    /// About how many bytes the expansion takes, told without reading much; 0 for what cannot be expanded.
    fn hot_bytes(&self) -> u64;

    /// Expands on `pool`, on one of whose threads it is called; gives up when `stop` is raised. Before it takes memory it
    /// asks `grant` for so many bytes; `None` when it is not given them.
    ///
    /// # Errors
    /// `Cancelled`, or why it cannot be expanded: it is not tried again then.
    fn expand(&self, pool: &ThreadPool, stop: &Stop, grant: Grant<'_>) -> Result<Option<Self::Hot>>;
}

/// Asks for bytes, and says whether they may be taken.
pub type Grant<'a> = &'a (dyn Fn(u64) -> bool + Sync);

/// What bounds the hot tier.
#[derive(Clone, Debug)]
pub struct HeatLimits {
    /// Most bytes of hot copies; 0 turns the tier off.
    pub bytes_max: u64,
    /// Memory that must stay free besides; below it copies are dropped.
    pub reserve_bytes: u64,
    /// Tells what is free.
    pub memory: Memory,
}

/// The hot copies of this process.
pub struct Heat<T: Expand> {
    limits: HeatLimits,
    counters: Arc<HeatCounters>,
    threads: usize,
    pool: OnceLock<Option<ThreadPool>>,
    state: Mutex<State<T>>,
}

struct State<T: Expand> {
    slots: Slots<T::Hot>,
    /// After a plan that found no room: when to try again.
    next_plan: Option<Instant>,
}

impl<T: Expand> std::fmt::Debug for Heat<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heat").field("limits", &self.limits).field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<T: Expand> Heat<T> {
    /// No copies yet; they will be made on `threads` threads, which are started with the first.
    #[must_use]
    pub fn new(limits: HeatLimits, threads: usize, counters: Arc<HeatCounters>) -> Arc<Self> {
        let state = Mutex::new(State { slots: Slots::new(limits.bytes_max), next_plan: None });
        Arc::new(Self { limits, counters, threads, pool: OnceLock::new(), state })
    }

    /// A segment is about to be searched: its hot copy, if there is one. Called on a search thread: a plan reads a few small
    /// files, and dropping a copy takes the time that giving memory back takes.
    pub fn used(self: &Arc<Self>, id: &str, segment: &Arc<T>, now: Instant) -> Option<Arc<T::Hot>> {
        if self.limits.bytes_max == 0 {
            return None;
        }
        let (hot, wanted, gone) = {
            let mut state = self.lock();
            let (hot, wanted) = state.slots.used(id, || segment.hot_bytes());
            (hot, wanted && state.next_plan.is_none_or(|next| now >= next), state.slots.fade())
        };
        if !gone.is_empty() {
            self.counters.drops.fetch_add(gone.len() as u64, Relaxed);
            self.count();
            drop(gone);
        }
        if wanted {
            match self.plan(id) {
                Some(plan) => self.begin(id, segment, plan),
                None => self.lock().next_plan = Some(now + LOOK_EVERY),
            }
        }
        hot
    }

    /// The segment is not open any more.
    pub fn forget(&self, id: &str) {
        let gone = self.lock().slots.remove(id);
        self.count();
        drop(gone);
    }

    /// Bytes of copies, those being made included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().slots.totals().0
    }

    /// Drops the least used copies until `bytes` are free, and stops what is being made: how many bytes that frees.
    pub fn shrink(&self, bytes: u64) -> u64 {
        let (before, gone, after) = {
            let mut state = self.lock();
            let before = state.slots.totals().0;
            let gone = state.slots.shrink(bytes);
            (before, gone, state.slots.totals().0)
        };
        self.counters.drops.fetch_add(gone.len() as u64, Relaxed);
        self.count();
        before - after
    }

    /// Reserves the bytes of an expansion, if the budget and the memory have room for it: twice the reserve must be left,
    /// or the next look might undo it.
    fn plan(&self, id: &str) -> Option<Plan> {
        let free = self.limits.memory.free_bytes().unwrap_or(u64::MAX);
        let room = free.saturating_sub(self.limits.reserve_bytes.saturating_mul(2));
        let (plan, gone) = self.lock().slots.plan(id, room)?;
        self.counters.drops.fetch_add(gone.len() as u64, Relaxed);
        drop(gone);
        self.count();
        Some(plan)
    }

    fn begin(self: &Arc<Self>, id: &str, segment: &Arc<T>, plan: Plan) {
        let Some(pool) = self.pool.get_or_init(|| start(self.threads)) else {
            self.lock().slots.refuse(id, &plan);
            self.count();
            return;
        };
        let (heat, segment, id) = (Arc::clone(self), Arc::clone(segment), id.to_owned());
        pool.spawn(move || heat.expand(&id, &segment, &plan));
    }

    fn expand(&self, id: &str, segment: &T, plan: &Plan) {
        let Some(Some(pool)) = self.pool.get() else { return };
        // A panic inside a rayon pool's spawn would take the process down.
        let grant = |bytes: u64| {
            let granted = self.lock().slots.grant(id, plan, bytes);
            self.count();
            granted
        };
        let work = std::panic::AssertUnwindSafe(|| segment.expand(pool, &plan.stop, &grant));
        let expanded = std::panic::catch_unwind(work);
        let expanded = expanded.unwrap_or_else(|panic| Err(Error::Internal(crate::workers::panic_text(&panic).into())));
        match expanded {
            Ok(Some(hot)) => {
                let unwanted = self.lock().slots.finish(id, plan, hot);
                if unwanted.is_none() {
                    self.counters.expansions.fetch_add(1, Relaxed);
                }
            }
            Ok(None) | Err(Error::Cancelled) => self.lock().slots.abandon(id, plan),
            Err(error) => {
                tracing::warn!(segment = id, %error, "a segment cannot be expanded");
                self.lock().slots.refuse(id, plan);
            }
        }
        self.count();
    }

    fn count(&self) {
        let (bytes, segments) = self.lock().slots.totals();
        self.counters.bytes.store(bytes, Relaxed);
        self.counters.segments.store(segments, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads that expand; none where they cannot be started, which is logged.
fn start(threads: usize) -> Option<ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|thread| format!("cairn-heat-{thread}"))
        .start_handler(|_| lower_priority())
        .build()
        .inspect_err(|error| tracing::warn!(%error, "no threads to expand segments"))
        .ok()
}

#[cfg(test)]
mod tests;
