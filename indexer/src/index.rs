//! The job itself: source -> lanes -> segment files -> store -> one commit.
//!
//! Nothing is visible before the commit, which is [`Catalog::publish`]'s single conditional put. Whatever happens before it leaves
//! the previous version served, and at most segments that nothing names.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use cairn_engine::segment::Built;
use cairn_model::{CollectionName, CollectionSchema, Distance, ErrorKind, Partition};
use cairn_storage::{Catalog, Collection, Expect, Generation, SegmentEntry, Store};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::{
    Error, Figures, Gate, IndexJob, Progress, Report, Result, Stage,
    build::{self, SegmentFile, Site},
    deal,
    fetch::{self, Courier, Fetched},
    gate::{self, Trial},
    heads::Heads,
    intake::{self, Desk, Intake, Lanes},
    memory::Budget,
    options,
    pool::{build_pool, joined},
    progress::Stopped,
    source::Source,
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
    run(job, store, (progress, cancel), None).await.map(|(report, _)| report)
}

/// As [`index()`]; with a gate, a generation that does not pass it is not published, and is removed again.
pub(crate) async fn run(
    job: IndexJob,
    store: &Store,
    (progress, cancel): (Arc<dyn Progress>, CancellationToken),
    gate: Option<Gate>,
) -> Result<(Report, Option<Figures>)> {
    let catalog = Catalog::new(store.clone());
    // Cheap refusals come before long work.
    job.options.memory_bytes()?;
    let existing = existing(&catalog, &job.collection, job.options.replace).await?;
    let shop = Workshop::open(job, progress, cancel).await?;
    let started = Instant::now();
    let (source, schema) = shop.source(existing.as_ref()).await?;
    let intake = shop.read(source, &schema, None).await?;
    let read_s = started.elapsed().as_secs_f64();
    let spilled_bytes = intake.spool.spilled_bytes();
    tracing::info!(points = intake.points, dim = intake.layout.dim, spilled_bytes, read_s, "read the source");

    let started = Instant::now();
    let generation = catalog.begin(&shop.job.collection, &schema);
    let unit = schema.only_vector().is_ok_and(|(_, params)| params.distance == Distance::Cosine);
    let (trial, intake) =
        gate::begin(gate, intake, existing.as_ref(), (shop.job.options.seed, unit), &shop.dir).await?;
    let segments = shop.build(intake, (&catalog, &generation), trial.as_ref()).await?;
    let figures = gate::settle(trial, &catalog, &generation).await?;
    let (points, bytes, count) = totals(segments.iter().flatten());
    let replaced = existing.as_ref().is_some_and(|old| old.points() > 0);
    let expect = existing.map_or(Expect::Absent, |old| Expect::Unchanged(Box::new(old)));
    let published = catalog.publish(&generation, segments, expect).await?;
    let build_s = started.elapsed().as_secs_f64();
    tracing::info!(collection = %shop.job.collection, points, segments = count, bytes, build_s, "published");
    let report = Report {
        collection: shop.job.collection.clone(),
        generation: published.doc.generation.clone(),
        replaced,
        schema,
        points,
        segments: count,
        bytes,
        spilled_bytes,
        memory_bytes: shop.memory_bytes,
        read_s,
        build_s,
    };
    Ok((report, figures))
}

/// Publishes a segment file that the caller built as a new collection of one shard, with its head in a bundle as a job would put it there.
///
/// # Errors
/// [`Error::Storage`]: `Conflict` when there is such a collection, `Corrupt` when the file is not what `built` says; [`Error::Disk`], [`Error::Engine`].
pub async fn publish_file(
    store: &Store,
    (name, schema): (&CollectionName, &CollectionSchema),
    (file, built): (&Path, &Built),
) -> Result<Collection> {
    let catalog = Catalog::new(store.clone());
    let generation = catalog.begin(name, schema);
    let entry = build::entry(Ulid::generate().to_string(), built);
    catalog.put_segment(&generation, 0, file, &entry).await?;
    let mut segments = vec![vec![entry]];
    let mut heads = Heads::new(&catalog, &generation);
    heads.take(file, 0, &mut segments).await?;
    heads.finish(&mut segments).await?;
    Ok(catalog.publish(&generation, segments, Expect::Absent).await?)
}

