//! Trees of leaves: a root that has more leaves to ask than it should asks some of them to be sub-roots for the others.
//!
//! A sub-root gets the segments of its team and the team's addresses. It divides them as the root would have: who draws the highest number of
//! all leaves draws the highest of its team, so that caches stay as warm as without a tree. Any leaf can be the sub-root of any team: when one fails, another
//! gets the same frame. Every frame says how many levels may still come below it, one fewer each time, so that whatever frames say and whoever
//! they name, requests end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use cairn_engine::merge;
use cairn_model::Usage;

use super::{
    Ask, Fanout, Part, Question, Team,
    endpoint::Endpoint,
    hedges, place,
    transport::{Http, Transport},
};
use crate::{
    error::Result,
    settings::{FanoutSettings, LeafUrl},
};

/// Levels of sub-roots, at most: beyond, the lowest ask all that are left.
pub(super) const DEPTH_MAX: u8 = 3;
/// Leaves that stand in for a team's own, when these fail their sub-root.
const STAND_INS: usize = 8;
/// Leaves that a sub-root remembers.
const KNOWN_MAX: usize = 2 * FanoutSettings::LEAVES_MAX;

/// What one request to a leaf is about.
#[derive(Debug)]
pub(super) struct Share {
    /// Who is asked, and who in its place.
    pub(super) order: Vec<usize>,
    /// Leaves that have some of the segments.
    pub(super) members: u64,
    pub(super) segments: Vec<String>,
    /// Empty for the segments of one leaf.
    pub(super) team: Team,
}

impl Fanout {
    /// One request for every group; or fewer, for teams of neighbouring leaves, where there are too many groups.
    pub(super) fn teams(&self, names: &[&str], groups: Vec<(usize, Vec<String>)>) -> Vec<Share> {
        let depth = self.depth.unwrap_or_else(|| levels(groups.len(), self.width));
        if groups.len() <= self.width || depth == 0 {
            let alone = |(first, segments)| Share {
                order: place::order(names, first),
                members: 1,
                segments,
                team: Team::default(),
            };
            return groups.into_iter().map(alone).collect();
        }
        let (count, mut groups) = (groups.len(), groups.into_iter());
        let team = |number: usize| {
            let size = (number + 1) * count / self.width - number * count / self.width;
            let own: Vec<(usize, Vec<String>)> = groups.by_ref().take(size).collect();
            let leaves: Vec<usize> = own.iter().map(|(leaf, _)| *leaf).collect();
            let first = leaves.first().copied().unwrap_or_default();
            let others = place::order(names, first).into_iter().filter(|leaf| !leaves.contains(leaf));
            let order: Vec<usize> = leaves.iter().copied().chain(others).collect();
            let stand_ins = order.iter().skip(size).take(STAND_INS);
            let named = leaves.iter().chain(stand_ins).map(|&leaf| LeafUrl(names[leaf].to_owned()));
            let team = match size {
                1 => Team::default(),
                _ => Team { leaves: named.collect(), members: size, width: self.width, depth: depth - 1 },
            };
            Share { order, members: size as u64, segments: own.into_iter().flat_map(|(_, own)| own).collect(), team }
        };
        (0..self.width).map(team).collect()
    }
}

/// Levels of sub-roots that leave no server with more than `width` of `leaves` to ask, as far as there may be so many.
fn levels(leaves: usize, width: usize) -> u8 {
    let reach = |depth: &u8| width.saturating_pow(u32::from(*depth) + 1);
    (0..DEPTH_MAX).find(|depth| reach(depth) >= leaves).unwrap_or(DEPTH_MAX)
}

/// What a server needs to ask leaves that a root names.
#[derive(Debug)]
pub(crate) struct SubRoot {
    transport: Arc<Http>,
    hedges: usize,
    /// How each leaf has been lately, as a leaf and as the head of a team.
    known: Mutex<HashMap<String, [Arc<Endpoint>; 2]>>,
}

impl SubRoot {
    /// `None` where a root may not ask for that.
    ///
    /// # Errors
    /// When there is no client.
    pub(crate) fn new(settings: &FanoutSettings) -> Result<Option<Self>> {
        if !settings.sub_root {
            return Ok(None);
        }
        Ok(Some(Self { transport: Arc::new(Http::new(settings)?), hedges: hedges(settings), known: Mutex::default() }))
    }

    /// Answers for a team.
    ///
    /// # Errors
    /// `Elsewhere` when one of the team is missing and may not be; what a leaf says is wrong.
    pub(crate) async fn answer(&self, ask: &Ask) -> Result<Part> {
        let gathered = self.fanout(&ask.team).gather(ask).await?;
        let asked = gathered.asked;
        let (parts, lost) = gathered.complete(ask.partial)?;
        Ok(merged(ask, parts, (asked, lost)))
    }

    fn fanout(&self, team: &Team) -> Fanout {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > KNOWN_MAX {
            known.clear();
        }
        let mut endpoint = |leaf: &LeafUrl| -> [Arc<Endpoint>; 2] {
            let new = || [(); 2].map(|()| Arc::new(Endpoint::new(leaf.0.clone())));
            known.entry(leaf.0.clone()).or_insert_with(new).clone()
        };
        let (endpoints, heads) = team.leaves.iter().map(|leaf| endpoint(leaf).into()).unzip();
        let (members, width, depth) = (team.members, team.width, Some(team.depth));
        let transport = Arc::clone(&self.transport) as Arc<dyn Transport>;
        Fanout { endpoints, heads, members, transport, hedges: self.hedges, width, depth }
    }
}

/// The nearest of all parts, as one leaf with all segments would have found them.
fn merged(ask: &Ask, mut parts: Vec<Part>, (asked, lost): (u64, u64)) -> Part {
    let one = |(at, question): (usize, &Question)| {
        let lists: Vec<_> = parts.iter_mut().map(|part| std::mem::take(&mut part.answers[at])).collect();
        merge::top_k(lists, question.query.k, |hit| (hit.distance, hit.record.id))
    };
    let answers = ask.queries.iter().enumerate().map(one).collect();
    Part { answers, usage: Usage { leaves: asked, leaves_failed: lost, ..spent(&parts) } }
}

/// What parts took together: they waited for the store beside one another.
pub(crate) fn spent(parts: &[Part]) -> Usage {
    let mut usage = Usage::default();
    parts.iter().for_each(|part| usage += Usage { waves: 0, leaves: 0, leaves_failed: 0, ..part.usage });
    usage.waves = parts.iter().map(|part| part.usage.waves).max().unwrap_or_default();
    usage
}
