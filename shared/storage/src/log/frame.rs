#![doc = include_str!("FORMAT.md")]

use std::{io::Read as _, sync::Arc};

use bytes::Bytes;
use cairn_model::{
    Change, Edition, ErrorKind, PointId,
    limits::{LOG_BODY_BYTES_MAX, LOG_PART_BYTES_MAX, LOG_PARTS_MAX},
};
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_64;
use zstd::stream::read::Decoder;

use super::{
    body,
    wire::{Reader, Result, Writer, wrong},
};
use crate::Error;

const MAGIC: &[u8; 6] = b"CRNLOG";
/// The version that is written, and the only one that is read.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// The checksum is of everything from here.
const CHECKED_FROM: usize = 16;
/// Bytes of the largest object; a body that does not get smaller is stored as it is.
pub const FRAME_BYTES_MAX: u64 = (HEADER_BYTES + LOG_BODY_BYTES_MAX) as u64;
/// zstd's fastest level but for the negative ones: a put is waited for, and vectors hardly compress.
const LEVEL: i32 = 1;
/// Largest window that a frame may ask a reader to keep, as a power of two: no more than the largest body.
const WINDOW_LOG_MAX: u32 = 27;

/// Why bytes are no log object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It does not begin as one.
    #[error("is no log object of Cairn's")]
    Magic,
    /// Another version of Cairn wrote it.
    #[error("has log version {0}, this version of Cairn reads {VERSION}: update Cairn")]
    Version(u16),
    /// The bytes are not what was written.
    #[error("the checksum does not match")]
    Checksum,
    /// It ends too early.
    #[error("ends within {0}")]
    Short(&'static str),
    /// A field is not what it should be.
    #[error("{field}: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        why: String,
    },
}

impl FrameError {
    /// The error about the object `what`, which was read from a store.
    pub(super) fn of(self, what: String) -> Error {
        let kind = match self {
            Self::Version(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        };
        Error::new(kind, what, self)
    }
}

/// What one write changes in one shard, and its encoding. Making one computes; it is cheap to clone.
#[derive(Clone, Debug)]
pub struct Part {
    changes: Arc<[Change]>,
    bytes: Bytes,
    edition: Edition,
    is_fence: bool,
}

impl Part {
    /// Encodes changes, which are made in this order, all at one place of the log.
    ///
    /// # Errors
    /// `Invalid` for what breaks a limit of its own or cannot be written; `TooLarge` beyond [`LOG_PART_BYTES_MAX`].
    pub fn new(changes: Vec<Change>) -> crate::Result<Self> {
        let bytes = body::encode(&changes).map_err(|error| Error::new(ErrorKind::Invalid, "write", error))?;
        if bytes.len() > LOG_PART_BYTES_MAX {
            let why = format!(
                "{} bytes for one shard, at most {LOG_PART_BYTES_MAX} are allowed: write fewer points at once",
                bytes.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, "write", why));
        }
        Ok(Self { changes: changes.into(), bytes: bytes.into(), edition: 0, is_fence: false })
    }

    /// The same from a writer who knows this edition of the schema.
    #[must_use]
    pub const fn of_edition(mut self, edition: Edition) -> Self {
        self.edition = edition;
        self
    }

    /// What changes nothing, and keeps out who knows earlier editions only.
    ///
    /// # Errors
    /// As [`Part::new`]; never, as nothing is within all limits.
    pub(super) fn fence(edition: Edition) -> crate::Result<Self> {
        let nothing = Self::new(vec![Change::Remove(Vec::<PointId>::new())])?;
        Ok(Self { is_fence: true, ..nothing.of_edition(edition) })
    }

    /// Which edition of the schema its writer knows.
    #[must_use]
    pub const fn edition(&self) -> Edition {
        self.edition
    }

    /// Whether it changes nothing.
    pub(super) const fn is_fence(&self) -> bool {
        self.is_fence
    }

    /// The changes.
    #[must_use]
    pub fn changes(&self) -> &Arc<[Change]> {
        &self.changes
    }

    /// Bytes of the encoding, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// One log object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Its place in the log.
    pub sequence: u64,
    /// Who put it: the ULID of one process's log.
    pub writer: Ulid,
    /// Counts the contents that the writer tried to put.
    pub nonce: u64,
    /// Which edition of the collection's schema the writes are of; no later object is of an earlier one.
    pub edition: Edition,
    /// Bytes of the body, before compression.
    pub body_bytes: u64,
    /// What each write changes, in order; none at the log's end, after which nothing follows.
    pub parts: Vec<Arc<[Change]>>,
}

impl Frame {
    /// The frame of these parts, all of one edition; of none, the end of the log.
    pub(super) fn of(sequence: u64, writer: Ulid, nonce: u64, parts: &[Part]) -> Self {
        let edition = parts.first().map_or(0, Part::edition);
        let body_bytes = parts.iter().map(|part| part.bytes.len() as u64).sum();
        let parts = parts.iter().map(|part| Arc::clone(&part.changes)).collect();
        Self { sequence, writer, nonce, edition, body_bytes, parts }
    }