/// Where a job is done: its directory and its threads, with the source at hand.
pub(crate) struct Workshop {
    pub(crate) job: IndexJob,
    pub(crate) memory_bytes: u64,
    budget: Budget,
    pool: Arc<rayon::ThreadPool>,
    /// Threads share it: it is removed when the last of them has ended, even if the future was dropped before.
    dir: Arc<Workplace>,
    files: Arc<Fetched>,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
    stop: Stop,
}

impl Workshop {
    /// Makes the directory, starts the threads, and fetches the source.
    pub(crate) async fn open(job: IndexJob, progress: Arc<dyn Progress>, cancel: CancellationToken) -> Result<Self> {
        let memory_bytes = job.options.memory_bytes()?;
        let pool = Arc::new(build_pool(job.options.threads())?);
        let parent = job.options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = Arc::new(Workplace::open(&parent)?);
        let files = Arc::new(unless(&cancel, fetch::fetch(&job, dir.path(), &progress)).await??);
        let (budget, stop) = (Budget::of(memory_bytes), Stop::on(&cancel));
        Ok(Self { job, memory_bytes, budget, pool, dir, files, progress, cancel, stop })
    }

    /// Tells this job's source from others.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        self.files.fingerprint(&self.job)
    }

    /// Opens the source and settles the schema.
    pub(crate) async fn source(&self, existing: Option<&Collection>) -> Result<(Box<dyn Source>, CollectionSchema)> {
        let (job, files, dir) = (self.job.clone(), Arc::clone(&self.files), Arc::clone(&self.dir));
        let (progress, cancel, runtime) = (Arc::clone(&self.progress), self.cancel.clone(), Handle::current());
        let old = existing.map(|old| old.doc.schema.clone());
        joined(tokio::task::spawn_blocking(move || {
            let courier = Courier { job: &job, dir: dir.path(), progress: &progress, cancel: &cancel, runtime };
            let source = files.open(&courier)?;
            let schema = job.options.schema(job.distance, &source.layout(), old.as_ref())?;
            if let Some(old) = old.filter(|_| !job.options.replace || job.options.keep_schema) {
                options::check_agrees(&old, &schema)?;
            }
            Ok((source, schema))
        }))
        .await
    }

    /// Reads the source to its end, all of it or the rows of one shard.
    pub(crate) async fn read(
        &self,
        source: Box<dyn Source>,
        schema: &CollectionSchema,
        only: Option<u32>,
    ) -> Result<Intake> {
        let lanes = Lanes { shard_count: schema.shard_count, only, partition: schema.partition };
        let (_, params) = schema.only_vector().map_err(|error| Error::invalid(error.field, error.why))?;
        let (params, seed, pool) = (*params, self.job.options.seed, Arc::clone(&self.pool));
        let (dir, progress) = (Arc::clone(&self.dir), Arc::clone(&self.progress));
        let (budget, flag) = (self.budget, self.stop.flag());
        joined(tokio::task::spawn_blocking(move || {
            let desk = Desk { budget, dir: dir.path(), progress: progress.as_ref(), stop: &flag };
            let mut sample = deal::sample(lanes, params.size as usize, budget.build_bytes, seed);
            let intake = intake::read(source, lanes, &desk, &mut sample)?;
            match lanes.partition {
                Partition::Hash => Ok(intake),
                Partition::Space => {
                    deal::deal(intake, sample, (lanes, &params), &desk, (&pool, &Stopped(Arc::clone(&flag))))
                }
            }
        }))
        .await
    }

    /// Builds and uploads what was read; a list of segments for every lane.
    pub(crate) async fn build(
        &self,
        intake: Intake,
        (catalog, generation): (&Catalog, &Generation),
        trial: Option<&Arc<Trial>>,
    ) -> Result<Vec<Vec<SegmentEntry>>> {
        let site = Site {
            schema: generation.schema.clone(),
            seed: self.job.options.seed,
            build_bytes: self.budget.build_bytes,
            pool: Arc::clone(&self.pool),
            dir: Arc::clone(&self.dir),
            progress: Arc::clone(&self.progress),
            stop: self.stop.flag(),
        };
        let segments = build_and_upload(intake, site, (catalog, generation), trial, &self.cancel).await?;
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(segments) }
    }
}

