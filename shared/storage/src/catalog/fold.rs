//! Changing the served generation: that it takes writes, that they are in segments now, that its schema says more or something else.
//!
//! Each is one compare-and-swap of `collection.json`, so that readers see all of it or nothing, and whoever was overtaken learns it and begins
//! anew: an indexer that slept can not undo what another one did meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{CollectionName, CollectionSchema, ErrorKind, Partition};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use super::{
    Catalog, Collection, CollectionDoc, FORMAT, Manifest, ManifestPosition, SegmentEntry,
    commit::{COMMITS_MAX, overtaken},
    documents::{format_of, inlined},
    invariants,
};
use crate::{
    Error, Result,
    log::{AppendError, KEPT_MS_MIN, Log, LogOptions, Place},
    store::{Key, REQUESTS_IN_FLIGHT_MAX},
};

/// What becomes of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Which.
    pub shard: u32,
    /// The first sequence number of its log that is not in these segments.
    pub log_position: u64,
    /// All of its segments from now on; those that were not there before are uploaded already.
    pub segments: Vec<SegmentEntry>,
}

impl Collection {
    /// Whether the same generation with the same schema is served; it may have taken writes, and folded some.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.doc.generation == other.doc.generation && self.doc.schema == other.doc.schema
    }
}

impl Catalog {
    /// Says of a collection that its logs may hold writes: whoever reads it from now on looks there. To be awaited before the first write.
    /// Nothing is done where it is said already.
    ///
    /// # Errors
    /// `Unsupported` where points are partitioned by space; `Conflict` when the collection is replaced meanwhile; `NotFound`; `Unavailable`.
    pub async fn enliven(&self, known: &Collection) -> Result<Collection> {
        self.store.require_safe().await?;
        if known.doc.schema.partition == Partition::Space {
            let why = "is partitioned by space and can not be written to: build it anew with `cairn reindex`";
            return Err(Error::new(ErrorKind::Unsupported, format!("collection '{}'", known.doc.name), why));
        }
        let enlivened = self.revise(known.clone(), |doc| {
            let before = std::mem::replace(&mut doc.live, true);
            Ok(!before)
        });
        enlivened.await
    }

    /// Changes the schema: `change` is shown it, as often as others come first, and says whether there is something to do.
    ///
    /// # Errors
    /// What `change` says; `Invalid` when the changed schema makes no sense; `NotFound`; `Conflict` when it is replaced again and again; `Unavailable`.
    pub async fn amend(
        &self,
        name: &CollectionName,
        mut change: impl FnMut(&mut CollectionSchema) -> Result<bool>,
    ) -> Result<Collection> {
        self.store.require_safe().await?;
        let mut known = self.open(name).await?;
        for _ in 0..COMMITS_MAX {
            match self.revise(known, |doc| change(&mut doc.schema)).await {
                Err(error) if error.kind == ErrorKind::Conflict => known = self.open(name).await?,
                done => return done,
            }
        }
        Err(overtaken(name))
    }

    /// Changes which vectors there are, as [`Catalog::amend`], and keeps out whoever writes without knowing it: of what is acknowledged after this, all
    /// is written under the changed schema. Repeated after a failure, when there is nothing to change any more, it still does that.
    ///
    /// # Errors
    /// As [`Catalog::amend`]; `Unavailable` also where the schema is changed and some writers may not know it yet: repeat it.
    pub async fn amend_vectors(
        &self,
        name: &CollectionName,
        change: impl FnMut(&mut CollectionSchema) -> Result<bool>,
    ) -> Result<Collection> {
        let amended = self.amend(name, change).await?;
        if amended.doc.live && !amended.doc.schema.editions.is_first() {
            let edition = amended.doc.schema.editions.newest;
            match self.each_log(&amended.doc, |log| async move { log.fence(edition).await }).await {
                // Replaced or deleted since, and so are its logs.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                fenced => drop(fenced?),
            }
        }
        Ok(amended)
    }

    /// Changes the document of the served generation. What others do to it meanwhile is taken up, unless they replace it.
    async fn revise(
        &self,
        mut known: Collection,
        mut change: impl FnMut(&mut CollectionDoc) -> Result<bool>,
    ) -> Result<Collection> {
        for _ in 0..COMMITS_MAX {
            let mut doc = CollectionDoc { writer: Ulid::generate().to_string(), ..known.doc.as_ref().clone() };
            if !change(&mut doc)? {
                return Ok(known);
            }
            doc.format = format_of(&doc.schema, doc.live);
            let invalid = |why| Error::new(ErrorKind::Invalid, format!("collection '{}'", doc.name), why);
            invariants::collection(&doc, &doc.name).map_err(invalid)?;
            let error = match self.commit(doc, known.manifests.clone(), Some(&known)).await {
                Err(error) if error.kind == ErrorKind::Conflict => error,
                done => return done,
            };
            match self.open(&known.doc.name).await? {
                newest if newest.is_same_as(&known) => known = newest,
                _ => return Err(error),
            }
        }
        Err(overtaken(&known.doc.name))
    }

