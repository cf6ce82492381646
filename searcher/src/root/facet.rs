//! Facets: how many points have which value, over all segments.
//!
//! A value that is rare in every segment may be frequent in all of them together, so every segment counts all of its values, and
//! what is returned is chosen from their sums.

use std::{cmp::Reverse, collections::BTreeMap};

use cairn_engine::Watch;
use cairn_model::{Filter, Path, Scalar, Usage, limits::FACET_VALUES_MAX};
use rayon::prelude::*;

use super::{Job, Shards, Wants, job::wrong_query};
use crate::{
    error::{Error, Result, gather},
    request::{Facet, View},
    searcher::Searcher,
    workers::Stop,
};

/// How many points have each value.
type Counts = BTreeMap<Scalar, u64>;

impl Searcher {
    /// The values that most points have, with how many have them; equally frequent ones by value.
    ///
    /// # Errors
    /// As [`Searcher::query`]; also when there are more than [`FACET_VALUES_MAX`] different values.
    pub async fn facet(&self, view: &View, request: Facet) -> Result<(Vec<(Scalar, u64)>, Usage)> {
        let call = self.call();
        let Facet { key, filter, limit } = request;
        let mut wants = Wants::of(Shards::All, filter.as_ref());
        wants.fields.insert(key.to_string());
        let work = move |job: &Job, stop: &Stop| job.facet(&key, filter.as_ref(), stop);
        let counts = self.answer(&call, view, move |_| Ok(wants.clone()), work, summed).await?;
        if counts.len() > FACET_VALUES_MAX {
            return Err(too_many());
        }
        Ok((most_frequent(counts, limit), call.usage()))
    }
}

impl Job {
    fn facet(&self, key: &Path, filter: Option<&Filter>, watch: &dyn Watch) -> Result<Counts> {
        let filter = self.settled_filter(filter);
        let filter = filter.as_deref();
        let counts = gather(self.leaves.par_iter().map(|leaf| leaf.facet(key, filter, watch)).collect())?;
        let fresh = self.fresh().map(|(_, fresh)| fresh.facet(key, filter, watch).map_err(wrong_query));
        let counts = summed(counts.into_iter().chain(gather(fresh.collect())?).collect());
        if counts.len() > FACET_VALUES_MAX { Err(too_many()) } else { Ok(counts) }
    }
}

fn too_many() -> Error {
    Error::Invalid(format!("key: the points have more than {FACET_VALUES_MAX} different values there: use a filter"))
}

fn summed(parts: Vec<Counts>) -> Counts {
    let sum = |mut all: Counts, part: Counts| {
        // The smaller goes into the larger.
        let part = if part.len() > all.len() { std::mem::replace(&mut all, part) } else { part };
        part.into_iter().for_each(|(value, count)| *all.entry(value).or_default() += count);
        all
    };
    parts.into_iter().fold(Counts::new(), sum)
}

fn most_frequent(counts: Counts, limit: usize) -> Vec<(Scalar, u64)> {
    let mut counts: Vec<(Scalar, u64)> = counts.into_iter().collect();
    // They come by value, and a stable sort keeps it so among equally frequent ones.
    counts.sort_by_key(|(_, count)| Reverse(*count));
    counts.truncate(limit);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_and_the_most_frequent_come_first() {
        let counts = |values: &[(i64, u64)]| values.iter().map(|(v, count)| (Scalar::Integer(*v), *count)).collect();
        let parts: Vec<Counts> = vec![counts(&[(1, 5), (2, 3), (9, 1)]), counts(&[(2, 3), (3, 6)]), Counts::new()];
        let all = summed(parts);
        assert_eq!(all, counts(&[(1, 5), (2, 6), (3, 6), (9, 1)]));
        let shown: Vec<i64> = most_frequent(all, 3)
            .into_iter()
            .map(|(value, _)| if let Scalar::Integer(value) = value { value } else { -1 })
            .collect();
        assert_eq!(shown, [2, 3, 1]);
    }
}
