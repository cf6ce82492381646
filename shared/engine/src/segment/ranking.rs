//! The clusters as a query sees them: how far their points probably are.
//!
//! With `c` the mean of a cluster's points and `r` the root of their mean squared distance from it, the points' distances
//! from a query `q` have the mean `|q - c|^2 + r^2` (Euclid) or `-<q, c>` (Dot, Cosine), exactly; they deviate from it in
//! proportion to `2 |q - c| r` (Euclid), half of that (Cosine, where distances are half of Euclid's) or `|q| r` (Dot), by a factor that
//! falls with the number of dimensions in which the data really vary. A search outward learns it from the points that it scores; for those that
//! read clusters without having seen any, it was measured when the segment was built.

use std::ops::Range;

use cairn_model::Distance;

use super::ClustersView;
use crate::kernel;

/// What to expect of one cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    /// The mean distance of its points.
    pub(super) mean: f32,
    /// In which unit distances deviate from the mean.
    pub(super) unit: f32,
}

/// The share of a normal distribution that lies more than `x` standard deviations below its mean, for `x` at least 0:
/// an approximation within a few percent, which is far better than the data are normal.
pub(super) fn tail(x: f32) -> f32 {
    0.5 * (-0.717 * x - 0.416 * x * x).exp()
}

/// How many of the `k` nearest points each of some clusters is expected to have, if distances are normally distributed around their means and
/// deviate by `deviation` units. `clusters` gives their matching points and their reach.
pub(super) fn expected(clusters: &[(u32, Reach)], k: usize, deviation: f32) -> Vec<f32> {
    #[expect(clippy::cast_precision_loss, reason = "a limit of a request, and some hundred points")]
    let within = |&(matches, reach): &(u32, Reach), bound: f32| {
        let gap = (reach.mean - bound) / (deviation * reach.unit).max(f32::MIN_POSITIVE);
        matches as f32 * if gap >= 0.0 { tail(gap) } else { 1.0 - tail(-gap) }
    };
    let end = |sign: f32| clusters.iter().map(move |(_, reach)| reach.mean + sign * reach.unit);
    let (mut low, mut high) = (end(-1.0).fold(f32::INFINITY, f32::min), end(1.0).fold(f32::NEG_INFINITY, f32::max));
    #[expect(clippy::cast_precision_loss, reason = "a limit of a request")]
    let wanted = k.max(1) as f32;
    // The distance within which `k` points are expected.
    for _ in 0..32 {
        let middle = low + (high - low) * 0.5;
        let sum: f32 = clusters.iter().map(|cluster| within(cluster, middle)).sum();
        if sum < wanted { low = middle } else { high = middle }
    }
    clusters.iter().map(|cluster| within(cluster, high)).collect()
}

/// Centroids made ready for inner products with any query; kept in memory once a segment has been asked with a filter.
#[derive(Debug)]
pub(super) struct Ranking {
    distance: Distance,
    dim: usize,
    starts: Vec<u32>,
    /// What centroids are counted from.
    mean: Vec<f32>,
    /// Their levels plus 128: the kernels multiply unsigned bytes.
    codes: Vec<u8>,
    scales: Vec<f32>,
    /// Sums of `codes`.
    sums: Vec<i64>,
    /// Squared lengths.
    squares: Vec<f32>,
    spreads: Vec<f32>,
}

impl Ranking {
    /// `None` where the section does not say how far points spread, or says it wrongly; and for Manhattan, whose
    /// distances do not follow from centroids.
    pub(super) fn new(view: &ClustersView<'_>, distance: Distance, dim: usize) -> Option<Self> {
        if distance == Distance::Manhattan {
            return None;
        }
        let count = view.count();
        let starts: Vec<u32> = (0..=count).map(|cluster| view.start(cluster)).collect();
        // A damaged section must not lead outside of the points.
        let ordered = starts.first() == Some(&0) && starts.is_sorted() && starts.last() == Some(&view.points());
        let spreads: Vec<f32> = (0..count).map_while(|cluster| view.spread(cluster)).collect();
        if !ordered || spreads.len() != count as usize {
            return None;
        }
        let mut ranking = Self {
            distance,
            dim,
            starts,
            mean: view.mean().collect(),
            codes: Vec::with_capacity(count as usize * dim),
            scales: Vec::new(),
            sums: Vec::new(),
            squares: Vec::new(),
            spreads,
        };
        for cluster in 0..count {
            let before = ranking.codes.len();
            ranking.codes.extend(view.levels(cluster).map(|level| level.cast_unsigned() ^ 0x80));
            ranking.sums.push(ranking.codes[before..].iter().map(|&code| i64::from(code)).sum());
            ranking.squares.push(view.centroid(cluster).iter().map(|x| x * x).sum());
            ranking.scales.push(view.scale(cluster));
        }
        (ranking.codes.len() == count as usize * dim).then_some(ranking)
    }

    /// Clusters.
    pub(super) const fn len(&self) -> usize {
        self.spreads.len()
    }

    /// The ordinals of a cluster.
    pub(super) fn ordinals(&self, cluster: usize) -> Range<u32> {
        self.starts[cluster]..self.starts[cluster + 1]
    }

    /// The cluster of a point.
    pub(super) fn cluster(&self, ordinal: u32) -> usize {
        self.starts.partition_point(|&start| start <= ordinal).saturating_sub(1)
    }

    /// What to expect of every cluster, for a query as the codec takes it.
    pub(super) fn reaches(&self, query: &[f32]) -> Vec<Reach> {
        let largest = query.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let step = largest / 127.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 255")]
        let shifted: Vec<u8> =
            query.iter().map(|x| ((x * inverse).round().clamp(-127.0, 127.0) + 128.0) as u8).collect();
        let query_sum: i64 = shifted.iter().map(|&x| i64::from(x)).sum();
        let query_square: f32 = query.iter().map(|x| x * x).sum();
        let dot_u8 = kernel::get().dot_u8;
        // sum (a + 128) (b + 128) = sum a b + 128 (sum (a + 128) + sum (b + 128)) - 128^2 dim
        let shift = 128 * 128 * i64::try_from(self.dim).unwrap_or(0) - 128 * query_sum;
        let query_length = query_square.sqrt();
        let from_mean: f32 = query.iter().zip(&self.mean).map(|(x, mean)| x * mean).sum();
        self.codes
            .chunks_exact(self.dim)
            .zip(&self.sums)
            .zip(self.scales.iter().zip(&self.squares).zip(&self.spreads))
            .map(|((codes, sum), ((scale, square), spread))| {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let product =
                    from_mean + (i64::from(dot_u8(&shifted, codes)) - 128 * sum + shift) as f32 * step * scale;
                match self.distance {
                    Distance::Euclid | Distance::Manhattan => {
                        let apart = (query_square + square - 2.0 * product).max(0.0);
                        Reach { mean: apart + spread * spread, unit: 2.0 * apart.sqrt() * spread }
                    }
                    Distance::Cosine => {
                        let apart = (query_square + square - 2.0 * product).max(0.0);
                        Reach { mean: -product, unit: apart.sqrt() * spread }
                    }
                    Distance::Dot => Reach { mean: -product, unit: query_length * spread },
                }
            })
            .collect()
    }
}
