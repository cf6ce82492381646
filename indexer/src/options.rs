//! What can be asked of a job: the same names as flags and as keys of a Lambda event's `options` (there with `_` for `-`).

use std::{num::NonZeroUsize, path::PathBuf};

use bytesize::ByteSize;
use cairn_model::{CollectionSchema, Datatype, Distance, HnswConfig, Partition, Preset, VectorParams};
use serde::{Deserialize, Deserializer, de};

use crate::{Error, Result, memory, pool, source::Layout};

/// Options of a job; `None` is the default, or what the collection that is there already has.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct IndexOptions {
    /// File of ids, row by row: .npy of integers, or text with one id (integer or UUID) per line. Without ids a point's id
    /// is its row number
    #[arg(long, value_name = "FILE")]
    pub ids: Option<String>,
    /// File of payloads, row by row: one JSON object per line (.jsonl, also .gz or .zst)
    #[arg(long, value_name = "FILE")]
    pub payload: Option<String>,
    /// How vectors are stored: float32, float16 or uint8. Default: as in the input
    #[arg(long, value_parser = parse_datatype)]
    #[serde(deserialize_with = "datatype_from_text")]
    pub datatype: Option<Datatype>,
    /// Whether the vectors themselves are kept beside their 8-bit codes: keep, or none for a file half the size and less,
    /// whose vectors and scores come from the codes. Default: keep
    #[arg(long, value_name = "keep|none", value_parser = parse_originals)]
    #[serde(deserialize_with = "originals_from_text")]
    pub originals: Option<bool>,
    /// What the build spends its time on: recall, balanced or speed. Default: balanced
    #[arg(long, value_name = "PRESET")]
    pub preset: Option<Preset>,
    /// The vector's name. Default: the unnamed vector
    #[arg(long, value_name = "NAME")]
    pub vector_name: Option<String>,
    /// Shards of the collection; fixed for its life. Default: 1
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// What decides to which shard a point belongs: hash of its id, or space, where near points share a shard and a query searches only
    /// the shards near it. By space the source passes through a temporary file twice, and only cosine and euclid are possible. Default: hash
    #[arg(long, value_name = "hash|space")]
    pub partition: Option<Partition>,
    /// HNSW links per point. Default: 16
    #[arg(long)]
    pub m: Option<u32>,
    /// HNSW's width of search while building. Default: 100
    #[arg(long, value_name = "N")]
    pub ef_construct: Option<u32>,
    /// Kilobytes of vectors below which a search scans instead of walking the graph. Default: 10000
    #[arg(long, value_name = "KB")]
    pub full_scan_threshold: Option<u32>,
    /// Publish in place of the points that are there
    #[arg(long)]
    pub replace: bool,
    /// Refuse what would change the schema of the collection that is there, also when its points are replaced. No flag: a
    /// reindex sets it.
    #[arg(skip)]
    #[serde(skip)]
    pub keep_schema: bool,
    /// Memory bound, like 512MiB or 4GB. Default: half of what is available
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,
    /// Threads that build, which give way to everything else on the machine. Default: one for every core that the process may use
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of the build's randomness
    #[arg(long, default_value_t)]
    pub seed: u64,
    /// Directory for temporary files: rows beyond the memory bound, and segments before they are uploaded. Default: the
    /// system's
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
}

impl IndexOptions {
    /// The memory bound.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`memory::bound`].
    pub fn memory_bytes(&self) -> Result<u64> {
        memory::bound(self.memory)
    }

    /// Threads that build: as asked, else one for every core.
    #[must_use]
    pub fn threads(&self) -> usize {
        pool::threads(self.threads)
    }

