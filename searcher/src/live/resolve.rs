//! Writes that depend on what is there, as the whole points that they come to at one place of a shard's log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cairn_engine::payload;
use cairn_model::{
    Change, Filter, Operation, Payload, Point, PointId, Selection, UpdateMode, Vectors, limits::IDS_MAX,
};

use super::{
    Seen,
    payloads::{merge, merge_at, remove, replace_at},
};
use crate::{
    check,
    error::{Error, Result},
    request::Record,
    searcher::{Call, Searcher},
};

/// What operations come to, from what `at` shows of a shard: puts and removals of whole points; none when they change nothing.
///
/// # Errors
/// `NoPoint` where an operation that changes points names one that is not there; else as reading them.
pub(crate) async fn resolved(
    searcher: &Searcher,
    call: &Call<'_>,
    (at, shard): (&Arc<Seen>, u32),
    operations: &[Operation],
) -> Result<Vec<Change>> {
    let mut state = State { searcher, call, at, shard, known: BTreeMap::new(), changed: BTreeSet::new() };
    for operation in operations {
        state.carry_out(operation).await?;
    }
    Ok(state.changes())
}

/// A shard while operations are carried out.
struct State<'a> {
    searcher: &'a Searcher,
    call: &'a Call<'a>,
    at: &'a Arc<Seen>,
    shard: u32,
    /// Points as they are by now, as far as they were looked at; `None` for those that are not there.
    known: BTreeMap<PointId, Option<Point>>,
    changed: BTreeSet<PointId>,
}

impl State<'_> {
    async fn carry_out(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Upsert { points, mode, filter } => self.upsert(points, *mode, filter.as_ref()).await,
            Operation::Delete(Selection::Ids(ids)) => {
                ids.iter().for_each(|id| self.set(*id, None));
                Ok(())
            }
            Operation::Delete(Selection::Filter(filter)) => {
                for id in self.matching(filter, false).await? {
                    self.set(id, None);
                }
                Ok(())
            }
            Operation::SetPayload { selection, payload, key } => {
                self.change(selection, |point| match key {
                    Some(key) => merge_at(&mut point.payload, key, payload),
                    None => merge(&mut point.payload, payload),
                })
                .await
            }
            Operation::OverwritePayload { selection, payload, key } => {
                self.change(selection, |point| match key {
                    Some(key) => replace_at(&mut point.payload, key, payload),
                    None => point.payload.clone_from(payload),
                })
                .await
            }
            Operation::DeletePayload { selection, keys } => {
                self.change(selection, |point| remove(&mut point.payload, keys)).await
            }
            Operation::ClearPayload(selection) => self.change(selection, |point| point.payload.clear()).await,
            Operation::UpdateVectors { points, filter } => self.update_vectors(points, filter.as_ref()).await,
            Operation::DeleteVectors { selection, names } => {
                self.change(selection, |point| point.vectors.retain(|name, _| !names.contains(name))).await
            }
        }
    }

    async fn upsert(&mut self, points: &[Point], mode: UpdateMode, filter: Option<&Filter>) -> Result<()> {
        if mode != UpdateMode::Upsert || filter.is_some() {
            self.look_at(points.iter().map(|point| point.id)).await?;
        }
        for point in points {
            let there = self.known.get(&point.id).and_then(Option::as_ref);
            let is_written = match (mode, there) {
                (UpdateMode::InsertOnly, Some(_)) | (UpdateMode::UpdateOnly, None) => false,
                (_, Some(there)) => filter.is_none_or(|filter| is_match(&self.at.settled(filter), there)),
                (_, None) => true,
            };
            if is_written {
                self.set(point.id, Some(point.clone()));
            }
        }
        Ok(())
    }

    async fn update_vectors(&mut self, points: &[(PointId, Vectors)], filter: Option<&Filter>) -> Result<()> {
        self.look_at(points.iter().map(|(id, _)| *id)).await?;
        for (id, vectors) in points {
            let point = self.known.get(id).cloned().flatten().ok_or(Error::NoPoint(*id))?;
            if filter.is_none_or(|filter| is_match(&self.at.settled(filter), &point)) {
                let mut point = point;
                point.vectors.extend(vectors.iter().map(|(name, vector)| (name.clone(), vector.clone())));
                self.set(*id, Some(point));
            }
        }
        Ok(())
    }

    /// Changes all points of a selection.
    async fn change(&mut self, selection: &Selection, change: impl Fn(&mut Point)) -> Result<()> {
        let ids: Vec<PointId> = match selection {
            Selection::Ids(ids) => {
                self.look_at(ids.iter().copied()).await?;
                ids.clone()
            }
            Selection::Filter(filter) => self.matching(filter, true).await?,
        };
        for id in ids {
            let mut point = self.known.get(&id).cloned().flatten().ok_or(Error::NoPoint(id))?;
            let before = point.clone();
            change(&mut point);
            if point != before {
                // What is put must be no larger or deeper than what may be written at once: nobody could read the log else.
                check::payload(&point.payload)?;
                self.set(id, Some(point));
            }
        }
        Ok(())
    }

    fn set(&mut self, id: PointId, point: Option<Point>) {
        self.known.insert(id, point);
        self.changed.insert(id);
    }

    /// Reads points that are not known yet.
    async fn look_at(&mut self, ids: impl Iterator<Item = PointId>) -> Result<()> {
        let unknown: Vec<PointId> = ids.filter(|id| !self.known.contains_key(id)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let found = self.searcher.points_of(self.call, (self.at, self.shard), unknown.clone()).await?;
        self.known.extend(unknown.into_iter().map(|id| (id, None)));
        for record in found {
            self.known.insert(record.id, Some(point(record)?));
        }
        Ok(())
    }

    /// The points that match by now; with `whole`, they are known then.
    async fn matching(&mut self, filter: &Filter, whole: bool) -> Result<Vec<PointId>> {
        let stored = self.searcher.ids_of(self.call, (self.at, self.shard), filter).await?;
        let mut ids: Vec<PointId> = stored.into_iter().filter(|id| !self.known.contains_key(id)).collect();
        if whole {
            self.look_at(ids.iter().copied()).await?;
            ids.clear();
        }
        let filter = self.at.settled(filter);
        let known = self.known.iter().filter_map(|(id, point)| Some((id, point.as_ref()?)));
        ids.extend(known.filter(|(_, point)| is_match(&filter, point)).map(|(id, _)| *id));
        Ok(ids)
    }

    /// What is to be put, at most so many points to a change as one may have.
    fn changes(mut self) -> Vec<Change> {
        let (mut points, mut removed) = (Vec::new(), Vec::new());
        for id in &self.changed {
            match self.known.remove(id).flatten() {
                Some(point) => points.push(point),
                None => removed.push(*id),
            }
        }
        let puts = points.chunks(IDS_MAX).map(|points| Change::Put(points.to_vec()));
        let removals = removed.chunks(IDS_MAX).map(|ids| Change::Remove(ids.to_vec()));
        puts.chain(removals).collect()
    }
}

fn is_match(filter: &Filter, point: &Point) -> bool {
    payload::matches(filter, point.id, &point.payload, &|name| point.vectors.contains_key(name))
}

/// A point as it was stored.
fn point(record: Record) -> Result<Point> {
    let damaged = |error: serde_json::Error| Error::Internal(format!("the payload of point {}: {error}", record.id));
    let payload = record.payload.as_deref().map(|text| serde_json::from_str::<Payload>(text.get()));
    let payload = payload.transpose().map_err(damaged)?.unwrap_or_default();
    Ok(Point { id: record.id, vectors: record.vectors.unwrap_or_default(), payload })
}
