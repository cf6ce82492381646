//! Plans that walk the graph.

use super::{
    Hit, Search,
    bits::Bits,
    nearest::{Candidate, nearer},
    outward::Open,
    rescore::{Codes, hits},
    scan::Batch,
};
use crate::{
    Error, Result,
    graph::{self, Scorer, SearchOptions},
    hot::{Hot, Options},
    segment::vectors::Exact,
};

/// Matching points that a two-hop walk is entered from, at least: those of the most promising clusters.
const ENTRIES_MIN: usize = 32;

impl Search<'_> {
    /// HNSW over coarse codes, or over originals where there are no codes; with a filter at the result pool.
    pub(super) fn graph(&mut self, bits: Option<&Bits>, ef: usize) -> Result<Vec<Hit>> {
        let links = self.segment.checked_links()?;
        let pass = bits.map(|bits| move |ordinal: u32| bits.contains(ordinal));
        let options = SearchOptions { ef, allowed: pass.as_ref().map(|pass| pass as &dyn Fn(u32) -> bool) };
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

    /// The graph as it is expanded in memory. Its candidates come with distances by their full codes.
    pub(super) fn expanded(&mut self, hot: &Hot, bits: Option<&Bits>, ef: usize) -> Result<Vec<Hit>> {
        let codes = self.codes()?;
        let metric = self.segment.params().distance;
        let length = self.coded.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let prepared = (&codes.query, metric, length as f32);
        let pass = bits.map(|bits| move |ordinal: u32| bits.contains(ordinal));
        let allowed = pass.as_ref().map(|pass| pass as &dyn Fn(u32) -> bool);
        let walked = hot.search(prepared, &Options { ef, k: self.k, allowed }, self.watch)?;
        self.scored += walked.estimates + walked.hops;
        self.settle(walked.found)
    }

    /// The graph of the allowed points, entered from the most promising clusters that have such.
    pub(super) fn two_hop(&mut self, bits: &Bits, open: Vec<Open>, ef: usize) -> Result<Vec<Hit>> {
        if self.segment.codec.is_none() {
            let mut scorer = ByOriginal { exact: &self.exact, scored: 0, failed: None };
            let found = self.through(&mut scorer, bits, open, ef);
            let ByOriginal { scored, failed, .. } = scorer;
            self.scored += scored;
            return failed.map_or_else(|| Ok(hits(found?.into_iter().take(self.k).collect())), Err);
        }
        let codes = self.codes()?;
        let mut scorer = ByCode { codes: &codes, scored: 0 };
        let found = self.through(&mut scorer, bits, open, ef)?;
        self.scored += scorer.scored;
        self.rescore(found, &codes)
    }

    fn through(&self, scorer: &mut impl Scorer, bits: &Bits, mut open: Vec<Open>, ef: usize) -> Result<Vec<Candidate>> {
        open.sort_unstable_by(Open::promising);
        let mut batch = Batch::new(ef);
        let mut ordinals = Vec::new();
        for open in open {
            bits.each(open.start..open.end, |ordinal| ordinals.push(ordinal));
            if ordinals.len() >= ENTRIES_MIN {
                break;
            }
        }
        self.score(scorer, &ordinals, &mut batch)?;
        let mut entries = batch.nearest.sorted();
        entries.sort_unstable_by(nearer);
        let (links, visited) = (self.segment.checked_links()?, &self.segment.visited);
        graph::two_hop(&links, scorer, &entries, (ef, |ordinal| bits.contains(ordinal)), visited, self.watch)
    }
}

pub(super) struct ByCode<'a> {
    pub(super) codes: &'a Codes<'a>,
    pub(super) scored: u64,
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

pub(super) struct ByOriginal<'a> {
    pub(super) exact: &'a Exact<'a>,
    pub(super) scored: u64,
    /// A scorer cannot fail in the middle of a walk; what went wrong is kept for its end.
    pub(super) failed: Option<Error>,
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
