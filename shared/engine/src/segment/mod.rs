//! The segment: one immutable file, written once, read by ranges or by mapping.

use std::sync::Arc;

use cairn_model::{Filter, HnswConfig, Payload, PointId, Usage, VectorParams, VectorQuery};

use crate::{Result, Watch};

/// Where a segment's bytes are: a mapped file, a buffer, or (later) a set of fetched ranges.
pub trait Source: Send + Sync {
    /// Bytes of the whole file.
    fn len(&self) -> u64;
    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bytes at `offset..offset + len`, or `None` where they are not at hand or out of bounds.
    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]>;
}

impl<T: AsRef<[u8]> + Send + Sync> Source for T {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }
    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.as_ref().get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }
}

/// Collects points, then writes one segment.
pub struct Builder {
    params: VectorParams,
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Points in the segment.
    pub points: u64,
    /// Bytes written.
    pub bytes: u64,
    /// xxh3-64 of all bytes written.
    pub checksum: u64,
}

impl Builder {
    /// An empty builder for vectors of `params`; `name` is the vector's name. The same `seed`, points and one thread give the same file.
    pub fn new(name: &str, params: VectorParams, seed: u64) -> Self {
        let _ = (name, seed);
        Self { params }
    }
    /// Adds a point. Cosine vectors are normalised here.
    ///
    /// # Errors
    /// `Invalid` for a wrong dimension, NaN or infinity, a value that does not fit the datatype, an id that was added before (checked in [`Builder::write`]), a payload over the limit.
    pub fn push(&mut self, id: PointId, vector: &[f32], payload: Option<&Payload>) -> Result<()> {
        let _ = (id, vector, payload, self.params, HnswConfig::default());
        unimplemented!()
    }
    /// Points so far.
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Memory held by the points so far, in bytes.
    pub fn bytes(&self) -> usize {
        unimplemented!()
    }
    /// Builds on `pool` and writes the segment to `out`.
    ///
    /// # Errors
    /// `Invalid` when there are no points or an id occurs twice, `Cancelled`; errors of `out` come back as they are.
    pub fn write(
        self,
        pool: &rayon::ThreadPool,
        watch: &dyn Watch,
        out: &mut dyn std::io::Write,
    ) -> std::io::Result<Result<Built>> {
        let _ = (pool, watch, out);
        unimplemented!()
    }
}

/// One hit inside a segment: smaller distance is nearer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row number.
    pub ordinal: u32,
    /// Internal distance, exact for the stored vector (see `Distance`).
    pub distance: f32,
}

/// Which plan searched; for telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The graph, no filter.
    Graph,
    /// The graph, with a filter at the result pool.
    FilteredGraph,
    /// A scan of the codes of all (allowed) points, then rescoring.
    Scan,
    /// Exact distances to all (allowed) points.
    Exact,
    /// The filter matched nothing.
    Nothing,
}

/// The answer of one segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Nearest first, ties by ordinal; at most k.
    pub hits: Vec<Hit>,
    /// What was done.
    pub strategy: Strategy,
    /// Fills `vectors_scored` and `segments`.
    pub usage: Usage,
}

/// An open segment. Cheap to share; reads take no locks.
pub struct Segment {
    source: Arc<dyn Source>,
}

impl Segment {
    /// Opens a segment in time that does not depend on its size, and validates everything that later code trusts.
    ///
    /// # Errors
    /// `Corrupt`, `Version`, `UnknownSection`.
    pub fn open(source: Arc<dyn Source>) -> Result<Self> {
        Ok(Self { source })
    }
    /// Checks every section's checksum and every internal reference; reads the whole file.
    ///
    /// # Errors
    /// `Corrupt`, naming the section.
    pub fn verify(&self) -> Result<()> {
        let _ = &self.source;
        unimplemented!()
    }
    /// Points.
    pub fn len(&self) -> u32 {
        unimplemented!()
    }
    /// Whether there are none (never, for a segment that was written).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The vector's parameters, as at build time.
    pub fn params(&self) -> VectorParams {
        unimplemented!()
    }
    /// The vector's name.
    pub fn vector_name(&self) -> &str {
        unimplemented!()
    }
    /// Nearest points. `query.k` hits at most. The query vector is used as given: Cosine queries are normalised here.
    ///
    /// # Errors
    /// `Invalid` for a wrong dimension, `Corrupt`, `Cancelled`.
    pub fn search(&self, query: &VectorQuery, watch: &dyn Watch) -> Result<Found> {
        let _ = (query, watch);
        unimplemented!()
    }
    /// The id of a row.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn id(&self, ordinal: u32) -> Result<PointId> {
        let _ = ordinal;
        unimplemented!()
    }
    /// The row of an id.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn ordinal(&self, id: PointId) -> Result<Option<u32>> {
        let _ = id;
        unimplemented!()
    }
    /// The payload of a row as JSON text of an object (`{}` when it has none).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn payload(&self, ordinal: u32) -> Result<String> {
        let _ = ordinal;
        unimplemented!()
    }
    /// The stored vector of a row, widened to f32.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn vector(&self, ordinal: u32) -> Result<Vec<f32>> {
        let _ = ordinal;
        unimplemented!()
    }
    /// How many points match, exactly.
    ///
    /// # Errors
    /// `Corrupt`, `Cancelled`.
    pub fn count(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<u64> {
        let _ = (filter, watch);
        unimplemented!()
    }
    /// The first `limit` matching points in id order with ids at or above `from`.
    ///
    /// # Errors
    /// `Corrupt`, `Cancelled`.
    pub fn scroll(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<(PointId, u32)>> {
        let _ = (from, filter, limit, watch);
        unimplemented!()
    }
    /// Sizes, for people: sections with bytes, bits per link, bytes per vector. Serialises to JSON.
    pub fn describe(&self) -> Result<serde_json::Value> {
        unimplemented!()
    }
}
