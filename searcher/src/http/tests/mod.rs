//! The router, called in-process over a store in memory.

mod answers;
mod bad_input;
mod fixture;
mod reading;
mod service;
