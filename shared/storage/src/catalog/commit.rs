//! Changing a collection.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use cairn_model::{CollectionName, CollectionSchema, ErrorKind, Partition};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use super::{
    Catalog, Collection, CollectionDoc, Expect, FORMAT, Generation, Manifest, SegmentEntry,
    documents::{encode, format_of, inlined},
    invariants,
    open::Known,
};
use crate::{
    Error, Result,
    store::{Expected, Key, Put, REQUESTS_IN_FLIGHT_MAX},
};

pub(super) fn conflict(name: &CollectionName, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Conflict, format!("collection '{name}'"), why)
}

pub(super) fn overtaken(name: &CollectionName) -> Error {
    conflict(name, "was changed or deleted by somebody else meanwhile: read it again and repeat")
}

/// How often a commit is repeated that was overtaken by changes that do not matter to it.
pub(super) const COMMITS_MAX: u32 = 16;

impl Catalog {
    /// Creates an empty collection, which takes writes where its partition allows it.
    ///
    /// # Errors
    /// `Conflict` if there is one, `Invalid` for a bad schema, `Unsupported` for a store that ignores conditions.
    pub async fn create(&self, name: &CollectionName, schema: &CollectionSchema) -> Result<Collection> {
        if self.exists(name).await? {
            return Err(conflict(name, "exists already"));
        }
        let generation = self.begin(name, schema);
        check_schema(&generation)?;
        self.store.require_safe().await?;
        let manifests: Vec<_> =
            (0..schema.shard_count).map(|shard| Arc::new(first_manifest(&generation, shard, Vec::new()))).collect();
        let doc = self.doc_of(&generation, &manifests, schema.partition == Partition::Hash);
        self.publish_doc(doc, manifests, Expect::Absent).await
    }

    /// Uploads a finished segment file (multipart when large). `id`, `points`, `bytes` and `checksum` are in `entry`,
    /// and the file is held against them on the way.
    ///
    /// # Errors
    /// `Corrupt` when the file is not what `entry` says, `Invalid` for an impossible entry or shard, `Unavailable`.
    pub async fn put_segment(
        &self,
        generation: &Generation,
        shard: u32,
        file: &Path,
        entry: &SegmentEntry,
    ) -> Result<()> {
        self.store.require_safe().await?;
        let invalid =
            |why: String| Error::new(ErrorKind::Invalid, format!("segment '{}'", entry.id.escape_debug()), why);
        invariants::segment(entry).map_err(invalid)?;
        if shard >= generation.schema.shard_count {
            return Err(invalid(format!("shard {shard} of {}", generation.schema.shard_count)));
        }
        let key = Key::segment(&generation.name, &generation.id, shard, &entry.id)?;
        let expected = Expected { bytes: entry.bytes, checksum: entry.checksum_value()? };
        self.store.upload(&key, file, expected).await
    }

    /// Writes the manifests, then makes the generation the served one by one conditional put. Safe to repeat with the
    /// same arguments: a reply that was lost is recognised. The generation before stays in the store and in the history.
    ///
    /// # Errors
    /// `Conflict` when `expect` does not hold, or the generation is in the history; `Invalid` when the segments do not fit the schema; `Corrupt` when a
    /// segment was not uploaded; `Unavailable`: then it may have been published or not, and can be repeated.
    pub async fn publish(
        &self,
        generation: &Generation,
        segments: Vec<Vec<SegmentEntry>>,
        expect: Expect,
    ) -> Result<Collection> {
        self.store.require_safe().await?;
        check_schema(generation)?;
        let manifests = (0..).zip(segments).map(|(shard, segments)| first_manifest(generation, shard, segments));
        let manifests: Vec<_> = manifests.map(Arc::new).collect();
        if let Expect::Unchanged(before) = &expect
            && before.doc.history.iter().any(|served| served.generation == generation.id)
        {
            // A request that comes late, after somebody went back from what it published.
            let why = format!("has served generation {} before: roll back to it instead", generation.id);
            return Err(conflict(&generation.name, why));
        }
        self.publish_doc(self.doc_of(generation, &manifests, false), manifests, expect).await
    }

    pub(super) fn doc_of(&self, generation: &Generation, manifests: &[Arc<Manifest>], live: bool) -> CollectionDoc {
        CollectionDoc {
            format: format_of(&generation.schema, live),
            name: generation.name.clone(),
            generation: generation.id.clone(),
            creation: None,
            schema: generation.schema.clone(),
            writer: generation.id.clone(),
            live,
            folded: BTreeMap::new(),
            manifests: inlined(manifests),
            since_ms: Some((self.clock)()),
            origin: None,
            history: Vec::new(),
        }
    }

    /// Checks a document and its manifests, writes both.
    pub(super) async fn publish_doc(
        &self,
        doc: CollectionDoc,
        manifests: Vec<Arc<Manifest>>,
        expect: Expect,
    ) -> Result<Collection> {
        let invalid =
            |why| Error::new(ErrorKind::Invalid, format!("generation {} of '{}'", doc.generation, doc.name), why);
        invariants::generation(&doc, &manifests).map_err(invalid)?;
        invariants::collection(&doc, &doc.name).map_err(invalid)?;
        if let Expect::Unchanged(before) = &expect
            && before.doc.name != doc.name
        {
            return Err(invalid(format!("it would replace another collection, '{}'", before.doc.name)));
        }
        self.check_segments(&doc, &manifests).await?;
        self.put_manifests(&doc, &manifests).await?;
        match expect {
            Expect::Absent => self.commit(doc, manifests, None).await,
            Expect::Unchanged(before) => self.succeed(doc, manifests, *before).await,
        }
    }

