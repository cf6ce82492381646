//! The objects of one examination: where they are, and that they go.

use std::{
    io::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use cairn_model::ErrorKind;
use futures::{StreamExt as _, stream};
use tokio::sync::OnceCell;
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{Expected, Key, Store},
    Effort,
};
use crate::{Error, Result};

/// Deletions in flight.
const DELETIONS: usize = 16;

/// One examination.
pub(super) struct Ward {
    pub(super) store: Store,
    pub(super) effort: Effort,
    folder: Key,
    /// Every key that was handed out: a store whose listings lie is cleaned up as well.
    used: Mutex<Vec<Key>>,
    large: OnceCell<Large>,
    is_stopped: AtomicBool,
}

/// A large object that was uploaded in parts.
#[derive(Clone)]
pub(super) struct Large {
    pub(super) key: Key,
    pub(super) content: Bytes,
    pub(super) upload_s: f64,
}

impl Ward {
    pub(super) fn new(store: Store, effort: Effort) -> Self {
        let folder = Key::probe(Ulid::generate());
        Self {
            store,
            effort,
            folder,
            used: Mutex::default(),
            large: OnceCell::new(),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Lets the examination end before it writes anything more.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }

    /// Whether it may go on.
    ///
    /// # Errors
    /// `Cancelled`.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.is_stopped.load(Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, self.store.url(), "the examination was stopped"));
        }
        Ok(())
    }

    /// A key that nothing is at yet.
    ///
    /// # Errors
    /// As [`Ward::go_on`].
    pub(super) fn key(&self) -> Result<Key> {
        self.key_in(&self.folder)
    }

    /// Such a key in a folder of its own.
    ///
    /// # Errors
    /// As [`Ward::go_on`].
    pub(super) fn key_in(&self, folder: &Key) -> Result<Key> {
        self.go_on()?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let key = folder.join(&used.len().to_string());
        used.push(key.clone());
        Ok(key)
    }

    /// A folder that nothing is in yet.
    pub(super) fn subfolder(&self) -> Key {
        self.folder.join(&Ulid::generate().to_string())
    }

    /// The store answered what it must not.
    pub(super) fn lie(&self, it: &str, consequence: &str) -> Error {
        let why = format!(
            "this store {it}: {consequence}. Use a store whose reads and listings see every finished write (Amazon S3, \
             Google Cloud Storage, Azure, Cloudflare R2, a current MinIO, a local directory), and no cache in front of it"
        );
        Error::new(ErrorKind::Unsupported, self.store.url(), why)
    }

    /// The large object, which the first who asks uploads.
    pub(super) async fn large(&self) -> Result<&Large> {
        self.large.get_or_try_init(|| self.upload()).await
    }

    async fn upload(&self) -> Result<Large> {
        let content = Bytes::from(content(self.effort.large_bytes, 1));
        let written = content.clone();
        let file = tokio::task::spawn_blocking(move || {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(&written)?;
            Ok::<_, std::io::Error>(file)
        });
        let unwritable = |why: String| Error::unavailable("temporary directory", why);
        let file = file.await.map_err(|error| unwritable(error.to_string()))?;
        let file = file.map_err(|error| unwritable(error.to_string()))?;
        let expected = Expected { bytes: content.len() as u64, checksum: xxh3_64(&content) };
        let key = self.key()?;
        let started = std::time::Instant::now();
        self.store.upload(&key, file.path(), expected).await?;
        Ok(Large { key, content, upload_s: started.elapsed().as_secs_f64() })
    }

    /// Removes everything, as far as the store lets us.
    pub(super) async fn clean(&self) {
        let mut keys = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Ok(listed) = self.store.list(&self.folder).await {
            keys.extend(
                listed.into_iter().map(|found| found.key).filter(|key| !keys.contains(key)).collect::<Vec<_>>(),
            );
        }
        let deletions: Vec<_> = keys.iter().map(|key| self.store.delete(key)).collect();
        let mut deletions = stream::iter(deletions).buffer_unordered(DELETIONS);
        let mut failed = None;
        while let Some(deleted) = deletions.next().await {
            failed = deleted.err().or(failed);
        }
        if let Some(error) = failed {
            let folder = self.store.address(&self.folder);
            tracing::warn!(%error, folder, "not all objects of the examination could be removed: `cairn gc` will");
        }
    }
}

/// So many bytes that no store can compress, the same for the same seed.
pub(super) fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let words = (0..bytes.div_ceil(8) as u64).map(|n| xxh3_64(&(n ^ seed.rotate_left(32)).to_le_bytes()));
    let mut content: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    content.truncate(bytes);
    content
}
