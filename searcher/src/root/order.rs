//! Points in an order of their values, over all segments.

use cairn_engine::{Watch, merge};
use cairn_model::{Filter, Order, OrderPlace, OrderValue};
use rayon::prelude::*;

use super::{Job, job::wrong_query};
use crate::{
    error::{Result, gather},
    leaf::{Candidate, Leaf},
    request::{Query, Request, ScoredPoint},
};

impl Job {
    /// The first `limit` entries of an order over all leaves: a point is one for each of its values.
    pub(super) fn ordered(
        &self,
        order: &Order,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<(OrderValue, Candidate)>> {
        let filter = self.settled_filter(filter);
        let filter = filter.as_deref();
        let one = |(at, leaf): (usize, &std::sync::Arc<Leaf>)| {
            let entries = leaf.ordered(order, filter, limit, watch)?.into_iter();
            let candidate = |id, ordinal| Candidate { distance: 0.0, id, leaf: at, ordinal };
            Ok(entries.map(|entry| (entry.value, candidate(entry.id, entry.ordinal))).collect())
        };
        let mut lists: Vec<Vec<(OrderValue, Candidate)>> =
            gather(self.leaves.par_iter().enumerate().map(one).collect())?;
        for (at, fresh) in self.fresh() {
            let entries = fresh.ordered(order, filter, limit, watch).map_err(wrong_query)?.into_iter();
            let candidate = |id| Candidate { distance: 0.0, id, leaf: at, ordinal: 0 };
            lists.push(entries.map(|(value, id)| (value, candidate(id))).collect());
        }
        Ok(merge::top_k(lists, limit, |(value, candidate)| order.place(*value, candidate.id)))
    }
}

/// For each request that lists points, one list of what all groups of segments list; a group's answers are in the order of the requests.
pub(super) fn joined_listings(requests: &[Request], groups: Vec<Vec<Vec<ScoredPoint>>>) -> Vec<Vec<ScoredPoint>> {
    let mut lists: Vec<Vec<Vec<ScoredPoint>>> = requests.iter().map(|_| Vec::new()).collect();
    for group in groups {
        lists.iter_mut().zip(group).for_each(|(lists, list)| lists.push(list));
    }
    let join = |(request, lists): (&Request, Vec<Vec<ScoredPoint>>)| {
        merge::top_k(lists, request.limit + request.offset, |point| place(&request.query, point))
    };
    requests.iter().zip(lists).map(join).collect()
}

/// Where a point stands among those that a query lists.
fn place(query: &Query, point: &ScoredPoint) -> OrderPlace {
    let id = point.record.id;
    match (query, point.order_value) {
        (Query::Order(order), Some(value)) => order.place(value, id),
        // By id alone.
        _ => OrderPlace::Ascending(OrderValue::Integer(0), id),
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::{Path, PointId};

    use super::*;
    use crate::request::Record;

    #[test]
    fn groups_are_joined_in_the_order_of_each_request() {
        let order = |descending| Query::Order(Order { key: Path::key("a"), descending, from: None });
        let request = |query| Request { query, limit: 2, offset: 1, ..Request::nearest(Vec::new(), 1) };
        let requests = [request(order(true)), request(Query::All), request(order(false))];
        let point = |id: u64, value: Option<i64>| ScoredPoint {
            score: 1.0,
            order_value: value.map(OrderValue::Integer),
            record: Record { id: PointId::Num(id), payload: None, vectors: None },
        };
        let by_id = |ids: &[u64]| ids.iter().map(|id| point(*id, None)).collect::<Vec<_>>();
        let ordered = |entries: &[(u64, i64)]| entries.iter().map(|(id, v)| point(*id, Some(*v))).collect::<Vec<_>>();
        let groups = vec![
            vec![ordered(&[(1, 9), (2, 5)]), by_id(&[1, 2]), ordered(&[(3, 1), (2, 5)])],
            vec![ordered(&[(4, 9), (1, 7), (5, 6)]), by_id(&[4, 5]), ordered(&[(5, 0)])],
        ];
        let ids = |list: &Vec<ScoredPoint>| list.iter().map(|point| point.record.id.to_string()).collect::<String>();
        let joined = joined_listings(&requests, groups);
        assert_eq!(joined.iter().map(ids).collect::<Vec<_>>(), ["411", "124", "532"]);
    }
}
