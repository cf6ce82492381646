//! Reading a collection.

use std::sync::Arc;

use cairn_model::CollectionName;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Catalog, Collection, CollectionDoc, DOCUMENT_BYTES_MAX, Manifest,
    documents::{parse_collection, parse_manifest},
};
use crate::{
    Error, Result,
    store::{Fetched, Key, Object, REQUESTS_IN_FLIGHT_MAX, Version},
};

/// How often a reader that is overtaken by writers starts again.
const OPENS_MAX: u32 = 4;

/// A document of a certain version.
type Versioned<T> = (Arc<T>, Version);

/// What a reader knows of a document.
enum Known<T> {
    Absent,
    Unchanged,
    New(Versioned<T>),
}

impl Catalog {
    /// Reads a collection: `collection.json`, then all manifests at once. Two waves.
    ///
    /// # Errors
    /// `NotFound` if there is none; `Corrupt` or `Unsupported` names the document at fault; `Unavailable`.
    pub async fn open(&self, name: &CollectionName) -> Result<Collection> {
        let doc = match self.read_doc(name, None).await? {
            Known::New(doc) => doc,
            Known::Absent | Known::Unchanged => return Err(self.absent(name)),
        };
        self.complete(doc).await
    }

    /// The newest version, by one wave of conditional GETs (two when the generation changed); `None` when `known` is
    /// still it.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub async fn refresh(&self, known: &Collection) -> Result<Option<Collection>> {
        let name = &known.doc.name;
        let manifests = self.read_manifests(&known.doc, Some(&known.manifest_versions));
        let (doc, manifests) = tokio::join!(self.read_doc(name, Some(&known.doc_version)), manifests);
        let doc = match doc? {
            Known::Absent => return Err(self.absent(name)),
            Known::Unchanged => None,
            Known::New((doc, version)) if doc.generation != known.doc.generation => {
                return self.complete((doc, version)).await.map(Some);
            }
            Known::New(doc) => Some(doc),
        };
        let manifests = manifests?;
        if manifests.iter().any(|manifest| matches!(manifest, Known::Absent)) {
            // Deleted or replaced between the two reads, or gone for good: a new look will tell.
            return self.open(name).await.map(Some);
        }
        if doc.is_none() && manifests.iter().all(|manifest| matches!(manifest, Known::Unchanged)) {
            return Ok(None);
        }
        let (doc, doc_version) = doc.unwrap_or_else(|| (Arc::clone(&known.doc), known.doc_version.clone()));
        let old = known.manifests.iter().zip(&known.manifest_versions);
        let (manifests, manifest_versions) = manifests
            .into_iter()
            .zip(old)
            .map(|(new, (manifest, version))| match new {
                Known::New(new) => new,
                Known::Unchanged | Known::Absent => (Arc::clone(manifest), version.clone()),
            })
            .unzip();
        Ok(Some(Collection { doc, manifests, doc_version, manifest_versions }))
    }

    /// Reads the manifests of a `collection.json` just read. When one is missing, a writer may have replaced or
    /// deleted the collection meanwhile: then what it left is read instead.
    async fn complete(&self, mut doc: Versioned<CollectionDoc>) -> Result<Collection> {
        for _ in 0..OPENS_MAX {
            let manifests = self.read_manifests(&doc.0, None).await?;
            let mut missing = None;
            let mut found = Vec::with_capacity(manifests.len());
            for (shard, manifest) in (0..).zip(manifests) {
                match manifest {
                    Known::New(manifest) => found.push(manifest),
                    Known::Absent | Known::Unchanged => missing = missing.or(Some(shard)),
                }
            }
            let Some(shard) = missing else {
                let (manifests, manifest_versions) = found.into_iter().unzip();
                return Ok(Collection { doc: doc.0, manifests, doc_version: doc.1, manifest_versions });
            };
            let name = &doc.0.name;
            doc = match self.read_doc(name, Some(&doc.1)).await? {
                Known::Absent => return Err(self.absent(name)),
                Known::New(newer) if newer.0.generation != doc.0.generation => newer,
                Known::New(_) | Known::Unchanged => {
                    let key = Key::manifest(name, &doc.0.generation, shard)?;
                    let why = "is missing, although collection.json names its generation: restore or rebuild it";
                    return Err(Error::corrupt(self.store.address(&key), why));
                }
            };
        }
        let address = self.store.address(&Key::collection(&doc.0.name));
        Err(Error::unavailable(address, "was replaced again and again while it was read: retry"))
    }

    async fn read_doc(&self, name: &CollectionName, known: Option<&Version>) -> Result<Known<CollectionDoc>> {
        self.read(&Key::collection(name), known, |address, content| parse_collection(address, name, content)).await
    }

    /// All manifests of a generation, at once.
    async fn read_manifests(&self, doc: &CollectionDoc, known: Option<&[Version]>) -> Result<Vec<Known<Manifest>>> {
        stream::iter(0..doc.schema.shard_count)
            .map(|shard| async move {
                let key = Key::manifest(&doc.name, &doc.generation, shard)?;
                let index = usize::try_from(shard).unwrap_or(usize::MAX);
                let known = known.and_then(|known| known.get(index));
                self.read(&key, known, |address, content| parse_manifest(address, shard, content)).await
            })
            .buffered(REQUESTS_IN_FLIGHT_MAX)
            .try_collect()
            .await
    }

    async fn read<T>(
        &self,
        key: &Key,
        known: Option<&Version>,
        parse: impl FnOnce(&str, &[u8]) -> Result<T>,
    ) -> Result<Known<T>> {
        Ok(match self.store.get(key, known, DOCUMENT_BYTES_MAX).await? {
            Fetched::Absent => Known::Absent,
            Fetched::Unchanged => Known::Unchanged,
            Fetched::Found(Object { bytes, version }) => {
                Known::New((Arc::new(parse(&self.store.address(key), &bytes)?), version))
            }
        })
    }
}
