//! Reading what was written: all of it is looked at, so every answer is exact.

use std::collections::BTreeMap;

use cairn_model::{Datatype, Filter, Order, OrderValue, Path, PointId, Scalar, VectorKind, VectorQuery};

use super::{Fresh, Put};
use crate::{
    Error, Result, Watch,
    kernel::ordered,
    merge::top_k,
    payload,
    segment::{Stored, ToStored, check, unit},
};

/// Points between two looks at the watch.
const WATCH_EVERY: usize = 1_024;

impl Fresh {
    /// The `query.k` nearest points that pass the filter and the score threshold, with their internal distances (smaller is nearer): nearest first,
    /// ties by id. They are those of an exact search in a segment of the same points.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector that cannot be searched, a wrong dimension or a non-finite query, [`Error::Cancelled`].
    pub fn search(&self, query: &VectorQuery, watch: &dyn Watch) -> Result<Vec<(PointId, f32)>> {
        let Some(VectorKind::Dense(&params)) = self.schema.kind(&query.using) else {
            return Err(Error::invalid("using", format!("there is no dense vector '{}'", query.using.escape_debug())));
        };
        check(&query.vector, params.size as usize)?;
        // Bytes are compared with bytes: their cosine does not need a unit vector.
        let unit = if params.datatype == Datatype::Uint8 { None } else { unit(&query.vector, params.distance) };
        let query_vector = unit.as_deref().unwrap_or(&query.vector);
        let scorer = ToStored::new(params, query_vector);
        let metric = params.distance;
        let passes = |distance| query.score_threshold.is_none_or(|least| metric.passes(metric.score(distance), least));
        let mut found = Vec::new();
        for matching in self.matching(None, query.filter.as_ref(), watch) {
            let (id, put) = matching?;
            let Some(row) = put.vectors.get(&*query.using).and_then(Stored::row) else { continue };
            let distance = scorer.distance(row);
            if passes(distance) {
                found.push((id, distance));
            }
        }
        Ok(top_k([found], query.k.max(1), |&(id, distance)| (ordered(distance), id)))
    }

    /// How many points match.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn count(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<u64> {
        if filter.is_none_or(Filter::is_empty) {
            return Ok(self.live as u64);
        }
        self.matching(None, filter, watch).try_fold(0, |count, matching| matching.map(|_| count + 1))
    }

    /// The first `limit` matching points in id order, with ids at or above `from`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn scroll(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<PointId>> {
        self.matching(from, filter, watch).take(limit).map(|matching| matching.map(|(id, _)| id)).collect()
    }

    /// The first `limit` entries of an order of the points that match: a point is one for each of its values.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn ordered(
        &self,
        order: &Order,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<(OrderValue, PointId)>> {
        let mut entries = Vec::new();
        for matching in self.matching(None, filter, watch) {
            let (id, put) = matching?;
            let values = payload::order_values(&order.key, &put.payload).into_iter();
            entries.extend(values.filter(|value| order.has(*value)).map(|value| (value, id)));
        }
        Ok(top_k([entries], limit, |&(value, id)| order.place(value, id)))
    }

    /// How many of the points that match have each value at `key`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn facet(&self, key: &Path, filter: Option<&Filter>, watch: &dyn Watch) -> Result<BTreeMap<Scalar, u64>> {
        let mut counts = BTreeMap::new();
        for matching in self.matching(None, filter, watch) {
            for value in payload::facet_values(key, &matching?.1.payload) {
                *counts.entry(value).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// The points that match, in id order.
    fn matching<'a>(
        &'a self,
        from: Option<PointId>,
        filter: Option<&'a Filter>,
        watch: &'a dyn Watch,
    ) -> impl Iterator<Item = Result<(PointId, &'a Put)>> {
        let filter = filter.filter(|filter| !filter.is_empty());
        self.rows.range(from.unwrap_or(PointId::Num(0))..).enumerate().filter_map(move |(i, (&id, row))| {
            if i.is_multiple_of(WATCH_EVERY) && watch.cancelled() {
                return Some(Err(Error::Cancelled));
            }
            let put = row.point()?;
            filter
                .is_none_or(|filter| payload::matches(filter, id, &put.payload, &|name| put.has_vector(name)))
                .then_some(Ok((id, put)))
        })
    }
}
