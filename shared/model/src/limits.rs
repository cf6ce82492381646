//! The largest sizes that Cairn accepts. Each is checked where the input enters.

/// Dimensions of one vector; Qdrant's own limit.
pub const DIM_MAX: usize = 65_536;
/// Bytes of one request body (Qdrant's default is 32 MiB; Lambda refuses above 6 MiB before we see it).
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Points returned by one query or scroll page, `limit` plus `offset`.
pub const LIMIT_MAX: usize = 100_000;
/// Queries in one batch.
pub const BATCH_MAX: usize = 1_000;
/// Ids in one retrieve or `has_id`.
pub const IDS_MAX: usize = 100_000;
/// Search width.
pub const EF_MAX: u32 = 100_000;
/// Dimensions from which on vectors have 8-bit codes: below, a code is no smaller than the vector.
pub const CODED_DIM_MIN: u32 = 32;
/// Candidates that are rescored per hit (`quantization.oversampling`).
pub const OVERSAMPLING_MAX: f32 = 1_000.0;
/// The lowest and the highest `recall` that a search may ask for.
pub const RECALL_MIN: f32 = 0.5;
/// See [`RECALL_MIN`].
pub const RECALL_MAX: f32 = 0.999;
/// HNSW links per node.
pub const M_MAX: u32 = 256;
/// HNSW build width.
pub const EF_CONSTRUCT_MAX: u32 = 10_000;
/// Bytes of one point's payload as JSON.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Depth to which a value of a payload may be nested: a reader's parser gives up at 128.
pub const PAYLOAD_DEPTH_MAX: usize = 120;
/// Depth of nested filters.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Conditions in one filter, nested ones included.
pub const FILTER_CONDITIONS_MAX: usize = 4_096;
/// Points of the polygons of one filter, all rings together.
pub const GEO_POINTS_MAX: usize = 10_000;
/// Bytes of a text that a filter matches.
pub const MATCH_TEXT_BYTES_MAX: usize = 64 << 10;
/// Different values of one facet.
pub const FACET_VALUES_MAX: usize = 1 << 20;
/// Bytes of a collection's or vector's name; Qdrant's limit for collections is 255.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a payload path.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Payload indexes of one collection.
pub const INDEXES_MAX: usize = 1_024;
/// Characters of a token that a text index may ask for.
pub const TOKEN_LEN_MAX: usize = 65_536;
/// Stopwords that a text index may list.
pub const STOPWORDS_MAX: usize = 10_000;
/// Bytes of a collection's metadata as JSON: every reader of the collection gets them.
pub const METADATA_BYTES_MAX: usize = 64 << 10;
/// Aliases of all collections of a store together.
pub const ALIASES_MAX: usize = 10_000;
/// Changes of aliases in one request.
pub const ALIAS_ACTIONS_MAX: usize = 1_000;
/// Shards of one collection.
pub const SHARDS_MAX: u32 = 1_024;
/// Points of one segment: ordinals are `u32` and one value is kept free as a sentinel.
pub const SEGMENT_POINTS_MAX: usize = (u32::MAX - 1) as usize;
/// Vectors of one point.
pub const VECTORS_MAX: usize = 256;
/// Values of one multivector, all its vectors together; Qdrant's own limit.
pub const MULTI_VALUES_MAX: usize = 1 << 20;
/// Values of one sparse vector.
pub const SPARSE_VALUES_MAX: usize = 1 << 20;
/// Operations of one write.
pub const OPERATIONS_MAX: usize = 1_000;
/// Bytes of one write to one shard, encoded: the largest request body twice, as JSON has at least two bytes for a value of four.
pub const LOG_PART_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Bytes of all writes that share a log object, before compression.
pub const LOG_BODY_BYTES_MAX: usize = LOG_PART_BYTES_MAX + (8 << 20);
/// Writes that share a log object.
pub const LOG_PARTS_MAX: usize = 1_024;
