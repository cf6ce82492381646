//! A segment with its graph expanded in memory.

use cairn_model::{Usage, VectorQuery};
use roaring::RoaringBitmap;

use super::{
    Found, Hit, SectionKind, Segment, Strategy,
    search::{EF_DEFAULT, EXACT_MIN, EXACT_PER_HIT},
    vectors::{Exact, unit},
};
use crate::{
    Result, Watch,
    hot::{Compact, Hot, Memory, Options, Plan},
};

impl Segment {
    /// Bytes that [`Segment::expand`] would ask for; 0 for a segment without codes, which cannot be expanded. Reads all links.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Cancelled`].
    pub fn hot_bytes(&self, pool: &rayon::ThreadPool, watch: &dyn Watch) -> Result<usize> {
        let Some(compact) = self.compact()? else { return Ok(0) };
        Ok(pool.install(|| Plan::new(&compact, watch))?.bytes())
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
    pub(crate) const fn codec(&self) -> Option<&crate::codec::Codec> {
        self.codec.as_ref()
    }

    fn compact(&self) -> Result<Option<Compact<'_>>> {
        let Some(codec) = &self.codec else { return Ok(None) };
        let (high, low) = (self.bytes(SectionKind::CodesHigh)?, self.bytes(SectionKind::CodesLow)?);
        Ok(Some(Compact { codec, links: self.links()?, high, low }))
    }

    /// As [`Segment::search`], walking `hot`, which was expanded from this segment; searches that need no graph are left to
    /// [`Segment::search`].
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a wrong dimension or a non-finite query, [`crate::Error::Corrupt`],
    /// [`crate::Error::Cancelled`].
    pub fn search_hot(&self, hot: &Hot, query: &VectorQuery, watch: &dyn Watch) -> Result<Found> {
        let exact = self.exact(&query.vector)?;
        let allowed = self.allowed(query.filter.as_ref(), watch)?;
        let walks = matches!(self.plan(allowed.as_ref(), query.params), Strategy::Graph | Strategy::FilteredGraph);
        let Some(codec) = self.codec.as_ref().filter(|_| walks && hot.len() == self.len()) else {
            return self.search(query, watch);
        };
        let metric = self.params().distance;
        let unit = unit(&query.vector, metric);
        let coded = unit.as_deref().unwrap_or(&query.vector);
        let length = coded.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let prepared = (&codec.query(coded), metric, length as f32);
        let k = query.k.clamp(1, self.len() as usize);
        let pass = allowed.as_ref().map(|allowed| |ordinal: u32| allowed.contains(ordinal));
        let ef = widened(query.params.ef.map_or(EF_DEFAULT, |ef| ef as usize).max(k), allowed.as_ref(), self.len());
        let options = Options { ef, k, allowed: pass.as_ref().map(|pass| pass as &dyn Fn(u32) -> bool) };
        let mut walked = hot.search(prepared, &options, watch)?;
        walked.found.truncate((k * EXACT_PER_HIT).max(EXACT_MIN));
        let scored = walked.estimates + walked.hops + walked.found.len() as u64;
        let mut hits = rescored(&exact, walked.found)?;
        hits.truncate(k);
        if let Some(threshold) = query.score_threshold {
            hits.retain(|hit| metric.passes(metric.score(hit.distance), threshold));
        }
        Ok(Found {
            hits,
            strategy: Strategy::Hot,
            usage: Usage { vectors_scored: scored, segments: 1, ..Usage::default() },
        })
    }
}

/// Candidates to keep so that about `ef` of them are allowed.
fn widened(ef: usize, allowed: Option<&RoaringBitmap>, points: u32) -> usize {
    let matching = allowed.map_or(u64::from(points), RoaringBitmap::len).max(1);
    let wide = (ef as u64).saturating_mul(u64::from(points)).div_ceil(matching);
    usize::try_from(wide).unwrap_or(usize::MAX)
}

/// Exact distances, nearest first.
fn rescored(exact: &Exact<'_>, found: Vec<(f32, u32)>) -> Result<Vec<Hit>> {
    for &(_, ordinal) in &found {
        exact.prefetch(ordinal);
    }
    let hit = |(_, ordinal)| Ok(Hit { ordinal, distance: exact.distance(ordinal)? });
    let mut hits = found.into_iter().map(hit).collect::<Result<Vec<_>>>()?;
    hits.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.ordinal.cmp(&b.ordinal)));
    Ok(hits)
}
