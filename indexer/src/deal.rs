//! Between the halves of a job that is partitioned by space: which shards there are is learnt from a sample, and every row goes to its own.
//!
//! The rows pass through a second spool. Builders of single shards all read and deal everything, in the same order and by the same
//! arithmetic, and each keeps its own rows; that they agreed is part of the checksum over what they read.

use cairn_engine::cluster::{Space, space::SAMPLE_PER_SHARD};
use cairn_model::{Distance, VectorParams};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Error, Result,
    intake::{Desk, Intake, Lanes, Sample},
    progress::Stopped,
    record::{self, Records},
    spool::Spool,
};

/// Rows, and bytes of them, that are dealt together.
const ROWS_MAX: usize = 1_024;
const BYTES_MAX: usize = 4 << 20;
/// Bytes that a value of the sample takes while it is learnt from: twice as f32, once as a byte.
const SAMPLE_VALUE_BYTES: u64 = 9;

/// An empty sample, as large as is useful within half of what building may take.
pub(crate) fn sample(lanes: Lanes, dim: usize, build_bytes: u64, seed: u64) -> Sample {
    let bounded = build_bytes / 2 / (dim.max(1) as u64 * SAMPLE_VALUE_BYTES);
    let wanted = u64::from(lanes.shard_count) * SAMPLE_PER_SHARD as u64;
    Sample::new(wanted.min(bounded.max(u64::from(lanes.shard_count))), seed)
}

/// Rows that wait to be dealt.
#[derive(Default)]
struct Pending {
    vectors: Vec<f32>,
    /// Encoded rows, where each ends, and how much of it is payload.
    rows: Vec<u8>,
    ends: Vec<(usize, u64)>,
}

/// Deals the one lane of `intake` into those of `lanes`.
///
/// # Errors
/// [`Error::Engine`] for fewer points than shards; [`Error::Disk`], [`Error::Cancelled`].
pub(crate) fn deal(
    intake: Intake,
    sample: Sample,
    (lanes, params): (Lanes, &VectorParams),
    desk: &Desk<'_>,
    (pool, stop): (&rayon::ThreadPool, &Stopped),
) -> Result<Intake> {
    let layout = intake.layout;
    let kind = (layout.dim, params.distance == Distance::Cosine);
    let space = Space::learn(&sample.values, kind, lanes.shard_count, (pool, stop)).map_err(|error| match error {
        cairn_engine::Error::Cancelled => Error::Cancelled,
        cairn_engine::Error::Invalid { field, why } => Error::invalid(field, why),
        other => other.into(),
    })?;
    drop(sample);
    let mut dealt = space.begin(intake.rows);
    let mut into = Intake {
        spool: Spool::new(lanes.count(), desk.budget.rows_bytes, desk.dir),
        first_shard: lanes.first_shard(),
        points: 0,
        payload_bytes: vec![0; lanes.count()],
        ..intake
    };
    let mut checksum = Xxh3::new();
    checksum.update(&intake.checksum.to_le_bytes());
    let mut from = Records::new(intake.spool.read(0), layout.dim, layout.element);
    let (mut pending, mut row) = (Pending::default(), Vec::new());
    for number in 1..=intake.rows {
        let id = from.read().map_err(|error| Error::disk(desk.dir, error))?;
        record::encode(id, &from.vector, layout.element, &from.payload, &mut row);
        pending.vectors.extend_from_slice(&from.vector);
        pending.rows.extend_from_slice(&row);
        pending.ends.push((pending.rows.len(), from.payload.len() as u64));
        let full = pending.ends.len() >= ROWS_MAX || pending.rows.len() >= BYTES_MAX;
        if !full && number < intake.rows {
            continue;
        }
        if desk.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let mut begin = 0;
        for (shard, (end, payload_bytes)) in
            space.deal(&pending.vectors, &mut dealt, pool).into_iter().zip(&pending.ends)
        {
            checksum.update(&shard.to_le_bytes());
            if let Some(lane) = lanes.of(shard) {
                into.spool.push(lane, &pending.rows[begin..*end])?;
                into.payload_bytes[lane] += payload_bytes;
                into.points += 1;
            }
            begin = *end;
        }
        pending.vectors.clear();
        pending.rows.clear();
        pending.ends.clear();
    }
    into.checksum = checksum.digest();
    into.regions = space.regions(&dealt).iter().map(cairn_engine::cluster::Region::encode).collect();
    Ok(into)
}
