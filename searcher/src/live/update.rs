//! A write: it is checked, divided by shard, put into each shard's log, and what became of it is told.
//!
//! Whole points and removals by id are put as they came, and share puts with other writes. Everything else depends on what is there, and is
//! put as the whole points that it comes to (`resolve`). A write that finds its generation replaced, or its vectors changed, begins anew with what is served.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use cairn_model::{Change, CollectionName, ErrorKind, Operation, OperationError, PointId, Selection, Usage};
use cairn_storage::{
    CollectionDoc,
    log::{AppendError, Log, Outcome, Part, append_all},
};
use futures::future::join_all;

use super::{Seen, resolve::resolved};
use crate::{
    check::check_operations,
    error::{Error, Result},
    request::View,
    searcher::{Call, Searcher},
    settings::in_lambda,
    update::{UpdateParams, UpdateResult, UpdateStatus},
};

/// How many generations a write tries that are replaced under it.
const GENERATIONS_MAX: usize = 4;

/// What each shard is asked.
type Shares = BTreeMap<u32, Vec<Operation>>;

/// Why a write did not come to its end.
enum Failure {
    /// Another generation is served now, or none.
    Replaced,
    /// The collection's vectors were changed since it was read.
    Outdated,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Ended => Self::Replaced,
            AppendError::Outdated => Self::Outdated,
            AppendError::Failed(error) if error.kind == ErrorKind::NotFound => Self::Replaced,
            AppendError::Failed(error) => Self::Other(error.into()),
            AppendError::Full { why, retry_after } => Self::Other(Error::Busy { why, retry_after }),
            AppendError::Unknown(error) => {
                tracing::warn!(%error, "it is not known whether a write is durable");
                let why =
                    "it is not known whether the write is durable, because the store did not answer: write it again";
                Self::Other(Error::Elsewhere(why.to_owned()))
            }
        }
    }
}

impl Searcher {
    /// Carries out operations on the collection that a name or an alias means, in their order. Each shard takes its share at one place of its log, all of it or nothing.
    ///
    /// # Errors
    /// `NoCollection`; `Invalid` and `Validation` where an operation contradicts the schema or a limit, and `NoPoint` where one names a point that
    /// is not there: then nothing is written to that point's shard; `Busy` when more is written than is moved into segments; `Elsewhere` says which
    /// shards' shares are durable.
    pub async fn update(
        &self,
        name: &CollectionName,
        operations: Vec<Operation>,
        params: UpdateParams,
    ) -> Result<(UpdateResult, Usage)> {
        let call = self.call();
        let writing = self.write(&call, name, operations, params.wait || in_lambda());
        let result = match params.timeout {
            Some(timeout) => tokio::time::timeout(timeout, writing).await.unwrap_or(Err(Error::Cancelled))?,
            None => writing.await?,
        };
        let status = if params.wait { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
        Ok((UpdateResult { operation_id: result, status }, call.usage()))
    }

    async fn write(
        &self,
        call: &Call<'_>,
        name: &CollectionName,
        operations: Vec<Operation>,
        wait: bool,
    ) -> Result<Option<u64>> {
        let operations = Arc::new(operations);
        // What is known will do: a log that was ended since, because its generation was replaced, says so.
        let mut known = self.snapshots.known(&View::from(name.clone())).filter(|seen| seen.doc.live);
        for _ in 0..GENERATIONS_MAX {
            let (seen, is_newest) = match known.take() {
                Some(seen) => (seen, false),
                None => (self.named(call, name).await?, true),
            };
            let fitting = match self.fitting(&seen, &operations).await {
                // What contradicts it may fit the vectors that it has by now.
                Err(Error::Invalid(_)) if !is_newest => continue,
                fitting => fitting?,
            };
            let Some(live) = self.taking_writes(call, &seen).await? else { continue };
            let fits = |doc: &CollectionDoc| (doc.generation.clone(), doc.schema.editions.newest);
            if fits(&live.doc) != fits(&seen.doc) {
                // What fitted another schema is not put under this one.
                known = Some(live);
                continue;
            }
            match self.put(call, &live, fitting, wait).await {
                Ok(number) => return Ok(number),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Replaced) => self.snapshots.forget(&live.doc.name),
                Err(Failure::Outdated) => {}
            }
        }
        Err(Error::Elsewhere(format!("collection `{name}` is being replaced: write again in a moment")))
    }

