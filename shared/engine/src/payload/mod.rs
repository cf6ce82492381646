//! Payloads inside a segment: ids both ways, packed rows, one index per field, and filters turned into sets of
//! allowed ordinals.
//!
//! Three sections, each written once from points in ordinal order and read through a view that opens in constant
//! time: [`ids`], [`rows`] and [`fields`] (their layouts are in their module docs; all integers little-endian).
//! [`matches()`] says what a filter means for one point; [`allowed()`] finds all points for which it holds, from the
//! indexes alone where they suffice and from rows where they do not. Texts match by tokens once [`resolve()`] has said so.
//! [`ordered()`] and [`facet()`] list and count points by their values at a path; [`order_values()`] and [`facet_values()`] say
//! which values of one point those are.

mod allowed;
mod bytes;
mod facet;
pub mod fields;
mod geo;
pub mod ids;
mod meaning;
mod order;
pub mod ordinal_ids;
mod packed;
mod picked;
pub mod rows;
mod tally;
mod text;

pub use allowed::{Doubt, View, allowed, cardinality_bounds};
pub(crate) use allowed::{Holders, regions};
pub use facet::{facet, facet_values};
pub use meaning::matches;
pub use order::{Ordered, order_values, ordered};
pub use text::resolve;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
