//! The collector: deletes what nothing names, and has not for a while.
//!
//! What a crashed builder, a lost race, a fold or a deletion leaves behind is named by no document. That alone is no reason to delete it: a
//! reader may still have the document that named it, and a builder may be about to name it. So the collector comes twice. What it
//! finds unnamed it writes down, in `garbage/` of the generation; what it had written down for as long as the grace period, and still finds
//! unnamed, it deletes.
//!
//! What makes that certain:
//!
//! - A generation is listed before the documents are read that may name its objects, so what is named after the listing is not in it.
//! - A snapshot of another creation than `collection.json` names nothing. It goes by itself, once it is as old as the grace period.
//! - `collection.json` is read, then the snapshots, then `collection.json` once more, until nothing changed in between: at that moment these
//!   were all documents of the collection. Those of clones are found by their marks, which are put before a clone exists.
//! - Nobody names again what no document names, but for who read a document before: a fold, a snapshot, a clone, a rollback that is under way.
//!   None of them may take as long as the grace period, which is at least [`GRACE_MS_MIN`].
//! - A generation that no document names may be being built. While something is put there, it is left alone.
//! - Objects of a log stay while they are at or behind the log position of *any* document that names their generation. In front of it, they
//!   stay for [`KEPT_MS_MIN`] after the collector saw so, and therefore after a manifest went past them.
//! - Time is the store's own: an object is put at the beginning, and everything is as old as it is older than that one. What was found is
//!   dated by the object in which it is written down, which is put after all documents were read.
//!
//! A collector may die anywhere: what it wrote down remains, and what it deleted was garbage. Two at once delete the same things.
//!
//! | file | what |
//! |---|---|
//! | `names` | what documents name in a generation |
//! | `garbage` | what was found before, and since when |
//! | `generation` | one generation: listing, judgement, deletion |
//! | `report` | what was done |

mod garbage;
mod generation;
mod names;
mod report;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use cairn_model::{CollectionName, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use super::{Catalog, snapshots::Stale};
use crate::{
    Error, Result,
    log::KEPT_MS_MIN,
    store::{
        Found, Key, Put,
        keys::{collection_of_folder, ulid_of},
    },
};

pub use report::{Fate, Report, Tally};

/// The shortest grace period, in milliseconds.
pub const GRACE_MS_MIN: u64 = KEPT_MS_MIN;
/// The usual one: a day.
pub const GRACE_MS: u64 = 24 * 60 * 60 * 1_000;
/// What times may be wrong by: S3 tells whole seconds, and its machines' clocks are not quite the same.
const CLOCK_MS: u64 = 60_000;
/// Deletions in flight.
const DELETIONS: usize = 64;

/// What to collect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only in these collections; all when it is empty. A deleted one still has a folder.
    pub collections: Vec<CollectionName>,
    /// How long something must have been garbage, in milliseconds: at least [`GRACE_MS_MIN`]. Longer than any query, fold, snapshot or clone takes,
    /// and than a builder pauses.
    pub grace_ms: u64,
    /// Delete nothing and write nothing down, only report.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { collections: Vec::new(), grace_ms: GRACE_MS, dry_run: false }
    }
}

/// One run.
struct Run<'a, W> {
    catalog: &'a Catalog,
    options: &'a Options,
    /// When it began, by the store's clock.
    now_ms: u64,
    report: Report,
    watch: W,
}

impl Catalog {
    /// Deletes what nothing has named for the grace period. `watch` sees each object that is garbage and what becomes of it, before it does.
    /// Uploads in parts that were never finished are not objects, and none of its business: let the bucket's lifecycle rules abort them.
    ///
    /// # Errors
    /// `Invalid` for a grace period that is too short; `Unavailable`: what was deleted by then was garbage, run it again. Collections whose
    /// documents cannot be read are left alone, and are in the report.
    pub async fn collect(&self, options: &Options, watch: impl FnMut(&Found, Fate) + Send) -> Result<Report> {
        if options.grace_ms < GRACE_MS_MIN {
            let why = format!(
                "is {} ms, at least {GRACE_MS_MIN} are needed: readers and builders take time",
                options.grace_ms
            );
            return Err(Error::new(ErrorKind::Invalid, "grace period", why));
        }
        self.store.require_safe().await?;
        let now_ms = self.store_now().await?;
        let mut run = Run { catalog: self, options, now_ms, report: Report::default(), watch };
        let names =
            if options.collections.is_empty() { run.all_collections().await? } else { options.collections.clone() };
        for name in &names {
            run.collection(name).await?;
        }
        if options.collections.is_empty() {
            run.probes().await?;
        }
        Ok(run.report)
    }

