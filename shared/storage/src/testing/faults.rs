//! A store that fails on purpose, at chosen steps: put it under a [`Store`](crate::Store) with `Store::over`.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};

use crate::{Store, store::Retry};

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the answer says to try again.
    Busy,
    /// Nothing is done, and a conditional put is answered as if its condition did not hold; other requests as [`Fault::Busy`].
    Refuse,
    /// It is done, and the connection breaks before the answer.
    LostReply,
    /// The caller's process dies before the request: nothing works from now on.
    DieBefore,
    /// The caller's process dies after the request was carried out.
    DieAfter,
    /// The answer takes this long.
    Delay(Duration),
    /// There is never an answer.
    Hang,
    /// There is never an answer, but a put is carried out this much later, whether or not the caller still waits.
    Late(Duration),
}

/// Which conditions a store ignores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignores {
    /// `If-None-Match: *` on PUT.
    pub absent: bool,
    /// `If-Match` on PUT.
    pub matches: bool,
}

/// A client with faults. Steps are its requests in the order in which they start, counted from 0.
#[derive(Debug)]
pub struct Faults {
    inner: Arc<dyn ObjectStore>,
    state: Arc<State>,
    ignores: Ignores,
}

#[derive(Debug, Default)]
struct State {
    steps: AtomicU64,
    dead: AtomicBool,
    plan: Mutex<BTreeMap<u64, Fault>>,
    /// At every step without a plan of its own.
    always: Mutex<Option<Fault>>,
}

#[derive(Debug, thiserror::Error)]
#[error("this process is dead")]
struct Dead;

fn dead() -> object_store::Error {
    object_store::Error::Generic { store: "faults", source: Box::new(Dead) }
}

fn broken(why: &str) -> object_store::Error {
    let error = io::Error::new(io::ErrorKind::ConnectionReset, why.to_owned());
    object_store::Error::Generic { store: "faults", source: Box::new(error) }
}

/// What a store says when a put's condition does not hold; none of a put without one.
fn refusal(location: &Path, mode: &PutMode) -> Option<object_store::Error> {
    let (path, source) = (location.to_string(), "refused without a reason".into());
    match mode {
        PutMode::Create => Some(object_store::Error::AlreadyExists { path, source }),
        PutMode::Update(_) => Some(object_store::Error::Precondition { path, source }),
        PutMode::Overwrite => None,
    }
}

impl State {
    /// What goes wrong at the step that begins now.
    fn begin(&self) -> Result<Option<Fault>> {
        let step = self.steps.fetch_add(1, SeqCst);
        if self.dead.load(SeqCst) {
            return Err(dead());
        }
        let planned = self.plan.lock().unwrap_or_else(PoisonError::into_inner).get(&step).copied();
        let always = *self.always.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(planned.or(always))
    }

    async fn step<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = self.begin()?;
        self.carry_out(fault, request).await
    }

    async fn carry_out<T>(&self, fault: Option<Fault>, request: impl Future<Output = Result<T>>) -> Result<T> {
        match fault {
            None => request.await,
            Some(Fault::Busy | Fault::Refuse) => Err(broken("slow down")),
            Some(Fault::LostReply) => request.await.and(Err(broken("the reply was lost"))),
            Some(Fault::DieBefore) => {
                self.dead.store(true, SeqCst);
                Err(dead())
            }
            Some(Fault::DieAfter) => {
                let _ = request.await;
                self.dead.store(true, SeqCst);
                Err(dead())
            }
            Some(Fault::Delay(duration)) => {
                tokio::time::sleep(duration).await;
                request.await
            }
            Some(Fault::Hang | Fault::Late(_)) => std::future::pending().await,
        }
    }
}

impl Faults {
    /// A client without faults yet.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, state: Arc::default(), ignores: Ignores::default() }
    }

    /// A fault at one step.
    #[must_use]
    pub fn at(self, step: u64, fault: Fault) -> Self {
        self.state.plan.lock().unwrap_or_else(PoisonError::into_inner).insert(step, fault);
        self
    }

    /// A fault at every step.
    #[must_use]
    pub fn always(self, fault: Fault) -> Self {
        *self.state.always.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        self
    }

    /// Ignores conditions of puts, as some stores do.
    #[must_use]
    pub fn ignoring(self, ignores: Ignores) -> Self {
        Self { ignores, ..self }
    }

    /// Counts the steps, also after the client has moved into a store.
    #[must_use]
    pub fn steps(&self) -> Steps {
        Steps(Arc::clone(&self.state))
    }

    /// The store over it, which retries after a few milliseconds.
    #[must_use]
    pub fn into_store(self) -> Store {
        self.into_store_with(1)
    }

    /// The same, with another seed for its pauses.
    #[must_use]
    pub fn into_store_with(self, seed: u64) -> Store {
        let mut retry = Retry::new(Duration::from_secs(20), seed);
        retry.backoff_first = Duration::from_millis(1);
        retry.backoff_max = Duration::from_millis(5);
        retry.attempts_max = 5;
        Store::over(Arc::new(self), "faulty://store", retry)
    }
}

/// Counts the steps of a client with faults, and changes what is to come.
#[derive(Clone, Debug)]
pub struct Steps(Arc<State>);

impl Steps {
    /// Requests so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.steps.load(SeqCst)
    }

    /// A fault at every step from now on, or none.
    pub fn set_always(&self, fault: Option<Fault>) {
        *self.0.always.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

#[async_trait]
impl ObjectStore for Faults {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        let ignored = match opts.mode {
            PutMode::Create => self.ignores.absent,
            PutMode::Update(_) => self.ignores.matches,
            PutMode::Overwrite => false,
        };
        if ignored {
            opts.mode = PutMode::Overwrite;
        }
        let fault = self.state.begin()?;
        if let (Some(Fault::Refuse), Some(refusal)) = (fault, refusal(location, &opts.mode)) {
            return Err(refusal);
        }
        if let Some(Fault::Late(delay)) = fault {
            let (inner, location, payload, opts) =
                (Arc::clone(&self.inner), location.clone(), payload.clone(), opts.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = inner.put_opts(&location, payload, opts).await;
            });
        }
        self.state.carry_out(fault, self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.state.step(self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(FaultyUpload { upload, state: Arc::clone(&self.state) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.state.step(self.inner.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, state) = (Arc::clone(&self.inner), Arc::clone(&self.state));
        locations
            .then(move |location| {
                let (inner, state) = (Arc::clone(&inner), Arc::clone(&state));
                async move {
                    let location = location?;
                    state.step(inner.delete(&location)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (listing, state) = (self.inner.list(prefix), Arc::clone(&self.state));
        let all = async move { state.step(listing.try_collect::<Vec<_>>()).await };
        all.map_ok(|found| stream::iter(found.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.state.step(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.state.step(self.inner.copy_opts(from, to, options)).await
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({})", self.inner)
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    state: Arc<State>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, state) = (self.upload.put_part(data), Arc::clone(&self.state));
        async move { state.step(part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.state.step(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.state.step(self.upload.abort()).await
    }
}
