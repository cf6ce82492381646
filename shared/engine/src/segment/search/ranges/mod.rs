//! The plan for a segment that lies far away: few byte ranges, in few rounds.
//!
//! A graph cannot be walked over a network, where each step would wait for the one before. Clusters can be read: the head says which
//! probably hold the nearest points, their codes come in one round, and what settles the order of the best in another.
//! The search is a function of the bytes at hand: whatever it lacks it names in [`Error::Absent`], all at once, and whoever brings that
//! calls again. So nothing is kept between rounds, and a reader that has some of the bytes already needs fewer of them.

mod chosen;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

use cairn_model::{Datatype, Filter, Usage, VectorQuery};
use roaring::RoaringBitmap;

use self::chosen::{Budget, chosen};
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
        groups::Held,
        layout::SectionKind,
        originals::Exact,
        places::Places,
        ranking::{Ranking, Reach},
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
/// Points whose codes are read at most; a search that would read more is better served by the whole segment.
const POINTS_MAX: u64 = 1 << 20;
/// So few matching points are settled without their codes.
const FEW: u64 = 32;
/// Candidates that are settled: per hit, and beyond.
const SETTLED_PER_HIT: usize = 2;
const SETTLED_MORE: usize = 4;
/// What tells of which points all rows are comes in one piece if it has no more than this share of the bytes of codes; else in as many as those.
const PLACES_SHARE: u64 = 4;
/// One point in so many is dead: fewer are left out of what was found, more are planned for as what a filter leaves.
const DEAD_ONE_IN: u64 = 8;

/// What is wanted of the hits besides their ids: brought in the same round as what settles their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Along {
    /// Their payload.
    pub payload: bool,
}

/// A cluster, or the part of it from its first matching point to its last.
struct Near {
    rows: Range<u32>,
    /// Matching rows.
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
        let Some(held) = self.held(&query.using)? else { return Ok(Found::nothing()) };
        let params = held.dense.params();
        check(&query.vector, params.size as usize)?;
        let (allowed, dead) = self.allowed_rows(&held, query.filter.as_ref(), watch)?;
        let matching = allowed.as_ref().map_or(u64::from(held.dense.rows()), |allowed| allowed.len());
        let unit = unit(&query.vector, params.distance);
        let coded = unit.as_deref().unwrap_or(&query.vector);
        let search = Ranged { segment: self, held, dead, query, coded, along, watch };
        let (mut found, strategy, scored) = if matching == 0 {
            (Vec::new(), Strategy::Nothing, 0)
        } else if query.params.exact {
            search.whole(Strategy::Exact)?
        } else {
            search.run(allowed.as_deref(), matching)?
        };
        if let Some(threshold) = query.score_threshold {
            found.retain(|hit| params.distance.passes(params.distance.score(hit.distance), threshold));
        }
        Ok(Found { hits: found, strategy, usage: Usage { vectors_scored: scored, segments: 1, ..Usage::default() } })
    }

    /// The rows of a vector whose points match and count, naming all that telling them lacks at once: `None` for all. And the dead points that are
    /// still to be left out.
    fn allowed_rows(
        &self,
        held: &Held<'_>,
        filter: Option<&Filter>,
        watch: &dyn Watch,
    ) -> Result<(Option<Cow<'_, RoaringBitmap>>, Option<&RoaringBitmap>)> {
        let filter = filter.filter(|filter| !filter.is_empty());
        let mut missing = Missing::default();
        if let Some(filter) = filter {
            let mut regions = Vec::new();
            payload::regions(filter, &self.fields()?, &self.ids()?, self, &mut regions)?;
            regions.into_iter().for_each(|region| missing.need(region));
            if let Err(Error::Absent(table)) = self.rows() {
                missing.0.extend(table);
            }
        }
        let dead = self.dead().map(|dead| &**dead);
        let few_dead = dead.is_none_or(|dead| dead.len() * DEAD_ONE_IN < u64::from(self.len()));
        let rows = match &held.further {
            Some(_) if filter.is_none() && few_dead => return Ok((None, dead)),
            Some(further) => {
                missing.need(further.places.ordinals());
                missing.none()?;
                match filter {
                    Some(filter) => {
                        let points = payload::allowed(filter, &self.view()?, watch)?;
                        Some(Cow::Owned(further.places.rows_of(&points)?))
                    }
                    None => self.living_rows(held)?.map(|living| Cow::Borrowed(living.set())),
                }
            }
            None => {
                missing.none()?;
                self.allowed(filter, watch)?
            }
        };
        // What all rows pass is no filter.
        Ok((rows.filter(|rows| rows.len() < u64::from(held.dense.rows())), None))
    }
}

