//! Field indexes: for every payload path, which points have which values there.
//!
//! A *field* is a path of keys and `[]` that ends in a key (`a`, `a.b`, `a[].b`) and at which some point has a value.
//! A point's *values* there are what [`cairn_model::Path::values`] finds; an array among them is entered one level, as
//! in Qdrant. Its elements and the other values are the point's *scalars*, *nulls* and *others*: objects, arrays in
//! arrays, and strings of more than [`KEYWORD_BYTES_MAX`] bytes, which no index holds. A segment has at most
//! [`FIELDS_MAX`] fields; keys that contain `"` cannot be named by a path and are left out, and so are paths of more than
//! [`cairn_model::limits::PATH_BYTES_MAX`] bytes.
//!
//! # Layout
//!
//! ```text
//! offset  bytes
//!      0  4            fields
//!      4  4            flags: 1 = there were more fields than are here, so a path that is not here may have values
//!      8  4            clusters, 0 when the segment has none
//!     12  4            zero
//!     16  fields x 32  directory, by name: offset of the name (8), its bytes (4), zero (4), offset of the field (8), its
//!                      bytes (8); offsets count from the section's start
//!         ...          names: paths as they are printed, in UTF-8
//!         ...          fields
//! ```
//!
//! A field:
//!
//! ```text
//!      0  56           ends of its seven parts, counted from the end of this table
//!         ...          sets, dictionary, clusters, postings, integers, floats, datetimes
//! ```
//!
//! *Varint*: LEB128. *Slot*: a set of ordinals, as varint `bytes * 4 + kind`, then by kind:
//!
//! ```text
//!      0  list         here: that many bytes of varints, the first ordinal and then each next one minus its predecessor minus 1
//!      1  list         varint: its offset in postings
//!      2  bitmap       varint: its offset in postings; varint: offset in clusters; varint: bytes there, 0 when there is none
//! ```
//!
//! A bitmap is a Roaring bitmap in its portable serialisation. One of at least [`CLUSTERED_BYTES`] has, in *clusters*, the
//! bitmap of the clusters in which it has points, so that a cold reader can choose clusters without fetching it.
//!
//! *Sets*: seven slots, then two tables, each a varint count and that many pairs of a varint and a slot, ascending:
//!
//! ```text
//! filled    points with a value here that is neither null nor []
//! null      points with null here, or an array that contains null
//! other     points with others
//! blank     filled points without scalars
//! plural    filled points of whose values none counts 1 (an array counts its elements, null 0, all else 1)
//! false     points with false
//! true      points with true
//! counts    for each count but 1: points of whose values one counts that much
//! distinct  for each number from 2: points with so many different scalars
//! ```
//!
//! *Dictionary* (of the strings among the scalars) and *columns* (integers: numbers that are i64; floats: all other
//! numbers, as f64; datetimes: strings that are datetimes, in microseconds since 1970 UTC) are laid out in
//! `fields/keyword.rs` and `fields/column.rs`; a field without such values has no bytes there.

pub(super) mod column;
mod keyword;
mod posting;
mod reader;
mod writer;

use cairn_model::{Path, Step, limits::PATH_BYTES_MAX};

pub use column::Column;
pub use keyword::Keywords;
pub use posting::Slot;
pub use reader::{Field, Fields, Lookup};
pub use writer::FieldsWriter;

const SECTION: &str = "fields";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 32;
/// Parts of a field.
const PARTS: usize = 7;
/// Set in the header's flags when there were more than [`FIELDS_MAX`] fields.
const INCOMPLETE: u32 = 1;
/// Fields of one segment.
pub const FIELDS_MAX: usize = 512;
/// Bytes of an indexed string.
pub const KEYWORD_BYTES_MAX: usize = 256;
/// Bytes of a bitmap from which it has a cluster bitmap.
pub const CLUSTERED_BYTES: usize = 1024;

/// How the values at a path relate to those of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// They are the same.
    Same,
    /// They are among the field's values, or, if `entered`, inside arrays among them.
    Within { entered: bool },
    /// They are somewhere inside the field's values.
    Below,
}

/// The field that says most about `path`, if it exists; `None` when no field can.
fn field_for(path: &Path) -> Option<(Path, Fit)> {
    let steps = path.steps();
    // Most paths are one key, which is its own field.
    if let [Step::Key(key)] = steps
        && !key.contains('"')
        && key.len() + 2 <= PATH_BYTES_MAX
    {
        return Some((path.clone(), Fit::Same));
    }
    let nameable = steps.iter().take_while(|step| !matches!(step, Step::Key(key) if key.contains('"'))).count();
    let wider = |step: &Step| if let Step::Key(key) = step { Step::Key(key.clone()) } else { Step::Each };
    let general: Vec<Step> = steps[..nameable].iter().map(wider).collect();
    let mut whole = nameable == steps.len();
    let mut end = nameable;
    loop {
        end = general[..end].iter().rposition(|step| matches!(step, Step::Key(_)))? + 1;
        let field = join(&general[..end])?;
        if field.to_string().len() <= PATH_BYTES_MAX {
            let fit = match whole {
                true if field == *path => Fit::Same,
                true => Fit::Within { entered: end < steps.len() },
                false => Fit::Below,
            };
            return Some((field, fit));
        }
        whole = false;
        end -= 1;
    }
}

fn join(steps: &[Step]) -> Option<Path> {
    let (Step::Key(first), rest) = steps.split_first()? else { return None };
    Some(rest.iter().fold(Path::key(first.as_str()), |path, step| path.then(step.clone())))
}

#[cfg(test)]
mod tests;
