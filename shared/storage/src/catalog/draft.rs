//! A generation that several builders make on several machines, a shard each, and that one of them publishes.
//!
//! ```text
//! <generation>/draft.json           what all builders must agree on; the first one puts it, if absent
//! <generation>/<shard>/draft.json   a finished shard; whoever finishes it first puts it, if absent
//! ```
//!
//! Neither is ever replaced, and readers look at neither. So every step may die anywhere and be repeated, by as many as like: a shard
//! that is there is not built again, of two builders of one shard one wins and the other's segments are garbage, and
//! publishing is [`Catalog::publish`]'s one conditional put.

use cairn_model::{CollectionName, CollectionSchema, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Catalog, Collection, DOCUMENT_BYTES_MAX, Expect, Generation, SegmentEntry,
    commit::conflict,
    documents::{encode, parse},
    invariants,
};
use crate::{
    Error, Result,
    store::{Fetched, Key, Put, REQUESTS_IN_FLIGHT_MAX},
};

/// How many missing shards an error names.
const NAMED_MAX: usize = 8;

/// `draft.json` of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// Format version, that of all documents.
    pub format: u32,
    /// Name of the collection.
    pub name: CollectionName,
    /// The generation: a ULID.
    pub generation: String,
    /// Schema.
    pub schema: CollectionSchema,
    /// What tells one source from another: of its files' names and sizes.
    pub source: String,
    /// Which generation was served when this one was begun; publishing demands that it still is.
    pub before: Option<String>,
}

/// `draft.json` of a shard: it is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardDraft {
    /// Format version, that of all documents.
    pub format: u32,
    /// Shard number.
    pub shard: u32,
    /// Rows of the whole source, as this builder read it.
    pub rows: u64,
    /// A checksum over all of them: builders that read different rows must not be published together.
    pub checksum: String,
    /// The shard's segments, all of them uploaded.
    pub segments: Vec<SegmentEntry>,
}

impl Draft {
    /// The generation that it describes.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation { id: self.generation.clone(), name: self.name.clone(), schema: self.schema.clone() }
    }

    /// The first field in which another draft of the same generation differs.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("schema", self.schema == other.schema),
            ("source", self.source == other.source),
            ("generation that was served when it was begun", self.before == other.before),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}

impl Catalog {
    /// Begins a generation, or joins those who began it the same way.
    ///
    /// # Errors
    /// `Conflict` when it was begun another way, naming what differs; `Invalid` for a bad schema; `Unavailable`.
    pub async fn join_draft(&self, draft: &Draft) -> Result<()> {
        self.store.require_safe().await?;
        draft.schema.validate().map_err(|error| Error::new(ErrorKind::Invalid, error.field, error.why))?;
        let key = Key::draft(&draft.name, &draft.generation)?;
        let address = self.store.address(&key);
        // Whoever puts the same content means the same: that somebody else put it is no conflict.
        if let Put::Done(_) = self.store.put_if_absent(&key, encode(&address, draft)?).await? {
            return Ok(());
        }
        let there = self.draft(&draft.name, &draft.generation).await?;
        match there.difference(draft) {
            Some(field) => {
                let why = format!("was begun with another {field}: begin a new generation");
                Err(Error::new(ErrorKind::Conflict, address, why))
            }
            // Written by another version of Cairn, with the same meaning.
            None => Ok(()),
        }
    }

    /// What the builders of a generation agreed on.
    ///
    /// # Errors
    /// `NotFound` when nobody has begun it; `Corrupt` or `Unsupported` names the document; `Unavailable`.
    pub async fn draft(&self, name: &CollectionName, generation: &str) -> Result<Draft> {
        let key = Key::draft(name, generation)?;
        let draft: Option<Draft> = self.read_draft(&key).await?;
        let address = self.store.address(&key);
        let Some(draft) = draft else {
            let why = "does not exist: no shard of this generation was begun";
            return Err(Error::new(ErrorKind::NotFound, address, why));
        };
        if draft.name != *name || draft.generation != generation {
            return Err(Error::corrupt(address, format!("belongs to {} of '{}'", draft.generation, draft.name)));
        }
        draft.schema.validate().map_err(|error| Error::corrupt(address, format!("schema: {error}")))?;
        Ok(draft)
    }

    /// A shard that was built; `None` while it is not.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` names the document; `Unavailable`.
    pub async fn shard_draft(&self, generation: &Generation, shard: u32) -> Result<Option<ShardDraft>> {
        let key = Key::shard_draft(&generation.name, &generation.id, shard)?;
        let Some(draft): Option<ShardDraft> = self.read_draft(&key).await? else { return Ok(None) };
        let damaged = |why: String| Error::corrupt(self.store.address(&key), why);
        if draft.shard != shard {
            return Err(damaged(format!("belongs to shard {}", draft.shard)));
        }
        draft.segments.iter().try_for_each(invariants::segment).map_err(damaged)?;
        Ok(Some(draft))
    }

