//! A nearest-neighbour query, as the layers below HTTP see it.

use serde::{Deserialize, Serialize};

use crate::Filter;

/// How hard to search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SearchParams {
    /// HNSW's `ef`; `None` is the collection's default, or what `recall` needs.
    pub ef: Option<u32>,
    /// Exact search, whatever it costs.
    pub exact: bool,
    /// The recall@k that is wanted, from [`RECALL_MIN`](crate::limits::RECALL_MIN) to
    /// [`RECALL_MAX`](crate::limits::RECALL_MAX): `ef` is then chosen from what was measured when the segment was built.
    /// A given `ef` wins over it.
    pub recall: Option<f32>,
    /// How codes are used.
    pub quantization: QuantizationSearch,
    /// Search only what is indexed.
    pub indexed_only: bool,
    /// How segments that are not on local disk are read.
    pub plan: SegmentPlan,
}

/// How a segment that is not on local disk is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentPlan {
    /// Whichever is sooner.
    #[default]
    Auto,
    /// By ranges, also when its file is here; as a whole where it has no head.
    Ranges,
    /// As a whole: it is fetched first.
    Whole,
}

/// How a search uses the vectors' codes, under Qdrant's names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuantizationSearch {
    /// Score by the originals alone.
    pub ignore: bool,
    /// Whether the best candidates are scored by their originals; `None` is yes, wherever originals are kept.
    pub rescore: Option<bool>,
    /// Candidates that are rescored per hit, at least 1; `None` leaves it to the engine.
    pub oversampling: Option<f32>,
}

/// One nearest-neighbour query, checked against the schema before it gets here.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorQuery {
    /// The name of the dense vector that is searched; `""` is the unnamed one.
    pub using: String,
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