    /// Makes these the segments of some shards of `before`, and says how far they go in the logs, by one compare-and-swap. A position past a log's
    /// end opens it again: whoever put the end, to replace the generation, finds that out and puts another one.
    ///
    /// # Errors
    /// `Conflict` when `before` is not the newest version any more: nothing was changed, read it again and fold anew; `Invalid` when the collection
    /// takes no writes or a fold contradicts it; `Corrupt` when a segment was not uploaded; `Unavailable`: then it may be done or not.
    pub async fn commit_fold(&self, before: &Collection, folds: Vec<Fold>) -> Result<Collection> {
        self.store.require_safe().await?;
        let id = Ulid::generate().to_string();
        let mut doc = CollectionDoc { writer: id.clone(), ..before.doc.as_ref().clone() };
        let invalid = |why: String| Error::new(ErrorKind::Invalid, format!("collection '{}'", before.doc.name), why);
        if !doc.live {
            return Err(invalid("takes no writes, and has nothing to fold".to_owned()));
        }
        let mut manifests = before.manifests.clone();
        let mut changed = BTreeMap::new();
        for Fold { shard, log_position, mut segments } in folds {
            let at = usize::try_from(shard).ok().and_then(|at| manifests.get_mut(at));
            let manifest = at.ok_or_else(|| invalid(format!("has no shard {shard}")))?;
            if log_position < manifest.log_position || changed.contains_key(&shard) {
                let why =
                    format!("shard {shard} is at {} of its log, not before {log_position}", manifest.log_position);
                return Err(invalid(why));
            }
            let is_new = |entry: &SegmentEntry| !manifest.segments.iter().any(|old| old.id == entry.id);
            // They were uploaded to this collection's folder, wherever the others lie.
            segments.iter_mut().filter(|entry| is_new(entry)).for_each(|entry| entry.own = doc.origin.is_some());
            let version = manifest.version + 1;
            let folded = Manifest { format: FORMAT, shard, version, writer: id.clone(), log_position, segments };
            let old = std::mem::replace(manifest, Arc::new(folded));
            changed.insert(shard, old);
            doc.folded.insert(shard, id.clone());
        }
        doc.manifests = inlined(&manifests);
        invariants::generation(&doc, &manifests).map_err(invalid)?;
        invariants::collection(&doc, &doc.name).map_err(invalid)?;

        let shards = manifests.iter().filter_map(|manifest| Some((manifest, changed.get(&manifest.shard)?)));
        let new: Vec<(u32, &SegmentEntry)> = shards
            .flat_map(|(manifest, old)| {
                let is_new = |entry: &&SegmentEntry| !old.segments.iter().any(|old| old.id == entry.id);
                manifest.segments.iter().filter(is_new).map(|entry| (manifest.shard, entry))
            })
            .collect();
        let checks: Vec<_> = new.iter().map(|(shard, entry)| self.check_segment(&doc, *shard, entry)).collect();
        stream::iter(checks).buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect::<()>().await?;
        self.check_heads(&doc, new.iter().map(|(_, entry)| *entry)).await?;
        let written: Vec<_> =
            manifests.iter().filter(|manifest| changed.contains_key(&manifest.shard)).cloned().collect();
        self.put_manifests(&doc, &written).await?;
        self.commit(doc, manifests, Some(before)).await
    }

    /// Whether whoever put the end of a served generation's log is not about to replace or delete the generation any more: the end is older than a request
    /// may be on its way. A fold may then go past it, which opens the log again. A publish would find that out; a deletion, which a bucket does without a
    /// condition, would not.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn is_end_stale(&self, collection: &Collection, shard: u32, end: u64) -> Result<bool> {
        let key = Key::log(&collection.doc.name, &collection.doc.generation, shard, end)?;
        let Some(written_ms) = self.store.written_ms(&key).await? else { return Ok(false) };
        Ok(self.store_now().await?.saturating_sub(written_ms) >= KEPT_MS_MIN)
    }

    /// Ends the logs of a collection that is to be replaced. What is answered is its newest version, in which no log goes past its end.
    pub(super) async fn end(&self, before: &Collection) -> Result<Collection> {
        for _ in 0..COMMITS_MAX {
            let ends = self.end_logs(&before.doc).await?;
            let newest = self.open(&before.doc.name).await?;
            if !newest.is_same_as(before) {
                return Err(overtaken(&before.doc.name));
            }
            // An indexer that did not know of the end may have gone past it.
            if newest.manifests.iter().zip(&ends).all(|(manifest, end)| manifest.log_position <= *end) {
                return Ok(newest);
            }
        }
        Err(overtaken(&before.doc.name))
    }

    /// Ends all logs of a generation: the sequence numbers of their ends.
    pub(super) async fn end_logs(&self, doc: &CollectionDoc) -> Result<Vec<u64>> {
        let end = |log: Log| async move { log.end().await.map(|tail| tail.next().saturating_sub(1)) };
        self.each_log(doc, end).await
    }

    /// Does something to the logs of all shards of a generation.
    async fn each_log<T, F: Future<Output = std::result::Result<T, AppendError>>>(
        &self,
        doc: &CollectionDoc,
        act: impl Fn(Log) -> F,
    ) -> Result<Vec<T>> {
        let one = |shard| {
            let place = Place { collection: doc.name.clone(), generation: doc.generation.clone(), shard };
            let position = ManifestPosition::new(self.clone(), &doc.name, &doc.generation, shard);
            let options = LogOptions { seed: self.store.seed(), ..LogOptions::default() };
            let log = Log::new(self.store.clone(), place, Arc::new(position), options);
            let acting = act(log.clone());
            async move {
                acting.await.map_err(|error| match error {
                    AppendError::Failed(error) | AppendError::Unknown(error) => error,
                    error => Error::unavailable(log.place().to_string(), error),
                })
            }
        };
        let acting: Vec<_> = (0..doc.schema.shard_count).map(one).collect();
        stream::iter(acting).buffered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }
}
