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
/// Depth of nested filters.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Conditions in one filter, nested ones included.
pub const FILTER_CONDITIONS_MAX: usize = 4_096;
/// Bytes of a collection's or vector's name; Qdrant's limit for collections is 255.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a payload path.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Shards of one collection.
pub const SHARDS_MAX: u32 = 1_024;
/// Points of one segment: ordinals are `u32` and one value is kept free as a sentinel.
pub const SEGMENT_POINTS_MAX: usize = (u32::MAX - 1) as usize;
