//! What really happened, as the bucket saw it, and what everybody was told; they are held against one another.
//!
//! Moments are numbers that count what happens: of two things at the same time by the clock, it is known which was first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use cairn_model::{CollectionSchema, Edition};
use tokio::time::Instant;

use super::{
    super::CollectionDoc,
    points::{self, Changes, SHARDS, State},
};
use crate::{
    log::{AppendError, Appended, Frame},
    store::keys::ulid_of,
    testing::conformance::schema,
};

/// When something happened.
pub(super) type Moment = u64;
/// A shard of a generation.
pub(super) type Shard = (String, u32);

/// A write, and what its writer was told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) shard: Shard,
    pub(super) version: u64,
    pub(super) outcome: Result<Appended, AppendError>,
    pub(super) began: Moment,
    pub(super) ended: Moment,
}

/// What somebody who begins to read now has to see at least.
#[derive(Clone, Debug, Default)]
pub(super) struct Floor {
    /// So much of each log.
    logs: BTreeMap<Shard, u64>,
    /// These amendments of each generation's schema.
    amendments: BTreeMap<String, BTreeSet<u64>>,
}

#[derive(Debug)]
pub(super) struct Record {
    begun: Instant,
    /// Whether the trace is shown as it comes.
    shows: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    moment: Moment,
    versions: u64,
    trace: Vec<String>,
    /// Numbers of the ULIDs in keys, in the order of their coming: the trace has these, because ULIDs differ each time.
    numbers: HashMap<String, usize>,
    /// Which generation was served from when on.
    served: Vec<(Moment, Option<String>)>,
    /// What generations began with.
    bases: BTreeMap<Shard, State>,
    /// Everything that ever was in logs, by sequence number.
    logs: BTreeMap<Shard, Vec<Arc<Frame>>>,
    told: Vec<Told>,
    floor: Floor,
    deletions: Vec<(Moment, Option<Moment>)>,
    /// Editions of generations' schemas, and when whoever made them was told so.
    editions: Vec<(String, Edition, Moment)>,
}

impl Record {
    pub(super) fn new(shows: bool) -> Self {
        let inner = Inner { served: vec![(0, None)], ..Inner::default() };
        Self { begun: Instant::now(), shows, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Now.
    pub(super) fn moment(&self) -> Moment {
        self.inner().next()
    }

    /// The number of a write.
    pub(super) fn version(&self) -> u64 {
        let mut inner = self.inner();
        inner.versions += 1;
        inner.versions
    }

    pub(super) fn trace(&self, what: &str, key: &str, outcome: &str) {
        let ms = self.begun.elapsed().as_millis();
        let mut inner = self.inner();
        let parts: Vec<_> = key.split('/').map(|part| inner.named(part)).collect();
        let line = format!("{ms} {what} {} {outcome}", parts.join("/"));
        if self.shows {
            println!("{line}");
        }
        inner.trace.push(line);
    }

    pub(super) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().trace)
    }

    pub(super) fn is_put(&self, key: &str, content: &[u8]) {
        let mut inner = self.inner();
        let now = inner.next();
        match key.split('/').collect::<Vec<_>>()[..] {
            [_, _, "collection.json"] => {
                let doc: CollectionDoc = serde_json::from_slice(content).expect("a document");
                inner.served.push((now, Some(doc.generation)));
            }
            [_, _, generation, shard, "log", _] => {
                let frame = Arc::new(Frame::decode(content).expect("a log object"));
                let log = inner.logs.entry((generation.to_owned(), shard.parse().expect("a shard"))).or_default();
                // What is put once more, after the first one was collected, nobody reads.
                if frame.sequence >= log.len() as u64 {
                    assert_eq!(frame.sequence, log.len() as u64, "a log has a gap");
                    let before = log.iter().rev().find(|before| !before.is_end()).map_or(0, |before| before.edition);
                    assert!(frame.is_end() || before <= frame.edition, "a write of edition {before} came first");
                    log.push(frame);
                }
            }
            _ => {}
        }
    }

    pub(super) fn is_deleted(&self, key: &str) {
        if key.ends_with("/collection.json") {
            let mut inner = self.inner();
            let now = inner.next();
            inner.served.push((now, None));
        }
    }

