//! What holds of every document: checked before it is written and after it is read.

use std::collections::HashSet;

use cairn_model::CollectionName;

use super::documents::{CollectionDoc, FORMAT, Manifest, SegmentEntry};
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
    check(doc.format == FORMAT, || format!("format is {}, not {FORMAT}", doc.format))?;
    check(doc.name == *name, || format!("belongs to collection '{}', not to '{name}'", doc.name))?;
    is_ulid("generation", &doc.generation)?;
    is_ulid("writer", &doc.writer)?;
    doc.schema.validate().map_err(|error| format!("schema: {error}"))
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
    })
}

/// All manifests of a generation together: one per shard, in order, and no segment in two of them.
pub(super) fn generation(doc: &CollectionDoc, manifests: &[Manifest]) -> Check {
    let shards = doc.schema.shard_count;
    check(u32::try_from(manifests.len()) == Ok(shards), || {
        format!("{} manifests for {shards} shards", manifests.len())
    })?;
    let mut ids = HashSet::new();
    for (shard, one) in (0..).zip(manifests) {
        manifest(one, shard).map_err(|why| format!("shard {shard}: {why}"))?;
        for entry in &one.segments {
            check(ids.insert(entry.id.as_str()), || format!("segment {} is in two shards", entry.id))?;
        }
    }
    Ok(())
}
