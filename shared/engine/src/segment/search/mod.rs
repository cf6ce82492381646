//! One query, one segment: which plan, and the plans.

mod allowed;
mod batch;
pub(super) mod bits;
pub(super) mod nearest;
pub(super) mod outward;
mod plan;
mod ranges;
pub(super) mod rescore;
mod scan;
mod walk;

use cairn_model::{Filter, QuantizationSearch, SearchParams, Usage, VectorQuery};
use roaring::RoaringBitmap;

pub(super) use self::allowed::Allowed;
use self::plan::Plan;
pub use self::ranges::Along;

use super::{
    Segment,
    dense::Dense,
    groups::Held,
    originals::Exact,
    places::Places,
    vectors::{check, unit},
};
use crate::{
    Result, Watch,
    hot::Hot,
    payload::{Doubt, View},
};

/// Rows in doubt that are read at once: about as many as a walk would keep.
const ROWS_READ: u64 = 1_024;

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
    /// All allowed points' codes, then rescoring.
    Scan,
    /// Exact distances to all allowed points.
    Exact,
    /// The codes of the clusters that probably hold the nearest points, of a segment that lies far away.
    Ranges,
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
        Self::Scan,
        Self::Exact,
        Self::Ranges,
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
            Self::Scan => "scan",
            Self::Exact => "exact",
            Self::Ranges => "ranges",
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

impl Found {
    /// Of a vector that no point of the segment has.
    fn nothing() -> Self {
        Self { hits: Vec::new(), strategy: Strategy::Nothing, usage: Usage { segments: 1, ..Usage::default() } }
    }
}

impl Segment {
    /// The `query.k` nearest points that have the vector `query.using` and pass the filter and the score threshold. None, where the segment holds no
    /// vector of this name: its points may lack any.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a vector that is not searched, a wrong dimension or a non-finite query, [`crate::Error::Corrupt`],
    /// [`crate::Error::Cancelled`].
    pub fn search(&self, query: &VectorQuery, watch: &dyn Watch) -> Result<Found> {
        self.search_in(query, (None, None), watch)
    }

    /// As [`Segment::search`], walking `hot`, which was expanded from this segment, where a walk of the first vector is called for.
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
        plan: (Option<&Hot>, Option<Strategy>),
        watch: &dyn Watch,
    ) -> Result<Found> {
        let Some(held) = self.held(&query.using)? else { return Ok(Found::nothing()) };
        let view = self.view()?;
        self.ask(&held, query, doubt(query.filter.as_ref(), &view, watch)?, plan, watch)
    }

    /// A query that shares its filter with no other: of the first vector, it need not be settled.
    fn ask(
        &self,
        held: &Held<'_>,
        query: &VectorQuery,
        doubt: Option<Doubt<'_>>,
        plan: (Option<&Hot>, Option<Strategy>),
        watch: &dyn Watch,
    ) -> Result<Found> {
        let filtered = match doubt {
            Some(doubt) if held.further.is_some() => Filtered::of_points(held, &doubt.settle()?)?,
            Some(doubt) => Filtered::Doubtful(Box::new(doubt)),
            None => Filtered::All,
        };
        self.answer(held, query, &filtered, plan, watch)
    }

    fn answer(
        &self,
        held: &Held<'_>,
        query: &VectorQuery,
        filtered: &Filtered<'_>,
        (hot, strategy): (Option<&Hot>, Option<Strategy>),
        watch: &dyn Watch,
    ) -> Result<Found> {
        let dense = held.dense;
        let params = dense.params();
        check(&query.vector, params.size as usize)?;
        let unit = unit(&query.vector, params.distance);
        let coded = unit.as_deref().unwrap_or(&query.vector);
        let mut search = Search {
            dense,
            places: held.further.map(|further| further.places),
            exact: dense.exact(&query.vector, coded)?,
            coded,
            k: query.k.clamp(1, dense.rows() as usize),
            quantization: query.params.quantization,
            hot: hot.filter(|hot| held.further.is_none() && hot.len() == dense.rows()),
            watch,
            scored: 0,
        };
        let (mut hits, strategy) = match filtered {
            Filtered::All => match self.living_rows(held)? {
                Some(living) => search.living(living, query.params, strategy)?,
                None => search.run(None, query.params, strategy)?,
            },
            Filtered::Settled(allowed) => search.run(allowed.as_ref(), query.params, strategy)?,
            Filtered::Doubtful(doubt) => search.doubtful(doubt, query.params, strategy)?,
        };
        if let Some(threshold) = query.score_threshold {
            hits.retain(|hit| params.distance.passes(params.distance.score(hit.distance), threshold));
        }
        let usage = Usage { vectors_scored: search.scored, segments: 1, ..Usage::default() };
        Ok(Found { hits, strategy, usage })
    }

    /// The internal distance of `query` and the first vector of one row, exact for what is stored.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a wrong dimension or a non-finite query, and where no dense vector is had by all points; [`crate::Error::Corrupt`].
    pub fn distance(&self, query: &[f32], ordinal: u32) -> Result<f32> {
        let first = self.must_first()?;
        check(query, first.params().size as usize)?;
        let unit = unit(query, first.params().distance);
        first.exact(query, unit.as_deref().unwrap_or(query))?.distance(ordinal)
    }
}