    /// Notes that a shard is built; its segments were uploaded. Returns the note that holds: another builder may have been first.
    ///
    /// # Errors
    /// `Conflict` when that one read other rows; `Unavailable`.
    pub async fn finish_shard(&self, generation: &Generation, draft: ShardDraft) -> Result<ShardDraft> {
        let key = Key::shard_draft(&generation.name, &generation.id, draft.shard)?;
        let address = self.store.address(&key);
        if let Put::Done(_) = self.store.put_if_absent(&key, encode(&address, &draft)?).await? {
            return Ok(draft);
        }
        match self.shard_draft(generation, draft.shard).await? {
            Some(first) if (first.rows, &first.checksum) == (draft.rows, &draft.checksum) => Ok(first),
            Some(first) => {
                let why = format!("was built from other rows: {} then, {} now", first.rows, draft.rows);
                Err(Error::new(ErrorKind::Conflict, address, why))
            }
            None => Err(Error::unavailable(address, "was there and is gone: repeat it")),
        }
    }

    /// Publishes a generation whose shards are all built. Safe to repeat: what is published already stays so.
    ///
    /// # Errors
    /// `Conflict` when shards are missing or were built from different rows, or when the collection has changed since the
    /// generation was begun; `NotFound` when it never was; otherwise as [`Catalog::publish`].
    pub async fn publish_draft(&self, name: &CollectionName, generation: &str) -> Result<Collection> {
        let draft = self.draft(name, generation).await?;
        let current = match self.open(name).await {
            Ok(collection) => Some(collection),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let served = current.as_ref().map(|collection| collection.doc.generation.clone());
        if served.as_deref() == Some(generation) {
            return current.ok_or_else(|| self.absent(name));
        }
        if served != draft.before {
            let why = format!("has changed since generation {generation} was begun: build a new one");
            return Err(conflict(name, why));
        }
        let generation = draft.generation();
        let shards = self.finished_shards(&generation).await?;
        let expect = current.map_or(Expect::Absent, |before| Expect::Unchanged(Box::new(before)));
        self.publish(&generation, shards.into_iter().map(|shard| shard.segments).collect(), expect).await
    }

    /// All shards, if all of them are built, from the same rows, and hold every one of these.
    async fn finished_shards(&self, generation: &Generation) -> Result<Vec<ShardDraft>> {
        let found: Vec<_> = stream::iter(0..generation.schema.shard_count)
            .map(|shard| async move { self.shard_draft(generation, shard).await })
            .buffered(REQUESTS_IN_FLIGHT_MAX)
            .try_collect()
            .await?;
        let refused = |why: String| conflict(&generation.name, format!("generation {}: {why}", generation.id));
        let missing: Vec<_> =
            (0..).zip(&found).filter(|(_, shard)| shard.is_none()).map(|(at, _): (u32, _)| at).collect();
        if !missing.is_empty() {
            let named: Vec<_> = missing.iter().take(NAMED_MAX).map(u32::to_string).collect();
            let more = if missing.len() > NAMED_MAX { " and more" } else { "" };
            let why = format!("{} of {} shards are not built: {}{more}", missing.len(), found.len(), named.join(", "));
            return Err(refused(why));
        }
        let shards: Vec<_> = found.into_iter().flatten().collect();
        let Some(first) = shards.first() else { return Err(refused("has no shards".to_owned())) };
        let (rows, checksum) = (first.rows, first.checksum.as_str());
        if let Some(other) = shards.iter().find(|shard| (shard.rows, shard.checksum.as_str()) != (rows, checksum)) {
            let why = format!(
                "shard {} was built from {} rows and shard {} from {}, or the rows differ: the source has changed meanwhile",
                first.shard, rows, other.shard, other.rows
            );
            return Err(refused(why));
        }
        let points =
            shards.iter().flat_map(|shard| &shard.segments).map(|entry| entry.points).fold(0, u64::saturating_add);
        if points != rows {
            return Err(refused(format!("{points} points in all shards, but the source has {rows} rows")));
        }
        Ok(shards)
    }

    async fn read_draft<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        match self.store.get(key, None, DOCUMENT_BYTES_MAX).await? {
            Fetched::Found(object) => parse(&self.store.address(key), &object.bytes).map(Some),
            Fetched::Absent | Fetched::Unchanged => Ok(None),
        }
    }
}
