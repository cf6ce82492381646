//! What tests of this crate and of those above it need: faults to put under a store, and the battery that every
//! backend must pass.

pub mod conformance;
#[cfg(test)]
pub(crate) mod dated;
pub mod faults;
