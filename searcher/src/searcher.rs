//! The searcher: a store's collections, the segments that are open, and the threads that search them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cairn_model::{CollectionName, CollectionSchema, ErrorKind, Usage};
use cairn_storage::{Aliases, Cache, CacheOptions, Catalog, Meter, Store, cache::RangeCache, machine::Memory};

use crate::{
    aliases::KnownAliases,
    api::route::known,
    error::{Error, Result},
    fanout::{Fanout, SubRoot},
    heat::Heat,
    leaf::{Leaf, Leaves},
    live::{Seen, Tails},
    pressure::{Held, Pressure},
    receipt::Till,
    request::View,
    root::hydration::Hydration,
    settings::{FanoutSettings, Role, SearchSettings, StoreSettings},
    snapshots::Snapshots,
    telemetry::Telemetry,
    workers::Workers,
};

/// Answers requests over the collections of one store. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Searcher {
    pub(crate) store: Store,
    pub(crate) cache: Arc<Cache>,
    pub(crate) ranges: Arc<RangeCache>,
    pub(crate) hydration: Hydration,
    pub(crate) till: Till,
    pub(crate) leaves: Arc<Leaves>,
    pub(crate) snapshots: Snapshots,
    pub(crate) tails: Arc<Tails>,
    pub(crate) aliases: KnownAliases,
    pub(crate) workers: Arc<Workers>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) heat: Arc<Heat<Leaf>>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) answer_bytes_max: usize,
    /// Who searches segments in this process's place.
    pub(crate) fanout: Option<Fanout>,
    /// What it takes to ask leaves that another root names.
    pub(crate) sub_root: Option<SubRoot>,
    pub(crate) role: Role,
}

/// One request's dealings with the store; what it cost is counted even when nobody waits for its end.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    telemetry: &'a Telemetry,
    till: Till,
    began: Instant,
    meter: Arc<Meter>,
    own: Mutex<Usage>,
    /// Counts the look for a newer version, which runs beside the answer.
    beside: Arc<Meter>,
    /// Whether the answer waited for that look after all.
    waited: AtomicBool,
    /// The store, counting for this request.
    pub(crate) store: Store,
    /// The catalog over it.
    pub(crate) catalog: Catalog,
    /// The catalog for the look beside the answer.
    pub(crate) catalog_beside: Catalog,
}

impl Call<'_> {
    /// Adds what was not counted by the store.
    pub(crate) fn add(&self, usage: Usage) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) += usage;
    }

    /// The answer begins anew, after what was found beside it.
    pub(crate) fn wait(&self) {
        self.waited.store(true, Relaxed);
    }

    /// What the request has cost so far. What ran beside one another took as many waves as the longer of both.
    pub(crate) fn usage(&self) -> Usage {
        let (mut usage, beside) = (self.meter.usage(), self.beside.usage());
        let waves = if self.waited.load(Relaxed) { usage.waves + beside.waves } else { usage.waves.max(beside.waves) };
        usage += beside;
        usage.waves = waves;
        usage += *self.own.lock().unwrap_or_else(PoisonError::into_inner);
        usage.cost_nanodollars = self.till.nanodollars(&usage, self.began.elapsed());
        usage
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.telemetry.used(&self.usage());
    }
}

impl Searcher {
    /// Opens a store and a cache.
    ///
    /// # Errors
    /// When the store's URL is wrong, or the cache directory cannot be used.
    pub async fn open(store: &StoreSettings, settings: &SearchSettings) -> Result<Self> {
        let store = Store::open(&store.store, &store.options()).await?;
        let options = CacheOptions {
            dir: Some(settings.cache_dir()),
            bytes_max: settings.cache_bytes(),
            populate: settings.populate,
        };
        // Opening walks the cache directory: blocking work.
        let fallback_bytes = settings.fallback_bytes();
        let opening = move || Cache::open(options).map(|cache| cache.with_fallback(fallback_bytes));
        let cache = tokio::task::spawn_blocking(opening).await;
        let cache = cache.map_err(|error| Error::Internal(error.to_string()))??;
        Self::from_store(store, Arc::new(cache), settings)
    }

