//! `PUT /collections/{name}`.
//!
//! Held to Qdrant's bounds and shown again, because a segment in a bucket has nothing that they could tune: `on_disk`, `on_disk_payload`,
//! `optimizers_config`, `wal_config`, `replication_factor`, `write_consistency_factor`, and the
//! threads and placement of `hnsw_config`. Ignored: `memory` and `payload`.
//!
//! Settings of sparse vectors are kept, and shown again. `quantization_config` is checked and kept, and every kind of it
//! is served by the one codec that segments have; see [`cairn_model::Quantization`]. What Qdrant has no word for stands under `cairn` in a vector's parameters.

use std::{collections::BTreeMap, fmt};

use cairn_model::{
    CollectionSchema, Datatype, Declared, Distance, Editions, HnswConfig, HnswDiff, MultivectorConfig, OptimizersDiff,
    ParamsDiff, Partition, Payload, Preset, Quantization, SparseVectorParams, VectorParams, VectorSettings, WalDiff,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{
    field::{Ignored, Later, StrictMode},
    sparse::SparseVectorInput,
};
use crate::error::{Error, Result};

/// Body of `PUT /collections/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreateCollection {
    /// The vectors that are not sparse; there need not be any.
    pub vectors: VectorsInput,
    /// Hash partitions.
    pub shard_number: Option<u32>,
    /// Graph settings for vectors that have none of their own.
    pub hnsw_config: Option<HnswDiff>,
    /// Shown again.
    pub replication_factor: Option<u32>,
    /// Shown again.
    pub write_consistency_factor: Option<u32>,
    /// Shown again.
    pub on_disk_payload: Option<bool>,
    /// Ignored.
    pub payload: Ignored,
    /// Shown again.
    pub optimizers_config: Option<OptimizersDiff>,
    /// Shown again.
    pub wal_config: Option<WalDiff>,
    /// For vectors that have none of their own.
    pub quantization_config: QuantizationInput,
    /// `auto` only.
    pub sharding_method: Option<String>,
    /// The sparse vectors, by name.
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorInput>>,
    /// Not supported yet, while it is enabled.
    pub strict_mode_config: StrictMode,
    /// Kept, and shown again.
    pub metadata: Option<Payload>,
    /// Not supported yet; older clients send it.
    pub init_from: Later,
}

/// `vectors`: one set of parameters, or a map of them by name.
#[derive(Debug, Default)]
pub struct VectorsInput(BTreeMap<String, VectorInput>);

/// Parameters of one vector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorInput {
    /// Dimensions.
    pub size: u64,
    /// Metric.
    pub distance: Distance,
    /// Number format.
    pub datatype: Option<Datatype>,
    /// Graph settings.
    pub hnsw_config: Option<HnswDiff>,
    /// Kept, and shown again.
    #[serde(default)]
    pub quantization_config: QuantizationInput,
    /// What Qdrant does not have.
    pub cairn: Option<CairnInput>,
    /// Shown again.
    pub on_disk: Option<bool>,
    /// Ignored.
    #[serde(default)]
    pub memory: Ignored,
    /// For several vectors a point under the name.
    pub multivector_config: Option<MultivectorConfig>,
}

/// Cairn's own settings of one vector.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CairnInput {
    /// Whether the vectors themselves are kept beside their codes; yes, unless it is said.
    pub originals: Option<bool>,
    /// What a build spends its time on.
    pub preset: Option<Preset>,
}

/// `quantization_config`: one of Qdrant's kinds, or `"Disabled"`, which says as much as nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuantizationInput(pub Option<Quantization>);

impl<'de> Deserialize<'de> for QuantizationInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self(None)),
            Value::String(text) if text == "Disabled" => Ok(Self(None)),
            value => {
                let wrong = |error| de::Error::custom(format_args!("quantization_config: {error}"));
                serde_json::from_value(value).map(|kind| Self(Some(kind))).map_err(wrong)
            }
        }
    }
}

impl<'de> Deserialize<'de> for VectorsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Vectors;
        impl<'de> Visitor<'de> for Vectors {
            type Value = VectorsInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("vector parameters, or a map of them by name")
            }
            fn visit_unit<E: de::Error>(self) -> std::result::Result<VectorsInput, E> {
                Ok(VectorsInput::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<VectorsInput, A::Error> {
                let mut fields = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(key.clone(), value).is_some() {
                        return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                }
                let read = |name: &str, value: Value| {
                    let at = if name.is_empty() { "vectors".to_owned() } else { format!("vectors.{name}") };
                    serde_json::from_value(value).map_err(|error| de::Error::custom(format_args!("{at}: {error}")))
                };
                // A vector may be called "size" or "distance", but then its value is an object.
                let is_params = |(_, value): (&String, &Value)| !value.is_object();
                if fields.iter().any(is_params) || fields.contains_key("hnsw_config") {
                    return Ok(VectorsInput(BTreeMap::from([(String::new(), read("", Value::Object(fields))?)])));
                }
                let named = fields.into_iter().map(|(name, value)| Ok((name.clone(), read(&name, value)?)));
                named.collect::<std::result::Result<_, A::Error>>().map(VectorsInput)
            }
        }
        deserializer.deserialize_any(Vectors)
    }
}

