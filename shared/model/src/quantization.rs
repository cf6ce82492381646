//! Qdrant's quantization settings, kept as they were declared.
//!
//! Cairn has one codec: a rotated 8-bit code per dimension in two planes of nibbles. It is at least as accurate per byte
//! as each kind here, so all of them are served by it. What was declared is kept only to be shown again.

use serde::{Deserialize, Serialize};

use crate::SchemaError;

/// One of Qdrant's kinds of quantization; in JSON an object of one field, whose name is the kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// One byte per dimension.
    Scalar(ScalarQuantization),
    /// Codebooks of sub-vectors.
    Product(ProductQuantization),
    /// One or two bits per dimension.
    Binary(BinaryQuantization),
    /// Rotated, few bits per dimension.
    Turbo(TurboQuantization),
}

/// Settings of [`Quantization::Scalar`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalarQuantization {
    /// Number format of a code.
    #[serde(rename = "type")]
    pub kind: ScalarKind,
    /// The share of values that the code's range covers, 0.5 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// Qdrant's older name for `memory: pinned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    /// Where codes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Number formats of scalar codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalarKind {
    /// Signed bytes.
    Int8,
}

/// Settings of [`Quantization::Product`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductQuantization {
    /// How many times smaller than `float32` a code is.
    pub compression: Compression,
    /// Qdrant's older name for `memory: pinned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    /// Where codes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Compression of product quantization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Compression {
    X4,
    X8,
    X16,
    X32,
    X64,
}

/// Settings of [`Quantization::Binary`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BinaryQuantization {
    /// Qdrant's older name for `memory: pinned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    /// Where codes are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Bits of a stored code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<BinaryEncoding>,
    /// Bits of a query's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_encoding: Option<BinaryQueryEncoding>,
}

/// Bits per dimension of a stored binary code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum BinaryEncoding {
    OneBit,
    TwoBits,
    OneAndHalfBits,
}

/// Bits per dimension of a query against binary codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum BinaryQueryEncoding {
    Default,
    Binary,
    Scalar4Bits,
    Scalar8Bits,
}

/// Settings of [`Quantization::Turbo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurboQuantization {
    /// Qdrant's older name for `memory: pinned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    /// Where codes are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Bits per dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<TurboBits>,
}

/// Bits per dimension of a turbo code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TurboBits {
    #[serde(rename = "bits1")]
    One,
    #[serde(rename = "bits1_5")]
    OneAndHalf,
    #[serde(rename = "bits2")]
    Two,
    #[serde(rename = "bits4")]
    Four,
}

/// Where Qdrant keeps a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// On disk.
    Cold,
    /// In the page cache.
    Cached,
    /// In memory.
    Pinned,
}

impl Quantization {
    /// Checks every number; `at` is the path of the setting.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn validate(&self, at: &str) -> Result<(), SchemaError> {
        match self {
            Self::Scalar(ScalarQuantization { quantile: Some(quantile), .. }) if !(0.5..=1.0).contains(quantile) => {
                let why = format!("value {quantile:?} invalid, must be from 0.5 to 1.0");
                Err(SchemaError { field: format!("{at}.scalar.quantile"), why })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_as_qdrant_writes_it() {
        for json in [
            r#"{"scalar":{"type":"int8"}}"#,
            r#"{"scalar":{"type":"int8","quantile":0.75,"always_ram":true}}"#,
            r#"{"product":{"compression":"x32","memory":"pinned"}}"#,
            r#"{"binary":{}}"#,
            r#"{"binary":{"encoding":"one_and_half_bits","query_encoding":"scalar4bits"}}"#,
            r#"{"turbo":{"bits":"bits1_5"}}"#,
        ] {
            let read: Quantization = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            assert_eq!(read.validate("quantization_config"), Ok(()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, why) in [
            (r#"{"scalar":{}}"#, "missing field `type`"),
            (r#"{"scalar":{"type":"int4"}}"#, "unknown variant `int4`"),
            (r#"{"scalar":{"type":"int8","bits":4}}"#, "unknown field `bits`"),
            (r#"{"product":{"compression":"x5"}}"#, "unknown variant `x5`"),
            (r#"{"octal":{}}"#, "unknown variant `octal`"),
            ("{}", "expected"),
        ] {
            let error = serde_json::from_str::<Quantization>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
        let wide: Quantization = serde_json::from_str(r#"{"scalar":{"type":"int8","quantile":1.5}}"#).unwrap();
        let error = wide.validate("quantization_config").unwrap_err();
        assert_eq!(
            error.to_string(),
            "quantization_config.scalar.quantile: value 1.5 invalid, must be from 0.5 to 1.0"
        );
    }
}
