//! A segment with the graph of its first vector expanded in memory.

use super::{SectionKind, Segment};
use crate::{
    Result, Watch,
    hot::{Compact, Hot, Memory, Plan},
};

impl Segment {
    /// Bytes that [`Segment::expand`] would ask for if every point had all the links it may have, told without reading any; 0
    /// for a segment whose first vector has no codes, or that has none: it cannot be expanded.
    #[must_use]
    pub fn hot_bytes_max(&self) -> u64 {
        let first = self.first().and_then(|first| first.codec().map(|codec| (first, codec)));
        first.map_or(0, |(first, codec)| Plan::bytes_max(codec, self.len(), 3 * first.params().hnsw.m))
    }

    /// Expands the graph in memory for [`Segment::search_hot`], on the threads of `pool`. `memory` is asked once, for a number
    /// of bytes, and may decline. `None` where it did, and for segments whose first vector has no codes.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Cancelled`], [`crate::Error::Invalid`] when it was given less memory.
    pub fn expand(
        &self,
        memory: impl FnOnce(usize) -> Option<Box<dyn Memory>>,
        pool: &rayon::ThreadPool,
        watch: &dyn Watch,
    ) -> Result<Option<Hot>> {
        let Some(compact) = self.compact()? else { return Ok(None) };
        let plan = pool.install(|| Plan::new(&compact, watch))?;
        let Some(memory) = memory(plan.bytes()) else { return Ok(None) };
        pool.install(|| plan.expand(&compact, memory, watch)).map(Some)
    }

    #[cfg(test)]
    pub(crate) fn codec(&self) -> Option<&crate::codec::Codec> {
        self.first().and_then(super::dense::Dense::codec)
    }

    fn compact(&self) -> Result<Option<Compact<'_>>> {
        let Some(first) = self.first() else { return Ok(None) };
        let Some(codec) = first.codec() else { return Ok(None) };
        let codes = |kind: SectionKind| first.region(kind)?.all();
        let (high, low) = (codes(SectionKind::CodesHigh)?, codes(SectionKind::CodesLow)?);
        Ok(Some(Compact { codec, links: first.links()?, high, low }))
    }
}