/// A filter's answer, as far as it is known when a search begins.
enum Filtered<'a> {
    /// There is no filter.
    All,
    /// The vector's rows; `None` where all pass.
    Settled(Option<Allowed>),
    /// Not asked yet of the rows of payload; of the first vector alone.
    Doubtful(Box<Doubt<'a>>),
}

impl Filtered<'_> {
    /// What of a vector's rows a filter lets pass, which was settled for all points.
    fn of_points(held: &Held<'_>, points: &RoaringBitmap) -> Result<Self> {
        let rows = match &held.further {
            None => points.clone(),
            Some(further) => further.places.rows_of(points)?,
        };
        Ok(Self::Settled(Allowed::new(rows, held.dense.rows())))
    }
}

/// What the indexes know about a filter, if there is one.
fn doubt<'a>(filter: Option<&'a Filter>, view: &View<'a>, watch: &'a dyn Watch) -> Result<Option<Doubt<'a>>> {
    filter.filter(|filter| !filter.is_empty()).map(|filter| Doubt::new(filter, view, watch)).transpose()
}

/// One query on its way through the rows of one vector.
struct Search<'a> {
    dense: Dense<'a>,
    /// Of which points the rows are; `None` where they are ordinals.
    places: Option<Places<'a>>,
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
    /// Rows are read only where a walk that reads few of them will not do.
    fn doubtful(
        &mut self,
        doubt: &Doubt<'_>,
        params: SearchParams,
        strategy: Option<Strategy>,
    ) -> Result<(Vec<Hit>, Strategy)> {
        if doubt.rows() > ROWS_READ
            && strategy.is_none()
            && !params.exact
            && let Some(hits) = self.doubtful_graph(doubt, params)?
        {
            return Ok((hits, Strategy::FilteredGraph));
        }
        let points = self.dense.rows();
        let allowed = match doubt.few() {
            Some(few) => Allowed::of_few(few, points),
            None => Allowed::new(doubt.settle()?, points),
        };
        self.run(allowed.as_ref(), params, strategy)
    }

    /// Without a filter, of a segment that has dead points. While they are few, a walk goes on as if there were none, a little wider,
    /// and they are dropped at its end: to plan for them as for a filter would cost more than they do.
    fn living(
        &mut self,
        living: &Allowed,
        params: SearchParams,
        strategy: Option<Strategy>,
    ) -> Result<(Vec<Hit>, Strategy)> {
        let Some(ef) = self.living_ef(living.len(), params, strategy) else {
            return self.run(Some(living), params, strategy);
        };
        let (walked, strategy) = match self.hot {
            Some(hot) => {
                let hits = self.expanded(hot, Some(living.bits()), ef)?;
                ((hits.len() >= self.k).then_some(hits), Strategy::Hot)
            }
            None => (self.filtered_graph(living.bits(), ef)?, Strategy::Graph),
        };
        match walked {
            Some(hits) => Ok((hits, strategy)),
            // All around the query is dead.
            None => self.matches_alone(Some(living)),
        }
    }

    fn run(
        &mut self,
        allowed: Option<&Allowed>,
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
            (Plan::Graph, None) => self.graph(self.ef(params))?,
            (Plan::FilteredGraph { ef }, hot) => {
                let walked = match (hot, allowed) {
                    (_, None) => Some(self.graph(ef)?),
                    (Some(hot), Some(allowed)) => {
                        strategy = Strategy::Hot;
                        let share = plan::share(allowed.len(), self.dense.rows());
                        let hits = self.expanded(hot, Some(allowed.bits()), self.hot_ef(params, ef, share))?;
                        (hits.len() >= self.k).then_some(hits)
                    }
                    (None, Some(allowed)) => self.filtered_graph(allowed.bits(), ef)?,
                };
                match walked {
                    Some(hits) => hits,
                    None => return self.matches_alone(allowed),
                }
            }
            (Plan::Clusters { open }, _) => match allowed {
                Some(allowed) => self.outward(allowed.bits(), open)?,
                None => self.scan(None)?,
            },
        };
        Ok((hits, strategy))
    }

    /// For filters that leave less around the query than was thought: outward by cluster, or all of them.
    fn matches_alone(&mut self, allowed: Option<&Allowed>) -> Result<(Vec<Hit>, Strategy)> {
        match (self.dense.ranking(), allowed) {
            (Some(ranking), Some(allowed)) => {
                let open = outward::open(allowed.bits(), ranking, self.coded);
                Ok((self.outward(allowed.bits(), open)?, Strategy::Clusters))
            }
            _ if self.dense.codec().is_some() => Ok((self.scan(allowed)?, Strategy::Scan)),
            _ => Ok((self.exhaustive(allowed)?, Strategy::Exact)),
        }
    }
}
