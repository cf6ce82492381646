//! Parameters of sparse vectors: as they are declared, and as they change.

use cairn_model::{Datatype, Modifier, SparseIndexParams, SparseVectorParams};
use serde::Deserialize;

use super::field::Ignored;

/// Parameters of one sparse vector, or a change of them: what is missing stays as it is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SparseVectorInput {
    /// Its index.
    pub index: Option<SparseIndexInput>,
    /// What its weights are multiplied with.
    pub modifier: Option<Modifier>,
}

/// Settings of a sparse vector's index.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SparseIndexInput {
    /// Points below which a search scans.
    pub full_scan_threshold: Option<u64>,
    /// Kept, and shown again.
    pub on_disk: Option<bool>,
    /// Number format of the weights in the index.
    pub datatype: Option<Datatype>,
    /// Ignored.
    pub memory: Ignored,
}

impl SparseVectorInput {
    /// `base`, but for what is said here.
    pub(super) fn over(self, base: SparseVectorParams) -> SparseVectorParams {
        let index = self.index.map(|index| index.over(base.index.unwrap_or_default()));
        SparseVectorParams { index: index.or(base.index), modifier: self.modifier.or(base.modifier) }
    }
}

impl SparseIndexInput {
    fn over(self, base: SparseIndexParams) -> SparseIndexParams {
        SparseIndexParams {
            full_scan_threshold: self.full_scan_threshold.or(base.full_scan_threshold),
            on_disk: self.on_disk.or(base.on_disk),
            datatype: self.datatype.or(base.datatype),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(json: &str, base: SparseVectorParams) -> SparseVectorParams {
        serde_json::from_str::<SparseVectorInput>(json).unwrap().over(base)
    }

    #[test]
    fn what_a_change_does_not_say_stays() {
        assert_eq!(over("{}", SparseVectorParams::default()), SparseVectorParams::default());
        let json = r#"{"index": {"on_disk": true, "datatype": "float16", "memory": "cold"}, "modifier": "idf"}"#;
        let declared = over(json, SparseVectorParams::default());
        let shown = r#"{"index":{"on_disk":true,"datatype":"float16"},"modifier":"idf"}"#;
        assert_eq!(serde_json::to_string(&declared).unwrap(), shown);
        assert_eq!(over("{}", declared), declared);
        let changed = over(r#"{"index": {"full_scan_threshold": 7, "datatype": "uint8"}}"#, declared);
        let shown = r#"{"index":{"full_scan_threshold":7,"on_disk":true,"datatype":"uint8"},"modifier":"idf"}"#;
        assert_eq!(serde_json::to_string(&changed).unwrap(), shown);
        assert_eq!(over(r#"{"modifier": "none"}"#, declared).modifier, Some(Modifier::None));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, why) in [
            (r#"{"size": 4}"#, "unknown field `size`"),
            (r#"{"modifier": "tfidf"}"#, "unknown variant `tfidf`, expected `none` or `idf`"),
            (r#"{"index": {"on_disk": 1}}"#, "invalid type: integer `1`"),
            (r#"{"index": {"threshold": 1}}"#, "unknown field `threshold`"),
        ] {
            let error = serde_json::from_str::<SparseVectorInput>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
