//! The first half of a job: a source is read once, checked, and its rows put into their shards' lanes.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use cairn_engine::seed::SplitMix64;
use cairn_model::{Partition, PointId};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Error, Place, Progress, Result, Stage,
    ledger::Ledger,
    memory::Budget,
    record,
    source::{Batch, Layout, Source},
    spool::Spool,
};

/// Which of a collection's shards are built here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    /// Shards of the collection.
    pub(crate) shard_count: u32,
    /// The only one whose rows are kept; else those of all.
    pub(crate) only: Option<u32>,
    /// What decides where a row goes. By space that is known when all are read: they are read into one lane, and dealt then.
    pub(crate) partition: Partition,
}

impl Lanes {
    /// The shard of the first lane.
    pub(crate) fn first_shard(self) -> u32 {
        self.only.unwrap_or(0)
    }

    pub(crate) fn count(self) -> usize {
        if self.only.is_some() { 1 } else { self.shard_count as usize }
    }

    /// The lane of a shard, if its rows are kept.
    pub(crate) fn of(self, shard: u32) -> Option<usize> {
        match self.only {
            None => Some(shard as usize),
            Some(only) => (shard == only).then_some(0),
        }
    }
}

/// The rows of a source that are built here, by shard.
pub(crate) struct Intake {
    /// One lane for every shard.
    pub(crate) spool: Spool,
    /// The shard of the first lane.
    pub(crate) first_shard: u32,
    /// What every row looks like.
    pub(crate) layout: Layout,
    /// Rows that are kept.
    pub(crate) points: u64,
    /// Bytes of payload of each lane.
    pub(crate) payload_bytes: Vec<u64>,
    /// Rows of the source, kept or not.
    pub(crate) rows: u64,
    /// xxh3-64 over all of them, where not all are kept: builders of other shards must have read the same.
    pub(crate) checksum: u64,
    /// What a searcher has to know of each shard, where points are partitioned by space.
    pub(crate) regions: Vec<Vec<u8>>,
}

/// Some rows' vectors, each row as likely as any other: a reservoir (Vitter's algorithm R).
pub(crate) struct Sample {
    /// Rows that are kept at most.
    rows_max: u64,
    seen: u64,
    random: SplitMix64,
    /// The vectors, one after another.
    pub(crate) values: Vec<f32>,
}

impl Sample {
    pub(crate) fn new(rows_max: u64, seed: u64) -> Self {
        Self { rows_max, seen: 0, random: SplitMix64::new(seed), values: Vec::new() }
    }

    fn take(&mut self, vector: &[f32]) {
        self.seen += 1;
        if self.seen <= self.rows_max {
            self.values.extend_from_slice(vector);
        } else if let Ok(at) = usize::try_from(self.random.below(self.seen))
            && let Some(place) =
                at.checked_mul(vector.len()).and_then(|from| self.values.get_mut(from..from + vector.len()))
        {
            place.copy_from_slice(vector);
        }
    }
}

/// Everything that reading needs besides the source.
pub(crate) struct Desk<'a> {
    pub(crate) budget: Budget,
    pub(crate) dir: &'a Path,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) stop: &'a AtomicBool,
}

/// Reads `source` to its end; what is partitioned by space into one lane, and a sample of it.
///
/// # Errors
/// [`Error::Malformed`], also when there are no rows; [`Error::Duplicate`], [`Error::Disk`], [`Error::Cancelled`].
pub(crate) fn read(mut source: Box<dyn Source>, lanes: Lanes, desk: &Desk<'_>, sample: &mut Sample) -> Result<Intake> {
    let Desk { budget, dir, progress, stop } = *desk;
    let layout = source.layout();
    let by_space = lanes.partition == Partition::Space;
    let lane_count = if by_space { 1 } else { lanes.count() };
    let mut intake = Intake {
        spool: Spool::new(lane_count, budget.rows_bytes, dir),
        first_shard: if by_space { 0 } else { lanes.first_shard() },
        layout,
        points: 0,
        payload_bytes: vec![0; lane_count],
        rows: 0,
        checksum: 0,
        regions: Vec::new(),
    };
    let mut checksum = lanes.only.is_some().then(|| Box::new(Xxh3::new()));
    let mut ledger = source.has_ids().then(|| Ledger::new(budget.ids_bytes, dir));
    let cancelled = || stop.load(Ordering::Relaxed);
    let (mut batch, mut row) = (Batch::default(), Vec::new());
    while source.next(&mut batch)? {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        for at in 0..batch.rows {
            // Without ids the row number is the id: it cannot repeat.
            let id = batch.ids.get(at).copied().unwrap_or(PointId::Num(intake.rows));
            let payload = batch.payloads.get(at).map_or("", String::as_str);
            let vector = batch.vector(at, layout.dim);
            let lane = if by_space { Some(0) } else { lanes.of(id.shard(lanes.shard_count)) };
            if by_space {
                sample.take(vector);
            }
            record::encode(id, vector, layout.element, payload, &mut row);
            if let Some(checksum) = &mut checksum {
                checksum.update(&row);
            }
            if let Some(lane) = lane {
                // One id is one shard, or all rows are kept for now: whoever builds a shard sees all repetitions of its ids.
                if let Some(ledger) = &mut ledger {
                    ledger.push(id, intake.rows)?;
                }
                intake.spool.push(lane, &row)?;
                intake.payload_bytes[lane] += payload.len() as u64;
                intake.points += 1;
            }
            intake.rows += 1;
        }
        let (done, total) = source.progress();
        progress.progress(Stage::Read, done, total);
    }
    intake.checksum = checksum.map_or(0, |checksum| checksum.digest());
    if intake.rows == 0 {
        return Err(Error::malformed(source.file(), Place::File, "no rows, expected at least one point"));
    }
    if let Some(ledger) = ledger {
        ledger.check(source.file(), dir, &cancelled)?;
    }
    Ok(intake)
}
