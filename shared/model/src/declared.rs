//! Qdrant's settings of graphs and storage as a collection's owner declared them. Most mean nothing to segments in a bucket; all are kept, to be
//! shown again as they were given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{HnswConfig, Memory, schema::SchemaError};

/// A struct of settings that may each be missing: one over another, and whether there is any.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: Option<$type:ty>,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
        }

        impl $name {
            /// What is set here, and what only `base` sets.
            #[must_use]
            pub fn over(self, base: Self) -> Self {
                Self { $($field: self.$field.or(base.$field),)* }
            }

            /// Whether nothing is set.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    };
}

settings! {
    /// `hnsw_config`. The first three are heeded.
    pub struct HnswDiff {
        /// Links per node.
        pub m: Option<u32>,
        /// Build width.
        pub ef_construct: Option<u32>,
        /// Kilobytes below which a search scans.
        pub full_scan_threshold: Option<u32>,
        /// Threads of a build.
        pub max_indexing_threads: Option<u64>,
        /// Whether the graph is on disk.
        pub on_disk: Option<bool>,
        /// Where the graph is kept.
        pub memory: Option<Memory>,
        /// Links for filters, which need none here.
        pub payload_m: Option<u64>,
        /// Whether codes stand beside links.
        pub inline_storage: Option<bool>,
    }
}

settings! {
    /// `optimizers_config`.
    pub struct OptimizersDiff {
        /// Share of deleted points from which a segment is written anew: 0 to 1.
        pub deleted_threshold: Option<f64>,
        /// Points below which it is not: 100 at least.
        pub vacuum_min_vector_number: Option<u64>,
        /// Segments that are aimed at.
        pub default_segment_number: Option<u64>,
        /// Kilobytes of the largest: 1 at least.
        pub max_segment_size: Option<u64>,
        /// Kilobytes from which segments are mapped.
        pub memmap_threshold: Option<u64>,
        /// Kilobytes from which they have graphs.
        pub indexing_threshold: Option<u64>,
        /// Seconds between flushes.
        pub flush_interval_sec: Option<u64>,
        /// Threads.
        pub max_optimization_threads: Option<Threads>,
        /// Whether writes wait for graphs.
        pub prevent_unoptimized: Option<bool>,
    }
}

settings! {
    /// `wal_config`.
    pub struct WalDiff {
        /// Megabytes of a file: 1 at least.
        pub wal_capacity_mb: Option<u64>,
        /// Files made ahead.
        pub wal_segments_ahead: Option<u64>,
        /// Files kept.
        pub wal_retain_closed: Option<u64>,
    }
}

settings! {
    /// What else stands among the parameters of a collection.
    pub struct ParamsDiff {
        /// Copies of a shard: 1 at least.
        pub replication_factor: Option<u32>,
        /// Copies that a write waits for: 1 at least.
        pub write_consistency_factor: Option<u32>,
        /// Copies that a read asks.
        pub read_fan_out_factor: Option<u32>,
        /// Milliseconds after which it asks more.
        pub read_fan_out_delay_ms: Option<u64>,
        /// Whether payloads are on disk.
        pub on_disk_payload: Option<bool>,
    }
}

settings! {
    /// What stands among the parameters of one vector.
    pub struct VectorSettings {
        /// Its graph.
        pub hnsw_config: Option<HnswDiff>,
        /// Whether its originals are on disk.
        pub on_disk: Option<bool>,
    }
}

/// A number of threads, or as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Threads {
    /// So many.
    Count(u64),
    /// Whatever is there.
    Auto(Auto),
}

/// The word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// `auto`.
    Auto,
}

/// All that was declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Declared {
    /// Graphs of vectors that do not say otherwise.
    #[serde(skip_serializing_if = "HnswDiff::is_empty")]
    pub hnsw_config: HnswDiff,
    /// Segments.
    #[serde(skip_serializing_if = "OptimizersDiff::is_empty")]
    pub optimizers_config: OptimizersDiff,
    /// The log.
    #[serde(skip_serializing_if = "WalDiff::is_empty")]
    pub wal_config: WalDiff,
    /// The rest.
    #[serde(skip_serializing_if = "ParamsDiff::is_empty")]
    pub params: ParamsDiff,
    /// By vector.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vectors: BTreeMap<String, VectorSettings>,
}

/// Refuses numbers that are too small, in Qdrant's words.
fn at_least<const N: usize>(at: &str, fields: [(&str, Option<u64>, u64); N]) -> Result<(), SchemaError> {
    for (field, value, least) in fields {
        if let Some(value) = value.filter(|value| *value < least) {
            let why = format!("value {value} invalid, must be {least} or larger");
            return Err(SchemaError { field: format!("{at}{field}"), why });
        }
    }
    Ok(())
}

impl HnswDiff {
    /// `base`, but for what is set here.
    #[must_use]
    pub fn of(self, base: HnswConfig) -> HnswConfig {
        HnswConfig {
            m: self.m.unwrap_or(base.m),
            ef_construct: self.ef_construct.unwrap_or(base.ef_construct),
            full_scan_threshold: self.full_scan_threshold.unwrap_or(base.full_scan_threshold),
        }
    }

