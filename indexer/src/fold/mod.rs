//! What was written to a collection's logs moves into segments, and small segments become larger ones.
//!
//! ```text
//! log's tail -> the newest version of every point -> a new segment per shard, and which rows of the old ones it replaces
//! small or half dead segments -> one larger one        -> one commit for all shards
//! ```
//!
//! | file | what |
//! |---|---|
//! | `options` | when a tail is worth it |
//! | `tail` | reading it |
//! | `shadow` | which rows of a segment were written anew |
//! | `tiers` | which segments are merged, and what that costs |
//! | `outputs` | the segments that come of it |
//! | `shard` | one shard, from its tail to uploaded segments |
//!
//! Nothing is locked. The job reads, computes and uploads, and only its last request, a compare-and-swap of `collection.json`, changes
//! anything; so it may die anywhere, and any number of them may run at once: whoever is overtaken reads again, keeps what it built for shards
//! that nobody touched, and leaves the rest to the collector. Writes go on meanwhile; they are what the next fold finds.
//!
//! # What is written for a point
//!
//! A point is written once when it is folded, and then at most once for every tier that it rises: see `tiers`. Rewriting segments for their
//! dead costs at most four points for each that died.
//!
//! # Memory and disk
//!
//! One shard at a time: its tail and the points of it (both bounded by what its log may hold), and one segment under construction, which is
//! bounded as for an index job ([`crate::memory`]). Segments that are merged are on local disk while that lasts.

mod options;
mod outputs;
mod shadow;
mod shard;
mod tail;
mod tiers;

use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{CollectionName, ErrorKind, Partition};
use cairn_storage::{
    AsOf, Cache, Catalog, Collection, Store,
    cache::RangeCache,
    catalog::Fold,
    log::{LogOptions, Logs},
};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use options::CompactOptions;

use crate::{Error, Progress, Result};
use shard::{Bench, Done};

/// How often somebody else may come first.
const ATTEMPTS_MAX: u32 = 16;

/// What a process has that serves the same collections: their segments, parts of them and their logs are then not fetched twice.
#[derive(Clone)]
pub struct Shared {
    /// Whole segments.
    pub cache: Arc<Cache>,
    /// Parts of segments.
    pub ranges: Arc<RangeCache>,
    /// Logs.
    pub logs: Arc<Logs>,
}

/// A collection whose writes are to be moved into segments.
#[derive(Clone)]
pub struct CompactJob {
    /// The collection.
    pub collection: CollectionName,
    /// When and how.
    pub options: CompactOptions,
    /// What there is already; a job on its own brings its own.
    pub shared: Option<Shared>,
}

/// What was done. All counts are of what was published; nothing was where `shards` is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CompactReport {
    /// The collection.
    pub collection: String,
    /// Shards that changed.
    pub shards: u64,
    /// Log objects that are in segments now.
    pub frames: u64,
    /// Their bytes, before compression.
    pub tail_bytes: u64,
    /// Points written in them: the newest version of each.
    pub points_folded: u64,
    /// Points deleted in them, whether they were anywhere or not.
    pub points_deleted: u64,
    /// Segments that were read and are gone: merged, rewritten for their dead, or empty.
    pub segments_merged: u64,
    /// Points read out of them.
    pub points_rewritten: u64,
    /// Segments that were built.
    pub segments_built: u64,
    /// Bytes of them.
    pub bytes_written: u64,
    /// Points written to segments for each that was folded; none where nothing was folded.
    pub write_amplification: Option<f64>,
    /// How often it was begun: once, and once more each time somebody else came first.
    pub attempts: u32,
    /// Seconds of all this.
    pub elapsed_s: f64,
}