    /// The operations as they are put into this version of the collection: millions of numbers may be looked at, so not here.
    async fn fitting(&self, seen: &Arc<Seen>, operations: &Arc<Vec<Operation>>) -> Result<Vec<Operation>> {
        let (seen, operations) = (Arc::clone(seen), Arc::clone(operations));
        let fit = move |_: &_| {
            let mut operations = operations.to_vec();
            check_operations(&seen.doc.schema, &mut operations)?;
            Ok(operations)
        };
        self.workers.run(fit).await
    }

    /// The same collection once it says that its logs may hold writes; `None` where it was changed meanwhile, and has to be read again.
    async fn taking_writes(&self, call: &Call<'_>, seen: &Arc<Seen>) -> Result<Option<Arc<Seen>>> {
        if seen.doc.live {
            return Ok(Some(Arc::clone(seen)));
        }
        match call.catalog.enliven(seen.collection()).await {
            Err(error) if error.kind == ErrorKind::Conflict => return Ok(None),
            enlivened => enlivened?,
        };
        self.snapshots.fresh(&call.catalog, &View::from(seen.doc.name.clone()), true).await.map(Some)
    }

    async fn put(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        operations: Vec<Operation>,
        wait: bool,
    ) -> std::result::Result<Option<u64>, Failure> {
        let are_whole = operations.iter().all(Operation::is_whole);
        let shares = shares(operations, seen.doc.schema.shard_count);
        if !are_whole {
            return self.put_resolved(call, seen, shares).await;
        }
        let edition = seen.doc.schema.editions.newest;
        let encoding = move |_: &_| {
            let one = |(shard, operations)| Ok((shard, Part::new(changes(operations)?)?.of_edition(edition)));
            shares.into_iter().map(one).collect::<Result<Vec<_>>>()
        };
        let parts = self.workers.run(encoding).await?;
        let parts: Vec<(Log, Part)> =
            parts.into_iter().map(|(shard, part)| (self.tails.log(seen, shard), part)).collect();
        call.add(Usage { puts: parts.len() as u64, waves: 1, ..Usage::default() });
        if !wait {
            for (log, part) in parts {
                log.submit(part).await?;
            }
            return Ok(None);
        }
        let spread = append_all(parts).await;
        match spread.failure() {
            None => Ok(spread.shards.iter().filter_map(|(_, done)| Some(done.as_ref().ok()?.sequence)).max()),
            Some(failure) => Err(told(failure.clone(), spread.durable().next().is_some(), &spread)),
        }
    }

    /// Puts what operations come to that depend on what is there. Shards do not wait for one another.
    async fn put_resolved(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        shares: Shares,
    ) -> std::result::Result<Option<u64>, Failure> {
        let one = |(shard, operations): (u32, Vec<Operation>)| async move {
            (shard, self.put_share(call, seen, shard, operations).await)
        };
        let done = join_all(shares.into_iter().map(one)).await;
        let durable: Vec<u32> = done.iter().filter(|(_, done)| done.is_ok()).map(|(shard, _)| *shard).collect();
        let mut last = None;
        for (shard, outcome) in done {
            match outcome {
                Ok(number) => last = last.max(number),
                Err(Failure::Other(error @ Error::NoPoint(_))) => return Err(Failure::Other(error)),
                Err(failure) => {
                    let durable: Vec<String> = durable.iter().map(u32::to_string).collect();
                    let spread = format!("durable in shards {}; not written to shard {shard}", durable.join(", "));
                    return Err(told(failure, !durable.is_empty(), &spread));
                }
            }
        }
        Ok(last)
    }

