#![doc = include_str!("FORMAT.md")]

mod builder;
mod calibration;
mod clusters;
mod describe;
mod head;
mod hot;
mod layout;
mod ranking;
mod reader;
mod search;
mod vectors;
mod writer;

pub use builder::{Builder, Built, WriteError};
pub use calibration::{Calibration, Entry as CalibrationEntry};
pub use clusters::ClustersView;
pub use describe::{Description, SectionSize};
pub use head::CodecKind;
pub use layout::{SectionKind, VERSION};
pub use reader::Segment;
pub use search::{Found, Hit, Strategy};

/// Where a segment's bytes are: a mapped file, a buffer, or a set of ranges that were fetched.
pub trait Source: Send + Sync {
    /// Bytes of the whole file.
    fn len(&self) -> u64;

    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes at `offset..offset + len`, or `None` where they are not at hand or not in the file.
    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]>;
}

impl<T: AsRef<[u8]> + Send + Sync> Source for T {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.as_ref().get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }
}

#[cfg(test)]
mod tests;
