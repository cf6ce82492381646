//! `collection.json` and `manifest.json`. What is read from a store is checked before anything believes it.
//!
//! `collection.json` is the only object that is ever replaced; manifests are written once. It names each shard's manifest, and while they
//! are small it has copies of them, so that a reader who knows nothing opens a collection in one wave.

use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{CollectionName, CollectionSchema, Edition, ErrorKind, Partition, limits::SEGMENT_POINTS_MAX};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    history::{Origin, Served},
    invariants,
};
use crate::{Error, Result};

/// The format of both documents. Fields may be added within a format; a reader ignores those it does not know.
pub const FORMAT: u32 = 1;
/// The format of a `collection.json` whose points are partitioned by space: a reader that does not know of that would look for ids in the
/// wrong shards, and must refuse it.
pub(super) const FORMAT_SPACE: u32 = 2;
/// The format of a `collection.json` whose logs may hold writes: a reader that does not look there would miss them.
pub(super) const FORMAT_LIVE: u32 = 3;
/// The format of a `collection.json` whose vectors were changed: a reader that does not know of editions would show what was removed.
pub(super) const FORMAT_EDITIONS: u32 = 4;
/// Largest document that is read or written.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// Manifests stand inside `collection.json` while their JSON is at most this long in all: it arrives within a few milliseconds,
/// where a second wave takes tens.
pub const INLINE_BYTES_MAX: usize = 256 << 10;
/// Ranges of one head.
pub const HEAD_RANGES_MAX: usize = 64;
/// Bytes of one head, and of a bundle of heads.
pub const HEAD_BYTES_MAX: u64 = 64 << 20;
/// Payload fields of one head.
pub const HEAD_FIELDS_MAX: usize = 64;
/// Bytes of the dead rows of one segment, as a bitmap: enough for eight million at random. Whoever folds rewrites a segment long before.
pub const DEAD_BYTES_MAX: usize = 1 << 20;
/// Bytes of one region. While all of a collection's take 128 KiB a shard has four groups, else one: a byte for each dimension.
pub const REGION_BYTES_MAX: usize = 256 << 10;

/// `collection.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionDoc {
    /// Format version: 1, 2 for points that are partitioned by space, 3 for a collection whose logs may hold writes, 4 for one whose vectors were changed.
    pub format: u32,
    /// Name.
    pub name: CollectionName,
    /// Which generation is served: a ULID.
    pub generation: String,
    /// Which creation of a collection of this name it is: a ULID, the same from the first document to the deletion. Absent in those that an
    /// older version created or replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<String>,
    /// Schema.
    pub schema: CollectionSchema,
    /// Who wrote this version, a ULID that no other version has: tells a lost reply from a lost race.
    pub writer: String,
    /// Whether the generation's logs may hold writes: whoever reads has to look there as well. It is set before the first write.
    #[serde(default, skip_serializing_if = "is_false")]
    pub live: bool,
    /// The manifests that replaced a shard's first one, which is its `manifest.json`: ULIDs by shard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub folded: BTreeMap<u32, String>,
    /// The generation's manifests, one per shard in order, while they are small. Absent in larger and in older documents: then
    /// each is read from its own object, which always exists.
    #[serde(default, with = "inline", skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Arc<Manifest>>>,
    /// When this generation became the served one, in milliseconds since 1970; absent in older documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Where the segments lie when they are another collection's, as a clone's are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What was served before, oldest first; at most [`HISTORY_MAX`](super::HISTORY_MAX) entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Served>,
}

/// One segment of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// ULID.
    pub id: String,
    /// Points.
    pub points: u64,
    /// File size.
    pub bytes: u64,
    /// xxh3-64 of the file, 16 hexadecimal digits.
    pub checksum: String,
    /// Where a copy of its head is; absent in older documents and for small segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadEntry>,
    /// Where its points lie, as the engine wrote it: in base64, at most [`REGION_BYTES_MAX`] bytes. Absent in older documents, and where
    /// points are partitioned by their ids; a segment without it is never left out of a search.
    #[serde(default, with = "region", skip_serializing_if = "Option::is_none")]
    pub region: Option<Vec<u8>>,
    /// Which of its rows count no more, because their points were deleted or written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<DeadRows>,
    /// Whether it lies in the collection's own folder although the collection has an origin: it was written after the clone was made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own: bool,
    /// Of which edition of the schema its vectors are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub edition: Edition,
}

/// Rows of a segment that count no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRows {
    /// How many.
    pub count: u64,
    /// Their ordinals, as the engine wrote them: in base64, at most [`DEAD_BYTES_MAX`] bytes.
    #[serde(with = "base64_bytes")]
    pub bitmap: Vec<u8>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(edition: &Edition) -> bool {
    *edition == 0
}

/// A copy of those ranges of a segment file that a reader wants before anything else, in a bundle with other segments' heads:
/// many segments are opened by few GETs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadEntry {
    /// ULID of the bundle.
    pub bundle: String,
    /// First byte in the bundle.
    pub offset: u64,
    /// The file's ranges (offset, length) whose bytes lie there one after another: ascending, disjoint, inside the file.
    pub ranges: Vec<(u64, u64)>,
    /// xxh3-64 of these bytes, 16 hexadecimal digits.
    pub checksum: String,
    /// Where each payload field's index lies in the file (offset, length), by path. It may be incomplete.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, (u64, u64)>,
}

