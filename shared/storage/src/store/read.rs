//! GET, HEAD and listings.

use std::{ops::Range, time::Instant};

use bytes::Bytes;
use cairn_model::ErrorKind;
use futures::TryStreamExt as _;
use object_store::{Error as StoreError, GetOptions, ObjectMeta, ObjectStoreExt as _};
use ulid::Ulid;

use super::{
    Key, Store, Version,
    cause::{self, Again, is_bucket_missing},
    meter::Verb,
    retry::Failure,
};
use crate::{Error, Result};

/// A whole object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its content.
    pub bytes: Bytes,
    /// Which version this is.
    pub version: Version,
}

/// The answer to a conditional GET.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// There is no such object.
    Absent,
    /// It is still the version that the caller knows.
    Unchanged,
    /// A version that the caller does not know.
    Found(Object),
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub key: Key,
    /// How large it is.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970 by the store's clock; S3 tells whole seconds.
    pub modified_ms: u64,
}

/// What a store says of an object without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// How large it is.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970 by the store's clock; S3 tells whole seconds.
    pub modified_ms: u64,
}

fn modified_ms(meta: &ObjectMeta) -> u64 {
    u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0)
}

/// Objects per page of a listing, in every store.
const PAGE_OBJECTS: u64 = 1_000;

/// What one attempt brought, when it brought an answer.
enum Answer {
    Fetched(Fetched),
    TooLarge(u64),
}

impl Store {
    /// A whole object, unless it still is the version `known`; at most `bytes_max` bytes of it.
    ///
    /// # Errors
    /// `Corrupt` when it is larger than that, `Unavailable` when the store does not answer.
    pub async fn get(&self, key: &Key, known: Option<&Version>, bytes_max: u64) -> Result<Fetched> {
        let answer = self.inner.retry.run(|| self.get_once(key, known, bytes_max)).await;
        match answer.map_err(|failure| self.explain(key, failure))? {
            Answer::Fetched(fetched) => Ok(fetched),
            Answer::TooLarge(bytes) => {
                let why = format!("is {bytes} bytes long, at most {bytes_max} were expected here");
                Err(Error::corrupt(self.address(key), why))
            }
        }
    }

    async fn get_once(&self, key: &Key, known: Option<&Version>, bytes_max: u64) -> object_store::Result<Answer> {
        let request = self.meters.start(Verb::Get).await;
        let if_none_match = known.and_then(|version| version.etag.clone());
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let found = match self.inner.objects.get_opts(&self.path(key), options).await {
            Ok(found) => found,
            Err(StoreError::NotModified { .. }) => return Ok(Answer::Fetched(Fetched::Unchanged)),
            Err(error @ StoreError::NotFound { .. }) if !is_bucket_missing(&error) => {
                return Ok(Answer::Fetched(Fetched::Absent));
            }
            Err(error) => return Err(error),
        };
        if found.meta.size > bytes_max {
            return Ok(Answer::TooLarge(found.meta.size));
        }
        let (size, version) =
            (found.meta.size, Version { etag: found.meta.e_tag.clone(), version: found.meta.version.clone() });
        let bytes = found.bytes().await?;
        request.received(bytes.len());
        if bytes.len() as u64 != size {
            return Err(Again(format!("{} of {size} bytes arrived", bytes.len())).into());
        }
        // A store that knows no If-None-Match sends everything again: the answer is the same, only dearer.
        if known.is_some_and(|known| known.is_same(&version)) {
            return Ok(Answer::Fetched(Fetched::Unchanged));
        }
        Ok(Answer::Fetched(Fetched::Found(Object { bytes, version })))
    }

    /// One attempt at a whole object of any size, for reading back what was just put.
    pub(super) async fn fetch_once(&self, key: &Key) -> object_store::Result<Fetched> {
        match self.get_once(key, None, u64::MAX).await? {
            Answer::Fetched(fetched) => Ok(fetched),
            Answer::TooLarge(_) => Ok(Fetched::Unchanged),
        }
    }

    /// Bytes `range` of an object that is `size` bytes long.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when the object has another size; `Unavailable`.
    pub async fn get_range(&self, key: &Key, range: Range<u64>, size: u64) -> Result<Bytes> {
        let wrong_size =
            |actual| Error::corrupt(self.address(key), format!("is {actual} bytes long, its manifest says {size}"));
        let outcome = self.inner.retry.run(|| self.get_range_once(key, &range)).await;
        match outcome {
            Ok((bytes, actual)) if actual == size && bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok((_, actual)) => Err(wrong_size(actual)),
            Err(failure) => match self.head(key).await {
                // A range beyond the end is an error in every store, and a different one in each.
                Ok(Some(actual)) if actual != size => Err(wrong_size(actual)),
                _ => Err(self.explain(key, failure)),
            },
        }
    }

