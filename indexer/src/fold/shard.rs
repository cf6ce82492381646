//! One shard, from its tail to uploaded segments.

use std::sync::Arc;

use cairn_engine::{
    fresh::Fresh,
    segment::{decode_dead, encode_dead},
};
use cairn_model::{CollectionSchema, VectorParams};
use cairn_storage::{
    Cache, CacheOptions, Catalog, Collection, Manifest, SegmentEntry,
    cache::RangeCache,
    catalog::{DEAD_BYTES_MAX, DeadRows, Fold},
    log::Logs,
};
use roaring::RoaringBitmap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    CompactOptions, Shared,
    outputs::{Inputs, Outputs, dense},
    shadow::Shelf,
    tail::{self, Tail},
    tiers::{self, Bounds, Member, POINTS_MAX},
};
use crate::{
    Error, Progress, Result, Stage,
    build::Site,
    heads::Heads,
    index::Stop,
    memory::{Budget, build_bytes},
    pool::{build_pool, joined},
    workplace::Workplace,
};

/// Parts of segments that a job on its own keeps in memory.
const PARTS_BYTES: u64 = 64 << 20;
/// Segments of a job on its own may take all of the disk; they are gone when it ends.
const DISK_BYTES: u64 = 1 << 50;
/// Payloads are packed about so well.
const PACKED_ONE_IN: u64 = 4;

/// What was done to a shard, and to what: it is uploaded, and holds as long as nobody else changes the shard.
pub(super) struct Done {
    generation: String,
    schema: CollectionSchema,
    before: Arc<Manifest>,
    pub(super) fold: Fold,
    pub(super) counts: Counts,
}

impl Done {
    /// Whether it is still what this shard needs.
    pub(super) fn holds(&self, collection: &Collection, manifest: &Manifest) -> bool {
        self.generation == collection.doc.generation
            && self.schema == collection.doc.schema
            && (self.before.log_position, &self.before.segments) == (manifest.log_position, &manifest.segments)
    }
}

/// See [`super::CompactReport`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) frames: u64,
    pub(super) tail_bytes: u64,
    pub(super) points_folded: u64,
    pub(super) points_deleted: u64,
    pub(super) segments_merged: u64,
    pub(super) points_rewritten: u64,
    pub(super) segments_built: u64,
    pub(super) bytes_written: u64,
}

/// Where shards are folded. What work needs is made when there is work.
pub(super) struct Bench<'a> {
    pub(super) catalog: &'a Catalog,
    logs: Arc<Logs>,
    shared: Option<Shared>,
    options: CompactOptions,
    progress: Arc<dyn Progress>,
    pub(super) cancel: &'a CancellationToken,
    tools: Option<Arc<Tools>>,
    /// Segments built so far.
    built: u32,
}

struct Tools {
    shelf: Shelf,
    pool: Arc<rayon::ThreadPool>,
    stop: Stop,
    /// Threads share it: it is removed when the last of them has ended.
    dir: Arc<Workplace>,
}