/// One query over the ranges of one vector's rows.
struct Ranged<'a> {
    segment: &'a Segment,
    held: Held<'a>,
    /// Points to be left out of what is found.
    dead: Option<&'a RoaringBitmap>,
    query: &'a VectorQuery,
    /// The query as the codec takes it.
    coded: &'a [f32],
    along: Along,
    watch: &'a dyn Watch,
}

impl<'a> Ranged<'a> {
    fn run(&self, allowed: Option<&RoaringBitmap>, matching: u64) -> Result<(Vec<Hit>, Strategy, u64)> {
        let dense = self.held.dense;
        let settled = self.query.k.saturating_mul(SETTLED_PER_HIT).saturating_add(SETTLED_MORE);
        let (candidates, scored) = match (dense.codec(), dense.ranking(), allowed) {
            (_, _, Some(allowed)) if matching <= FEW.max(settled as u64) => {
                (allowed.iter().map(|row| (0.0, row)).collect(), 0)
            }
            (Some(codec), Some(ranking), _) => self.coarse(codec, ranking, allowed, settled)?,
            // Without codes or centroids there is no part to prefer.
            (Some(_), None, _) => return self.whole(Strategy::Scan),
            (None, _, _) => return self.whole(Strategy::Exact),
        };
        let count = candidates.len() as u64;
        Ok((self.settle(candidates)?, Strategy::Ranges, scored + count))
    }

