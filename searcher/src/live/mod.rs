//! Collections that take writes: what is in their logs is read with their segments, and put there.
//!
//! | file | what |
//! |---|---|
//! | `seen` | a version of a collection with the tails of its logs: all that one request reads |
//! | `masks` | which rows of a segment count no more |
//! | `tails` | the logs that this process has, and how their tails become points |
//! | `update` | a write: divided by shard, put, and what is told of it |
//! | `payloads` | changing parts of a payload |
//! | `resolve` | writes that depend on what is there, as the whole points that they come to |

pub(crate) mod masks;
mod payloads;
pub(crate) mod resolve;
pub(crate) mod seen;
pub(crate) mod tails;
mod update;

pub use seen::Seen;
pub use tails::Tails;
