//! One leaf as the root knows it.

use std::{
    borrow::Borrow,
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Answers whose times are remembered.
const RECENT_MAX: usize = 64;
/// Fewer say nothing.
const RECENT_MIN: usize = 8;
/// How long a leaf that nothing is known of may take before another is asked too: it may have to fetch its segments first.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(500);
/// Nobody is overtaken sooner: below this, a second request costs more than it saves.
const PATIENCE_MIN: Duration = Duration::from_millis(20);
/// How often in a row a leaf is overtaken until it counts as one that failed. One in ten is overtaken by chance, so of these one in a
/// thousand.
const OVERTAKEN_MAX: u32 = 3;
/// How long a leaf that failed is asked last.
const DOWN: Duration = Duration::from_secs(1);

/// One leaf.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recent: VecDeque<Duration>,
    overtaken: u32,
    down_until: Option<Instant>,
}

impl Endpoint {
    pub(super) fn new(url: String) -> Self {
        Self { url, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It answered.
    pub(super) fn answered(&self, took: Duration) {
        let mut state = self.lock();
        (state.overtaken, state.down_until) = (0, None);
        if state.recent.len() >= RECENT_MAX {
            state.recent.pop_front();
        }
        state.recent.push_back(took);
    }

    /// It failed, or said that it is too busy.
    pub(super) fn failed(&self) {
        self.lock().down_until = Some(Instant::now() + DOWN);
    }

    /// Another that was asked later answered first.
    pub(super) fn overtaken(&self) {
        let mut state = self.lock();
        state.overtaken += 1;
        if state.overtaken >= OVERTAKEN_MAX {
            state.overtaken = 0;
            state.down_until = Some(Instant::now() + DOWN);
        }
    }

    /// Whether it failed a moment ago.
    pub(super) fn is_down(&self) -> bool {
        self.lock().down_until.is_some_and(|until| Instant::now() < until)
    }

    /// What nine of ten answers took at most.
    fn p90(&self) -> Option<Duration> {
        let mut recent: Vec<Duration> = self.lock().recent.iter().copied().collect();
        if recent.len() < RECENT_MIN {
            return None;
        }
        let at = recent.len() * 9 / 10;
        Some(*recent.select_nth_unstable(at).1)
    }
}

/// After which time another leaf is asked what this one was: when it is slower than nine of ten of its own answers were, or than twice
/// what that is for most leaves, so that one that has become slow is not waited for because it always is.
pub(super) fn patience<E: Borrow<Endpoint>>(all: &[E], at: usize) -> Duration {
    let mut known: Vec<Duration> = all.iter().filter_map(|endpoint| endpoint.borrow().p90()).collect();
    let own = all[at].borrow().p90().unwrap_or(PATIENCE_UNKNOWN);
    if known.is_empty() {
        return own.max(PATIENCE_MIN);
    }
    let middle = (known.len() - 1) / 2;
    let usual = *known.select_nth_unstable(middle).1;
    own.min(usual * 2).max(PATIENCE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: &[(usize, u64)]) -> Endpoint {
        let endpoint = Endpoint::new(String::new());
        for (count, millis) in times {
            (0..*count).for_each(|_| endpoint.answered(Duration::from_millis(*millis)));
        }
        endpoint
    }

    #[test]
    fn patience_is_what_nine_of_ten_took_and_not_much_more_than_the_others_have() {
        let millis = |all: &[Endpoint], at: usize| patience(all, at).as_millis();
        assert_eq!(millis(&[after(&[])], 0), 500);
        assert_eq!(millis(&[after(&[(7, 40)])], 0), 500, "seven are too few");
        assert_eq!(millis(&[after(&[(64, 1)])], 0), 20);
        assert_eq!(millis(&[after(&[(60, 50), (4, 900)])], 0), 50);
        assert_eq!(millis(&[after(&[(40, 50), (24, 900)])], 0), 900);
        assert_eq!(millis(&[after(&[(500, 900), (64, 50)])], 0), 50, "old answers are forgotten");
        let all = [after(&[(64, 40)]), after(&[(64, 50)]), after(&[(64, 5_000)]), after(&[])];
        assert_eq!([0, 1, 2, 3].map(|at| millis(&all, at)), [40, 50, 100, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_after_a_second_or_an_answer() {
        let endpoint = after(&[]);
        assert!(!endpoint.is_down());
        endpoint.failed();
        assert!(endpoint.is_down());
        tokio::time::advance(DOWN).await;
        assert!(!endpoint.is_down());
        endpoint.failed();
        endpoint.answered(Duration::ZERO);
        assert!(!endpoint.is_down());
        // So is being overtaken, unless it happens again and again.
        (0..2).for_each(|_| endpoint.overtaken());
        endpoint.answered(Duration::ZERO);
        (0..2).for_each(|_| endpoint.overtaken());
        assert!(!endpoint.is_down());
        endpoint.overtaken();
        assert!(endpoint.is_down());
    }
}