    async fn put_share(
        &self,
        call: &Call<'_>,
        seen: &Arc<Seen>,
        shard: u32,
        operations: Vec<Operation>,
    ) -> std::result::Result<Option<u64>, Failure> {
        let log = self.tails.log(seen, shard);
        let failed = &Mutex::new(None);
        let operations = &operations;
        let compute = move |tail| async move {
            let computed = async {
                let at = self.tails.at(&call.catalog, seen, shard, tail).await?;
                let resolved = resolved(self, call, (&at, shard), operations).await?;
                if resolved.is_empty() {
                    return Ok(None);
                }
                self.workers.run(move |_| Ok(Part::new(resolved)?)).await.map(Some)
            };
            computed.await.map_err(|error: Error| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                cairn_storage::Error::new(ErrorKind::Cancelled, "write", "could not be computed")
            })
        };
        let appended = log.append_computed(seen.doc.schema.editions.newest, compute).await;
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Failure::Other(error));
        }
        match appended? {
            Outcome::Appended(appended) => {
                call.add(Usage { puts: 1, waves: 1, ..Usage::default() });
                Ok(Some(appended.sequence))
            }
            Outcome::Unneeded(tail) => Ok(tail.next().checked_sub(1)),
        }
    }
}

/// A failure, with what is durable in spite of it.
fn told(failure: impl Into<Failure>, is_partly_durable: bool, spread: &dyn std::fmt::Display) -> Failure {
    match failure.into() {
        Failure::Other(error) if is_partly_durable => {
            Failure::Other(Error::Elsewhere(format!("{spread}: {}; write it again", error.public())))
        }
        failure => failure,
    }
}

/// What operations that do not depend on anything say.
fn changes(operations: Vec<Operation>) -> Result<Vec<Change>> {
    let changes = operations.into_iter().map(Change::try_from).collect::<std::result::Result<_, OperationError>>();
    changes.map_err(|error| Error::Internal(error.to_string()))
}

/// What operations ask of each shard: of those that have the points they name, of all where a filter says which.
fn shares(operations: Vec<Operation>, shard_count: u32) -> Shares {
    let mut shares = Shares::new();
    for operation in operations {
        for (shard, operation) in divided(operation, shard_count) {
            shares.entry(shard).or_default().push(operation);
        }
    }
    shares
}

fn divided(operation: Operation, shard_count: u32) -> Vec<(u32, Operation)> {
    let selections = |selection: Selection, make: &dyn Fn(Selection) -> Operation| match selection {
        Selection::Ids(ids) => {
            let groups = by_shard(ids, |id| *id, shard_count);
            groups.into_iter().map(|(shard, ids)| (shard, make(Selection::Ids(ids)))).collect()
        }
        filter @ Selection::Filter(_) => {
            let shards: BTreeSet<u32> = (0..shard_count).collect();
            shards.into_iter().map(|shard| (shard, make(filter.clone()))).collect::<Vec<_>>()
        }
    };
    match operation {
        Operation::Upsert { points, mode, filter } => {
            let groups = by_shard(points, |point| point.id, shard_count);
            let make = |(shard, points)| (shard, Operation::Upsert { points, mode, filter: filter.clone() });
            groups.into_iter().map(make).collect()
        }
        Operation::UpdateVectors { points, filter } => {
            let groups = by_shard(points, |(id, _)| *id, shard_count);
            let make = |(shard, points)| (shard, Operation::UpdateVectors { points, filter: filter.clone() });
            groups.into_iter().map(make).collect()
        }
        Operation::Delete(selection) => selections(selection, &Operation::Delete),
        Operation::ClearPayload(selection) => selections(selection, &Operation::ClearPayload),
        Operation::SetPayload { selection, payload, key } => selections(selection, &|selection| {
            Operation::SetPayload { selection, payload: payload.clone(), key: key.clone() }
        }),
        Operation::OverwritePayload { selection, payload, key } => selections(selection, &|selection| {
            Operation::OverwritePayload { selection, payload: payload.clone(), key: key.clone() }
        }),
        Operation::DeletePayload { selection, keys } => {
            selections(selection, &|selection| Operation::DeletePayload { selection, keys: keys.clone() })
        }
        Operation::DeleteVectors { selection, names } => {
            selections(selection, &|selection| Operation::DeleteVectors { selection, names: names.clone() })
        }
    }
}

fn by_shard<T>(all: Vec<T>, id: impl Fn(&T) -> PointId, shard_count: u32) -> BTreeMap<u32, Vec<T>> {
    let mut groups = BTreeMap::<u32, Vec<T>>::new();
    for one in all {
        groups.entry(id(&one).shard(shard_count)).or_default().push(one);
    }
    groups
}
