//! One query, one segment: which plan, and the plans.

use cairn_model::{Datatype, SearchParams, Usage, VectorQuery};
use roaring::RoaringBitmap;

use super::{
    SectionKind, Segment,
    vectors::{Exact, check, unit},
};
use crate::{
    Error, Result, Watch,
    codec::{Codec, Query},
    graph::{self, Scorer, SearchOptions},
};

/// `ef` where neither the request nor `k` asks for more.
pub(super) const EF_DEFAULT: usize = 256;
/// Up to so many allowed points an exact scan costs less than scoring codes first.
const EXACT_POINTS_MAX: u64 = 256;
/// Candidates per hit that a walk or scan over codes keeps at least: the true nearest are practically always among twice
/// as many by high nibble, and often not among just as many.
const COARSE_PER_HIT: usize = 2;
/// Candidates per hit that are scored by the full code, and the least of them.
const FINE_PER_HIT: usize = 4;
const FINE_MIN: usize = 48;
/// Candidates per hit that are scored by the original vector, and the least of them.
pub(super) const EXACT_PER_HIT: usize = 2;
pub(super) const EXACT_MIN: usize = 24;
/// Points between two looks at the watch.
const WATCH_EVERY: usize = 2_048;

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
    /// The graph expanded in memory, with or without a filter.
    Hot,
    /// All allowed points' codes, then rescoring.
    Scan,
    /// Exact distances to all allowed points.
    Exact,
    /// Nothing matched the filter.
    Nothing,
}

impl Strategy {
    /// All of them, for tables of counters.
    pub const ALL: [Self; 6] = [Self::Graph, Self::FilteredGraph, Self::Hot, Self::Scan, Self::Exact, Self::Nothing];

    /// The name in telemetry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::FilteredGraph => "filtered_graph",
            Self::Hot => "hot",
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
    /// [`Error::Invalid`] for a wrong dimension or a non-finite query, [`Error::Corrupt`], [`Error::Cancelled`].
    pub fn search(&self, query: &VectorQuery, watch: &dyn Watch) -> Result<Found> {
        let exact = self.exact(&query.vector)?;
        let unit = unit(&query.vector, self.params().distance);
        let allowed = self.allowed(query.filter.as_ref(), watch)?;
        let strategy = self.plan(allowed.as_ref(), query.params);
        let mut search = Search {
            segment: self,
            exact,
            coded: unit.as_ref().unwrap_or(&query.vector),
            k: query.k.clamp(1, self.len() as usize),
            watch,
            scored: 0,
        };
        let mut hits = match strategy {
            Strategy::Nothing => Vec::new(),
            Strategy::Exact => search.exhaustive(allowed.as_ref())?,
            Strategy::Scan => search.scan(allowed.as_ref(), query.params)?,
            Strategy::Graph | Strategy::FilteredGraph | Strategy::Hot => {
                search.graph(allowed.as_ref(), query.params)?
            }
        };
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
    /// [`Error::Invalid`] for a wrong dimension or a non-finite query, [`Error::Corrupt`].
    pub fn distance(&self, query: &[f32], ordinal: u32) -> Result<f32> {
        self.exact(query)?.distance(ordinal)
    }

    /// Exact distances from `query`, normalised where the metric wants that. Bytes are compared with bytes, so a
    /// uint8 query stays as it came: its cosine does not need a unit vector.
    pub(super) fn exact(&self, query: &[f32]) -> Result<Exact<'_>> {
        check(query, self.params().size as usize)?;
        let bytes = self.params().datatype == Datatype::Uint8;
        let unit = if bytes { None } else { unit(query, self.params().distance) };
        Ok(Exact::new(self.originals()?, unit.as_deref().unwrap_or(query)))
    }