/// A segment as it is, with the rows that count no more after this fold.
struct Old<'a> {
    entry: &'a SegmentEntry,
    dead: RoaringBitmap,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        (logs, shared): (Arc<Logs>, Option<Shared>),
        options: CompactOptions,
        (progress, cancel): (Arc<dyn Progress>, &'a CancellationToken),
    ) -> Self {
        Self { catalog, logs, shared, options, progress, cancel, tools: None, built: 0 }
    }

    /// Moves the tail of one shard into segments, if that is worth it, and merges segments, if some are to be; `None` where neither is. The
    /// collection was asked for at `asked`.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) async fn fold(
        &mut self,
        (before, asked): (&Collection, Instant),
        manifest: &Arc<Manifest>,
    ) -> Result<Option<Done>> {
        let shard = manifest.shard;
        let schema = before.doc.schema.clone();
        let tail = tail::read((self.catalog, &self.logs), (before, asked), manifest).await?;
        // A position past its end opens a log again.
        let opens =
            tail.is_ended && (self.options.opens || self.catalog.is_end_stale(before, shard, tail.next).await?);
        let worth = opens || tail.is_worth(&self.options, self.catalog, before, shard).await?;
        let (tail, next) = if worth {
            let next = tail.next + u64::from(opens);
            (tail, next)
        } else {
            let next = manifest.log_position;
            (Tail { frames: Vec::new(), next, is_ended: tail.is_ended }, next)
        };
        let amount = tail.amount();
        let written = Arc::new(joined(tokio::task::spawn_blocking(move || tail.points(&schema))).await?);
        let mut olds = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let mut dead = match &entry.dead {
                Some(rows) => decode_dead(&rows.bitmap, rows.count)?,
                None => RoaringBitmap::new(),
            };
            if !written.is_empty() {
                dead |= self.tools()?.shelf.rows(before, (shard, entry), &written).await?;
            }
            olds.push(Old { entry, dead });
        }
        let groups = tiers::plan(&members(&olds, &written)?, self.bounds()?);
        if !worth && groups.is_empty() {
            return Ok(None);
        }
        let mut counts = Counts {
            frames: amount.frames as u64,
            tail_bytes: amount.bytes,
            points_folded: written.len_live() as u64,
            points_deleted: (written.len() - written.len_live()) as u64,
            ..Counts::default()
        };
        let built = self.build(before, shard, (&olds, &written), &groups).await?;
        let is_kept = |at: usize, old: &Old<'_>| live(old) > 0 && !groups.iter().flatten().any(|&used| used == at);
        let mut segments = Vec::with_capacity(olds.len() + built.len());
        for (at, old) in olds.iter().enumerate() {
            if is_kept(at, old) {
                segments.push(SegmentEntry { dead: rows(&old.dead)?, ..old.entry.clone() });
            } else {
                counts.segments_merged += 1;
                counts.points_rewritten += live(old);
            }
        }
        counts.segments_built = built.len() as u64;
        counts.bytes_written = built.iter().map(|entry| entry.bytes).sum();
        segments.extend(built);
        Ok(Some(Done {
            generation: before.doc.generation.clone(),
            schema: before.doc.schema.clone(),
            before: Arc::clone(manifest),
            fold: Fold { shard, log_position: next, segments },
            counts,
        }))
    }

    /// Builds a segment of each group, and uploads it with its head.
    async fn build(
        &mut self,
        before: &Collection,
        shard: u32,
        (olds, written): (&[Old<'_>], &Arc<Fresh>),
        groups: &[Vec<usize>],
    ) -> Result<Vec<SegmentEntry>> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let (tools, generation) = (self.tools()?, before.generation());
        let mut heads = Heads::new(self.catalog, &generation);
        let mut lanes = vec![Vec::new()];
        for (done, group) in groups.iter().enumerate() {
            let mut inputs = Inputs { segments: Vec::new(), written: None };
            for &at in group {
                match olds.get(at) {
                    Some(old) => {
                        let whole = tools.shelf.whole(before, (shard, old.entry)).await?;
                        let shown = whole.showing(&before.doc.schema, old.entry.edition);
                        inputs.segments.push(shown.without(Arc::new(old.dead.clone())));
                    }
                    None => inputs.written = Some(Arc::clone(written)),
                }
            }
            let (site, number) = (self.site(before, &tools)?, self.built);
            let building = tokio::task::spawn_blocking(move || Outputs::new(&site, shard, number).build(&inputs));
            for file in joined(building).await? {
                self.built += 1;
                self.catalog.put_segment(&generation, shard, &file.path, &file.entry).await?;
                lanes[0].push(file.entry);
                heads.take(&file.path, 0, &mut lanes).await?;
                tokio::fs::remove_file(&file.path).await.map_err(|error| Error::disk(&file.path, error))?;
            }
            self.progress.progress(Stage::Upload, done as u64 + 1, groups.len() as u64);
        }
        heads.finish(&mut lanes).await?;
        Ok(lanes.swap_remove(0))
    }

    fn bounds(&self) -> Result<Bounds> {
        Ok(Bounds { points: POINTS_MAX, bytes: Budget::of(self.options.memory_bytes()?).build_bytes })
    }

    fn site(&self, before: &Collection, tools: &Tools) -> Result<Site> {
        Ok(Site {
            schema: before.doc.schema.clone(),
            seed: self.options.seed,
            build_bytes: self.bounds()?.bytes,
            pool: Arc::clone(&tools.pool),
            dir: Arc::clone(&tools.dir),
            progress: Arc::clone(&self.progress),
            stop: tools.stop.flag(),
        })
    }

    fn tools(&mut self) -> Result<Arc<Tools>> {
        if let Some(tools) = &self.tools {
            return Ok(Arc::clone(tools));
        }
        let parent = self.options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = Arc::new(Workplace::open(&parent)?);
        let store = self.catalog.store().clone();
        let shelf = match &self.shared {
            Some(Shared { cache, ranges, .. }) => Shelf { store, cache: Arc::clone(cache), ranges: Arc::clone(ranges) },
            None => {
                let options =
                    CacheOptions { dir: Some(dir.path().join("cache")), bytes_max: DISK_BYTES, populate: false };
                let ranges = Arc::new(RangeCache::new(PARTS_BYTES, PARTS_BYTES));
                Shelf { store, cache: Arc::new(Cache::open(options)?), ranges }
            }
        };
        let pool = Arc::new(build_pool(self.options.threads())?);
        let tools = Arc::new(Tools { shelf, pool, stop: Stop::on(self.cancel), dir });
        self.tools = Some(Arc::clone(&tools));
        Ok(tools)
    }
}

fn live(old: &Old<'_>) -> u64 {
    old.entry.points.saturating_sub(old.dead.len())
}

/// All segments, and then what was written, if some of it is there to stay.
fn members(olds: &[Old<'_>], written: &Fresh) -> Result<Vec<Member>> {
    let schema = written.schema();
    let bytes = |of: fn(&VectorParams) -> usize| {
        dense(schema).map(|params| (params.size as usize * of(params)) as u64).sum::<u64>()
    };
    let (row_bytes, code_bytes) = (bytes(|params| params.datatype.bytes()), bytes(|_| 1));
    let mut members = Vec::with_capacity(olds.len() + 1);
    for old in olds {
        let (live, dead) = (live(old), old.dead.len());
        // What is neither vector nor about as large as its code is payload.
        let payload = old.entry.bytes.saturating_sub(old.entry.points * (row_bytes + code_bytes));
        let share = payload.saturating_mul(PACKED_ONE_IN) / old.entry.points.max(1);
        let must = dead > 0 && encode_dead(&old.dead)?.len() > DEAD_BYTES_MAX;
        members.push(Member { live, dead, bytes: build_bytes(live, dense(schema), share.saturating_mul(live)), must });
    }
    let live = written.len_live() as u64;
    if live > 0 {
        // Its payloads take a multiple of their text there, as they do while a segment is built.
        let payload = (written.bytes() as u64).saturating_sub(live * row_bytes) / PACKED_ONE_IN;
        members.push(Member { live, dead: 0, bytes: build_bytes(live, dense(schema), payload), must: true });
    }
    Ok(members)
}

/// As manifests have them.
fn rows(dead: &RoaringBitmap) -> Result<Option<DeadRows>> {
    if dead.is_empty() {
        return Ok(None);
    }
    Ok(Some(DeadRows { count: dead.len(), bitmap: encode_dead(dead)? }))
}
