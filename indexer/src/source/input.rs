//! A file's bytes: opened, decompressed, counted, with errors that name the byte.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Error, Place, Result};

/// The longest line of a text source, without its end.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a read buffer.
const BUFFER_BYTES: usize = 256 << 10;
/// log2 of the largest zstd window that is accepted: what `zstd --ultra -22` makes.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes taken from a file, for progress; before decompression.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    read: Arc<AtomicU64>,
    total: u64,
}

impl Tally {
    /// Bytes read and bytes in all.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed).min(self.total), self.total)
    }
}

/// A file that counts what is read of it.
struct Tallied {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Tallied {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A named stream of bytes and the position in it.
pub struct Input<R> {
    file: String,
    reader: R,
    at: u64,
    tally: Tally,
}

impl Input<Box<dyn BufRead + Send>> {
    /// Opens a file; `.gz` and `.zst` are decompressed.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |error| Error::disk(path, error);
        let file = File::open(path).map_err(fail)?;
        let facts = file.metadata().map_err(fail)?;
        if facts.is_dir() {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "is a directory, expected a file")));
        }
        let tally = Tally { read: Arc::default(), total: facts.len() };
        let raw = BufReader::with_capacity(BUFFER_BYTES, Tallied { file, read: Arc::clone(&tally.read) });
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let reader: Box<dyn BufRead + Send> = match extension.as_str() {
            "gz" => Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(raw))),
            "zst" => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(fail)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(fail)?;
                Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
            }
            _ => Box::new(raw),
        };
        Ok(Self { file: path.display().to_string(), reader, at: 0, tally })
    }
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> Input<R> {
    /// A stream that is called `file` in errors.
    pub fn new(file: impl Into<String>, reader: R) -> Self {
        Self { file: file.into(), reader, at: 0, tally: Tally::default() }
    }

    /// Its name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Offset of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How much of the file was read.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// An error at the next byte.
    pub(crate) fn fail(&self, why: impl Into<String>) -> Error {
        Error::malformed(&self.file, Place::Byte(self.at), why)
    }

    /// Fills `buffer` as far as the stream reaches; returns how far.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.at += filled as u64;
                    return Err(self.fail(format!("cannot read on: {error}")));
                }
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    /// Fills all of `buffer`, which is `what`.
    pub(crate) fn exact(&mut self, buffer: &mut [u8], what: &str) -> Result<()> {
        let filled = self.fill(buffer)?;
        if filled == buffer.len() {
            return Ok(());
        }
        Err(self.fail(format!("the file ends here, expected {} more bytes of {what}", buffer.len() - filled)))
    }

    /// Whether nothing is left.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(format!("cannot read on: {error}"))),
            }
        }
    }

    /// Replaces `line` with the next line, without its end. False at the end of the stream.
    pub(crate) fn line(&mut self, number: u64, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let limit = LINE_BYTES_MAX as u64 + 2;
        let count = (&mut self.reader)
            .take(limit)
            .read_until(b'\n', line)
            .map_err(|error| Error::malformed(&self.file, Place::Line(number), format!("cannot read on: {error}")))?;
        self.at += count as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        if line.len() > LINE_BYTES_MAX {
            let why = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Err(Error::malformed(&self.file, Place::Line(number), why));
        }
        Ok(count > 0)
    }
}
