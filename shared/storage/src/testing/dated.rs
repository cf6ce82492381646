//! Objects that are as old as tokio's clock says, behind requests that take a seeded number of turns. Listings are in the order in which
//! objects came, because names with ULIDs in them sort differently each time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{task::yield_now, time::Instant};

/// When the world begins, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_800_000_000_000;
/// Most turns that others get before and after a request.
const TURNS: u32 = 3;

/// A store whose clock is the test's.
#[derive(Debug)]
pub(crate) struct Dated {
    inner: Arc<dyn ObjectStore>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    begun: Instant,
    written: Mutex<HashMap<Path, Written>>,
    random: Mutex<SmallRng>,
}

/// When an object was written, in milliseconds since 1970, and how many came before.
#[derive(Clone, Copy, Debug)]
struct Written {
    ms: u64,
    number: usize,
}

impl State {
    /// Whole seconds, as S3 has them.
    fn now_ms(&self) -> u64 {
        BEGINNING_MS + self.begun.elapsed().as_secs() * 1_000
    }

    async fn take_turns(&self) {
        let turns = self.random.lock().unwrap().random_range(0..=TURNS);
        for _ in 0..turns {
            yield_now().await;
        }
    }

    fn date(&self, meta: &mut ObjectMeta) {
        let since_1970 = u64::try_from(meta.last_modified.timestamp_millis()).unwrap();
        meta.last_modified -= Duration::from_millis(since_1970);
        let written = self.written.lock().unwrap().get(&meta.location).map(|written| written.ms);
        meta.last_modified += Duration::from_millis(written.unwrap_or(BEGINNING_MS));
    }

    fn write(&self, location: &Path) {
        let ms = self.now_ms();
        let mut all = self.written.lock().unwrap();
        let number = all.len();
        all.entry(location.clone()).and_modify(|written| written.ms = ms).or_insert(Written { ms, number });
    }

    /// How many objects came before the first one below this.
    fn number(&self, prefix: &Path) -> Option<usize> {
        let all = self.written.lock().unwrap();
        all.iter().filter(|(path, _)| path.prefix_matches(prefix)).map(|(_, written)| written.number).min()
    }
}

impl Dated {
    /// `inner`, with turns that `seed` decides.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, seed: u64) -> Self {
        let random = Mutex::new(SmallRng::seed_from_u64(seed));
        Self { inner, state: Arc::new(State { begun: Instant::now(), written: Mutex::default(), random }) }
    }
}

#[async_trait]
impl ObjectStore for Dated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.state.take_turns().await;
        let put = self.inner.put_opts(location, payload, opts).await?;
        self.state.write(location);
        self.state.take_turns().await;
        Ok(put)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.state.take_turns().await;
        let mut found = self.inner.get_opts(location, options).await?;
        self.state.date(&mut found.meta);
        self.state.take_turns().await;
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, state) = (Arc::clone(&self.inner), Arc::clone(&self.state));
        let deletions = locations.then(move |location| {
            let (inner, state) = (Arc::clone(&inner), Arc::clone(&state));
            async move {
                let location = location?;
                state.take_turns().await;
                inner.delete(&location).await?;
                state.take_turns().await;
                Ok(location)
            }
        });
        deletions.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, state, prefix) = (Arc::clone(&self.inner), Arc::clone(&self.state), prefix.cloned());
        let listing = async move {
            state.take_turns().await;
            let mut found: Vec<_> = inner.list(prefix.as_ref()).try_collect().await?;
            found.iter_mut().for_each(|meta| state.date(meta));
            found.sort_by_cached_key(|meta| state.number(&meta.location));
            state.take_turns().await;
            Ok(stream::iter(found.into_iter().map(Ok)))
        };
        listing.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.state.take_turns().await;
        let mut found = self.inner.list_with_delimiter(prefix).await?;
        found.common_prefixes.sort_by_cached_key(|prefix| self.state.number(prefix));
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Dated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dated")
    }
}