    /// The schema that these options, the source and the collection that is there make together: an option decides, else the
    /// collection, else the source or a default.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a number out of its range, or no distance anywhere.
    pub fn schema(
        &self,
        distance: Option<Distance>,
        layout: &Layout,
        existing: Option<&CollectionSchema>,
    ) -> Result<CollectionSchema> {
        let old = existing.map(CollectionSchema::only_vector).transpose().map_err(schema_error)?;
        let params = old.map(|(_, params)| params);
        let distance = distance.or(params.map(|p| p.distance)).ok_or_else(|| {
            Error::invalid("distance", "is needed for a new collection: cosine, dot, euclid or manhattan")
        })?;
        let hnsw = params.map_or_else(HnswConfig::default, |p| p.hnsw);
        let params = VectorParams {
            datatype: self.datatype.or(params.map(|p| p.datatype)).unwrap_or(layout.element.datatype()),
            hnsw: HnswConfig {
                m: self.m.unwrap_or(hnsw.m),
                ef_construct: self.ef_construct.unwrap_or(hnsw.ef_construct),
                full_scan_threshold: self.full_scan_threshold.unwrap_or(hnsw.full_scan_threshold),
            },
            originals: self.originals.or(params.map(|p| p.originals)).unwrap_or(true),
            preset: self.preset.or(params.map(|p| p.preset)).unwrap_or_default(),
            ..VectorParams::new(u32::try_from(layout.dim).unwrap_or(u32::MAX), distance)
        };
        let name = self.vector_name.as_deref().or(old.map(|(name, _)| name)).unwrap_or_default();
        let shards = self.shards.or(existing.map(|schema| schema.shard_count)).unwrap_or(1);
        let mut schema = CollectionSchema::single(name, params, shards);
        schema.partition = self.partition.or(existing.map(|schema| schema.partition)).unwrap_or_default();
        if let Some(existing) = existing {
            schema.quantization = existing.quantization;
            schema.vector_quantization.clone_from(&existing.vector_quantization);
            schema.payload_indexes.clone_from(&existing.payload_indexes);
            schema.declared.clone_from(&existing.declared);
            schema.metadata.clone_from(&existing.metadata);
        }
        schema.validate().map_err(schema_error)?;
        Ok(schema)
    }
}

fn schema_error(error: cairn_model::SchemaError) -> Error {
    Error::invalid(error.field, error.why)
}

/// Checks that a source fits the schema of an empty collection, which is filled as it was created.
///
/// # Errors
/// [`Error::Invalid`], naming the first difference.
pub(crate) fn check_agrees(found: &CollectionSchema, asked: &CollectionSchema) -> Result<()> {
    let ((old_name, old), (new_name, new)) =
        (found.only_vector().map_err(schema_error)?, asked.only_vector().map_err(schema_error)?);
    let differ = |field: &str, old: String, new: String| {
        Err(Error::invalid(field, format!("the collection was created with {old}, but {new} was given")))
    };
    if old_name != new_name {
        return differ("vector_name", format!("'{old_name}'"), format!("'{new_name}'"));
    }
    if old.size != new.size {
        return differ("size", format!("{} dimensions", old.size), format!("a source of {} dimensions", new.size));
    }
    if old.distance != new.distance {
        return differ("distance", format!("{:?}", old.distance), format!("{:?}", new.distance));
    }
    if old.datatype != new.datatype {
        return differ("datatype", format!("{:?}", old.datatype), format!("{:?}", new.datatype));
    }
    if old.hnsw != new.hnsw {
        return differ("hnsw_config", format!("{:?}", old.hnsw), format!("{:?}", new.hnsw));
    }
    if old.originals != new.originals {
        let name = |kept: bool| if kept { "originals" } else { "no originals" };
        return differ("originals", name(old.originals).into(), name(new.originals).into());
    }
    if old.preset != new.preset {
        return differ("preset", old.preset.to_string(), new.preset.to_string());
    }
    if found.partition != asked.partition {
        return differ("partition", found.partition.to_string(), asked.partition.to_string());
    }
    if found.shard_count != asked.shard_count {
        return differ("shards", found.shard_count.to_string(), asked.shard_count.to_string());
    }
    Ok(())
}

/// Whether originals are kept.
///
/// # Errors
/// Names the text and what was expected.
pub fn parse_originals(text: &str) -> std::result::Result<bool, String> {
    match text {
        "keep" => Ok(true),
        "none" => Ok(false),
        _ => Err(format!("unknown choice '{text}': expected keep or none")),
    }
}

fn originals_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<bool>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_originals(&text).map_err(de::Error::custom)).transpose()
}

