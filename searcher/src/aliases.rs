//! Aliases: which collection a name means.
//!
//! A collection that exists is what its name means, and reading it costs nothing here: only where there is none of that name are aliases looked
//! for. A name that was an alias when they were read last is taken for one, and for the same collection, while they are read again beside the
//! answer, which counts only if it still is; so an alias costs no wave more than a collection, and one that another process has switched is
//! seen by the next read.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_model::{CollectionName, Usage};
use cairn_storage::{AliasMap, Aliases, Catalog};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    error::{Error, Result},
    live::Seen,
    request::View,
    searcher::{Call, Searcher},
};

/// Collections that are looked up at once.
const LOOKS_MAX: usize = 16;

/// One change of aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasAction {
    /// Gives a collection another name, which may have been another collection's.
    Create {
        /// The name.
        alias: CollectionName,
        /// The collection.
        collection: CollectionName,
    },
    /// Takes a name away, if it is there.
    Delete {
        /// The name.
        alias: CollectionName,
    },
    /// Replaces a name by another one of the same collection.
    Rename {
        /// The name that goes.
        old: CollectionName,
        /// The name that comes.
        new: CollectionName,
    },
}

/// The aliases as this process read them last.
#[derive(Debug)]
pub(crate) struct KnownAliases {
    known: Mutex<(Aliases, Option<Instant>)>,
    staleness_max: Duration,
}

impl KnownAliases {
    /// Nothing known yet. Aliases younger than `staleness_max` are not asked for again; zero for strong reads.
    pub(crate) fn new(staleness_max: Duration) -> Self {
        Self { known: Mutex::default(), staleness_max }
    }

    fn known(&self) -> (Aliases, Option<Instant>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn target(&self, name: &CollectionName) -> Option<CollectionName> {
        self.known().0.map.get(name).cloned()
    }

    fn keep(&self, aliases: Aliases, began: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was asked for earlier and came later is no news.
        if known.1.is_none_or(|before| before <= began) {
            *known = (aliases, Some(began));
        }
    }

    /// All aliases as they are now.
    async fn fresh(&self, catalog: &Catalog) -> Result<Aliases> {
        let began = Instant::now();
        let (known, read) = self.known();
        if read.is_some_and(|read| read.elapsed() < self.staleness_max) {
            return Ok(known);
        }
        let aliases = catalog.aliases(&known).await?;
        self.keep(aliases.clone(), began);
        Ok(aliases)
    }
}

impl Searcher {
    /// What `answer` says of the collection that the name in `view` means, for reads: it may be asked twice.
    ///
    /// # Errors
    /// Those of `answer`; `NoCollection` when the name is neither a collection's nor an alias.
    pub async fn by_name<T, F>(&self, view: &View, answer: impl Fn(View) -> F) -> Result<(T, Usage)>
    where
        F: Future<Output = Result<(T, Usage)>>,
    {
        let name = &view.collection;
        let of = |collection: &CollectionName| View { collection: collection.clone(), as_of: view.as_of.clone() };
        let Some(guess) = self.aliases.target(name) else {
            return match answer(view.clone()).await {
                Err(Error::NoCollection(missing)) if missing == *name => {
                    let (target, usage) = self.alias(name).await?;
                    let target = target.ok_or(Error::NoCollection(missing))?;
                    // An error does not say what it cost: one GET that found no collection.
                    let usage = one_after_another(Usage { waves: 1, gets: 1, ..Usage::default() }, usage);
                    answer(of(&target)).await.map(|(answer, after)| (answer, one_after_another(usage, after)))
                }
                answered => answered,
            };
        };
        let (answered, resolved) = tokio::join!(answer(of(&guess)), self.alias(name));
        let (target, usage) = resolved?;
        if target.as_ref() == Some(&guess) {
            return answered.map(|(answer, beside)| (answer, beside_one_another(usage, beside)));
        }
        let answered = answer(of(target.as_ref().unwrap_or(name))).await;
        answered.map(|(answer, after)| (answer, one_after_another(usage, after)))
    }

    /// The collection that a name means, as it is now, for whoever goes on with it under its own name, as writes do.
    ///
    /// # Errors
    /// `NoCollection` when the name is neither a collection's nor an alias; and what the store says.
    pub(crate) async fn named(&self, call: &Call<'_>, name: &CollectionName) -> Result<Arc<Seen>> {
        let open = |name: CollectionName| async move { self.snapshots.fresh(&call.catalog, &name.into(), true).await };
        let Some(guess) = self.aliases.target(name) else {
            return match open(name.clone()).await {
                Err(Error::NoCollection(missing)) if missing == *name => {
                    let aliases = self.aliases.fresh(&call.catalog).await?;
                    let target = aliases.map.get(name).cloned().ok_or(Error::NoCollection(missing))?;
                    open(target).await
                }
                opened => opened,
            };
        };
        let (opened, aliases) = tokio::join!(open(guess.clone()), self.aliases.fresh(&call.catalog));
        match aliases?.map.get(name) {
            Some(target) if *target == guess => opened,
            target => open(target.unwrap_or(name).clone()).await,
        }
    }