    /// Bytes `range` of an object whose size the caller does not know.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when the object ends before the range; `Unavailable`.
    pub async fn get_part(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        let outcome = self.inner.retry.run(|| self.get_range_once(key, &range)).await;
        match outcome {
            Ok((bytes, _)) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok((_, size)) => Err(self.too_short(key, &range, size)),
            Err(failure) => match self.head(key).await {
                Ok(Some(size)) if size < range.end => Err(self.too_short(key, &range, size)),
                _ => Err(self.explain(key, failure)),
            },
        }
    }

    fn too_short(&self, key: &Key, range: &Range<u64>, size: u64) -> Error {
        let why = format!("is {size} bytes long, bytes {}-{} were expected in it", range.start, range.end);
        Error::corrupt(self.address(key), why)
    }

    async fn get_range_once(&self, key: &Key, range: &Range<u64>) -> object_store::Result<(Bytes, u64)> {
        let request = self.meters.start(Verb::Get).await;
        let started = Instant::now();
        let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
        let path = self.path(key);
        let ask = || self.inner.objects.get_opts(&path, options.clone());
        let found = self.inner.hedge.first(ask, || request.again()).await?;
        let begun = Instant::now();
        let (size, expected) = (found.meta.size, found.range.end - found.range.start);
        let bytes = found.bytes().await?;
        request.received(bytes.len());
        self.inner.speed.learn(bytes.len() as u64, [begun - started, begun.elapsed()]);
        if bytes.len() as u64 != expected {
            return Err(Again(format!("{} of {expected} bytes arrived", bytes.len())).into());
        }
        Ok((bytes, size))
    }

    /// An object's size; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn head(&self, key: &Key) -> Result<Option<u64>> {
        Ok(self.stat(key).await?.map(|stat| stat.bytes))
    }

    /// An object's size and age; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let path = self.path(key);
        let head = self.inner.retry.run(|| async {
            let _request = self.meters.start(Verb::Get).await;
            match self.inner.objects.head(&path).await {
                Ok(meta) => Ok(Some(Stat { bytes: meta.size, modified_ms: modified_ms(&meta) })),
                Err(error @ StoreError::NotFound { .. }) if !is_bucket_missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        });
        head.await.map_err(|failure| self.explain(key, failure))
    }

    /// When an object was written, by the store's clock, in milliseconds since 1970; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn written_ms(&self, key: &Key) -> Result<Option<u64>> {
        let path = self.path(key);
        let head = self.inner.retry.run(|| async {
            let _request = self.meters.start(Verb::Get).await;
            match self.inner.objects.head(&path).await {
                Ok(meta) => Ok(Some(u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0))),
                Err(error @ StoreError::NotFound { .. }) if !is_bucket_missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        });
        head.await.map_err(|failure| self.explain(key, failure))
    }

    /// All objects below a folder.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn list(&self, folder: &Key) -> Result<Vec<Found>> {
        let prefix = self.path(folder);
        let listing = self.inner.retry.run(|| async {
            let request = self.meters.start(Verb::Get).await;
            let found: Vec<_> = self.inner.objects.list(Some(&prefix)).try_collect().await?;
            request.pages((found.len() as u64).saturating_sub(1) / PAGE_OBJECTS);
            Ok(found)
        });
        let listed = listing.await.map_err(|failure| self.explain(folder, failure))?;
        let keys = listed.into_iter().filter_map(|meta| {
            let rest: Vec<_> = meta.location.prefix_match(&prefix)?.map(|part| part.as_ref().to_owned()).collect();
            Some(Found { key: folder.join(&rest.join("/")), bytes: meta.size, modified_ms: modified_ms(&meta) })
        });
        Ok(keys.collect())
    }

    /// The names of the folders right below a folder.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn list_folders(&self, folder: &Key) -> Result<Vec<String>> {
        let prefix = self.path(folder);
        let listing = self.inner.retry.run(|| async {
            let request = self.meters.start(Verb::Get).await;
            let found = match self.inner.objects.list_with_delimiter(Some(&prefix)).await {
                Err(error @ StoreError::NotFound { .. }) if !is_bucket_missing(&error) => return Ok(Vec::new()),
                found => found?.common_prefixes,
            };
            request.pages((found.len() as u64).saturating_sub(1) / PAGE_OBJECTS);
            Ok(found)
        });
        let folders = listing.await.map_err(|failure| self.explain(folder, failure))?;
        Ok(folders.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Whether the store answers at all (one cheap request); for `/readyz`.
    ///
    /// # Errors
    /// `Unavailable`, with what to do about it.
    pub async fn ping(&self) -> Result<()> {
        // An object that cannot exist: "not found" is the cheapest proof of a working bucket.
        match self.get(&Key::probe(Ulid::nil()), None, 0).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::Corrupt => Ok(()),
            Err(error) => Err(Error::unavailable(self.url(), error.why)),
        }
    }

    pub(super) fn explain(&self, key: &Key, failure: Failure) -> Error {
        cause::explain(self.address(key), failure, self.inner.retry.timeout)
    }
}
