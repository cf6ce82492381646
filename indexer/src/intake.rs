//! The first half of a job: a source is read once, checked, and its rows put into their shards' lanes.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use cairn_model::PointId;

use crate::{
    Error, Place, Progress, Result, Stage,
    ledger::Ledger,
    memory::Budget,
    record,
    source::{Batch, Layout, Source},
    spool::Spool,
};

/// All rows of a source, by shard.
pub(crate) struct Intake {
    /// One lane for every shard.
    pub(crate) spool: Spool,
    /// What every row looks like.
    pub(crate) layout: Layout,
    /// Rows.
    pub(crate) points: u64,
    /// Bytes of payload of each shard.
    pub(crate) payload_bytes: Vec<u64>,
}

/// Everything that reading needs besides the source.
pub(crate) struct Desk<'a> {
    pub(crate) budget: Budget,
    pub(crate) dir: &'a Path,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) stop: &'a AtomicBool,
}

/// Reads `source` to its end.
///
/// # Errors
/// [`Error::Malformed`], also when there are no rows; [`Error::Duplicate`], [`Error::Disk`], [`Error::Cancelled`].
pub(crate) fn read(mut source: Box<dyn Source>, shard_count: u32, desk: &Desk<'_>) -> Result<Intake> {
    let Desk { budget, dir, progress, stop } = *desk;
    let layout = source.layout();
    let lanes = shard_count as usize;
    let mut intake =
        Intake { spool: Spool::new(lanes, budget.rows_bytes, dir), layout, points: 0, payload_bytes: vec![0; lanes] };
    let mut ledger = source.has_ids().then(|| Ledger::new(budget.ids_bytes, dir));
    let cancelled = || stop.load(Ordering::Relaxed);
    let (mut batch, mut row) = (Batch::default(), Vec::new());
    while source.next(&mut batch)? {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        for at in 0..batch.rows {
            // Without ids the row number is the id: it cannot repeat.
            let id = batch.ids.get(at).copied().unwrap_or(PointId::Num(intake.points));
            if let Some(ledger) = &mut ledger {
                ledger.push(id)?;
            }
            let payload = batch.payloads.get(at).map_or("", String::as_str);
            let shard = id.shard(shard_count) as usize;
            record::encode(id, batch.vector(at, layout.dim), layout.element, payload, &mut row);
            intake.spool.push(shard, &row)?;
            intake.payload_bytes[shard] += payload.len() as u64;
            intake.points += 1;
        }
        let (done, total) = source.progress();
        progress.progress(Stage::Read, done, total);
    }
    if intake.points == 0 {
        return Err(Error::malformed(source.file(), Place::File, "no rows, expected at least one point"));
    }
    if let Some(ledger) = ledger {
        ledger.check(source.file(), dir, &cancelled)?;
    }
    Ok(intake)
}
