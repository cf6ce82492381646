//! Every id with its row, to find one that occurs twice.
//!
//! Ids go to a [`Spool`]; when all rows are in, they are sorted and neighbours compared. Where they do not fit the memory
//! bound at once, the spool is read several times and each pass sorts the ids of another part of the hash space: exact, bounded, and
//! without a table that grows with the source.

use std::{io::Read, path::Path};

use cairn_model::PointId;

use crate::{
    Error, Result,
    record::{decode_id, encode_id},
    spool::Spool,
};

/// Bytes in the spool: the id and its row.
const RECORD_BYTES: usize = 25;
/// Bytes of memory of one id while its part is sorted.
const ENTRY_BYTES: u64 = size_of::<(PointId, u64)>() as u64;

/// The ids of a source.
pub(crate) struct Ledger {
    spool: Spool,
    memory_bytes_max: usize,
    /// Ids that only ever rise cannot repeat: most files are like that, and nothing needs sorting.
    last: Option<PointId>,
    rising: bool,
    /// Ids that were noted.
    rows: u64,
}

impl Ledger {
    /// An empty ledger: half the memory is for ids as they come, half for sorting them.
    pub(crate) fn new(memory_bytes_max: usize, dir: &Path) -> Self {
        let half = memory_bytes_max / 2;
        Self { spool: Spool::new(1, half, dir), memory_bytes_max: half, last: None, rising: true, rows: 0 }
    }

    /// Notes a row's id.
    pub(crate) fn push(&mut self, id: PointId, row: u64) -> Result<()> {
        self.rising &= self.last.is_none_or(|last| last < id);
        self.last = Some(id);
        let mut record = [0u8; RECORD_BYTES];
        record[..17].copy_from_slice(&encode_id(id));
        record[17..].copy_from_slice(&row.to_le_bytes());
        self.rows += 1;
        self.spool.push(0, &record)
    }

    /// Looks for an id that occurs twice.
    ///
    /// # Errors
    /// [`Error::Duplicate`] with `file`; [`Error::Cancelled`] when `cancelled` says so; [`Error::Disk`].
    pub(crate) fn check(self, file: &str, dir: &Path, cancelled: &dyn Fn() -> bool) -> Result<()> {
        if self.rising {
            return Ok(());
        }
        // An eighth is left for uneven parts.
        let budget = (self.memory_bytes_max as u64 * 7 / 8).max(ENTRY_BYTES);
        let passes = u32::try_from((self.rows * ENTRY_BYTES).div_ceil(budget)).unwrap_or(u32::MAX);
        for pass in 0..passes {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let mut part = self.part(pass, passes).map_err(|error| Error::disk(dir, error))?;
            part.sort_unstable();
            if let Some([(id, first), (_, second)]) = part.array_windows().find(|[a, b]| a.0 == b.0) {
                return Err(Error::Duplicate { file: file.to_owned(), id: *id, first: *first, second: *second });
            }
        }
        Ok(())
    }

    /// The ids of one part of the hash space.
    fn part(&self, pass: u32, passes: u32) -> std::io::Result<Vec<(PointId, u64)>> {
        let expected = self.rows / u64::from(passes);
        let mut part = Vec::with_capacity(usize::try_from(expected + expected / 16 + 16).unwrap_or(0));
        let mut reader = self.spool.read(0);
        let mut record = [0u8; RECORD_BYTES];
        for _ in 0..self.rows {
            reader.read_exact(&mut record)?;
            let (id, row) = record.split_first_chunk::<17>().ok_or(std::io::ErrorKind::InvalidData)?;
            let id = decode_id(id);
            // The shard hash spreads ids evenly; that it also picks the shard does no harm here.
            if passes == 1 || id.shard(passes) == pass {
                let row: [u8; 8] = row.try_into().map_err(|_| std::io::ErrorKind::InvalidData)?;
                part.push((id, u64::from_le_bytes(row)));
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ids: impl IntoIterator<Item = u64>, memory: usize) -> Result<()> {
        let dir = std::env::temp_dir();
        let mut ledger = Ledger::new(memory, &dir);
        for (row, id) in (0..).zip(ids) {
            ledger.push(PointId::Num(id), row)?;
        }
        ledger.check("f", &dir, &|| false)
    }

    #[test]
    fn repeated_ids_are_found_in_one_pass_and_in_many() {
        let scattered = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for memory in [4 << 10, 64 << 10, 64 << 20] {
            assert!(check(0..20_000, memory).is_ok());
            assert!(check((0..20_000).map(scattered), memory).is_ok());
            let ids = (0..20_000).map(scattered).chain([scattered(77)]);
            match check(ids, memory) {
                Err(Error::Duplicate { id, first: 77, second: 20_000, .. }) => {
                    assert_eq!(id, PointId::Num(scattered(77)))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_check_can_be_cancelled() {
        let mut ledger = Ledger::new(1 << 20, &std::env::temp_dir());
        for (row, id) in [2, 1].into_iter().enumerate() {
            ledger.push(PointId::Num(id), row as u64).unwrap();
        }
        assert!(matches!(ledger.check("f", &std::env::temp_dir(), &|| true), Err(Error::Cancelled)));
    }
}
