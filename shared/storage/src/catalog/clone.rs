//! Clones: a collection that begins with another one's segments, without copying them.
//!
//! The clone has a generation and manifests of its own; its documents say in whose folder the segments lie. Before it exists, a mark
//! `clones/<its generation>.json` stands in that folder. A deletion removes `collection.json` first and looks for marks after; a
//! clone writes its mark first and looks at `collection.json` after: so one of them sees the other. What is marked stays when its
//! collection is deleted, and is deleted with the last clone. A clone that dies on its way leaves a mark that protects what nobody
//! uses: garbage for the collector.

use std::sync::Arc;

use cairn_model::{CollectionName, ErrorKind};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    AsOf, Catalog, Collection, CollectionDoc, Expect, FORMAT, Generation, Origin,
    commit::{conflict, first_manifest, overtaken},
    documents::encode,
    open::Known,
};
use crate::{Error, Result, store::Key};

/// What a mark says to whoever wonders why the objects are still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    format: u32,
    /// The clone.
    pub(super) collection: CollectionName,
    /// Its generation.
    generation: String,
}

impl Catalog {
    /// Creates the collection `to` from what `from` has in segments, or a past of it had: what stands only in its logs has to be folded first. From
    /// then on they are independent.
    ///
    /// # Errors
    /// `Unsupported` when `from` is a clone that was written to: its segments lie in two folders;
    /// `NotFound` when there is no `from` or no such past; `Conflict` when `to` exists, or `from` is changed meanwhile (then it
    /// can be repeated); `Unavailable`: then it may exist or not.
    pub async fn clone_collection(
        &self,
        from: &CollectionName,
        to: &CollectionName,
        of: Option<&AsOf>,
    ) -> Result<Collection> {
        self.store.require_safe().await?;
        if self.exists(to).await? {
            return Err(conflict(to, "exists already"));
        }
        let current = self.open(from).await?;
        let source = match of {
            Some(of) => self.past(&current, of).await?,
            None => current.clone(),
        };
        if source.segments().any(|(_, entry)| entry.own) {
            let why =
                "is a clone that was written to, and can not be cloned again: clone what it came from, or reindex it";
            return Err(Error::new(ErrorKind::Unsupported, format!("collection '{from}'"), why));
        }
        // A clone's clone uses the segments where they are.
        let (collection, generation) = source.doc.folder();
        let origin = Origin { collection: collection.clone(), generation: generation.to_owned() };
        let id = Ulid::generate().to_string();
        let mark = Key::clone_mark(&origin.collection, &origin.generation, &id)?;
        let content = Mark { format: FORMAT, collection: to.clone(), generation: id.clone() };
        self.store.put_if_absent(&mark, encode(&self.store.address(&mark), &content)?).await?;

        let done = match self.read_doc(from, current.doc_version.as_ref()).await? {
            Known::Unchanged => self.publish_clone(&source, origin, to, &id).await,
            // What was moved into segments meanwhile is not in this clone, and what it has is there for a while.
            Known::New((doc, _)) if doc.generation == current.doc.generation => {
                self.publish_clone(&source, origin, to, &id).await
            }
            Known::Absent | Known::New(_) => Err(overtaken(from)),
        };
        // These say for certain that nothing was created.
        let certain =
            |error: &Error| matches!(error.kind, ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Invalid);
        if done.as_ref().is_err_and(certain)
            && let Err(error) = self.store.delete(&mark).await
        {
            tracing::warn!(%error, "the mark of a clone that was not made could not be removed");
        }
        done
    }

    async fn publish_clone(
        &self,
        source: &Collection,
        origin: Origin,
        to: &CollectionName,
        id: &str,
    ) -> Result<Collection> {
        let generation = Generation { id: id.to_owned(), name: to.clone(), schema: source.doc.schema.clone() };
        // Its log is its own, and begins at the beginning.
        let manifests = source.manifests.iter();
        let manifests =
            manifests.map(|manifest| first_manifest(&generation, manifest.shard, manifest.segments.clone()));
        let manifests: Vec<_> = manifests.map(Arc::new).collect();
        let doc = CollectionDoc { origin: Some(origin), ..self.doc_of(&generation, &manifests, false) };
        self.publish_doc(doc, manifests, Expect::Absent).await
    }
}
