//! What counts as found: true distances, from the segment's originals, or from the base file where it has none.

use std::collections::BinaryHeap;

use cairn_engine::{Unwatched, segment::Segment};
use cairn_model::{Distance, Filter, PointId, SearchParams, VectorParams, VectorQuery};
use rayon::prelude::*;

use super::{corpus::Matrix, truth::Truth};

/// How many true neighbours a query has, and how far the last of them is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Worst {
    pub(super) count: usize,
    pub(super) distance: f32,
}

/// True distances. Row numbers of the base file are the points' ids.
pub(super) struct Reference<'a> {
    pub(super) segment: &'a Segment,
    pub(super) queries: &'a Matrix,
    /// The base file, for a segment without originals.
    pub(super) base: Option<&'a Matrix>,
    pub(super) k: usize,
}

impl Reference<'_> {
    /// The true distance of a query and a row of the segment.
    pub(super) fn distance(&self, query: usize, ordinal: u32) -> anyhow::Result<f32> {
        let query = self.queries.row(query);
        let Some(base) = self.base else { return Ok(self.segment.distance(query, ordinal)?) };
        match self.segment.id(ordinal)? {
            PointId::Num(row) => Ok(between(self.params()?.distance, query, base.row(usize::try_from(row)?))),
            PointId::Uuid(id) => anyhow::bail!("a point of the bench has the id {id}"),
        }
    }

    /// The parameters of the one vector of the bench.
    fn params(&self) -> anyhow::Result<VectorParams> {
        self.segment.params().ok_or_else(|| anyhow::anyhow!("the segment has no vector that all points have"))
    }

    /// The row of the segment that a point is in.
    pub(super) fn ordinal(&self, id: PointId) -> anyhow::Result<u32> {
        self.segment.ordinal(id)?.ok_or_else(|| anyhow::anyhow!("the segment has no point {id}"))
    }

    /// The share of the true neighbours that answers hold: for each a query's number and rows of the segment. A hit counts by its true
    /// distance: what the answer says may be an estimate.
    pub(super) fn recall<'b>(
        &self,
        answers: impl Iterator<Item = (usize, &'b [u32])>,
        worst: &[Worst],
    ) -> anyhow::Result<f64> {
        let (mut found, mut wanted) = (0, 0);
        for (query, ordinals) in answers {
            let Worst { count, distance } = worst[query];
            // Room for rounding: the same vectors scored in another order of additions.
            let bound = distance + 1e-6 * distance.abs().max(1.0);
            let mut near = 0;
            for &ordinal in ordinals {
                near += usize::from(self.distance(query, ordinal)? <= bound);
            }
            found += near.min(count);
            wanted += count;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of hits")]
        Ok(if wanted == 0 { 1.0 } else { found as f64 / wanted as f64 })
    }

    /// By exact search over all points that match.
    pub(super) fn by_exact_search(&self, filter: Option<&Filter>) -> anyhow::Result<Vec<Worst>> {
        if self.base.is_none() {
            return self.by_the_segment(filter);
        }
        let matching = self.segment.scroll(None, filter, usize::MAX, &Unwatched)?;
        let one = |query: usize| {
            let mut nearest = BinaryHeap::with_capacity(self.k + 1);
            for &(_, ordinal) in &matching {
                nearest.push(ordered(self.distance(query, ordinal)?));
                if nearest.len() > self.k {
                    nearest.pop();
                }
            }
            let distance = nearest.peek().map_or(f32::INFINITY, |&worst| number(worst));
            Ok(Worst { count: nearest.len(), distance })
        };
        (0..self.queries.rows()).into_par_iter().map(one).collect()
    }

    /// The engine's own exact search, over originals.
    fn by_the_segment(&self, filter: Option<&Filter>) -> anyhow::Result<Vec<Worst>> {
        let params = SearchParams { exact: true, ..SearchParams::default() };
        let one = |query: usize| {
            let vector = self.queries.row(query).to_vec();
            let query = VectorQuery {
                using: self.segment.vector_name().unwrap_or_default().to_owned(),
                vector,
                filter: filter.cloned(),
                k: self.k,
                params,
                score_threshold: None,
            };
            let hits = self.segment.search(&query, &Unwatched)?.hits;
            Ok(Worst { count: hits.len(), distance: hits.last().map_or(f32::INFINITY, |hit| hit.distance) })
        };
        (0..self.queries.rows()).into_par_iter().map(one).collect()
    }

    /// From a file of row numbers: distances are computed here, so that rounding in the file's own does not matter.
    pub(super) fn by_file(&self, truth: &Truth) -> anyhow::Result<Vec<Worst>> {
        let rows = self.queries.rows();
        anyhow::ensure!(truth.rows() >= rows, "the truth file has {} rows for {rows} queries", truth.rows());
        anyhow::ensure!(
            truth.columns() >= self.k,
            "the truth file has {} neighbours, k is {}",
            truth.columns(),
            self.k
        );
        let one = |query: usize| {
            let mut worst = Worst { count: 0, distance: f32::NEG_INFINITY };
            for id in truth.row(query).iter().take(self.k).filter_map(|&id| u64::try_from(id).ok()) {
                let Some(ordinal) = self.segment.ordinal(PointId::Num(id))? else {
                    anyhow::bail!("the truth file names row {id}, the base file has {} rows", self.segment.len());
                };
                worst.count += 1;
                worst.distance = worst.distance.max(self.distance(query, ordinal)?);
            }
            Ok(worst)
        };
        (0..rows).into_par_iter().map(one).collect()
    }
}

/// A float as a number of the same order, for a heap.
fn ordered(distance: f32) -> i32 {
    let bits = distance.to_bits().cast_signed();
    if bits < 0 { i32::MIN - bits } else { bits }
}

fn number(ordered: i32) -> f32 {
    let bits = if ordered < 0 { i32::MIN - ordered } else { ordered };
    f32::from_bits(bits.cast_unsigned())
}

/// The internal distance of two vectors as they came.
#[expect(clippy::cast_possible_truncation, reason = "sums are made in double precision, distances are single")]
fn between(metric: Distance, a: &[f32], b: &[f32]) -> f32 {
    let sum =
        |term: fn(f64, f64) -> f64| -> f64 { a.iter().zip(b).map(|(&x, &y)| term(f64::from(x), f64::from(y))).sum() };
    let dot = || sum(|x, y| x * y);
    let distance = match metric {
        Distance::Dot => -dot(),
        Distance::Euclid => sum(|x, y| (x - y) * (x - y)),
        Distance::Manhattan => sum(|x, y| (x - y).abs()),
        Distance::Cosine => {
            let norms = (sum(|x, _| x * x) * sum(|_, y| y * y)).sqrt();
            if norms == 0.0 { 0.0 } else { -dot() / norms }
        }
    };
    distance as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_value_survive_the_heap() {
        let floats = [f32::NEG_INFINITY, -2.5, -1e-30, 0.0, 1e-30, 3.0, f32::INFINITY];
        assert!(floats.map(ordered).is_sorted());
        assert_eq!(floats.map(ordered).map(number), floats);
    }

    #[test]
    fn distances_are_the_metrics() {
        let (a, b) = ([3.0, 4.0], [4.0, 3.0]);
        for (metric, distance) in [
            (Distance::Dot, -24.0),
            (Distance::Euclid, 2.0),
            (Distance::Manhattan, 2.0),
            (Distance::Cosine, -24.0 / 25.0),
        ] {
            assert_eq!(between(metric, &a, &b), distance, "{metric:?}");
        }
        assert_eq!(between(Distance::Cosine, &a, &[0.0, 0.0]), 0.0);
    }
}
