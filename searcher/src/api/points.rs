//! Points as they are shown, and the requests that read them without searching.

use cairn_model::{Filter, PointId, limits::IDS_MAX};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use super::{
    check_limit,
    field::{Ignored, Later},
    selector::{WithPayload, WithVector},
};
use crate::{
    error::{Error, Result},
    request::{NamedVector, Record, ScoredPoint, Scroll},
    select::{PayloadSelector, VectorSelector},
};

/// Points of a page that does not say how many.
const PAGE_DEFAULT: usize = 10;

/// A vector: a bare array when it has no name, else an object of names.
#[derive(Debug)]
pub struct VectorBody<'a>(&'a NamedVector);

impl Serialize for VectorBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0.name.is_empty() {
            return self.0.values.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&*self.0.name, &self.0.values)?;
        map.end()
    }
}

/// A point without a score.
#[derive(Debug, Serialize)]
pub struct RecordBody<'a> {
    id: PointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorBody<'a>>,
}

impl<'a> From<&'a Record> for RecordBody<'a> {
    fn from(record: &'a Record) -> Self {
        Self { id: record.id, payload: record.payload.as_deref(), vector: record.vector.as_ref().map(VectorBody) }
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
    vector: Option<VectorBody<'a>>,
}

impl<'a> From<&'a ScoredPoint> for ScoredPointBody<'a> {
    fn from(point: &'a ScoredPoint) -> Self {
        let RecordBody { id, payload, vector } = RecordBody::from(&point.record);
        Self { id, version: 0, score: point.score, payload, vector }
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
    /// Which points.
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
        Ok(Retrieve {
            ids: self.ids,
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
    /// Not supported yet.
    pub order_by: Later,
    /// Ignored: there are no shard keys.
    pub shard_key: Ignored,
}

impl ScrollRequest {
    /// Checks and converts.
    ///
    /// # Errors
    /// Names the field that is out of range or not supported.
    pub fn check(self) -> Result<Scroll> {
        self.order_by.refuse("order_by")?;
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        check_limit("scroll_request.", limit, 0)?;
        Ok(Scroll {
            from: self.offset,
            filter: self.filter.filter(|filter| !filter.is_empty()),
            limit,
            with_payload: self.with_payload.map_or(PayloadSelector::All, |with| with.0),
            with_vector: self.with_vector.map(|with| with.0).unwrap_or_default(),
        })
    }
}

/// Result of `points/scroll`.
#[derive(Debug, Serialize)]
pub struct ScrollResult<'a> {
    /// Points by id.
    pub points: Vec<RecordBody<'a>>,
    /// First id of the next page.
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

/// Result of `points/count`.
#[derive(Debug, Serialize)]
pub struct CountResult {
    /// Points that match.
    pub count: u64,
}
