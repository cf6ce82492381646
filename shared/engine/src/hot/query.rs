//! A query as the blocks want it.

use cairn_model::Distance;

use super::Hot;
use crate::{codec, kernel::fastscan};

/// The table of one query, and what its sums stand for.
#[derive(Default)]
pub(super) struct Table {
    values: Vec<f32>,
    pub(super) bytes: Vec<u8>,
    pub(super) step: f32,
    pub(super) low: f32,
    /// Distances of the walk are the codec's, times this.
    pub(super) scale: f32,
    /// The walk's distance of the root.
    pub(super) root: f32,
}

impl Table {
    /// Prepares a query of this length.
    ///
    /// The codec has turned `y = q - a m`, the table wants `s q - m = s y + (s a - 1) m`, where `s` makes Dot's queries as
    /// long as stored vectors.
    pub(super) fn prepare(&mut self, hot: &Hot, query: &codec::Query, distance: Distance, length: f32) {
        let scale = match distance {
            Distance::Dot if length > 0.0 && hot.length > 0.0 => (hot.length / length).clamp(1e-18, 1e18),
            _ => 1.0,
        };
        let centre = if distance == Distance::Euclid { 0.0 } else { scale * query.share() - 1.0 };
        query.values(&mut self.values);
        self.values.iter_mut().zip(&hot.centre).for_each(|(value, m)| *value = scale * *value + centre * m);
        self.values.resize(hot.shape.width, 0.0);
        (self.step, self.low) = fastscan::fill(&self.values, &mut self.bytes);
        self.scale = scale;
        self.root = scale * query.at_centre();
    }
}
