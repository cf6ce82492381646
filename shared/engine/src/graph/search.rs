//! Searching one segment's graph for one query.

use super::{Links, Scorer, VisitedPool, frontier::Sorted, visited::Scratch, walk::Walk};
use crate::{Error, Result, Watch};

/// How to search.
#[derive(Clone, Copy)]
pub struct SearchOptions<'f> {
    /// How many points to find: the wider, the better the first of them.
    pub ef: usize,
    /// Which points may be found; all when `None`. Others are walked through all the same.
    pub allowed: Option<&'f dyn Fn(u32) -> bool>,
}

impl SearchOptions<'_> {
    /// All points are allowed.
    #[must_use]
    pub const fn new(ef: usize) -> Self {
        Self { ef, allowed: None }
    }
}

/// The `ef` nearest allowed points found, sorted by distance, then ordinal; fewer when fewer are allowed or reached.
///
/// The upper levels are descended greedily from the entry point, level 0 is walked best-first until the nearest open candidate is
/// farther than the worst of a full result pool. So a filter that few points pass makes the walk longer, up to the whole graph:
/// it is for the caller to scan instead. Memory grows with `ef`, at most with the number of points.
///
/// # Errors
/// `Corrupt` when a list that the search meets is damaged, `Cancelled`.
pub fn search(
    links: &Links<'_>,
    scorer: &mut impl Scorer,
    options: &SearchOptions<'_>,
    visited: &VisitedPool,
    watch: &dyn Watch,
) -> Result<Vec<(f32, u32)>> {
    if watch.cancelled() {
        return Err(Error::Cancelled);
    }
    let mut lease = visited.lease(links.points());
    let Scratch { visited, sorted, heaps, batch } = lease.scratch();
    let mut walk = Walk { scorer, visited, batch, watch };
    let entry = descend(links, &mut walk)?;
    let ef = options.ef.clamp(1, links.points() as usize);
    let base = links.base();
    let keys = match options.allowed {
        None if ef <= Sorted::EF_MAX && links.points() <= Sorted::POINTS_MAX => {
            sorted.reset(ef);
            walk.enter(&[entry], sorted, |_| true);
            walk.run(base, sorted, |_| true)?;
            return Ok(sorted.keys().map(|key| (key.distance(), key.ordinal())).collect());
        }
        allowed => {
            let allowed = |ordinal| allowed.is_none_or(|allowed| allowed(ordinal));
            heaps.reset(ef);
            walk.enter(&[entry], heaps, allowed);
            walk.run(base, heaps, allowed)?;
            let mut keys: Vec<_> = heaps.drain().collect();
            keys.sort_unstable();
            keys
        }
    };
    Ok(keys.into_iter().map(|key| (key.distance(), key.ordinal())).collect())
}

/// The point of level 0 to start from.
fn descend(links: &Links<'_>, walk: &mut Walk<'_, impl Scorer>) -> Result<u32> {
    let mut nearest = walk.key(links.entry_point());
    for level in (1..links.levels()).rev() {
        let level = links.upper(level)?;
        let start = level.rank(nearest.ordinal())?;
        (nearest, _) = walk.descend(&level.table, (nearest, start), |rank| level.ordinal(rank))?;
    }
    Ok(nearest.ordinal())
}
