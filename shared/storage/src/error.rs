//! What can go wrong between us and a store or a disk.

use cairn_model::{ErrorKind, Kind};

/// The storage crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Storage errors, by what the caller should do; each names the object. Cheap to clone, because all who
/// waited for one download share its failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// What to do about it.
    pub kind: ErrorKind,
    /// The object, file or setting.
    pub what: String,
    /// What happened.
    pub why: String,
}

impl Error {
    /// An error.
    pub fn new(kind: ErrorKind, what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { kind, what: what.into(), why: why.to_string() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, what, why)
    }

    pub(crate) fn unavailable(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Unavailable, what, why)
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}
