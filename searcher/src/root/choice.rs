//! Which segments a query needs, of a collection whose points are partitioned by space.
//!
//! What decides stands in the manifests, and a root and its leaves decide alike, so that a leaf need not be told. A query with a filter needs
//! all: what matches may lie anywhere. So does an exact one.

use std::{collections::BTreeSet, sync::Arc};

use cairn_engine::cluster::{
    Region,
    region::{Wanted, choose},
};
use cairn_model::{Distance, Partition, VectorQuery};
use cairn_storage::Collection;

use super::Shards;
use crate::{
    error::{Error, Result},
    request::{Query, Request},
};

/// The segments that each query of a batch needs.
#[derive(Debug, PartialEq)]
pub(super) struct Choice {
    /// `None` for all.
    needed: Vec<Option<BTreeSet<String>>>,
    /// Segments of the collection.
    all: usize,
}

impl Choice {
    /// # Errors
    /// `Segment` when a region is corrupt.
    pub(super) fn of(collection: &Collection, queries: &[VectorQuery]) -> Result<Self> {
        let skips = |query: &VectorQuery| !query.params.exact && query.filter.is_none();
        let all = collection.segments().count();
        if collection.doc.schema.partition != Partition::Space || !queries.iter().any(skips) {
            return Ok(Self { needed: vec![None; queries.len()], all });
        }
        let (_, params) = collection.doc.schema.only_vector().map_err(|error| Error::Invalid(error.to_string()))?;
        let unit = params.distance == Distance::Cosine;
        let mut segments = Vec::with_capacity(all);
        for (_, entry) in collection.segments() {
            let region = entry.region.as_ref().map(|bytes| Region::decode(bytes, params.size as usize)).transpose();
            segments.push((entry.points, region.map_err(|error| Error::segment(&entry.id, error))?.flatten()));
        }
        let one = |query: &VectorQuery| {
            if !skips(query) {
                return None;
            }
            let wanted = Wanted { query: &query.vector, unit, k: query.k, recall: query.params.recall };
            let chosen = choose(&segments, wanted);
            Some(
                collection
                    .segments()
                    .zip(chosen)
                    .filter(|(_, chosen)| *chosen)
                    .map(|((_, entry), _)| entry.id.clone())
                    .collect(),
            )
        };
        Ok(Self { needed: queries.iter().map(one).collect(), all })
    }

    /// Whether a query, by its place in the batch, needs a segment.
    pub(super) fn needs(&self, query: usize, segment: &str) -> bool {
        self.needed[query].as_ref().is_none_or(|needed| needed.contains(segment))
    }

    /// How many segments were left out, over all queries.
    pub(super) fn skipped(&self) -> u64 {
        self.needed.iter().flatten().map(|needed| (self.all - needed.len()) as u64).sum()
    }

    /// What any of the queries needs.
    pub(super) fn union(self) -> Shards {
        let needed: Option<Vec<BTreeSet<String>>> = self.needed.into_iter().collect();
        needed.map_or(Shards::All, |needed| Shards::Segments(Arc::new(needed.into_iter().flatten().collect())))
    }
}

/// The segments that requests need, as far as it is known before any is opened: a point's vector is not.
pub(super) fn shards(collection: &Collection, requests: &[Request]) -> Result<Shards> {
    if collection.doc.schema.partition == Partition::Hash {
        return Ok(Shards::All);
    }
    let query = |request: &Request| match &request.query {
        Query::Vector(vector) => Some(VectorQuery {
            using: request.using.clone().unwrap_or_default(),
            vector: vector.clone(),
            filter: request.filter.clone(),
            k: request.limit + request.offset,
            params: request.params,
            score_threshold: request.score_threshold,
        }),
        Query::Point(_) | Query::All | Query::Order(_) => None,
    };
    let queries: Option<Vec<VectorQuery>> = requests.iter().map(query).collect();
    queries.map_or(Ok(Shards::All), |queries| Ok(Choice::of(collection, &queries)?.union()))
}
