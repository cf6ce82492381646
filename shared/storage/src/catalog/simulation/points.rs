//! What is written in a simulation: points that have the number of the write that made them, and a vector that comes and goes; and segments, which are lists
//! of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use cairn_model::{Change, CollectionSchema, Edition, Point, PointId, Vector};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::super::{Catalog, Collection, DeadRows, Generation, HeadEntry, SegmentEntry};
use crate::{
    Result,
    log::{Frame, Part},
    store::{Fetched, Key},
};

/// Shards of every generation.
pub(super) const SHARDS: u32 = 2;
/// Points of a shard.
pub(super) const POINTS: usize = 4;
/// The key of a payload under which the number of the write is.
const VERSION: &str = "version";
/// The number that whoever wrote this had read there.
const SAW: &str = "saw";

/// The vector that is added to the schema and removed from it.
pub(super) const VECTOR: &str = "v";

/// What is to be seen of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The number of the write that made it.
    pub(super) version: u64,
    /// Whether it has [`VECTOR`].
    pub(super) vector: bool,
}

/// The points that are there.
pub(super) type State = BTreeMap<u64, Row>;
/// The newest of each point in a tail; none for one that was removed.
pub(super) type Changes = BTreeMap<u64, Option<Row>>;

/// The points of a shard: what increments write, what every removal writes as well, and others.
pub(super) fn ids(shard: u32) -> Vec<u64> {
    (0..).filter(|id| PointId::Num(*id).shard(SHARDS) == shard).take(POINTS).collect()
}

/// A write of some points, with this number and all vectors of the schema; `saw` is what it was computed from.
pub(super) fn upsert(schema: &CollectionSchema, ids: &[u64], version: u64, saw: Option<Option<u64>>) -> Change {
    let point = |id: &u64| {
        let mut payload = serde_json::Map::new();
        payload.insert(VERSION.to_owned(), version.into());
        if let Some(saw) = saw {
            payload.insert(SAW.to_owned(), saw.into());
        }
        let vectors = schema.kinds().map(|(name, _)| (name.to_owned(), Vector::Dense(vec![0.0; 4]))).collect();
        Point { id: PointId::Num(*id), vectors, payload }
    };
    Change::Put(ids.iter().map(point).collect())
}

/// A removal of some points, which is known by the number that it writes to another one.
pub(super) fn removal(schema: &CollectionSchema, removed: &[u64], mark: u64, version: u64) -> Vec<Change> {
    let removed = removed.iter().map(|id| PointId::Num(*id)).collect();
    vec![Change::Remove(removed), upsert(schema, &[mark], version, None)]
}

pub(super) fn part(changes: Vec<Change>) -> Part {
    Part::new(changes).expect("within all limits")
}

fn number(id: &PointId) -> u64 {
    match id {
        PointId::Num(id) => *id,
        PointId::Uuid(_) => panic!("all ids are numbers"),
    }
}

/// The number of a write; none for a fence.
pub(super) fn version(changes: &[Change]) -> Option<u64> {
    let found = changes.iter().find_map(|change| match change {
        Change::Put(points) => points.first()?.payload[VERSION].as_u64(),
        Change::Remove(_) => None,
    });
    let is_fence = changes.iter().all(Change::is_empty);
    assert!(is_fence || found.is_some(), "every write has a number");
    found
}

/// The point that a computed write is about, and what it was computed from.
pub(super) fn saw(changes: &[Change]) -> Option<(u64, Option<u64>)> {
    let Change::Put(points) = changes.first()? else { return None };
    let point = points.first()?;
    Some((number(&point.id), point.payload.get(SAW)?.as_u64()))
}

