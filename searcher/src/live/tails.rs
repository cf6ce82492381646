//! The logs that this process has, and how their tails become points in memory.

use std::{collections::BTreeSet, sync::Arc};

use cairn_engine::fresh::Fresh;
use cairn_model::{CollectionName, ErrorKind};
use cairn_storage::{
    Catalog, Collection, Store,
    catalog::ManifestPosition,
    log::{Apart, Frame, Log, LogOptions, Logs, Place, Tail},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::{
    masks::Masks,
    seen::{Seen, ShardTail, empty},
};
use crate::{
    error::{Error, Result},
    workers::Workers,
};

/// How often a reader looks again that is overtaken by whoever folds.
const LOOKS_MAX: usize = 8;
/// Logs that are probed at once.
const PROBES_MAX: usize = 64;

/// The logs of the collections that this process reads or writes.
pub struct Tails {
    logs: Arc<Logs>,
    catalog: Catalog,
    workers: Arc<Workers>,
}

/// What the logs of one generation had when they were asked: a tail for each shard. Everything that was acknowledged before is in them, or in the
/// segments of a version of the collection that they fit.
pub(crate) struct Probed {
    generation: String,
    tails: Vec<Arc<Tail>>,
}

impl Probed {
    /// Whether these are the logs of this version.
    fn is_of(&self, collection: &Collection) -> bool {
        self.generation == collection.doc.generation && self.tails.len() == collection.manifests.len()
    }
}

impl std::fmt::Debug for Tails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tails").finish_non_exhaustive()
    }
}

impl Tails {
    /// No logs yet.
    #[must_use]
    pub fn new(store: &Store, options: LogOptions, workers: Arc<Workers>) -> Self {
        Self { logs: Arc::new(Logs::new(store.clone(), options)), catalog: Catalog::new(store.clone()), workers }
    }

    /// The log of a shard of the served generation. Sends no request.
    #[must_use]
    pub(super) fn log(&self, collection: &Collection, shard: u32) -> Log {
        let doc = &collection.doc;
        let place = Place { collection: doc.name.clone(), generation: doc.generation.clone(), shard };
        self.logs
            .get(&place, || Arc::new(ManifestPosition::new(self.catalog.clone(), &doc.name, &doc.generation, shard)))
    }

