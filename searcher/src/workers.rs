//! Threads that compute, apart from those that wait.
//!
//! Work is handed to a rayon pool and its answer comes back through a channel, so that async code never blocks. Whoever
//! awaits the answer holds a guard: dropping it, because the client left or the deadline passed, raises the flag that the
//! work looks at, and work that has not begun is not begun.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::error::{Error, Result};

/// Raised when nobody waits for the answer any more; a `cairn_engine::Watch`.
pub type Stop = AtomicBool;

/// A pool of named threads.
#[derive(Debug)]
pub struct Workers {
    pool: rayon::ThreadPool,
}

struct RaiseOnDrop(Arc<Stop>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Workers {
    /// A pool of `threads` threads; as many as there are cores when `None`.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|number| format!("cairn-search-{number}"))
            .build()
            .map(|pool| Self { pool })
            .map_err(|error| Error::Internal(format!("cannot start search threads: {error}")))
    }

    /// Runs `work` on the pool. Dropping the future raises the flag that `work` gets.
    ///
    /// # Errors
    /// What `work` returns; `Internal` when it panics.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Stop) -> Result<T> + Send + 'static) -> Result<T> {
        let stop = Arc::new(Stop::new(false));
        let guard = RaiseOnDrop(Arc::clone(&stop));
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.pool.spawn(move || {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            // A panic inside a rayon pool's spawn would take the process down, and with it everybody else's requests.
            let result = catch_unwind(AssertUnwindSafe(|| work(&stop)))
                .unwrap_or_else(|panic| Err(Error::Internal(format!("a search panicked: {}", panic_text(&panic)))));
            // Nobody waits: the answer is for nobody.
            let _ = answer.send(result);
        });
        let result = answered.await.unwrap_or_else(|_| Err(Error::Internal("a search was lost".into())));
        drop(guard);
        result
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn answers_come_back_and_panics_are_errors() {
        let workers = Workers::new(Some(2)).unwrap();
        assert_eq!(workers.run(|_| Ok(7)).await.unwrap(), 7);
        let error = workers.run(|_| -> Result<()> { panic!("boom {}", 1) }).await.unwrap_err();
        assert!(error.to_string().contains("boom 1"));
        assert_eq!(error.public(), "Service internal error");
        assert_eq!(workers.run(|_| Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dropped_future_stops_its_work() {
        let workers = Arc::new(Workers::new(Some(1)).unwrap());
        let (begun_tx, begun) = mpsc::channel();
        let (ended_tx, ended) = mpsc::channel();
        let running = {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move {
                let work = move |stop: &Stop| {
                    begun_tx.send(()).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                    ended_tx.send(()).unwrap();
                    Err::<(), _>(Error::Cancelled)
                };
                workers.run(work).await
            })
        };
        begun.recv_timeout(Duration::from_secs(10)).unwrap();
        // Behind it in the queue: never begun, because it is dropped first.
        let (queued_tx, queued) = mpsc::channel();
        let waiting = {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move { workers.run(move |_| queued_tx.send(()).map_err(|_| Error::Cancelled)).await })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        running.abort();
        ended.recv_timeout(Duration::from_secs(10)).expect("the work went on");
        assert!(queued.recv_timeout(Duration::from_secs(10)).is_err(), "work that nobody awaits was begun");
    }
}
