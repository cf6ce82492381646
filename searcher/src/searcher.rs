//! The searcher: a store's collections, the segments that are open, and the threads that search them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cairn_model::{CollectionName, CollectionSchema, ErrorKind, Usage};
use cairn_storage::{Cache, CacheOptions, Catalog, Collection, Meter, Store, machine::Memory};

use crate::{
    api::route::{LATER, ROUTES},
    error::{Error, Result},
    heat::Heat,
    leaf::{Leaf, Leaves},
    settings::{SearchSettings, StoreSettings},
    snapshots::Snapshots,
    telemetry::Telemetry,
    workers::Workers,
};

/// Answers requests over the collections of one store. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Searcher {
    pub(crate) store: Store,
    pub(crate) cache: Arc<Cache>,
    pub(crate) leaves: Arc<Leaves>,
    pub(crate) snapshots: Snapshots,
    pub(crate) workers: Workers,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) heat: Arc<Heat<Leaf>>,
    pub(crate) answer_bytes_max: usize,
}

/// One request's dealings with the store; what it cost is counted even when nobody waits for its end.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    telemetry: &'a Telemetry,
    meter: Arc<Meter>,
    own: Mutex<Usage>,
    /// The store, counting for this request.
    pub(crate) store: Store,
    /// The catalog over it.
    pub(crate) catalog: Catalog,
}

impl Call<'_> {
    /// Adds what was not counted by the store.
    pub(crate) fn add(&self, usage: Usage) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) += usage;
    }

    /// What the request has cost so far.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = self.meter.usage();
        usage += *self.own.lock().unwrap_or_else(PoisonError::into_inner);
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
        let cache = tokio::task::spawn_blocking(move || Cache::open(options)).await;
        let cache = cache.map_err(|error| Error::Internal(error.to_string()))??;
        Self::from_store(store, Arc::new(cache), settings)
    }

    /// A searcher over an open store and cache.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn from_store(store: Store, cache: Arc<Cache>, settings: &SearchSettings) -> Result<Self> {
        let telemetry = Arc::new(Telemetry::new(ROUTES.into_iter().chain(LATER.map(|(route, _)| route))));
        // Half of the search threads: expanding is to be over soon, and searches come first.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = settings.threads.unwrap_or(cores).div_ceil(2);
        let heat = Heat::new(settings.heat_limits(Memory::here()), threads, Arc::clone(telemetry.heat()));
        let leaves = Arc::new(Leaves::new(settings.cache_bytes(), Arc::clone(&heat)));
        Ok(Self {
            store,
            cache,
            snapshots: Snapshots::new(Duration::from_millis(settings.refresh_ms), Arc::clone(&leaves)),
            leaves,
            workers: Workers::new(settings.threads)?,
            telemetry,
            heat,
            answer_bytes_max: settings.answer_bytes_max(),
        })
    }

    /// This process's counters.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
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

    pub(crate) fn call(&self) -> Call<'_> {
        let meter = Arc::new(Meter::default());
        let store = self.store.metered(Arc::clone(&meter));
        let catalog = Catalog::new(store.clone());
        Call { telemetry: &self.telemetry, meter, own: Mutex::default(), store, catalog }
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

    /// A collection as it is now.
    ///
    /// # Errors
    /// `NoCollection`, or what the store says.
    pub async fn collection(&self, name: &CollectionName) -> Result<(Arc<Collection>, Usage)> {
        let call = self.call();
        let collection = self.snapshots.fresh(&call.catalog, name, false).await?;
        Ok((collection, call.usage()))
    }

    /// Creates an empty collection.
    ///
    /// # Errors
    /// `Exists`, or what the store says.
    pub async fn create(&self, name: &CollectionName, schema: &CollectionSchema) -> Result<Usage> {
        let call = self.call();
        match call.catalog.create(name, schema).await {
            Ok(_) => {
                self.snapshots.forget(name);
                Ok(call.usage())
            }
            Err(error) if error.kind == ErrorKind::Conflict => Err(Error::Exists(name.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a collection; false when there was none.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete(&self, name: &CollectionName) -> Result<(bool, Usage)> {
        let call = self.call();
        let deleted = call.catalog.delete(name).await;
        self.snapshots.forget(name);
        Ok((deleted?, call.usage()))
    }
}
