//! Objects in memory, and a record of all that happens to them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use super::record::Record;

/// Every change is in the record at the moment at which it happens, whoever still waits for the answer.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) objects: Arc<InMemory>,
    pub(super) record: Arc<Record>,
}

fn told<T>(outcome: &Result<T>) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(object_store::Error::NotFound { .. }) => "absent",
        Err(object_store::Error::NotModified { .. }) => "unchanged",
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => "refused",
        Err(_) => "failed",
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let what = match opts.mode {
            PutMode::Create => "create",
            PutMode::Update(_) => "replace",
            PutMode::Overwrite => "overwrite",
        };
        let put = self.objects.put_opts(location, payload.clone(), opts).await;
        self.record.trace(what, location.as_ref(), told(&put));
        if put.is_ok() {
            self.record.is_put(location.as_ref(), &payload.iter().flatten().copied().collect::<Vec<_>>());
        }
        put
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.objects.get_opts(location, options).await;
        self.record.trace("get", location.as_ref(), told(&found));
        found
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (objects, record) = (Arc::clone(&self.objects), Arc::clone(&self.record));
        let deletions = locations.then(move |location| {
            let (objects, record) = (Arc::clone(&objects), Arc::clone(&record));
            async move {
                let location = location?;
                objects.delete(&location).await?;
                record.trace("delete", location.as_ref(), "done");
                record.is_deleted(location.as_ref());
                Ok(location)
            }
        });
        deletions.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.record.trace("list", prefix.map_or("", |prefix| prefix.as_ref()), "done");
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.record.trace("folders", prefix.map_or("", |prefix| prefix.as_ref()), "done");
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}
