//! A local directory as a store with conditional puts as atomic as S3's, also between processes.
//!
//! `object_store`'s own local store lacks compare-and-swap, and its ETags are made of the inode and the time of
//! change: two versions within one tick of the clock can look the same. Here:
//!
//! - the ETag of a whole object is the hash of its content (every document names its writer, so no two versions
//!   are alike); ranged reads, which are for large immutable files, have none;
//! - replacing and deleting happen under an exclusive lock on `<root>/.cairn-lock`, which the operating system
//!   releases when a process dies: read, compare, write a hidden file, flush it, rename. A crash leaves the old or
//!   the new version, and at most a hidden `NAME#N` file;
//! - creating needs no lock: a hard link either appears or fails.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, local::LocalFileSystem, path::Path,
};
use tokio::sync::Mutex;
use xxhash_rust::xxh3::xxh3_128;

/// Whole objects up to this size get an ETag; larger ones are segments, which are never replaced.
const HASHED_BYTES_MAX: u64 = 64 << 20;
/// How often the lock of another process is tried again.
const LOCK_POLL: Duration = Duration::from_millis(2);

/// A directory with atomic conditional puts.
#[derive(Clone, Debug)]
pub(super) struct LocalStore {
    files: Arc<LocalFileSystem>,
    root: PathBuf,
    /// Queues the tasks of this process, so that only one of them polls for the file lock.
    queue: Arc<Mutex<()>>,
}

impl LocalStore {
    /// The directory need not exist: the first write creates it.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { files: Arc::new(LocalFileSystem::new().with_fsync(true)), root, queue: Arc::default() }
    }

    /// Runs `change` alone: no other task or process replaces or deletes an object meanwhile. Once it has begun it
    /// runs to its end, also when the caller stops waiting.
    async fn alone<T: Send + 'static>(
        &self,
        location: &Path,
        change: impl FnOnce(&FilePath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.files.path_to_filesystem(location)?;
        let turn = Arc::clone(&self.queue).lock_owned().await;
        let lock = loop {
            let root = self.root.clone();
            match blocking(move || open_lock(&root)).await? {
                Some(lock) => break lock,
                None => tokio::time::sleep(LOCK_POLL).await,
            }
        };
        blocking(move || {
            let result = change(&path);
            drop((lock, turn));
            result
        })
        .await
    }
}

/// The lock, or `None` while another process has it.
fn open_lock(root: &FilePath) -> Result<Option<File>> {
    fs::create_dir_all(root).map_err(generic)?;
    let path = root.join(".cairn-lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(generic)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(generic(error)),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn generic(error: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "local directory", source: Box::new(error) }
}

fn etag(content: &[u8]) -> String {
    format!("\"{:032x}\"", xxh3_128(content))
}

fn done(content: &[u8]) -> PutResult {
    PutResult { e_tag: Some(etag(content)), version: None, extensions: object_store::Extensions::default() }
}

/// Replaces the file if its content still has the expected ETag (`None`: whatever it is).
fn replace(path: &FilePath, content: &[u8], expected: Option<&str>) -> Result<PutResult> {
    if let Some(expected) = expected {
        let found = match fs::read(path) {
            Ok(current) => etag(&current),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "nothing".to_owned(),
            Err(error) => return Err(generic(error)),
        };
        if found != expected {
            let source = format!("expected {expected}, found {found}").into();
            return Err(object_store::Error::Precondition { path: path.display().to_string(), source });
        }
    }
    // Named like the staged files of `LocalFileSystem`, which its listings leave out.
    let staged = PathBuf::from(format!("{}#{}", path.display(), rand::random::<u32>()));
    let parent = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(parent)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).open(&staged))
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&staged, path))
        .and_then(|()| File::open(parent)?.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(&staged);
        generic(error)
    })?;
    Ok(done(content))
}

/// Deletes a file and the folders that it leaves empty, as a bucket has no empty folders.
fn remove(root: &FilePath, path: &FilePath) -> Result<()> {
    fs::remove_file(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            object_store::Error::NotFound { path: path.display().to_string(), source: Box::new(error) }
        }
        _ => generic(error),
    })?;
    let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(root) && *folder != root);
    for folder in folders {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let content = Bytes::from(payload);
        let expected = match opts.mode {
            PutMode::Create => {
                self.files.put_opts(location, content.clone().into(), PutMode::Create.into()).await?;
                return Ok(done(&content));
            }
            PutMode::Overwrite => None,
            PutMode::Update(version) => Some(version.e_tag.unwrap_or_default()),
        };
        self.alone(location, move |path| replace(path, &content, expected.as_deref())).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        if options.range.is_some() || options.head {
            return self.files.get_opts(location, options).await;
        }
        let (if_match, if_none_match) = (options.if_match.take(), options.if_none_match.take());
        let mut found = self.files.get_opts(location, options).await?;
        if found.meta.size > HASHED_BYTES_MAX {
            found.meta.e_tag = None;
            return Ok(found);
        }
        let (mut meta, range) = (found.meta.clone(), found.range.clone());
        let content = found.bytes().await?;
        meta.e_tag = Some(etag(&content));
        GetOptions { if_match, if_none_match, ..GetOptions::default() }.check_preconditions(&meta)?;
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter([Ok(content)]).boxed()),
            meta,
            range,
            attributes: object_store::Attributes::default(),
            extensions: object_store::Extensions::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let root = store.root.clone();
                    store.alone(&location, move |path| remove(&root, path)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.root.display())
    }
}
