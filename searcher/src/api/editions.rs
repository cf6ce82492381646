//! `PUT` and `DELETE /collections/{name}/vectors/{vector}`: vectors that come and go while there are points.
//!
//! As in Qdrant, only what makes a vector what it is can be said; graph settings are the collection's, and all settings may be changed afterwards.

use cairn_model::{
    CollectionSchema, Datatype, Distance, HnswConfig, Modifier, MultivectorConfig, SchemaError, SparseIndexParams,
    SparseVectorParams, VectorKind, VectorParams,
};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Body of `PUT /collections/{name}/vectors/{vector}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddVector {
    /// One or several rows of numbers a point.
    Dense(DenseInput),
    /// The dimensions that are not zero.
    Sparse(SparseInput),
}

/// What makes a dense vector.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseInput {
    /// Dimensions.
    pub size: u64,
    /// Metric.
    pub distance: Distance,
    /// For several vectors a point under the name.
    pub multivector_config: Option<MultivectorConfig>,
    /// Number format.
    pub datatype: Option<Datatype>,
}

/// What makes a sparse vector.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseInput {
    /// What its weights are multiplied with.
    pub modifier: Option<Modifier>,
    /// Number format of the weights in its index.
    pub datatype: Option<Datatype>,
}

impl AddVector {
    /// Adds the vector to a schema, unless it is there.
    ///
    /// # Errors
    /// `Invalid` where another one has its name; `Validation` for what is out of its range.
    pub fn apply(self, name: &str, schema: &mut CollectionSchema) -> Result<()> {
        let exists = |how| Err(Error::Invalid(format!("Vector {name} already exists {how}")));
        let other = "with a different configuration";
        match (self, schema.kind(name)) {
            (Self::Dense(input), None) => {
                let hnsw = schema.declared.hnsw_config.of(HnswConfig::default());
                schema.add_vector(name, VectorParams { hnsw, ..input.params() }).map_err(invalid)
            }
            (Self::Sparse(input), None) => schema.add_sparse_vector(name, input.params()).map_err(invalid),
            (Self::Dense(input), Some(VectorKind::Dense(there) | VectorKind::Multi(there))) => {
                let new = input.params();
                let is_same = (new.size, new.distance, new.multivector, new.datatype)
                    == (there.size, there.distance, there.multivector, there.datatype);
                if is_same { Ok(()) } else { exists(other) }
            }
            (Self::Sparse(input), Some(VectorKind::Sparse(there))) => {
                let datatype = there.index.and_then(|index| index.datatype);
                if (input.modifier, input.datatype) == (there.modifier, datatype) { Ok(()) } else { exists(other) }
            }
            (Self::Dense(_), Some(_)) => exists("as a sparse vector"),
            (Self::Sparse(_), Some(_)) => exists("as a dense vector"),
        }
    }
}

/// Removes a vector from a schema, and with it from all points; nothing where there is none.
///
/// # Errors
/// When the schema was changed too often.
pub fn remove_vector(schema: &mut CollectionSchema, name: &str) -> Result<()> {
    schema.remove_vector(name).map(drop).map_err(invalid)
}

fn invalid(error: SchemaError) -> Error {
    Error::body(error.field, error.why)
}

impl DenseInput {
    fn params(self) -> VectorParams {
        VectorParams {
            datatype: self.datatype.unwrap_or_default(),
            multivector: self.multivector_config,
            // The schema's own check says what the range is; any size beyond 32 bits is beyond it.
            ..VectorParams::new(u32::try_from(self.size).unwrap_or(u32::MAX), self.distance)
        }
    }
}

impl SparseInput {
    fn params(self) -> SparseVectorParams {
        let index = self.datatype.map(|datatype| SparseIndexParams { datatype: Some(datatype), ..Default::default() });
        SparseVectorParams { modifier: self.modifier, index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::parse;

    fn changed(schema: &mut CollectionSchema, name: &str, json: &str) -> std::result::Result<(), String> {
        let before = schema.clone();
        let done = parse::<AddVector>(json.as_bytes())
            .and_then(|body| body.apply(name, schema))
            .map_err(|error| error.to_string());
        if done.is_err() {
            *schema = before;
        }
        done.and_then(|()| schema.validate().map_err(|error| error.to_string()))
    }

    fn schema() -> CollectionSchema {
        CollectionSchema::single("a", VectorParams::new(4, Distance::Dot), 1)
    }

    #[test]
    fn vectors_of_all_kinds_are_added_with_the_collections_settings() {
        let mut now = schema();
        now.declared.hnsw_config.m = Some(7);
        let dense = r#"{"dense": {"size": 3, "distance": "Cosine", "datatype": "uint8"}}"#;
        let many = r#"{"dense": {"size": 3, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}"#;
        let sparse = r#"{"sparse": {"modifier": "idf", "datatype": "float16"}}"#;
        for (at, (name, body)) in (1..).zip([("b", dense), ("c", many), ("s", sparse), ("t", r#"{"sparse": {}}"#)]) {
            assert_eq!(changed(&mut now, name, body), Ok(()));
            assert_eq!((now.editions.newest, now.editions.added[name]), (at, at));
            assert_eq!(changed(&mut now, name, body), Ok(()), "it is there already");
            assert_eq!(now.editions.newest, at);
        }
        assert_eq!(
            (now.vectors["b"].size, now.vectors["b"].datatype, now.vectors["b"].hnsw.m),
            (3, Datatype::Uint8, 7)
        );
        assert!(now.vectors["c"].multivector.is_some());
        let sparse = now.sparse_vectors["s"];
        assert_eq!((sparse.modifier, sparse.index.unwrap().datatype), (Some(Modifier::Idf), Some(Datatype::Float16)));
        assert_eq!(now.sparse_vectors["t"], SparseVectorParams::default());
        for name in ["a", "c", "s", "a"] {
            remove_vector(&mut now, name).unwrap();
        }
        assert!(now.kinds().map(|(name, _)| name).eq(["b", "t"]));
        assert_eq!(now.editions.newest, 7);
    }

    #[test]
    fn mistakes_are_named() {
        for (name, json, why) in [
            (
                "a",
                r#"{"dense": {"size": 5, "distance": "Dot"}}"#,
                "Wrong input: Vector a already exists with a different configuration",
            ),
            ("a", r#"{"dense": {"size": 4, "distance": "Cosine"}}"#, "Vector a already exists with"),
            (
                "a",
                r#"{"dense": {"size": 4, "distance": "Dot", "datatype": "float16"}}"#,
                "Vector a already exists with",
            ),
            ("a", r#"{"sparse": {}}"#, "Vector a already exists as a dense vector"),
            ("b", r#"{"dense": {"size": 0, "distance": "Dot"}}"#, "vectors.b.size: value 0 invalid"),
            ("b", r#"{"dense": {"size": 99999999999, "distance": "Dot"}}"#, "vectors.b.size: value 4294967295 invalid"),
            ("b\n", r#"{"sparse": {}}"#, "vector name must be at most 255 printable bytes"),
            ("b", r#"{"dense": {"size": 4}}"#, "missing field `distance`"),
            ("b", r#"{"dense": {"size": 4, "distance": "Dot", "on_disk": true}}"#, "unknown field `on_disk`"),
            ("b", r#"{"sparse": {"index": {}}}"#, "unknown field `index`"),
            ("b", r#"{"tensor": {}}"#, "unknown variant `tensor`, expected `dense` or `sparse`"),
            ("b", r#"{"dense": {"size": 4, "distance": "Dot"}, "sparse": {}}"#, "Format error in JSON body"),
            ("b", "{}", "Format error in JSON body"),
        ] {
            let error = changed(&mut schema(), name, json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