/// A shard's manifest, `manifest.json` or a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version, 1.
    pub format: u32,
    /// Shard number.
    pub shard: u32,
    /// Counts up with every replacement.
    pub version: u64,
    /// Who wrote this version.
    pub writer: String,
    /// First log sequence number that is not in a segment.
    pub log_position: u64,
    /// Segments.
    pub segments: Vec<SegmentEntry>,
}

impl SegmentEntry {
    /// The checksum as a number.
    ///
    /// # Errors
    /// `Corrupt` when it is not 16 lower-case hexadecimal digits.
    pub fn checksum_value(&self) -> Result<u64> {
        checksum(&self.checksum, || format!("segment '{}'", self.id.escape_debug()))
    }

    /// Points that count.
    #[must_use]
    pub fn live_points(&self) -> u64 {
        self.points.saturating_sub(self.dead.as_ref().map_or(0, |dead| dead.count))
    }

    /// The largest number of points that a segment can have.
    pub(super) const POINTS_MAX: u64 = SEGMENT_POINTS_MAX as u64;
}

impl HeadEntry {
    /// Bytes of all ranges together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().fold(0, |bytes, range| bytes.saturating_add(range.1))
    }

    /// The checksum as a number.
    ///
    /// # Errors
    /// `Corrupt` when it is not 16 lower-case hexadecimal digits.
    pub fn checksum_value(&self) -> Result<u64> {
        checksum(&self.checksum, || format!("a head in bundle '{}'", self.bundle.escape_debug()))
    }
}

fn checksum(text: &str, what: impl FnOnce() -> String) -> Result<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match u64::from_str_radix(text, 16) {
        Ok(value) if digits && text.len() == 16 => Ok(value),
        _ => {
            let why = format!("checksum '{}' is not 16 lower-case hexadecimal digits", text.escape_debug());
            Err(Error::corrupt(what(), why))
        }
    }
}

/// Bytes as text.
mod base64_bytes {
    use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        BASE64_STANDARD_NO_PAD.encode(bytes).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD_NO_PAD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Bytes of a region as text.
mod region {
    use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(region: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        region.as_ref().map(|bytes| BASE64_STANDARD_NO_PAD.encode(bytes)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| BASE64_STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)).transpose()
    }
}

/// Manifests inside `collection.json`, shared with whoever reads them.
mod inline {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Manifest;

    type Inline = Option<Vec<Arc<Manifest>>>;

    pub(super) fn serialize<S: Serializer>(manifests: &Inline, to: S) -> Result<S::Ok, S::Error> {
        match manifests {
            Some(manifests) => to.collect_seq(manifests.iter().map(Arc::as_ref)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Inline, D::Error> {
        let manifests = Option::<Vec<Manifest>>::deserialize(from)?;
        Ok(manifests.map(|manifests| manifests.into_iter().map(Arc::new).collect()))
    }
}

/// Reads a document: its format first, so that a newer one is not mistaken for a damaged one.
pub(super) fn parse<T: DeserializeOwned>(address: &str, content: &[u8]) -> Result<T> {
    parse_up_to(FORMAT, address, content)
}

fn parse_up_to<T: DeserializeOwned>(format_max: u32, address: &str, content: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let damaged = |error: serde_json::Error| Error::corrupt(address, format!("is no document of Cairn's: {error}"));
    let Header { format } = serde_json::from_slice(content).map_err(damaged)?;
    if format > format_max {
        let why = format!("has format {format}, this version reads up to {format_max}: update Cairn");
        return Err(Error::new(ErrorKind::Unsupported, address, why));
    }
    if format == 0 {
        return Err(Error::corrupt(address, "has format 0, which never existed"));
    }
    serde_json::from_slice(content).map_err(damaged)
}

/// The format of the `collection.json` of a schema, live or not.
pub(super) fn format_of(schema: &CollectionSchema, live: bool) -> u32 {
    match schema.partition {
        _ if !schema.editions.is_first() => FORMAT_EDITIONS,
        _ if live => FORMAT_LIVE,
        Partition::Hash => FORMAT,
        Partition::Space => FORMAT_SPACE,
    }
}

/// Writes a document, at most as large as it may be read.
pub(super) fn encode<T: Serialize>(address: &str, document: &T) -> Result<bytes::Bytes> {
    let content = serde_json::to_vec(document).map_err(|error| Error::new(ErrorKind::Invalid, address, error))?;
    if content.len() as u64 > DOCUMENT_BYTES_MAX {
        let why = format!(
            "would be {} bytes long, at most {DOCUMENT_BYTES_MAX} are allowed: build larger segments",
            content.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, address, why));
    }
    Ok(content.into())
}

/// The manifests as they stand inside `collection.json`: `None` when they are too long for that.
pub(super) fn inlined(manifests: &[Arc<Manifest>]) -> Option<Vec<Arc<Manifest>>> {
    let mut bytes = 0;
    for manifest in manifests {
        bytes += serde_json::to_vec(manifest.as_ref()).ok()?.len();
        if bytes > INLINE_BYTES_MAX {
            return None;
        }
    }
    Some(manifests.to_vec())
}

pub(super) fn parse_collection(address: &str, name: &CollectionName, content: &[u8]) -> Result<CollectionDoc> {
    let doc: CollectionDoc = parse_up_to(FORMAT_EDITIONS, address, content)?;
    invariants::collection(&doc, name).map_err(|why| Error::corrupt(address, why))?;
    Ok(doc)
}

pub(super) fn parse_manifest(address: &str, shard: u32, content: &[u8]) -> Result<Manifest> {
    let manifest: Manifest = parse(address, content)?;
    invariants::manifest(&manifest, shard).map_err(|why| Error::corrupt(address, why))?;
    Ok(manifest)
}
