//! Work in small pieces on a pool of threads, watched and cancellable.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{Error, Phase, Result, Watch};

/// Progress of a build that has several stages, in points.
pub(super) struct Progress<'a> {
    pub(super) watch: &'a dyn Watch,
    /// What earlier stages did.
    pub(super) before: u64,
    pub(super) total: u64,
}

impl Progress<'_> {
    /// `done` points of this stage are done.
    pub(super) fn report(&self, done: u64) {
        self.watch.progress(Phase::Graph, (self.before + done).min(self.total), self.total);
    }
}

/// Calls `work` with 0 to `count - 1`, each thread taking the next number, until done, failed or cancelled. Each thread has its own
/// `M`. `work` gives the points it did. Runs on the calling thread without a pool.
pub(super) fn each<M: Default>(
    count: usize,
    pool: Option<&rayon::ThreadPool>,
    progress: &Progress<'_>,
    work: &(dyn Fn(usize, &mut M) -> Result<usize> + Sync),
) -> Result<()> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failure = Mutex::new(None);
    let run = || {
        let mut memory = M::default();
        loop {
            let task = next.fetch_add(1, Relaxed);
            if task >= count {
                return;
            }
            let outcome = if progress.watch.cancelled() { Err(Error::Cancelled) } else { work(task, &mut memory) };
            match outcome {
                Ok(points) => progress.report((done.fetch_add(points, Relaxed) + points) as u64),
                Err(error) => {
                    next.store(count, Relaxed);
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        }
    };
    match pool {
        None => run(),
        Some(pool) => pool.scope(|scope| (0..pool.current_num_threads()).for_each(|_| scope.spawn(|_| run()))),
    }
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
