//! The plain data that every other crate of Cairn speaks.
//!
//! Nothing here computes, waits, or touches a disk: ids, payload paths, schemas, filters, queries, hits,
//! update operations, usage counters, error kinds and the limits of every input. The engine and the storage crate both
//! depend on this one and on nothing else of Cairn's, which is what keeps them apart.

mod change;
mod declared;
mod distance;
mod editions;
mod error;
pub mod filter;
mod id;
pub mod limits;
mod name;
mod operation;
mod order;
mod path;
mod payload;
mod payload_index;
mod quantization;
mod query;
mod schema;
mod usage;
mod vector_params;

pub use change::Change;
pub use declared::{Auto, Declared, HnswDiff, OptimizersDiff, ParamsDiff, Threads, VectorSettings, WalDiff};
pub use distance::{Datatype, Distance};
pub use editions::{Edition, Editions};
pub use error::{ErrorKind, Kind};
pub use filter::{
    Condition, FieldTest, Filter, FilterError, GeoArea, Match, MinShould, Range, Scalar, Slice, TextMatch,
};
pub use id::{ParseIdError, PointId};
pub use name::{CollectionName, NameError};
pub use operation::{Operation, OperationError, Point, Selection, UpdateMode, Vector, Vectors};
pub use order::{Order, OrderPlace, OrderValue};
pub use path::{Path, PathError, Step};
pub use payload::{Payload, is_shallow};
pub use payload_index::{
    IntegerParams, KeywordParams, PayloadIndex, PayloadIndexParams, PayloadType, PlainParams, RangeParams,
    SnowballLanguage, Stemmer, StopwordLanguage, StopwordSet, Stopwords, TextParams, Tokenizer, UuidParams,
};
pub use quantization::{
    BinaryEncoding, BinaryQuantization, BinaryQueryEncoding, Compression, Memory, ProductQuantization, Quantization,
    ScalarKind, ScalarQuantization, TurboBits, TurboQuantization,
};
pub use query::{QuantizationSearch, SearchParams, SegmentPlan, VectorQuery};
pub use schema::{CollectionSchema, HnswConfig, Partition, Preset, SchemaError};
pub use usage::{Strategies, TierBytes, Usage};
pub use vector_params::{
    Comparator, Modifier, MultivectorConfig, SparseIndexParams, SparseVectorParams, VectorKind, VectorParams,
};
