//! What a caller should do about an error.

/// The few kinds of failure, named by what the caller should do. Every error type of Cairn has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: change it. HTTP 400 or 422.
    Invalid,
    /// What was named does not exist. HTTP 404.
    NotFound,
    /// Somebody else changed the same thing first, or it exists already. HTTP 409.
    Conflict,
    /// The store, the disk or a peer did not answer: retry. HTTP 503.
    Unavailable,
    /// A disk of this machine is full: give it space. HTTP 503.
    Full,
    /// Stored bytes are not what was written: restore or rebuild. HTTP 500.
    Corrupt,
    /// This version cannot do it. HTTP 400 or 501.
    Unsupported,
    /// The deadline passed or the caller went away. HTTP 408.
    Cancelled,
    /// The request is larger than a stated limit. HTTP 413.
    TooLarge,
}

/// An error that knows its kind.
pub trait Kind: std::error::Error {
    /// What the caller should do.
    fn kind(&self) -> ErrorKind;
}
