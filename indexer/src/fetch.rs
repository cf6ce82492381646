//! Sources that are URLs become local files first: parsers seek (Parquet) and stream (all others) at the disk's speed,
//! and a dropped connection never restarts a parse.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_storage::Store;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, IndexJob, Progress, Result, Stage,
    source::{self, Chain, Files, Source},
};

/// The files of a job.
pub(crate) enum Fetched {
    /// On local disk.
    Local {
        /// Vectors, and all else in JSONL and Parquet.
        input: PathBuf,
        /// Ids.
        ids: Option<PathBuf>,
        /// Payloads.
        payload: Option<PathBuf>,
    },
    /// Files that follow one another: places and sizes. Each is fetched when it is its turn.
    Folder(Vec<(String, u64)>),
}

/// What fetching a folder's files needs, while others are read.
pub(crate) struct Courier<'a> {
    pub(crate) job: &'a IndexJob,
    pub(crate) dir: &'a Path,
    pub(crate) progress: &'a Arc<dyn Progress>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) runtime: Handle,
}

impl Fetched {
    /// Opens the source. Called, and read, on a thread that may block.
    ///
    /// # Errors
    /// As [`source::open`], and what fetching says.
    pub(crate) fn open(&self, courier: &Courier<'_>) -> Result<Box<dyn Source>> {
        let places = match self {
            Self::Local { input, ids, payload } => {
                return source::open(&Files { input, ids: ids.as_deref(), payload: payload.as_deref() });
            }
            Self::Folder(places) => places.clone(),
        };
        let (job, dir, progress) = (courier.job.clone(), courier.dir.join("input"), Arc::clone(courier.progress));
        let (cancel, runtime) = (courier.cancel.clone(), courier.runtime.clone());
        let files = places.len();
        let open = move |at: usize| {
            let (place, _) = places.get(at).ok_or(Error::Cancelled)?;
            // The file before was closed, and was ours if it is in our directory.
            if dir.exists() {
                std::fs::remove_dir_all(&dir).map_err(|error| Error::disk(&dir, error))?;
            }
            let fetched = runtime.block_on(cancel.run_until_cancelled(one(&job, place, &dir, &progress)));
            source::open(&Files { input: &fetched.ok_or(Error::Cancelled)??, ids: None, payload: None })
        };
        Ok(Box::new(Chain::open(courier.job.input.clone(), files, Box::new(open))?))
    }

    /// Tells this source from others, by names and sizes: 16 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub(crate) fn fingerprint(&self, job: &IndexJob) -> Result<String> {
        let mut facts = String::new();
        let mut note = |place: &str, bytes: u64| facts.push_str(&format!("{bytes} {place}\n"));
        match self {
            Self::Folder(places) => places.iter().for_each(|(place, bytes)| note(place, *bytes)),
            Self::Local { input, ids, payload } => {
                let places = [Some(&job.input), job.options.ids.as_ref(), job.options.payload.as_ref()];
                for (place, path) in places.into_iter().zip([Some(input), ids.as_ref(), payload.as_ref()]) {
                    let (Some(place), Some(path)) = (place, path) else { continue };
                    note(place, path.metadata().map_err(|error| Error::disk(path, error))?.len());
                }
            }
        }
        Ok(format!("{:016x}", xxh3_64(facts.as_bytes())))
    }
}

/// Downloads into `dir` what is not local; of a folder, only the list.
///
/// # Errors
/// [`Error::Invalid`] for a URL that names no file; [`Error::Storage`].
pub(crate) async fn fetch(job: &IndexJob, dir: &Path, progress: &Arc<dyn Progress>) -> Result<Fetched> {
    if job.input.ends_with('/') || (!job.input.contains("://") && Path::new(&job.input).is_dir()) {
        return folder(job).await;
    }
    let input = one(job, &job.input, &dir.join("input"), progress).await?;
    let ids = match &job.options.ids {
        Some(ids) => Some(one(job, ids, &dir.join("ids"), progress).await?),
        None => None,
    };
    let payload = match &job.options.payload {
        Some(payload) => Some(one(job, payload, &dir.join("payload"), progress).await?),
        None => None,
    };
    Ok(Fetched::Local { input, ids, payload })
}

/// Lists a folder. Names that begin with `_` or `.` are what other programs leave beside their data.
async fn folder(job: &IndexJob) -> Result<Fetched> {
    for (option, given) in [("ids", &job.options.ids), ("payload", &job.options.payload)] {
        if given.is_some() {
            let why =
                "belongs to one file of vectors, not to a folder: give files that bring their own (.jsonl, .parquet)";
            return Err(Error::invalid(option, why));
        }
    }
    let folder = job.input.trim_end_matches('/');
    let files = Store::open(folder, &job.store_options).await?.files().await?;
    // Names are parsed as parts of URLs again.
    let remote = folder.contains("://");
    let part = |name: &str| name.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let points = files.into_iter().filter(|(name, _)| !name.starts_with(['_', '.']));
    let places = points.map(|(name, bytes)| (format!("{folder}/{}", if remote { part(&name) } else { name }), bytes));
    Ok(Fetched::Folder(places.collect()))
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
