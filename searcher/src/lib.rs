//! Qdrant's REST API over segments in a bucket.
//!
//! A request passes these houses, each of which imports only those below it:
//!
//! | house | does |
//! |---|---|
//! | [`http`] | routes, keys, body limits, deadlines; answers in Qdrant's envelope |
//! | `root` | plans over shards and segments, lets leaves work in parallel, merges exactly |
//! | [`fanout`] | leaves that are other processes: which has which segment, frames, hedges and retries |
//! | [`aliases`] | which collection a name means |
//! | [`snapshots`] | which segments are the collection, as of now or of a past |
//! | [`leaf`] | one open segment: cached bytes in, hits and records out |
//! | [`heat`] | which open segments are expanded in memory, and when they stop being so |
//! | [`pressure`] | what gives way when memory gets short |
//! | [`workers`] | threads that compute, stopped when nobody waits |
//! | [`receipt`] | what a request costs, and what it would |
//! | [`telemetry`] | what this process counts about itself |
//! | [`update`], [`check`] | writes: how one is asked for, and whether it fits the schema and the limits |
//! | [`api`] | requests and answers as JSON; JSON is nowhere below |
//!
//! The same router runs under hyper ([`serve`]) and inside Lambda (the binary `searcher`).

pub mod aliases;
pub mod api;
pub mod check;
mod error;
pub mod fanout;
pub mod heat;
pub mod http;
pub mod leaf;
pub mod live;
pub mod pressure;
pub mod receipt;
mod request;
mod root;
mod searcher;
mod select;
mod settings;
pub mod snapshots;
pub mod telemetry;
pub mod update;
pub mod workers;

pub use error::{Error, Result};
pub use http::{Server, router, serve, serve_over};
pub use request::{Facet, Page, Query, Record, Request, ScoredPoint, Scroll, View};
pub use searcher::Searcher;
pub use select::{PayloadSelector, VectorSelector};
pub use settings::{
    FanoutSettings, HotBytes, HttpSettings, LAMBDA_VARIABLE, LeafUrl, Role, SearchSettings, Secret, Settings,
    StoreSettings,
};
pub use update::{UpdateParams, UpdateResult, UpdateStatus};
