//! `collection.json` and `manifest.json`. What is read from a store is checked before anything believes it.

use cairn_model::{CollectionName, CollectionSchema, ErrorKind, limits::SEGMENT_POINTS_MAX};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::invariants;
use crate::{Error, Result};

/// The format of both documents. Fields may be added within a format; a reader ignores those it does not know.
pub const FORMAT: u32 = 1;
/// Largest document that is read or written.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// `collection.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionDoc {
    /// Format version, 1.
    pub format: u32,
    /// Name.
    pub name: CollectionName,
    /// Which generation is served: a ULID.
    pub generation: String,
    /// Schema.
    pub schema: CollectionSchema,
    /// Who wrote this version: tells a lost reply from a lost race.
    pub writer: String,
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
}

/// `manifest.json` of one shard.
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
        let digits = self.checksum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match u64::from_str_radix(&self.checksum, 16) {
            Ok(value) if digits && self.checksum.len() == 16 => Ok(value),
            _ => Err(Error::corrupt(
                format!("segment '{}'", self.id.escape_debug()),
                format!("checksum '{}' is not 16 lower-case hexadecimal digits", self.checksum.escape_debug()),
            )),
        }
    }

    /// The largest number of points that a segment can have.
    pub(super) const POINTS_MAX: u64 = SEGMENT_POINTS_MAX as u64;
}

/// Reads a document: its format first, so that a newer one is not mistaken for a damaged one.
fn parse<T: DeserializeOwned>(address: &str, content: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let damaged = |error: serde_json::Error| Error::corrupt(address, format!("is no document of Cairn's: {error}"));
    let Header { format } = serde_json::from_slice(content).map_err(damaged)?;
    if format > FORMAT {
        let why = format!("has format {format}, this version reads up to {FORMAT}: update Cairn");
        return Err(Error::new(ErrorKind::Unsupported, address, why));
    }
    if format == 0 {
        return Err(Error::corrupt(address, "has format 0, which never existed"));
    }
    serde_json::from_slice(content).map_err(damaged)
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

pub(super) fn parse_collection(address: &str, name: &CollectionName, content: &[u8]) -> Result<CollectionDoc> {
    let doc: CollectionDoc = parse(address, content)?;
    invariants::collection(&doc, name).map_err(|why| Error::corrupt(address, why))?;
    Ok(doc)
}

pub(super) fn parse_manifest(address: &str, shard: u32, content: &[u8]) -> Result<Manifest> {
    let manifest: Manifest = parse(address, content)?;
    invariants::manifest(&manifest, shard).map_err(|why| Error::corrupt(address, why))?;
    Ok(manifest)
}
