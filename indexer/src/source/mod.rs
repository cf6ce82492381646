//! Sources: where points come from, one file per format, all read as a stream with bounded memory.
//!
//! | format | vectors | ids | payload |
//! |---|---|---|---|
//! | `.npy` (versions 1 to 3; C order, 2-D; `f4`, `f2`, `u1`) | yes | | |
//! | `.fvecs`, `.bvecs` | yes | | |
//! | `.jsonl` | yes | optional | optional |
//! | `.parquet` | yes | optional | the other columns |
//!
//! A folder of such files is read one after another, by name ([`Chain`]).
//!
//! All but Parquet may be compressed as a whole: `.gz` or `.zst`. Ids and payloads of the first two formats come from files
//! of their own (`ids`, `payloads`), row by row. Without ids a point's id is its row number, from 0.
//!
//! The parsers take any reader, trust nothing, and name the byte, line or row that is wrong.

mod batch;
mod chain;
mod ids;
mod input;
mod jsonl;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod payloads;
#[cfg(test)]
mod tests;
mod vecs;
mod zipped;

use std::path::Path;

use cairn_model::{Datatype, limits::DIM_MAX};

pub use batch::Batch;
pub use chain::{Chain, Opener};
pub use ids::{IdLines, NpyIds};
pub use input::{Input, LINE_BYTES_MAX, Tally};
pub use jsonl::Jsonl;
pub use npy::{Npy, NpyHeader, row as npy_row};
#[cfg(feature = "parquet")]
pub use parquet::Parquet;
pub use payloads::Payloads;
pub use vecs::Vecs;
pub use zipped::Zipped;

use crate::{Error, Place, Result};

/// The number format of a source's vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Unsigned bytes.
    U8,
}

impl Element {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::U8 => 1,
        }
    }

    /// Appends the elements in little-endian `bytes`, widened.
    pub(crate) fn widen(self, bytes: &[u8], vector: &mut Vec<f32>) {
        match self {
            Self::F32 => vector.extend(bytes.as_chunks().0.iter().map(|&c| f32::from_le_bytes(c))),
            Self::F16 => vector.extend(bytes.as_chunks().0.iter().map(|&c| half::f16::from_le_bytes(c).to_f32())),
            Self::U8 => vector.extend(bytes.iter().map(|&byte| f32::from(byte))),
        }
    }

    /// The datatype that keeps such vectors without loss.
    #[must_use]
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::F32 => Datatype::Float32,
            Self::F16 => Datatype::Float16,
            Self::U8 => Datatype::Uint8,
        }
    }
}

/// What every row of a source looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Dimensions.
    pub dim: usize,
    /// Number format.
    pub element: Element,
    /// Rows, where the file says so ahead.
    pub rows: Option<u64>,
}

/// A stream of points.
pub trait Source: Send {
    /// The file's name, for errors.
    fn file(&self) -> &str;
    /// What every row looks like.
    fn layout(&self) -> Layout;
    /// Replaces `batch` with the next rows: at least one. False at the end, with `batch` empty.
    ///
    /// # Errors
    /// [`Error::Malformed`], naming the place.
    fn next(&mut self, batch: &mut Batch) -> Result<bool>;
    /// Whether rows carry ids.
    fn has_ids(&self) -> bool {
        false
    }
    /// Whether rows carry payloads.
    fn has_payloads(&self) -> bool {
        false
    }
    /// How much was read and how much there is, in units of the source's own choice.
    fn progress(&self) -> (u64, u64);
}

/// The local files of one source.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// Vectors, and all else in JSONL and Parquet.
    pub input: &'a Path,
    /// Ids.
    pub ids: Option<&'a Path>,
    /// Payloads.
    pub payload: Option<&'a Path>,
}

/// Opens a source; the format is told from the file's name.
///
/// # Errors
/// A file that cannot be opened, an unknown format, a malformed beginning, two files that both bring ids or payloads.
pub fn open(files: &Files<'_>) -> Result<Box<dyn Source>> {
    let vectors = open_input(files.input)?;
    if files.ids.is_none() && files.payload.is_none() {
        return Ok(vectors);
    }
    let twice = |option: &str, what: &str| {
        Err(Error::invalid(option, format!("{} already brings {what}", files.input.display())))
    };
    if files.ids.is_some() && vectors.has_ids() {
        return twice("ids", "its own ids");
    }
    if files.payload.is_some() && vectors.has_payloads() {
        return twice("payload", "its own payloads");
    }
    let ids = files.ids.map(ids::open).transpose()?;
    let payloads = files.payload.map(|path| Ok::<_, Error>(Payloads::new(Input::open(path)?))).transpose()?;
    Ok(Box::new(Zipped::new(vectors, ids, payloads)))
}

/// Opens the file of vectors.
fn open_input(path: &Path) -> Result<Box<dyn Source>> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    let format = bare.rsplit_once('.').map_or("", |(_, extension)| extension);
    Ok(match format {
        "npy" => Box::new(Npy::new(Input::open(path)?)?),
        "fvecs" => Box::new(Vecs::fvecs(Input::open(path)?)?),
        "bvecs" => Box::new(Vecs::bvecs(Input::open(path)?)?),
        "jsonl" | "ndjson" => Box::new(Jsonl::new(Input::open(path)?)?),
        #[cfg(feature = "parquet")]
        "parquet" if bare == name => Box::new(Parquet::open(path)?),
        _ => {
            return Err(Error::malformed(
                &path.display().to_string(),
                Place::File,
                "unknown format: expected .npy, .fvecs, .bvecs or .jsonl (each also with .gz or .zst), or .parquet",
            ));
        }
    })
}

/// Checks a dimension that a file claims.
fn check_dim(file: &str, at: Place, dim: u64) -> Result<usize> {
    match usize::try_from(dim) {
        Ok(dim) if (1..=DIM_MAX).contains(&dim) => Ok(dim),
        _ => Err(Error::malformed(file, at, format!("{dim} dimensions, expected 1 to {DIM_MAX}"))),
    }
}

/// Checks that every element of one vector is finite.
fn check_finite(file: &str, at: Place, vector: &[f32]) -> Result<()> {
    match vector.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(element) => Err(Error::malformed(
            file,
            at,
            format!("element {element} of the vector is {}, expected a finite number", vector[element]),
        )),
    }
}
