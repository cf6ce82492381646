//! Records in arrival order, in lanes: in memory while they are few, in one unnamed temporary file after.
//!
//! The file has no name, so that nothing is left of it however the process ends. A full memory is written out lane by lane,
//! one block each; a lane is read as its blocks, then what of it is still in memory.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Largest and smallest unit of memory of a lane.
const CHUNK_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Bytes of a reader's buffer.
const BUFFER_BYTES: usize = 256 << 10;

/// Lanes of records under one memory bound.
pub(crate) struct Spool {
    lanes: Vec<Lane>,
    dir: PathBuf,
    file: Option<File>,
    file_bytes: u64,
    memory_bytes: usize,
    memory_bytes_max: usize,
    chunk_bytes: usize,
}

#[derive(Default)]
struct Lane {
    /// Offset and length of what is in the file.
    blocks: Vec<(u64, u64)>,
    chunks: Vec<Vec<u8>>,
    records: u64,
}

impl Spool {
    /// An empty spool of `lanes` lanes that keeps about `memory_bytes_max` in memory and the rest in a file in `dir`.
    pub(crate) fn new(lanes: usize, memory_bytes_max: usize, dir: &Path) -> Self {
        let lanes = lanes.max(1);
        Self {
            lanes: std::iter::repeat_with(Lane::default).take(lanes).collect(),
            dir: dir.to_owned(),
            file: None,
            file_bytes: 0,
            memory_bytes: 0,
            memory_bytes_max,
            chunk_bytes: (memory_bytes_max / (4 * lanes)).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
        }
    }

    /// Appends a record to a lane.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub(crate) fn push(&mut self, lane: usize, record: &[u8]) -> Result<()> {
        let space = self.lanes[lane].chunks.last().map_or(0, |chunk| chunk.capacity() - chunk.len());
        if space < record.len() {
            let bytes = self.chunk_bytes.max(record.len());
            if self.memory_bytes + bytes > self.memory_bytes_max {
                self.spill().map_err(|error| Error::disk(&self.dir, error))?;
            }
            self.memory_bytes += bytes;
            self.lanes[lane].chunks.push(Vec::with_capacity(bytes));
        }
        let lane = &mut self.lanes[lane];
        if let Some(chunk) = lane.chunks.last_mut() {
            chunk.extend_from_slice(record);
        }
        lane.records += 1;
        Ok(())
    }

    /// Moves everything in memory to the file.
    fn spill(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.dir)?,
        };
        file.seek(SeekFrom::Start(self.file_bytes))?;
        let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, file);
        for lane in self.lanes.iter_mut().filter(|lane| !lane.chunks.is_empty()) {
            let start = self.file_bytes;
            for chunk in std::mem::take(&mut lane.chunks) {
                out.write_all(&chunk)?;
                self.file_bytes += chunk.len() as u64;
            }
            lane.blocks.push((start, self.file_bytes - start));
        }
        self.file = Some(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.memory_bytes = 0;
        Ok(())
    }

    /// Records in a lane.
    pub(crate) fn records(&self, lane: usize) -> u64 {
        self.lanes[lane].records
    }

    /// Bytes in the file.
    pub(crate) fn spilled_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Reads a lane from its beginning.
    pub(crate) fn read(&self, lane: usize) -> impl Read {
        BufReader::with_capacity(BUFFER_BYTES, LaneReader { spool: self, lane: &self.lanes[lane], part: 0, at: 0 })
    }

    /// Forgets what a lane holds in memory, and that it had more.
    pub(crate) fn free(&mut self, lane: usize) {
        let lane = std::mem::take(&mut self.lanes[lane]);
        self.memory_bytes -= lane.chunks.iter().map(Vec::capacity).sum::<usize>();
    }
}

struct LaneReader<'a> {
    spool: &'a Spool,
    lane: &'a Lane,
    /// Blocks come first, then chunks.
    part: usize,
    at: u64,
}

impl Read for LaneReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = if let Some(&(start, length)) = self.lane.blocks.get(self.part) {
                let mut file = self.spool.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
                file.seek(SeekFrom::Start(start + self.at))?;
                let left = file.take(length - self.at).read(buffer)?;
                if left == 0 && self.at < length && !buffer.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left
            } else if let Some(chunk) = self.lane.chunks.get(self.part - self.lane.blocks.len()) {
                let from = usize::try_from(self.at).unwrap_or(usize::MAX).min(chunk.len());
                (&chunk[from..]).read(buffer)?
            } else {
                return Ok(0);
            };
            if count > 0 || buffer.is_empty() {
                self.at += count as u64;
                return Ok(count);
            }
            self.part += 1;
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_keep_their_order_in_memory_and_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        for memory in [0, 16 << 10, 1 << 30] {
            let mut spool = Spool::new(3, memory, dir.path());
            let mut expected = vec![Vec::new(); 3];
            for number in 0u32..20_000 {
                let lane = (number.wrapping_mul(2_654_435_761) >> 16) as usize % 3;
                let record = number.to_le_bytes().repeat(number as usize % 5);
                spool.push(lane, &record).unwrap();
                expected[lane].extend(record);
                assert!(spool.memory_bytes <= memory.max(3 * CHUNK_BYTES_MIN));
            }
            assert_eq!(spool.spilled_bytes() == 0, memory == 1 << 30);
            for (lane, expected) in expected.iter().enumerate() {
                let mut found = Vec::new();
                spool.read(lane).read_to_end(&mut found).unwrap();
                assert!(found == *expected, "lane {lane} with {memory} bytes of memory");
            }
            for lane in 0..3 {
                spool.free(lane);
            }
            assert_eq!(spool.memory_bytes, 0);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn a_record_larger_than_the_bound_is_kept() {
        let mut spool = Spool::new(1, 8 << 10, &std::env::temp_dir());
        let record = vec![7u8; 100_000];
        spool.push(0, &record).unwrap();
        spool.push(0, &record).unwrap();
        let mut found = Vec::new();
        spool.read(0).read_to_end(&mut found).unwrap();
        assert_eq!(found, [record.clone(), record].concat());
    }
}
