//! Writes: how one is asked for, and what is answered.

use std::time::Duration;

/// How a write is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateParams {
    /// Whether the answer waits until the write is durable and every later read sees it.
    pub wait: bool,
    /// How long it may wait.
    pub timeout: Option<Duration>,
}

/// How far a write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStatus {
    /// It was accepted, and will be durable soon.
    Acknowledged,
    /// It is durable, and every later read sees it.
    Completed,
}

/// The answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateResult {
    /// Its number, where it has one already.
    pub operation_id: Option<u64>,
    /// How far it has come.
    pub status: UpdateStatus,
}
