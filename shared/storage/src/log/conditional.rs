//! Writes that depend on what is there: computed from everything up to one number, and put at the next. If somebody else was first, what
//! they wrote is read and the write is computed anew.

use std::sync::Arc;

use cairn_model::Edition;

use super::{
    Appended, Log, Part, Tail,
    append::{AppendError, Attempts},
};
use crate::Result;

/// After so many lost races within this process, the write is computed while nobody else of this process may put.
const POLITE_ATTEMPTS: u32 = 2;

/// What came of a conditional write.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was written there.
    Appended(Appended),
    /// Nothing had to be written, as things were at the end of this tail.
    Unneeded(Arc<Tail>),
}

impl Log {
    /// Appends, for a writer who knows this edition of the schema, what `compute` makes of the state at the end of the tail that it is given, exactly at that end; `None` when there is nothing to
    /// do. It is called again, with a longer tail, until nobody else came between. The tail is as of this call or later; a manifest that `compute`
    /// reads must fit it ([`Tail::since`]).
    ///
    /// A caller who leaves may leave the write done or not done.
    ///
    /// # Errors
    /// As [`AppendError`] says; what `compute` answers is `Failed`.
    pub async fn append_computed<F>(
        &self,
        edition: Edition,
        mut compute: impl FnMut(Arc<Tail>) -> F,
    ) -> std::result::Result<Outcome, AppendError>
    where
        F: Future<Output = Result<Option<Part>>>,
    {
        let mut attempts = Attempts::new();
        loop {
            let early = if attempts.count() >= POLITE_ATTEMPTS { Some(self.inner.turn.lock().await) } else { None };
            let tail = self.fresh(edition).await?;
            let Some(part) = compute(Arc::clone(&tail)).await? else {
                return Ok(Outcome::Unneeded(tail));
            };
            let part = part.of_edition(edition);
            let turn = match early {
                Some(turn) => turn,
                None => self.inner.turn.lock().await,
            };
            let parts = [part];
            let now = self.ready(&parts).await?;
            if now.next() == tail.next()
                && let Some(sequence) = self.put(tail.next(), &parts).await?
            {
                return Ok(Outcome::Appended(Appended { sequence, part: 0 }));
            }
            drop(turn);
            attempts.pause(self).await?;
        }
    }

    /// The tail as of now, from a position that is known; of no later edition.
    async fn fresh(&self, edition: Edition) -> std::result::Result<Arc<Tail>, AppendError> {
        self.ready(&[]).await?;
        let tail = self.refresh().await?;
        match tail {
            tail if tail.is_ended() => Err(AppendError::Ended),
            _ if edition < self.newest_edition(&[]) => Err(AppendError::Outdated),
            tail => Ok(tail),
        }
    }
}