impl CreateCollection {
    /// Checks and converts.
    ///
    /// # Errors
    /// Names the field that is out of range or not supported.
    pub fn check(self) -> Result<CollectionSchema> {
        self.strict_mode_config.refuse()?;
        self.init_from.refuse("init_from")?;
        if let Some(method) = self.sharding_method.filter(|method| method != "auto") {
            return Err(Error::Unsupported(format!("`sharding_method` \"{method}\"")));
        }
        let mut declared = Declared {
            hnsw_config: self.hnsw_config.unwrap_or_default(),
            optimizers_config: self.optimizers_config.unwrap_or_default(),
            wal_config: self.wal_config.unwrap_or_default(),
            params: ParamsDiff {
                replication_factor: self.replication_factor,
                write_consistency_factor: self.write_consistency_factor,
                on_disk_payload: self.on_disk_payload,
                ..ParamsDiff::default()
            },
            vectors: BTreeMap::new(),
        };
        let hnsw = declared.hnsw_config.of(HnswConfig::default());
        let mut vectors = BTreeMap::new();
        let mut vector_quantization = BTreeMap::new();
        for (name, input) in self.vectors.0 {
            let own = input.cairn.unwrap_or_default();
            let params = VectorParams {
                originals: own.originals.unwrap_or(true),
                preset: own.preset.unwrap_or_default(),
                datatype: input.datatype.unwrap_or_default(),
                multivector: input.multivector_config,
                hnsw: input.hnsw_config.unwrap_or_default().of(hnsw),
                // The schema's own check says what the range is; any size beyond 32 bits is beyond it.
                ..VectorParams::new(u32::try_from(input.size).unwrap_or(u32::MAX), input.distance)
            };
            if let Some(quantization) = input.quantization_config.0 {
                vector_quantization.insert(name.clone(), quantization);
            }
            let settings = VectorSettings { hnsw_config: input.hnsw_config, on_disk: input.on_disk };
            if !settings.is_empty() {
                declared.vectors.insert(name.clone(), settings);
            }
            vectors.insert(name, params);
        }
        let sparse = self.sparse_vectors.into_iter().flatten();
        let sparse_vectors = sparse.map(|(name, input)| (name, input.over(SparseVectorParams::default()))).collect();
        let schema = CollectionSchema {
            vectors,
            sparse_vectors,
            editions: Editions::default(),
            shard_count: self.shard_number.unwrap_or(1),
            partition: Partition::Hash,
            quantization: self.quantization_config.0,
            vector_quantization,
            payload_indexes: BTreeMap::new(),
            declared,
            metadata: self.metadata,
        };
        schema.declared.validate("").map_err(|error| Error::body(error.field, error.why))?;
        schema.validate().map_err(|error| Error::body(error.field, error.why))?;
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::parse;

    fn create(json: &str) -> std::result::Result<CollectionSchema, String> {
        parse::<CreateCollection>(json.as_bytes()).and_then(CreateCollection::check).map_err(|e| e.to_string())
    }

    #[test]
    fn quantization_and_cairns_own_settings_are_kept() {
        let json = r#"{"vectors": {"a": {"size": 64, "distance": "Cosine", "cairn": {"originals": false, "preset": "recall"},
            "quantization_config": {"binary": {"encoding": "two_bits"}}}},
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}}}"#;
        let schema = create(json).unwrap();
        let (_, params) = schema.only_vector().unwrap();
        assert_eq!((params.originals, params.preset), (false, Preset::Recall));
        assert!(matches!(schema.quantization, Some(Quantization::Scalar(scalar)) if scalar.quantile == Some(0.99)));
        assert!(matches!(schema.vector_quantization.get("a"), Some(Quantization::Binary(_))));
        let disabled = create(r#"{"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": "Disabled"}"#);
        assert_eq!(disabled, create(r#"{"vectors": {"size": 4, "distance": "Dot"}}"#));
    }

    #[test]
    fn the_forms_of_vectors() {
        let plain = create(r#"{"vectors": {"size": 4, "distance": "Dot"}}"#).unwrap();
        assert_eq!(plain.only_vector().unwrap().0, "");
        let unnamed = create(r#"{"vectors": {"": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {}}"#).unwrap();
        assert_eq!(unnamed, plain);
        let tricky = create(r#"{"vectors": {"size": {"size": 4, "distance": "Cosine"}}, "shard_number": 3}"#).unwrap();
        assert_eq!((tricky.only_vector().unwrap().0, tricky.shard_count), ("size", 3));
        let none = CollectionSchema { vectors: BTreeMap::new(), ..plain.clone() };
        for json in ["{}", r#"{"vectors": {}}"#, r#"{"vectors": null, "sparse_vectors": null}"#] {
            assert_eq!(create(json).unwrap(), none, "{json}");
        }
        let many = create(
            r#"{"vectors": {"": {"size": 4, "distance": "Dot"}, "a": {"size": 3, "distance": "Cosine", "datatype": "uint8",
            "multivector_config": {"comparator": "max_sim"}}}, "sparse_vectors": {"s": {}, "t": {"modifier": "idf"}}}"#,
        );
        let many = many.unwrap();
        assert_eq!(many.vectors[""], plain.vectors[""]);
        let a = &many.vectors["a"];
        assert_eq!((a.size, a.datatype, a.multivector.is_some()), (3, Datatype::Uint8, true));
        assert_eq!(many.sparse_vectors["s"], SparseVectorParams::default());
        assert_eq!(many.sparse_vectors["t"].modifier, Some(cairn_model::Modifier::Idf));
    }

    #[test]
    fn a_vectors_own_graph_settings_win() {
        let json = r#"{"hnsw_config": {"m": 8, "ef_construct": 50}, "optimizers_config": {"indexing_threshold": 0},
            "vectors": {"size": 4, "distance": "Dot", "datatype": "float16", "on_disk": true, "hnsw_config": {"m": 32}}}"#;
        let schema = create(json).unwrap();
        let params = schema.only_vector().unwrap().1;
        assert_eq!((params.hnsw.m, params.hnsw.ef_construct, params.datatype), (32, 50, Datatype::Float16));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, message) in [
            (
                r#"{"vectors": {"size": 0, "distance": "Dot"}}"#,
                "[vectors.size: value 0 invalid, must be from 1 to 65536]",
            ),
            (
                r#"{"vectors": {"size": 18446744073709551615, "distance": "Dot"}}"#,
                "[vectors.size: value 4294967295 invalid",
            ),
            (r#"{"vectors": {"size": 4}}"#, "Format error in JSON body: vectors: missing field `distance`"),
            (r#"{"vectors": {"size": 4, "distance": "Hamming"}}"#, "unknown variant `Hamming`"),
            (r#"{"vectors": {"size": 4, "distance": "Dot", "colour": 1}}"#, "vectors: unknown field `colour`"),
            (
                r#"{"vectors": {"a": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {"a": {}}}"#,
                "[sparse_vectors.a: there is a dense vector of this name]",
            ),
            (
                r#"{"vectors": {"a": {"size": 4, "distance": "Dot"}, "b": {"size": 0, "distance": "Dot"}}}"#,
                "[vectors.b.size: value 0 invalid",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "avg_sim"}}}"#,
                "unknown variant `avg_sim`, expected `max_sim`",
            ),
            (r#"{"vectors": {"size": 4, "distance": "Dot", "multivector_config": {}}}"#, "missing field `comparator`"),
            (r#"{"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 0}"#, "[shard_number: value 0 invalid"),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot"}, "hnsw_config": {"m": 257}}"#,
                "[vectors.hnsw_config.m: value 257",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"s": {"size": 4}}}"#,
                "unknown field `size`",
            ),
            (r#"{"vectors": {"size": 4, "distance": "Dot"}, "wal_config": {"x": 1}}"#, "unknown field `x`"),
            (r#"{"vectors": {"size": 4, "distance": "Dot"}, "replication_factor": 0}"#, "[replication_factor: value 0"),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot"}, "sharding_method": "custom"}"#,
                "`sharding_method` \"custom\"",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": {"scalar": {"type": "int4"}}}"#,
                "quantization_config: unknown variant `int4`",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot"},
                    "quantization_config": {"scalar": {"type": "int8", "quantile": 0.2}}}"#,
                "[quantization_config.scalar.quantile: value 0.2 invalid, must be from 0.5 to 1.0]",
            ),
            (
                r#"{"vectors": {"a": {"size": 4, "distance": "Dot", "quantization_config": {"product": {}}}}}"#,
                "vectors.a: quantization_config: missing field `compression`",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": "enabled"}"#,
                "quantization_config: unknown variant `enabled`",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot", "cairn": {"originals": false}}}"#,
                "[vectors.originals: originals can be left out only where",
            ),
            (r#"{"vectors": {"size": 4, "distance": "Dot", "cairn": {"orig": 1}}}"#, "unknown field `orig`"),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot", "cairn": {"preset": "fast"}}}"#,
                "unknown variant `fast`, expected one of `recall`, `balanced`, `speed`",
            ),
            (r#"{"vectors": {"size": 4, "size": 5, "distance": "Dot"}}"#, "duplicate field `size`"),
        ] {
            let error = create(json).unwrap_err();
            assert!(error.contains(message), "{json}: {error}");
        }
    }
}
