//! Files that are no objects of ours: a source of points, named by a URL of its own.

use std::{fs::File, io::Write as _, ops::Range, path::Path};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{Error as StoreError, GetOptions, ObjectStoreExt as _};

use super::{Store, cause, cause::Again, meter::Verb, retry::Failure};
use crate::{Error, Result};

/// Bytes of one range.
const RANGE_BYTES: u64 = 8 << 20;
/// Ranges in flight: together with the one that is written they are the memory that a download needs.
const RANGES_IN_FLIGHT: usize = 4;

impl Store {
    /// Downloads the one object that this store's URL names to a new file, in parallel ranges of one version of it. `progress` hears of
    /// bytes done and in all. Returns the size.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the object is replaced meanwhile; `Unavailable` for the store and for the disk.
    pub async fn download(&self, file: &Path, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<u64> {
        let disk = |error: std::io::Error| Error::unavailable(file.display().to_string(), error);
        let head = self.inner.retry.run(|| async {
            let _request = self.meters.start(Verb::Get).await;
            self.inner.objects.head(&self.inner.root).await
        });
        let head = head.await.map_err(|failure| self.explain_root(failure))?;
        let (size, etag) = (head.size, head.e_tag);
        let mut out = File::create_new(file).map_err(disk)?;
        let ranges = (0..size.div_ceil(RANGE_BYTES)).map(|n| n * RANGE_BYTES..size.min((n + 1) * RANGE_BYTES));
        let mut parts = stream::iter(ranges)
            .map(|range| {
                let etag = etag.clone();
                async move {
                    let part = self.inner.retry.run(|| self.part(&range, etag.as_ref())).await;
                    part.map_err(|failure| self.explain_root(failure))
                }
            })
            .buffered(RANGES_IN_FLIGHT);
        let mut done = 0;
        while let Some(part) = parts.try_next().await? {
            done += part.len() as u64;
            let written = tokio::task::spawn_blocking(move || out.write_all(&part).map(|()| out)).await;
            out = written.map_err(std::io::Error::other).flatten().map_err(disk)?;
            progress(done, size);
        }
        Ok(size)
    }

    /// The files right below the folder that this store's URL names: their names, in order, and sizes.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn files(&self) -> Result<Vec<(String, u64)>> {
        let listing = self.inner.retry.run(|| async {
            let _request = self.meters.start(Verb::Get).await;
            self.inner.objects.list_with_delimiter(Some(&self.inner.root)).await
        });
        let listed = listing.await.map_err(|failure| self.explain_root(failure))?;
        let named = |meta: object_store::ObjectMeta| Some((meta.location.filename()?.to_owned(), meta.size));
        let mut files: Vec<_> = listed.objects.into_iter().filter_map(named).collect();
        files.sort();
        Ok(files)
    }

    /// One range of the version `etag`.
    async fn part(&self, range: &Range<u64>, etag: Option<&String>) -> object_store::Result<Bytes> {
        let request = self.meters.start(Verb::Get).await;
        let options =
            GetOptions { range: Some(range.clone().into()), if_match: etag.cloned(), ..GetOptions::default() };
        let found = self.inner.objects.get_opts(&self.inner.root, options).await?;
        let bytes = found.bytes().await?;
        request.received(bytes.len());
        if bytes.len() as u64 != range.end - range.start {
            return Err(Again(format!("{} of {} bytes arrived", bytes.len(), range.end - range.start)).into());
        }
        Ok(bytes)
    }

    fn explain_root(&self, failure: Failure) -> Error {
        if let Some(StoreError::Precondition { .. }) = failure.error {
            let why = "was replaced while it was downloaded: run it again";
            return Error::new(cairn_model::ErrorKind::Conflict, self.url(), why);
        }
        cause::explain(self.url().to_owned(), failure, self.inner.retry.timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use cairn_model::ErrorKind;
    use futures::FutureExt as _;
    use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory};

    use super::*;
    use crate::store::Retry;

    fn store(objects: &Arc<InMemory>) -> Store {
        let objects = Arc::clone(objects) as Arc<dyn ObjectStore>;
        let mut store = Store::over(objects, "memory:///a/b.npy", Retry::new(Duration::from_secs(5), 1));
        let inner = Arc::get_mut(&mut store.inner).unwrap();
        inner.root = object_store::path::Path::from("a/b.npy");
        store
    }

    #[tokio::test]
    async fn a_file_arrives_whole_whatever_its_size() {
        let (objects, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
        let store = store(&objects);
        for (number, size) in [0, 1, RANGE_BYTES, 5 * RANGE_BYTES + 3].into_iter().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            objects.put(&"a/b.npy".into(), bytes.clone().into()).await.unwrap();
            let path = dir.path().join(number.to_string());
            assert_eq!(store.download(&path, &|done, total| assert!(done <= total)).await.unwrap(), size);
            assert!(std::fs::read(&path).unwrap() == bytes);
        }
    }

    #[tokio::test]
    async fn a_folders_files_are_listed_in_order_and_without_what_is_below() {
        let objects = Arc::new(InMemory::new());
        for (key, size) in [("a/b.npy/2.npy", 2), ("a/b.npy/10.npy", 10), ("a/b.npy/deep/x", 1), ("a/other", 1)] {
            objects.put(&key.into(), vec![0; size].into()).await.unwrap();
        }
        let files = store(&objects).files().await.unwrap();
        assert_eq!(files, [("10.npy".to_owned(), 10), ("2.npy".to_owned(), 2)]);
    }

    #[tokio::test]
    async fn what_is_not_there_or_changes_is_an_error() {
        let (objects, dir) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
        let store = store(&objects);
        let missing = store.download(&dir.path().join("x"), &|_, _| {}).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);

        let size = RANGE_BYTES * 20;
        let length = usize::try_from(size).unwrap();
        objects.put(&"a/b.npy".into(), vec![0; length].into()).await.unwrap();
        let replace = |done, _| {
            if done == RANGE_BYTES {
                // Memory never waits.
                let path = "a/b.npy".into();
                objects.put(&path, vec![1; length].into()).now_or_never().unwrap().unwrap();
            }
        };
        let changed = store.download(&dir.path().join("y"), &replace).await.unwrap_err();
        assert_eq!(changed.kind, ErrorKind::Conflict, "{changed}");
    }
}
