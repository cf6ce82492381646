//! The threads that build: named, of low priority, under a CPU budget.

use crate::{Error, Result};

/// How much nicer than the rest of the process building threads are.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

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

/// On Linux niceness belongs to a thread; elsewhere it would slow the whole process down.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "building at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_named_and_counted() {
        let pool = build_pool(3).unwrap();
        assert_eq!(pool.current_num_threads(), 3);
        let name = pool.install(|| std::thread::current().name().map(str::to_owned)).unwrap();
        assert!(name.starts_with("cairn-build-"), "{name}");
    }
}