/// Folds the tails that are worth it, merges what is to be merged, and publishes both at once; or finds nothing to do.
///
/// # Errors
/// `Invalid` where points are partitioned by space; `NotFound`; `Conflict` when others came first again and again; [`Error`] otherwise. Nothing
/// is lost then, and nothing but garbage left.
pub async fn compact(
    job: CompactJob,
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<CompactReport> {
    let started = Instant::now();
    job.options.memory_bytes()?;
    let catalog = Catalog::new(store.clone());
    let shared = job.shared.clone();
    let logs =
        shared.as_ref().map_or_else(|| Arc::new(Logs::new(store.clone(), LogOptions::default())), |it| it.logs.clone());
    let mut bench = Bench::new(&catalog, (logs, shared), job.options.clone(), (progress, &cancel));
    let mut done: BTreeMap<u32, Done> = BTreeMap::new();
    for attempt in 1..=ATTEMPTS_MAX {
        match attempted(&mut bench, &job.collection, &mut done).await {
            Ok(()) => {}
            Err(Error::Storage(error)) if error.kind == ErrorKind::Conflict => {
                tracing::info!(collection = %job.collection, attempt, %error, "somebody else came first: reading again");
                continue;
            }
            Err(error) => return Err(error),
        }
        let elapsed_s = started.elapsed().as_secs_f64();
        let report = CompactReport { attempts: attempt, elapsed_s, ..report(&job.collection, done.values()) };
        tracing::info!(collection = %job.collection, shards = report.shards, frames = report.frames,
            points = report.points_folded, merged = report.segments_merged, elapsed_s, "compacted");
        return Ok(report);
    }
    let why = format!("was changed by others {ATTEMPTS_MAX} times while it was compacted: try again");
    Err(cairn_storage::Error::new(ErrorKind::Conflict, format!("collection '{}'", job.collection), why).into())
}

/// Has everything that was written until now in segments, where a collection takes writes: for whoever goes on with its segments alone.
///
/// # Errors
/// As [`compact`].
pub async fn fold_all(
    collection: &CollectionName,
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<()> {
    if Catalog::new(store.clone()).open(collection).await?.doc.live {
        let options = CompactOptions { force: true, ..CompactOptions::default() };
        compact(CompactJob { collection: collection.clone(), options, shared: None }, store, progress, cancel).await?;
    }
    Ok(())
}

/// Serves a generation again that was served before ([`Catalog::rollback`]), and opens its logs, which were ended when it was replaced.
///
/// # Errors
/// Those of [`Catalog::rollback`].
pub async fn go_back(
    collection: &CollectionName,
    (to, from): (Option<&AsOf>, Option<&str>),
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<Collection> {
    let back = Catalog::new(store.clone()).rollback(collection, to, from).await?;
    open_logs(&back, store, progress, cancel).await;
    Ok(back)
}

/// Goes past the ends of the logs of a generation that was gone back to. Where that fails it is logged; whoever folds later does it.
pub(crate) async fn open_logs(
    back: &Collection,
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) {
    if !back.doc.live {
        return;
    }
    let (collection, options) = (back.doc.name.clone(), CompactOptions { opens: true, ..CompactOptions::default() });
    if let Err(error) = compact(CompactJob { collection, options, shared: None }, store, progress, cancel).await {
        tracing::warn!(%error, collection = %back.doc.name, "it takes no writes before its log is folded: `cairn compact`");
    }
}

/// Reads the collection, does what it needs, and publishes that.
async fn attempted(bench: &mut Bench<'_>, name: &CollectionName, done: &mut BTreeMap<u32, Done>) -> Result<()> {
    let asked = Instant::now();
    let before = bench.catalog.open(name).await?;
    check_writable(&before)?;
    if !before.doc.live {
        done.clear();
        return Ok(());
    }
    let cancel = bench.cancel;
    cancel.run_until_cancelled(fold_shards(bench, (&before, asked), done)).await.ok_or(Error::Cancelled)??;
    if !done.is_empty() {
        let folds: Vec<Fold> = done.values().map(|done| done.fold.clone()).collect();
        bench.catalog.commit_fold(&before, folds).await?;
    }
    Ok(())
}

fn check_writable(collection: &Collection) -> Result<()> {
    if collection.doc.schema.partition == Partition::Space {
        let why = format!(
            "'{}' is partitioned by space: it takes no writes, so there is nothing to compact; `cairn reindex` builds it anew",
            collection.doc.name
        );
        return Err(Error::invalid("collection", why));
    }
    Ok(())
}

/// Does what each shard needs, unless that was done before and still holds.
async fn fold_shards(
    bench: &mut Bench<'_>,
    (before, asked): (&Collection, Instant),
    done: &mut BTreeMap<u32, Done>,
) -> Result<()> {
    for manifest in &before.manifests {
        if done.get(&manifest.shard).is_some_and(|done| done.holds(before, manifest)) {
            continue;
        }
        done.remove(&manifest.shard);
        if let Some(now) = bench.fold((before, asked), manifest).await? {
            done.insert(manifest.shard, now);
        }
    }
    Ok(())
}

fn report<'a>(collection: &CollectionName, shards: impl Iterator<Item = &'a Done>) -> CompactReport {
    let mut report = CompactReport { collection: collection.to_string(), ..CompactReport::default() };
    let mut points_built = 0;
    for Done { counts, .. } in shards {
        report.shards += 1;
        report.frames += counts.frames;
        report.tail_bytes += counts.tail_bytes;
        report.points_folded += counts.points_folded;
        report.points_deleted += counts.points_deleted;
        report.segments_merged += counts.segments_merged;
        report.points_rewritten += counts.points_rewritten;
        report.segments_built += counts.segments_built;
        report.bytes_written += counts.bytes_written;
        points_built += counts.points_folded + counts.points_rewritten;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = points_built as f64 / report.points_folded as f64;
    report.write_amplification = (report.points_folded > 0).then_some(ratio);
    report
}
