//! The plan for a segment that lies far away: few byte ranges, in few rounds.
//!
//! A graph cannot be walked over a network, where each step would wait for the one before. Clusters can be read: the head says which
//! probably hold the nearest points, their codes come in one round, and what settles the order of the best in another.
//! The search is a function of the bytes at hand: whatever it lacks it names in [`Error::Absent`], all at once, and whoever brings that
//! calls again. So nothing is kept between rounds, and a reader that has some of the bytes already needs fewer of them.

use std::{borrow::Cow, ops::Range};

use cairn_model::{Datatype, Filter, Usage, VectorQuery};
use roaring::RoaringBitmap;

use super::{
    Found, Hit, Strategy,
    bits::Bits,
    nearest::{Candidate, Nearest, nearer},
    rescore::hits,
};
use crate::{
    Error, Result, Watch,
    codec::{Codec, HighRecords},
    payload,
    segment::{
        Segment, calibration,
        layout::SectionKind,
        originals::Exact,
        ranking::{Ranking, Reach, expected},
        vectors::{check, unit},
    },
    source::Region,
};

/// The recall@k that is aimed at where the request does not say, as far as it costs no more than that: a cluster is read that is expected
/// to have so much of the nearest ten points, and none that is expected to have less than the other.
const RECALL: f32 = 0.95;
const EXPECTED: (f32, f32) = (0.025, 0.1);
/// Clusters of which shares are computed: the most promising.
const RANKED_MAX: usize = 2_048;
/// In which order: by their mean less so many units. Near points lie that far out in wide clusters.
const OPTIMISM: f32 = 0.5;
/// Bytes of codes that a search reads at most which does not say what recall it wants: some tens of milliseconds in a small function.
const CODES_BYTES: u64 = 4 << 20;
/// Places of the file that it reads codes of at most: each is a request, and of many requests in parallel one is always slow.
const RUNS_MAX: usize = 16;
/// Clusters are at one place if no more than so many points are between them: less than is read along to save a request.
const TOGETHER: u32 = 256;
/// Points whose codes are read at most; a search that would read more is better served by the whole segment.
const POINTS_MAX: u64 = 1 << 20;
/// So few matching points are settled without their codes.
const FEW: u64 = 32;
/// Candidates that are settled: per hit, and beyond.
const SETTLED_PER_HIT: usize = 2;
const SETTLED_MORE: usize = 4;

/// What is wanted of the hits besides their ids: brought in the same round as what settles their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Along {
    /// Their payload.
    pub payload: bool,
}

/// A cluster, or the part of it from its first matching point to its last.
struct Near {
    ordinals: Range<u32>,
    /// Matching points.
    matches: u32,
    reach: Reach,
}

/// Bytes that are not at hand.
#[derive(Default)]
struct Missing(Vec<Range<u64>>);

impl Missing {
    fn need(&mut self, region: Region<'_>) {
        if !region.is_at_hand() {
            self.0.push(region.file_range());
        }
    }

    fn none(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Absent(self.0)) }
    }
}

impl Segment {
    /// As [`Segment::search`], by the codes of the clusters that probably hold the nearest points; made for a source that has only some of
    /// the bytes. With the head at hand it asks for bytes twice at most, three times with a filter whose fields are not at hand.
    ///
    /// What `query.params` says of recall decides how many clusters are read; `exact` reads everything, `ef` means nothing here.
    ///
    /// # Errors
    /// [`Error::Absent`] names what to bring; otherwise as [`Segment::search`].
    pub fn search_ranges(&self, query: &VectorQuery, along: Along, watch: &dyn Watch) -> Result<Found> {
        check(&query.vector, self.params().size as usize)?;
        let allowed = self.allowed_at_once(query.filter.as_ref(), watch)?;
        let matching = allowed.as_ref().map_or(u64::from(self.len()), |allowed| allowed.len());
        let unit = unit(&query.vector, self.params().distance);
        let search = Ranged { segment: self, query, coded: unit.as_deref().unwrap_or(&query.vector), along, watch };
        let (mut found, strategy, scored) = if matching == 0 {
            (Vec::new(), Strategy::Nothing, 0)
        } else if query.params.exact {
            search.whole(Strategy::Exact)?
        } else {
            search.run(allowed.as_deref(), matching)?
        };
        if let Some(threshold) = query.score_threshold {
            let metric = self.params().distance;
            found.retain(|hit| metric.passes(metric.score(hit.distance), threshold));
        }
        Ok(Found { hits: found, strategy, usage: Usage { vectors_scored: scored, segments: 1, ..Usage::default() } })
    }

