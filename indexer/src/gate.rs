//! What a new generation must show before it replaces what is served: enough points, and a recall that was measured.
//!
//! Recall@10 is measured on sampled points of the source. Each is held out of its own answer: it is searched for among all the
//! others, at the settings that a query has which asks for nothing, and by exact search; what the first finds of the second is its
//! recall. Every segment answers while its file is still local, and the answers are merged as a searcher merges them.

use std::{
    collections::{BTreeMap, BinaryHeap},
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use cairn_engine::{
    Watch,
    cluster::{
        Region,
        region::{Wanted, choose},
    },
    segment::Segment,
};
use cairn_model::{PointId, SearchParams, VectorParams, VectorQuery};
use cairn_storage::{Catalog, Collection, Generation, cache::MappedFile};
use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    Error, Result,
    build::SegmentFile,
    intake::Intake,
    pool::joined,
    progress::Stopped,
    record::{self, Records},
    workplace::Workplace,
};

/// Neighbours that recall is measured on.
pub const RECALL_K: usize = 10;
/// Points that are sampled at most: each is one exact search over everything.
pub const SAMPLES_MAX: usize = 2_000;

/// What is demanded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Points, over the points that are served.
    pub points_ratio_min: f64,
    /// Recall@10, from 0 to 1; 0 measures it and demands nothing.
    pub recall_min: f64,
    /// Points to measure recall on; 0 measures nothing.
    pub samples: usize,
}

/// What was found, beside what was demanded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The generation that was served when the job began, which a rollback goes back to.
    pub generation_before: Option<String>,
    /// Points of the source.
    pub points: u64,
    /// Points that were served when the job began.
    pub points_before: u64,
    /// Their ratio; none where nothing was served.
    pub points_ratio: Option<f64>,
    /// The ratio that was demanded.
    pub points_ratio_min: f64,
    /// Mean recall@10; none where it was not measured.
    pub recall: Option<f64>,
    /// The recall that was demanded.
    pub recall_min: f64,
    /// Points that it was measured on.
    pub samples: usize,
}

impl Gate {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the option.
    pub(crate) fn check(&self) -> Result<()> {
        if !(self.points_ratio_min >= 0.0 && self.points_ratio_min.is_finite()) {
            return Err(Error::invalid("min-points-ratio", "must be a number of at least 0"));
        }
        if !(0.0..=1.0).contains(&self.recall_min) {
            return Err(Error::invalid("min-recall", "must be a number from 0 to 1"));
        }
        if self.samples > SAMPLES_MAX {
            return Err(Error::invalid("recall-samples", format!("at most {SAMPLES_MAX} points can be sampled")));
        }
        if self.samples == 0 && self.recall_min > 0.0 {
            let why = "is 0, but a recall is demanded: give --min-recall 0 to publish without measuring";
            return Err(Error::invalid("recall-samples", why));
        }
        Ok(())
    }
}

/// The nearest of one sampled point: distance and id, nearest first.
type Nearest = Vec<(f32, PointId)>;

/// One sampled point and what was found for it in the segments so far.
struct Probe {
    id: PointId,
    vector: Vec<f32>,
    exact: Nearest,
    /// Each with the number of its segment.
    usual: Vec<(f32, PointId, usize)>,
}

/// A gate at work on one build.
pub(crate) struct Trial {
    gate: Gate,
    points: u64,
    before: Option<Collection>,
    probes: Mutex<Vec<Probe>>,
    /// What a searcher knows of each segment before it chooses: points, and where they lie.
    segments: Mutex<Vec<(u64, Option<Region>)>>,
    /// Whether only directions count.
    unit: bool,
}

impl Trial {
    /// Counts the points, and samples some: those whose ids have the smallest hashes, which depends on nothing but the seed.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are too few points; [`Error::Disk`].
    pub(crate) fn begin(
        gate: Gate,
        intake: &Intake,
        before: Option<Collection>,
        (seed, unit): (u64, bool),
        dir: &Path,
    ) -> Result<Self> {
        let (probes, segments) = (Mutex::default(), Mutex::default());
        let mut trial = Self { gate, points: intake.points, before, probes, segments, unit };
        trial.check_points()?;
        if gate.samples == 0 {
            return Ok(trial);
        }
        let mut kept: BinaryHeap<(u64, PointId)> = BinaryHeap::new();
        let mut vectors = BTreeMap::new();
        for lane in 0..intake.payload_bytes.len() {
            let mut rows = Records::new(intake.spool.read(lane), intake.layout.dim, intake.layout.element);
            for _ in 0..intake.spool.records(lane) {
                let id = rows.read().map_err(|error| Error::disk(dir, error))?;
                let rank = (xxh3_64_with_seed(&record::encode_id(id), seed), id);
                if kept.len() == gate.samples && kept.peek().is_none_or(|largest| *largest <= rank) {
                    continue;
                }
                kept.push(rank);
                vectors.insert(id, rows.vector.clone());
                if kept.len() > gate.samples
                    && let Some((_, dropped)) = kept.pop()
                {
                    vectors.remove(&dropped);
                }
            }
        }
        let probe = |(id, vector)| Probe { id, vector, exact: Vec::new(), usual: Vec::new() };
        trial.probes = Mutex::new(vectors.into_iter().map(probe).collect());
        Ok(trial)
    }