    /// Exact when asked for or when there is little to do; a scan below Qdrant's `full_scan_threshold` (kilobytes
    /// of f32 vectors); the graph otherwise.
    pub(super) fn plan(&self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Strategy {
        let matching = allowed.map_or(u64::from(self.len()), RoaringBitmap::len);
        let kilobytes = matching * u64::from(self.params().size) * 4 / 1_024;
        let few = kilobytes <= u64::from(self.params().hnsw.full_scan_threshold);
        match (matching, self.codec.is_some()) {
            (0, _) => Strategy::Nothing,
            _ if params.exact || matching <= EXACT_POINTS_MAX => Strategy::Exact,
            (_, true) if few => Strategy::Scan,
            (_, false) if few => Strategy::Exact,
            _ if allowed.is_some() => Strategy::FilteredGraph,
            _ => Strategy::Graph,
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
    watch: &'a dyn Watch,
    scored: u64,
}

/// Distance, then ordinal.
type Candidate = (f32, u32);

fn nearer(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

impl<'a> Search<'a> {
    /// Exact distances to all allowed points.
    fn exhaustive(&mut self, allowed: Option<&RoaringBitmap>) -> Result<Vec<Hit>> {
        let mut nearest = Nearest::new(self.k);
        self.each(allowed, |search, ordinal| {
            nearest.offer((search.exact.distance(ordinal)?, ordinal));
            Ok(())
        })?;
        Ok(hits(nearest.sorted()))
    }

    /// Coarse distances to all allowed points, then rescoring.
    fn scan(&mut self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Result<Vec<Hit>> {
        let codes = self.codes()?;
        let mut nearest = Nearest::new(self.ef(params));
        self.each(allowed, |_, ordinal| {
            nearest.offer((codes.query.coarse(codes.high(ordinal)), ordinal));
            Ok(())
        })?;
        self.rescore(nearest.sorted(), &codes)
    }

    /// HNSW over coarse codes, or over originals where there are no codes.
    fn graph(&mut self, allowed: Option<&RoaringBitmap>, params: SearchParams) -> Result<Vec<Hit>> {
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

    /// The best candidates by full code, the best of those by original vector.
    fn rescore(&mut self, mut found: Vec<Candidate>, codes: &Codes<'_>) -> Result<Vec<Hit>> {
        found.truncate((self.k * FINE_PER_HIT).max(FINE_MIN));
        for &(_, ordinal) in &found {
            crate::kernel::prefetch(codes.low(ordinal));
        }
        for candidate in &mut found {
            candidate.0 = codes.query.fine(codes.high(candidate.1), codes.low(candidate.1));
        }
        self.scored += found.len() as u64;
        found.sort_unstable_by(nearer);
        found.truncate((self.k * EXACT_PER_HIT).max(EXACT_MIN));
        for &(_, ordinal) in &found {
            self.exact.prefetch(ordinal);
        }
        for candidate in &mut found {
            candidate.0 = self.exact.distance(candidate.1)?;
        }
        self.scored += found.len() as u64;
        found.sort_unstable_by(nearer);
        found.truncate(self.k);
        Ok(hits(found))
    }

    /// Calls `score` for every allowed ordinal, in order.
    fn each(&mut self, allowed: Option<&RoaringBitmap>, mut score: impl FnMut(&Self, u32) -> Result<()>) -> Result<()> {
        let points = self.segment.len();
        let all = allowed.is_none().then_some(0..points).into_iter().flatten();
        let some = allowed.into_iter().flatten().take_while(|&ordinal| ordinal < points);
        let mut count = 0;
        for ordinal in all.chain(some) {
            if count % WATCH_EVERY == 0 && self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            count += 1;
            score(self, ordinal)?;
        }
        self.scored += count as u64;
        Ok(())
    }

    /// Candidates to keep: what was asked for, but never fewer than the hits need.
    fn ef(&self, params: SearchParams) -> usize {
        let built = self.segment.params().hnsw.ef_construct as usize;
        let asked = params.ef.map_or(EF_DEFAULT.max(built), |ef| ef as usize);
        let needed = if self.segment.codec.is_some() { self.k * COARSE_PER_HIT } else { self.k };
        asked.max(needed).min(self.segment.len() as usize)
    }

    fn codes(&self) -> Result<Codes<'a>> {
        let dim = self.segment.params().size as usize;
        let Some(codec) = &self.segment.codec else {
            return Err(Error::corrupt("head", 6, "a segment without codes was to be scored by codes"));
        };
        Ok(Codes {
            query: codec.query(self.coded),
            high: self.segment.bytes(SectionKind::CodesHigh)?,
            low: self.segment.bytes(SectionKind::CodesLow)?,
            high_bytes: Codec::high_bytes(dim),
            low_bytes: Codec::low_bytes(dim),
        })
    }
}

fn hits(candidates: Vec<Candidate>) -> Vec<Hit> {
    candidates.into_iter().map(|(distance, ordinal)| Hit { ordinal, distance }).collect()
}

/// A prepared query and the codes that it scores.
struct Codes<'a> {
    query: Query,
    high: &'a [u8],
    low: &'a [u8],
    high_bytes: usize,
    low_bytes: usize,
}

impl<'a> Codes<'a> {
    fn high(&self, ordinal: u32) -> &'a [u8] {
        let at = ordinal as usize * self.high_bytes;
        self.high.get(at..at + self.high_bytes).unwrap_or(&[])
    }

    fn low(&self, ordinal: u32) -> &'a [u8] {
        let at = ordinal as usize * self.low_bytes;
        self.low.get(at..at + self.low_bytes).unwrap_or(&[])
    }
}

struct ByCode<'a> {
    codes: &'a Codes<'a>,
    scored: u64,
}

impl Scorer for ByCode<'_> {
    fn score(&mut self, ordinals: &[u32], out: &mut [f32]) {
        for (&ordinal, out) in ordinals.iter().zip(out) {
            *out = self.codes.query.coarse(self.codes.high(ordinal));
        }
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

/// The nearest candidates of a stream: a bounded binary heap, the worst on top.
struct Nearest {
    heap: std::collections::BinaryHeap<Worst>,
    size: usize,
}

struct Worst(Candidate);

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Worst {}
impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Worst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        nearer(&self.0, &other.0)
    }
}

impl Nearest {
    fn new(size: usize) -> Self {
        Self { heap: std::collections::BinaryHeap::with_capacity(size.min(65_536)), size }
    }

    fn offer(&mut self, candidate: Candidate) {
        if self.heap.len() < self.size {
            self.heap.push(Worst(candidate));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && nearer(&candidate, &worst.0).is_lt()
        {
            *worst = Worst(candidate);
        }
    }

    fn sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
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
