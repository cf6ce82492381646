//! `GET /collections/{name}`: a collection as Qdrant's clients expect to see it.

use cairn_model::{CollectionSchema, Datatype, HnswConfig, PayloadIndex, VectorKind, VectorParams};
use cairn_storage::Collection;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Qdrant's `CollectionInfo` of a collection that has so many points. Everything that Cairn has no setting for shows Qdrant's default.
#[must_use]
pub fn collection_info(collection: &Collection, points: u64) -> Value {
    let schema = &collection.doc.schema;
    let segments: usize = collection.manifests.iter().map(|manifest| manifest.segments.len()).sum();
    let (declared, hnsw) = (&schema.declared, common_hnsw(schema));
    let own: Map<String, Value> = schema.kinds().map(|(name, kind)| (name.to_owned(), cairn(kind))).collect();
    let mut shown = json!({
        "status": "green",
        "optimizer_status": "ok",
        "points_count": points,
        "indexed_vectors_count": points,
        "segments_count": segments,
        "config": {
            "params": over(json!({
                "vectors": vectors(schema),
                "shard_number": schema.shard_count,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": true,
            }), &declared.params),
            "hnsw_config": over(json!({
                "m": hnsw.m,
                "ef_construct": hnsw.ef_construct,
                "full_scan_threshold": hnsw.full_scan_threshold,
                "max_indexing_threads": 0,
                "on_disk": false,
            }), &declared.hnsw_config),
            "optimizer_config": over(json!({
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "max_segment_size": null,
                "memmap_threshold": null,
                "indexing_threshold": null,
                "flush_interval_sec": 5,
                "max_optimization_threads": null,
            }), &declared.optimizers_config),
            "wal_config": over(json!({"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}), &declared.wal_config),
            "quantization_config": schema.quantization,
        },
        "payload_schema": payload_schema(schema, points),
        "cairn": {"vectors": own, "generation": collection.doc.generation},
    });
    if !schema.sparse_vectors.is_empty() {
        shown["config"]["params"]["sparse_vectors"] = json!(schema.sparse_vectors);
    }
    if let Some(metadata) = &schema.metadata {
        shown["config"]["metadata"] = json!(metadata);
    }
    if schema.quantization.is_some() || !schema.vector_quantization.is_empty() {
        shown["warnings"] = json!([{ "message": SERVED_BY }]);
    }
    shown
}

/// The indexes that were declared. `points` are those of the segments: the indexes of their fields have seen each of them, whether or
/// not it has the field, and nothing that is read to answer this knows how many do.
fn payload_schema(schema: &CollectionSchema, points: u64) -> Map<String, Value> {
    let index = |(field, index): (&String, &PayloadIndex)| {
        let mut shown = json!({"data_type": index.payload_type(), "points": points});
        if let Some(params) = index.params() {
            shown["params"] = json!(params);
        }
        (field.clone(), shown)
    };
    schema.payload_indexes.iter().map(index).collect()
}

/// What becomes of every kind of quantization.
const SERVED_BY: &str = "quantization_config is kept as declared; every kind is served by Cairn's own codec, a rotated \
    8-bit code per dimension in two planes of 4 bits, whose high plane is searched and whose full code rescores";

/// Graph settings of the collection: those of the first vector that declared none of its own. Vectors that have others show them.
fn common_hnsw(schema: &CollectionSchema) -> HnswConfig {
    let declared = &schema.declared;
    let common = schema.vectors.iter().find(|(name, _)| declared.hnsw_of(name).is_empty());
    common.map_or_else(|| declared.hnsw_config.of(HnswConfig::default()), |(_, params)| params.hnsw)
}

/// Defaults with what was declared over them.
fn over(mut defaults: Value, declared: &impl Serialize) -> Value {
    if let (Value::Object(shown), Value::Object(declared)) = (&mut defaults, json!(declared)) {
        shown.extend(declared);
    }
    defaults
}

/// What Qdrant has no word for, by vector.
fn cairn(kind: VectorKind<'_>) -> Value {
    match kind {
        VectorKind::Dense(params) | VectorKind::Multi(params) => {
            let codec = if params.coded() { "rotated 8-bit code in two planes of 4 bits" } else { "none" };
            json!({"originals": params.originals, "preset": params.preset, "codec": codec})
        }
        VectorKind::Sparse(_) => json!({"originals": true, "codec": "none"}),
    }
}

/// One vector without a name is shown bare, as clients that declared it so expect.
fn vectors(schema: &CollectionSchema) -> Value {
    let shown = |(name, params): (&String, &VectorParams)| (name.clone(), vector(schema, name, params));
    match schema.vectors.first_key_value() {
        Some((name, params)) if name.is_empty() && schema.vectors.len() == 1 => vector(schema, name, params),
        _ => Value::Object(schema.vectors.iter().map(shown).collect()),
    }
}

fn vector(schema: &CollectionSchema, name: &str, params: &VectorParams) -> Value {
    let mut shown = Map::new();
    shown.insert("size".into(), json!(params.size));
    shown.insert("distance".into(), json!(params.distance));
    let settings = schema.declared.vectors.get(name).copied().unwrap_or_default();
    match settings.hnsw_config {
        Some(own) => drop(shown.insert("hnsw_config".into(), json!(own))),
        None if params.hnsw != common_hnsw(schema) => drop(shown.insert("hnsw_config".into(), json!(params.hnsw))),
        None => {}
    }
    if let Some(quantization) = schema.vector_quantization.get(name) {
        shown.insert("quantization_config".into(), json!(quantization));
    }
    if params.datatype != Datatype::Float32 {
        shown.insert("datatype".into(), json!(params.datatype));
    }
    if let Some(multivector) = params.multivector {
        shown.insert("multivector_config".into(), json!(multivector));
    }
    if let Some(on_disk) = settings.on_disk {
        shown.insert("on_disk".into(), json!(on_disk));
    }
    Value::Object(shown)
}
