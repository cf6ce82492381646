//! Retries with jittered exponential backoff, and one deadline for a request with all its retries.
//!
//! The store clients' own retries are switched off: two layers would multiply. Here every operation can be repeated,
//! also a conditional put, because `write` reads back what a lost reply may have left.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::cause::is_transient;

/// When to try again, and when to give up.
#[derive(Debug)]
pub struct Retry {
    /// Longest time for a request with all its attempts.
    pub timeout: Duration,
    /// Longest pause before the second attempt; it doubles with every further one.
    pub backoff_first: Duration,
    /// Longest pause of all.
    pub backoff_max: Duration,
    /// Most attempts.
    pub attempts_max: u32,
    jitter: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// The last answer; `None` when there was none at all.
    pub(super) error: Option<object_store::Error>,
    pub(super) attempts: u32,
    pub(super) elapsed: Duration,
}

impl Retry {
    /// The usual policy. `seed` decides the jitter.
    #[must_use]
    pub fn new(timeout: Duration, seed: u64) -> Self {
        Self {
            timeout,
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_secs(3),
            attempts_max: 9,
            jitter: AtomicU64::new(seed),
        }
    }

    /// Longest time for one attempt: a request that hangs gets a second chance within the deadline.
    #[must_use]
    pub fn attempt_timeout(&self) -> Duration {
        self.timeout / 2
    }

    /// Repeats `attempt` until it succeeds, fails for good, or the deadline is near.
    pub(super) async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let started = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let left = self.timeout.saturating_sub(started.elapsed());
            let error = match timeout(self.attempt_timeout().min(left), attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            let pause = self.pause(attempts);
            let last = attempts >= self.attempts_max || started.elapsed() + pause >= self.timeout;
            if last || error.as_ref().is_some_and(|error| !is_transient(error)) {
                return Err(Failure { error, attempts, elapsed: started.elapsed() });
            }
            tracing::debug!(attempts, pause_ms = pause.as_millis(), ?error, "store request is repeated");
            sleep(pause).await;
        }
    }

    /// A uniform part of the exponential bound ("full jitter"): those who failed together do not return together.
    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        let bound = self.backoff_first.saturating_mul(1 << (attempts - 1).min(16)).min(self.backoff_max);
        let part = f64::from(u32::try_from(self.draw() >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        bound.mul_f64(part)
    }

    /// The next number of those that the seed decides: SplitMix64.
    pub(super) fn draw(&self) -> u64 {
        let mut x = self.jitter.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}
