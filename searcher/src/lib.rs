//! Qdrant's REST API over segments in a bucket.
//!
//! A request passes these houses, each of which imports only those below it:
//!
//! | house | does |
//! |---|---|
//! | [`http`] | routes, keys, body limits, deadlines; answers in Qdrant's envelope |
//! | `root` | plans over shards and segments, lets leaves work in parallel, merges exactly |
//! | [`snapshots`] | which segments are the collection, as of now |
//! | [`leaf`] | one open segment: cached bytes in, hits and records out |
//! | [`heat`] | which open segments are expanded in memory, and when they stop being so |
//! | [`workers`] | threads that compute, stopped when nobody waits |
//! | [`telemetry`] | what this process counts about itself |
//! | [`api`] | requests and answers as JSON; JSON is nowhere below |
//!
//! The same router runs under hyper ([`serve`]) and inside Lambda (the binary `searcher`).

pub mod api;
mod error;
pub mod heat;
pub mod http;
pub mod leaf;
mod request;
mod root;
mod searcher;
mod select;
mod settings;
pub mod snapshots;
pub mod telemetry;
pub mod workers;

pub use error::{Error, Result};
pub use http::{Server, router, serve};
pub use request::{NamedVector, Page, Query, Record, Request, ScoredPoint, Scroll};
pub use searcher::Searcher;
pub use select::{PayloadSelector, VectorSelector};
pub use settings::{HttpSettings, LAMBDA_VARIABLE, SearchSettings, Secret, Settings, StoreSettings};
