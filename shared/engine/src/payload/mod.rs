//! Payloads inside a segment: ids both ways, packed rows, one index per field, and filters turned into sets of
//! allowed ordinals.
//!
//! Three sections, each written once from points in ordinal order and read through a view that opens in constant
//! time: [`ids`], [`rows`] and [`fields`] (their layouts are in their module docs; all integers little-endian).
//! [`matches()`] says what a filter means for one payload; [`allowed()`] finds all points for which it holds, from the
//! indexes alone where they suffice and from rows where they do not.

mod allowed;
mod bytes;
pub mod fields;
pub mod ids;
mod meaning;
mod packed;
pub mod rows;
mod tally;

pub use allowed::{View, allowed, cardinality_bounds};
pub use meaning::matches;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
