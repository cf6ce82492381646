//! Stores that tell one lie each, and are honest otherwise.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart, memory::InMemory, path::Path,
};

/// What a store gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Looks whether an object is there, and creates it a moment later.
    SlowCreation,
    /// Looks which version an object is, and replaces it a moment later.
    SlowSwap,
    /// Every listing is the one before.
    StaleListing,
    /// An object that was looked for in vain is still not there for the first reader after it was created.
    RemembersAbsence,
    /// The first reader after a replacement gets what was there before.
    StaleRead,
    /// A deleted object is read once more.
    Undead,
    /// The last byte of every range is wrong.
    WrongRange,
    /// Zeros follow the end of an object.
    Padded,
    /// `If-None-Match` on GET is ignored.
    SendsAgain,
    /// The last byte of an upload in parts is wrong.
    DamagedUpload,
    /// Its clock is ten minutes ahead.
    FastClock,
}

#[derive(Debug)]
pub(super) struct Liar {
    inner: Arc<InMemory>,
    lie: Lie,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    listing: Vec<ObjectMeta>,
    missed: HashSet<Path>,
    /// Served once instead of what is there.
    old: HashMap<Path, Bytes>,
}

impl Liar {
    pub(super) fn new(inner: Arc<InMemory>, lie: Lie) -> Self {
        Self { inner, lie, state: Arc::default() }
    }
}

async fn keep_old(inner: &InMemory, state: &Mutex<State>, location: &Path) {
    if let Ok(found) = inner.get(location).await {
        let bytes = found.bytes().await.unwrap();
        state.lock().unwrap().old.insert(location.clone(), bytes);
    }
}

fn not_found(location: &Path) -> Error {
    Error::NotFound { path: location.to_string(), source: "it was not there before".into() }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

async fn with_content(found: GetResult, change: impl FnOnce(&Bytes) -> Bytes) -> Result<GetResult> {
    let (meta, range) = (found.meta.clone(), found.range.clone());
    let bytes = change(&found.bytes().await?);
    Ok(GetResult {
        payload: GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed()),
        meta,
        range,
        attributes: object_store::Attributes::default(),
        extensions: object_store::Extensions::default(),
    })
}

#[async_trait]
impl ObjectStore for Liar {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let slow = match &options.mode {
            PutMode::Create if self.lie == Lie::SlowCreation => {
                let there = self.inner.head(location).await.is_ok();
                (!there)
                    .then_some(())
                    .ok_or_else(|| Error::AlreadyExists { path: location.to_string(), source: "it is there".into() })?;
                true
            }
            PutMode::Update(expected) if self.lie == Lie::SlowSwap => {
                let found = self.inner.head(location).await?;
                (found.e_tag == expected.e_tag).then_some(()).ok_or_else(|| Error::Precondition {
                    path: location.to_string(),
                    source: "it is another version".into(),
                })?;
                true
            }
            PutMode::Update(_) if self.lie == Lie::StaleRead => {
                keep_old(&self.inner, &self.state, location).await;
                false
            }
            _ => false,
        };
        if slow {
            tokio::task::yield_now().await;
            options.mode = PutMode::Overwrite;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        if self.lie != Lie::DamagedUpload {
            return Ok(upload);
        }
        Ok(Box::new(Damaged { upload, store: Arc::clone(&self.inner), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        if self.lie == Lie::SendsAgain {
            options.if_none_match = None;
        }
        if self.lie == Lie::Padded
            && let Some(GetRange::Bounded(asked)) = options.range.clone()
        {
            let found = self.inner.get(location).await?;
            let [size, start, end] =
                [found.meta.size, asked.start, asked.end].map(|bytes| usize::try_from(bytes).unwrap());
            let padded = with_content(found, |bytes| {
                let mut all = bytes.to_vec();
                all.resize(size.max(end), 0);
                Bytes::from(all).slice(start..end)
            });
            return Ok(GetResult { range: asked, ..padded.await? });
        }
        let (is_whole, is_range) = (options.range.is_none() && !options.head, options.range.is_some());
        let old = if is_whole { self.state.lock().unwrap().old.remove(location) } else { None };
        if let Some(old) = old {
            let store = InMemory::new();
            store.put(location, old.into()).await?;
            return store.get(location).await;
        }
        let mut found = match self.inner.get_opts(location, options).await {
            Err(error @ Error::NotFound { .. }) if self.lie == Lie::RemembersAbsence => {
                self.state.lock().unwrap().missed.insert(location.clone());
                return Err(error);
            }
            found => found?,
        };
        if self.state.lock().unwrap().missed.remove(location) {
            return Err(not_found(location));
        }
        if self.lie == Lie::FastClock {
            found.meta.last_modified += Duration::from_secs(600);
        }
        if self.lie == Lie::WrongRange && is_range { with_content(found, flipped).await } else { Ok(found) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, state, is_undead) = (Arc::clone(&self.inner), Arc::clone(&self.state), self.lie == Lie::Undead);
        let locations = locations.then(move |location| {
            let (inner, state) = (Arc::clone(&inner), Arc::clone(&state));
            async move {
                let location = location?;
                if is_undead {
                    keep_old(&inner, &state, &location).await;
                }
                inner.delete(&location).await.map(|()| location)
            }
        });
        locations.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.lie != Lie::StaleListing {
            return self.inner.list(prefix);
        }
        let (now, state) = (self.inner.list(prefix), Arc::clone(&self.state));
        let before = async move {
            let now = now.try_collect().await?;
            let before = std::mem::replace(&mut state.lock().unwrap().listing, now);
            Ok(stream::iter(before.into_iter().map(Ok)))
        };
        before.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Liar({:?})", self.lie)
    }
}

#[derive(Debug)]
struct Damaged {
    upload: Box<dyn MultipartUpload>,
    store: Arc<InMemory>,
    location: Path,
}

#[async_trait]
impl MultipartUpload for Damaged {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await?;
        let whole = self.store.get(&self.location).await?.bytes().await?;
        self.store.put(&self.location, flipped(&whole).into()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