    /// Whether nothing may follow.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.parts.is_empty()
    }

    /// The object. Computes: encoding and compression.
    ///
    /// # Errors
    /// When there are more parts or bytes than one object may have, or a change breaks a limit.
    pub fn encode(&self) -> Result<Bytes> {
        let bodies = self.parts.iter().map(|changes| body::encode(changes));
        let body = bodies.collect::<Result<Vec<_>>>()?.concat();
        self.wrap(body)
    }

    /// The object, of parts that are encoded already.
    pub(super) fn encode_parts(&self, parts: &[Part]) -> Result<Bytes> {
        let mut body = Vec::with_capacity(parts.iter().map(Part::bytes).sum());
        parts.iter().for_each(|part| body.extend_from_slice(&part.bytes));
        self.wrap(body)
    }

    fn wrap(&self, body: Vec<u8>) -> Result<Bytes> {
        if self.parts.len() > LOG_PARTS_MAX || body.len() > LOG_BODY_BYTES_MAX {
            return wrong("body", format!("{} parts of {} bytes are too many", self.parts.len(), body.len()));
        }
        let compressed = zstd::bulk::compress(&body, LEVEL).or_else(|error| wrong("body", error))?;
        let (compression, stored) = if compressed.len() < body.len() { (1, &compressed) } else { (0, &body) };
        let mut to = Writer(Vec::with_capacity(HEADER_BYTES + stored.len()));
        to.0.extend(MAGIC);
        to.0.extend(VERSION.to_le_bytes());
        to.u64(0);
        to.u64(self.sequence);
        to.0.extend(self.writer.0.to_le_bytes());
        to.u64(self.nonce);
        to.u8(u8::from(self.is_end()));
        to.u8(compression);
        to.u16("edition", self.edition.into())?;
        to.u32("parts", self.parts.len())?;
        to.u32("body", body.len())?;
        to.u32("stored body", stored.len())?;
        to.0.extend(stored);
        let mut object = to.0;
        let checksum = xxh3_64(object.get(CHECKED_FROM..).unwrap_or_default()).to_le_bytes();
        if let Some(place) = object.get_mut(8..CHECKED_FROM) {
            place.copy_from_slice(&checksum);
        }
        Ok(object.into())
    }

    /// Reads an object. Computes: decompression, and parsing of JSON.
    ///
    /// # Errors
    /// Says what is wrong. Memory is bounded by the limits of `FORMAT.md`, whatever the bytes.
    pub fn decode(object: &[u8]) -> Result<Self> {
        let mut from = Reader(object);
        if from.raw(MAGIC.len(), "the header").ok() != Some(MAGIC) {
            return Err(FrameError::Magic);
        }
        let version = u16::from_le_bytes(from.array("the version")?);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if from.u64("the checksum")? != xxh3_64(from.0) {
            return Err(FrameError::Checksum);
        }
        let sequence = from.u64("the sequence")?;
        let writer = Ulid(u128::from_le_bytes(from.array("the writer")?));
        let nonce = from.u64("the nonce")?;
        let is_end = match from.u8("the kind")? {
            0 => false,
            1 => true,
            other => return wrong("kind", format!("{other} is unknown")),
        };
        let compression = from.u8("the compression")?;
        let edition = Edition::from_le_bytes(from.array("the edition")?);
        let (count, body_bytes, stored) = (from.u32("parts")?, from.u32("the body")?, from.u32("the body")?);
        if is_end != (count == 0) || count > LOG_PARTS_MAX || (is_end && (body_bytes != 0 || edition != 0)) {
            return wrong("parts", format!("{count} are impossible here"));
        }
        if body_bytes > LOG_BODY_BYTES_MAX {
            return wrong("body", format!("{body_bytes} bytes long, at most {LOG_BODY_BYTES_MAX} are allowed"));
        }
        if stored != from.0.len() {
            return wrong("body", format!("{} bytes are stored, not {stored}", from.0.len()));
        }
        let parts = match compression {
            0 if stored == body_bytes => body::decode(from.0, count)?,
            1 => body::decode(&decompress(from.0, body_bytes)?, count)?,
            _ => return wrong("compression", format!("{compression} is unknown, or the sizes differ")),
        };
        Ok(Self { sequence, writer, nonce, edition, body_bytes: body_bytes as u64, parts })
    }
}

/// One zstd frame of exactly `bytes` bytes; memory grows with what it really gives.
fn decompress(stored: &[u8], bytes: usize) -> Result<Vec<u8>> {
    let broken = |error: std::io::Error| FrameError::Field { field: "body", why: error.to_string() };
    let mut decoder = Decoder::with_buffer(stored).map_err(broken)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
    let mut body = Vec::new();
    (&mut decoder).take(bytes as u64 + 1).read_to_end(&mut body).map_err(broken)?;
    if body.len() != bytes || !decoder.finish().is_empty() {
        return wrong("body", format!("is not {bytes} bytes in one zstd frame"));
    }
    Ok(body)
}
