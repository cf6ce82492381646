//! Points as they are shown, and the requests that read them without searching.

use std::collections::HashSet;

use cairn_model::{Filter, OrderValue, PointId, SearchParams, Vector, Vectors, limits::IDS_MAX};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use super::{
    check_filter, check_limit,
    field::Ignored,
    order::OrderBy,
    selector::{WithPayload, WithVector},
};
use crate::{
    error::{Error, Result},
    request::{Query, Record, Request, ScoredPoint, Scroll},
    select::{PayloadSelector, VectorSelector},
};

/// Points of a page that does not say how many.
const PAGE_DEFAULT: usize = 10;

/// The vectors of a point: a bare one when it is the unnamed one and no other is shown, else an object of names. A sparse one is never bare: its own
/// object would look like one of names.
#[derive(Debug)]
pub struct VectorsBody<'a>(&'a Vectors);

impl Serialize for VectorsBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0.first_key_value() {
            Some((name, vector))
                if name.is_empty() && self.0.len() == 1 && !matches!(vector, Vector::Sparse { .. }) =>
            {
                VectorBody(vector).serialize(serializer)
            }
            _ => serializer.collect_map(self.0.iter().map(|(name, vector)| (name, VectorBody(vector)))),
        }
    }
}

/// One vector: its values, those of several one after another, or where a sparse one is not zero, and its values there.
struct VectorBody<'a>(&'a Vector);

impl Serialize for VectorBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            Vector::Dense(values) => values.serialize(serializer),
            Vector::Multi { dim, values } => serializer.collect_seq(values.chunks((*dim as usize).max(1))),
            Vector::Sparse { indices, values } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("indices", indices)?;
                map.serialize_entry("values", values)?;
                map.end()
            }
        }
    }
}

/// A point without a score.
#[derive(Debug, Serialize)]
pub struct RecordBody<'a> {
    id: PointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<OrderValue>,
}

impl<'a> From<&'a Record> for RecordBody<'a> {
    fn from(record: &'a Record) -> Self {
        let (payload, vector) = (record.payload.as_deref(), record.vectors.as_ref().map(VectorsBody));
        Self { id: record.id, payload, vector, order_value: None }
    }
}

impl<'a> RecordBody<'a> {
    /// A point of a scroll in an order.
    #[must_use]
    pub fn ordered(point: &'a ScoredPoint) -> Self {
        Self { order_value: point.order_value, ..Self::from(&point.record) }
    }
}

/// A point with its score.
#[derive(Debug, Serialize)]
pub struct ScoredPointBody<'a> {
    id: PointId,
    /// Always 0: points of immutable segments have no versions.
    version: u64,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<OrderValue>,
}

impl<'a> From<&'a ScoredPoint> for ScoredPointBody<'a> {
    fn from(point: &'a ScoredPoint) -> Self {
        let RecordBody { id, payload, vector, order_value } = RecordBody::ordered(point);
        Self { id, version: 0, score: point.score, payload, vector, order_value }
    }
}

/// Body of `points`: retrieve by id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointRequest {
    /// Which points.
    pub ids: Vec<PointId>,
    /// Which payload to return; all by default.
    pub with_payload: Option<WithPayload>,
    /// Which vectors to return.
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    /// Ignored: there are no shard keys.
    #[serde(default)]
    pub shard_key: Ignored,
}

/// What `points` asks for.
#[derive(Debug)]
pub struct Retrieve {
    /// Which points, each once.
    pub ids: Vec<PointId>,
    /// Which payload.
    pub with_payload: PayloadSelector,
    /// Which vectors.
    pub with_vector: VectorSelector,
}

impl PointRequest {
    /// Checks and converts.
    ///
    /// # Errors
    /// When there are too many ids.
    pub fn check(self) -> Result<Retrieve> {
        if self.ids.len() > IDS_MAX {
            let why = format!("{} IDs are given, at most {IDS_MAX} are allowed", self.ids.len());
            return Err(Error::body("point_request.ids", why));
        }
        let mut asked = HashSet::with_capacity(self.ids.len());
        Ok(Retrieve {
            // A point is shown once, however often it is asked for.
            ids: self.ids.into_iter().filter(|id| asked.insert(*id)).collect(),
            with_payload: self.with_payload.map_or(PayloadSelector::All, |with| with.0),
            with_vector: self.with_vector.map(|with| with.0).unwrap_or_default(),
        })
    }
}