    /// A searcher over an open store and cache.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn from_store(store: Store, cache: Arc<Cache>, settings: &SearchSettings) -> Result<Self> {
        Self::within(store, cache, settings, settings.memory())
    }

    /// The same, on a machine of which `memory` tells.
    ///
    /// # Errors
    /// As [`Searcher::from_store`].
    pub fn within(store: Store, cache: Arc<Cache>, settings: &SearchSettings, memory: Memory) -> Result<Self> {
        let telemetry = Arc::new(Telemetry::new(known()));
        // Half of the search threads: expanding is to be over soon, and searches come first.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = settings.threads.unwrap_or(cores).div_ceil(2);
        let limits = settings.heat_limits(memory.clone());
        let reserve_bytes = limits.reserve_bytes;
        let heat = Heat::new(limits, threads, Arc::clone(telemetry.heat()));
        let leaves = Arc::new(Leaves::new(settings.cache_bytes(), settings.heads_bytes(), Arc::clone(&heat)));
        let closing = Arc::downgrade(&leaves);
        cache.on_eviction(Arc::new(move |id| closing.upgrade().into_iter().for_each(|leaves| leaves.close(id))));
        let ranges = Arc::new(RangeCache::new(settings.heads_bytes(), settings.ranges_bytes()));
        let pressure = Pressure {
            memory,
            reserve_bytes,
            heat: Arc::clone(&heat),
            leaves: Arc::clone(&leaves),
            ranges: Arc::clone(&ranges),
            next_look: Mutex::default(),
        };
        let workers = Arc::new(Workers::new(settings.threads)?);
        let tails = Arc::new(Tails::new(&store, settings.log_options(), Arc::clone(&workers)));
        let staleness_max = Duration::from_millis(settings.refresh_ms);
        Ok(Self {
            store,
            cache,
            ranges,
            hydration: Hydration::new(!settings.no_hydration),
            till: Till::new(settings.prices),
            aliases: KnownAliases::new(staleness_max),
            snapshots: Snapshots::new(staleness_max, Arc::clone(&leaves), Arc::clone(&tails)),
            tails,
            leaves,
            workers,
            telemetry,
            heat,
            pressure: Arc::new(pressure),
            answer_bytes_max: settings.answer_bytes_max(),
            fanout: None,
            sub_root: None,
            role: Role::All,
        })
    }

    /// The same searcher with leaves, or as one.
    ///
    /// # Errors
    /// When the settings contradict one another.
    pub fn with_fanout(self, settings: &FanoutSettings) -> Result<Self> {
        settings.check()?;
        let (fanout, sub_root) = (Fanout::over_http(settings)?, SubRoot::new(settings)?);
        Ok(Self { fanout, sub_root, role: settings.role, ..self })
    }

    /// This process's counters.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The logs of collections that take writes.
    #[must_use]
    pub fn tails(&self) -> &Arc<Tails> {
        &self.tails
    }

    /// Whole segments on this machine's disk.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Parts of segments in memory.
    #[must_use]
    pub fn ranges(&self) -> &Arc<RangeCache> {
        &self.ranges
    }

    /// What this process does of what Cairn can.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many collections this process has read.
    #[must_use]
    pub fn known_collections(&self) -> usize {
        self.snapshots.count()
    }

    /// Segments that are being fetched in the background, or wait for it.
    #[must_use]
    pub fn hydrating(&self) -> usize {
        self.hydration.waiting()
    }

    /// What is kept in memory to make searches faster.
    #[must_use]
    pub fn held(&self) -> Held {
        self.pressure.held()
    }

    pub(crate) fn call(&self) -> Call<'_> {
        let meter = Arc::new(Meter::default());
        let store = self.store.metered(Arc::clone(&meter));
        let catalog = Catalog::new(store.clone());
        let beside = Arc::new(Meter::default());
        let catalog_beside = Catalog::new(self.store.metered(Arc::clone(&beside)));
        let (own, waited) = (Mutex::default(), AtomicBool::new(false));
        let (till, began) = (self.till, Instant::now());
        Call { telemetry: &self.telemetry, till, began, meter, own, beside, waited, store, catalog, catalog_beside }
    }

    /// All collections, by name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn collections(&self) -> Result<(Vec<CollectionName>, Usage)> {
        let call = self.call();
        let names = call.catalog.list().await?;
        Ok((names, call.usage()))
    }

    /// A collection as it is now, or as it was.
    ///
    /// # Errors
    /// `NoCollection`, `NoPast`, or what the store says.
    pub async fn collection(&self, view: &View) -> Result<(Arc<Seen>, Usage)> {
        let call = self.call();
        let collection = self.snapshots.fresh(&call.catalog, view, false).await?;
        Ok((collection, call.usage()))
    }

    /// Creates an empty collection.
    ///
    /// # Errors
    /// `Exists`, `AliasExists`, or what the store says.
    pub async fn create(&self, name: &CollectionName, schema: &CollectionSchema) -> Result<Usage> {
        let call = self.call();
        if call.catalog.aliases(&Aliases::default()).await?.map.contains_key(name) {
            return Err(Error::AliasExists(name.clone()));
        }
        match call.catalog.create(name, schema).await {
            Ok(_) => {
                self.snapshots.forget(name);
                Ok(call.usage())
            }
            Err(error) if error.kind == ErrorKind::Conflict => Err(Error::Exists(name.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes the schema of a collection, which may be called by an alias: `change` is shown the newest one, as often as others come first.
    ///
    /// # Errors
    /// What `change` says; `NoCollection`; `Validation` where the changed schema breaks a rule; or what the store says.
    pub async fn amend(
        &self,
        name: &CollectionName,
        change: impl Fn(&mut CollectionSchema) -> Result<()>,
    ) -> Result<Usage> {
        self.amended(name, false, change).await
    }

    /// The same for which vectors there are: of all that is acknowledged after this, whoever wrote it knew of the change.
    ///
    /// # Errors
    /// As [`Searcher::amend`]; repeated after an error of the store's, it completes what was begun.
    pub async fn amend_vectors(
        &self,
        name: &CollectionName,
        change: impl Fn(&mut CollectionSchema) -> Result<()>,
    ) -> Result<Usage> {
        self.amended(name, true, change).await
    }

    async fn amended(
        &self,
        name: &CollectionName,
        vectors: bool,
        change: impl Fn(&mut CollectionSchema) -> Result<()>,
    ) -> Result<Usage> {
        let call = self.call();
        let name = &self.named(&call, name).await?.doc.name.clone();
        let mut refused = None;
        let changing = |schema: &mut CollectionSchema| {
            let before = schema.clone();
            let valid =
                |schema: &CollectionSchema| schema.validate().map_err(|error| Error::body(error.field, error.why));
            match change(schema).and_then(|()| valid(schema)) {
                Ok(()) => Ok(*schema != before),
                Err(error) => {
                    refused = Some(error);
                    Ok(false)
                }
            }
        };
        let amended = match vectors {
            true => call.catalog.amend_vectors(name, changing).await,
            false => call.catalog.amend(name, changing).await,
        };
        match (refused, amended) {
            (Some(error), _) => Err(error),
            (None, Ok(_)) => Ok(call.usage()),
            (None, Err(error)) if error.kind == ErrorKind::NotFound => Err(Error::NoCollection(name.clone())),
            (None, Err(error)) => Err(error.into()),
        }
    }

    /// Deletes a collection and its aliases; false when there was none. Repeated, it removes the aliases that were left.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete(&self, name: &CollectionName) -> Result<(bool, Usage)> {
        let call = self.call();
        let deleted = call.catalog.delete(name).await;
        self.snapshots.forget(name);
        let deleted = deleted?;
        call.catalog.drop_aliases(name).await?;
        Ok((deleted, call.usage()))
    }
}
