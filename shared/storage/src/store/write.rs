//! Conditional PUT and DELETE.
//!
//! Every content that is put under a condition names its writer, so no two commits are alike. When a store refuses,
//! the object is read back: our own content means that an earlier attempt had won and its reply was lost; the state
//! that the condition asks for means that another request was merely in flight (S3's 409), so ours is repeated;
//! anything else is a lost race. If our version was put and already replaced by another one, the answer is "refused"
//! too: the caller re-reads and decides anew, which is right in both cases.

use bytes::Bytes;
use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode, PutResult, UpdateVersion};

use super::{Fetched, Key, Store, Version, cause::Again, meter::Verb};
use crate::Result;

/// The answer to a conditional put.
#[derive(Clone, Debug)]
pub enum Put {
    /// The object has our content, of this version.
    Done(Version),
    /// The condition did not hold, and nothing was changed.
    Refused,
}

/// What must hold at the moment of writing.
enum Condition<'a> {
    Absent,
    Is(&'a Version),
}

impl Store {
    /// Writes an object unless there is one.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer: then it may have been written or not.
    pub async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<Put> {
        self.put(key, content, Condition::Absent).await
    }

    /// Replaces an object if it still is the version `expected`.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer: then it may have been replaced or not.
    pub async fn compare_and_swap(&self, key: &Key, content: Bytes, expected: &Version) -> Result<Put> {
        self.put(key, content, Condition::Is(expected)).await
    }

    async fn put(&self, key: &Key, content: Bytes, condition: Condition<'_>) -> Result<Put> {
        let put = self.inner.retry.run(|| self.put_once(key, &content, &condition));
        put.await.map_err(|failure| self.explain(key, failure))
    }

    async fn put_once(&self, key: &Key, content: &Bytes, condition: &Condition<'_>) -> object_store::Result<Put> {
        let mode = match condition {
            Condition::Absent => PutMode::Create,
            Condition::Is(version) => {
                PutMode::Update(UpdateVersion { e_tag: version.etag.clone(), version: version.version.clone() })
            }
        };
        let request = self.meters.start(Verb::Put).await;
        let put = self.inner.objects.put_opts(&self.path(key), content.clone().into(), mode.into()).await;
        drop(request);
        match put {
            Ok(PutResult { e_tag: Some(etag), version, .. }) => Ok(Put::Done(Version { etag: Some(etag), version })),
            Ok(_) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                self.settle(key, content, condition).await
            }
            Err(error) => Err(error),
        }
    }

    /// Reads back what a refusal, or a reply without an `ETag`, leaves open.
    async fn settle(&self, key: &Key, content: &Bytes, condition: &Condition<'_>) -> object_store::Result<Put> {
        match self.fetch_once(key).await? {
            Fetched::Found(object) if object.bytes == *content => Ok(Put::Done(object.version)),
            Fetched::Found(object) if matches!(condition, Condition::Is(version) if version.is_same(&object.version)) => {
                Err(Again("refused although the object is unchanged".to_owned()).into())
            }
            Fetched::Absent if matches!(condition, Condition::Absent) => {
                Err(Again("refused although there is no such object".to_owned()).into())
            }
            _ => Ok(Put::Refused),
        }
    }

    /// Deletes an object; it is no error if there is none.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn delete(&self, key: &Key) -> Result<()> {
        let path = self.path(key);
        let deletion = self.inner.retry.run(|| async {
            let _request = self.meters.start(Verb::Delete).await;
            match self.inner.objects.delete(&path).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        });
        deletion.await.map_err(|failure| self.explain(key, failure))
    }
}
