//! The clusters as a query sees them: how far their points probably are.
//!
//! With `c` the mean of a cluster's points and `r` the root of their mean squared distance from it, the points' distances
//! from a query `q` have the mean `|q - c|^2 + r^2` (Euclid) or `-<q, c>` (Dot, Cosine), exactly; they deviate from it in
//! proportion to `2 |q - c| r` or `|q| r`, by a factor that falls with the number of dimensions in which the data really
//! vary, and that a search learns from the points that it scores.

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

/// Centroids made ready for inner products with any query; kept in memory once a segment has been asked with a filter.
#[derive(Debug)]
pub(super) struct Ranking {
    distance: Distance,
    dim: usize,
    starts: Vec<u32>,
    /// The section's signed bytes plus 128: the kernels multiply unsigned bytes.
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
            codes: Vec::with_capacity(count as usize * dim),
            scales: Vec::new(),
            sums: Vec::new(),
            squares: Vec::new(),
            spreads,
        };
        for cluster in 0..count {
            let (scale, codes) = view.coded(cluster);
            let square: i64 = codes.iter().map(|&code| i64::from(code.cast_signed()).pow(2)).sum();
            ranking.codes.extend(codes.iter().map(|&code| code ^ 0x80));
            ranking.sums.push(codes.iter().map(|&code| i64::from(code ^ 0x80)).sum());
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            ranking.squares.push(square as f32 * scale * scale);
            ranking.scales.push(scale);
        }
        (ranking.codes.len() == count as usize * dim).then_some(ranking)
    }

    /// The ordinals of a cluster.
    pub(super) fn ordinals(&self, cluster: usize) -> Range<u32> {
        self.starts[cluster]..self.starts[cluster + 1]
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
        self.codes
            .chunks_exact(self.dim)
            .zip(&self.sums)
            .zip(self.scales.iter().zip(&self.squares).zip(&self.spreads))
            .map(|((codes, sum), ((scale, square), spread))| {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let product = (i64::from(dot_u8(&shifted, codes)) - 128 * sum + shift) as f32 * step * scale;
                match self.distance {
                    Distance::Euclid | Distance::Manhattan => {
                        let apart = (query_square + square - 2.0 * product).max(0.0);
                        Reach { mean: apart + spread * spread, unit: 2.0 * apart.sqrt() * spread }
                    }
                    Distance::Dot | Distance::Cosine => Reach { mean: -product, unit: query_length * spread },
                }
            })
            .collect()
    }
}
