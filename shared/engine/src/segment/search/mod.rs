//! One query, one segment: which plan, and the plans.

mod bits;
pub(super) mod nearest;
mod outward;
mod plan;
pub(super) mod rescore;
mod scan;
mod walk;

use cairn_model::{Datatype, QuantizationSearch, SearchParams, Usage, VectorQuery};
use roaring::RoaringBitmap;

use self::plan::Plan;

use super::{
    Segment,
    vectors::{Exact, check, unit},
};
use crate::{Result, Watch, hot::Hot};

/// One hit inside a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row number.
    pub ordinal: u32,
    /// Internal distance, exact for the stored vector: smaller is nearer.
    pub distance: f32,
}

/// Which plan searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// The graph, without a filter.
    Graph,
    /// The graph, with a filter at the result pool.
    FilteredGraph,
    /// The graph as it is expanded in memory, with a filter or without.
    Hot,
    /// Allowed points of the nearest clusters, outward from the query.
    Clusters,
    /// The graph of the allowed points: through those that are not, to those beyond.
    TwoHop,
    /// All allowed points' codes, then rescoring.
    Scan,
    /// Exact distances to all allowed points.
    Exact,
    /// Nothing matched the filter.
    Nothing,
}

impl Strategy {
    /// All of them, for tables of counters.
    pub const ALL: [Self; 8] = [
        Self::Graph,
        Self::FilteredGraph,
        Self::Hot,
        Self::Clusters,
        Self::TwoHop,
        Self::Scan,
        Self::Exact,
        Self::Nothing,
    ];

    /// The name in telemetry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::FilteredGraph => "filtered_graph",
            Self::Hot => "hot",
            Self::Clusters => "clusters",
            Self::TwoHop => "two_hop",
            Self::Scan => "scan",
            Self::Exact => "exact",
            Self::Nothing => "nothing",
        }
    }
}

/// The answer of one segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Nearest first, ties by ordinal; at most `k`.
    pub hits: Vec<Hit>,
    /// The plan.
    pub strategy: Strategy,
    /// `vectors_scored` and `segments` are filled.
    pub usage: Usage,
}

impl Segment {
    /// The `query.k` nearest points that pass the filter and the score threshold.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a wrong dimension or a non-finite query, [`crate::Error::Corrupt`], [`crate::Error::Cancelled`].
    pub fn search(&self, query: &VectorQuery, watch: &dyn Watch) -> Result<Found> {
        self.search_in(query, (None, None), watch)
    }

    /// As [`Segment::search`], walking `hot`, which was expanded from this segment, where a walk without a plan for filters is called for.
    ///
    /// # Errors
    /// As [`Segment::search`].
    pub fn search_hot(&self, hot: &Hot, query: &VectorQuery, watch: &dyn Watch) -> Result<Found> {
        self.search_in(query, (Some(hot).filter(|hot| hot.len() == self.len()), None), watch)
    }

    /// As [`Segment::search`], by a plan that the caller chooses, for measurements and tests. A plan that does not fit
    /// the segment or the query is replaced by the nearest that does.
    ///
    /// # Errors
    /// As [`Segment::search`].
    pub fn search_by(&self, query: &VectorQuery, strategy: Option<Strategy>, watch: &dyn Watch) -> Result<Found> {
        self.search_in(query, (None, strategy), watch)
    }

    fn search_in(
        &self,
        query: &VectorQuery,
        (hot, strategy): (Option<&Hot>, Option<Strategy>),
        watch: &dyn Watch,
    ) -> Result<Found> {
        check(&query.vector, self.params().size as usize)?;
        let unit = unit(&query.vector, self.params().distance);
        let coded = unit.as_deref().unwrap_or(&query.vector);
        let allowed = self.allowed(query.filter.as_ref(), watch)?;
        // What all points pass is no filter.
        let allowed = allowed.filter(|allowed| allowed.len() < u64::from(self.len()));
        let mut search = Search {
            segment: self,
            exact: self.exact(&query.vector, coded)?,
            coded,
            k: query.k.clamp(1, self.len() as usize),
            quantization: query.params.quantization,
            hot,
            watch,
            scored: 0,
        };
        let (mut hits, strategy) = search.run(allowed.as_ref(), query.params, strategy)?;
        if let Some(threshold) = query.score_threshold {
            let metric = self.params().distance;
            hits.retain(|hit| metric.passes(metric.score(hit.distance), threshold));
        }
        let usage = Usage { vectors_scored: search.scored, segments: 1, ..Usage::default() };
        Ok(Found { hits, strategy, usage })
    }

    /// The internal distance of `query` and one row, exact for what is stored.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a wrong dimension or a non-finite query, [`crate::Error::Corrupt`].
    pub fn distance(&self, query: &[f32], ordinal: u32) -> Result<f32> {
        check(query, self.params().size as usize)?;
        let unit = unit(query, self.params().distance);
        self.exact(query, unit.as_deref().unwrap_or(query))?.distance(ordinal)
    }

    /// The best distances there are from a checked query, given as it came and normalised. Bytes are compared with bytes, so a uint8 query stays as it
    /// came: its cosine does not need a unit vector.
    fn exact<'a>(&'a self, query: &'a [f32], unit: &'a [f32]) -> Result<Exact<'a>> {
        match &self.codec {
            Some(codec) if !self.params().originals => Ok(Exact::Codes(codec.query(unit), self.records(codec)?)),
            _ => {
                let bytes = self.params().datatype == Datatype::Uint8;
                Ok(Exact::originals(self.originals()?, if bytes { query } else { unit }))
            }
        }
    }
}

/// One query on its way through one segment.
struct Search<'a> {
    segment: &'a Segment,
    exact: Exact<'a>,
    /// The query as the codec takes it.
    coded: &'a [f32],
    k: usize,
    quantization: QuantizationSearch,
    /// The graph expanded in memory.
    hot: Option<&'a Hot>,
    watch: &'a dyn Watch,
    scored: u64,
}

impl Search<'_> {
    fn run(
        &mut self,
        allowed: Option<&RoaringBitmap>,
        params: SearchParams,
        strategy: Option<Strategy>,
    ) -> Result<(Vec<Hit>, Strategy)> {
        let plan = self.plan(allowed, params, strategy)?;
        let mut strategy = plan.strategy();
        let hits = match (plan, self.hot) {
            (Plan::Nothing, _) => Vec::new(),
            (Plan::Exact, _) => self.exhaustive(allowed)?,
            (Plan::Scan, _) => self.scan(allowed)?,
            (Plan::Graph, Some(hot)) => {
                strategy = Strategy::Hot;
                self.expanded(hot, None, self.ef(params))?
            }
            (Plan::FilteredGraph { bits, ef }, Some(hot)) => {
                strategy = Strategy::Hot;
                let matching = allowed.map_or(1, RoaringBitmap::len);
                self.expanded(hot, Some(&bits), widened(ef, matching, self.segment.len()))?
            }
            (Plan::Graph, None) => self.graph(None, self.ef(params))?,
            (Plan::FilteredGraph { bits, ef }, None) => self.graph(Some(&bits), ef)?,
            (Plan::Clusters { bits, open }, _) => self.outward(&bits, open)?,
            (Plan::TwoHop { bits, open, ef }, _) => self.two_hop(&bits, open, ef)?,
        };
        Ok((hits, strategy))
    }
}

/// Candidates to keep so that about `ef` of them are allowed.
fn widened(ef: usize, matching: u64, points: u32) -> usize {
    let wide = (ef as u64).saturating_mul(u64::from(points)).div_ceil(matching.max(1));
    usize::try_from(wide).unwrap_or(usize::MAX)
}
