//! Does this store honour conditions? Everything that Cairn promises rests on it.

use bytes::Bytes;
use cairn_model::ErrorKind;
use ulid::Ulid;

use super::{Fetched, Key, Object, Put, Store, Version};
use crate::{Error, Result};

/// Largest object that a probe expects to read back.
pub(super) const PROBE_BYTES_MAX: u64 = 1 << 10;

/// A content that nobody else writes.
pub(super) fn content(step: &str) -> Bytes {
    Bytes::from(format!("Cairn tries out this store: {step}, {}", Ulid::generate()))
}

impl Store {
    /// Makes sure, once per process and store, that conditional puts are honoured. Called before the first write.
    ///
    /// # Errors
    /// `Unsupported` names what the store ignores.
    pub async fn require_safe(&self) -> Result<()> {
        self.inner.safe.get_or_try_init(|| self.probe()).await.copied()
    }

    /// Tries conditional puts on an object of its own, and removes it.
    ///
    /// # Errors
    /// `Unsupported` names what the store ignores; `Unavailable` when it does not answer or refuses access.
    pub async fn probe(&self) -> Result<()> {
        let key = Key::probe(Ulid::generate());
        let verdict = self.probe_with(&key).await;
        if let Err(error) = self.delete(&key).await {
            tracing::warn!(%error, "the probe object could not be removed");
        }
        verdict
    }

    async fn probe_with(&self, key: &Key) -> Result<()> {
        let first = self.try_put_if_absent(key).await?;
        let last = self.try_compare_and_swap(key, &first).await?;
        self.try_read_back(key, &last).await
    }

    /// Creates an object, and tries to create it once more.
    ///
    /// # Errors
    /// `Unsupported` when that succeeds, `Unavailable`.
    pub(super) async fn try_put_if_absent(&self, key: &Key) -> Result<Version> {
        let first = self.expect_done(self.put_if_absent(key, content("created")).await?)?;
        match self.put_if_absent(key, content("created twice")).await? {
            Put::Refused => Ok(first),
            Put::Done(_) => Err(self.unsafe_because("ignores If-None-Match: * on PUT (put-if-absent)")),
        }
    }

    /// Replaces an object that is of the version `first`, and tries to do so once more. Returns what must be there now.
    ///
    /// # Errors
    /// `Unsupported` when that succeeds, `Unavailable`.
    pub(super) async fn try_compare_and_swap(&self, key: &Key, first: &Version) -> Result<Object> {
        let bytes = content("replaced");
        let version = self.expect_done(self.compare_and_swap(key, bytes.clone(), first).await?)?;
        match self.compare_and_swap(key, content("replaced by a latecomer"), first).await? {
            Put::Refused => Ok(Object { bytes, version }),
            Put::Done(_) => Err(self.unsafe_because("ignores If-Match on PUT (compare-and-swap)")),
        }
    }

    /// Reads what must be there.
    ///
    /// # Errors
    /// `Unsupported` when something else is, `Unavailable`.
    pub(super) async fn try_read_back(&self, key: &Key, expected: &Object) -> Result<()> {
        match self.get(key, None, PROBE_BYTES_MAX).await? {
            Fetched::Found(found) if found.bytes == expected.bytes && found.version.is_same(&expected.version) => {
                Ok(())
            }
            _ => Err(self.unsafe_because("ignores its own answers: what it confirmed is not what it returns")),
        }
    }

    /// Why nothing may be written here, and what to do.
    pub(super) fn unsafe_because(&self, it: &str) -> Error {
        let why = format!(
            "this store {it}, so two writers would overwrite each other without noticing, and Cairn refuses to write to \
             it. Use a store with conditional writes (Amazon S3, Google Cloud Storage, Azure, Cloudflare R2, a current \
             MinIO, LocalStack, a local directory), or update this one"
        );
        Error::new(ErrorKind::Unsupported, self.url(), why)
    }

    pub(super) fn expect_done(&self, put: Put) -> Result<Version> {
        match put {
            Put::Done(version) => Ok(version),
            Put::Refused => Err(Error::new(
                ErrorKind::Unsupported,
                self.url(),
                "this store refuses a conditional put whose condition holds: Cairn cannot commit anything here",
            )),
        }
    }
}
