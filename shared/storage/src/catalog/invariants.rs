//! What holds of every document: checked before it is written and after it is read.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use cairn_model::{CollectionName, CollectionSchema, Partition, limits::PATH_BYTES_MAX};

use super::{
    documents::{
        CollectionDoc, DEAD_BYTES_MAX, FORMAT, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, HEAD_RANGES_MAX, HeadEntry, Manifest,
        REGION_BYTES_MAX, SegmentEntry, format_of,
    },
    history::{HISTORY_MAX, Served},
    snapshots::Snapshot,
};
use crate::store::keys::ulid;

type Check = Result<(), String>;

fn check(holds: bool, why: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(why()) }
}

fn is_ulid(field: &str, text: &str) -> Check {
    ulid(field, text).map(|_| ()).map_err(|error| error.to_string())
}

/// `collection.json` of the collection `name`.
pub(super) fn collection(doc: &CollectionDoc, name: &CollectionName) -> Check {
    let format = format_of(&doc.schema, doc.live);
    check(doc.format == format, || format!("format is {}, not {format}", doc.format))?;
    check(!doc.live || doc.schema.partition == Partition::Hash, || {
        "takes writes, and its points are partitioned by space".to_owned()
    })?;
    folded(&doc.schema, &doc.folded)?;
    check(doc.name == *name, || format!("belongs to collection '{}', not to '{name}'", doc.name))?;
    is_ulid("generation", &doc.generation)?;
    doc.creation.iter().try_for_each(|creation| is_ulid("creation", creation))?;
    is_ulid("writer", &doc.writer)?;
    doc.schema.validate().map_err(|error| format!("schema: {error}"))?;
    if let Some(origin) = &doc.origin {
        is_ulid("origin", &origin.generation)?;
    }
    check(doc.history.len() <= HISTORY_MAX, || {
        format!("history has {} entries, at most {HISTORY_MAX} are possible", doc.history.len())
    })?;
    doc.history.iter().try_for_each(served)?;
    match &doc.manifests {
        Some(manifests) => generation(doc, manifests).map_err(|why| format!("manifests: {why}")),
        None => Ok(()),
    }
}

/// A snapshot of this name of the collection `name`.
pub(super) fn snapshot(snapshot: &Snapshot, name: &CollectionName, text: &str) -> Check {
    check(snapshot.format == FORMAT, || format!("format is {}, not {FORMAT}", snapshot.format))?;
    check(snapshot.name == text, || format!("is the snapshot '{}', not '{text}'", snapshot.name.escape_debug()))?;
    is_ulid("writer", &snapshot.writer)?;
    collection(&snapshot.collection, name)
}

/// The later manifests of a generation with this schema.
fn folded(schema: &CollectionSchema, folded: &BTreeMap<u32, String>) -> Check {
    folded.iter().try_for_each(|(shard, id)| {
        check(*shard < schema.shard_count, || format!("names a manifest of shard {shard} of {}", schema.shard_count))?;
        is_ulid("manifest", id)
    })
}

/// One entry of a history.
fn served(served: &Served) -> Check {
    is_ulid("generation", &served.generation)?;
    folded(&served.schema, &served.folded)?;
    if let Some(origin) = &served.origin {
        is_ulid("origin", &origin.generation)?;
    }
    served.schema.validate().map_err(|error| format!("schema of generation {}: {error}", served.generation))
}

/// `manifest.json` of the shard `shard`.
pub(super) fn manifest(manifest: &Manifest, shard: u32) -> Check {
    check(manifest.format == FORMAT, || format!("format is {}, not {FORMAT}", manifest.format))?;
    check(manifest.shard == shard, || format!("belongs to shard {}, not to {shard}", manifest.shard))?;
    check(manifest.version > 0, || "version is 0, they count from 1".to_owned())?;
    is_ulid("writer", &manifest.writer)?;
    let mut ids = HashSet::with_capacity(manifest.segments.len());
    let mut totals = (0u64, 0u64);
    for entry in &manifest.segments {
        segment(entry)?;
        check(ids.insert(&entry.id), || format!("segment {} is listed twice", entry.id))?;
        let sum = (totals.0.checked_add(entry.points), totals.1.checked_add(entry.bytes));
        let (Some(points), Some(bytes)) = sum else {
            return Err("the counts of its segments overflow".to_owned());
        };
        totals = (points, bytes);
    }
    Ok(())
}

