//! The router, called in-process over a store in memory.

mod aliases;
mod answers;
mod bad_input;
mod fixture;
mod listing;
mod reading;
mod schema;
mod service;
mod update;
mod vectors;