    /// What is set here and not in `other`, as far as it is heeded.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        let unless = |own: Option<u32>, other: Option<u32>| own.filter(|_| other.is_none());
        Self {
            m: unless(self.m, other.m),
            ef_construct: unless(self.ef_construct, other.ef_construct),
            full_scan_threshold: unless(self.full_scan_threshold, other.full_scan_threshold),
            ..self
        }
    }

    fn validate(&self, at: &str) -> Result<(), SchemaError> {
        at_least(at, [("full_scan_threshold", self.full_scan_threshold.map(u64::from), 10)])
    }
}

impl Declared {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Graph settings that a vector declared of its own.
    #[must_use]
    pub fn hnsw_of(&self, vector: &str) -> HnswDiff {
        self.vectors.get(vector).and_then(|settings| settings.hnsw_config).unwrap_or_default()
    }

    /// Holds all numbers to Qdrant's bounds; `under_params` is where [`Declared::params`] stand in the request.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self, under_params: &str) -> Result<(), SchemaError> {
        let factor = |factor: Option<u32>| factor.map(u64::from);
        at_least(
            under_params,
            [
                ("replication_factor", factor(self.params.replication_factor), 1),
                ("write_consistency_factor", factor(self.params.write_consistency_factor), 1),
            ],
        )?;
        let optimizers = &self.optimizers_config;
        if let Some(share) = optimizers.deleted_threshold.filter(|share| !(0.0..=1.0).contains(share)) {
            let why = format!("value {share} invalid, must be from 0.0 to 1.0");
            return Err(SchemaError { field: "optimizers_config.deleted_threshold".to_owned(), why });
        }
        at_least(
            "optimizers_config.",
            [
                ("vacuum_min_vector_number", optimizers.vacuum_min_vector_number, 100),
                ("max_segment_size", optimizers.max_segment_size, 1),
            ],
        )?;
        at_least("wal_config.", [("wal_capacity_mb", self.wal_config.wal_capacity_mb, 1)])?;
        self.hnsw_config.validate("hnsw_config.")?;
        for name in self.vectors.keys() {
            let at = if name.is_empty() { "vectors".to_owned() } else { format!("vectors.{name}") };
            self.hnsw_of(name).validate(&format!("{at}.hnsw_config."))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Declared {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_was_declared_comes_back_as_it_was_given() {
        for json in [
            "{}",
            r#"{"hnsw_config":{"m":8,"on_disk":true,"memory":"cold","payload_m":0}}"#,
            r#"{"optimizers_config":{"deleted_threshold":0.5,"max_optimization_threads":"auto"},"wal_config":{"wal_capacity_mb":1}}"#,
            r#"{"params":{"replication_factor":2,"on_disk_payload":false},"vectors":{"":{"on_disk":true},"a":{"hnsw_config":{"ef_construct":9}}}}"#,
        ] {
            let declared = read(json);
            assert_eq!(declared.validate("params."), Ok(()));
            assert_eq!(serde_json::to_string(&declared).unwrap(), json);
            assert_eq!(declared.is_empty(), json == "{}");
        }
    }

    #[test]
    fn bounds_are_qdrants() {
        for (json, field) in [
            (r#"{"params": {"replication_factor": 0}}"#, "params.replication_factor"),
            (r#"{"optimizers_config": {"deleted_threshold": 1.01}}"#, "optimizers_config.deleted_threshold"),
            (
                r#"{"optimizers_config": {"vacuum_min_vector_number": 99}}"#,
                "optimizers_config.vacuum_min_vector_number",
            ),
            (r#"{"optimizers_config": {"max_segment_size": 0}}"#, "optimizers_config.max_segment_size"),
            (r#"{"wal_config": {"wal_capacity_mb": 0}}"#, "wal_config.wal_capacity_mb"),
            (r#"{"hnsw_config": {"full_scan_threshold": 9}}"#, "hnsw_config.full_scan_threshold"),
            (
                r#"{"vectors": {"a": {"hnsw_config": {"full_scan_threshold": 1}}}}"#,
                "vectors.a.hnsw_config.full_scan_threshold",
            ),
        ] {
            assert_eq!(read(json).validate("params.").unwrap_err().field, field);
        }
    }

    #[test]
    fn a_vectors_own_settings_win_over_later_ones_of_the_collection() {
        let own = HnswDiff { m: Some(32), ..HnswDiff::default() };
        let collection = HnswDiff { m: Some(8), ef_construct: Some(50), ..HnswDiff::default() };
        let config = collection.without(own).of(own.of(HnswConfig::default()));
        assert_eq!((config.m, config.ef_construct, config.full_scan_threshold), (32, 50, 10_000));
        let both = own.over(collection);
        assert_eq!((both.m, both.ef_construct), (Some(32), Some(50)));
    }
}
