#![doc = include_str!("FORMAT.md")]

mod builder;
mod by_name;
mod calibration;
mod clusters;
mod column;
mod dense;
mod describe;
mod file;
mod groups;
mod head;
mod head_parts;
mod hot;
mod layout;
mod listing;
mod live;
mod originals;
mod places;
mod ranking;
mod reader;
mod search;
mod stored;
mod values;
mod vectors;
mod writer;

pub use builder::{Builder, Built, WriteError};
pub use calibration::{Calibration, Entry as CalibrationEntry};
pub use clusters::ClustersView;
pub use describe::{DenseSize, Description, SectionSize, ValuesSize};
pub use head::CodecKind;
pub use head_parts::HeadParts;
pub use layout::{SectionKind, VERSION};
pub use live::{decode_dead, encode_dead};
pub use reader::Segment;
pub use search::{Along, Found, Hit, Strategy};

pub use crate::source::Source;

pub(crate) use originals::ToStored;
pub(crate) use stored::Stored;
pub(crate) use vectors::{check, unit};

#[cfg(test)]
mod tests;