/// Body of `points/scroll`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrollRequest {
    /// First id of the page.
    pub offset: Option<PointId>,
    /// Points of the page.
    pub limit: Option<usize>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// Which payload to return; all by default.
    pub with_payload: Option<WithPayload>,
    /// Which vectors to return.
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    /// By which field to order points; by id when missing.
    pub order_by: Option<OrderBy>,
    /// Ignored: there are no shard keys.
    pub shard_key: Ignored,
}

/// What `points/scroll` asks for.
#[derive(Debug)]
pub enum Listing {
    /// A page by id.
    ById(Scroll),
    /// The first points in an order.
    Ordered(Request),
}

impl ScrollRequest {
    /// Checks and converts.
    ///
    /// # Errors
    /// Names the field that is out of range; when an order is to begin at an id.
    pub fn check(self) -> Result<Listing> {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        check_limit("scroll_request.", limit, 0)?;
        let filter = check_filter("scroll_request.", self.filter)?;
        let with_payload = self.with_payload.map_or(PayloadSelector::All, |with| with.0);
        let with_vector = self.with_vector.map(|with| with.0).unwrap_or_default();
        let Some(OrderBy(order)) = self.order_by else {
            return Ok(Listing::ById(Scroll { from: self.offset, filter, limit, with_payload, with_vector }));
        };
        if self.offset.is_some() {
            return Err(Error::Invalid(
                "Cannot use an `offset` when using `order_by`. The alternative for paging is to use \
                 `order_by.start_from` and a filter to exclude the IDs that you've already seen for the \
                 `order_by.start_from` value"
                    .into(),
            ));
        }
        Ok(Listing::Ordered(Request {
            query: Query::Order(order),
            using: None,
            filter,
            params: SearchParams::default(),
            partial: false,
            limit,
            offset: 0,
            score_threshold: None,
            with_payload,
            with_vector,
            cost_max: None,
        }))
    }
}

/// Result of `points/scroll`.
#[derive(Debug, Serialize)]
pub struct ScrollResult<'a> {
    /// Points by id, or as they were ordered.
    pub points: Vec<RecordBody<'a>>,
    /// First id of the next page; none where they were ordered.
    pub next_page_offset: Option<PointId>,
}

/// Body of `points/count`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountRequest {
    /// Which points count.
    pub filter: Option<Filter>,
    /// Ignored: counts are always exact.
    pub exact: Option<bool>,
    /// Ignored: there are no shard keys.
    pub shard_key: Ignored,
}

impl CountRequest {
    /// Checks and converts: the filter, if there is one.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn check(self) -> Result<Option<Filter>> {
        check_filter("count_request.", self.filter)
    }
}

/// Result of `points/count`.
#[derive(Debug, Serialize)]
pub struct CountResult {
    /// Points that match.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_unnamed_vector_alone_is_bare_and_never_a_sparse_one() {
        let dense = || Vector::Dense(vec![1.0, 2.0]);
        let multi = || Vector::Multi { dim: 2, values: vec![1.0, 2.0, 3.0, 4.0] };
        let sparse = || Vector::Sparse { indices: vec![3, 9], values: vec![0.5, 1.0] };
        let (rows, words) = (json!([[1.0, 2.0], [3.0, 4.0]]), json!({"indices": [3, 9], "values": [0.5, 1.0]}));
        for (vectors, shown) in [
            (vec![], json!({})),
            (vec![("", dense())], json!([1.0, 2.0])),
            (vec![("", multi())], rows.clone()),
            (vec![("", sparse())], json!({ "": words })),
            (vec![("a", dense())], json!({"a": [1.0, 2.0]})),
            (vec![("", dense()), ("r", multi()), ("s", sparse())], json!({"": [1.0, 2.0], "r": rows, "s": words})),
        ] {
            let vectors = vectors.into_iter().map(|(name, vector)| (name.to_owned(), vector)).collect();
            assert_eq!(serde_json::to_value(VectorsBody(&vectors)).unwrap(), shown);
        }
    }
}
