//! Fan-out: one server, the root, has others, its leaves, search the segments of a collection.
//!
//! | file | what |
//! |---|---|
//! | `place` | which leaf has which segment: rendezvous hashing, and who is next when one fails |
//! | `wire` | numbers and texts of frames, read without trust |
//! | `ask`, `part` | the two frames: what a leaf is asked, and what it answers |
//! | `filter` | filters and parameters as Qdrant's JSON, which a frame carries |
//! | `endpoint` | one leaf as the root knows it: how fast it has been lately, and whether it is down |
//! | `tree` | where there are too many leaves to ask: sub-roots, each of which asks some of them |
//! | `race` | one group of segments: the first answer wins, the slow and the failed are replaced |
//! | `transport`, `signature` | frames over HTTP, signed where a function of AWS asks for it |
//! | `invoke` | frames in the events of functions without a URL |
//! | `deadline` | when the request that is being answered must be answered |
//!
//! A leaf is stateless, as any searcher is: it reads the segments that it is asked for from the same store. So any leaf can take any
//! other's place, and that a segment is always asked of the same one only keeps caches warm.

mod ask;
pub(crate) mod deadline;
mod endpoint;
mod filter;
mod invoke;
mod part;
mod place;
mod race;
mod signature;
mod transport;
mod tree;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;

pub use ask::{ASK_BYTES_MAX, Ask, Question, Team};
pub use part::{Hit, PART_BYTES_MAX, Part};
pub use wire::{FrameError, VERSION};

pub(crate) use self::invoke::function;
pub(crate) use self::tree::{SubRoot, spent};
use self::{
    endpoint::Endpoint,
    race::{Failure, Field},
    transport::{Http, Transport},
    tree::Share,
};
use crate::{
    error::{Error, Result},
    settings::FanoutSettings,
};

/// Where a leaf answers frames.
pub const PATH: &str = "/internal/v1/search";
/// What a frame's body says it is.
pub const CONTENT_TYPE: &str = "application/x-cairn-frame";
/// Time for one request where nothing bounds it.
const LIMIT_DEFAULT: Duration = Duration::from_secs(60);
/// A tenth of the time that is left belongs to the merge and to writing the answer, at most this much.
const MERGE_MAX: Duration = Duration::from_millis(500);

/// The leaves of a root, or of a sub-root for one request.
#[derive(Debug)]
pub struct Fanout {
    /// As leaves that search.
    endpoints: Vec<Arc<Endpoint>>,
    /// The same as sub-roots, which answer later than those they ask.
    heads: Vec<Arc<Endpoint>>,
    /// How many of them have segments; the others stand in.
    members: usize,
    transport: Arc<dyn Transport>,
    /// How many are asked in the place of a slow one.
    hedges: usize,
    /// How many are asked at most, while there may be sub-roots.
    width: usize,
    /// Levels of sub-roots that may come below; `None` for as many as are needed.
    depth: Option<u8>,
}

/// What came back of the groups that a request was cut into.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) parts: Vec<Part>,
    /// Leaves that have some of the segments.
    pub(crate) asked: u64,
    /// Those of them whose segments nobody answered for.
    pub(crate) lost: u64,
}

impl Fanout {
    /// Leaves over HTTP; `None` when there are none.
    ///
    /// # Errors
    /// When there is no client for them.
    pub(crate) fn over_http(settings: &FanoutSettings) -> Result<Option<Self>> {
        if settings.leaves.is_empty() {
            return Ok(None);
        }
        let transport = Http::new(settings)?;
        let fanout = Self::new(settings.leaves.iter().map(|leaf| leaf.0.clone()), Arc::new(transport));
        Ok(Some(Self { width: settings.fanout_width, hedges: hedges(settings), ..fanout }))
    }

    fn new(urls: impl IntoIterator<Item = String>, transport: Arc<dyn Transport>) -> Self {
        let endpoints: Vec<Arc<Endpoint>> = urls.into_iter().map(|url| Arc::new(Endpoint::new(url))).collect();
        let heads = endpoints.iter().map(|endpoint| Arc::new(Endpoint::new(endpoint.url.clone()))).collect();
        let members = endpoints.len();
        let (hedges, width) = (race::HEDGES_MAX, FanoutSettings::LEAVES_MAX);
        Self { endpoints, heads, members, transport, hedges, width, depth: None }
    }

    fn field<'a>(&'a self, endpoints: &'a [Arc<Endpoint>]) -> Field<'a> {
        Field { endpoints, transport: &*self.transport, hedges: self.hedges }
    }

    /// Asks every leaf for its segments, in as many requests as there are leaves that have some; or sub-roots, where these are too many.
    ///
    /// # Errors
    /// When a frame would be too large, or a leaf says that the request is wrong.
    pub(crate) async fn gather(&self, ask: &Ask) -> Result<Gathered> {
        let left = deadline::left().unwrap_or(LIMIT_DEFAULT);
        let limit = left.saturating_sub((left / 10).min(MERGE_MAX));
        let names: Vec<&str> = self.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
        let groups = place::groups(&names[..self.members], &ask.segments);
        let asked = groups.len() as u64;
        let racing = self.teams(&names, groups).into_iter().map(|Share { order, members, segments, team }| {
            let endpoints = if team.leaves.is_empty() { &self.endpoints } else { &self.heads };
            async move {
                let frame: Bytes = ask.encode_for(&segments, &team, limit)?.into();
                let raced = race::first(self.field(endpoints), &order, (frame, ask.queries.len()), limit).await;
                Ok::<_, Error>((raced, members))
            }
        });
        let (mut parts, mut lost) = (Vec::new(), 0);
        for raced in join_all(racing).await {
            match raced? {
                (Ok(part), _) => {
                    // What a sub-root could not find out either.
                    lost += part.usage.leaves_failed;
                    parts.push(part);
                }
                // Another leaf would say the same.
                (Err(Failure::Refused(error)), _) => return Err(error),
                (Err(Failure::Failed(_)), members) => lost += members,
            }
        }
        Ok(Gathered { parts, asked, lost })
    }
}

/// How many leaves are asked in the place of a slow one.
fn hedges(settings: &FanoutSettings) -> usize {
    if settings.no_hedging { 0 } else { race::HEDGES_MAX }
}

impl Gathered {
    /// The answers, as far as the request can do without the rest: all of it, unless it said otherwise.
    ///
    /// # Errors
    /// `Elsewhere` when something is missing that may not be, or everything is.
    pub(crate) fn complete(self, partial: bool) -> Result<(Vec<Part>, u64)> {
        if self.lost > 0 && (!partial || self.parts.is_empty()) {
            let Self { lost, asked, .. } = self;
            return Err(Error::Elsewhere(format!("{lost} of {asked} leaves did not answer, please retry")));
        }
        Ok((self.parts, self.lost))
    }
}

/// How a race ended.
type Raced = std::result::Result<Part, Failure>;

#[cfg(test)]
mod tests;