    /// Searches a finished segment for all sampled points.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Engine`], [`Error::Cancelled`].
    pub(crate) fn measure(
        &self,
        (path, region): (&Path, Option<&[u8]>),
        pool: &rayon::ThreadPool,
        watch: &dyn Watch,
    ) -> Result<()> {
        let file = Arc::new(MappedFile::open(path, false).map_err(|error| Error::disk(path, error))?);
        let segment = Segment::open(file)?;
        let dim = first(&segment)?.1.size as usize;
        let region = region.map(|bytes| Region::decode(bytes, dim)).transpose()?.flatten();
        let number = {
            let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            segments.push((segment.len().into(), region));
            segments.len() - 1
        };
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let probes = probes.as_mut_slice();
        let searched = pool.install(|| {
            probes.par_iter_mut().try_for_each(|probe| {
                let (exact, usual) = (nearest(&segment, probe, true, watch)?, nearest(&segment, probe, false, watch)?);
                probe.exact.extend(exact);
                probe.exact.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                probe.exact.truncate(RECALL_K);
                // Whatever is left out of the search later, nothing beyond the best of all can count.
                probe.usual.extend(usual.into_iter().map(|(distance, id)| (distance, id, number)));
                probe.usual.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                probe.usual.truncate(RECALL_K);
                Ok(())
            })
        });
        match searched {
            Err(Error::Engine(cairn_engine::Error::Cancelled)) => Err(Error::Cancelled),
            searched => searched,
        }
    }

    /// The figures, if they are good enough.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub(crate) fn verdict(&self) -> Result<Figures> {
        let figures = self.figures();
        match figures.recall {
            Some(recall) if recall < self.gate.recall_min => Err(refused(&figures)),
            _ => Ok(figures),
        }
    }

    fn check_points(&self) -> Result<()> {
        let figures = self.figures();
        match figures.points_ratio {
            Some(ratio) if ratio < self.gate.points_ratio_min => Err(refused(&figures)),
            _ => Ok(()),
        }
    }

    fn figures(&self) -> Figures {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        // A point that is alone has no neighbour that could be found.
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = probes.iter().filter(|probe| !probe.exact.is_empty());
        let recalls: Vec<f64> = measured
            .map(|probe| {
                // One more, as the point itself is not counted.
                let wanted = Wanted { query: &probe.vector, unit: self.unit, k: RECALL_K + 1, recall: None };
                recall(probe, &choose(&segments, wanted))
            })
            .collect();
        let points_before = self.before.as_ref().map_or(0, Collection::points);
        #[expect(clippy::cast_precision_loss, reason = "ratios of counts, for people")]
        let (ratio, mean) = (
            (points_before > 0).then(|| self.points as f64 / points_before as f64),
            (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64),
        );
        Figures {
            generation_before: self.before.as_ref().map(|before| before.doc.generation.clone()),
            points: self.points,
            points_before,
            points_ratio: ratio,
            points_ratio_min: self.gate.points_ratio_min,
            recall: mean,
            recall_min: self.gate.recall_min,
            samples: recalls.len(),
        }
    }
}

/// Starts a trial where there is a gate.
///
/// # Errors
/// As [`Trial::begin`].
pub(crate) async fn begin(
    gate: Option<Gate>,
    intake: Intake,
    before: Option<&Collection>,
    (seed, unit): (u64, bool),
    dir: &Arc<Workplace>,
) -> Result<(Option<Arc<Trial>>, Intake)> {
    let Some(gate) = gate else { return Ok((None, intake)) };
    let (before, dir) = (before.cloned(), Arc::clone(dir));
    joined(tokio::task::spawn_blocking(move || {
        let trial = Trial::begin(gate, &intake, before, (seed, unit), dir.path())?;
        Ok((Some(Arc::new(trial)), intake))
    }))
    .await
}

/// Measures a finished segment where there is a trial.
///
/// # Errors
/// As [`Trial::measure`].
pub(crate) async fn measure(
    trial: Option<&Arc<Trial>>,
    file: &SegmentFile,
    (pool, stop): (&Arc<rayon::ThreadPool>, &Arc<AtomicBool>),
) -> Result<()> {
    let Some(trial) = trial else { return Ok(()) };
    let (trial, pool, stopped) = (Arc::clone(trial), Arc::clone(pool), Stopped(Arc::clone(stop)));
    let (path, region) = (file.path.clone(), file.entry.region.clone());
    joined(tokio::task::spawn_blocking(move || trial.measure((&path, region.as_deref()), &pool, &stopped))).await
}

