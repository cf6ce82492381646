//! A process that writes and reads, as the searcher does: it knows a version of the collection, asks whether it still is the newest, and
//! probes the logs at the same time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cairn_model::ErrorKind;
use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use super::{
    super::{Collection, Manifest},
    Process, pause,
    points::{self, SHARDS},
    record::Told,
};
use crate::{
    Error, Result,
    log::{Apart, AppendError, Appended, Log, Outcome, Part, Tail},
};

/// What each task of a process does.
const ROUNDS: u64 = 14;
/// The longest of usual pauses.
const PAUSE_S: u64 = 2_000;
/// Generations that one write tries.
const GENERATIONS_MAX: usize = 4;
/// How often a reader looks again that is overtaken.
const LOOKS_MAX: usize = 8;

pub(super) struct Searcher {
    process: Process,
    known: Mutex<Option<Arc<Collection>>>,
}

/// What a reader looks at: a version of the collection, and what its logs have beyond it.
type View = (Arc<Collection>, Vec<Arc<Tail>>);

impl Searcher {
    pub(super) fn new(process: Process) -> Self {
        Self { process, known: Mutex::default() }
    }

    /// Two who write whatever it is, one who computes, one who reads. Returns the number of reads.
    pub(super) async fn live(self) -> u64 {
        let task = |number: u64| {
            let searcher = &self;
            async move {
                let mut random = searcher.process.world.random(searcher.process.number * 100 + 40 + number);
                let mut reads = 0;
                for _ in 0..ROUNDS {
                    pause(&mut random, PAUSE_S).await;
                    let shard = random.random_range(0..SHARDS);
                    match number {
                        0 | 1 => {
                            searcher.write(shard, random.random_bool(0.4)).await;
                        }
                        2 => searcher.increment(shard).await,
                        _ => reads += u64::from(searcher.read().await),
                    }
                }
                reads
            }
        };
        let (a, b, c, reads) = tokio::join!(task(0), task(1), task(2), task(3));
        a + b + c + reads
    }

    fn known(&self) -> Option<Arc<Collection>> {
        self.known.lock().unwrap().clone()
    }

    fn learn(&self, collection: Option<Collection>) -> Option<Arc<Collection>> {
        let mut known = self.known.lock().unwrap();
        *known = collection.map(Arc::new);
        known.clone()
    }

    /// The collection as it is known, once it takes writes.
    async fn taking_writes(&self) -> Result<Arc<Collection>> {
        let catalog = &self.process.catalog;
        let known = match self.known() {
            Some(known) => known,
            None => {
                let asked = Instant::now();
                let opened = Arc::new(catalog.open(&self.process.world.name).await?);
                self.fold(&opened, asked);
                opened
            }
        };
        let live = if known.doc.live { known } else { Arc::new(catalog.enliven(&known).await?) };
        *self.known.lock().unwrap() = Some(Arc::clone(&live));
        Ok(live)
    }

    fn fold(&self, collection: &Collection, asked: Instant) {
        for manifest in collection.manifests.iter().filter(|_| collection.doc.live) {
            self.process.log(collection, manifest.shard).fold(collection.standing(manifest), asked);
        }
    }

    /// Writes to a shard, or removes from it. Whether it was acknowledged.
    pub(super) async fn write(&self, shard: u32, removes: bool) -> bool {
        let ids = points::ids(shard);
        self.put(shard, async |log, collection, version| {
            let schema = &collection.doc.schema;
            let changes = match removes {
                true => points::removal(schema, &ids[2..3], ids[1], version),
                false => vec![points::upsert(schema, &ids[2..], version, None)],
            };
            log.append(points::part(changes).of_edition(schema.editions.newest)).await
        })
        .await
    }

    /// Writes to a shard what follows from what is there.
    async fn increment(&self, shard: u32) {
        let done = self.put(shard, async |log, collection, version| {
            let compute = |tail| self.computed(Arc::clone(collection), shard, tail, version);
            match log.append_computed(collection.doc.schema.editions.newest, compute).await? {
                Outcome::Appended(at) => Ok(at),
                Outcome::Unneeded(_) => panic!("there is always something to write"),
            }
        });
        done.await;
    }

    async fn computed(
        &self,
        mut collection: Arc<Collection>,
        shard: u32,
        tail: Arc<Tail>,
        version: u64,
    ) -> Result<Option<Part>> {
        let (catalog, since) = (&self.process.catalog, self.process.world.record.moment());
        let overtaken = || Error::unavailable("collection", "was changed while it was written to");
        let written = collection.doc.schema.clone();
        let position = |collection: &Collection| collection.manifests[shard as usize].log_position;
        let generation = collection.doc.generation.clone();
        if tail.since(position(&collection)).is_err()
            && let Some(newer) = catalog.refresh(&collection).await?
        {
            collection = Arc::new(newer);
        }
        let frames = tail.since(position(&collection)).map_err(|_| overtaken())?;
        if collection.doc.generation != generation {
            return Err(overtaken());
        }
        let schema = collection.doc.schema.clone();
        let changes = points::changes(&schema, frames);
        let Some(mut state) = points::settled(catalog, &collection, shard, &changes).await? else {
            // What it knew may be old, and collected.
            self.check_fresh_or_deleted(&collection, since).await;
            return Err(overtaken());
        };
        state.extend(points::alive(changes));
        let id = points::ids(shard)[0];
        let saw = state.get(&id).map(|row| row.version);
        Ok(Some(points::part(vec![points::upsert(&written, &[id], version, Some(saw))])))
    }

