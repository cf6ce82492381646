//! From a source of points to a published collection.
pub mod source;
mod error;
pub use error::{Error, Place, Result};
