//! Which candidates become neighbours: the heuristic of the HNSW paper, Algorithm 4.

use super::{Pairs, frontier::Key};

/// Keeps at most `cap` of `nearest` (sorted, nearest first) in `out`: each that is nearer to the base point than to any kept so far,
/// so that links point in different directions; then, in `fill`, the nearest of the others.
///
/// A candidate as near to a kept one as to the base is dropped: of many identical points one suffices, and the other links
/// lead out of their heap. A heap larger than the degree would otherwise link to nothing but itself.
pub(super) fn select(pairs: &impl Pairs, nearest: &[Key], cap: usize, fill: usize, out: &mut Vec<u32>) {
    out.clear();
    let mut dropped = Vec::new();
    for key in nearest {
        if out.len() == cap {
            return;
        }
        let (candidate, distance) = (key.ordinal(), key.distance());
        if out.iter().any(|&kept| pairs.distance(candidate, kept) <= distance) {
            dropped.push(candidate);
        } else {
            out.push(candidate);
        }
    }
    let room = fill.saturating_sub(out.len());
    out.extend(dropped.into_iter().take(room));
}
