//! Sources that are URLs become local files first: parsers seek (Parquet) and stream (all others) at the disk's speed,
//! and a dropped connection never restarts a parse.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_storage::Store;
use url::Url;

use crate::{Error, IndexJob, Progress, Result, Stage, source::Files};

/// The local files of a job.
pub(crate) struct Fetched {
    input: PathBuf,
    ids: Option<PathBuf>,
    payload: Option<PathBuf>,
}

impl Fetched {
    pub(crate) fn files(&self) -> Files<'_> {
        Files { input: &self.input, ids: self.ids.as_deref(), payload: self.payload.as_deref() }
    }
}

/// Downloads into `dir` what is not local.
///
/// # Errors
/// [`Error::Invalid`] for a URL that names no file; [`Error::Storage`].
pub(crate) async fn fetch(job: &IndexJob, dir: &Path, progress: &Arc<dyn Progress>) -> Result<Fetched> {
    let input = one(job, &job.input, &dir.join("input"), progress).await?;
    let ids = match &job.options.ids {
        Some(ids) => Some(one(job, ids, &dir.join("ids"), progress).await?),
        None => None,
    };
    let payload = match &job.options.payload {
        Some(payload) => Some(one(job, payload, &dir.join("payload"), progress).await?),
        None => None,
    };
    Ok(Fetched { input, ids, payload })
}

/// The local path of one file; downloads go to a directory of their own, under the file's own name, which tells its format.
async fn one(job: &IndexJob, place: &str, dir: &Path, progress: &Arc<dyn Progress>) -> Result<PathBuf> {
    if !place.contains("://") {
        return Ok(PathBuf::from(place));
    }
    let bad = |why: String| Error::invalid("source", format!("'{place}': {why}"));
    let url = Url::parse(place).map_err(|error| bad(error.to_string()))?;
    if url.scheme() == "file" {
        return url.to_file_path().map_err(|()| bad("no path on this machine".into()));
    }
    let name = url.path().rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name == ".." || name.contains('\\') {
        return Err(bad("names no file".into()));
    }
    std::fs::create_dir_all(dir).map_err(|error| Error::disk(dir, error))?;
    let path = dir.join(name);
    let store = Store::open(place, &job.store_options).await?;
    store.download(&path, &|done, total| progress.progress(Stage::Fetch, done, total)).await?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_that_are_no_files_are_refused() {
        let job = IndexJob {
            collection: cairn_model::CollectionName::parse("c").unwrap(),
            input: String::new(),
            distance: None,
            options: crate::IndexOptions::default(),
            store_options: cairn_storage::StoreOptions::default(),
        };
        let progress: Arc<dyn Progress> = Arc::new(crate::Unwatched);
        for bad in ["s3://bucket/", "s3://bucket/a/..", "s3:// /x.npy"] {
            let error = one(&job, bad, Path::new("/nowhere"), &progress).await.unwrap_err();
            assert!(error.to_string().contains("source"), "{error}");
        }
        let path = one(&job, "file:///tmp/a%20b.npy", Path::new("/nowhere"), &progress).await.unwrap();
        assert_eq!(path, Path::new("/tmp/a b.npy"));
        let path = one(&job, "a/b.npy", Path::new("/nowhere"), &progress).await.unwrap();
        assert_eq!(path, Path::new("a/b.npy"));
    }
}