    /// A segment may be gone of a version that is not the newest any more, or of a collection that is deleted.
    async fn check_fresh_or_deleted(&self, collection: &Collection, since: u64) {
        let newest = matches!(self.process.catalog.refresh(collection).await, Ok(None));
        assert!(!newest || self.process.world.record.is_deleted_since(since), "a segment is gone that is named");
        self.learn(None);
    }

    /// Puts to the served generation; where it is replaced meanwhile, to the next.
    async fn put(
        &self,
        shard: u32,
        put: impl AsyncFn(&Log, &Arc<Collection>, u64) -> std::result::Result<Appended, AppendError>,
    ) -> bool {
        let record = &self.process.world.record;
        for _ in 0..GENERATIONS_MAX {
            let since = record.moment();
            let opened = self.taking_writes().await;
            let Some(collection) = self.process.endure(opened, since) else {
                self.learn(None);
                continue;
            };
            let (log, version, began) = (self.process.log(&collection, shard), record.version(), record.moment());
            let outcome = put(&log, &collection, version).await;
            let shard = (collection.doc.generation.clone(), shard);
            let ended = record.moment();
            let is_replaced = match &outcome {
                Err(AppendError::Ended | AppendError::Outdated) => true,
                Err(AppendError::Failed(error)) => error.kind == ErrorKind::NotFound,
                _ => false,
            };
            let is_done = outcome.is_ok();
            record.tell(Told { shard, version, outcome, began, ended });
            if !is_replaced {
                return is_done;
            }
            self.learn(None);
        }
        false
    }

    /// A strong read of everything. Whether it came to an end.
    pub(super) async fn read(&self) -> bool {
        let record = &self.process.world.record;
        let (floor, since) = (record.floor(), record.moment());
        let view = match self.look().await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                assert!(record.is_served_since(None, since), "a collection is not found that is there: {error}");
                self.learn(None);
                return true;
            }
            view => self.process.endure(view, since),
        };
        let Some((collection, tails)) = view else { return false };
        let doc = &collection.doc;
        assert!(record.is_served_since(Some(&doc.generation), since), "a generation is read that is served no more");
        record.is_shown(&floor, doc);
        for manifest in &collection.manifests {
            let (shard, position) = (manifest.shard, manifest.log_position);
            let tail = tails.get(shard as usize);
            let changes = tail.map(|tail| tail.since(position).expect("they fit")).unwrap_or_default();
            let changes = points::changes(&doc.schema, changes);
            let settled = points::settled(&self.process.catalog, &collection, shard, &changes).await;
            let Some(settled) = self.process.endure(settled, since) else { return false };
            let Some(mut state) = settled else {
                assert!(record.is_deleted_since(since), "a segment is gone that a reader has");
                return false;
            };
            state.extend(points::alive(changes));
            let next = tail.map_or(position, |tail| tail.next());
            record.is_read(&floor, &(doc.generation.clone(), shard), (next, &doc.schema), &state);
        }
        true
    }

    /// The newest version, and tails that fit it.
    async fn look(&self) -> Result<View> {
        let (catalog, known) = (&self.process.catalog, self.known());
        let mut asked = Instant::now();
        let (mut collection, probed) = match known {
            Some(known) => {
                let (newer, probed) = tokio::join!(catalog.refresh(&known), self.probe(&known));
                let newer = newer?.map(Arc::new);
                let is_same = |newer: &Arc<Collection>| {
                    newer.doc.live == known.doc.live && newer.doc.generation == known.doc.generation
                };
                let is_probed = newer.as_ref().is_none_or(is_same);
                (newer.unwrap_or(known), is_probed.then_some(probed))
            }
            None => (Arc::new(catalog.open(&self.process.world.name).await?), None),
        };
        let mut probed = match probed {
            Some(probed) => probed?,
            None => self.probe(&collection).await?,
        };
        for _ in 0..LOOKS_MAX {
            *self.known.lock().unwrap() = Some(Arc::clone(&collection));
            match self.tails(&collection, asked, &probed) {
                Ok(tails) => return Ok((collection, tails)),
                Err(Apart::OldTail) => probed = self.probe(&collection).await?,
                Err(Apart::OldManifest) => {
                    asked = Instant::now();
                    let generation = collection.doc.generation.clone();
                    if let Some(newer) = catalog.refresh(&collection).await? {
                        collection = Arc::new(newer);
                    }
                    if collection.doc.generation != generation {
                        probed = self.probe(&collection).await?;
                    }
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err(Error::unavailable("collection", "was changed again and again while it was read"))
    }

    async fn probe(&self, collection: &Collection) -> Result<Vec<Arc<Tail>>> {
        let mut tails = Vec::new();
        for manifest in collection.manifests.iter().filter(|_| collection.doc.live) {
            tails.push(self.process.log(collection, manifest.shard).refresh().await?);
        }
        Ok(tails)
    }

    /// As the searcher's: what was probed decides, and what others of this process read since is as good.
    fn tails(
        &self,
        collection: &Collection,
        asked: Instant,
        probed: &[Arc<Tail>],
    ) -> std::result::Result<Vec<Arc<Tail>>, Apart> {
        let one = |(manifest, own): (&Arc<Manifest>, &Arc<Tail>)| {
            let (standing, log) = (collection.standing(manifest), self.process.log(collection, manifest.shard));
            let (fits, newest) = (own.fits(standing), log.tail());
            if fits != Err(Apart::OldManifest) {
                log.fold(standing, asked);
            }
            fits.map(|()| {
                let is_newer = newest.next() > own.next() && newest.fits(standing).is_ok();
                if is_newer { newest } else { Arc::clone(own) }
            })
        };
        let live = collection.manifests.iter().filter(|_| collection.doc.live);
        let tails: Vec<_> = live.zip(probed).map(one).collect();
        tails.into_iter().collect()
    }
}
