//! What a collection served before, and going back to it: rollback, and reading it as it was.
//!
//! `collection.json` keeps the last [`HISTORY_MAX`] generations that it served, as a log: going back to a generation adds an entry
//! as publishing does. Their objects stay in the store; what falls out of the log is garbage, unless a snapshot pins it.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::SystemTime};

use cairn_model::{
    CollectionName, CollectionSchema, ErrorKind,
    filter::{parse_datetime, show_datetime},
};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    Catalog, Collection, CollectionDoc, Manifest, Pinned, SegmentEntry, Snapshot,
    commit::first_manifest,
    documents::{format_of, inlined},
    open::{Known, Versioned},
};
use crate::{Error, Result, store::Key};

/// Entries of a history.
pub const HISTORY_MAX: usize = 32;
/// Characters of a ULID.
const ULID_LEN: usize = 26;
/// Characters of a wrong past that its error shows.
const SHOWN_MAX: usize = 100;

/// Whose objects a generation without objects of its own uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The collection in whose folder they lie. It may be deleted by now: its objects stay as long as a clone needs them.
    pub collection: CollectionName,
    /// Under which generation: a ULID.
    pub generation: String,
}

/// A generation that a collection served, or serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Its ULID.
    pub generation: String,
    /// When it became the served one, in milliseconds since 1970, by the clock of whoever made it so.
    pub since_ms: u64,
    /// Points of all its segments.
    pub points: u64,
    /// Bytes of all its segments.
    pub bytes: u64,
    /// Its schema.
    pub schema: CollectionSchema,
    /// Where its segments lie, when not in its own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether its logs may hold writes. Reading a past does not look there: it shows what was in segments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// The manifests that replaced a shard's first one: ULIDs by shard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub folded: BTreeMap<u32, String>,
}

/// Which past of a collection is meant. As text: `snapshot:NAME`, `generation:ULID`, or `time:TIME`, a date or a date and time, UTC
/// unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AsOf {
    /// What a snapshot of this name pins.
    Snapshot(String),
    /// The generation with this ULID, if the collection serves it, has it in its history or pins it by a snapshot.
    Generation(String),
    /// What was served at this time, in milliseconds since 1970.
    Time(u64),
}

impl FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || {
            let shown: String = text.chars().take(SHOWN_MAX).collect();
            format!(
                "unknown past '{}': expected snapshot:NAME, generation:ULID or time:TIME like time:2026-11-24T18:30:00Z",
                shown.escape_debug()
            )
        };
        match text.split_once(':').ok_or_else(wrong)? {
            ("snapshot", name) if CollectionName::parse(name).is_ok() => Ok(Self::Snapshot(name.to_owned())),
            // Whether it is one that was served only the catalog knows; none is longer than a ULID.
            ("generation", id) if (1..=ULID_LEN).contains(&id.len()) => Ok(Self::Generation(id.to_owned())),
            ("time", time) => {
                let micros = parse_datetime(time).and_then(|micros| u64::try_from(micros).ok()).ok_or_else(wrong)?;
                Ok(Self::Time(micros / 1_000))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(name) => write!(f, "snapshot:{}", name.escape_debug()),
            Self::Generation(id) => write!(f, "generation:{}", id.escape_debug()),
            Self::Time(ms) => write!(f, "time:{}", show_datetime(*ms)),
        }
    }
}

/// What a past turned out to be.
enum Meant {
    /// What is served now.
    Newest,
    /// What this document says.
    Pinned(Box<CollectionDoc>),
}