/// The collection that is there, if it may be written to.
pub(crate) async fn existing(catalog: &Catalog, name: &CollectionName, replace: bool) -> Result<Option<Collection>> {
    match catalog.open(name).await {
        Ok(old) if old.points() > 0 && !replace => {
            Err(Error::Occupied { name: name.to_string(), points: old.points() })
        }
        Ok(old) => Ok(Some(old)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Builds on a thread of its own and uploads what it delivers; one segment uploads while the next is built.
async fn build_and_upload(
    intake: Intake,
    site: Site,
    (catalog, generation): (&Catalog, &Generation),
    trial: Option<&Arc<Trial>>,
    cancel: &CancellationToken,
) -> Result<Vec<Vec<SegmentEntry>>> {
    let (mut segments, first_shard) = (vec![Vec::new(); intake.payload_bytes.len()], intake.first_shard);
    let (_, params) = site.schema.only_vector().map_err(|error| Error::invalid(error.field, error.why))?;
    let plan = build::plan(&intake, params, site.build_bytes);
    let total: u64 = plan.iter().map(|&count| u64::from(count)).sum();
    let mut done = 0;
    let (deliver, mut delivered) = mpsc::channel::<SegmentFile>(1);
    let (progress, stop, pool) = (Arc::clone(&site.progress), Arc::clone(&site.stop), Arc::clone(&site.pool));
    let builder = tokio::task::spawn_blocking(move || {
        // Nobody receives any more when an upload failed; that error is the one that is reported.
        build::build(intake, &plan, &site, |file| deliver.blocking_send(file).map_err(|_| Error::Cancelled))
    });
    let mut heads = Heads::new(catalog, generation);
    let uploads = async {
        while let Some(file) = delivered.recv().await {
            catalog.put_segment(generation, file.shard, &file.path, &file.entry).await?;
            let lane = (file.shard - first_shard) as usize;
            gate::measure(trial, &file, (&pool, &stop)).await?;
            segments[lane].push(file.entry);
            heads.take(&file.path, lane, &mut segments).await?;
            tokio::fs::remove_file(&file.path).await.map_err(|error| Error::disk(&file.path, error))?;
            done += 1;
            progress.progress(Stage::Upload, done, total.max(done));
        }
        heads.finish(&mut segments).await
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

/// Points, bytes and number of segments.
pub(crate) fn totals<'a>(segments: impl Iterator<Item = &'a SegmentEntry>) -> (u64, u64, u64) {
    segments.fold((0, 0, 0), |(points, bytes, count), entry| (points + entry.points, bytes + entry.bytes, count + 1))
}

/// Waits for `work` until somebody cancels.
async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T> {
    cancel.run_until_cancelled(work).await.ok_or(Error::Cancelled)
}

/// A flag for threads that cannot wait for a token: set when the token is cancelled, and when this is dropped.
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl Stop {
    pub(crate) fn on(cancel: &CancellationToken) -> Self {
        let flag = Arc::new(AtomicBool::new(cancel.is_cancelled()));
        let (cancel, set) = (cancel.clone(), Arc::clone(&flag));
        let watcher = tokio::spawn(async move {
            cancel.cancelled().await;
            set.store(true, Ordering::Relaxed);
        });
        Self { flag, watcher }
    }

    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
        self.watcher.abort();
    }
}
