//! Strong reads that cost no time: an answer from what is known of a collection, while the store is asked whether that still is it.

use std::{future::Future, sync::Arc};

use crate::{
    error::{Error, Result},
    live::Seen,
    request::View,
    searcher::{Call, Searcher},
};
use cairn_model::ErrorKind;

impl Searcher {
    /// What `answer` makes of the version of a collection that `view` means when the request arrives.
    ///
    /// Where nothing is known, the segments are opened while the logs are looked at: if those hold nothing, the answer is there.
    ///
    /// What is known of it is used while the store is asked whether it still is that version; the answer counts only if it is. A
    /// segment that is gone was collected after a newer version took its place: that one is read.
    pub(super) async fn freshly<T, F: Future<Output = Result<T>>>(
        &self,
        call: &Call<'_>,
        view: &View,
        answer: impl Fn(Arc<Seen>) -> F,
    ) -> Result<T> {
        let seen = match self.snapshots.known(view) {
            None if view.as_of.is_none() => {
                let (seen, beside) = self.snapshots.opened(&call.catalog, view, &answer).await?;
                match beside {
                    Some(answered) if !answered.as_ref().is_err_and(is_gone) => return answered,
                    _ => seen,
                }
            }
            None => self.snapshots.fresh(&call.catalog, view, false).await?,
            Some(known) => {
                let beside = self.snapshots.fresh(&call.catalog_beside, view, false);
                let (newest, answered) = tokio::join!(beside, answer(Arc::clone(&known)));
                let newest = newest?;
                if Arc::ptr_eq(&newest, &known) && !answered.as_ref().is_err_and(is_gone) {
                    return answered;
                }
                call.wait();
                newest
            }
        };
        let answered = answer(Arc::clone(&seen)).await;
        if !answered.as_ref().is_err_and(is_gone) {
            return answered;
        }
        let newest = self.snapshots.fresh(&call.catalog, view, true).await?;
        if !Arc::ptr_eq(&newest, &seen) {
            return answer(newest).await;
        }
        match answered {
            // No newer version will take the place of a past.
            Err(Error::Storage(error)) if view.as_of.is_some() => Err(Error::NoPast(error)),
            answered => answered,
        }
    }
}

/// Whether a segment or a generation may be gone, so that it is worth looking whether there is a newer one.
fn is_gone(error: &Error) -> bool {
    match error {
        Error::Elsewhere(_) => true,
        Error::Storage(error) => error.kind == ErrorKind::NotFound,
        _ => false,
    }
}
