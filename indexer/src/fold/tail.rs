//! A shard's log behind its manifest: how much there is, and the newest version of every point in it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use cairn_engine::fresh::Fresh;
use cairn_model::{Change, CollectionSchema};
use cairn_storage::{
    Catalog, Collection, Manifest,
    catalog::ManifestPosition,
    log::{Frame, Logs, Place},
    store::Key,
};
use tokio::time::Instant;

use super::options::{Amount, CompactOptions};
use crate::{Error, Result};

/// What a log has from its manifest's position on.
pub(super) struct Tail {
    pub(super) frames: Vec<Arc<Frame>>,
    /// The first sequence number behind them, an end left out with which the log stops.
    pub(super) next: u64,
    /// Whether there is such an end.
    pub(super) is_ended: bool,
}

/// Reads on until nothing follows. The collection was asked for at `asked`: writers of this process rely on that.
///
/// # Errors
/// [`Error::Storage`]: `Conflict` when the log is folded further than this manifest knows.
pub(super) async fn read(
    (catalog, logs): (&Catalog, &Logs),
    (before, asked): (&Collection, Instant),
    manifest: &Manifest,
) -> Result<Tail> {
    let (name, generation, shard) = (&before.doc.name, &before.doc.generation, manifest.shard);
    let place = Place { collection: name.clone(), generation: generation.clone(), shard };
    let log = logs.get(&place, || Arc::new(ManifestPosition::new(catalog.clone(), name, generation, shard)));
    let standing = before.standing(manifest);
    log.fold(standing, asked);
    let tail = log.refresh().await?;
    let frames = tail.fits(standing).and_then(|()| tail.since(standing.position)).map_err(|_| {
        let why = "is folded further than was known, or of a later edition of the schema: read the collection again";
        cairn_storage::Error::new(cairn_model::ErrorKind::Conflict, place.to_string(), why)
    })?;
    // An end that something follows was gone past, and is nothing any more.
    let next = tail.next() - u64::from(tail.is_ended());
    let frames: Vec<_> = frames.iter().filter(|frame| !frame.is_end()).cloned().collect();
    Ok(Tail { next: next.max(manifest.log_position), frames, is_ended: tail.is_ended() })
}

impl Tail {
    pub(super) fn amount(&self) -> Amount {
        let changes = self.frames.iter().flat_map(|frame| &frame.parts).flat_map(|part| part.iter());
        Amount {
            frames: self.frames.len(),
            bytes: self.frames.iter().map(|frame| frame.body_bytes).sum(),
            points: changes.map(|change| Change::len(change) as u64).sum(),
        }
    }

    /// Whether the tail is worth a fold: by its size, else by its age, for which the store is asked.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn is_worth(
        &self,
        options: &CompactOptions,
        catalog: &Catalog,
        before: &Collection,
        shard: u32,
    ) -> Result<bool> {
        let Some(first) = self.frames.first() else { return Ok(false) };
        if options.is_enough(self.amount()) {
            return Ok(true);
        }
        let key = Key::log(&before.doc.name, &before.doc.generation, shard, first.sequence)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let written = catalog.store().written_ms(&key).await?;
        Ok(written.is_some_and(|at| now.saturating_sub(u128::from(at)) >= u128::from(options.fold_age_s) * 1_000))
    }

    /// The newest version of every point, as this schema shows it, which is of no earlier edition than any write. Computes.
    ///
    /// # Errors
    /// [`Error::Engine`] for a point that does not fit the schema.
    pub(super) fn points(&self, schema: &CollectionSchema) -> Result<Fresh> {
        let mut fresh = Fresh::new(schema);
        for frame in &self.frames {
            for change in frame.parts.iter().flat_map(|part| part.iter()) {
                fresh.apply((frame.sequence, frame.edition), change).map_err(Error::from)?;
            }
        }
        Ok(fresh)
    }
}