    /// As `allowed`, naming all that it lacks at once. What all points pass is no filter.
    fn allowed_at_once(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<Option<Cow<'_, RoaringBitmap>>> {
        if let Some(filter) = filter.filter(|filter| !filter.is_empty()) {
            let mut regions = Vec::new();
            payload::regions(filter, &self.fields()?, &self.ids()?, &mut regions)?;
            let mut missing = Missing::default();
            regions.into_iter().for_each(|region| missing.need(region));
            if let Err(Error::Absent(table)) = self.rows() {
                missing.0.extend(table);
            }
            missing.none()?;
        }
        let allowed = self.allowed(filter, watch)?;
        Ok(allowed.filter(|allowed| allowed.len() < u64::from(self.len())))
    }
}

/// One query over the ranges of one segment.
struct Ranged<'a> {
    segment: &'a Segment,
    query: &'a VectorQuery,
    /// The query as the codec takes it.
    coded: &'a [f32],
    along: Along,
    watch: &'a dyn Watch,
}

impl Ranged<'_> {
    fn run(&self, allowed: Option<&RoaringBitmap>, matching: u64) -> Result<(Vec<Hit>, Strategy, u64)> {
        let segment = self.segment;
        let settled = self.query.k.saturating_mul(SETTLED_PER_HIT).saturating_add(SETTLED_MORE);
        let (candidates, scored) = match (&segment.codec, segment.ranking(), allowed) {
            (_, _, Some(allowed)) if matching <= FEW.max(settled as u64) => {
                (allowed.iter().map(|ordinal| (0.0, ordinal)).collect(), 0)
            }
            (Some(codec), Some(ranking), _) => self.coarse(codec, ranking, allowed, settled)?,
            // Without codes or centroids there is no part to prefer.
            (Some(_), None, _) => return self.whole(Strategy::Scan),
            (None, _, _) => return self.whole(Strategy::Exact),
        };
        let count = candidates.len() as u64;
        Ok((self.settle(candidates)?, Strategy::Ranges, scored + count))
    }

    /// Another plan, over all that it reads.
    fn whole(&self, strategy: Strategy) -> Result<(Vec<Hit>, Strategy, u64)> {
        let segment = self.segment;
        let mut missing = Missing::default();
        if strategy == Strategy::Scan || !segment.params().originals {
            missing.need(segment.region(SectionKind::CodesHigh)?);
            missing.need(segment.region(SectionKind::CodesLow)?);
        }
        if segment.params().originals {
            missing.need(segment.region(SectionKind::Vectors)?);
        }
        missing.none()?;
        let mut query = self.query.clone();
        query.score_threshold = None;
        let found = segment.search_by(&query, Some(strategy), self.watch)?;
        let mut missing = Missing::default();
        found.hits.iter().try_for_each(|hit| self.shown(hit.ordinal, &mut missing))?;
        missing.none()?;
        Ok((found.hits, found.strategy, found.usage.vectors_scored))
    }

    /// What showing a row takes.
    fn shown(&self, ordinal: u32, missing: &mut Missing) -> Result<()> {
        missing.need(self.segment.id_region(ordinal)?);
        if self.along.payload {
            match self.segment.rows() {
                Ok(rows) => missing.need(rows.stored(ordinal)?),
                // Its table is too large to be part of the head.
                Err(Error::Absent(table)) => missing.0.extend(table),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The best candidates by the high nibbles of the clusters that matter.
    fn coarse(
        &self,
        codec: &Codec,
        ranking: &Ranking,
        allowed: Option<&RoaringBitmap>,
        size: usize,
    ) -> Result<(Vec<Candidate>, u64)> {
        let bits = allowed.map(|allowed| Bits::new(allowed, self.segment.len()));
        let (k, reading) = (self.query.k, self.segment.reading());
        let (least, points_max, runs_max) = match self.query.params.recall {
            Some(recall) => (reading.least(recall), POINTS_MAX, usize::MAX),
            None => {
                let points_max = (CODES_BYTES / (codec.high_bytes() as u64).max(1)).min(POINTS_MAX);
                (reading.least(RECALL).clamp(EXPECTED.0, EXPECTED.1), points_max, RUNS_MAX)
            }
        };
        // Each of more neighbours counts for less.
        #[expect(clippy::cast_precision_loss, reason = "a limit of a request")]
        let least = least * k.max(1) as f32 / calibration::K as f32;
        let budget = Budget { deviation: reading.deviation(), least, points_max, runs_max };
        let near = chosen(self.near(bits.as_ref(), ranking), k, budget);
        let section = self.segment.region(SectionKind::CodesHigh)?;
        let record_bytes = codec.high_bytes() as u64;
        let part = |near: &Near| {
            let Range { start, end } = near.ordinals;
            section.part(u64::from(start) * record_bytes, u64::from(end - start) * record_bytes)
        };
        let parts: Vec<Region<'_>> = near.iter().map(part).collect::<Result<_>>()?;
        let mut missing = Missing::default();
        parts.iter().for_each(|part| missing.need(*part));
        // Where the blocks of payload are: known only now, it would cost a round more.
        if self.along.payload
            && let Err(Error::Absent(table)) = self.segment.rows()
        {
            missing.0.extend(table);
        }
        missing.none()?;
        let query = codec.query(self.coded);
        let (mut nearest, mut scored) = (Nearest::new(size), 0);
        let (mut ordinals, mut distances) = (Vec::new(), Vec::new());
        for (near, part) in near.iter().zip(parts) {
            if self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let first = near.ordinals.start;
            ordinals.clear();
            match &bits {
                Some(bits) => bits.each(near.ordinals.clone(), |ordinal| ordinals.push(ordinal - first)),
                None => ordinals.extend(0..near.ordinals.end - first),
            }
            distances.clear();
            distances.resize(ordinals.len(), 0.0);
            query.coarse_all(&HighRecords::new(part.all()?, codec.high_bytes()), &ordinals, &mut distances);
            ordinals.iter().zip(&distances).for_each(|(at, distance)| nearest.offer((*distance, first + at)));
            scored += ordinals.len() as u64;
        }
        Ok((nearest.sorted(), scored))
    }

    /// All clusters with matching points, the most promising first.
    fn near(&self, bits: Option<&Bits>, ranking: &Ranking) -> Vec<Near> {
        let near = |(cluster, reach): (usize, Reach)| {
            let ordinals = ranking.ordinals(cluster);
            match bits {
                None => Some(Near { matches: ordinals.end - ordinals.start, ordinals, reach }),
                Some(bits) => {
                    let mut ends: Option<(u32, u32)> = None;
                    let mut matches = 0;
                    bits.each(ordinals, |ordinal| {
                        ends = Some((ends.map_or(ordinal, |(first, _)| first), ordinal));
                        matches += 1;
                    });
                    ends.map(|(first, last)| Near { ordinals: first..last + 1, matches, reach })
                }
            }
        };
        let mut near: Vec<Near> = (0..).zip(ranking.reaches(self.coded)).filter_map(near).collect();
        let key = |near: &Near| near.reach.mean - OPTIMISM * near.reach.unit;
        let order = |a: &Near, b: &Near| key(a).total_cmp(&key(b)).then(a.ordinals.start.cmp(&b.ordinals.start));
        if near.len() > RANKED_MAX {
            near.select_nth_unstable_by(RANKED_MAX, order);
            near.truncate(RANKED_MAX);
        }
        near.sort_unstable_by(order);
        near
    }

    /// The order of the candidates by the best that there is, and their first `k`.
    fn settle(&self, candidates: Vec<Candidate>) -> Result<Vec<Hit>> {
        let segment = self.segment;
        let mut missing = Missing::default();
        for &(_, ordinal) in &candidates {
            self.shown(ordinal, &mut missing)?;
        }
        let mut settled = match &segment.codec {
            Some(codec) if !segment.params().originals => {
                let high = segment.region(SectionKind::CodesHigh)?;
                let low = segment.region(SectionKind::CodesLow)?;
                let places: Vec<(u32, Region<'_>, Region<'_>)> = candidates
                    .iter()
                    .map(|&(_, ordinal)| {
                        let (high_bytes, low_bytes) = (codec.high_bytes() as u64, codec.low_bytes() as u64);
                        let high = high.part(u64::from(ordinal) * high_bytes, high_bytes)?;
                        let low = low.part(u64::from(ordinal) * low_bytes, low_bytes)?;
                        missing.need(high);
                        missing.need(low);
                        Ok((ordinal, high, low))
                    })
                    .collect::<Result<_>>()?;
                missing.none()?;
                let query = codec.query(self.coded);
                let fine = |(ordinal, high, low): (u32, Region<'_>, Region<'_>)| {
                    Ok((query.fine(high.all()?, low.all()?), ordinal))
                };
                places.into_iter().map(fine).collect::<Result<Vec<Candidate>>>()?
            }
            _ => {
                let section = segment.region(SectionKind::Vectors)?;
                let params = segment.params();
                let row_bytes = u64::from(params.size) * params.datatype.bytes() as u64;
                for &(_, ordinal) in &candidates {
                    missing.need(section.part(u64::from(ordinal) * row_bytes, row_bytes)?);
                }
                missing.none()?;
                // Bytes are compared with bytes: a uint8 query stays as it came.
                let asked = if params.datatype == Datatype::Uint8 { &*self.query.vector } else { self.coded };
                let exact = Exact::originals(segment.originals()?, asked);
                let one = |(_, ordinal): Candidate| Ok((exact.distance(ordinal)?, ordinal));
                candidates.into_iter().map(one).collect::<Result<Vec<Candidate>>>()?
            }
        };
        settled.sort_unstable_by(nearer);
        settled.truncate(self.query.k.max(1));
        Ok(hits(settled))
    }
}

/// Which clusters are worth reading, and how much may be read.
#[derive(Clone, Copy)]
struct Budget {
    /// How far distances deviate from the mean of a cluster, in units of its reach.
    deviation: f32,
    /// How many of the `k` nearest points have to be expected in a cluster.
    least: f32,
    points_max: u64,
    /// Runs of clusters that lie together: each is a request.
    runs_max: usize,
}

/// The clusters to read, of those that `near` has, in its order: by descending number of the `k` nearest points that are expected in them, the
/// best of them in any case.
fn chosen(near: Vec<Near>, k: usize, budget: Budget) -> Vec<Near> {
    let clusters: Vec<(u32, Reach)> = near.iter().map(|near| (near.matches, near.reach)).collect();
    let expected = expected(&clusters, k, budget.deviation);
    let mut order: Vec<usize> = (0..near.len()).collect();
    order.sort_unstable_by(|&a, &b| expected[b].total_cmp(&expected[a]).then(a.cmp(&b)));
    order.truncate(order.partition_point(|&at| expected[at] >= budget.least).max(1));
    let (mut points, mut runs) = (0, 0);
    let mut kept: Vec<&Range<u32>> = Vec::new();
    let mut keep = vec![false; near.len()];
    for at in order {
        let ordinals = &near[at].ordinals;
        let beside = |other: &&Range<u32>| {
            ordinals.start.saturating_sub(other.end) <= TOGETHER && other.start.saturating_sub(ordinals.end) <= TOGETHER
        };
        let alone = !kept.iter().any(beside);
        let more = points + u64::from(ordinals.end - ordinals.start);
        if !kept.is_empty() && (more > budget.points_max || (alone && runs >= budget.runs_max)) {
            continue;
        }
        points = more;
        runs += usize::from(alone);
        kept.push(ordinals);
        keep[at] = true;
    }
    near.into_iter().zip(keep).filter_map(|(near, keep)| keep.then_some(near)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cairn_model::{Distance, HnswConfig, Payload, PointId, SearchParams, VectorParams};
    use serde_json::json;

    use super::*;
    use crate::{Unwatched, seed::SplitMix64, segment::Builder, source::Source};

    const POINTS: usize = 3_000;
    const DIM: usize = 64;

    /// A file of which some ranges are at hand; what is not is never handed out.
    #[derive(Clone)]
    struct Sparse {
        file: Arc<Vec<u8>>,
        at_hand: Vec<Range<u64>>,
    }

    impl Source for Sparse {
        fn len(&self) -> u64 {
            self.file.len() as u64
        }

        fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
            let end = offset.checked_add(len)?;
            let covers = |range: &Range<u64>| range.start <= offset && end <= range.end;
            if !self.at_hand.iter().any(covers) {
                return None;
            }
            self.file.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
        }
    }

    fn values(random: &mut SplitMix64, centre: usize) -> Vec<f32> {
        (0..DIM).map(|d| ((centre * 31 + d * 17) % 23) as f32 / 10.0 + random.unit() as f32 * 2.0).collect()
    }

    fn file(params: VectorParams, id: impl Fn(usize) -> PointId) -> Vec<u8> {
        let mut random = SplitMix64::new(5);
        let mut builder = Builder::new("", params, 42);
        for i in 0..POINTS {
            let vector = values(&mut random, i % 40);
            let vector: Vec<f32> = if params.datatype == Datatype::Uint8 {
                vector.iter().map(|x| (x * 40.0).round()).collect()
            } else {
                vector
            };
            let payload: Payload = json!({ "centre": i % 40, "even": i % 2 == 0, "text": "x".repeat(i % 300) })
                .as_object()
                .unwrap()
                .clone();
            builder.push(id(i), &vector, Some(&payload)).unwrap();
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let mut bytes = Vec::new();
        builder.write(&pool, &Unwatched, &mut bytes).unwrap();
        bytes
    }

    fn params(distance: Distance) -> VectorParams {
        let hnsw = HnswConfig { full_scan_threshold: 1, ..HnswConfig::default() };
        VectorParams { hnsw, ..VectorParams::new(DIM as u32, distance) }
    }

    fn asked(seed: u64, filter: Option<Filter>) -> VectorQuery {
        let mut random = SplitMix64::new(seed);
        let vector = values(&mut random, seed as usize % 40);
        VectorQuery {
            using: String::new(),
            vector,
            filter,
            k: 10,
            params: SearchParams::default(),
            score_threshold: None,
        }
    }

    /// Searches from the head on, bringing what is missing; the answer, the rounds and the bytes.
    fn far(file: &Arc<Vec<u8>>, query: &VectorQuery, along: Along) -> (Found, usize, u64) {
        let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
        let mut source = Sparse { file: Arc::clone(file), at_hand: whole.head().unwrap().ranges };
        let segment = Segment::open(Arc::new(source.clone())).unwrap();
        let (mut rounds, mut bytes) = (0, 0);
        loop {
            let here = segment.over(Arc::new(source.clone()));
            let found = here.search_ranges(query, along, &Unwatched).and_then(|found| {
                // What is shown of the hits needs nothing more.
                for hit in &found.hits {
                    here.id(hit.ordinal)?;
                    if along.payload {
                        here.payload(hit.ordinal)?;
                    }
                }
                Ok(found)
            });
            match found {
                Ok(found) => return (found, rounds, bytes),
                Err(Error::Absent(ranges)) => {
                    rounds += 1;
                    assert!(rounds < 9, "no end: {ranges:?}");
                    bytes += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
                    source.at_hand.extend(ranges);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn recall(segment: &Segment, query: &VectorQuery, found: &Found) -> f64 {
        let truth = segment.search_by(query, Some(Strategy::Exact), &Unwatched).unwrap();
        let Some(last) = truth.hits.last() else { return 1.0 };
        let bound = last.distance + 1e-4 * last.distance.abs();
        let near = found.hits.iter().filter(|hit| hit.distance <= bound).count();
        near as f64 / truth.hits.len() as f64
    }

    #[test]
    fn two_rounds_find_nearly_all_and_read_a_part() {
        let uuid = |i: usize| PointId::Uuid(uuid::Uuid::from_u128((i as u128 * 7_919) << 64));
        let sparse = |i: usize| PointId::Num((i * i) as u64);
        let cases: [(VectorParams, &dyn Fn(usize) -> PointId); 5] = [
            (params(Distance::Cosine), &|i| PointId::Num(i as u64)),
            (params(Distance::Euclid), &uuid),
            (VectorParams { originals: false, ..params(Distance::Cosine) }, &sparse),
            (VectorParams { datatype: Datatype::Float16, ..params(Distance::Dot) }, &uuid),
            (VectorParams { datatype: Datatype::Uint8, ..params(Distance::Euclid) }, &sparse),
        ];
        for (params, id) in cases {
            let file = Arc::new(file(params, id));
            let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
            let (mut sum, mut read) = (0.0, 0);
            for seed in 0..20 {
                let mut query = asked(seed, None);
                if params.datatype == Datatype::Uint8 {
                    query.vector.iter_mut().for_each(|x| *x *= 40.0);
                }
                for payload in [false, true] {
                    let (found, rounds, bytes) = far(&file, &query, Along { payload });
                    assert_eq!((rounds, found.hits.len(), found.strategy), (2, 10, Strategy::Ranges), "{params:?}");
                    // The answer is a function of what is asked for, not of what happens to be at hand.
                    assert_eq!(whole.search_ranges(&query, Along { payload }, &Unwatched).unwrap(), found);
                    sum += recall(&whole, &query, &found) / 40.0;
                    read += bytes;
                }
            }
            assert!(sum >= 0.93, "{params:?}: recall {sum}");
            assert!(read / 40 < file.len() as u64 / 2, "{params:?}: {} of {} bytes per query", read / 40, file.len());
        }
    }

    #[test]
    fn filters_are_exact_and_clusters_without_matches_are_not_read() {
        let file = Arc::new(file(params(Distance::Cosine), |i| PointId::Num(i as u64)));
        let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
        let filter = |value: serde_json::Value| -> Filter { serde_json::from_value(value).unwrap() };
        let filters = [
            filter(json!({ "must": [{ "key": "even", "match": { "value": true } }] })),
            filter(json!({ "must": [{ "key": "centre", "match": { "value": 7 } }] })),
            filter(json!({ "must_not": [{ "key": "centre", "range": { "lt": 35 } }] })),
            filter(json!({ "must": [{ "has_id": [1, 2, 3, 2_999] }] })),
            filter(json!({ "must": [{ "key": "centre", "match": { "value": 77 } }] })),
        ];
        for filter in filters {
            let allowed = whole.allowed(Some(&filter), &Unwatched).unwrap().unwrap();
            let mut sum = 0.0;
            for seed in 0..10 {
                let query = asked(seed, Some(filter.clone()));
                let (found, rounds, _) = far(&file, &query, Along { payload: true });
                assert!(rounds <= 3, "{rounds} rounds for {filter:?}");
                assert!(found.hits.iter().all(|hit| allowed.contains(hit.ordinal)));
                assert_eq!(found.hits.len() as u64, allowed.len().min(10));
                sum += recall(&whole, &query, &found) / 10.0;
            }
            assert!(sum >= 0.93, "{filter:?}: recall {sum}");
        }
    }

    #[test]
    fn exact_searches_and_vectors_without_codes_read_what_they_must() {
        for (distance, exact) in [(Distance::Cosine, true), (Distance::Manhattan, false)] {
            let file = Arc::new(file(params(distance), |i| PointId::Num(i as u64)));
            let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
            let mut query = asked(3, None);
            query.params.exact = exact;
            query.score_threshold = Some(if distance == Distance::Cosine { 0.5 } else { 30.0 });
            let (found, rounds, bytes) = far(&file, &query, Along::default());
            assert!(rounds <= 2 && bytes >= (POINTS * DIM * 4) as u64);
            let truth = whole.search_by(&query, Some(Strategy::Exact), &Unwatched).unwrap();
            assert_eq!(found.hits, truth.hits);
        }
    }

    #[test]
    fn more_recall_reads_more_and_cancellation_is_heard() {
        let file = Arc::new(file(params(Distance::Euclid), |i| PointId::Num(i as u64)));
        let bytes = |recall: f32| {
            let params = SearchParams { recall: Some(recall), ..SearchParams::default() };
            (0..5).map(|seed| far(&file, &VectorQuery { params, ..asked(seed, None) }, Along::default()).2).sum::<u64>()
        };
        let read = [0.5, 0.9, 0.999].map(bytes);
        assert!(read.is_sorted(), "{read:?}");
        let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(true);
        assert_eq!(whole.search_ranges(&asked(0, None), Along::default(), &stop), Err(Error::Cancelled));
    }
}