/// Milliseconds since 1970.
pub(super) fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl CollectionDoc {
    /// When the served generation became the served one. An older document says when its writer began.
    #[must_use]
    pub fn served_since_ms(&self) -> u64 {
        let written = || Ulid::from_string(&self.writer).map_or(0, |writer| writer.timestamp_ms());
        self.since_ms.unwrap_or_else(written)
    }

    /// Whether both are of the same creation of their collection. An older version says nothing of creations: such a document is taken to be of
    /// any, because what might be wanted must not be lost.
    pub(super) fn shares_creation(&self, other: &Self) -> bool {
        match (&self.creation, &other.creation) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether a generation is served or in the history.
    pub(super) fn names(&self, generation: &str) -> bool {
        self.generation == generation || self.history.iter().any(|served| served.generation == generation)
    }

    /// Where a shard's manifest is.
    pub(super) fn manifest_key(&self, shard: u32) -> Result<Key> {
        match self.folded.get(&shard) {
            Some(id) => Key::later_manifest(&self.name, &self.generation, shard, id),
            None => Key::manifest(&self.name, &self.generation, shard),
        }
    }

    /// The folder in which a segment lies.
    pub(super) fn folder_of(&self, entry: &SegmentEntry) -> (&CollectionName, &str) {
        if entry.own { (&self.name, &self.generation) } else { self.folder() }
    }

    /// The folder in which the segments lie that are not marked as its own: whose, and which generation.
    pub(super) fn folder(&self) -> (&CollectionName, &str) {
        match &self.origin {
            Some(origin) => (&origin.collection, &origin.generation),
            None => (&self.name, &self.generation),
        }
    }

    /// What `collection.json` said when it named this generation, as far as the history knows.
    pub(super) fn of(&self, served: Served) -> Self {
        Self {
            format: format_of(&served.schema, served.live),
            name: self.name.clone(),
            live: served.live,
            folded: served.folded,
            writer: served.generation.clone(),
            generation: served.generation,
            creation: self.creation.clone(),
            schema: served.schema,
            manifests: None,
            since_ms: Some(served.since_ms),
            origin: served.origin,
            history: Vec::new(),
        }
    }
}

impl Collection {
    /// What is served, as a history lists it.
    #[must_use]
    pub fn served(&self) -> Served {
        Served {
            generation: self.doc.generation.clone(),
            since_ms: self.doc.served_since_ms(),
            points: self.points(),
            bytes: self.bytes(),
            schema: self.doc.schema.clone(),
            origin: self.doc.origin.clone(),
            live: self.doc.live,
            folded: self.doc.folded.clone(),
        }
    }

    /// Whether this is a past of the collection, which never changes and which nothing can be published over.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.doc_version.is_none()
    }

    /// The history of whatever is served after this, and when that is.
    pub(super) fn succeeded(&self, now_ms: u64) -> (Vec<Served>, u64) {
        let mut history = self.doc.history.clone();
        history.push(self.served());
        history.drain(..history.len().saturating_sub(HISTORY_MAX));
        // Clocks differ; the order of the log is the order of the commits.
        (history, now_ms.max(self.doc.served_since_ms()))
    }

    /// Whether a past is how its generation was left last. What its logs took after an earlier moment is behind that moment's end, and would come back as
    /// soon as somebody folds past it.
    fn left_as(&self, past: &CollectionDoc) -> bool {
        let last = self.doc.history.iter().rev().find(|served| served.generation == past.generation);
        last.is_none_or(|last| (&last.folded, &last.schema) == (&past.folded, &past.schema))
    }

    /// What a rollback that names nothing goes back to: what was served before the served generation was for the first time.
    /// So two in a row go back by two, and never forth.
    #[must_use]
    pub fn predecessor(&self) -> Option<&Served> {
        let history = &self.doc.history;
        let first = history.iter().position(|served| served.generation == self.doc.generation);
        history[..first.unwrap_or(history.len())].last()
    }
}