    fn places(&self) -> Option<Places<'a>> {
        self.held.further.map(|further| further.places)
    }

    /// The point of a row.
    fn ordinal(&self, row: u32) -> Result<u32> {
        self.places().map_or(Ok(row), |places| places.ordinal(row))
    }

    /// Another plan, over all that it reads.
    fn whole(&self, strategy: Strategy) -> Result<(Vec<Hit>, Strategy, u64)> {
        let dense = self.held.dense;
        let mut missing = Missing::default();
        if strategy == Strategy::Scan || !dense.params().originals {
            missing.need(dense.region(SectionKind::CodesHigh)?);
            missing.need(dense.region(SectionKind::CodesLow)?);
        }
        if dense.params().originals {
            missing.need(dense.region(SectionKind::Vectors)?);
        }
        if let Some(places) = self.places() {
            missing.need(places.ordinals());
        }
        missing.none()?;
        let mut query = self.query.clone();
        query.score_threshold = None;
        let found = self.segment.search_by(&query, Some(strategy), self.watch)?;
        let mut missing = Missing::default();
        found.hits.iter().try_for_each(|hit| self.shown(hit.ordinal, &mut missing))?;
        missing.none()?;
        Ok((found.hits, found.strategy, found.usage.vectors_scored))
    }

    /// What showing a point takes.
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
        let bits = allowed.map(|allowed| Bits::new(allowed, self.held.dense.rows()));
        let (k, reading) = (self.query.k, self.held.dense.reading());
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
        let section = self.held.dense.region(SectionKind::CodesHigh)?;
        let record_bytes = codec.high_bytes() as u64;
        let part = |near: &Near| {
            let Range { start, end } = near.rows;
            section.part(u64::from(start) * record_bytes, u64::from(end - start) * record_bytes)
        };
        let parts: Vec<Region<'_>> = near.iter().map(part).collect::<Result<_>>()?;
        let mut missing = Missing::default();
        parts.iter().for_each(|part| missing.need(*part));
        // Of which points the rows are: what comes with codes costs no round of its own.
        let codes_bytes: u64 = parts.iter().map(Region::len).sum();
        match self.places() {
            None => {}
            Some(places) if places.ordinals().len() * PLACES_SHARE <= codes_bytes => missing.need(places.ordinals()),
            Some(places) => {
                for near in &near {
                    missing.need(places.ordinals_part(near.rows.clone())?);
                }
            }
        }
        // Where the blocks of payload are: known only now, it would cost a round more.
        if self.along.payload
            && let Err(Error::Absent(table)) = self.segment.rows()
        {
            missing.0.extend(table);
        }
        missing.none()?;
        let query = codec.query(self.coded);
        let (mut nearest, mut scored) = (Nearest::new(size), 0);
        let (mut rows, mut distances) = (Vec::new(), Vec::new());
        for (near, part) in near.iter().zip(parts) {
            if self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let first = near.rows.start;
            rows.clear();
            match &bits {
                Some(bits) => bits.each(near.rows.clone(), |row| rows.push(row - first)),
                None => rows.extend(0..near.rows.end - first),
            }
            if let (Some(dead), Some(places)) = (self.dead, self.places()) {
                let ordinals = Places::run(places.ordinals_part(near.rows.clone())?)?;
                rows.retain(|&at| !dead.contains(ordinals.get(at)));
            }
            distances.clear();
            distances.resize(rows.len(), 0.0);
            query.coarse_all(&HighRecords::new(part.all()?, codec.high_bytes()), &rows, &mut distances);
            rows.iter().zip(&distances).for_each(|(at, distance)| nearest.offer((*distance, first + at)));
            scored += rows.len() as u64;
        }
        Ok((nearest.sorted(), scored))
    }

    /// All clusters with matching rows, the most promising first.
    fn near(&self, bits: Option<&Bits>, ranking: &Ranking) -> Vec<Near> {
        let near = |(cluster, reach): (usize, Reach)| {
            let rows = ranking.ordinals(cluster);
            match bits {
                None => Some(Near { matches: rows.end - rows.start, rows, reach }),
                Some(bits) => {
                    let mut ends: Option<(u32, u32)> = None;
                    let mut matches = 0;
                    bits.each(rows, |row| {
                        ends = Some((ends.map_or(row, |(first, _)| first), row));
                        matches += 1;
                    });
                    ends.map(|(first, last)| Near { rows: first..last + 1, matches, reach })
                }
            }
        };
        let mut near: Vec<Near> = (0..).zip(ranking.reaches(self.coded)).filter_map(near).collect();
        let key = |near: &Near| near.reach.mean - OPTIMISM * near.reach.unit;
        let order = |a: &Near, b: &Near| key(a).total_cmp(&key(b)).then(a.rows.start.cmp(&b.rows.start));
        if near.len() > RANKED_MAX {
            near.select_nth_unstable_by(RANKED_MAX, order);
            near.truncate(RANKED_MAX);
        }
        near.sort_unstable_by(order);
        near
    }

    /// The order of the candidates by the best that there is, and the first `k` of their points.
    fn settle(&self, candidates: Vec<Candidate>) -> Result<Vec<Hit>> {
        let dense = self.held.dense;
        let params = dense.params();
        let mut missing = Missing::default();
        for &(_, row) in &candidates {
            self.shown(self.ordinal(row)?, &mut missing)?;
        }
        let mut settled = match dense.codec() {
            Some(codec) if !params.originals => {
                let places: Vec<(u32, [Region<'_>; 2])> = candidates
                    .iter()
                    .map(|&(_, row)| {
                        let codes = dense.codes_of(codec, row)?;
                        codes.iter().for_each(|part| missing.need(*part));
                        Ok((row, codes))
                    })
                    .collect::<Result<_>>()?;
                missing.none()?;
                let query = codec.query(self.coded);
                let fine = |(row, [high, low]): (u32, [Region<'_>; 2])| {
                    Ok((query.fine(high.all()?, low.all()?), self.ordinal(row)?))
                };
                places.into_iter().map(fine).collect::<Result<Vec<Candidate>>>()?
            }
            _ => {
                for &(_, row) in &candidates {
                    missing.need(dense.original_of(row)?);
                }
                missing.none()?;
                // Bytes are compared with bytes: a uint8 query stays as it came.
                let asked = if params.datatype == Datatype::Uint8 { &*self.query.vector } else { self.coded };
                let exact = Exact::originals(dense.originals()?, asked);
                let one = |(_, row): Candidate| Ok((exact.distance(row)?, self.ordinal(row)?));
                candidates.into_iter().map(one).collect::<Result<Vec<Candidate>>>()?
            }
        };
        settled.sort_unstable_by(nearer);
        settled.truncate(self.query.k.max(1));
        Ok(hits(settled))
    }
}
