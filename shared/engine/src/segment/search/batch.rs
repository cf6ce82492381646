//! Several queries, one segment.

use cairn_model::{Filter, VectorQuery};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::{Filtered, Found, doubt};
use crate::{
    Result, Watch,
    hot::Hot,
    segment::{Segment, groups::Held},
};

/// A vector that some queries name, if the segment holds it, and what their filter lets pass of its rows.
struct Target<'a> {
    name: &'a str,
    held: Option<(Held<'a>, Filtered<'a>)>,
}

impl Segment {
    /// As [`Segment::search`] for each of `queries`, on the threads of the current rayon pool. A filter that several of them have is evaluated
    /// once. With `hot` as [`Segment::search_hot`].
    ///
    /// # Errors
    /// As [`Segment::search`], of any of the queries.
    pub fn search_batch(&self, queries: &[VectorQuery], hot: Option<&Hot>, watch: &dyn Watch) -> Result<Vec<Found>> {
        let mut groups: Vec<(Option<&Filter>, Vec<usize>)> = Vec::new();
        for (at, query) in queries.iter().enumerate() {
            let filter = query.filter.as_ref();
            match groups.iter_mut().find(|(known, _)| *known == filter) {
                Some((_, queries)) => queries.push(at),
                None => groups.push((filter, vec![at])),
            }
        }
        let view = self.view()?;
        let group = |(filter, group): (Option<&Filter>, Vec<usize>)| -> Result<Vec<(usize, Found)>> {
            // Most requests are one query, whose filter is perhaps not settled at all.
            if let [at] = group[..] {
                let Some(held) = self.held(&queries[at].using)? else {
                    return Ok(vec![(at, Found::nothing())]);
                };
                let doubt = doubt(filter, &view, watch)?;
                return Ok(vec![(at, self.ask(&held, &queries[at], doubt, (hot, None), watch)?)]);
            }
            let settled = doubt(filter, &view, watch)?.map(|doubt| doubt.settle()).transpose()?;
            let targets = self.targets(group.iter().map(|&at| queries[at].using.as_str()), settled.as_ref())?;
            let answer = |&at: &usize| {
                let query = &queries[at];
                let target = targets.iter().find(|target| target.name == query.using);
                let found = match target.and_then(|target| target.held.as_ref()) {
                    Some((held, filtered)) => self.answer(held, query, filtered, (hot, None), watch)?,
                    None => Found::nothing(),
                };
                Ok((at, found))
            };
            group.par_iter().map(answer).collect()
        };
        let parts: Vec<Vec<(usize, Found)>> = groups.into_par_iter().map(group).collect::<Result<_>>()?;
        let mut found = parts.concat();
        found.sort_unstable_by_key(|&(at, _)| at);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    /// Each name once, under a filter that these points pass, if there is one.
    fn targets<'a>(
        &'a self,
        names: impl Iterator<Item = &'a str>,
        points: Option<&RoaringBitmap>,
    ) -> Result<Vec<Target<'a>>> {
        let mut targets: Vec<Target<'a>> = Vec::new();
        for name in names {
            if targets.iter().any(|target| target.name == name) {
                continue;
            }
            let filtered = |held: Held<'a>| {
                let filtered = points.map_or(Ok(Filtered::All), |points| Filtered::of_points(&held, points))?;
                Ok((held, filtered))
            };
            let held = self.held(name)?.map(filtered).transpose()?;
            targets.push(Target { name, held });
        }
        Ok(targets)
    }
}
