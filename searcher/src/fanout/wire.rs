//! Numbers and texts of frames: little-endian, lengths before contents, nothing read that is not there.

use cairn_model::PointId;

/// The version of both frames. A leaf refuses every other, and the root asks elsewhere: during an update both may run.
pub const VERSION: u8 = 4;

const NUMBER: u8 = 0;
const UUID: u8 = 1;

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It does not begin as one.
    #[error("not a frame of Cairn's")]
    Magic,
    /// Another version of Cairn made it.
    #[error("frame version {0} is unknown, this version of Cairn reads {VERSION}")]
    Version(u8),
    /// It ends too early.
    #[error("the frame ends within {0}")]
    Short(&'static str),
    /// A field is not what it should be.
    #[error("{field} of the frame: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        why: String,
    },
    /// It is larger than a frame may be.
    #[error("a frame of {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

pub(super) type Result<T> = std::result::Result<T, FrameError>;

pub(super) fn wrong(field: &'static str, why: impl ToString) -> FrameError {
    FrameError::Field { field, why: why.to_string() }
}

/// A frame under construction.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(magic: [u8; 4]) -> Self {
        let mut bytes = magic.to_vec();
        bytes.push(VERSION);
        Self(bytes)
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, value: f32) {
        self.0.extend(value.to_le_bytes());
    }

    /// A number of things. One that does not fit makes a frame that is too large anyway.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }

    /// At most 255 bytes; what is longer is refused when it is read.
    pub(super) fn name(&mut self, name: &str) {
        self.u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        self.0.extend(name.as_bytes());
    }

    pub(super) fn floats(&mut self, floats: &[f32]) {
        self.count(floats.len());
        self.0.reserve(floats.len() * 4);
        floats.iter().for_each(|value| self.f32(*value));
    }

    pub(super) fn id(&mut self, id: PointId) {
        match id {
            PointId::Num(number) => {
                self.u8(NUMBER);
                self.u64(number);
            }
            PointId::Uuid(uuid) => {
                self.u8(UUID);
                self.0.extend(uuid.as_bytes());
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn finish(self, limit: usize) -> Result<Vec<u8>> {
        if self.0.len() > limit {
            return Err(FrameError::TooLarge { bytes: self.0.len(), limit });
        }
        Ok(self.0)
    }
}

/// A frame being read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks what every frame begins with, and its size.
    pub(super) fn new(frame: &'a [u8], magic: [u8; 4], limit: usize) -> Result<Self> {
        if frame.len() > limit {
            return Err(FrameError::TooLarge { bytes: frame.len(), limit });
        }
        let mut reader = Self(frame.strip_prefix(&magic).ok_or(FrameError::Magic)?);
        match reader.u8("the version")? {
            VERSION => Ok(reader),
            other => Err(FrameError::Version(other)),
        }
    }

    fn raw(&mut self, len: usize, field: &'static str) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(FrameError::Short(field))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(FrameError::Short(field))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self, field: &'static str) -> Result<f32> {
        self.array(field).map(f32::from_le_bytes)
    }

    pub(super) fn id(&mut self, field: &'static str) -> Result<PointId> {
        match self.u8(field)? {
            NUMBER => self.u64(field).map(PointId::Num),
            UUID => self.array(field).map(|bytes| PointId::Uuid(uuid::Uuid::from_bytes(bytes))),
            other => Err(wrong(field, format!("kind {other}"))),
        }
    }

    /// A number of things, each at least `least` bytes long: what is not there is not allocated for.
    pub(super) fn count(&mut self, least: usize, field: &'static str) -> Result<usize> {
        let count = usize::try_from(self.u32(field)?).map_err(|error| wrong(field, error))?;
        if count.checked_mul(least).is_none_or(|bytes| bytes > self.0.len()) {
            return Err(FrameError::Short(field));
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8]> {
        let len = self.count(1, field)?;
        self.raw(len, field)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str> {
        std::str::from_utf8(self.bytes(field)?).map_err(|error| wrong(field, error))
    }

    pub(super) fn name(&mut self, field: &'static str) -> Result<&'a str> {
        let len = self.u8(field)?;
        let bytes = self.raw(len.into(), field)?;
        std::str::from_utf8(bytes).map_err(|error| wrong(field, error))
    }

    pub(super) fn floats(&mut self, field: &'static str) -> Result<Vec<f32>> {
        let len = self.count(4, field)?;
        let (floats, _) = self.raw(len * 4, field)?.as_chunks();
        Ok(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(wrong("the end", format!("{} bytes follow it", self.0.len()))) }
    }
}
