//! Writes to several shards. Each shard's part is one place in its log; there is no order between logs, and no way back for a part that is
//! durable. So what can be refused is refused before anything is put, all parts are put at once, and the answer says which of them are durable.

use std::fmt;

use futures::future::join_all;

use super::{AppendError, Appended, Log, Part};

/// What came of a write to several shards.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Each shard, in the order that was given, and what came of its part.
    pub shards: Vec<(u32, Result<Appended, AppendError>)>,
}

impl Spread {
    /// Whether all parts are durable.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failure().is_none()
    }

    /// The shards whose parts are durable.
    pub fn durable(&self) -> impl Iterator<Item = u32> {
        self.shards.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(shard, _)| *shard)
    }

    /// The failure to answer with: one that leaves something open before one that is certain.
    #[must_use]
    pub fn failure(&self) -> Option<&AppendError> {
        let failures = || self.shards.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
        failures().find(|error| matches!(error, AppendError::Unknown(_))).or_else(|| failures().next())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |wanted: &dyn Fn(&Result<Appended, AppendError>) -> bool| {
            let shards = self.shards.iter().filter(|(_, outcome)| wanted(outcome)).map(|(shard, _)| shard.to_string());
            shards.collect::<Vec<_>>().join(", ")
        };
        let open = |outcome: &Result<_, _>| matches!(outcome, Err(AppendError::Unknown(_)));
        let groups = [
            ("durable in shards", list(&Result::is_ok)),
            ("not written to shards", list(&|outcome| outcome.is_err() && !open(outcome))),
            ("not known of shards", list(&open)),
        ];
        let told: Vec<_> =
            groups.iter().filter(|(_, shards)| !shards.is_empty()).map(|(what, of)| format!("{what} {of}")).collect();
        f.write_str(&told.join("; "))
    }
}

/// Appends a part to each of several logs. Where one is known to be full or ended beforehand, nothing is put anywhere.
pub async fn append_all(parts: Vec<(Log, Part)>) -> Spread {
    let shards: Vec<_> = parts.iter().map(|(log, _)| log.place().shard).collect();
    let rooms = join_all(
        parts.iter().map(|(log, part)| async move { log.ready(std::slice::from_ref(part)).await.map(|_| ()) }),
    )
    .await;
    if let Some(refusal) = rooms.into_iter().find_map(Result::err) {
        return Spread { shards: shards.into_iter().map(|shard| (shard, Err(refusal.clone()))).collect() };
    }
    let outcomes = join_all(parts.into_iter().map(|(log, part)| async move { log.append(part).await })).await;
    Spread { shards: shards.into_iter().zip(outcomes).collect() }
}