    /// What a name means as an alias.
    async fn alias(&self, name: &CollectionName) -> Result<(Option<CollectionName>, Usage)> {
        let call = self.call();
        let aliases = self.aliases.fresh(&call.catalog).await?;
        Ok((aliases.map.get(name).cloned(), call.usage()))
    }

    /// All aliases, each with its collection, by name; only those of one collection if `of` names it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_aliases(
        &self,
        of: Option<&CollectionName>,
    ) -> Result<(Vec<(CollectionName, CollectionName)>, Usage)> {
        let call = self.call();
        let aliases = self.aliases.fresh(&call.catalog).await?;
        let wanted = aliases.map.iter().filter(|(_, target)| of.is_none_or(|of| of == *target));
        Ok((wanted.map(|(alias, target)| (alias.clone(), target.clone())).collect(), call.usage()))
    }

    /// Carries out all actions in their order, or none: readers see all of them or nothing.
    ///
    /// # Errors
    /// `NoCollection` for an alias of nothing, `Exists` for one that is called as a collection, `NoAlias` where one is to be renamed that
    /// is not there; and what the store says.
    pub async fn change_aliases(&self, actions: &[AliasAction]) -> Result<Usage> {
        let call = self.call();
        let mut names = BTreeSet::new();
        let mut targets = BTreeSet::new();
        for action in actions {
            match action {
                AliasAction::Create { alias, collection } => {
                    names.insert(alias);
                    targets.insert(collection);
                }
                AliasAction::Rename { new, .. } => {
                    names.insert(new);
                }
                AliasAction::Delete { .. } => {}
            }
        }
        let (missing, taken) = tokio::join!(first(&call.catalog, targets, false), first(&call.catalog, names, true));
        if let Some(name) = missing? {
            return Err(Error::NoCollection(name));
        }
        if let Some(name) = taken? {
            return Err(Error::Exists(name));
        }
        let began = Instant::now();
        let aliases = call.catalog.change_aliases(|map| carry_out(actions, map)).await?;
        self.aliases.keep(aliases, began);
        self.confirm(&call.catalog, actions).await?;
        Ok(call.usage())
    }

    /// A collection that is deleted goes before its aliases do. So an alias that was made meanwhile is found by its deletion, or its collection
    /// is found missing here.
    async fn confirm(&self, catalog: &Catalog, actions: &[AliasAction]) -> Result<()> {
        let targets = actions.iter().filter_map(|action| match action {
            AliasAction::Create { collection, .. } => Some(collection),
            _ => None,
        });
        match first(catalog, targets.collect(), false).await? {
            Some(name) => {
                catalog.drop_aliases(&name).await?;
                Err(Error::NoCollection(name))
            }
            None => Ok(()),
        }
    }
}

/// The first of the names of which it is so that there is, or is no, collection.
async fn first(catalog: &Catalog, names: BTreeSet<&CollectionName>, exists: bool) -> Result<Option<CollectionName>> {
    let looks = stream::iter(names.into_iter().cloned())
        .map(|name| async move { Ok::<_, Error>((catalog.exists(&name).await? == exists).then_some(name)) });
    let found: Vec<_> = looks.buffered(LOOKS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().next())
}

/// Whether anything changed.
fn carry_out(actions: &[AliasAction], map: &mut AliasMap) -> Result<bool> {
    let before = map.clone();
    for action in actions {
        match action {
            AliasAction::Create { alias, collection } => {
                map.insert(alias.clone(), collection.clone());
            }
            AliasAction::Delete { alias } => {
                map.remove(alias);
            }
            AliasAction::Rename { old, new } => {
                let target = map.remove(old).ok_or_else(|| Error::NoAlias(old.clone()))?;
                map.insert(new.clone(), target);
            }
        }
    }
    Ok(*map != before)
}

fn one_after_another(mut first: Usage, second: Usage) -> Usage {
    first += second;
    first
}

fn beside_one_another(mut one: Usage, other: Usage) -> Usage {
    let waves = one.waves.max(other.waves);
    one += other;
    one.waves = waves;
    one
}