impl Catalog {
    /// Makes a generation of the past the served one again, by one compare-and-swap: the one that `to` means, else the
    /// [predecessor](Collection::predecessor). The generation that is left stays in the history. With `from`, nothing is done
    /// unless that is the generation that is served: so a request that is repeated by accident does not go back twice.
    ///
    /// # Errors
    /// `NotFound` when there is no such generation, or its objects are gone; `Invalid` when it is the served one; `Unsupported` for a time after
    /// which the generation that was served then took writes: its logs hold them; `Conflict` when
    /// `from` is not, or somebody else changes the collection meanwhile; `Unavailable`: then it may be done or not.
    pub async fn rollback(&self, name: &CollectionName, to: Option<&AsOf>, from: Option<&str>) -> Result<Collection> {
        self.store.require_safe().await?;
        let what = || format!("collection '{name}'");
        let current = self.open(name).await?;
        if let Some(from) = from.filter(|from| *from != current.doc.generation) {
            let why = format!("serves generation {}, not {}", current.doc.generation, from.escape_debug());
            return Err(Error::new(ErrorKind::Conflict, what(), why));
        }
        let past = match to {
            Some(to) => self.past(&current, to).await?,
            None => {
                // As it was left last: what its logs took after an earlier time is behind that time's end, where readers stop.
                let is_meant =
                    |served: &&Served| Some(&served.generation) == current.predecessor().map(|it| &it.generation);
                let served = current.doc.history.iter().rev().find(is_meant).cloned();
                let nothing = || Error::new(ErrorKind::NotFound, what(), "served nothing before this generation");
                self.served(&current, served.ok_or_else(nothing)?).await?
            }
        };
        if let Some(AsOf::Snapshot(_)) = to
            && past.doc.live
        {
            return self.begin_again(&past, current).await;
        }
        if past.doc.generation == current.doc.generation {
            let why = format!("serves generation {} already", past.doc.generation);
            return Err(Error::new(ErrorKind::Invalid, what(), why));
        }
        if past.doc.live && !current.left_as(&past.doc) {
            let id = &past.doc.generation;
            let why =
                format!("was gone back to and written to after that time: 'generation:{id}' is how it was left last");
            return Err(Error::new(ErrorKind::Unsupported, what(), why));
        }
        self.check_there(&past).await?;
        let writer = Ulid::generate().to_string();
        let doc = CollectionDoc { writer, ..past.doc.as_ref().clone() };
        self.succeed(doc, past.manifests, current).await
    }

    /// Serves the segments of a snapshot as a generation of their own. The one that it was made of took writes after it, whose logs must not be
    /// read with what it pins.
    async fn begin_again(&self, past: &Collection, current: Collection) -> Result<Collection> {
        if past.segments().any(|(_, entry)| entry.own) {
            let why = "is a clone that was written to: its snapshots can be read, and not gone back to";
            return Err(Error::new(ErrorKind::Unsupported, format!("collection '{}'", past.doc.name), why));
        }
        self.check_there(past).await?;
        let generation = self.begin(&past.doc.name, &past.doc.schema);
        let first =
            |manifest: &Arc<Manifest>| Arc::new(first_manifest(&generation, manifest.shard, manifest.segments.clone()));
        let manifests: Vec<_> = past.manifests.iter().map(first).collect();
        let (collection, origin) = past.doc.folder();
        let origin = Origin { collection: collection.clone(), generation: origin.to_owned() };
        let doc = CollectionDoc { origin: Some(origin), ..self.doc_of(&generation, &manifests, true) };
        self.put_manifests(&doc, &manifests).await?;
        self.succeed(doc, manifests, current).await
    }

    /// All segments of a past are there.
    async fn check_there(&self, past: &Collection) -> Result<()> {
        self.check_segments(&past.doc, &past.manifests).await.map_err(|error| match error.kind {
            ErrorKind::Corrupt => Error::new(ErrorKind::NotFound, error.what, format!("is needed, but {}", error.why)),
            _ => error,
        })
    }

