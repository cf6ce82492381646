//! Deleting a collection, or a generation that was never published.

use std::collections::BTreeSet;

use cairn_model::CollectionName;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Catalog, CollectionDoc, DOCUMENT_BYTES_MAX, Generation, Origin,
    commit::{COMMITS_MAX, overtaken},
    documents::parse_collection,
    snapshots::Stale,
};
use crate::{
    Result,
    store::{Fetched, Found, Key, Object, REQUESTS_IN_FLIGHT_MAX},
};

impl Catalog {
    /// Deletes a collection with its snapshots; false if there was none. First its logs are ended, so that no write is acknowledged that
    /// nobody will read; then `collection.json` goes, so that nobody begins to read it; then the objects of the generations that it served, as far as
    /// the store lets us and no clone needs them. Other generations are not touched: somebody may be building one right now. They are
    /// garbage for the collector, and so are logs, whose ends late writers have to find ([`KEPT_MS_MIN`](crate::log::KEPT_MS_MIN)).
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer before `collection.json` is gone.
    pub async fn delete(&self, name: &CollectionName) -> Result<bool> {
        let key = Key::collection(name);
        let Some(object) = self.ended(name, &key).await? else { return Ok(false) };
        // A damaged document can be deleted as well: then nothing is known of its generations.
        let doc = parse_collection(&self.store.address(&key), name, &object.bytes);
        self.store.delete(&key).await?;
        let swept = match doc {
            Ok(doc) => self.sweep(&doc).await,
            Err(error) => Err(error),
        };
        if let Err(error) = swept {
            tracing::warn!(%error, collection = %name, "the collection is deleted, but not all of its objects are");
        }
        Ok(true)
    }

    /// `collection.json` once the logs of what it serves are ended, and it is still the same. A bucket deletes without a condition: who changes it
    /// between this last look and the deletion is not seen.
    async fn ended(&self, name: &CollectionName, key: &Key) -> Result<Option<Object>> {
        let mut known: Option<Object> = None;
        for _ in 0..COMMITS_MAX {
            let version = known.as_ref().map(|object| &object.version);
            let object = match self.store.get(key, version, DOCUMENT_BYTES_MAX).await? {
                Fetched::Absent => return Ok(None),
                Fetched::Unchanged => return Ok(known),
                Fetched::Found(object) => object,
            };
            match parse_collection(&self.store.address(key), name, &object.bytes) {
                Ok(doc) if doc.live => drop(self.end_logs(&doc).await?),
                // Nothing is known to be written, as far as it is known what is served.
                Ok(_) | Err(_) => {}
            }
            known = Some(object);
        }
        Err(overtaken(name))
    }

    /// Removes what was uploaded for a generation that will not be published.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn abandon(&self, generation: &Generation) -> Result<()> {
        self.sweep_generation(&generation.name, &generation.id).await
    }

    async fn sweep(&self, doc: &CollectionDoc) -> Result<()> {
        self.sweep_snapshots(&doc.name).await?;
        let past = doc.history.iter().map(|served| (served.generation.as_str(), served.origin.as_ref()));
        let now = (doc.generation.as_str(), doc.origin.as_ref());
        let mut seen = BTreeSet::new();
        for (generation, origin) in past.chain([now]).filter(|(generation, _)| seen.insert(generation.to_owned())) {
            self.sweep_generation(&doc.name, generation).await?;
            if let Some(origin) = origin {
                self.release(origin, generation).await?;
            }
        }
        Ok(())
    }

    /// Deletes the snapshots of what was deleted, and leaves those of what may have been created anew since then.
    async fn sweep_snapshots(&self, name: &CollectionName) -> Result<()> {
        let Stale { snapshots, unreadable } = self.stale(name, self.store.list(&Key::snapshots(name)).await?).await?;
        let discards = stream::iter(snapshots).map(|(found, (snapshot, version))| async move {
            self.discard(&found.key, &snapshot, &version).await.map(drop)
        });
        discards.buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect::<()>().await?;
        self.delete_all(unreadable).await
    }

    /// A clone gives up its origin, whose objects nobody else deletes when its collection is gone.
    async fn release(&self, Origin { collection, generation }: &Origin, clone: &str) -> Result<()> {
        self.store.delete(&Key::clone_mark(collection, generation, clone)?).await?;
        if self.exists(collection).await? {
            return Ok(());
        }
        self.sweep_generation(collection, generation).await
    }

    /// Deletes the objects of a generation but for its logs, unless a clone uses them.
    async fn sweep_generation(&self, name: &CollectionName, generation: &str) -> Result<()> {
        let found = self.store.list(&Key::generation(name, generation)?).await?;
        if found.iter().any(|found| found.key.marks_clone()) {
            tracing::info!(collection = %name, generation, "clones use this generation: its objects stay");
            return Ok(());
        }
        self.delete_all(found.into_iter().filter(|found| !found.key.is_log()).collect()).await
    }

    async fn delete_all(&self, found: Vec<Found>) -> Result<()> {
        let deletions = stream::iter(found).map(|found| async move { self.store.delete(&found.key).await });
        deletions.buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }
}
