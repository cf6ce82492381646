//! Does this store honour conditions? Everything that Cairn promises rests on it.

use bytes::Bytes;
use cairn_model::ErrorKind;
use ulid::Ulid;

use super::{Fetched, Key, Put, Store, Version};
use crate::{Error, Result};

/// Largest object that a probe expects to read back.
const PROBE_BYTES_MAX: u64 = 1 << 10;

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
        let content =
            |step: &str| Bytes::from(format!("Cairn tries out conditional puts: {step}, {}", Ulid::generate()));
        let broken = |ignored: &str, kind: &str| {
            let why = format!(
                "this store ignores {ignored} ({kind}), so two writers would overwrite each other without noticing, and \
                 Cairn refuses to write to it. Use a store with conditional writes (Amazon S3, Google Cloud Storage, \
                 Azure, Cloudflare R2, a current MinIO, LocalStack, a local directory), or update this one"
            );
            Error::new(ErrorKind::Unsupported, self.url(), why)
        };
        let first = self.expect_done(self.put_if_absent(key, content("created")).await?)?;
        if let Put::Done(_) = self.put_if_absent(key, content("created twice")).await? {
            return Err(broken("If-None-Match: * on PUT", "put-if-absent"));
        }
        let last = content("replaced");
        let second = self.expect_done(self.compare_and_swap(key, last.clone(), &first).await?)?;
        if let Put::Done(_) = self.compare_and_swap(key, content("replaced by a latecomer"), &first).await? {
            return Err(broken("If-Match on PUT", "compare-and-swap"));
        }
        match self.get(key, None, PROBE_BYTES_MAX).await? {
            Fetched::Found(object) if object.bytes == last && object.version.is_same(&second) => Ok(()),
            _ => Err(broken("its own answers: what it confirmed is not what it returns", "read after write")),
        }
    }

    fn expect_done(&self, put: Put) -> Result<Version> {
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
