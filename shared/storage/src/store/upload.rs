//! Large files: in parts, a few in flight, verified on the way.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path as FilePath,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_model::ErrorKind;
use futures::{StreamExt as _, stream::FuturesUnordered};
use object_store::{
    MultipartUpload, PutMultipartOptions,
    client::HttpErrorKind,
    retry::{RetryContext, RetryFailure, RetryPolicy},
};
use xxhash_rust::xxh3::Xxh3;

use super::{Key, Put, Retry, Store, meter::Verb};
use crate::{Error, Result};

/// Smallest part; a file that fits in one is put at once. Every store accepts parts of this size.
pub(super) const PART_BYTES_MIN: u64 = 8 << 20;
/// Parts in flight. An upload holds one more in memory: 40 MiB for files up to 72 GiB.
pub(super) const PARTS_IN_FLIGHT: usize = 4;
/// Parts of one file (S3 allows 10,000).
const PARTS_MAX: u64 = 9_000;
/// How often a whole upload is begun again.
const UPLOADS_MAX: u32 = 3;

/// What the file must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) bytes: u64,
    /// xxh3-64 of the content.
    pub(crate) checksum: u64,
}

impl Store {
    /// Uploads a file that is never replaced.
    ///
    /// # Errors
    /// `Corrupt` when the file is not as `expected` (nothing is left in the store); `Conflict` when the store has
    /// something else there; `Unavailable` when the store or the file cannot be reached.
    pub(crate) async fn upload(&self, key: &Key, file: &FilePath, expected: Expected) -> Result<()> {
        let path = file.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        });
        let (opened, bytes) = joined(opened.await).map_err(|error| unreadable(file, &error))?;
        if bytes != expected.bytes {
            return Err(Error::corrupt(
                file.display().to_string(),
                format!("is {bytes} bytes long, {} were announced", expected.bytes),
            ));
        }
        let mut source = Source { file: Some(opened), hash: Box::new(Xxh3::new()), path: file };
        if bytes <= PART_BYTES_MIN {
            let content = source.read(bytes).await?;
            source.verify(expected)?;
            return match self.put_if_absent(key, content).await? {
                Put::Done(_) => Ok(()),
                Put::Refused => Err(Error::new(ErrorKind::Conflict, self.address(key), "exists with another content")),
            };
        }
        let mut attempt = 1;
        loop {
            match self.upload_parts(key, &mut source, expected).await {
                Err(error) if error.kind == ErrorKind::Unavailable && attempt < UPLOADS_MAX => {
                    tracing::warn!(%error, attempt, "upload is begun again");
                    tokio::time::sleep(self.inner.retry.pause(attempt)).await;
                    source.rewind().await?;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn upload_parts(&self, key: &Key, source: &mut Source<'_>, expected: Expected) -> Result<()> {
        let policy = Arc::new(PartRetry(Retry::new(self.inner.retry.timeout, rand::random())));
        let path = self.path(key);
        let begun = self.inner.retry.run(|| async {
            let _request = self.meters.start(Verb::Put).await;
            let options = PutMultipartOptions::default().with_retry_policy(Arc::clone(&policy) as _);
            self.inner.objects.put_multipart_opts(&path, options).await
        });
        let mut upload = begun.await.map_err(|failure| self.explain(key, failure))?;
        let sent = self.send_parts(key, upload.as_mut(), source, expected.bytes).await;
        if let Err(error) = sent.and_then(|()| source.verify(expected)) {
            if let Err(leftover) = upload.abort().await {
                tracing::warn!(%leftover, "an unfinished upload could not be removed: let the bucket expire such parts");
            }
            return Err(error);
        }
        let request = self.meters.start(Verb::Put).await;
        let completed = tokio::time::timeout(self.inner.retry.timeout, upload.complete()).await;
        drop(request);
        match completed {
            Ok(Ok(_)) => Ok(()),
            // Its reply may be what was lost.
            Ok(Err(_)) | Err(_) if self.head(key).await? == Some(expected.bytes) => Ok(()),
            Ok(Err(error)) => Err(Error::unavailable(self.address(key), error)),
            Err(_) => Err(Error::unavailable(self.address(key), "the upload was not completed in time")),
        }
    }

    async fn send_parts(
        &self,
        key: &Key,
        upload: &mut dyn MultipartUpload,
        source: &mut Source<'_>,
        bytes: u64,
    ) -> Result<()> {
        let part_bytes = PART_BYTES_MIN.max(bytes.div_ceil(PARTS_MAX).next_multiple_of(1 << 20));
        let mut in_flight = FuturesUnordered::new();
        let mut left = bytes;
        while left > 0 || !in_flight.is_empty() {
            if left > 0 && in_flight.len() < PARTS_IN_FLIGHT {
                let part = source.read(left.min(part_bytes)).await?;
                left -= part.len() as u64;
                let request = self.meters.start(Verb::Put).await;
                let part = upload.put_part(part.into());
                let timeout = self.inner.retry.timeout;
                in_flight.push(async move {
                    let _request = request;
                    tokio::time::timeout(timeout, part).await
                });
            } else if let Some(sent) = in_flight.next().await {
                sent.map_err(|_| {
                    Error::unavailable(self.address(key), "a part of the upload was not answered in time")
                })?
                .map_err(|error| Error::unavailable(self.address(key), error))?;
            }
        }
        Ok(())
    }
}

fn unreadable(file: &FilePath, error: &io::Error) -> Error {
    Error::unavailable(file.display().to_string(), format!("cannot be read: {error}"))
}

fn joined<T>(result: std::result::Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    result.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The file that is uploaded, and the checksum of what was read of it.
struct Source<'a> {
    path: &'a FilePath,
    file: Option<File>,
    hash: Box<Xxh3>,
}

impl Source<'_> {
    async fn read(&mut self, bytes: u64) -> Result<Bytes> {
        let mut file =
            self.file.take().ok_or_else(|| unreadable(self.path, &io::Error::other("reading was interrupted")))?;
        let read = tokio::task::spawn_blocking(move || {
            let mut part = Vec::new();
            let capacity = usize::try_from(bytes).map_err(io::Error::other)?;
            part.try_reserve_exact(capacity).map_err(io::Error::other)?;
            (&mut file).take(bytes).read_to_end(&mut part)?;
            if part.len() < capacity {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok((file, part))
        });
        let (file, part) = joined(read.await).map_err(|error| unreadable(self.path, &error))?;
        self.file = Some(file);
        self.hash.update(&part);
        Ok(part.into())
    }

    async fn rewind(&mut self) -> Result<()> {
        let path = self.path.to_owned();
        let opened = joined(tokio::task::spawn_blocking(move || File::open(path)).await);
        self.file = Some(opened.map_err(|error| unreadable(self.path, &error))?);
        self.hash.reset();
        Ok(())
    }

    fn verify(&self, expected: Expected) -> Result<()> {
        let found = self.hash.digest();
        if found == expected.checksum {
            return Ok(());
        }
        let why = format!("has the checksum {found:016x}, {:016x} was announced", expected.checksum);
        Err(Error::corrupt(self.path.display().to_string(), why))
    }
}

/// Repeats one part of an upload.
#[derive(Debug)]
struct PartRetry(Retry);

#[async_trait]
impl RetryPolicy for PartRetry {
    async fn retry(&self, context: RetryContext) -> bool {
        let transient = match context.failure {
            RetryFailure::Status(status) => {
                status.is_server_error() || matches!(status.as_u16(), 200 | 408 | 409 | 429)
            }
            RetryFailure::Transport(kind) => !matches!(kind, HttpErrorKind::Unknown),
            _ => false,
        };
        let attempts = u32::try_from(context.attempt).unwrap_or(u32::MAX);
        if !transient || attempts >= self.0.attempts_max {
            return false;
        }
        let pause = self.0.pause(attempts);
        if context.elapsed + pause >= self.0.timeout {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
