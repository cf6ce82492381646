//! The threads that build: named, of low priority, under a CPU budget.

use std::num::NonZeroUsize;

use cairn_storage::machine::lower_priority;
use tokio::task::JoinHandle;

use crate::{Error, Result};

/// A pool of `threads` threads.
///
/// # Errors
/// [`Error::Invalid`] when the system does not give as many threads.
pub fn build_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|thread| format!("cairn-build-{thread}"))
        .start_handler(|_| lower_priority())
        .build()
        .map_err(|error| Error::invalid("threads", error.to_string()))
}

/// Threads of a pool: as asked, else one for every core that the process may use.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// The end of a thread.
pub(crate) async fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    match thread.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_named_and_counted() {
        assert_eq!(threads(NonZeroUsize::new(3)), 3);
        assert!(threads(None) >= 1);
        let pool = build_pool(3).unwrap();
        assert_eq!(pool.current_num_threads(), 3);
        let name = pool.install(|| std::thread::current().name().map(str::to_owned)).unwrap();
        assert!(name.starts_with("cairn-build-"), "{name}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_give_way_to_those_that_answer() {
        // Field 19 of a thread's stat; the name before it ends with the last parenthesis.
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            fields.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let pool = build_pool(2).unwrap();
        let here = nice();
        assert!(pool.broadcast(|_| nice()).into_iter().all(|there| there > here || there == 19));
    }
}
