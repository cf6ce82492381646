//! What can go wrong between a source file and a published collection.

use std::{fmt, io, path::Path};

use cairn_model::{ErrorKind, Kind, PointId};

use crate::Figures;

/// The indexer's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Where in a source something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A byte offset; of the decompressed data when the file is compressed.
    Byte(u64),
    /// A line, the first is 1.
    Line(u64),
    /// A row, the first is 0, like the id that a row without one gets.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Byte(at) => write!(f, "byte {at}"),
            Self::Line(at) => write!(f, "line {at}"),
            Self::Row(at) => write!(f, "row {at}"),
        }
    }
}

/// The indexer's errors; each names the culprit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source is not what its format demands.
    #[error("{file}: {at}: {why}")]
    Malformed {
        /// The file or URL.
        file: String,
        /// Where in it.
        at: Place,
        /// What was found and what was expected.
        why: String,
    },
    /// One id, two points.
    #[error("{file}: point id {id} occurs twice, in rows {first} and {second}")]
    Duplicate {
        /// The file or URL that holds the ids.
        file: String,
        /// The id.
        id: PointId,
        /// The earlier row.
        first: u64,
        /// The later row.
        second: u64,
    },
    /// Two files that belong together do not.
    #[error("{left} has {left_rows} rows but {right} has {right_rows}: they must be equal")]
    Counts {
        /// The file of vectors.
        left: String,
        /// Its rows.
        left_rows: u64,
        /// The file of ids or payloads.
        right: String,
        /// Its rows.
        right_rows: u64,
    },
    /// An option, or what an option asks of the collection that is there.
    #[error("{option}: {why}")]
    Invalid {
        /// The option's or field's name.
        option: String,
        /// What is wrong with it.
        why: String,
    },
    /// The collection holds points and nobody said to replace them.
    #[error(
        "collection {name} already holds {points} points: give --replace to publish a new generation in their place"
    )]
    Occupied {
        /// Its name.
        name: String,
        /// Its points.
        points: u64,
    },
    /// A new generation that is not good enough to be published.
    #[error("{}", refusal(.0))]
    Refused(Box<Figures>),
    /// A point that the engine refuses.
    #[error("point {id}: {source}")]
    Point {
        /// Its id.
        id: PointId,
        /// Why.
        source: cairn_engine::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] cairn_engine::Error),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] cairn_storage::Error),
    /// A local file failed.
    #[error("{path}: {source}")]
    Disk {
        /// The path.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody said stop. Nothing was published.
    #[error("cancelled: nothing was published")]
    Cancelled,
}

fn refusal(figures: &Figures) -> String {
    let Figures { points, points_before, points_ratio_min, recall_min, samples, .. } = figures;
    let why = match (figures.points_ratio, figures.recall) {
        (Some(ratio), _) if ratio < *points_ratio_min => format!(
            "the source has {points} points, {points_before} are served: a ratio of {ratio:.3}, at least {points_ratio_min} \
             is demanded (min-points-ratio)"
        ),
        (_, Some(recall)) => {
            format!("recall@10 is {recall:.4} on {samples} points, at least {recall_min} is demanded (min-recall)")
        }
        (_, None) => format!("recall@10 could not be measured, at least {recall_min} is demanded (min-recall)"),
    };
    format!("refused: {why}; nothing was published")
}

impl Error {
    /// A malformed source.
    pub(crate) fn malformed(file: &str, at: Place, why: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), at, why: why.into() }
    }

    /// A wrong option.
    pub(crate) fn invalid(option: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { option: option.into(), why: why.into() }
    }

    /// A failing local file.
    pub(crate) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.display().to_string(), source }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. } | Self::Duplicate { .. } | Self::Counts { .. } | Self::Invalid { .. } => {
                ErrorKind::Invalid
            }
            Self::Refused(_) => ErrorKind::Invalid,
            Self::Occupied { .. } => ErrorKind::Conflict,
            Self::Point { source, .. } => source.kind(),
            Self::Engine(error) => error.kind(),
            Self::Storage(error) => error.kind(),
            Self::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Disk { .. } => ErrorKind::Unavailable,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
