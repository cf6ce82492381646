//! Changing a collection.

use std::{path::Path, sync::Arc};

use cairn_model::{CollectionName, CollectionSchema, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Catalog, Collection, CollectionDoc, DOCUMENT_BYTES_MAX, Expect, FORMAT, Generation, Manifest, SegmentEntry,
    documents::{encode, parse_collection},
    invariants,
};
use crate::{
    Error, Result,
    store::{Expected, Fetched, Key, Put, REQUESTS_IN_FLIGHT_MAX, Version},
};

fn conflict(name: &CollectionName, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Conflict, format!("collection '{name}'"), why)
}

impl Catalog {
    /// Creates an empty collection.
    ///
    /// # Errors
    /// `Conflict` if there is one, `Invalid` for a bad schema, `Unsupported` for a store that ignores conditions.
    pub async fn create(&self, name: &CollectionName, schema: &CollectionSchema) -> Result<Collection> {
        if self.exists(name).await? {
            return Err(conflict(name, "exists already"));
        }
        let generation = self.begin(name, schema);
        let shards = usize::try_from(schema.shard_count).unwrap_or(usize::MAX);
        check_schema(&generation)?;
        self.publish(&generation, vec![Vec::new(); shards], Expect::Absent).await
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
    /// same arguments: a reply that was lost is recognised. The generation before stays in the store as garbage.
    ///
    /// # Errors
    /// `Conflict` when `expect` does not hold; `Invalid` when the segments do not fit the schema; `Corrupt` when a
    /// segment was not uploaded; `Unavailable`: then it may have been published or not, and can be repeated.
    pub async fn publish(
        &self,
        generation: &Generation,
        segments: Vec<Vec<SegmentEntry>>,
        expect: Expect,
    ) -> Result<Collection> {
        self.store.require_safe().await?;
        check_schema(generation)?;
        let doc = CollectionDoc {
            format: FORMAT,
            name: generation.name.clone(),
            generation: generation.id.clone(),
            schema: generation.schema.clone(),
            writer: generation.id.clone(),
        };
        let manifests: Vec<_> = (0..)
            .zip(segments)
            .map(|(shard, segments)| Manifest {
                format: FORMAT,
                shard,
                version: 1,
                writer: generation.id.clone(),
                log_position: 0,
                segments,
            })
            .collect();
        let invalid =
            |why| Error::new(ErrorKind::Invalid, format!("generation {} of '{}'", doc.generation, doc.name), why);
        invariants::collection(&doc, &generation.name).map_err(invalid)?;
        invariants::generation(&doc, &manifests).map_err(invalid)?;
        if let Expect::Unchanged(before) = &expect
            && before.doc.name != doc.name
        {
            return Err(invalid(format!("it would replace another collection, '{}'", before.doc.name)));
        }
        self.check_segments(&doc, &manifests).await?;
        let manifest_versions = self.put_manifests(&doc, &manifests).await?;
        let doc_version = self.put_doc(&doc, &expect).await?;
        let manifests = manifests.into_iter().map(Arc::new).collect();
        Ok(Collection { doc: Arc::new(doc), manifests, doc_version, manifest_versions })
    }

    async fn put_manifests(&self, doc: &CollectionDoc, manifests: &[Manifest]) -> Result<Vec<Version>> {
        let puts: Vec<_> = manifests.iter().map(|manifest| self.put_manifest(doc, manifest)).collect();
        stream::iter(puts).buffered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }

    async fn put_manifest(&self, doc: &CollectionDoc, manifest: &Manifest) -> Result<Version> {
        let key = Key::manifest(&doc.name, &doc.generation, manifest.shard)?;
        let address = self.store.address(&key);
        match self.store.put_if_absent(&key, encode(&address, manifest)?).await? {
            Put::Done(version) => Ok(version),
            Put::Refused => Err(Error::new(ErrorKind::Conflict, address, "was written before with other segments")),
        }
    }

    /// Every segment is there before anything names it.
    async fn check_segments(&self, doc: &CollectionDoc, manifests: &[Manifest]) -> Result<()> {
        let mut checks = Vec::new();
        for manifest in manifests {
            checks.extend(manifest.segments.iter().map(|entry| self.check_segment(doc, manifest.shard, entry)));
        }
        stream::iter(checks).buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }

    async fn check_segment(&self, doc: &CollectionDoc, shard: u32, entry: &SegmentEntry) -> Result<()> {
        let key = Key::segment(&doc.name, &doc.generation, shard, &entry.id)?;
        match self.store.head(&key).await? {
            Some(bytes) if bytes == entry.bytes => Ok(()),
            Some(bytes) => {
                let why = format!("is {bytes} bytes long, its entry says {}", entry.bytes);
                Err(Error::corrupt(self.store.address(&key), why))
            }
            None => Err(Error::corrupt(self.store.address(&key), "is to be published, but was not uploaded")),
        }
    }

    /// The commit: after this put the generation is served.
    async fn put_doc(&self, doc: &CollectionDoc, expect: &Expect) -> Result<Version> {
        let key = Key::collection(&doc.name);
        let content = encode(&self.store.address(&key), doc)?;
        let put = match expect {
            Expect::Absent => self.store.put_if_absent(&key, content).await?,
            Expect::Unchanged(before) => self.store.compare_and_swap(&key, content, &before.doc_version).await?,
        };
        match (put, expect) {
            (Put::Done(version), _) => Ok(version),
            (Put::Refused, Expect::Absent) => Err(conflict(&doc.name, "exists already")),
            (Put::Refused, Expect::Unchanged(_)) => {
                Err(conflict(&doc.name, "was changed or deleted by somebody else meanwhile: read it again and repeat"))
            }
        }
    }

    /// Deletes a collection; false if there was none. First `collection.json`, so that nobody begins to read it; then
    /// the objects of the generation that was served, as far as the store lets us. Older generations and unfinished
    /// ones are not touched: somebody may be building one right now. They are garbage for the collector.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer before `collection.json` is gone.
    pub async fn delete(&self, name: &CollectionName) -> Result<bool> {
        let key = Key::collection(name);
        let Fetched::Found(object) = self.store.get(&key, None, DOCUMENT_BYTES_MAX).await? else {
            return Ok(false);
        };
        self.store.delete(&key).await?;
        // A damaged document can be deleted as well: then nothing is known of its generation.
        let swept = match parse_collection(&self.store.address(&key), name, &object.bytes) {
            Ok(doc) => self.sweep(&doc).await,
            Err(error) => Err(error),
        };
        if let Err(error) = swept {
            tracing::warn!(%error, collection = %name, "the collection is deleted, but not all of its objects are");
        }
        Ok(true)
    }

    async fn sweep(&self, doc: &CollectionDoc) -> Result<()> {
        let found = self.store.list(&Key::generation(&doc.name, &doc.generation)?).await?;
        let deletions = stream::iter(found).map(|found| async move { self.store.delete(&found.key).await });
        deletions.buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }
}

fn check_schema(generation: &Generation) -> Result<()> {
    let schema = generation.schema.validate();
    schema.map_err(|error| Error::new(ErrorKind::Invalid, error.field, error.why))
}