    /// With what a shard of a generation begins.
    pub(super) fn begins(&self, shard: Shard, base: State) {
        self.inner().bases.insert(shard, base);
    }

    pub(super) fn tell(&self, told: Told) {
        self.trace("write", &told.version.to_string(), &format!("{:?}", told.outcome.as_ref().ok()));
        let mut inner = self.inner();
        if let Ok(at) = &told.outcome {
            inner.floor.reaches(&told.shard, at.sequence + 1);
        }
        inner.told.push(told);
    }

    pub(super) fn is_amended(&self, generation: &str, amendment: u64) {
        self.inner().floor.amendments.entry(generation.to_owned()).or_default().insert(amendment);
    }

    /// The vectors of a generation were changed, and from now on all that is acknowledged is of this edition at least.
    pub(super) fn is_succeeded(&self, generation: &str, edition: Edition) {
        let mut inner = self.inner();
        let now = inner.next();
        inner.editions.push((generation.to_owned(), edition, now));
    }

    pub(super) fn floor(&self) -> Floor {
        self.inner().floor.clone()
    }

    /// Deletions of the collection take others' objects away: while `deletion` is under way, and what was read before.
    pub(super) async fn deleting<T>(&self, deletion: impl Future<Output = T>) -> T {
        let began = self.moment();
        let at = {
            let mut inner = self.inner();
            inner.deletions.push((began, None));
            inner.deletions.len() - 1
        };
        let done = deletion.await;
        let mut inner = self.inner();
        let now = inner.next();
        inner.deletions[at].1 = Some(now);
        done
    }

    pub(super) fn is_deleted_since(&self, from: Moment) -> bool {
        self.inner().deletions.iter().any(|(_, ended)| ended.is_none_or(|ended| ended > from))
    }

    /// Whether this, or nothing, was served at some moment since then.
    pub(super) fn is_served_since(&self, generation: Option<&str>, from: Moment) -> bool {
        let mut inner = self.inner();
        let now = inner.next();
        inner.is_served_within(generation, from, now)
    }

    /// A read of so much of a shard's log brought this state: is it right, and late enough?
    pub(super) fn is_read(
        &self,
        floor: &Floor,
        shard: &Shard,
        (next, schema): (u64, &CollectionSchema),
        state: &State,
    ) {
        self.trace("read", &format!("{}/{}", shard.0, shard.1), &format!("up to {next}: {state:?}"));
        let mut inner = self.inner();
        let least = floor.logs.get(shard).copied().unwrap_or_default();
        assert!(next >= least, "{shard:?} is read up to {next}, but was known up to {least} before");
        assert_eq!(*state, inner.state(shard, next, schema), "{shard:?} up to {next}");
        let read = inner.logs.get(shard).map_or(&[] as &[_], |log| &log[..usize::try_from(next).unwrap()]);
        let edition = read.iter().map(|frame| frame.edition).max().unwrap_or_default();
        assert!(
            edition <= schema.editions.newest,
            "{shard:?}: writes of edition {edition} are read by an earlier schema"
        );
        inner.floor.reaches(shard, next);
    }

    /// A document was read: has it all amendments?
    pub(super) fn is_shown(&self, floor: &Floor, doc: &CollectionDoc) {
        let Some(amendments) = floor.amendments.get(&doc.generation) else { return };
        let shown = doc.schema.metadata.as_ref();
        let lost: Vec<_> =
            amendments.iter().filter(|one| shown.is_none_or(|all| !all.contains_key(&one.to_string()))).collect();
        assert!(lost.is_empty(), "amendments of generation {} are lost: {lost:?}", doc.generation);
    }

    /// How many objects a log ever had.
    pub(super) fn log_len(&self, shard: &Shard) -> u64 {
        self.inner().logs.get(shard).map_or(0, |log| log.len() as u64)
    }

