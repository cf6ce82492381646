//! Asking again for what is late: of many requests in parallel one is always slow, and everybody waits for it.
//!
//! A ranged GET whose first byte takes longer than nine in ten took lately is issued a second time; the first answer wins. How many
//! may be is bounded by a share of all ranged GETs, so that a store that is slow as a whole is not asked twice as much.

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{Either, select};
use tokio::time::Instant;

/// Answers that are remembered.
const RECENT: usize = 64;
/// With fewer answers, [`FIRST`] holds.
const RECENT_MIN: usize = 16;
/// What nine in ten first bytes take from an object store in the same region, as published.
const FIRST: Duration = Duration::from_millis(64);
/// Sooner nothing is asked for again: there is little to win.
const DELAY_MIN: Duration = Duration::from_millis(20);
/// Second requests per request.
const SHARE: f64 = 0.1;
/// Second requests that a process may begin with, and save up.
const CREDIT_FIRST: f64 = 2.0;
const CREDIT_MAX: f64 = 4.0;

/// When to ask again, and whether it may be.
#[derive(Debug)]
pub(super) struct Hedge(Option<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// First bytes' times, in no order; the oldest is at `next` once it is full.
    recent: Vec<Duration>,
    next: usize,
    credit: f64,
}

impl Hedge {
    pub(super) fn new(on: bool) -> Self {
        let state = || Mutex::new(State { recent: Vec::with_capacity(RECENT), next: 0, credit: CREDIT_FIRST });
        Self(on.then(state))
    }

    /// Waits for `ask`'s answer, and asks again when it is late: `again` is told.
    pub(super) async fn first<T, F>(&self, ask: impl Fn() -> F, again: impl FnOnce()) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let Some(state) = &self.0 else { return ask().await };
        let began = Instant::now();
        let mut one = pin!(ask());
        let delay = lock(state).begin();
        let answer = match tokio::time::timeout(delay, &mut one).await {
            Ok(answer) => answer,
            Err(_) if !lock(state).spend() => one.await,
            Err(_) => {
                again();
                let two = pin!(ask());
                let (answer, other) = match select(one, two).await {
                    Either::Left((answer, other)) => (answer, Either::Right(other)),
                    Either::Right((answer, other)) => (answer, Either::Left(other)),
                };
                // A failure is no answer while the other may bring one.
                if answer.is_err() { other.await } else { answer }
            }
        };
        if answer.is_ok() {
            lock(state).learn(began.elapsed());
        }
        answer
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// A request begins: after which time it is late.
    fn begin(&mut self) -> Duration {
        self.credit = (self.credit + SHARE).min(CREDIT_MAX);
        if self.recent.len() < RECENT_MIN {
            return FIRST;
        }
        let mut sorted = self.recent.clone();
        let at = sorted.len() * 9 / 10;
        let (_, late, _) = sorted.select_nth_unstable(at);
        (*late).max(DELAY_MIN)
    }

    /// Whether a second request may be made.
    fn spend(&mut self) -> bool {
        let may = self.credit >= 1.0;
        if may {
            self.credit -= 1.0;
        }
        may
    }

    fn learn(&mut self, elapsed: Duration) {
        if self.recent.len() < RECENT {
            self.recent.push(elapsed);
        } else {
            self.recent[self.next] = elapsed;
            self.next = (self.next + 1) % RECENT;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::sync::Notify;

    use super::*;

    /// What becomes of a request.
    #[derive(Clone, Copy, PartialEq)]
    enum Fate {
        Answers,
        Never,
        /// It answers when another one has failed.
        After,
        Fails,
    }
    use Fate::{After, Answers, Fails, Never};

    /// Which of the requests answered, and how many second ones there were. No answer depends on how fast the machine is.
    async fn ask(hedge: &Hedge, fates: &[Fate]) -> (Option<usize>, usize) {
        let (asked, again, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        let (asked, failed) = (&asked, &failed);
        let request = || async move {
            let number = asked.fetch_add(1, Relaxed);
            match fates[number] {
                Answers => return Ok(number),
                Never => std::future::pending().await,
                After => {
                    failed.notified().await;
                    return Ok(number);
                }
                Fails => failed.notify_one(),
            }
            Err(object_store::Error::NotImplemented { operation: "this".into(), implementer: "test".into() })
        };
        let told = || {
            again.fetch_add(1, Relaxed);
        };
        let answer = hedge.first(request, told).await;
        (answer.ok(), again.load(Relaxed))
    }

    #[tokio::test]
    async fn what_is_late_is_asked_for_again_and_the_first_answer_wins() {
        let new = || Hedge::new(true);
        assert_eq!(ask(&new(), &[Answers]).await, (Some(0), 0));
        assert_eq!(ask(&new(), &[Fails]).await, (None, 0), "what failed is for whoever retries");
        assert_eq!(ask(&new(), &[Never, Answers]).await, (Some(1), 1));
        assert_eq!(ask(&new(), &[After, Fails]).await, (Some(0), 1), "a failure is no answer");
        assert_eq!(ask(&Hedge::new(false), &[Answers]).await, (Some(0), 0));
        // What it may begin with, and then no more until it has asked often enough.
        let hedge = new();
        assert_eq!(ask(&hedge, &[Never, Answers]).await, (Some(1), 1));
        assert_eq!(ask(&hedge, &[Never, Answers]).await, (Some(1), 1));
        let spent = tokio::time::timeout(3 * FIRST, ask(&hedge, &[Never, Answers])).await;
        assert!(spent.is_err(), "{spent:?}");
    }

    #[test]
    fn a_slow_store_is_not_asked_twice_as_much() {
        let mut state = State { recent: Vec::new(), next: 0, credit: CREDIT_FIRST };
        let again = (0..1_000).filter(|_| {
            state.begin();
            state.spend()
        });
        let again = again.count();
        assert!((100..=102).contains(&again), "{again} of 1,000");
        (0..1_000).for_each(|_| {
            state.begin();
        });
        assert_eq!((0..1_000).filter(|_| state.spend()).count(), 4, "little is saved up");
    }

    #[test]
    fn late_is_what_nine_in_ten_are_not_but_never_soon() {
        let mut state = State { recent: Vec::new(), next: 0, credit: 0.0 };
        let ms = Duration::from_millis;
        (1..RECENT_MIN).for_each(|_| state.learn(ms(200)));
        assert_eq!(state.begin(), FIRST);
        (0..RECENT as u64).for_each(|at| state.learn(ms(100 + at)));
        assert_eq!(state.begin(), ms(100 + RECENT as u64 * 9 / 10));
        (0..RECENT).for_each(|_| state.learn(ms(1)));
        assert_eq!(state.begin(), DELAY_MIN);
    }
}
