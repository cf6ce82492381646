//! A nearest-neighbour query, as the layers below HTTP see it.

use crate::Filter;

/// How hard to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchParams {
    /// HNSW's `ef`; `None` is the collection's default.
    pub ef: Option<u32>,
    /// Exact search, whatever it costs.
    pub exact: bool,
}

/// One nearest-neighbour query, checked against the schema before it gets here.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorQuery {
    /// The query vector, of the schema's dimension, finite.
    pub vector: Vec<f32>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// How many hits; at least 1.
    pub k: usize,
    /// How hard to search.
    pub params: SearchParams,
    /// Only hits at least as good as this score.
    pub score_threshold: Option<f32>,
}
