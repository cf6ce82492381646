//! The segments that are written: rows go in, a file comes out whenever one is full.

use std::sync::atomic::Ordering;

use cairn_engine::{
    fresh::Fresh,
    segment::{Builder, Segment},
};
use cairn_model::{CollectionSchema, PointId, Vector, VectorParams, Vectors};

use super::tiers::POINTS_MAX;
use crate::{
    Error, Result,
    build::{self, SegmentFile, Site},
    memory::build_bytes,
};

/// Points between two looks at whether to stop.
const STOP_EVERY: usize = 1_024;

/// Segments of one shard under construction, one after another.
pub(super) struct Outputs<'a> {
    site: &'a Site,
    shard: u32,
    /// Segments of this job so far.
    number: u32,
    builder: Builder,
    payload_bytes: u64,
    files: Vec<SegmentFile>,
}

/// What becomes one segment, or several where it is too much for one. No id is in two of these.
pub(super) struct Inputs {
    /// Their rows that count.
    pub(super) segments: Vec<Segment>,
    /// Points of a tail.
    pub(super) written: Option<std::sync::Arc<Fresh>>,
}

impl<'a> Outputs<'a> {
    /// None yet; `number` segments were built before.
    pub(super) fn new(site: &'a Site, shard: u32, number: u32) -> Self {
        let builder = Builder::of(&site.schema, seed(site, number));
        Self { site, shard, number, builder, payload_bytes: 0, files: Vec::new() }
    }

    /// Builds all that comes of the inputs. Computes, and takes long.
    ///
    /// # Errors
    /// [`Error::Point`], [`Error::Engine`], [`Error::Disk`], [`Error::Cancelled`].
    pub(super) fn build(mut self, inputs: &Inputs) -> Result<Vec<SegmentFile>> {
        for segment in &inputs.segments {
            segment.each(|id, vectors, payload| self.push(id, vectors, payload))?;
        }
        for (id, put) in inputs.written.iter().flat_map(|written| written.points()) {
            self.push(id, &put.vectors(&|_| true), &put.payload_text()?)?;
        }
        self.finish()?;
        Ok(self.files)
    }

    fn push(&mut self, id: PointId, vectors: &Vectors, payload: &str) -> Result<()> {
        let points = self.builder.len() as u64;
        let own_bytes = (payload.len() + vectors.values().map(loose_bytes).sum::<usize>()) as u64;
        let bytes = build_bytes(points + 1, dense(&self.site.schema), self.payload_bytes + own_bytes);
        let is_full = points >= POINTS_MAX || bytes > self.site.build_bytes;
        if points > 0 && is_full {
            self.finish()?;
        }
        self.builder.push_stored(id, vectors, payload).map_err(|source| Error::Point { id, source })?;
        self.payload_bytes += own_bytes;
        if self.builder.len().is_multiple_of(STOP_EVERY) && self.site.stop.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        self.number += 1;
        let next = Builder::of(&self.site.schema, seed(self.site, self.number));
        let full = std::mem::replace(&mut self.builder, next);
        self.payload_bytes = 0;
        self.files.push(build::write(full, self.shard, self.number, self.site)?);
        Ok(())
    }
}

/// The dense vectors of a schema: what every point is taken to have.
pub(super) fn dense(schema: &CollectionSchema) -> impl Iterator<Item = &VectorParams> {
    schema.vectors.values().filter(|params| params.multivector.is_none())
}

/// Bytes of a vector whose length is each point's own.
fn loose_bytes(vector: &Vector) -> usize {
    match vector {
        Vector::Dense(_) => 0,
        Vector::Multi { values, .. } => size_of_val(&**values),
        Vector::Sparse { indices, values } => size_of_val(&**indices) + size_of_val(&**values),
    }
}

/// Another one for every segment, the same for the same job.
fn seed(site: &Site, number: u32) -> u64 {
    site.seed.wrapping_add(u64::from(number))
}
