//! What a vector of a collection is: of which kind, and how it is kept.

use serde::{Deserialize, Serialize};

use crate::{
    Datatype, Distance, HnswConfig, Preset,
    limits::{CODED_DIM_MIN, DIM_MAX, EF_CONSTRUCT_MAX, M_MAX},
    schema::SchemaError,
};

/// How two multivectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparator {
    /// The sum, over the vectors of the query, of the best score that any vector of the point has with it.
    MaxSim,
}

/// That a point has several vectors under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultivectorConfig {
    /// How they are compared.
    pub comparator: Comparator,
}

/// One vector of a point, or several under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorParams {
    /// Dimensions.
    pub size: u32,
    /// Metric.
    pub distance: Distance,
    /// Number format of the originals.
    #[serde(default)]
    pub datatype: Datatype,
    /// How its graph is built.
    #[serde(default)]
    pub hnsw: HnswConfig,
    /// Whether the vectors themselves are kept; if not, they are answered and scored from their 8-bit codes.
    #[serde(default = "kept")]
    pub originals: bool,
    /// What a build spends its time on.
    #[serde(default)]
    pub preset: Preset,
    /// For several vectors under the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivector: Option<MultivectorConfig>,
}

const fn kept() -> bool {
    true
}

/// What the weights of a sparse vector are multiplied with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modifier {
    /// Nothing.
    #[default]
    None,
    /// The inverse document frequency.
    Idf,
}

/// Qdrant's settings of a sparse vector's index; kept, and shown again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SparseIndexParams {
    /// Points below which a search scans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<u64>,
    /// Whether the index is on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Number format of the weights in the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datatype: Option<Datatype>,
}

/// A sparse vector of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SparseVectorParams {
    /// Its index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<SparseIndexParams>,
    /// What its weights are multiplied with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Modifier>,
}

/// A vector of a collection, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorKind<'a> {
    /// One vector a point.
    Dense(&'a VectorParams),
    /// Several vectors a point.
    Multi(&'a VectorParams),
    /// A few of many dimensions.
    Sparse(&'a SparseVectorParams),
}

impl VectorParams {
    /// Vectors of `size` dimensions, with everything else at its default.
    #[must_use]
    pub fn new(size: u32, distance: Distance) -> Self {
        Self {
            size,
            distance,
            datatype: Datatype::default(),
            hnsw: HnswConfig::default(),
            originals: true,
            preset: Preset::default(),
            multivector: None,
        }
    }

    /// Whether a segment keeps 8-bit codes of such vectors.
    #[must_use]
    pub fn coded(&self) -> bool {
        self.distance != Distance::Manhattan && self.size >= CODED_DIM_MIN && self.multivector.is_none()
    }

    /// One vector or several.
    #[must_use]
    pub const fn kind(&self) -> VectorKind<'_> {
        if self.multivector.is_some() { VectorKind::Multi(self) } else { VectorKind::Dense(self) }
    }

    /// Checks every number; `at` is the field that holds these parameters.
    pub(crate) fn validate(&self, at: &str) -> Result<(), SchemaError> {
        let fail = |field: &str, why: String| Err(SchemaError { field: format!("{at}.{field}"), why });
        let range = |field: &str, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            fail(field, format!("value {value} invalid, must be from {low} to {high}"))
        };
        range("size", self.size, 1, u32::try_from(DIM_MAX).unwrap_or(u32::MAX))?;
        if !self.originals && !self.coded() {
            let why = format!(
                "originals can be left out only where there are codes to answer from: \
                 Cosine, Dot or Euclid of at least {CODED_DIM_MIN} dimensions, one vector a point"
            );
            return fail("originals", why);
        }
        range("hnsw_config.m", self.hnsw.m, 0, M_MAX)?;
        range("hnsw_config.ef_construct", self.hnsw.ef_construct, 4, EF_CONSTRUCT_MAX)
    }
}
