//! What is written in a simulation: points that have nothing but the number of the write that made them; and segments, which are lists of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use cairn_model::{Change, Point, PointId, Vector};
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

/// The number of the write that made each point.
pub(super) type State = BTreeMap<u64, u64>;
/// The newest of each point in a tail; none for one that was removed.
pub(super) type Changes = BTreeMap<u64, Option<u64>>;

/// The points of a shard: what increments write, what every removal writes as well, and others.
pub(super) fn ids(shard: u32) -> Vec<u64> {
    (0..).filter(|id| PointId::Num(*id).shard(SHARDS) == shard).take(POINTS).collect()
}

/// A write of some points, with this number; `saw` is what it was computed from.
pub(super) fn upsert(ids: &[u64], version: u64, saw: Option<Option<u64>>) -> Change {
    let point = |id: &u64| {
        let mut payload = serde_json::Map::new();
        payload.insert(VERSION.to_owned(), version.into());
        if let Some(saw) = saw {
            payload.insert(SAW.to_owned(), saw.into());
        }
        let vectors = [(String::new(), Vector::Dense(vec![0.0; 4]))].into();
        Point { id: PointId::Num(*id), vectors, payload }
    };
    Change::Put(ids.iter().map(point).collect())
}

/// A removal of some points, which is known by the number that it writes to another one.
pub(super) fn removal(removed: &[u64], mark: u64, version: u64) -> Vec<Change> {
    let removed = removed.iter().map(|id| PointId::Num(*id)).collect();
    vec![Change::Remove(removed), upsert(&[mark], version, None)]
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

/// The number of a write.
pub(super) fn version(changes: &[Change]) -> u64 {
    let found = changes.iter().find_map(|change| match change {
        Change::Put(points) => points.first()?.payload[VERSION].as_u64(),
        Change::Remove(_) => None,
    });
    found.expect("every write has a number")
}

/// The point that a computed write is about, and what it was computed from.
pub(super) fn saw(changes: &[Change]) -> Option<(u64, Option<u64>)> {
    let Change::Put(points) = changes.first()? else { return None };
    let point = points.first()?;
    Some((number(&point.id), point.payload.get(SAW)?.as_u64()))
}

/// Does to the points what a part of a log says.
pub(super) fn apply(changes: &mut Changes, part: &[Change]) {
    for change in part {
        match change {
            Change::Put(points) => {
                changes.extend(points.iter().map(|point| (number(&point.id), point.payload[VERSION].as_u64())));
            }
            Change::Remove(ids) => changes.extend(ids.iter().map(|id| (number(id), None))),
        }
    }
}

/// What objects of a log come to.
pub(super) fn changes(frames: &[Arc<Frame>]) -> Changes {
    let mut changes = Changes::new();
    frames.iter().flat_map(|frame| &frame.parts).for_each(|part| apply(&mut changes, part));
    changes
}

/// The points that are there.
pub(super) fn alive(changes: Changes) -> State {
    changes.into_iter().filter_map(|(id, version)| Some((id, version?))).collect()
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
    };
    let key = Key::segment(&generation.name, &generation.id, shard, &entry.id)?;
    catalog.store().put_if_absent(&key, content.into()).await?;
    Ok(entry)
}

/// The rows of a segment; `None` when it is gone.
pub(super) async fn rows(
    catalog: &Catalog,
    collection: &Collection,
    shard: u32,
    entry: &SegmentEntry,
) -> Result<Option<State>> {
    let key = collection.segment_key(shard, entry)?;
    Ok(match catalog.store().get(&key, None, entry.bytes).await? {
        Fetched::Found(object) => Some(serde_json::from_slice(&object.bytes).expect("a segment")),
        Fetched::Absent | Fetched::Unchanged => None,
    })
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
        for (id, version) in rows.into_iter().filter(|(id, _)| !dead.contains(id) && !changes.contains_key(id)) {
            assert_eq!(all.insert(id, version), None, "point {id} is in two segments of shard {shard}");
        }
    }
    Ok(Some(all))
}
