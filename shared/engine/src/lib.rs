//! Bytes in, values out: the part of Cairn that computes.
//!
//! No async, no I/O, no clock and no ambient randomness: whoever calls brings the bytes, the threads, the seed and
//! the cancellation. Modules are layers; lower never imports higher (`tests/layers.rs` checks it):
//!
//! `kernel` < `codec` < `cluster` < `graph` < `hot` < `payload` < `segment` < `merge` < `fresh`
//!
//! `error`, `seed`, `source` and `watch` lie below all of them.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "small numbers in tests"))]

pub mod cluster;
pub mod codec;
mod error;
pub mod fresh;
pub mod graph;
pub mod hot;
pub mod kernel;
pub mod merge;
pub mod payload;
pub mod seed;
pub mod segment;
mod source;
mod watch;

pub use error::{Error, Result};
pub use watch::{Phase, Unwatched, Watch};
