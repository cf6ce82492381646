//! The second half of a job: a shard's rows become segment files, one after another, each built by all threads.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cairn_engine::segment::{Builder, Built, WriteError};
use cairn_model::{CollectionSchema, Payload, VectorParams, limits::SEGMENT_POINTS_MAX};
use cairn_storage::SegmentEntry;
use ulid::Ulid;

use crate::{
    Error, Progress, Result, intake::Intake, memory::build_bytes, progress::BuildWatch, record::Records,
    workplace::Workplace,
};

/// A segment on local disk.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) shard: u32,
    pub(crate) path: PathBuf,
    pub(crate) entry: SegmentEntry,
}

/// Everything that building needs besides the rows.
pub(crate) struct Site {
    pub(crate) schema: CollectionSchema,
    pub(crate) seed: u64,
    /// Memory for one segment under construction.
    pub(crate) build_bytes: u64,
    pub(crate) pool: Arc<rayon::ThreadPool>,
    pub(crate) dir: Arc<Workplace>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// How many segments the shard of each lane becomes: as few as keep the bound. Empty shards have none.
pub(crate) fn plan(intake: &Intake, params: &VectorParams, limit_bytes: u64) -> Vec<u32> {
    (0..intake.payload_bytes.len())
        .map(|lane| {
            let points = intake.spool.records(lane);
            let bytes = build_bytes(points, [params], intake.payload_bytes[lane]);
            let by_bytes = bytes.div_ceil(limit_bytes.max(1));
            let by_points = points.div_ceil(SEGMENT_POINTS_MAX as u64);
            u32::try_from(by_bytes.max(by_points).min(points)).unwrap_or(u32::MAX)
        })
        .collect()
}

/// Builds all segments, handing each to `deliver` when its file is finished.
///
/// # Errors
/// [`Error::Point`], [`Error::Engine`], [`Error::Disk`], [`Error::Cancelled`], and whatever `deliver` says.
pub(crate) fn build(
    mut intake: Intake,
    plan: &[u32],
    site: &Site,
    mut deliver: impl FnMut(SegmentFile) -> Result<()>,
) -> Result<()> {
    let (name, params) = site.schema.only_vector().map_err(|error| Error::invalid(error.field, error.why))?;
    let mut number = 0;
    for (lane, &planned) in plan.iter().enumerate() {
        let shard = intake.first_shard.saturating_add(u32::try_from(lane).unwrap_or(u32::MAX));
        let region = intake.regions.get(shard as usize).cloned();
        let mut left = intake.spool.records(lane);
        let mut rows = Records::new(intake.spool.read(lane), intake.layout.dim, intake.layout.element);
        let share = left.div_ceil(u64::from(planned.max(1)));
        while left > 0 {
            number += 1;
            // Another seed for every segment, the same for the same job.
            let mut builder = Builder::new(name, *params, site.seed.wrapping_add(u64::from(number) - 1));
            left -= fill(&mut builder, &mut rows, share.min(left), params, site)?;
            let mut file = write(builder, shard, number, site)?;
            // Rows of a shard come in no order: what holds of it holds of each of its segments.
            file.entry.region.clone_from(&region);
            deliver(file)?;
        }
        drop(rows);
        intake.spool.free(lane);
    }
    Ok(())
}

/// Moves up to `rows_max` rows into the builder: fewer when large payloads have gathered in these.
fn fill<R: Read>(
    builder: &mut Builder,
    rows: &mut Records<R>,
    rows_max: u64,
    params: &VectorParams,
    site: &Site,
) -> Result<u64> {
    let (mut taken, mut payload_bytes) = (0, 0);
    while taken < rows_max {
        let id = rows.read().map_err(|error| Error::disk(site.dir.path(), error))?;
        let point = |source| Error::Point { id, source };
        let payload: Option<Payload> =
            match rows.payload.as_str() {
                "" => None,
                text => Some(serde_json::from_str(text).map_err(|error| {
                    point(cairn_engine::Error::invalid("payload", format!("cannot be read: {error}")))
                })?),
            };
        builder.push(id, &rows.vector, payload.as_ref()).map_err(point)?;
        taken += 1;
        payload_bytes += rows.payload.len() as u64;
        if build_bytes(taken + 1, [params], payload_bytes) > site.build_bytes {
            break;
        }
        if taken.is_multiple_of(1024) && site.stop.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
    }
    Ok(taken)
}

pub(crate) fn write(builder: Builder, shard: u32, number: u32, site: &Site) -> Result<SegmentFile> {
    let id = Ulid::generate().to_string();
    let path = site.dir.path().join(format!("{id}.seg"));
    let disk = |error| Error::disk(&path, error);
    let watch = BuildWatch { progress: Arc::clone(&site.progress), stop: Arc::clone(&site.stop), shard, number };
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&path).map_err(disk)?);
    let built = match builder.write(&site.pool, &watch, &mut out) {
        Ok(built) => built,
        Err(WriteError::Build(cairn_engine::Error::Cancelled)) => return Err(Error::Cancelled),
        Err(WriteError::Build(error)) => return Err(error.into()),
        Err(WriteError::Sink(error)) => return Err(disk(error)),
    };
    out.flush().map_err(disk)?;
    let edition = site.schema.editions.newest;
    Ok(SegmentFile { shard, path, entry: SegmentEntry { edition, ..entry(id, &built) } })
}

/// A manifest's line for a segment of the first edition, without its head.
pub(crate) fn entry(id: String, built: &Built) -> SegmentEntry {
    let checksum = format!("{:016x}", built.checksum);
    SegmentEntry {
        id,
        points: built.points,
        bytes: built.bytes,
        checksum,
        head: None,
        region: None,
        dead: None,
        own: false,
        edition: 0,
    }
}