/// Does to the points what a part of a log says, which was written under this edition of the schema.
pub(super) fn apply(changes: &mut Changes, (schema, edition): (&CollectionSchema, Edition), part: &[Change]) {
    let row = |point: &Point| {
        let vector = point.vectors.contains_key(VECTOR) && schema.shows(VECTOR, edition);
        Row { version: point.payload[VERSION].as_u64().expect("a number"), vector }
    };
    for change in part {
        match change {
            Change::Put(points) => {
                changes.extend(points.iter().map(|point| (number(&point.id), Some(row(point)))));
            }
            Change::Remove(ids) => changes.extend(ids.iter().map(|id| (number(id), None))),
        }
    }
}

/// What objects of a log come to by this schema.
pub(super) fn changes(schema: &CollectionSchema, frames: &[Arc<Frame>]) -> Changes {
    let mut changes = Changes::new();
    for frame in frames {
        frame.parts.iter().for_each(|part| apply(&mut changes, (schema, frame.edition), part));
    }
    changes
}

/// The points that are there.
pub(super) fn alive(changes: Changes) -> State {
    changes.into_iter().filter_map(|(id, row)| Some((id, row?))).collect()
}

/// The ids of a segment's rows that count no more.
pub(super) fn dead(entry: &SegmentEntry) -> BTreeSet<u64> {
    entry.dead.as_ref().map(|dead| serde_json::from_slice(&dead.bitmap).expect("a list of ids")).unwrap_or_default()
}

pub(super) fn dead_rows(ids: &BTreeSet<u64>) -> Option<DeadRows> {
    let bitmap = serde_json::to_vec(ids).expect("ids are JSON");
    (!ids.is_empty()).then_some(DeadRows { count: ids.len() as u64, bitmap })
}

/// Uploads a segment with these points. Not by `put_segment`: that reads a file on other threads, whose order no seed decides.
pub(super) async fn upload(
    catalog: &Catalog,
    generation: &Generation,
    shard: u32,
    points: &State,
) -> Result<SegmentEntry> {
    let content = serde_json::to_vec(points).expect("points are JSON");
    let checksum = format!("{:016x}", xxh3_64(&content));
    let entry = SegmentEntry {
        id: ulid::Ulid::generate().to_string(),
        points: points.len() as u64,
        bytes: content.len() as u64,
        checksum: checksum.clone(),
        head: Some(HeadEntry {
            bundle: catalog.put_heads(generation, Bytes::from_static(b"head")).await?,
            offset: 0,
            ranges: vec![(0, 2)],
            checksum,
            fields: BTreeMap::new(),
        }),
        region: None,
        dead: None,
        own: false,
        edition: generation.schema.editions.newest,
    };
    let key = Key::segment(&generation.name, &generation.id, shard, &entry.id)?;
    catalog.store().put_if_absent(&key, content.into()).await?;
    Ok(entry)
}

/// The rows of a segment, as the schema shows them; `None` when it is gone.
pub(super) async fn rows(
    catalog: &Catalog,
    collection: &Collection,
    shard: u32,
    entry: &SegmentEntry,
) -> Result<Option<State>> {
    let key = collection.segment_key(shard, entry)?;
    let Fetched::Found(object) = catalog.store().get(&key, None, entry.bytes).await? else { return Ok(None) };
    let mut rows: State = serde_json::from_slice(&object.bytes).expect("a segment");
    let is_shown = collection.doc.schema.shows(VECTOR, entry.edition);
    rows.values_mut().for_each(|row| row.vector &= is_shown);
    Ok(Some(rows))
}

/// What is in all segments of a shard and counts, without what `changes` shadow; `None` when a segment is gone.
pub(super) async fn settled(
    catalog: &Catalog,
    collection: &Collection,
    shard: u32,
    changes: &Changes,
) -> Result<Option<State>> {
    let mut all = State::new();
    for entry in &collection.manifests[shard as usize].segments {
        let Some(rows) = rows(catalog, collection, shard, entry).await? else { return Ok(None) };
        let dead = dead(entry);
        for (id, row) in rows.into_iter().filter(|(id, _)| !dead.contains(id) && !changes.contains_key(id)) {
            assert_eq!(all.insert(id, row), None, "point {id} is in two segments of shard {shard}");
        }
    }
    Ok(Some(all))
}
