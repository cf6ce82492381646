//! The job itself: source -> lanes -> segment files -> store -> one commit.
//!
//! Nothing is visible before the commit, which is [`Catalog::publish`]'s single conditional put. Whatever happens before it leaves
//! the previous version served, and at most segments that nothing names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use cairn_model::{CollectionName, CollectionSchema, ErrorKind};
use cairn_storage::{Catalog, Collection, Expect, Generation, SegmentEntry, Store};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, IndexJob, Progress, Report, Result, Stage,
    build::{self, SegmentFile, Site},
    fetch::{self, Fetched},
    intake::{self, Desk, Intake},
    memory::Budget,
    options,
    pool::build_pool,
    source,
    workplace::Workplace,
};

/// Runs a job. Cancelling `cancel`, or dropping the future, leaves nothing published and no temporary files.
///
/// # Errors
/// [`Error`]; all of them before anything is published, except a lost answer to the commit itself.
pub async fn index(
    job: IndexJob,
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<Report> {
    let catalog = Catalog::new(store.clone());
    // Cheap refusals come before long work.
    let memory_bytes = job.options.memory_bytes()?;
    let pool = build_pool(job.options.threads())?;
    let existing = existing(&catalog, &job.collection, job.options.replace).await?;
    let parent = job.options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    // Threads share it: it is removed when the last of them has ended, even if the future was dropped before.
    let dir = Arc::new(Workplace::open(&parent)?);
    let files = unless(&cancel, fetch::fetch(&job, dir.path(), &progress)).await??;

    let stop = Stop::on(&cancel);
    let budget = Budget::of(memory_bytes);
    let started = Instant::now();
    let (schema, intake) = {
        let (job, existing, dir) = (job.clone(), existing.clone(), Arc::clone(&dir));
        let (progress, flag) = (Arc::clone(&progress), stop.flag());
        joined(tokio::task::spawn_blocking(move || {
            let desk = Desk { budget, dir: dir.path(), progress: progress.as_ref(), stop: &flag };
            read(&job, &files, existing.as_ref(), &desk)
        }))
        .await?
    };
    let read_s = started.elapsed().as_secs_f64();
    let spilled_bytes = intake.spool.spilled_bytes();
    tracing::info!(points = intake.points, dim = intake.layout.dim, spilled_bytes, read_s, "read the source");

    let started = Instant::now();
    let generation = catalog.begin(&job.collection, &schema);
    let site = Site {
        schema: schema.clone(),
        seed: job.options.seed,
        build_bytes: budget.build_bytes,
        pool,
        dir: Arc::clone(&dir),
        progress,
        stop: stop.flag(),
    };
    let segments = build_and_upload(intake, site, &catalog, &generation, &cancel).await?;
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let (points, bytes, count) = totals(&segments);
    let replaced = existing.as_ref().is_some_and(|old| old.points() > 0);
    let expect = existing.map_or(Expect::Absent, |old| Expect::Unchanged(Box::new(old)));
    let published = catalog.publish(&generation, segments, expect).await?;
    let build_s = started.elapsed().as_secs_f64();
    tracing::info!(collection = %job.collection, points, segments = count, bytes, build_s, "published");
    Ok(Report {
        collection: job.collection,
        generation: published.doc.generation.clone(),
        replaced,
        schema,
        points,
        segments: count,
        bytes,
        spilled_bytes,
        memory_bytes,
        read_s,
        build_s,
    })
}

/// The collection that is there, if it may be written to.
async fn existing(catalog: &Catalog, name: &CollectionName, replace: bool) -> Result<Option<Collection>> {
    match catalog.open(name).await {
        Ok(old) if old.points() > 0 && !replace => {
            Err(Error::Occupied { name: name.to_string(), points: old.points() })
        }
        Ok(old) => Ok(Some(old)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens the source, settles the schema, reads everything.
fn read(
    job: &IndexJob,
    files: &Fetched,
    existing: Option<&Collection>,
    desk: &Desk<'_>,
) -> Result<(CollectionSchema, Intake)> {
    let source = source::open(&files.files())?;
    let old = existing.map(|old| &old.doc.schema);
    let schema = job.options.schema(job.distance, &source.layout(), old)?;
    if let Some(old) = old.filter(|_| !job.options.replace) {
        options::check_agrees(old, &schema)?;
    }
    let intake = intake::read(source, schema.shard_count, desk)?;
    Ok((schema, intake))
}

/// Builds on a thread of its own and uploads what it delivers; one segment uploads while the next is built.
async fn build_and_upload(
    intake: Intake,
    site: Site,
    catalog: &Catalog,
    generation: &Generation,
    cancel: &CancellationToken,
) -> Result<Vec<Vec<SegmentEntry>>> {
    let mut segments = vec![Vec::new(); intake.payload_bytes.len()];
    let (_, params) = site.schema.vector().map_err(|error| Error::invalid(error.field, error.why))?;
    let plan = build::plan(&intake, params, site.build_bytes);
    let total: u64 = plan.iter().map(|&count| u64::from(count)).sum();
    let mut done = 0;
    let (deliver, mut delivered) = mpsc::channel::<SegmentFile>(1);
    let (progress, stop) = (Arc::clone(&site.progress), Arc::clone(&site.stop));
    let builder = tokio::task::spawn_blocking(move || {
        // Nobody receives any more when an upload failed; that error is the one that is reported.
        build::build(intake, &plan, &site, |file| deliver.blocking_send(file).map_err(|_| Error::Cancelled))
    });
    let uploads = async {
        while let Some(file) = delivered.recv().await {
            catalog.put_segment(generation, file.shard, &file.path, &file.entry).await?;
            tokio::fs::remove_file(&file.path).await.map_err(|error| Error::disk(&file.path, error))?;
            segments[file.shard as usize].push(file.entry);
            done += 1;
            progress.progress(Stage::Upload, done, total.max(done));
        }
        Ok(())
    };
    let uploaded = unless(cancel, uploads).await.flatten();
    if uploaded.is_err() {
        stop.store(true, Ordering::Relaxed);
        drop(delivered);
    }
    let built = joined(builder).await;
    uploaded.and(built)?;
    Ok(segments)
}

fn totals(segments: &[Vec<SegmentEntry>]) -> (u64, u64, u64) {
    let all = segments.iter().flatten();
    all.fold((0, 0, 0), |(points, bytes, count), entry| (points + entry.points, bytes + entry.bytes, count + 1))
}

/// Waits for `work` until somebody cancels.
async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T> {
    cancel.run_until_cancelled(work).await.ok_or(Error::Cancelled)
}

/// The end of a thread.
async fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    match thread.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled),
        },
    }
}

/// A flag for threads that cannot wait for a token: set when the token is cancelled, and when this is dropped.
struct Stop {
    flag: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl Stop {
    fn on(cancel: &CancellationToken) -> Self {
        let flag = Arc::new(AtomicBool::new(cancel.is_cancelled()));
        let (cancel, set) = (cancel.clone(), Arc::clone(&flag));
        let watcher = tokio::spawn(async move {
            cancel.cancelled().await;
            set.store(true, Ordering::Relaxed);
        });
        Self { flag, watcher }
    }

    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
        self.watcher.abort();
    }
}
