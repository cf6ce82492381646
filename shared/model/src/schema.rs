//! What a collection holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Declared, Distance, Editions, Path, Payload, PayloadIndex, PointId, Quantization, SparseVectorParams, VectorKind,
    VectorParams,
    limits::{INDEXES_MAX, METADATA_BYTES_MAX, NAME_BYTES_MAX, SHARDS_MAX, VECTORS_MAX},
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
    /// The parameters by which a graph is built. Fewer than two links a node make no graph: Qdrant's 0 says that none is wanted, to save its building. Here
    /// a search scans where that is cheaper, graph or not, so it is built with the default.
    #[must_use]
    pub fn built(self) -> Self {
        if self.m < 2 { Self { m: Self::default().m, ..self } } else { self }
    }

    /// Links per node on level 0.
    #[must_use]
    pub const fn m0(&self) -> u32 {
        self.m * 2
    }
}

/// What a build spends its time on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The best graph, however long it takes.
    Recall,
    /// A good graph in reasonable time.
    #[default]
    Balanced,
    /// The shortest build.
    Speed,
}

impl Preset {
    /// All of them, for tables.
    pub const ALL: [Self; 3] = [Self::Recall, Self::Balanced, Self::Speed];

    /// The name, as users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Balanced => "balanced",
            Self::Speed => "speed",
        }
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == text)
            .ok_or_else(|| format!("unknown preset '{text}': expected recall, balanced or speed"))
    }
}

/// What decides to which shard a point belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partition {
    /// Its id: any point is found by asking one shard.
    #[default]
    Hash,
    /// Where it lies: a query needs to search only the shards near it.
    Space,
}

impl Partition {
    /// The name, as users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Space => "space",
        }
    }

    fn is_hash(&self) -> bool {
        *self == Self::Hash
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Hash, Self::Space].into_iter().find(|partition| partition.name() == text);
        found.ok_or_else(|| format!("unknown partition '{text}': expected hash or space"))
    }
}

