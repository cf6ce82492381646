//! What a leaf is asked: some segments of one generation, and queries for them.

use std::time::Duration;

use cairn_model::{CollectionName, PointId, VectorQuery, limits::BATCH_MAX};

use super::{
    filter::{Rest, rest_text},
    tree::DEPTH_MAX,
    wire::{FrameError, Reader, Result, Writer, wrong},
};
use crate::{
    select::{PayloadSelector, VectorSelector},
    settings::{FanoutSettings, LeafUrl},
};

/// Largest frame that asks.
pub const ASK_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"CRNQ";
/// Bytes of a query without its vector and its JSON.
const QUERY_BYTES_MIN: usize = 21;

/// What a leaf is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Of which collection.
    pub collection: CollectionName,
    /// Of which generation of it, a ULID: the leaf's own newest one may be another.
    pub generation: String,
    /// Which version of `collection.json` the root reads, by its writer: it says which rows count no more.
    pub version: String,
    /// How long the leaf may take.
    pub limit: Duration,
    /// Which segments, by their ULIDs.
    pub segments: Vec<String>,
    /// Points that count no more in segments, by shard: the root knows what became of them.
    pub shadows: Vec<(u32, Vec<PointId>)>,
    /// Who is to search them, where it is not who is asked.
    pub team: Team,
    /// Whether an answer without some of the team is better than none.
    pub partial: bool,
    /// The queries.
    pub queries: Vec<Question>,
}

/// The leaves among which a sub-root divides what it is asked; none for a leaf that searches by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Team {
    /// Their addresses: first those that have the segments by rendezvous hashing, then those that stand in for them.
    pub leaves: Vec<LeafUrl>,
    /// How many of them have segments.
    pub members: usize,
    /// How many leaves one server asks at most, while there may be levels below.
    pub width: usize,
    /// Levels of sub-roots that may still come below.
    pub depth: u8,
}

impl Team {
    fn encode(&self, to: &mut Writer) {
        to.count(self.leaves.len());
        if self.leaves.is_empty() {
            return;
        }
        self.leaves.iter().for_each(|leaf| to.bytes(leaf.0.as_bytes()));
        to.count(self.members);
        to.count(self.width);
        to.u8(self.depth);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self> {
        const FIELD: &str = "the team";
        let count = from.count(4, FIELD)?;
        if count == 0 {
            return Ok(Self::default());
        }
        if count > FanoutSettings::LEAVES_MAX {
            let why = format!("{count} leaves, at most {} are allowed", FanoutSettings::LEAVES_MAX);
            return Err(wrong(FIELD, why));
        }
        let one = |from: &mut Reader<'_>| from.text(FIELD)?.parse::<LeafUrl>().map_err(|error| wrong(FIELD, error));
        let leaves = (0..count).map(|_| one(from)).collect::<Result<Vec<LeafUrl>>>()?;
        let mut number = || from.u32(FIELD).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let (members, width) = (number()?, number()?);
        let depth = from.u8(FIELD)?;
        if !(1..=count).contains(&members)
            || !(FanoutSettings::WIDTH_MIN..=FanoutSettings::LEAVES_MAX).contains(&width)
            || depth >= DEPTH_MAX
        {
            return Err(wrong(FIELD, format!("{members} of {count} members, width {width}, depth {depth}")));
        }
        Ok(Self { leaves, members, width, depth })
    }
}

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is looked for; `k` counts what the root will leave out.
    pub query: VectorQuery,
    /// Which payload the hits bring.
    pub payload: PayloadSelector,
    /// Which vectors.
    pub vector: VectorSelector,
}

