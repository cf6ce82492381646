//! Which clusters are worth reading.

use std::ops::Range;

use super::Near;
use crate::segment::ranking::{Reach, expected};

/// Clusters are at one place if no more than so many rows are between them: less than is read along to save a request.
const TOGETHER: u32 = 256;

/// Which clusters are worth reading, and how much may be read.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// How far distances deviate from the mean of a cluster, in units of its reach.
    pub(super) deviation: f32,
    /// How many of the `k` nearest points have to be expected in a cluster.
    pub(super) least: f32,
    pub(super) points_max: u64,
    /// Runs of clusters that lie together: each is a request.
    pub(super) runs_max: usize,
}

/// The clusters to read, of those that `near` has, in its order: by descending number of the `k` nearest points that are expected in them, the
/// best of them in any case.
pub(super) fn chosen(near: Vec<Near>, k: usize, budget: Budget) -> Vec<Near> {
    let clusters: Vec<(u32, Reach)> = near.iter().map(|near| (near.matches, near.reach)).collect();
    let expected = expected(&clusters, k, budget.deviation);
    let mut order: Vec<usize> = (0..near.len()).collect();
    order.sort_unstable_by(|&a, &b| expected[b].total_cmp(&expected[a]).then(a.cmp(&b)));
    order.truncate(order.partition_point(|&at| expected[at] >= budget.least).max(1));
    let (mut points, mut runs) = (0, 0);
    let mut kept: Vec<&Range<u32>> = Vec::new();
    let mut keep = vec![false; near.len()];
    for at in order {
        let rows = &near[at].rows;
        let beside = |other: &&Range<u32>| {
            rows.start.saturating_sub(other.end) <= TOGETHER && other.start.saturating_sub(rows.end) <= TOGETHER
        };
        let alone = !kept.iter().any(beside);
        let more = points + u64::from(rows.end - rows.start);
        if !kept.is_empty() && (more > budget.points_max || (alone && runs >= budget.runs_max)) {
            continue;
        }
        points = more;
        runs += usize::from(alone);
        kept.push(rows);
        keep[at] = true;
    }
    near.into_iter().zip(keep).filter_map(|(near, keep)| keep.then_some(near)).collect()
}