/// One entry of a manifest.
pub(super) fn segment(entry: &SegmentEntry) -> Check {
    is_ulid("segment", &entry.id)?;
    entry.checksum_value().map_err(|error| error.to_string())?;
    check(entry.bytes > 0, || format!("segment {} is empty", entry.id))?;
    check(entry.points <= SegmentEntry::POINTS_MAX, || {
        format!("segment {} has {} points, at most {} are possible", entry.id, entry.points, SegmentEntry::POINTS_MAX)
    })?;
    if let Some(dead) = &entry.dead {
        check(dead.count <= entry.points, || {
            format!("segment {} has {} points, {} of them dead", entry.id, entry.points, dead.count)
        })?;
        check(dead.bitmap.len() <= DEAD_BYTES_MAX, || {
            let bytes = dead.bitmap.len();
            format!("segment {} has dead rows of {bytes} bytes, at most {DEAD_BYTES_MAX} are possible", entry.id)
        })?;
    }
    let region_bytes = entry.region.as_ref().map_or(0, Vec::len);
    check(region_bytes <= REGION_BYTES_MAX, || {
        format!("segment {} has a region of {region_bytes} bytes, at most {REGION_BYTES_MAX} are possible", entry.id)
    })?;
    match &entry.head {
        Some(found) => head(found, entry.bytes).map_err(|why| format!("segment {}: its head {why}", entry.id)),
        None => Ok(()),
    }
}

/// The head of a segment file of `file_bytes` bytes.
fn head(head: &HeadEntry, file_bytes: u64) -> Check {
    is_ulid("bundle", &head.bundle)?;
    head.checksum_value().map_err(|error| error.to_string())?;
    check(!head.ranges.is_empty() && head.ranges.len() <= HEAD_RANGES_MAX, || {
        format!("has {} ranges, 1 to {HEAD_RANGES_MAX} are possible", head.ranges.len())
    })?;
    let mut end_before = 0;
    for &(offset, bytes) in &head.ranges {
        let end = offset.checked_add(bytes).filter(|&end| bytes > 0 && end <= file_bytes);
        let end = end.ok_or_else(|| format!("has {bytes} bytes at {offset} in a file of {file_bytes}"))?;
        check(offset >= end_before, || format!("has ranges that overlap or go back, at {offset}"))?;
        end_before = end;
    }
    // Disjoint ranges of one file: their sum does not overflow.
    check(head.offset.checked_add(head.bytes()).is_some_and(|end| end <= HEAD_BYTES_MAX), || {
        format!("has {} bytes at {} of its bundle, which has at most {HEAD_BYTES_MAX}", head.bytes(), head.offset)
    })?;
    check(head.fields.len() <= HEAD_FIELDS_MAX, || {
        format!("names {} fields, at most {HEAD_FIELDS_MAX} are possible", head.fields.len())
    })?;
    for (path, &(offset, bytes)) in &head.fields {
        check(path.len() <= PATH_BYTES_MAX, || format!("names a field by {} bytes", path.len()))?;
        check(offset.checked_add(bytes).is_some_and(|end| end <= file_bytes), || {
            format!("has field '{}' with {bytes} bytes at {offset} in a file of {file_bytes}", path.escape_debug())
        })?;
    }
    Ok(())
}

/// All manifests of a generation together: one per shard, in order, and no segment in two of them.
pub(super) fn generation(doc: &CollectionDoc, manifests: &[Arc<Manifest>]) -> Check {
    let shards = doc.schema.shard_count;
    check(u32::try_from(manifests.len()) == Ok(shards), || {
        format!("{} manifests for {shards} shards", manifests.len())
    })?;
    let mut ids = HashSet::new();
    for (shard, one) in (0..).zip(manifests) {
        manifest(one, shard).map_err(|why| format!("shard {shard}: {why}"))?;
        for entry in &one.segments {
            check(ids.insert(entry.id.as_str()), || format!("segment {} is in two shards", entry.id))?;
            let newest = doc.schema.editions.newest;
            check(entry.edition <= newest, || {
                format!("segment {} is of edition {} of the schema, which is of {newest}", entry.id, entry.edition)
            })?;
        }
    }
    Ok(())
}
