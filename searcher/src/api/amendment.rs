//! `PATCH /collections/{name}` and payload indexes: changes of a collection's schema.
//!
//! Shown again or ignored is what [`collection`](super::collection) shows again or ignores. Graph settings of the whole collection are those of its vectors
//! where they have none of their own; new ones are heeded by segments that are built from now on.

use std::collections::BTreeMap;

use cairn_model::{
    CollectionSchema, Declared, HnswDiff, OptimizersDiff, ParamsDiff, Path, Payload, PayloadIndex, VectorSettings,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{
    collection::QuantizationInput,
    field::{Ignored, StrictMode},
    sparse::SparseVectorInput,
};
use crate::error::{Error, Result, no_vector};

/// Body of `PATCH /collections/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateCollection {
    /// Changes of single vectors, by name; `""` is the unnamed one.
    pub vectors: Option<BTreeMap<String, VectorDiff>>,
    /// Graph settings of all vectors.
    pub hnsw_config: Option<HnswDiff>,
    /// Of vectors that have none of their own; `"Disabled"` takes it away.
    pub quantization_config: Option<QuantizationInput>,
    /// Merged into what is there; `null` takes a key away.
    pub metadata: Option<Payload>,
    /// Shown again.
    pub params: Option<ParamsInput>,
    /// Shown again.
    pub optimizers_config: Option<OptimizersDiff>,
    /// Changes of single sparse vectors, by name.
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorInput>>,
    /// Not supported yet, while it is enabled.
    pub strict_mode_config: StrictMode,
}

/// Changes of one vector.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VectorDiff {
    /// Graph settings.
    pub hnsw_config: Option<HnswDiff>,
    /// Quantization; `"Disabled"` takes it away.
    pub quantization_config: Option<QuantizationInput>,
    /// Shown again.
    pub on_disk: Option<bool>,
    /// Ignored.
    pub memory: Ignored,
}

/// `params` of a change: what is shown again, and where payloads are kept, which is ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParamsInput(ParamsDiff);

impl<'de> Deserialize<'de> for ParamsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut params = Map::deserialize(deserializer)?;
        params.remove("payload");
        serde_json::from_value(Value::Object(params))
            .map(Self)
            .map_err(|error| de::Error::custom(format_args!("params: {error}")))
    }
}

/// Body of `PUT /collections/{name}/index`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateIndex {
    /// Which field.
    pub field_name: Path,
    /// Of which type, with which parameters.
    #[serde(alias = "field_type")]
    pub field_schema: Option<PayloadIndex>,
}

impl UpdateCollection {
    /// Checks what does not depend on the collection.
    ///
    /// # Errors
    /// Names the field that is out of range or not supported.
    pub fn check(self) -> Result<Self> {
        self.strict_mode_config.refuse()?;
        let mut changed = Declared::default();
        self.declare(&mut changed);
        changed.validate("params.").map_err(|error| Error::body(error.field, error.why))?;
        Ok(self)
    }

    /// Notes what changes of what was declared.
    fn declare(&self, declared: &mut Declared) {
        declared.hnsw_config = self.hnsw_config.unwrap_or_default().over(declared.hnsw_config);
        declared.optimizers_config = self.optimizers_config.unwrap_or_default().over(declared.optimizers_config);
        declared.params = self.params.unwrap_or_default().0.over(declared.params);
        for (name, diff) in self.vectors.iter().flatten() {
            let before = declared.vectors.get(name).copied().unwrap_or_default();
            let hnsw = diff.hnsw_config.map(|hnsw| hnsw.over(before.hnsw_config.unwrap_or_default()));
            let settings = VectorSettings { hnsw_config: hnsw, on_disk: diff.on_disk }.over(before);
            if !settings.is_empty() {
                declared.vectors.insert(name.clone(), settings);
            }
        }
    }