impl Ask {
    /// The frame.
    ///
    /// # Errors
    /// `TooLarge` above [`ASK_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.encode_for(&self.segments, &self.team, self.limit)
    }

    /// The frame for other segments, another team and another limit.
    pub(super) fn encode_for(&self, segments: &[String], team: &Team, limit: Duration) -> Result<Vec<u8>> {
        let mut to = Writer::new(MAGIC);
        to.bytes(self.collection.as_str().as_bytes());
        to.name(&self.generation);
        to.name(&self.version);
        to.u32(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        to.count(segments.len());
        segments.iter().for_each(|segment| to.name(segment));
        to.count(self.shadows.len());
        for (shard, ids) in &self.shadows {
            to.u32(*shard);
            to.count(ids.len());
            ids.iter().for_each(|id| to.id(*id));
        }
        team.encode(&mut to);
        to.u8(self.partial.into());
        to.count(self.queries.len());
        for Question { query, payload, vector } in &self.queries {
            to.bytes(query.using.as_bytes());
            to.floats(&query.vector);
            to.count(query.k);
            match query.score_threshold {
                Some(threshold) => {
                    to.u8(1);
                    to.f32(threshold);
                }
                None => to.u8(0),
            }
            to.bytes(rest_text(query, payload, vector).as_bytes());
        }
        to.finish(ASK_BYTES_MAX)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(frame: &[u8]) -> Result<Self> {
        let mut from = Reader::new(frame, MAGIC, ASK_BYTES_MAX)?;
        let collection = from.text("the collection")?;
        let collection = CollectionName::parse(collection).map_err(|error| wrong("the collection", error))?;
        let generation = from.name("the generation")?.to_owned();
        let version = from.name("the version")?.to_owned();
        let limit = Duration::from_millis(from.u32("the limit")?.into());
        let segments = from.count(1, "the segments")?;
        let segments = (0..segments).map(|_| from.name("a segment").map(ToOwned::to_owned)).collect::<Result<_>>()?;
        let shadows = from.count(8, "the shadows")?;
        let shadow = |from: &mut Reader<'_>| {
            let shard = from.u32("the shadows")?;
            let ids = from.count(9, "the shadows")?;
            Ok((shard, (0..ids).map(|_| from.id("the shadows")).collect::<Result<_>>()?))
        };
        let shadows = (0..shadows).map(|_| shadow(&mut from)).collect::<Result<_>>()?;
        let team = Team::decode(&mut from)?;
        let partial = match from.u8("partial")? {
            0 => false,
            1 => true,
            other => return Err(wrong("partial", format!("flag {other}"))),
        };
        let queries = from.count(QUERY_BYTES_MIN - 4, "the queries")?;
        if queries > BATCH_MAX {
            return Err(wrong("the queries", format!("{queries} of them, at most {BATCH_MAX} are allowed")));
        }
        let queries = (0..queries).map(|_| Question::decode(&mut from)).collect::<Result<_>>()?;
        from.end()?;
        Ok(Self { collection, generation, version, limit, segments, shadows, team, partial, queries })
    }
}

impl Question {
    fn decode(from: &mut Reader<'_>) -> Result<Self> {
        let using = from.text("a vector's name")?.to_owned();
        let vector = from.floats("a vector")?;
        if vector.iter().any(|value| !value.is_finite()) {
            return Err(wrong("a vector", "has elements that are no finite numbers"));
        }
        let k = usize::try_from(from.u32("k")?).map_err(|error| wrong("k", error))?;
        // One more than a request may ask for: the point whose vector it is will be left out.
        if !(1..=cairn_model::limits::LIMIT_MAX + 1).contains(&k) {
            return Err(wrong("k", format!("{k} is out of its range")));
        }
        let score_threshold = match from.u8("a threshold")? {
            0 => None,
            1 => Some(from.f32("a threshold")?),
            other => return Err(wrong("a threshold", format!("flag {other}"))),
        };
        if score_threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err(wrong("a threshold", "is not a finite number"));
        }
        let Rest { filter, params, payload, vector: shown } = Rest::read(from.bytes("a query's JSON")?)?;
        let query = VectorQuery { using, vector, filter, k, params, score_threshold };
        Ok(Self { query, payload, vector: shown })
    }
}

impl From<FrameError> for crate::Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            // An older or a newer leaf may understand it.
            FrameError::Version(_) => Self::Elsewhere(error.to_string()),
            other => Self::Invalid(other.to_string()),
        }
    }
}
