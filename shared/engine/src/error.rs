//! What can go wrong in the engine.

use std::ops::Range;

use cairn_model::{ErrorKind, Kind};

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// The engine's few errors; each carries the facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument is wrong.
    #[error("{field}: {why}")]
    Invalid {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Stored bytes contradict the format.
    #[error("corrupt segment: section {section}, byte {at}: {why}")]
    Corrupt {
        /// The section.
        section: &'static str,
        /// Offset inside the section.
        at: u64,
        /// The contradiction.
        why: String,
    },
    /// The file was written by another version.
    #[error("segment format version {found} is not supported, this build reads version {supported}")]
    Version {
        /// In the file.
        found: u32,
        /// Here.
        supported: u32,
    },
    /// The file needs a section that this build does not know.
    #[error("segment needs section kind {kind}, which this build does not know: use a newer Cairn")]
    UnknownSection {
        /// The section's kind.
        kind: u32,
    },
    /// Byte ranges of the file are needed that its source does not have: bring them and ask again.
    #[error("bytes {} of the segment are not at hand", .0.iter().map(|range| format!("{}-{}", range.start, range.end)).collect::<Vec<_>>().join(", "))]
    Absent(Vec<Range<u64>>),
    /// The caller's [`crate::Watch`] said stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Corrupt bytes.
    pub fn corrupt(section: &'static str, at: usize, why: impl Into<String>) -> Self {
        Self::Corrupt { section, at: at as u64, why: why.into() }
    }

    /// A wrong argument.
    pub fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Version { .. } | Self::UnknownSection { .. } => ErrorKind::Unsupported,
            Self::Absent(_) => ErrorKind::Unavailable,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
