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
pub(super) type Versioned<T> = (Arc<T>, Version);

/// What a reader knows of a document.
pub(super) enum Known<T> {
    Absent,
    Unchanged,
    New(Versioned<T>),
}

impl Catalog {
    /// Reads a collection: one GET when its manifests stand in `collection.json`; else two waves, the second for all manifests.
    ///
    /// # Errors
    /// `NotFound` if there is none; `Corrupt` or `Unsupported` names the document at fault; `Unavailable`.
    pub async fn open(&self, name: &CollectionName) -> Result<Collection> {
        let doc = self.newest(name).await?;
        self.complete(doc, None).await
    }

    /// The newest version, by one conditional GET; what changed in it is read in one more wave when it does not stand in it. `None` when
    /// `known` is still it.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub async fn refresh(&self, known: &Collection) -> Result<Option<Collection>> {
        let name = &known.doc.name;
        let Some(version) = &known.doc_version else {
            // A past does not change.
            return Ok(None);
        };
        match self.read_doc(name, Some(version)).await? {
            Known::Absent => Err(self.absent(name)),
            Known::Unchanged => Ok(None),
            Known::New(doc) => self.complete(doc, Some(known)).await.map(Some),
        }
    }

    /// Takes the manifests out of a `collection.json` just read, or out of `known`, or reads them. When one is missing, a writer may have
    /// replaced or deleted the collection meanwhile: then what it left is read instead.
    async fn complete(&self, mut doc: Versioned<CollectionDoc>, known: Option<&Collection>) -> Result<Collection> {
        for _ in 0..OPENS_MAX {
            if let Some(manifests) = &doc.0.manifests {
                let manifests = manifests.clone();
                return Ok(Collection { doc: doc.0, manifests, doc_version: Some(doc.1) });
            }
            let manifests = self.read_manifests(&doc.0, known).await?;
            let Some(shard) = manifests.iter().position(Option::is_none) else {
                let manifests = manifests.into_iter().flatten().collect();
                return Ok(Collection { doc: doc.0, manifests, doc_version: Some(doc.1) });
            };
            let name = &doc.0.name;
            doc = match self.read_doc(name, Some(&doc.1)).await? {
                Known::Absent => return Err(self.absent(name)),
                Known::New(newer) => newer,
                Known::Unchanged => {
                    let key = doc.0.manifest_key(u32::try_from(shard).unwrap_or(u32::MAX))?;
                    let why = "is missing, although collection.json names it: restore or rebuild it";
                    return Err(Error::corrupt(self.store.address(&key), why));
                }
            };
        }
        let address = self.store.address(&Key::collection(&doc.0.name));
        Err(Error::unavailable(address, "was replaced again and again while it was read: retry"))
    }

    pub(super) async fn read_doc(
        &self,
        name: &CollectionName,
        known: Option<&Version>,
    ) -> Result<Known<CollectionDoc>> {
        self.read(&Key::collection(name), known, |address, content| parse_collection(address, name, content)).await
    }

    /// All manifests of a generation, at once; those that `known` has as well are not read again. `None` for what is gone.
    pub(super) async fn read_manifests(
        &self,
        doc: &CollectionDoc,
        known: Option<&Collection>,
    ) -> Result<Vec<Option<Arc<Manifest>>>> {
        let known = known.filter(|known| known.doc.generation == doc.generation);
        let same = |shard: u32| {
            let known = known.filter(|known| known.doc.folded.get(&shard) == doc.folded.get(&shard))?;
            known.manifests.get(usize::try_from(shard).ok()?).cloned()
        };
        stream::iter((0..doc.schema.shard_count).map(|shard| (shard, same(shard))))
            .map(|(shard, same)| async move {
                if same.is_some() {
                    return Ok(same);
                }
                let key = doc.manifest_key(shard)?;
                let parse = |address: &str, content: &[u8]| parse_manifest(address, shard, content);
                Ok(match self.read(&key, None, parse).await? {
                    Known::New((manifest, _)) => Some(manifest),
                    Known::Absent | Known::Unchanged => None,
                })
            })
            .buffered(REQUESTS_IN_FLIGHT_MAX)
            .try_collect()
            .await
    }

    pub(super) async fn read<T>(
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