/// The end of a trial: what does not pass is removed, as nobody else knows its generation.
///
/// # Errors
/// As [`Trial::verdict`].
pub(crate) async fn settle(
    trial: Option<Arc<Trial>>,
    catalog: &Catalog,
    generation: &Generation,
) -> Result<Option<Figures>> {
    let verdict = trial.map(|trial| trial.verdict()).transpose();
    if verdict.is_err()
        && let Err(error) = catalog.abandon(generation).await
    {
        tracing::warn!(%error, generation = generation.id, "what was not published could not be removed");
    }
    verdict
}

fn refused(figures: &Figures) -> Error {
    Error::Refused(Box::new(figures.clone()))
}

/// The one vector of a segment that was built from a source: all points have it.
fn first(segment: &Segment) -> Result<(&str, VectorParams)> {
    let missing = || cairn_engine::Error::corrupt("head", 0, "no vector that all points have");
    Ok(segment.dense().next().filter(|_| segment.params().is_some()).ok_or_else(missing)?)
}

/// The point's nearest in a segment, without itself.
fn nearest(segment: &Segment, probe: &Probe, exact: bool, watch: &dyn Watch) -> Result<Nearest> {
    let query = VectorQuery {
        using: first(segment)?.0.to_owned(),
        vector: probe.vector.clone(),
        filter: None,
        k: RECALL_K + 1,
        params: SearchParams { exact, ..SearchParams::default() },
        score_threshold: None,
    };
    let mut nearest = Vec::with_capacity(query.k);
    for hit in segment.search(&query, watch)?.hits {
        let id = segment.id(hit.ordinal)?;
        if id != probe.id {
            nearest.push((hit.distance, id));
        }
    }
    Ok(nearest)
}

/// The share of the exact nearest that was found in the segments that are searched; another point at the same distance is as good.
fn recall(probe: &Probe, searched: &[bool]) -> f64 {
    let wanted = probe.exact.len();
    let farthest = probe.exact.last().map_or(f32::NEG_INFINITY, |last| last.0);
    let good = |found: &&(f32, PointId, usize)| {
        let near = found.0 <= farthest || probe.exact.iter().any(|exact| exact.1 == found.1);
        near && searched.get(found.2) == Some(&true)
    };
    let found = probe.usual.iter().filter(good).count().min(wanted);
    #[expect(clippy::cast_precision_loss, reason = "at most ten")]
    let share = found as f64 / wanted.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exact: &[(f32, u64)], usual: &[(f32, u64)]) -> Probe {
        let nearest = |list: &[(f32, u64)]| -> Nearest {
            list.iter().map(|&(distance, id)| (distance, PointId::Num(id))).collect()
        };
        let usual = (0..).zip(nearest(usual)).map(|(at, (distance, id))| (distance, id, at)).collect();
        Probe { id: PointId::Num(0), vector: vec![], exact: nearest(exact), usual }
    }

    #[track_caller]
    fn is(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn recall_counts_what_is_as_near() {
        is(recall(&probe(&[(1.0, 1), (2.0, 2)], &[(1.0, 1), (2.0, 2)]), &[true; 2]), 1.0);
        is(recall(&probe(&[(1.0, 1), (2.0, 2)], &[(1.0, 1), (3.0, 3)]), &[true; 2]), 0.5);
        is(recall(&probe(&[(1.0, 1), (2.0, 2)], &[(1.0, 1), (2.0, 9)]), &[true; 2]), 1.0);
        is(recall(&probe(&[(1.0, 1), (2.0, 2)], &[(1.001, 1)]), &[true; 2]), 0.5);
        is(recall(&probe(&[(1.0, 1)], &[(0.5, 3), (1.0, 4)]), &[true; 2]), 1.0);
        is(recall(&probe(&[(1.0, 1)], &[]), &[true; 2]), 0.0);
        is(recall(&probe(&[(1.0, 1), (2.0, 2)], &[(1.0, 1), (2.0, 2)]), &[true, false]), 0.5);
    }

    #[test]
    fn impossible_demands_are_named() {
        let sound = Gate { points_ratio_min: 0.9, recall_min: 0.9, samples: 100 };
        sound.check().unwrap();
        for (gate, option) in [
            (Gate { points_ratio_min: f64::NAN, ..sound }, "min-points-ratio"),
            (Gate { points_ratio_min: -1.0, ..sound }, "min-points-ratio"),
            (Gate { recall_min: 1.5, ..sound }, "min-recall"),
            (Gate { samples: SAMPLES_MAX + 1, ..sound }, "recall-samples"),
            (Gate { samples: 0, ..sound }, "--min-recall 0"),
        ] {
            assert!(gate.check().unwrap_err().to_string().contains(option));
        }
        Gate { samples: 0, recall_min: 0.0, ..sound }.check().unwrap();
    }
}
