//! End to end: the real programs, a real store, answers over HTTP, compared with a brute-force oracle.
//!
//! Every test of [`battery`] runs on memory, on a local directory and on LocalStack. What needs LocalStack, Python or the
//! full data sets is `#[ignore]`d: `tests/run` prepares their surroundings and runs them too.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails where its surroundings do")]

mod bad_input;
mod battery;
mod budgets;
mod cache;
mod clients;
mod cold;
mod crash;
mod damage;
mod doctor;
mod fanout;
mod fixture;
mod freshness;
mod gc;
mod hot;
mod infra;
mod lambda;
mod lifecycle;
mod live;
mod memory;
mod past;
mod pressure;
mod quantization;
mod recall;
mod shards;
mod vectors;