/// A datatype from its name.
///
/// # Errors
/// Names the text and what was expected.
pub fn parse_datatype(text: &str) -> std::result::Result<Datatype, String> {
    match text.to_ascii_lowercase().as_str() {
        "float32" | "f32" => Ok(Datatype::Float32),
        "float16" | "f16" => Ok(Datatype::Float16),
        "uint8" | "u8" => Ok(Datatype::Uint8),
        _ => Err(format!("unknown datatype '{text}': expected float32, float16 or uint8")),
    }
}

fn datatype_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Datatype>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_datatype(&text).map_err(de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Element;

    #[test]
    fn an_option_decides_then_the_collection_then_the_source() {
        let layout = Layout { dim: 3, element: Element::F16, rows: None };
        let options = IndexOptions { m: Some(8), ..IndexOptions::default() };
        assert!(options.schema(None, &layout, None).unwrap_err().to_string().starts_with("distance"));
        let first = options.schema(Some(Distance::Dot), &layout, None).unwrap();
        let params = *first.only_vector().unwrap().1;
        assert_eq!((params.datatype, params.hnsw.m, first.shard_count), (Datatype::Float16, 8, 1));
        let keyword = cairn_model::PayloadIndex::Type(cairn_model::PayloadType::Keyword);
        let metadata = cairn_model::Payload::from_iter([("owner".to_owned(), "x".into())]);
        let payload_indexes = [("tag".to_owned(), keyword)].into();
        let first = CollectionSchema { metadata: Some(metadata), payload_indexes, ..first };

        let options = IndexOptions { ef_construct: Some(50), ..IndexOptions::default() };
        let second = options.schema(None, &Layout { element: Element::F32, ..layout }, Some(&first)).unwrap();
        let params = *second.only_vector().unwrap().1;
        assert_eq!((params.distance, params.datatype, params.hnsw.m), (Distance::Dot, Datatype::Float16, 8));
        assert_eq!((&second.metadata, &second.payload_indexes), (&first.metadata, &first.payload_indexes), "kept");
        assert!(check_agrees(&first, &second).unwrap_err().to_string().starts_with("hnsw_config"));
        assert!(check_agrees(&first, &first).is_ok());
        let space = IndexOptions { partition: Some(Partition::Space), ..IndexOptions::default() };
        let layout_of = |element| Layout { dim: 3, element, rows: None };
        let error = space.schema(Some(Distance::Dot), &layout_of(Element::F32), None).unwrap_err();
        assert!(error.to_string().contains("space is possible for Cosine and Euclid only"), "{error}");
        let by_space = space.schema(Some(Distance::Cosine), &layout_of(Element::F32), None).unwrap();
        let again = IndexOptions::default().schema(None, &layout_of(Element::F32), Some(&by_space)).unwrap();
        assert_eq!(again, by_space, "a collection stays as it is partitioned");
        let hash = IndexOptions { partition: Some(Partition::Hash), ..IndexOptions::default() };
        let hash = hash.schema(None, &layout_of(Element::F32), Some(&by_space)).unwrap();
        let error = check_agrees(&by_space, &hash).unwrap_err().to_string();
        assert!(error.contains("created with space, but hash was given"), "{error}");

        let options = IndexOptions { originals: Some(false), preset: Some(Preset::Recall), ..IndexOptions::default() };
        let layout = Layout { dim: 32, ..layout };
        let small = options.schema(Some(Distance::Dot), &layout, None).unwrap();
        assert_eq!(small.only_vector().unwrap().1.preset, Preset::Recall);
        assert!(!small.only_vector().unwrap().1.originals);
        let again = IndexOptions::default().schema(None, &layout, Some(&small)).unwrap();
        assert_eq!(again, small);
        let other = IndexOptions { originals: Some(true), ..IndexOptions::default() };
        let error = check_agrees(&small, &other.schema(None, &layout, Some(&small)).unwrap()).unwrap_err();
        assert!(error.to_string().contains("created with no originals, but originals was given"), "{error}");
        let error = options.schema(Some(Distance::Manhattan), &layout, None).unwrap_err();
        assert!(error.to_string().contains("originals can be left out only"), "{error}");

        let options = IndexOptions { m: Some(100_000), ..IndexOptions::default() };
        assert!(options.schema(Some(Distance::Dot), &layout, None).unwrap_err().to_string().contains("hnsw_config.m"));
    }
}
