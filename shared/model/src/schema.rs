//! What a collection holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Datatype, Distance,
    limits::{DIM_MAX, EF_CONSTRUCT_MAX, M_MAX, NAME_BYTES_MAX, SHARDS_MAX},
};

/// HNSW's build parameters, under Qdrant's names and with Qdrant's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HnswConfig {
    /// Links per node on the upper levels; level 0 has twice as many (`m0`).
    pub m: u32,
    /// Width of the search that finds a new node's neighbours.
    pub ef_construct: u32,
    /// Kilobytes of original vectors below which a search scans instead of walking the graph.
    pub full_scan_threshold: u32,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self { m: 16, ef_construct: 100, full_scan_threshold: 10_000 }
    }
}

impl HnswConfig {
    /// Links per node on level 0.
    #[must_use]
    pub const fn m0(&self) -> u32 {
        self.m * 2
    }
}

/// One vector of a point.
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
}

/// A collection's schema. Today every point has exactly one vector, whose name may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSchema {
    /// Vectors by name; `""` is the default, unnamed one.
    pub vectors: BTreeMap<String, VectorParams>,
    /// Hash partitions; fixed for the collection's life.
    pub shard_count: u32,
}

/// Why a schema was refused; `field` is the JSON field at fault, as Qdrant names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct SchemaError {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl CollectionSchema {
    /// A schema of one vector.
    #[must_use]
    pub fn single(name: &str, params: VectorParams, shard_count: u32) -> Self {
        Self { vectors: BTreeMap::from([(name.to_owned(), params)]), shard_count }
    }

    /// The one vector's name and parameters.
    ///
    /// # Errors
    /// When the schema was not validated and has none or several.
    pub fn vector(&self) -> Result<(&str, &VectorParams), SchemaError> {
        match (self.vectors.len(), self.vectors.first_key_value()) {
            (1, Some((name, params))) => Ok((name, params)),
            (count, _) => Err(SchemaError {
                field: "vectors".into(),
                why: format!("this version stores exactly one vector per point, {count} were declared"),
            }),
        }
    }

    /// Checks every number and name.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn validate(&self) -> Result<(), SchemaError> {
        let fail = |field: String, why: String| Err(SchemaError { field, why });
        let (name, params) = self.vector()?;
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return fail("vectors".into(), format!("vector name must be at most {NAME_BYTES_MAX} printable bytes"));
        }
        let at = if name.is_empty() { "vectors".to_owned() } else { format!("vectors.{name}") };
        let range = |field: &str, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            fail(format!("{at}.{field}"), format!("value {value} invalid, must be from {low} to {high}"))
        };
        range("size", params.size, 1, u32::try_from(DIM_MAX).unwrap_or(u32::MAX))?;
        range("hnsw_config.m", params.hnsw.m, 2, M_MAX)?;
        range("hnsw_config.ef_construct", params.hnsw.ef_construct, 4, EF_CONSTRUCT_MAX)?;
        if !(1..=SHARDS_MAX).contains(&self.shard_count) {
            return fail(
                "shard_number".into(),
                format!("value {} invalid, must be from 1 to {SHARDS_MAX}", self.shard_count),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(size: u32, m: u32, shards: u32) -> CollectionSchema {
        let hnsw = HnswConfig { m, ..HnswConfig::default() };
        let params = VectorParams { size, distance: Distance::Dot, datatype: Datatype::Float32, hnsw };
        CollectionSchema::single("", params, shards)
    }

    #[test]
    fn limits_are_checked_by_name() {
        assert_eq!(schema(4, 16, 1).validate(), Ok(()));
        for (bad, field) in [
            (schema(0, 16, 1), "vectors.size"),
            (schema(65_537, 16, 1), "vectors.size"),
            (schema(4, 1, 1), "vectors.hnsw_config.m"),
            (schema(4, 16, 0), "shard_number"),
        ] {
            assert_eq!(bad.validate().unwrap_err().field, field);
        }
        let none = CollectionSchema { vectors: BTreeMap::new(), shard_count: 1 };
        assert!(none.validate().unwrap_err().why.contains("exactly one"));
    }
}
