//! The segments that are written: rows go in, a file comes out whenever one is full.

use std::sync::atomic::Ordering;

use cairn_engine::{
    fresh::Fresh,
    segment::{Builder, Segment},
};
use cairn_model::{PointId, VectorParams};

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
    name: &'a str,
    params: VectorParams,
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
    ///
    /// # Errors
    /// [`Error::Invalid`] for a schema without a vector.
    pub(super) fn new(site: &'a Site, shard: u32, number: u32) -> Result<Self> {
        let (name, params) = site.schema.vector().map_err(|error| Error::invalid(error.field, error.why))?;
        let builder = Builder::new(name, *params, seed(site, number));
        Ok(Self { site, shard, name, params: *params, number, builder, payload_bytes: 0, files: Vec::new() })
    }

    /// Builds all that comes of the inputs. Computes, and takes long.
    ///
    /// # Errors
    /// [`Error::Point`], [`Error::Engine`], [`Error::Disk`], [`Error::Cancelled`].
    pub(super) fn build(mut self, inputs: &Inputs) -> Result<Vec<SegmentFile>> {
        for segment in &inputs.segments {
            segment.each(|id, vector, payload| self.push(id, vector, payload))?;
        }
        for (id, put) in inputs.written.iter().flat_map(|written| written.points()) {
            self.push(id, &put.vector(), &put.payload_text()?)?;
        }
        self.finish()?;
        Ok(self.files)
    }

    fn push(&mut self, id: PointId, vector: &[f32], payload: &str) -> Result<()> {
        let (points, payload_bytes) = (self.builder.len() as u64, self.payload_bytes + payload.len() as u64);
        let is_full =
            points >= POINTS_MAX || build_bytes(points + 1, &self.params, payload_bytes) > self.site.build_bytes;
        if points > 0 && is_full {
            self.finish()?;
        }
        self.builder.push_stored(id, vector, payload).map_err(|source| Error::Point { id, source })?;
        self.payload_bytes += payload.len() as u64;
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
        let next = Builder::new(self.name, self.params, seed(self.site, self.number));
        let full = std::mem::replace(&mut self.builder, next);
        self.payload_bytes = 0;
        self.files.push(build::write(full, self.shard, self.number, self.site)?);
        Ok(())
    }
}

/// Another one for every segment, the same for the same job.
fn seed(site: &Site, number: u32) -> u64 {
    site.seed.wrapping_add(u64::from(number))
}