    /// Reads a collection as it was. What comes back is [read-only](Collection::is_read_only) and never refreshed.
    ///
    /// # Errors
    /// `NotFound` when the collection or that past of it does not exist (any more); else as [`Catalog::open`].
    pub async fn open_as_of(&self, name: &CollectionName, as_of: &AsOf) -> Result<Collection> {
        if let AsOf::Snapshot(snapshot) = as_of {
            return self.open_snapshot(name, snapshot).await;
        }
        let current = self.open(name).await?;
        self.past(&current, as_of).await
    }

    /// Reads a collection as it was, when `newest` is what it is now. `known` gives pasts that were read before, by their generations:
    /// what a time or a snapshot's name means may change, what a generation is never does.
    ///
    /// # Errors
    /// As [`Catalog::open_as_of`].
    pub async fn open_past(
        &self,
        newest: &Collection,
        as_of: &AsOf,
        known: impl Fn(&str) -> Option<Arc<Collection>>,
    ) -> Result<Arc<Collection>> {
        let generation = &newest.doc.generation;
        match self.meant(newest, as_of).await? {
            Meant::Newest => {
                let now = || Arc::new(Collection { doc_version: None, ..newest.clone() });
                // The served generation goes on changing while it takes writes.
                Ok(known(generation).filter(|known| known.doc.writer == newest.doc.writer).unwrap_or_else(now))
            }
            Meant::Pinned(doc) => self.open_pinned(*doc, known).await,
        }
    }

    /// Reads what a snapshot pins, as [`Catalog::open_past`], for whoever reads what the collection is now in the same wave: until then it is not
    /// known whether the snapshot is one of it.
    ///
    /// # Errors
    /// As [`Catalog::open_as_of`].
    pub async fn open_pinned_by(
        &self,
        name: &CollectionName,
        snapshot: &str,
        known: impl Fn(&str) -> Option<Arc<Collection>>,
    ) -> Result<Pinned> {
        let (snapshot, _) = self.read_snapshot(name, snapshot).await?;
        let past = self.open_pinned(snapshot.collection.clone(), known).await?;
        Ok(Pinned { snapshot: Arc::unwrap_or_clone(snapshot), past })
    }

    async fn open_pinned(
        &self,
        doc: CollectionDoc,
        known: impl Fn(&str) -> Option<Arc<Collection>>,
    ) -> Result<Arc<Collection>> {
        if let Some(known) = known(&doc.generation) {
            return Ok(known);
        }
        let name = doc.name.clone();
        self.pinned(doc).await.map(Arc::new).map_err(|error| match error.kind {
            // Which object is gone means nothing to whoever asked for the past.
            ErrorKind::NotFound => Error { what: format!("collection '{name}'"), ..error },
            _ => error,
        })
    }

    pub(super) async fn past(&self, current: &Collection, as_of: &AsOf) -> Result<Collection> {
        match self.meant(current, as_of).await? {
            Meant::Newest => Ok(Collection { doc_version: None, ..current.clone() }),
            Meant::Pinned(doc) => self.pinned(*doc).await,
        }
    }

    /// Which document a past is, without its manifests where they stand apart.
    async fn meant(&self, current: &Collection, as_of: &AsOf) -> Result<Meant> {
        let name = &current.doc.name;
        let history = || current.doc.history.iter().rev();
        let found = match as_of {
            AsOf::Snapshot(snapshot) => {
                let (found, _) = self.read_snapshot(name, snapshot).await?;
                return Ok(Meant::Pinned(Box::new(found.document(&current.doc)?.clone())));
            }
            AsOf::Generation(generation) if *generation == current.doc.generation => return Ok(Meant::Newest),
            AsOf::Time(time) if current.doc.served_since_ms() <= *time => return Ok(Meant::Newest),
            AsOf::Generation(generation) => match history().find(|served| served.generation == *generation) {
                Some(served) => Some(served),
                // What the history forgot a snapshot may still pin.
                None => {
                    let snapshots = self.list_snapshots(name).await?;
                    let pins = |snapshot: &Snapshot| snapshot.collection.generation == *generation;
                    match snapshots.into_iter().find(pins) {
                        Some(snapshot) => return Ok(Meant::Pinned(Box::new(snapshot.collection))),
                        None => None,
                    }
                }
            },
            AsOf::Time(time) => history().find(|served| served.since_ms <= *time),
        };
        let Some(served) = found else {
            let why = match as_of {
                AsOf::Time(_) => "its history does not reach back to that time".to_owned(),
                AsOf::Generation(id) => {
                    format!("neither its history nor a snapshot has generation '{}'", id.escape_debug())
                }
                AsOf::Snapshot(snapshot) => format!("has no snapshot '{}'", snapshot.escape_debug()),
            };
            return Err(Error::new(ErrorKind::NotFound, format!("collection '{name}'"), why));
        };
        Ok(Meant::Pinned(Box::new(current.doc.of(served.clone()))))
    }

