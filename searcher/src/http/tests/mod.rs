//! The router, called in-process over a store in memory.

mod aliases;
mod answers;
mod bad_input;
mod cluster;
mod cors;
mod editions;
mod ends;
mod fixture;
mod listing;
mod parameters;
mod reading;
mod schema;
mod service;
mod update;
mod vectors;
