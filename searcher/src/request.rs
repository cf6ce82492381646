//! Requests and answers between the HTTP surface and the root, free of any wire form.

use cairn_model::{CollectionName, Filter, Order, OrderValue, Path, PointId, SearchParams, Vectors};
use cairn_storage::AsOf;
use serde_json::value::RawValue;

use crate::select::{PayloadSelector, VectorSelector};

/// A collection, as it is or as it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Which collection.
    pub collection: CollectionName,
    /// Which past of it; `None` is what it is now.
    pub as_of: Option<AsOf>,
}

impl From<CollectionName> for View {
    fn from(collection: CollectionName) -> Self {
        Self { collection, as_of: None }
    }
}

/// What to look for.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Points near this vector.
    Vector(Vec<f32>),
    /// Points near this point, without it.
    Point(PointId),
    /// Any points, in the order of their ids.
    All,
    /// Any points, in an order of their values.
    Order(Order),
}

impl Query {
    /// Whether points are listed, not searched for.
    #[must_use]
    pub const fn lists(&self) -> bool {
        matches!(self, Self::All | Self::Order(_))
    }
}

/// One query of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to look for.
    pub query: Query,
    /// The vector's name; `None` is the unnamed one.
    pub using: Option<String>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// How hard to search.
    pub params: SearchParams,
    /// Whether an answer without some of the leaves is better than none. It says so.
    pub partial: bool,
    /// Points to return; at least 1.
    pub limit: usize,
    /// Points to leave out first.
    pub offset: usize,
    /// Only points at least as good as this score.
    pub score_threshold: Option<f32>,
    /// Which payload to return.
    pub with_payload: PayloadSelector,
    /// Which vectors to return.
    pub with_vector: VectorSelector,
    /// Billionths of a dollar that the query may be estimated to cost.
    pub cost_max: Option<u64>,
}

impl Request {
    /// The `limit` points nearest to `vector`, ids and scores only.
    #[must_use]
    pub fn nearest(vector: Vec<f32>, limit: usize) -> Self {
        Self {
            query: Query::Vector(vector),
            using: None,
            filter: None,
            params: SearchParams::default(),
            partial: false,
            limit,
            offset: 0,
            score_threshold: None,
            with_payload: PayloadSelector::None,
            with_vector: VectorSelector::None,
            cost_max: None,
        }
    }
}

/// A page of points in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Scroll {
    /// First id of the page.
    pub from: Option<PointId>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// Points of the page; at least 1.
    pub limit: usize,
    /// Which payload to return.
    pub with_payload: PayloadSelector,
    /// Which vectors to return.
    pub with_vector: VectorSelector,
}

/// How many points have which value.
#[derive(Clone, Debug, PartialEq)]
pub struct Facet {
    /// Whose values.
    pub key: Path,
    /// Which points count.
    pub filter: Option<Filter>,
    /// Values to return; at least 1.
    pub limit: usize,
}

/// A point of an answer.
#[derive(Clone, Debug)]
pub struct Record {
    /// Id.
    pub id: PointId,
    /// The selected payload as JSON text; `None` when none was asked for.
    pub payload: Option<Box<RawValue>>,
    /// The selected vectors that the point has, as stored: those under Cosine are normalised. `None` when none was asked for.
    pub vectors: Option<Vectors>,
}

/// A point and how near it is.
#[derive(Clone, Debug)]
pub struct ScoredPoint {
    /// The score, in the metric's own convention (see `Distance::score`).
    pub score: f32,
    /// The value by which it was ordered, in the answer to such a query.
    pub order_value: Option<OrderValue>,
    /// The point.
    pub record: Record,
}

/// One page and where the next begins.
#[derive(Clone, Debug)]
pub struct Page {
    /// Points by id.
    pub points: Vec<Record>,
    /// First id of the next page, if there is one.
    pub next: Option<PointId>,
}