    /// Reads a generation of a history.
    async fn served(&self, current: &Collection, served: Served) -> Result<Collection> {
        self.pinned(current.doc.of(served)).await
    }

    /// The collection of a document that never changes: its manifests are in it, or are read.
    pub(super) async fn pinned(&self, doc: CollectionDoc) -> Result<Collection> {
        let manifests: Vec<Arc<Manifest>> = match &doc.manifests {
            Some(manifests) => manifests.clone(),
            None => {
                let read = self.read_manifests(&doc, None).await?;
                let all = (0..).zip(read).map(|(shard, manifest)| {
                    manifest.map_or_else(
                        || {
                            let why = "is gone: the generation was deleted";
                            Err(Error::new(ErrorKind::NotFound, self.store.address(&doc.manifest_key(shard)?), why))
                        },
                        Ok,
                    )
                });
                all.collect::<Result<_>>()?
            }
        };
        let doc = Arc::new(CollectionDoc { manifests: inlined(&manifests), ..doc });
        Ok(Collection { doc, manifests, doc_version: None })
    }

    /// `collection.json` as it is, with its version.
    pub(super) async fn newest(&self, name: &CollectionName) -> Result<Versioned<CollectionDoc>> {
        match self.read_doc(name, None).await? {
            Known::New(doc) => Ok(doc),
            Known::Absent | Known::Unchanged => Err(self.absent(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasts_are_read_as_they_are_shown() {
        let (snapshot, generation) = (AsOf::Snapshot("a b".into()), AsOf::Generation("01J".into()));
        for (text, past, shown) in [
            ("snapshot:a b", snapshot, "snapshot:a b"),
            ("generation:01J", generation, "generation:01J"),
            ("time:1970-01-02 00:00:00.017", AsOf::Time(86_400_017), "time:1970-01-02T00:00:00.017Z"),
            ("time:2026-11-24", AsOf::Time(1_795_478_400_000), "time:2026-11-24T00:00:00.000Z"),
            ("time:2026-11-24T01:30:00+01:00", AsOf::Time(1_795_480_200_000), "time:2026-11-24T00:30:00.000Z"),
        ] {
            assert_eq!((text.parse(), past.to_string().as_str()), (Ok(past.clone()), shown), "{text}");
            assert_eq!(past.to_string().parse(), Ok(past));
        }
        assert_eq!(AsOf::Time(u64::MAX).to_string(), format!("time:{}", u64::MAX));
        let long = "x".repeat(100_000);
        for bad in [
            "",
            "yesterday",
            "01J",
            "snapshot:",
            "snapshot:a/b",
            "generation:",
            "time:",
            "time:now",
            "time:1969-01-01",
            "day:1",
        ]
        .into_iter()
        .chain([&*format!("generation:{long}"), &*format!("snapshot:{long}"), &*long])
        {
            let error = bad.parse::<AsOf>().unwrap_err();
            assert!(error.contains("snapshot:NAME") && error.len() < 300, "{bad}: {error}");
        }
    }
}
