//! When the request that is being answered must be answered. It rides with the task, as the deadline itself does: whoever drops the
//! task at that moment need not tell every function below it.

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `answering`, which whoever asked will stop after `limit`.
pub(crate) async fn within<T>(limit: Duration, answering: impl Future<Output = T>) -> T {
    match Instant::now().checked_add(limit) {
        Some(deadline) => DEADLINE.scope(deadline, answering).await,
        None => answering.await,
    }
}

/// Time that is left; `None` where nothing bounds it.
pub(crate) fn left() -> Option<Duration> {
    DEADLINE.try_with(|deadline| deadline.saturating_duration_since(Instant::now())).ok()
}
