//! An index job that is done on many machines, a shard on each: for sources that are past one machine.
//!
//! ```text
//! begin -> a generation's id           (nothing is written)
//! index_shard x N, in any order, anywhere, as often as need be
//! publish -> one commit
//! ```
//!
//! Every builder reads the whole source and keeps the rows of its shard: reading is repeated, which a store inside the same
//! region gives for nothing, and building, which takes longer by far, is not. In return builders need no exchange among them, one
//! id has one builder, so repeated ids are found, and each can tell that all have read the same. See `cairn_storage::catalog`
//! for what holds when one of them dies.

use std::{sync::Arc, time::Instant};

use cairn_model::CollectionName;
use cairn_storage::{
    Catalog, Store,
    catalog::{Draft, FORMAT, ShardDraft},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::{
    Error, IndexJob, Progress, Report, Result,
    index::{Workshop, existing, totals},
};

/// A generation to be built in parallel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Begun {
    /// The collection.
    pub collection: CollectionName,
    /// The generation's id: a ULID that nobody has used.
    pub generation: String,
    /// Its shards, for a loop over them.
    pub shards: Vec<u32>,
}

/// Which part of a generation is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The generation: a ULID, the same for all its parts.
    pub generation: String,
    /// The shard, counted from 0.
    pub shard: u32,
}

/// What came of one part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardReport {
    /// The collection.
    pub collection: CollectionName,
    /// The generation.
    pub generation: String,
    /// The shard.
    pub shard: u32,
    /// False when it had been built before, and nothing was left to do.
    pub built: bool,
    /// Points of the shard.
    pub points: u64,
    /// Rows of the source, those of other shards included.
    pub rows: u64,
    /// Segments of the shard.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Seconds of all this.
    pub elapsed_s: f64,
}

/// Names a generation and its shards, and refuses what would be refused in the end: cheap, before many machines start.
///
/// # Errors
/// [`Error::Occupied`]; [`Error::Invalid`] without a number of shards; [`Error::Storage`].
pub async fn begin(job: &IndexJob, store: &Store) -> Result<Begun> {
    job.options.memory_bytes()?;
    let existing = existing(&Catalog::new(store.clone()), &job.collection, job.options.replace).await?;
    let shard_count = job.options.shards.or(existing.map(|old| old.doc.schema.shard_count));
    let shard_count =
        shard_count.ok_or_else(|| Error::invalid("shards", "is needed: how many builders there will be"))?;
    if shard_count == 0 {
        return Err(Error::invalid("shards", "is 0, at least 1 is needed"));
    }
    Ok(Begun {
        collection: job.collection.clone(),
        generation: Ulid::generate().to_string(),
        shards: (0..shard_count).collect(),
    })
}

/// Builds one shard of a generation, unless it is built. It may be killed anywhere and run again, also while it still runs.
///
/// # Errors
/// [`Error`]: as those of an index job; also `Conflict` when the other builders of this generation were told otherwise or read
/// another source.
pub async fn index_shard(
    job: IndexJob,
    part: &Part,
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<ShardReport> {
    let started = Instant::now();
    job.options.memory_bytes()?;
    check_generation(&part.generation)?;
    let catalog = Catalog::new(store.clone());
    let existing = match catalog.draft(&job.collection, &part.generation).await {
        // Its publication is what is there now: this is a late repetition.
        Ok(draft) if served(&catalog, &job.collection).await?.as_deref() == Some(&part.generation) => {
            check_shard(part.shard, draft.schema.shard_count)?;
            let done = catalog.shard_draft(&draft.generation(), part.shard).await?;
            return done.map(|done| report(&job, part, &done, false, started)).ok_or_else(|| gone(part));
        }
        _ => existing(&catalog, &job.collection, job.options.replace).await?,
    };
    let before = existing.as_ref().map(|old| old.doc.generation.clone());
    let shop = Workshop::open(job, progress, cancel).await?;
    let (source, schema) = shop.source(existing.as_ref()).await?;
    check_shard(part.shard, schema.shard_count)?;
    let draft = Draft {
        format: FORMAT,
        name: shop.job.collection.clone(),
        generation: part.generation.clone(),
        schema,
        source: shop.fingerprint()?,
        before,
    };
    catalog.join_draft(&draft).await?;
    let generation = draft.generation();
    if let Some(done) = catalog.shard_draft(&generation, part.shard).await? {
        return Ok(report(&shop.job, part, &done, false, started));
    }
    let intake = shop.read(source, &draft.schema, Some(part.shard)).await?;
    let (rows, checksum) = (intake.rows, format!("{:016x}", intake.checksum));
    tracing::info!(shard = part.shard, points = intake.points, rows, "read the source");
    let segments = shop.build(intake, (&catalog, &generation), None).await?.into_iter().flatten().collect();
    let done = ShardDraft { format: FORMAT, shard: part.shard, rows, checksum, segments };
    let done = catalog.finish_shard(&generation, done).await?;
    let report = report(&shop.job, part, &done, true, started);
    tracing::info!(shard = part.shard, points = report.points, segments = report.segments, "built a shard");
    Ok(report)
}

/// Publishes a generation that is built. It may be repeated; the report of a repetition replaces nothing.
///
/// # Errors
/// [`Error::Storage`]: `Conflict` names the shards that are missing, or says that the collection has changed meanwhile.
pub async fn publish(collection: &CollectionName, generation: &str, store: &Store) -> Result<Report> {
    let started = Instant::now();
    check_generation(generation)?;
    let catalog = Catalog::new(store.clone());
    let before = existing(&catalog, collection, true).await?;
    let published = catalog.publish_draft(collection, generation).await?;
    let (points, bytes, segments) = totals(published.segments().map(|(_, entry)| entry));
    let build_s = started.elapsed().as_secs_f64();
    tracing::info!(%collection, points, segments, bytes, build_s, "published");
    let replaced = before.is_some_and(|old| old.points() > 0 && old.doc.generation != generation);
    Ok(Report {
        collection: collection.clone(),
        generation: generation.to_owned(),
        replaced,
        schema: published.doc.schema.clone(),
        points,
        segments,
        bytes,
        spilled_bytes: 0,
        memory_bytes: 0,
        read_s: 0.0,
        build_s,
    })
}

/// Which generation is served.
async fn served(catalog: &Catalog, name: &CollectionName) -> Result<Option<String>> {
    Ok(existing(catalog, name, true).await?.map(|collection| collection.doc.generation.clone()))
}

fn report(job: &IndexJob, part: &Part, done: &ShardDraft, built: bool, started: Instant) -> ShardReport {
    let (points, bytes, segments) = totals(done.segments.iter());
    ShardReport {
        collection: job.collection.clone(),
        generation: part.generation.clone(),
        shard: part.shard,
        built,
        points,
        rows: done.rows,
        segments,
        bytes,
        elapsed_s: started.elapsed().as_secs_f64(),
    }
}

fn gone(part: &Part) -> Error {
    Error::invalid(
        "shard",
        format!("{} of generation {} is published, but its draft is gone", part.shard, part.generation),
    )
}

fn check_shard(shard: u32, shard_count: u32) -> Result<()> {
    if shard < shard_count {
        return Ok(());
    }
    Err(Error::invalid("shard", format!("{shard} is not one of {shard_count} shards, which count from 0")))
}

fn check_generation(text: &str) -> Result<()> {
    match Ulid::from_string(text) {
        Ok(id) if id.to_string() == text => Ok(()),
        _ => {
            let why = format!("'{}' is not a ULID of 26 upper-case characters", text.escape_debug());
            Err(Error::invalid("generation", why))
        }
    }
}