    /// The store's clock.
    pub(super) async fn store_now(&self) -> Result<u64> {
        let key = Key::probe(Ulid::generate());
        let put = self.store.put_if_absent(&key, Bytes::from(format!("What time is it? {}", Ulid::generate()))).await?;
        let stat = self.store.stat(&key).await;
        self.store.delete(&key).await?;
        match (put, stat?) {
            (Put::Done(_), Some(stat)) => Ok(stat.modified_ms),
            _ => Err(Error::unavailable(self.store.address(&key), "was written and is gone")),
        }
    }
}

impl<W: FnMut(&Found, Fate) + Send> Run<'_, W> {
    /// Also those that were deleted and have something left.
    async fn all_collections(&self) -> Result<Vec<CollectionName>> {
        let folders = self.catalog.store.list_folders(&Key::collections()).await?;
        Ok(folders.iter().filter_map(|folder| collection_of_folder(folder)).collect())
    }

    async fn collection(&mut self, name: &CollectionName) -> Result<()> {
        self.report.collections += 1;
        let folders = self.catalog.store.list_folders(&Key::collection_folder(name)).await?;
        for generation in folders.iter().filter(|folder| ulid_of(folder).is_some()) {
            let deleted = self.report.deleted.objects;
            match self.generation(name, generation).await {
                Ok(()) => {
                    self.report.generations += 1;
                    let objects = self.report.deleted.objects - deleted;
                    tracing::info!(collection = %name, generation, objects, dry_run = self.options.dry_run, "collected");
                }
                // Its documents are damaged, or of a newer version, or change all the time: what they name is not known.
                Err(error) if error.kind != ErrorKind::Unavailable => self.report.skipped.push(error),
                Err(error) => return Err(error),
            }
        }
        self.stale_snapshots(name).await
    }

    /// Stale snapshots, and all of a collection that is gone. They are garbage by that, and of the same creation nothing will be there again, so their
    /// own age decides; what is just being put where a collection is created is left alone.
    async fn stale_snapshots(&mut self, name: &CollectionName) -> Result<()> {
        let found = self.catalog.store.list(&Key::snapshots(name)).await?;
        let Stale { snapshots, unreadable } = match self.catalog.stale(name, found).await {
            Ok(stale) => stale,
            Err(error) if error.kind == ErrorKind::Unavailable => return Err(error),
            Err(error) => {
                self.report.skipped.push(error);
                return Ok(());
            }
        };
        for (found, (snapshot, version)) in snapshots {
            if !self.has_aged(found.modified_ms, self.options.grace_ms) {
                self.keep(vec![found], Fate::Waits);
                continue;
            }
            (self.watch)(&found, Fate::Deleted);
            if self.options.dry_run || self.catalog.discard(&found.key, &snapshot, &version).await? {
                self.report.count(found.bytes, Fate::Deleted);
            }
        }
        self.aged(unreadable).await
    }

    /// What examinations of the store left behind.
    async fn probes(&mut self) -> Result<()> {
        let found = self.catalog.store.list(&Key::probes()).await?;
        self.aged(found).await
    }

    /// Garbage whose own age decides.
    async fn aged(&mut self, found: Vec<Found>) -> Result<()> {
        let (old, young) = found.into_iter().partition(|found| self.has_aged(found.modified_ms, self.options.grace_ms));
        self.keep(young, Fate::Waits);
        self.delete(old).await
    }

    /// Whether that was at least so long ago.
    fn has_aged(&self, since_ms: u64, grace_ms: u64) -> bool {
        self.now_ms.saturating_sub(since_ms) >= grace_ms + CLOCK_MS
    }

    fn keep(&mut self, found: Vec<Found>, fate: Fate) {
        for found in found {
            self.report.count(found.bytes, fate);
            if fate != Fate::Named {
                (self.watch)(&found, fate);
            }
        }
    }

    async fn delete(&mut self, found: Vec<Found>) -> Result<()> {
        for found in &found {
            (self.watch)(found, Fate::Deleted);
        }
        let (store, dry_run) = (&self.catalog.store, self.options.dry_run);
        let deletions = stream::iter(found).map(|found| async move {
            if !dry_run {
                store.delete(&found.key).await?;
            }
            Ok::<_, Error>(found.bytes)
        });
        let mut deletions = deletions.buffer_unordered(DELETIONS);
        while let Some(bytes) = deletions.try_next().await? {
            self.report.count(bytes, Fate::Deleted);
        }
        Ok(())
    }
}
