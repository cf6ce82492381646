//! Plans that walk the graph.

use cairn_model::SearchParams;

use super::{
    Hit, Search,
    bits::Bits,
    nearest::{Ascending, Candidate},
    plan::{FILTERED_EF_MAX, KEPT_PER_HIT, share},
    rescore::Codes,
};
use crate::{
    Error, Result,
    graph::{self, Scorer, SearchOptions},
    hot::{Hot, Options},
    payload::Doubt,
    segment::originals::Exact,
};

impl Search<'_> {
    /// HNSW over coarse codes, or over originals where there are no codes.
    pub(super) fn graph(&mut self, ef: usize) -> Result<Vec<Hit>> {
        let codes = self.codes_if_any()?;
        let found = self.walk(codes.as_ref(), ef)?;
        self.finish(codes.as_ref(), found)
    }

    /// The same, and of what a walk of width `ef` keeps, those that `bits` has. `None` where those are too few to be trusted.
    pub(super) fn filtered_graph(&mut self, bits: &Bits, ef: usize) -> Result<Option<Vec<Hit>>> {
        let codes = self.codes_if_any()?;
        let mut found = self.walk(codes.as_ref(), ef)?;
        found.retain(|&(_, ordinal)| bits.contains(ordinal));
        if found.len() < self.k.saturating_mul(KEPT_PER_HIT) {
            return Ok(None);
        }
        self.finish(codes.as_ref(), found).map(Some)
    }

    /// The graph under a filter that the indexes do not answer: rows are read of what a walk keeps, and of nothing else. The share of those that pass
    /// is a sample, taken where it matters: it says how wide the walk has to be. `None` where that is so wide that all rows may as well be read.
    pub(super) fn doubtful_graph(&mut self, doubt: &Doubt<'_>, params: SearchParams) -> Result<Option<Vec<Hit>>> {
        let codes = self.codes_if_any()?;
        let mut density = share(doubt.candidates(), self.dense.rows());
        let mut ef = 0;
        loop {
            let wanted = self.filtered_ef(params, (density, density));
            if wanted > FILTERED_EF_MAX || wanted as u64 > doubt.rows() {
                return Ok(None);
            }
            if ef == FILTERED_EF_MAX {
                return Ok(None);
            }
            // By half at least, so that it ends soon.
            ef = wanted.max(ef + ef / 2).min(FILTERED_EF_MAX);
            let mut found = self.walk(codes.as_ref(), ef)?;
            let walked = found.len() as u64;
            let passing = doubt.among(found.iter().map(|&(_, ordinal)| ordinal))?;
            found.retain(|&(_, ordinal)| passing.contains(ordinal));
            density = share(passing.len(), u32::try_from(walked).unwrap_or(u32::MAX));
            let enough = found.len() >= self.k.saturating_mul(KEPT_PER_HIT);
            if enough && ef >= self.filtered_ef(params, (density, density)) {
                return self.finish(codes.as_ref(), found).map(Some);
            }
        }
    }

    fn codes_if_any<'b>(&self) -> Result<Option<Codes<'b>>>
    where
        Self: 'b,
    {
        if self.dense.codec().is_some() { self.codes().map(Some) } else { Ok(None) }
    }

    /// What a walk of width `ef` keeps, sorted.
    fn walk(&mut self, codes: Option<&Codes<'_>>, ef: usize) -> Result<Vec<Candidate>> {
        let links = self.dense.checked_links()?;
        let (options, visited) = (SearchOptions::new(ef), self.dense.visited());
        if let Some(codes) = codes {
            let mut scorer = ByCode { codes, scored: 0 };
            let found = graph::search(&links, &mut scorer, &options, visited, self.watch)?;
            self.scored += scorer.scored;
            return Ok(found);
        }
        let mut scorer = ByOriginal { exact: &self.exact, scored: 0, failed: None };
        let found = graph::search(&links, &mut scorer, &options, visited, self.watch)?;
        let ByOriginal { scored, failed, .. } = scorer;
        self.scored += scored;
        failed.map_or(Ok(found), Err)
    }

    /// The hits among `found`, which is sorted.
    fn finish(&mut self, codes: Option<&Codes<'_>>, found: Vec<Candidate>) -> Result<Vec<Hit>> {
        match codes {
            Some(codes) => self.rescore(Ascending::of_sorted(found), codes),
            None => self.hits(found.into_iter().take(self.k).collect()),
        }
    }

    /// The graph as it is expanded in memory. Its candidates come with distances by their full codes.
    pub(super) fn expanded(&mut self, hot: &Hot, bits: Option<&Bits>, ef: usize) -> Result<Vec<Hit>> {
        let codes = self.codes()?;
        let metric = self.dense.params().distance;
        let length = self.coded.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let prepared = (&codes.query, metric, length as f32);
        let pass = bits.map(|bits| move |ordinal: u32| bits.contains(ordinal));
        let allowed = pass.as_ref().map(|pass| pass as &dyn Fn(u32) -> bool);
        let walked = hot.search(prepared, &Options { ef, k: self.k, allowed }, self.watch)?;
        self.scored += walked.estimates + walked.hops;
        self.settle(walked.found)
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