    /// The logs themselves, for whoever folds them in the same process.
    #[must_use]
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }

    /// The collections of which it is known that their logs hold something that is not in a segment yet.
    #[must_use]
    pub fn unfolded(&self) -> BTreeSet<CollectionName> {
        self.logs.unfolded().into_iter().map(|place| place.collection).collect()
    }

    /// Forgets the logs of generations that nobody reads any more.
    pub(crate) fn forget(&self, collection: &Collection) {
        let doc = &collection.doc;
        self.logs.retain(|place| place.collection != doc.name || place.generation != doc.generation);
    }

    /// Reads what all logs of a collection have by now, in one wave when that is nothing new; none where it takes no writes.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn probe(&self, store: &Store, collection: &Collection) -> Result<Probed> {
        let generation = collection.doc.generation.clone();
        if !collection.doc.live {
            return Ok(Probed { generation, tails: Vec::new() });
        }
        let logs: Vec<Log> = collection.manifests.iter().map(|manifest| self.log(collection, manifest.shard)).collect();
        let probes: Vec<_> = logs.iter().map(|log| log.refresh_through(store)).collect();
        let tails = stream::iter(probes).buffered(PROBES_MAX).try_collect().await?;
        Ok(Probed { generation, tails })
    }

    /// Says where the manifests of a collection that was read at `asked` are in their logs, before those are probed: what lies below need not be
    /// read, and may be gone.
    pub(crate) fn position(&self, collection: &Collection, asked: Instant) {
        if collection.doc.live {
            let manifests = collection.manifests.iter();
            manifests.for_each(|manifest| {
                self.log(collection, manifest.shard).fold(collection.standing(manifest), asked);
            });
        }
    }

    /// What a request sees that read `collection` at `asked`, and `probed` its logs since it arrived, or those of another version. `before` is what was
    /// seen earlier, of whichever version; it is what comes back if nothing is new.
    ///
    /// # Errors
    /// `Unavailable` when it is overtaken again and again; what the store says; when the log has what this version does not understand.
    pub(crate) async fn see(
        &self,
        catalog: &Catalog,
        mut collection: Arc<Collection>,
        mut asked: Instant,
        mut probed: Option<Probed>,
        before: Option<&Arc<Seen>>,
    ) -> Result<Arc<Seen>> {
        for _ in 0..LOOKS_MAX {
            if !collection.doc.live {
                let same = before.filter(|before| Arc::ptr_eq(&before.collection, &collection));
                return Ok(same.map_or_else(|| Arc::new(Seen::still(collection)), Arc::clone));
            }
            let own = match probed.take().filter(|probed| probed.is_of(&collection)) {
                Some(own) => own,
                None => {
                    self.position(&collection, asked);
                    self.probe(catalog.store(), &collection).await?
                }
            };
            match self.tails(&collection, asked, &own) {
                Ok(tails) => return self.applied(collection, tails, before).await,
                Err(Apart::OldTail) => {}
                Err(Apart::OldManifest) => {
                    probed = Some(own);
                    asked = Instant::now();
                    if let Some(newer) = catalog.refresh(&collection).await? {
                        collection = Arc::new(newer);
                    }
                }
            }
        }
        Err(overtaken(&collection, "read"))
    }

    /// What is seen of one shard of the same generation as `known` at the end of `tail`, and nothing of others.
    ///
    /// # Errors
    /// As [`Tails::see`].
    pub(super) async fn at(
        &self,
        catalog: &Catalog,
        known: &Arc<Seen>,
        shard: u32,
        tail: Arc<Tail>,
    ) -> Result<Arc<Seen>> {
        let at = usize::try_from(shard).unwrap_or(usize::MAX);
        let position = |collection: &Collection| collection.manifests.get(at).map(|manifest| manifest.log_position);
        let mut collection = Arc::clone(known.collection());
        // The tail begins where the newest manifest says that was known when it was read.
        if position(&collection).is_none_or(|position| tail.since(position).is_err())
            && let Some(newer) = catalog.refresh(&collection).await?
        {
            collection = Arc::new(newer);
        }
        let fits = position(&collection).filter(|position| tail.since(*position).is_ok());
        let (Some(position), true) = (fits, collection.doc.generation == known.doc.generation) else {
            return Err(overtaken(&collection, "written to"));
        };
        let known = Arc::clone(known);
        let applying = move |_: &_| {
            let nothing = empty(&collection);
            let before = known.tails.get(at).filter(|_| is_of(&known, &collection));
            // Rows of segments that are known not to count up to some place go on not to count.
            let is_later = before.is_some_and(|before| before.tail.next() <= tail.next());
            let keeps = is_later && Arc::ptr_eq(known.collection(), &collection);
            let masks = if keeps { known.masks.kept() } else { Masks::default() };
            let other = ShardTail { tail: Arc::default(), position: 0, fresh: nothing.clone() };
            let mut tails = vec![other; collection.manifests.len()];
            if let Some(own) = tails.get_mut(at) {
                *own = applied(&nothing, before, tail, position)?;
            }
            Ok(Arc::new(Seen { collection, tails, masks }))
        };
        self.workers.run(applying).await
    }

    /// A tail for each manifest that fits it; where one does not, it is told what is wanting.
    ///
    /// What was probed decides: what others of this process made of the log since need not have looked behind an end that they know to be passed.
    fn tails(
        &self,
        collection: &Collection,
        asked: Instant,
        probed: &Probed,
    ) -> std::result::Result<Vec<Arc<Tail>>, Apart> {
        let one = |(manifest, own): (&Arc<cairn_storage::catalog::Manifest>, &Arc<Tail>)| {
            let (log, standing) = (self.log(collection, manifest.shard), collection.standing(manifest));
            // Taken before it is folded: others may fold further.
            let (fits, newest) = (own.fits(standing), log.tail());
            if fits != Err(Apart::OldManifest) {
                log.fold(standing, asked);
            }
            fits.map(|()| {
                let is_newer = newest.next() > own.next() && newest.fits(standing).is_ok();
                if is_newer { newest } else { Arc::clone(own) }
            })
        };
        let tails: Vec<_> = collection.manifests.iter().zip(&probed.tails).map(one).collect();
        // All are folded, whichever of them lacks something.
        tails.into_iter().collect()
    }

    async fn applied(
        &self,
        collection: Arc<Collection>,
        tails: Vec<Arc<Tail>>,
        before: Option<&Arc<Seen>>,
    ) -> Result<Arc<Seen>> {
        let before = before.filter(|before| is_of(before, &collection));
        let same = before.filter(|before| Arc::ptr_eq(&before.collection, &collection));
        if let Some(same) = same
            && same.tails.len() == tails.len()
            && same.tails.iter().zip(&tails).all(|(known, tail)| known.tail.next() == tail.next())
        {
            return Ok(Arc::clone(same));
        }
        let masks = same.map(|same| same.masks.kept()).unwrap_or_default();
        let before = before.cloned();
        let applying = move |_: &_| {
            let nothing = empty(&collection);
            let one = |(at, tail): (usize, Arc<Tail>)| {
                let position = collection.manifests[at].log_position;
                let known = before.as_ref().and_then(|before| before.tails.get(at));
                applied(&nothing, known, tail, position)
            };
            let tails = tails.into_iter().enumerate().map(one).collect::<Result<_>>()?;
            Ok(Arc::new(Seen { collection, tails, masks }))
        };
        self.workers.run(applying).await
    }
}