/// A collection's schema. A point may lack any of the vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionSchema {
    /// Vectors by name, of one or several a point; `""` is the default, unnamed one.
    pub vectors: BTreeMap<String, VectorParams>,
    /// Sparse vectors by name; none of them is in `vectors`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse_vectors: BTreeMap<String, SparseVectorParams>,
    /// Which of them were added when. See [`Editions`].
    #[serde(default, skip_serializing_if = "Editions::is_first")]
    pub editions: Editions,
    /// Shards; fixed for the collection's life.
    pub shard_count: u32,
    /// What decides to which shard a point belongs.
    #[serde(default, skip_serializing_if = "Partition::is_hash")]
    pub partition: Partition,
    /// Qdrant's quantization setting for all vectors, as it was declared. See [`Quantization`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Those of single vectors, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vector_quantization: BTreeMap<String, Quantization>,
    /// Payload indexes as they were declared, by path. See [`PayloadIndex`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub payload_indexes: BTreeMap<String, PayloadIndex>,
    /// Settings of graphs and storage as they were declared. See [`Declared`].
    #[serde(default, skip_serializing_if = "Declared::is_empty")]
    pub declared: Declared,
    /// What its owner notes about the collection; nothing here reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
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
        Self {
            vectors: BTreeMap::from([(name.to_owned(), params)]),
            sparse_vectors: BTreeMap::new(),
            editions: Editions::default(),
            shard_count,
            partition: Partition::Hash,
            quantization: None,
            vector_quantization: BTreeMap::new(),
            payload_indexes: BTreeMap::new(),
            declared: Declared::default(),
            metadata: None,
        }
    }

    /// The only shard that can have a point; `None` where its id does not say.
    #[must_use]
    pub fn shard_of(&self, id: PointId) -> Option<u32> {
        (self.partition == Partition::Hash).then(|| id.shard(self.shard_count))
    }

    /// A vector's kind, if there is one of this name.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<VectorKind<'_>> {
        let sparse = || self.sparse_vectors.get(name).map(VectorKind::Sparse);
        self.vectors.get(name).map(VectorParams::kind).or_else(sparse)
    }

    /// All vectors: those that are not sparse by name, then those that are.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, VectorKind<'_>)> {
        let sparse = self.sparse_vectors.iter().map(|(name, params)| (name.as_str(), VectorKind::Sparse(params)));
        self.vectors.iter().map(|(name, params)| (name.as_str(), params.kind())).chain(sparse)
    }

    /// Name and parameters of the one vector that a collection has which is filled from a source of vectors.
    ///
    /// # Errors
    /// When it has none, several, or one of another kind than dense.
    pub fn only_vector(&self) -> Result<(&str, &VectorParams), SchemaError> {
        let mut kinds = self.kinds();
        match (kinds.next(), kinds.next()) {
            (Some((name, VectorKind::Dense(params))), None) => Ok((name, params)),
            _ => Err(SchemaError {
                field: "vectors".into(),
                why: format!(
                    "a source has one dense vector a point, the collection has {}: write its points through the API",
                    self.described()
                ),
            }),
        }
    }

    fn described(&self) -> String {
        let one = |(name, kind): (&str, VectorKind<'_>)| {
            let kind = match kind {
                VectorKind::Dense(_) => "dense",
                VectorKind::Multi(_) => "multivector",
                VectorKind::Sparse(_) => "sparse",
            };
            format!("'{}' ({kind})", name.escape_debug())
        };
        let all: Vec<String> = self.kinds().map(one).collect();
        if all.is_empty() { "no vectors".to_owned() } else { all.join(", ") }
    }

    /// Checks every number and name.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn validate(&self) -> Result<(), SchemaError> {
        let fail = |field: String, why: String| Err(SchemaError { field, why });
        let count = self.vectors.len() + self.sparse_vectors.len();
        if count > VECTORS_MAX {
            return fail("vectors".into(), format!("{count} vectors are declared, at most {VECTORS_MAX} are allowed"));
        }
        for (field, name) in self
            .vectors
            .keys()
            .map(|name| ("vectors", name))
            .chain(self.sparse_vectors.keys().map(|name| ("sparse_vectors", name)))
        {
            if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                return fail(field.into(), format!("vector name must be at most {NAME_BYTES_MAX} printable bytes"));
            }
        }
        if let Some(name) = self.sparse_vectors.keys().find(|name| self.vectors.contains_key(*name)) {
            return fail(format!("sparse_vectors.{name}"), "there is a dense vector of this name".into());
        }
        for (name, params) in &self.vectors {
            params.validate(&at(name))?;
        }
        self.editions.validate(|name| self.kind(name).is_some())?;
        if self.partition == Partition::Space {
            let (_, params) = self.only_vector().map_err(|error| SchemaError { field: "partition".into(), ..error })?;
            if !matches!(params.distance, Distance::Cosine | Distance::Euclid) {
                let why = "space is possible for Cosine and Euclid only: the largest products need not be near, and Manhattan's \
                           nearest were not measured";
                return fail("partition".into(), why.into());
            }
        }
        if let Some(quantization) = &self.quantization {
            quantization.validate("quantization_config")?;
        }
        for (name, quantization) in &self.vector_quantization {
            quantization.validate(&format!("{}.quantization_config", at(name)))?;
        }
        self.validate_notes()?;
        if !(1..=SHARDS_MAX).contains(&self.shard_count) {
            return fail(
                "shard_number".into(),
                format!("value {} invalid, must be from 1 to {SHARDS_MAX}", self.shard_count),
            );
        }
        Ok(())
    }

    /// Checks what is kept to be shown again.
    fn validate_notes(&self) -> Result<(), SchemaError> {
        let fail = |field: &str, why: String| Err(SchemaError { field: field.to_owned(), why });
        if self.payload_indexes.len() > INDEXES_MAX {
            let why = format!("{} indexes are declared, at most {INDEXES_MAX} are allowed", self.payload_indexes.len());
            return fail("field_name", why);
        }
        for (field, index) in &self.payload_indexes {
            if let Err(error) = Path::parse(field) {
                return fail("field_name", error.to_string());
            }
            index.validate("field_schema")?;
        }
        let bytes = self.metadata.as_ref().map_or(0, |metadata| {
            // A map of JSON values can be written; were it otherwise, it would be too long.
            serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len())
        });
        if bytes > METADATA_BYTES_MAX {
            return fail("metadata", format!("{bytes} bytes long, at most {METADATA_BYTES_MAX} are allowed"));
        }
        Ok(())
    }
}

