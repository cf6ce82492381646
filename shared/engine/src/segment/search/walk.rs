//! Plans that walk the graph.

use cairn_model::SearchParams;
use roaring::RoaringBitmap;

use super::{
    Hit, Search,
    rescore::{Codes, hits},
};
use crate::{
    Error, Result,
    graph::{self, Scorer, SearchOptions},
    segment::vectors::Exact,
};

impl Search<'_> {
    /// HNSW over coarse codes, or over originals where there are no codes.
    pub(super) fn graph(&mut self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Result<Vec<Hit>> {
        let links = self.segment.links()?;
        let bits = allowed.map(|allowed| Bits::new(allowed, self.segment.len()));
        let pass = bits.as_ref().map(|bits| move |ordinal: u32| bits.contains(ordinal));
        let options =
            SearchOptions { ef: self.ef(params), allowed: pass.as_ref().map(|pass| pass as &dyn Fn(u32) -> bool) };
        let visited = &self.segment.visited;
        if self.segment.codec.is_none() {
            let mut scorer = ByOriginal { exact: &self.exact, scored: 0, failed: None };
            let found = graph::search(&links, &mut scorer, &options, visited, self.watch)?;
            let ByOriginal { scored, failed, .. } = scorer;
            self.scored += scored;
            return failed.map_or_else(|| Ok(hits(found.into_iter().take(self.k).collect())), Err);
        }
        let codes = self.codes()?;
        let mut scorer = ByCode { codes: &codes, scored: 0 };
        let found = graph::search(&links, &mut scorer, &options, visited, self.watch)?;
        self.scored += scorer.scored;
        self.rescore(found, &codes)
    }
}

struct ByCode<'a> {
    codes: &'a Codes<'a>,
    scored: u64,
}

impl Scorer for ByCode<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        self.codes.query.coarse_all(&self.codes.records.high, ordinals, out);
        self.scored += ordinals.len() as u64;
    }

    fn prefetch(&self, ordinal: u32) {
        crate::kernel::prefetch(self.codes.high(ordinal));
    }
}

struct ByOriginal<'a> {
    exact: &'a Exact<'a>,
    scored: u64,
    /// A scorer cannot fail in the middle of a walk; what went wrong is kept for its end.
    failed: Option<Error>,
}

impl Scorer for ByOriginal<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        for (&ordinal, out) in ordinals.iter().zip(out) {
            *out = match self.exact.distance(ordinal) {
                Ok(distance) => distance,
                Err(error) => {
                    self.failed = Some(error);
                    f32::INFINITY
                }
            };
        }
        self.scored += ordinals.len() as u64;
    }

    fn prefetch(&self, ordinal: u32) {
        self.exact.prefetch(ordinal);
    }
}

/// A plain bitset: a membership test inside the graph walk is one load, where a roaring bitmap searches.
struct Bits(Vec<u64>);

impl Bits {
    fn new(ordinals: &RoaringBitmap, points: u32) -> Self {
        let mut words = vec![0u64; points.div_ceil(64) as usize];
        for ordinal in ordinals {
            if let Some(word) = words.get_mut(ordinal as usize / 64) {
                *word |= 1 << (ordinal % 64);
            }
        }
        Self(words)
    }

    fn contains(&self, ordinal: u32) -> bool {
        self.0.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }
}