    /// Makes `doc` what is served after `before`, whose logs are ended first. That `before` took writes meanwhile, or that they were moved into
    /// segments, is no change.
    pub(super) async fn succeed(
        &self,
        doc: CollectionDoc,
        manifests: Vec<Arc<Manifest>>,
        mut before: Collection,
    ) -> Result<Collection> {
        for _ in 0..COMMITS_MAX {
            let error = match self.succeed_once(doc.clone(), manifests.clone(), &before).await {
                // Where another generation is served, or none, the logs to be ended are nowhere.
                Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => error,
                done => return done,
            };
            match self.open(&before.doc.name).await {
                // Repeated, after a reply that was lost.
                Ok(newest) if newest.doc.writer == doc.writer => return Ok(newest),
                Ok(newest) if newest.is_same_as(&before) => before = newest,
                Err(error) if error.kind == ErrorKind::Unavailable => return Err(error),
                _ if error.kind == ErrorKind::Conflict => return Err(error),
                _ => return Err(overtaken(&before.doc.name)),
            }
        }
        Err(overtaken(&before.doc.name))
    }

    async fn succeed_once(
        &self,
        doc: CollectionDoc,
        manifests: Vec<Arc<Manifest>>,
        before: &Collection,
    ) -> Result<Collection> {
        let ended;
        let before = if before.doc.live {
            ended = self.end(before).await?;
            &ended
        } else {
            before
        };
        let (history, since_ms) = before.succeeded((self.clock)());
        let doc = CollectionDoc { history, since_ms: Some(since_ms), ..doc };
        self.commit(doc, manifests, Some(before)).await
    }

    pub(super) async fn put_manifests(&self, doc: &CollectionDoc, manifests: &[Arc<Manifest>]) -> Result<()> {
        let puts: Vec<_> = manifests.iter().map(|manifest| self.put_manifest(doc, manifest)).collect();
        stream::iter(puts).buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }

    async fn put_manifest(&self, doc: &CollectionDoc, manifest: &Manifest) -> Result<()> {
        let key = doc.manifest_key(manifest.shard)?;
        let address = self.store.address(&key);
        match self.store.put_if_absent(&key, encode(&address, manifest)?).await? {
            Put::Done(_) => Ok(()),
            Put::Refused => Err(Error::new(ErrorKind::Conflict, address, "was written before with other segments")),
        }
    }

    /// Every segment and every bundle of heads is there before anything names it.
    pub(super) async fn check_segments(&self, doc: &CollectionDoc, manifests: &[Arc<Manifest>]) -> Result<()> {
        let mut checks = Vec::new();
        for manifest in manifests {
            checks.extend(manifest.segments.iter().map(|entry| self.check_segment(doc, manifest.shard, entry)));
        }
        stream::iter(checks).buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect::<()>().await?;
        self.check_bundles(doc, manifests).await
    }

    pub(super) async fn check_segment(&self, doc: &CollectionDoc, shard: u32, entry: &SegmentEntry) -> Result<()> {
        let (name, generation) = doc.folder_of(entry);
        let key = Key::segment(name, generation, shard, &entry.id)?;
        match self.store.head(&key).await? {
            Some(bytes) if bytes == entry.bytes => Ok(()),
            Some(bytes) => {
                let why = format!("is {bytes} bytes long, its entry says {}", entry.bytes);
                Err(Error::corrupt(self.store.address(&key), why))
            }
            None => Err(Error::corrupt(self.store.address(&key), "is to be published, but was not uploaded")),
        }
    }

    /// The commit: after this put the document is what is served, if `before` was until then, or nothing. Whatever replaces a document is of
    /// its creation, and what replaces none begins one. Repeated by the same writer, it finds its own document.
    pub(super) async fn commit(
        &self,
        doc: CollectionDoc,
        manifests: Vec<Arc<Manifest>>,
        before: Option<&Collection>,
    ) -> Result<Collection> {
        let creation = match before {
            None => Some(Ulid::generate().to_string()),
            Some(before) => before.doc.creation.clone(),
        };
        let doc = CollectionDoc { creation, ..doc };
        let key = Key::collection(&doc.name);
        let content = encode(&self.store.address(&key), &doc)?;
        let put = match before {
            None => self.store.put_if_absent(&key, content).await?,
            Some(before) => {
                let version = before.doc_version.as_ref().ok_or_else(|| {
                    let why = "is a past of the collection, over which nothing can be published";
                    Error::new(ErrorKind::Invalid, format!("collection '{}'", doc.name), why)
                })?;
                self.store.compare_and_swap(&key, content, version).await?
            }
        };
        let (doc, version) = match put {
            Put::Done(version) => (Arc::new(doc), version),
            // The same commit a second time has another clock in it, and the same writer.
            Put::Refused => match self.read_doc(&doc.name, None).await {
                Ok(Known::New((found, version))) if found.writer == doc.writer => (found, version),
                _ => {
                    return Err(match before {
                        None => conflict(&doc.name, "exists already"),
                        Some(_) => overtaken(&doc.name),
                    });
                }
            },
        };
        Ok(Collection { doc, manifests, doc_version: Some(version) })
    }
}

pub(super) fn first_manifest(generation: &Generation, shard: u32, segments: Vec<SegmentEntry>) -> Manifest {
    Manifest { format: FORMAT, shard, version: 1, writer: generation.id.clone(), log_position: 0, segments }
}

fn check_schema(generation: &Generation) -> Result<()> {
    let schema = generation.schema.validate();
    schema.map_err(|error| Error::new(ErrorKind::Invalid, error.field, error.why))
}