/// The field that holds a vector's parameters.
fn at(name: &str) -> String {
    if name.is_empty() { "vectors".to_owned() } else { format!("vectors.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Comparator, MultivectorConfig};

    fn schema(size: u32, m: u32, shards: u32) -> CollectionSchema {
        let hnsw = HnswConfig { m, ..HnswConfig::default() };
        let params = VectorParams { hnsw, ..VectorParams::new(size, Distance::Dot) };
        CollectionSchema::single("", params, shards)
    }

    #[test]
    fn limits_are_checked_by_name() {
        for m in [0, 1, 2, 16] {
            assert_eq!(schema(4, m, 1).validate(), Ok(()));
            assert!(HnswConfig { m, ..HnswConfig::default() }.built().m == if m < 2 { 16 } else { m });
        }
        for (bad, field) in [
            (schema(0, 16, 1), "vectors.size"),
            (schema(65_537, 16, 1), "vectors.size"),
            (schema(4, 257, 1), "vectors.hnsw_config.m"),
            (schema(4, 16, 0), "shard_number"),
        ] {
            assert_eq!(bad.validate().unwrap_err().field, field);
        }
        let long = CollectionSchema::single(&"x".repeat(NAME_BYTES_MAX + 1), VectorParams::new(4, Distance::Dot), 1);
        assert_eq!(long.validate().unwrap_err().field, "vectors");
    }

    #[test]
    fn vectors_of_all_kinds_have_names_of_their_own() {
        let none = CollectionSchema { vectors: BTreeMap::new(), ..schema(4, 16, 1) };
        assert_eq!(none.validate(), Ok(()));
        assert!(none.only_vector().unwrap_err().why.contains("the collection has no vectors"));
        let max_sim = MultivectorConfig { comparator: Comparator::MaxSim };
        let params = VectorParams { multivector: Some(max_sim), ..VectorParams::new(64, Distance::Cosine) };
        let mut all = schema(4, 16, 1);
        all.vectors.insert("many".into(), params);
        all.sparse_vectors.insert("words".into(), SparseVectorParams::default());
        assert_eq!(all.validate(), Ok(()));
        let kinds: Vec<(&str, VectorKind<'_>)> = all.kinds().collect();
        assert!(matches!(
            kinds[..],
            [("", VectorKind::Dense(_)), ("many", VectorKind::Multi(_)), ("words", VectorKind::Sparse(_))]
        ));
        assert!(kinds.iter().all(|(name, kind)| all.kind(name) == Some(*kind)) && all.kind("other").is_none());
        assert!(all.only_vector().unwrap_err().why.contains("'' (dense), 'many' (multivector), 'words' (sparse)"));
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<CollectionSchema>(&json).unwrap(), all);
        let space = CollectionSchema { partition: Partition::Space, ..all.clone() };
        assert_eq!(space.validate().unwrap_err().field, "partition");
        let without = VectorParams { originals: false, ..params };
        let coded = CollectionSchema { vectors: BTreeMap::from([("many".into(), without)]), ..all.clone() };
        assert_eq!(coded.validate().unwrap_err().field, "vectors.many.originals");
        all.sparse_vectors.insert("many".into(), SparseVectorParams::default());
        assert_eq!(all.validate().unwrap_err().field, "sparse_vectors.many");
    }

    #[test]
    fn a_partition_by_space_needs_a_metric_of_nearness_and_ids_do_not_say_where() {
        let by = |partition, distance| CollectionSchema {
            partition,
            ..CollectionSchema::single("", VectorParams::new(4, distance), 8)
        };
        for (distance, fits) in
            [(Distance::Cosine, true), (Distance::Euclid, true), (Distance::Dot, false), (Distance::Manhattan, false)]
        {
            let checked = by(Partition::Space, distance).validate();
            assert_eq!(checked.is_ok(), fits, "{distance:?}");
            assert!(
                checked.err().is_none_or(|error| error.field == "partition" && error.why.contains("Cosine and Euclid"))
            );
            assert_eq!(by(Partition::Hash, distance).validate(), Ok(()));
        }
        let id = PointId::Num(77);
        assert_eq!(by(Partition::Hash, Distance::Dot).shard_of(id), Some(id.shard(8)));
        assert_eq!(by(Partition::Space, Distance::Cosine).shard_of(id), None);
        assert!(!serde_json::to_string(&by(Partition::Hash, Distance::Dot)).unwrap().contains("partition"));
        let space = serde_json::to_string(&by(Partition::Space, Distance::Cosine)).unwrap();
        assert_eq!(serde_json::from_str::<CollectionSchema>(&space).unwrap().partition, Partition::Space);
        assert_eq!("space".parse(), Ok(Partition::Space));
        assert!("volume".parse::<Partition>().unwrap_err().contains("expected hash or space"));
    }

    #[test]
    fn leaving_originals_out_needs_codes() {
        let with = |size, distance| {
            let params = VectorParams { originals: false, ..VectorParams::new(size, distance) };
            CollectionSchema::single("text", params, 1).validate()
        };
        assert_eq!(with(32, Distance::Cosine), Ok(()));
        for (size, distance) in [(31, Distance::Cosine), (64, Distance::Manhattan)] {
            let error = with(size, distance).unwrap_err();
            assert_eq!(error.field, "vectors.text.originals");
            assert!(error.why.contains("at least 32 dimensions"), "{error}");
        }
    }

    #[test]
    fn documents_of_earlier_versions_parse() {
        let old = r#"{"vectors":{"":{"size":4,"distance":"Dot","datatype":"float32",
            "hnsw":{"m":16,"ef_construct":100,"full_scan_threshold":10000}}},"shard_count":1}"#;
        let parsed: CollectionSchema = serde_json::from_str(old).unwrap();
        assert_eq!(parsed, schema(4, 16, 1));
        assert!(parsed.only_vector().unwrap().1.originals);
    }

    #[test]
    fn what_is_new_survives_being_written() {
        let params =
            VectorParams { originals: false, preset: Preset::Speed, ..VectorParams::new(64, Distance::Cosine) };
        let mut schema = CollectionSchema::single("a", params, 1);
        schema.quantization = Some(serde_json::from_str(r#"{"turbo": {"bits": "bits1_5"}}"#).unwrap());
        let scalar = r#"{"scalar": {"type": "int8", "quantile": 0.99}}"#;
        schema.vector_quantization.insert("a".into(), serde_json::from_str(scalar).unwrap());
        schema.payload_indexes.insert("a.b[]".into(), serde_json::from_str("\"uuid\"").unwrap());
        schema.metadata = serde_json::from_str(r#"{"owner": {"name": "x"}}"#).unwrap();
        assert_eq!(schema.validate(), Ok(()));
        let json = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<CollectionSchema>(&json).unwrap(), schema);
    }

    #[test]
    fn what_is_noted_has_limits() {
        let mut noted = schema(4, 16, 1);
        let keyword = PayloadIndex::Type(crate::PayloadType::Keyword);
        noted.payload_indexes = (0..INDEXES_MAX).map(|n| (format!("f{n}"), keyword.clone())).collect();
        noted.metadata = Some(Payload::from_iter([("a".into(), "x".repeat(METADATA_BYTES_MAX - 8).into())]));
        assert_eq!(noted.validate(), Ok(()));
        let longer = Payload::from_iter([("a".into(), "x".repeat(METADATA_BYTES_MAX - 7).into())]);
        let long = CollectionSchema { metadata: Some(longer), ..noted.clone() };
        assert_eq!(long.validate().unwrap_err().field, "metadata");
        for field in ["one more", "a..b"] {
            let mut bad = if field == "a..b" { schema(4, 16, 1) } else { noted.clone() };
            bad.payload_indexes.insert(field.to_owned(), keyword.clone());
            assert_eq!(bad.validate().unwrap_err().field, "field_name");
        }
    }
}
