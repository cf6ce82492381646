//! What can go wrong with a request, in Qdrant's words.

use std::ops::Range;

use cairn_model::{CollectionName, ErrorKind, Kind, PointId};

/// The searcher's result.
pub type Result<T> = std::result::Result<T, Error>;

/// The searcher's errors. What they print is what a client reads, except where [`Error::public`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request contradicts the collection or itself.
    #[error("Wrong input: {0}")]
    Invalid(String),
    /// The request asks for nothing that could be done.
    #[error("Bad request: {0}")]
    Bad(String),
    /// The body is not the JSON that was expected.
    #[error("Format error in JSON body: {0}")]
    Format(String),
    /// A parameter of the URL is not what was expected.
    #[error("Deserialize error in query parameters: {0}")]
    Parameters(String),
    /// A value of the request is out of its range.
    #[error("Validation error in {part}: [{field}: {why}]")]
    Validation {
        /// Which part of the request: `JSON body`, `path parameters` or `query parameters`.
        part: &'static str,
        /// The field, by its path.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// Qdrant can do it, this version of Cairn cannot yet.
    #[error("Wrong input: {0} is not supported yet by this version of Cairn")]
    Unsupported(String),
    /// An endpoint of Qdrant's that this version does not have.
    #[error("Not implemented: {0} is not supported yet by this version of Cairn")]
    Later(&'static str),
    /// An endpoint of Qdrant's about the peers of a cluster.
    #[error("Bad request: {0} is for clusters, and this is standalone mode: who shares a store has no peers")]
    Standalone(&'static str),
    /// There is no such collection.
    #[error("Not found: Collection `{0}` doesn't exist!")]
    NoCollection(CollectionName),
    /// There is no such alias.
    #[error("Not found: Alias {0} does not exists!")]
    NoAlias(CollectionName),
    /// The collection would be called as an alias is.
    #[error("Wrong input: Can't create collection with name {0}. Alias with the same name already exists")]
    AliasExists(CollectionName),
    /// There is no such past of the collection, or its objects are gone.
    #[error("Not found: {0}")]
    NoPast(cairn_storage::Error),
    /// There is no such point, and the query was to be near it.
    #[error("Not found: No point with id {0} found")]
    NoPoint(PointId),
    /// There is such a point, but it lacks the vector that the query was to be near.
    #[error("Not found: Vector with name {0:?} for point not found")]
    NoVector(String),
    /// There is no such point, and it was to be shown.
    #[error("Not found: Point with id {0} does not exists!")]
    NoRecord(PointId),
    /// There is such a collection already.
    #[error("Wrong input: Collection `{0}` already exists!")]
    Exists(CollectionName),
    /// The request or its answer is larger than a limit.
    #[error("Payload error: {0}")]
    TooLarge(String),
    /// A segment could not be read.
    #[error("Service internal error: segment {segment}: {source}")]
    Segment {
        /// Its ULID.
        segment: String,
        /// Why.
        source: cairn_engine::Error,
    },
    /// The store or the cache failed.
    #[error("{0}")]
    Storage(#[from] cairn_storage::Error),
    /// Bytes of far segments are needed: the root brings them and asks again.
    #[error("Service internal error: bytes of {} segments are not at hand", .0.len())]
    Absent(Vec<Absent>),
    /// Nobody waits for the answer any more, or its deadline passed.
    #[error("Timeout error: the request was stopped before it was finished")]
    Cancelled,
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is more to write than is carried away: the same request, sent later, will do.
    #[error("Rate limiting exceeded: {why}")]
    Busy {
        /// What has grown too large.
        why: String,
        /// When to come back.
        retry_after: std::time::Duration,
    },
    /// This process cannot answer now; another one may, or this one later.
    #[error("Service unavailable: {0}")]
    Elsewhere(String),
    /// A bug.
    #[error("Service internal error: {0}")]
    Internal(String),
}

/// What is missing of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its ULID.
    pub segment: String,
    /// Byte ranges of its file.
    pub ranges: Vec<Range<u64>>,
}

/// A vector's name that a collection does not have.
pub(crate) fn no_vector(name: &str) -> Error {
    Error::Invalid(format!("Not existing vector name error: {name}"))
}

/// All values, or the first error; or, where nothing is wrong but bytes are missing, all that are.
pub(crate) fn gather<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut absent) = (Vec::with_capacity(results.len()), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(Error::Absent(missing)) => absent.extend(missing),
            Err(error) => return Err(error),
        }
    }
    if absent.is_empty() { Ok(values) } else { Err(Error::Absent(absent)) }
}

impl Error {
    /// A value out of its range in the body.
    pub fn body(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Validation { part: "JSON body", field: field.into(), why: why.into() }
    }

    /// A segment's error; a wrong argument and a cancellation are the request's, not the segment's.
    #[must_use]
    pub fn segment(id: &str, error: cairn_engine::Error) -> Self {
        match error {
            cairn_engine::Error::Cancelled => Self::Cancelled,
            cairn_engine::Error::Absent(ranges) => Self::Absent(vec![Absent { segment: id.to_owned(), ranges }]),
            cairn_engine::Error::Invalid { field, why } => Self::Invalid(format!("{field}: {why}")),
            source => Self::Segment { segment: id.to_owned(), source },
        }
    }

    /// What a client may read: nothing about the inside of this server, its addresses or its paths.
    #[must_use]
    pub fn public(&self) -> String {
        match self {
            Self::Internal(_) | Self::Absent(_) => "Service internal error".to_owned(),
            Self::Storage(error) => match error.kind {
                ErrorKind::Unavailable => "Service unavailable: the store did not answer, please retry".to_owned(),
                ErrorKind::Full => "Service unavailable: the disk of this server's cache is full: give it more space, or ask without `plan: whole` and `exact`".to_owned(),
                ErrorKind::Corrupt => format!("Service internal error: {error}"),
                ErrorKind::Unsupported => format!("Not implemented: {error}"),
                ErrorKind::Cancelled => Self::Cancelled.to_string(),
                ErrorKind::Conflict => "Conflict: the collection was changed at the same time, please retry".to_owned(),
                ErrorKind::NotFound => "Service unavailable: the index changed while it was read, please retry".into(),
                ErrorKind::Invalid | ErrorKind::TooLarge => format!("Wrong input: {error}"),
            },
            other => other.to_string(),
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Bad(_) | Self::Format(_) | Self::Parameters(_) | Self::Validation { .. } => {
                ErrorKind::Invalid
            }
            Self::Unsupported(_) | Self::Later(_) | Self::Standalone(_) => ErrorKind::Unsupported,
            Self::NoCollection(_)
            | Self::NoAlias(_)
            | Self::NoPast(_)
            | Self::NoPoint(_)
            | Self::NoVector(_)
            | Self::NoRecord(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::AliasExists(_) => ErrorKind::Conflict,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Segment { source, .. } => source.kind(),
            Self::Storage(error) => error.kind(),
            Self::Absent(_) => ErrorKind::Unavailable,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Listen { .. } | Self::Busy { .. } | Self::Elsewhere(_) => ErrorKind::Unavailable,
            Self::Internal(_) => ErrorKind::Corrupt,
        }
    }
}
