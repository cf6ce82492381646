//! Settings of Qdrant's storage and graphs. Most mean nothing to segments in a bucket: they are held to Qdrant's bounds and ignored.

use cairn_model::HnswConfig;
use serde::Deserialize;

use super::field::Ignored;
use crate::error::{Error, Result};

/// Graph settings; what is missing keeps its default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HnswDiff {
    /// Links per node.
    pub m: Option<u32>,
    /// Build width.
    pub ef_construct: Option<u32>,
    /// Kilobytes below which a search scans.
    pub full_scan_threshold: Option<u32>,
    /// Ignored.
    pub max_indexing_threads: Option<u64>,
    /// Ignored.
    pub on_disk: Option<bool>,
    /// Ignored.
    pub memory: Ignored,
    /// Ignored: filters need no links of their own.
    pub payload_m: Option<u64>,
    /// Ignored.
    pub inline_storage: Option<bool>,
}

/// Qdrant's optimizer settings, all ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizersDiff {
    /// 0 to 1.
    pub deleted_threshold: Option<f64>,
    /// 100 at least.
    pub vacuum_min_vector_number: Option<u64>,
    /// Any.
    pub default_segment_number: Option<u64>,
    /// 1 at least.
    pub max_segment_size: Option<u64>,
    /// Any.
    pub memmap_threshold: Option<u64>,
    /// Any.
    pub indexing_threshold: Option<u64>,
    /// Any.
    pub flush_interval_sec: Option<u64>,
    /// A number or `auto`.
    pub max_optimization_threads: Ignored,
    /// Any.
    pub prevent_unoptimized: Option<bool>,
}

/// Qdrant's write-ahead log settings, all ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalDiff {
    /// 1 at least.
    pub wal_capacity_mb: Option<u64>,
    /// Any.
    pub wal_segments_ahead: Option<u64>,
    /// Any.
    pub wal_retain_closed: Option<u64>,
}

/// Refuses numbers that are too small, in Qdrant's words.
pub(super) fn at_least<const N: usize>(at: &str, fields: [(&str, Option<u64>, u64); N]) -> Result<()> {
    for (field, value, least) in fields {
        if let Some(value) = value.filter(|value| *value < least) {
            let field = if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
            return Err(Error::body(field, format!("value {value} invalid, must be {least} or larger")));
        }
    }
    Ok(())
}

impl HnswDiff {
    /// `base`, but for what the difference says.
    pub(super) fn over(diff: Option<Self>, base: HnswConfig) -> HnswConfig {
        let diff = diff.unwrap_or_default();
        HnswConfig {
            m: diff.m.unwrap_or(base.m),
            ef_construct: diff.ef_construct.unwrap_or(base.ef_construct),
            full_scan_threshold: diff.full_scan_threshold.unwrap_or(base.full_scan_threshold),
        }
    }

    /// Checks what the schema does not; `at` is the field that holds the settings.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn check(diff: Option<&Self>, at: &str) -> Result<()> {
        let threshold = diff.and_then(|diff| diff.full_scan_threshold).map(u64::from);
        at_least(at, [("full_scan_threshold", threshold, 10)])
    }
}

impl OptimizersDiff {
    /// Holds the settings to Qdrant's bounds.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn check(diff: Option<&Self>) -> Result<()> {
        const AT: &str = "optimizers_config";
        let Some(diff) = diff else { return Ok(()) };
        if let Some(share) = diff.deleted_threshold.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::body(
                format!("{AT}.deleted_threshold"),
                format!("value {share} invalid, must be from 0.0 to 1.0"),
            ));
        }
        at_least(
            AT,
            [
                ("vacuum_min_vector_number", diff.vacuum_min_vector_number, 100),
                ("max_segment_size", diff.max_segment_size, 1),
            ],
        )
    }
}

impl WalDiff {
    /// Holds the settings to Qdrant's bounds.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn check(diff: Option<&Self>) -> Result<()> {
        at_least("wal_config", [("wal_capacity_mb", diff.and_then(|diff| diff.wal_capacity_mb), 1)])
    }
}