    /// Changes a schema.
    ///
    /// # Errors
    /// `Invalid` for a vector that is not there.
    pub fn apply(&self, schema: &mut CollectionSchema) -> Result<()> {
        if let Some(quantization) = self.quantization_config {
            schema.quantization = quantization.0;
        }
        let common = self.hnsw_config.unwrap_or_default();
        for (name, params) in &mut schema.vectors {
            params.hnsw = common.without(schema.declared.hnsw_of(name)).of(params.hnsw);
        }
        self.declare(&mut schema.declared);
        for (name, diff) in self.vectors.iter().flatten() {
            let Some(params) = schema.vectors.get_mut(name) else {
                return Err(no_vector(name));
            };
            params.hnsw = diff.hnsw_config.unwrap_or_default().of(params.hnsw);
            match diff.quantization_config {
                None => {}
                Some(QuantizationInput(None)) => {
                    schema.vector_quantization.remove(name);
                }
                Some(QuantizationInput(Some(quantization))) => {
                    schema.vector_quantization.insert(name.clone(), quantization);
                }
            }
        }
        for (name, diff) in self.sparse_vectors.iter().flatten() {
            let params = schema.sparse_vectors.get_mut(name).ok_or_else(|| no_vector(name))?;
            *params = diff.over(*params);
        }
        if let Some(notes) = &self.metadata {
            let metadata = schema.metadata.get_or_insert_default();
            for (key, value) in notes {
                if value.is_null() {
                    metadata.remove(key);
                } else {
                    metadata.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(())
    }
}

impl CreateIndex {
    /// The field, by its path, and its index.
    ///
    /// # Errors
    /// When its type is not said.
    pub fn check(self) -> Result<(String, PayloadIndex)> {
        let untyped = "Can't auto-detect field type, please specify `field_schema` in the request";
        let index = self.field_schema.ok_or_else(|| Error::Invalid(untyped.into()))?;
        Ok((self.field_name.to_string(), index))
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::{Distance, PayloadType, Quantization, SparseVectorParams, VectorParams};
    use serde_json::{Value, json};

    use super::*;
    use crate::api::parse;

    fn schema() -> CollectionSchema {
        CollectionSchema::single("a", VectorParams::new(64, Distance::Dot), 1)
    }

    fn amended(changes: &[&str]) -> std::result::Result<CollectionSchema, String> {
        let mut schema = schema();
        for change in changes {
            let change = parse::<UpdateCollection>(change.as_bytes()).and_then(UpdateCollection::check);
            change.and_then(|change| change.apply(&mut schema)).map_err(|error| error.to_string())?;
        }
        Ok(schema)
    }

    #[test]
    fn what_means_nothing_here_is_noted_and_changes_nothing_else() {
        let all = r#"{"vectors": {"a": {"on_disk": true, "memory": "cold", "hnsw_config": {"on_disk": true, "payload_m": 8}}},
            "params": {"replication_factor": 2, "read_fan_out_factor": 1, "on_disk_payload": true, "payload": {"memory": "cold"}},
            "optimizers_config": {"indexing_threshold": 1000}, "hnsw_config": {"max_indexing_threads": 2},
            "quantization_config": null, "sparse_vectors": {}, "strict_mode_config": null}"#;
        assert_eq!(amended(&["{}"]), Ok(schema()));
        let changed = amended(&["{}", all]).unwrap();
        let noted = json!({"vectors": {"a": {"on_disk": true, "hnsw_config": {"on_disk": true, "payload_m": 8}}},
            "params": {"replication_factor": 2, "read_fan_out_factor": 1, "on_disk_payload": true},
            "optimizers_config": {"indexing_threshold": 1000}, "hnsw_config": {"max_indexing_threads": 2}});
        assert_eq!(json!(changed.declared), noted);
        assert_eq!(CollectionSchema { declared: Declared::default(), ..changed }, schema());
        let again = r#"{"vectors": {"a": {"on_disk": false, "hnsw_config": {"payload_m": 0}}}, "hnsw_config": {"on_disk": true}}"#;
        let changed = amended(&[all, again]).unwrap().declared;
        assert_eq!(
            json!(changed.vectors),
            json!({"a": {"on_disk": false, "hnsw_config": {"on_disk": true, "payload_m": 0}}})
        );
        assert_eq!(json!(changed.hnsw_config), json!({"max_indexing_threads": 2, "on_disk": true}));
    }

    #[test]
    fn graphs_and_quantization_change() {
        let changed =
            amended(&[r#"{"hnsw_config": {"m": 8, "ef_construct": 50}, "vectors": {"a": {"hnsw_config": {"m": 32},
            "quantization_config": {"scalar": {"type": "int8"}}}}, "quantization_config": {"binary": {}}}"#]);
        let mut changed = changed.unwrap();
        let hnsw = changed.vectors["a"].hnsw;
        assert_eq!((hnsw.m, hnsw.ef_construct, hnsw.full_scan_threshold), (32, 50, 10_000));
        assert!(matches!(changed.quantization, Some(Quantization::Binary(_))));
        assert!(matches!(changed.vector_quantization["a"], Quantization::Scalar(_)));
        let off = r#"{"quantization_config": "Disabled", "vectors": {"a": {"quantization_config": "Disabled"}}}"#;
        parse::<UpdateCollection>(off.as_bytes()).unwrap().apply(&mut changed).unwrap();
        assert!(changed.quantization.is_none() && changed.vector_quantization.is_empty());
    }

    #[test]
    fn every_vector_changes_by_its_name() {
        let mut many = schema();
        many.vectors.insert("b".into(), VectorParams::new(3, Distance::Euclid));
        let mut changed = many.clone();
        let change = r#"{"vectors": {"a": {"hnsw_config": {"m": 32}}, "b": {"hnsw_config": {"m": 8},
            "quantization_config": {"binary": {}}}}, "sparse_vectors": {"s": {"modifier": "idf", "index": {"on_disk": true}}}}"#;
        let change = parse::<UpdateCollection>(change.as_bytes()).unwrap();
        assert!(change.apply(&mut changed).is_err(), "there is no such sparse vector");
        changed = many.clone();
        changed.sparse_vectors.insert("s".into(), SparseVectorParams::default());
        change.apply(&mut changed).unwrap();
        assert_eq!((changed.vectors["a"].hnsw.m, changed.vectors["b"].hnsw.m), (32, 8));
        assert_eq!(changed.vector_quantization.keys().collect::<Vec<_>>(), ["b"]);
        let sparse = changed.sparse_vectors["s"];
        assert_eq!((sparse.modifier, sparse.index.unwrap().on_disk), (Some(cairn_model::Modifier::Idf), Some(true)));
    }

    #[test]
    fn metadata_is_merged() {
        let metadata = |changes: &[&str]| amended(changes).unwrap().metadata.map(Value::Object);
        assert_eq!(metadata(&[r#"{"metadata": null}"#]), None);
        let first = r#"{"metadata": {"a": 1, "b": {"c": 2}}}"#;
        assert_eq!(metadata(&[first]), Some(json!({"a": 1, "b": {"c": 2}})));
        let second = r#"{"metadata": {"a": null, "b": {"d": 3}, "x": null}}"#;
        assert_eq!(metadata(&[first, second]), Some(json!({"b": {"d": 3}})), "key by key, not deeper");
    }

    #[test]
    fn mistakes_are_named() {
        for (json, why) in [
            (r#"{"vectors": {"x": {}}}"#, "Wrong input: Not existing vector name error: x"),
            (r#"{"vectors": {"a": {"size": 3}}}"#, "unknown field `size`"),
            (r#"{"colour": 1}"#, "unknown field `colour`"),
            (r#"{"params": {"replication_factor": 0}}"#, "[params.replication_factor: value 0 invalid"),
            (r#"{"sparse_vectors": {"a": {}}}"#, "Wrong input: Not existing vector name error: a"),
            (r#"{"vectors": {"s": {}}}"#, "Wrong input: Not existing vector name error: s"),
            (r#"{"sparse_vectors": {"s": {"modifier": "tfidf"}}}"#, "unknown variant `tfidf`"),
            (r#"{"strict_mode_config": {"enabled": true}}"#, "`strict_mode_config` is not supported yet"),
            (r#"{"quantization_config": {"scalar": {}}}"#, "missing field `type`"),
        ] {
            let error = amended(&[json]).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn indexes_have_a_field_and_a_type() {
        let index = |json: &str| {
            parse::<CreateIndex>(json.as_bytes()).and_then(CreateIndex::check).map_err(|error| error.to_string())
        };
        let keyword = ("a.b[]".to_owned(), PayloadIndex::Type(PayloadType::Keyword));
        assert_eq!(index(r#"{"field_name": "a.b[]", "field_schema": "keyword"}"#), Ok(keyword.clone()));
        assert_eq!(index(r#"{"field_name": "a.b[]", "field_type": "keyword"}"#), Ok(keyword));
        let params = index(r#"{"field_name": "a", "field_schema": {"type": "text", "tokenizer": "word"}}"#).unwrap().1;
        assert!(params.params().is_some());
        for (json, why) in [
            (r#"{"field_name": "a"}"#, "Wrong input: Can't auto-detect field type"),
            (r#"{"field_schema": "keyword"}"#, "Format error in JSON body: missing field `field_name`"),
            (r#"{"field_name": "a..b", "field_schema": "keyword"}"#, "invalid payload path 'a..b'"),
            (r#"{"field_name": "a", "field_schema": "number"}"#, "unknown variant `number`"),
        ] {
            assert!(index(json).unwrap_err().contains(why), "{json}: {:?}", index(json));
        }
    }
}