    /// What must be true of all writes in the end. Returns how many were acknowledged, refused, unknown.
    pub(super) fn check_writes(&self) -> [u64; 3] {
        let inner = self.inner();
        let mut places = BTreeMap::<u64, Vec<(&Shard, Appended)>>::new();
        for (shard, frames) in &inner.logs {
            inner.check_computed(shard, frames);
            for frame in frames {
                for (part, changes) in (0..).zip(&frame.parts) {
                    let at = Appended { sequence: frame.sequence, part };
                    if let Some(version) = points::version(changes) {
                        places.entry(version).or_default().push((shard, at));
                    }
                }
            }
        }
        let mut counts = [0; 3];
        for told in &inner.told {
            let found = places.get(&told.version).map_or(&[] as &[_], Vec::as_slice);
            match &told.outcome {
                Ok(at) => {
                    counts[0] += 1;
                    assert_eq!(found, [(&told.shard, *at)], "was acknowledged: {told:?}");
                    inner.check_edition(told, *at);
                    let generation = Some(told.shard.0.as_str());
                    assert!(
                        inner.is_served_within(generation, told.began, told.ended),
                        "was acknowledged when its generation was not served: {told:?}"
                    );
                }
                Err(AppendError::Unknown(_)) => {
                    counts[2] += 1;
                    assert!(found.len() <= 1, "is there twice: {told:?}");
                }
                Err(_) => {
                    counts[1] += 1;
                    assert_eq!(found, [], "was refused: {told:?}");
                }
            }
        }
        inner.check_order();
        counts
    }
}

impl Inner {
    fn next(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    fn named(&mut self, part: &str) -> String {
        let (name, extension) = part.split_once('.').map_or((part, ""), |(name, extension)| (name, extension));
        if ulid_of(name).is_none() {
            return part.to_owned();
        }
        let next = self.numbers.len();
        format!("#{}.{extension}", self.numbers.entry(name.to_owned()).or_insert(next))
    }

    fn is_served_within(&self, generation: Option<&str>, from: Moment, to: Moment) -> bool {
        let ends = self.served.iter().skip(1).map(|(moment, _)| *moment).chain([Moment::MAX]);
        let mut spans = self.served.iter().zip(ends);
        spans.any(|((begin, served), end)| served.as_deref() == generation && *begin <= to && end > from)
    }

    /// What a shard came to when its log had so many objects.
    fn state(&self, shard: &Shard, next: u64, schema: &CollectionSchema) -> State {
        let mut changes: Changes = self.base(shard);
        let log = self.logs.get(shard).map_or(&[] as &[_], Vec::as_slice);
        assert!(next <= log.len() as u64, "{shard:?} is read up to {next}, and has {} objects", log.len());
        changes.extend(points::changes(schema, &log[..usize::try_from(next).unwrap()]));
        points::alive(changes)
    }

    fn base(&self, shard: &Shard) -> Changes {
        self.bases.get(shard).into_iter().flatten().map(|(id, row)| (*id, Some(*row))).collect()
    }

    /// What was computed from something comes right after it.
    fn check_computed(&self, shard: &Shard, frames: &[Arc<Frame>]) {
        let mut now = self.base(shard);
        let schema = schema(SHARDS);
        for changes in frames.iter().flat_map(|frame| &frame.parts) {
            if let Some((id, saw)) = points::saw(changes) {
                assert_eq!(
                    now.get(&id).copied().flatten().map(|row| row.version),
                    saw,
                    "{shard:?}: {changes:?} is computed from the past"
                );
            }
            points::apply(&mut now, (&schema, 0), changes);
        }
    }

    /// Whoever wrote knew of all changes of the vectors that were acknowledged before.
    fn check_edition(&self, told: &Told, at: Appended) {
        let edition = self.logs[&told.shard][usize::try_from(at.sequence).unwrap()].edition;
        let of = |(generation, _, since): &&(_, _, Moment)| *generation == told.shard.0 && *since < told.began;
        let known = self.editions.iter().filter(of).map(|(_, edition, _)| *edition).max();
        assert!(known <= Some(edition), "was written under edition {edition}, not {known:?}: {told:?}");
    }

    /// What was acknowledged before another write began comes before it.
    fn check_order(&self) {
        for first in &self.told {
            for second in &self.told {
                if let (Ok(first_at), Ok(second_at)) = (&first.outcome, &second.outcome)
                    && first.shard == second.shard
                    && first.ended < second.began
                {
                    assert!(first_at < second_at, "{first:?} ended before {second:?} began");
                }
            }
        }
    }
}

impl Floor {
    fn reaches(&mut self, shard: &Shard, next: u64) {
        let floor = self.logs.entry(shard.clone()).or_default();
        *floor = next.max(*floor);
    }
}
