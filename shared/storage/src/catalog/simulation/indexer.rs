//! Moves the logs' tails into segments, as the indexer does.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt as _, rngs::SmallRng};
use tokio::time::{Instant, sleep};

use super::{
    super::{Collection, Fold},
    Process, pause,
    points::{self, State},
};
use crate::{Error, Result};

const ROUNDS: u64 = 24;
const PAUSE_S: u64 = 1_000;
/// How long it may sleep between reading and committing; less than the collector's grace period.
const STALL_MAX_S: u64 = 480;

impl Process {
    /// Folds now and then. Returns how often it did.
    pub(super) async fn index(self) -> u64 {
        let mut random = self.world.random(self.number * 100);
        let mut folds = 0;
        for _ in 0..ROUNDS {
            pause(&mut random, PAUSE_S).await;
            folds += u64::from(self.fold_once(&mut random).await);
        }
        folds
    }

    /// Whether there was something to fold, and nobody came first.
    pub(super) async fn fold_once(&self, random: &mut SmallRng) -> bool {
        let since = self.world.record.moment();
        let folded = self.fold(random, false).await;
        self.endure(folded, since).unwrap_or(false)
    }

    /// `opens` goes past the ends of logs, however new.
    pub(super) async fn fold(&self, random: &mut SmallRng, opens: bool) -> Result<bool> {
        let asked = Instant::now();
        let before = self.catalog.open(&self.world.name).await?;
        if !before.doc.live {
            return Ok(false);
        }
        let mut folds = Vec::new();
        for manifest in &before.manifests {
            let log = self.log(&before, manifest.shard);
            log.fold(before.standing(manifest), asked);
            let tail = log.refresh().await?;
            // It knows of a newer manifest already, or of a newer schema.
            let Ok(frames) = tail.since(manifest.log_position) else { continue };
            if tail.edition() > before.doc.schema.editions.newest {
                continue;
            }
            let opens = tail.is_ended()
                && (opens || self.catalog.is_end_stale(&before, manifest.shard, tail.next() - 1).await?);
            let next = if tail.is_ended() && !opens { tail.next() - 1 } else { tail.next() };
            let merges = random.random_range(0..4) == 0;
            if next > manifest.log_position || merges {
                let segments = self
                    .segments(&before, manifest.shard, &points::changes(&before.doc.schema, frames), merges)
                    .await?;
                folds.push(Fold { shard: manifest.shard, log_position: next.max(manifest.log_position), segments });
            }
        }
        if random.random_range(0..4) == 0 {
            sleep(Duration::from_secs(random.random_range(0..STALL_MAX_S))).await;
        }
        if folds.is_empty() {
            return Ok(false);
        }
        self.catalog.commit_fold(&before, folds).await.map(|_| true)
    }

    /// What becomes of a shard's segments: a new one with what was written, and dead rows in the others; or one of all.
    async fn segments(
        &self,
        before: &Collection,
        shard: u32,
        changes: &points::Changes,
        merges: bool,
    ) -> Result<Vec<super::super::SegmentEntry>> {
        let mut segments = Vec::new();
        let mut new: State = points::alive(changes.clone());
        for entry in &before.manifests[shard as usize].segments {
            let gone = || Error::corrupt(&entry.id, "is gone, although it was named when the fold began");
            let rows = points::rows(&self.catalog, before, shard, entry).await?.ok_or_else(gone)?;
            let mut dead: BTreeSet<u64> = points::dead(entry);
            dead.extend(rows.keys().filter(|id| changes.contains_key(id)));
            if merges {
                new.extend(rows.into_iter().filter(|(id, _)| !dead.contains(id)));
            } else if dead.len() < rows.len() {
                let mut entry = entry.clone();
                entry.dead = points::dead_rows(&dead);
                segments.push(entry);
            }
        }
        if !new.is_empty() {
            segments.push(points::upload(&self.catalog, &before.generation(), shard, &new).await?);
        }
        Ok(segments)
    }
}
