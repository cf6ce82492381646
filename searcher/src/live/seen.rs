//! A version of a collection together with the tails of its logs: all that one request reads. It never changes.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use cairn_engine::{fresh::Fresh, payload};
use cairn_model::{Filter, PointId};
use cairn_storage::{Collection, log::Tail};

use super::masks::Masks;
use crate::{
    error::{Error, Result},
    leaf::Leaf,
};

/// What is seen of a collection.
#[derive(Debug)]
pub struct Seen {
    pub(super) collection: Arc<Collection>,
    /// One per shard; none of a collection that takes no writes.
    pub(super) tails: Vec<ShardTail>,
    pub(super) masks: Masks,
}

/// What a shard's log has beyond its manifest.
#[derive(Clone, Debug)]
pub(super) struct ShardTail {
    /// The log from the manifest's position on, and perhaps something before.
    pub(super) tail: Arc<Tail>,
    /// The manifest's position.
    pub(super) position: u64,
    /// What its operations come to.
    pub(super) fresh: Fresh,
}

impl Deref for Seen {
    type Target = Collection;

    fn deref(&self) -> &Collection {
        &self.collection
    }
}

impl Seen {
    /// A collection as its segments are.
    #[must_use]
    pub fn still(collection: Arc<Collection>) -> Self {
        Self { collection, tails: Vec::new(), masks: Masks::default() }
    }

    /// A collection in which these ids count no more, by shard: somebody else knows what became of them.
    ///
    /// # Errors
    /// When there is no such shard, or the schema is none.
    pub(crate) fn shadowed(collection: Arc<Collection>, ids: &[(u32, Vec<PointId>)]) -> Result<Self> {
        if ids.is_empty() {
            return Ok(Self::still(collection));
        }
        let empty = empty(&collection);
        let mut tails: Vec<ShardTail> = collection
            .manifests
            .iter()
            .map(|_| ShardTail { tail: Arc::default(), position: 0, fresh: empty.clone() })
            .collect();
        for (shard, ids) in ids {
            let tail = usize::try_from(*shard).ok().and_then(|shard| tails.get_mut(shard));
            let tail = tail.ok_or_else(|| Error::Invalid(format!("there is no shard {shard}")))?;
            ids.iter().for_each(|id| tail.fresh.remove(*id, 0));
        }
        Ok(Self { collection, tails, masks: Masks::default() })
    }

    /// The collection without what its logs hold.
    #[must_use]
    pub fn collection(&self) -> &Arc<Collection> {
        &self.collection
    }

    /// Whether its logs hold writes that are not in segments.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        self.tails.iter().any(|tail| !tail.fresh.is_empty())
    }

    /// Points in memory, one set per shard; none of a collection that takes no writes.
    pub(crate) fn fresh(&self) -> impl ExactSizeIterator<Item = &Fresh> {
        self.tails.iter().map(|tail| &tail.fresh)
    }

    /// The points in memory of one shard.
    pub(crate) fn fresh_of(&self, shard: usize) -> Option<&Fresh> {
        self.tails.get(shard).map(|tail| &tail.fresh)
    }

    /// All ids that count no more in segments, by shard.
    pub(crate) fn shadows(&self) -> Vec<(u32, Vec<PointId>)> {
        let shards = (0..).zip(&self.tails).filter(|(_, tail)| !tail.fresh.is_empty());
        shards.map(|(shard, tail)| (shard, tail.fresh.ids().collect())).collect()
    }

    /// A filter whose texts are matched as the payload indexes of the schema say.
    pub(crate) fn settled<'a>(&self, filter: &'a Filter) -> Cow<'a, Filter> {
        let indexes = &self.doc.schema.payload_indexes;
        if indexes.is_empty() || !filter.matches_texts() {
            return Cow::Borrowed(filter);
        }
        let mut filter = filter.clone();
        payload::resolve(&mut filter, &|path| indexes.get(&path.to_string())?.tokenizer());
        Cow::Owned(filter)
    }

    /// The same segment without the rows that count no more, and without vectors that were removed.
    ///
    /// # Errors
    /// As [`Masks::of`].
    pub(crate) fn masked(&self, leaf: &Arc<Leaf>) -> Result<Arc<Leaf>> {
        let schema = &self.doc.schema;
        let shown = (!schema.editions.is_first()).then(|| Arc::new(leaf.showing(schema)));
        let leaf = shown.as_ref().unwrap_or(leaf);
        let rows = self.masks.of(self, leaf)?;
        Ok(rows.map_or_else(|| Arc::clone(leaf), |rows| Arc::new(leaf.without(rows))))
    }
}

/// No points in memory, of a collection's schema.
pub(super) fn empty(collection: &Collection) -> Fresh {
    Fresh::new(&collection.doc.schema)
}
