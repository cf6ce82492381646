//! A segment with its graph expanded in memory.

use super::{SectionKind, Segment};
use crate::{
    Result, Watch,
    hot::{Compact, Hot, Memory, Plan},
};

impl Segment {
    /// Bytes that [`Segment::expand`] would ask for if every point had all the links it may have, told without reading any; 0
    /// for a segment without codes, which cannot be expanded.
    #[must_use]
    pub fn hot_bytes_max(&self) -> u64 {
        self.codec.as_ref().map_or(0, |codec| Plan::bytes_max(codec, self.len(), 3 * self.params().hnsw.m))
    }

    /// Expands the graph in memory for [`Segment::search_hot`], on the threads of `pool`. `memory` is asked once, for a number
    /// of bytes, and may decline. `None` where it did, and for segments without codes.
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
        self.codec.as_deref()
    }

    fn compact(&self) -> Result<Option<Compact<'_>>> {
        let Some(codec) = &self.codec else { return Ok(None) };
        let (high, low) = (self.bytes(SectionKind::CodesHigh)?, self.bytes(SectionKind::CodesLow)?);
        Ok(Some(Compact { codec, links: self.links()?, high, low }))
    }
}