fn overtaken(collection: &Collection, what: &str) -> Error {
    let why = format!("was changed again and again while it was {what}: retry");
    let error = cairn_storage::Error::new(ErrorKind::Unavailable, format!("collection '{}'", collection.doc.name), why);
    Error::Storage(error)
}

/// Whether what is known of the logs of one version of a collection holds for another one.
fn is_of(known: &Collection, collection: &Collection) -> bool {
    known.doc.generation == collection.doc.generation && known.doc.schema.editions == collection.doc.schema.editions
}

/// The points of a tail from a position on, from those that were known before.
fn applied(nothing: &Fresh, known: Option<&ShardTail>, tail: Arc<Tail>, position: u64) -> Result<ShardTail> {
    // Its points are of the whole log between its position and its end, which may be later than what is wanted.
    let known =
        known.filter(|known| known.position <= position && (position..=tail.next()).contains(&known.tail.next()));
    let (mut fresh, from) = match known {
        Some(known) if known.position == position => (known.fresh.clone(), known.tail.next()),
        Some(known) => (known.fresh.since(position), known.tail.next()),
        None => (nothing.clone(), position),
    };
    let new = tail.since(from.max(position)).unwrap_or_default();
    new.iter().try_for_each(|frame| apply(&mut fresh, frame))?;
    Ok(ShardTail { tail, position, fresh })
}

/// Does what an object of the log says.
pub(super) fn apply(fresh: &mut Fresh, frame: &Frame) -> Result<()> {
    let mut changes = frame.parts.iter().flat_map(|changes| changes.iter());
    changes.try_for_each(|change| fresh.apply((frame.sequence, frame.edition), change)).map_err(|error| {
        let why = format!("number {} is not understood: {error}; update Cairn", frame.sequence);
        Error::Storage(cairn_storage::Error::new(ErrorKind::Unsupported, "the log", why))
    })
}
