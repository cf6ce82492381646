//! Frames there and back, and races on a clock that stands still.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use cairn_model::{CollectionName, PointId, SearchParams, Usage, Vector, VectorQuery, Vectors};
use futures::{FutureExt as _, future::BoxFuture};
use proptest::prelude::*;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{race::Failure, transport::Transport, *};
use crate::{
    request::Record,
    select::{PayloadSelector, VectorSelector},
};

fn question(vector: Vec<f32>, k: usize, score_threshold: Option<f32>) -> Question {
    let filter = serde_json::from_str(r#"{"must": [{"key": "a", "match": {"value": "x"}}]}"#).unwrap();
    let query =
        VectorQuery { using: "stone".into(), vector, filter, k, params: SearchParams::default(), score_threshold };
    Question { query, payload: PayloadSelector::All, vector: VectorSelector::Names(vec!["stone".into()]) }
}

fn ask() -> Ask {
    Ask {
        collection: CollectionName::parse("stones").unwrap(),
        generation: "01J00000000000000000000000".into(),
        version: "01J00000000000000000000001".into(),
        limit: Duration::from_millis(700),
        segments: (0..40).map(|number| format!("01J{number:023}")).collect(),
        shadows: vec![(3, vec![PointId::Num(7), PointId::Uuid(uuid::Uuid::from_u128(9))]), (4, vec![])],
        team: Team::default(),
        partial: false,
        queries: vec![question(vec![1.0, -2.5], 3, Some(0.5)), question(vec![0.0, 1e-40], 1, None)],
    }
}

fn hit(number: u64, distance: f32) -> Hit {
    let id = if number.is_multiple_of(2) {
        PointId::Num(number)
    } else {
        PointId::Uuid(uuid::Uuid::from_u128(number.into()))
    };
    let payload = (!number.is_multiple_of(3)).then(|| RawValue::from_string(format!(r#"{{"n": {number} }}"#)).unwrap());
    let vectors = (!number.is_multiple_of(5))
        .then(|| Vectors::from([("stone".to_owned(), Vector::Dense(vec![distance, f32::MAX]))]));
    Hit { distance, record: Record { id, payload, vectors } }
}

fn shown(part: &Part) -> String {
    format!("{part:?}")
}

/// A team of so many members and stand-ins.
fn team_of((members, stand_ins, width, depth): (usize, usize, usize, u8)) -> Team {
    let leaf = |number: usize| format!("http://10.0.{}.{}:6333", number / 200, number % 200).parse().unwrap();
    Team { leaves: (0..members + stand_ins).map(leaf).collect(), members, width, depth }
}

proptest! {
    #[test]
    fn frames_come_back(
        vectors in prop::collection::vec((prop::collection::vec(-1e30f32..1e30, 0..20), 1usize..100_000, prop::option::of(-9f32..9.0)), 0..4),
        numbers in prop::collection::vec(prop::collection::vec((any::<u64>(), -1e30f32..1e30), 0..6), 0..4),
        counts in any::<[u32; 4]>(),
        team in prop::option::of((1usize..20, 1usize..20, 2usize..1_025, 0u8..3)),
        partial in any::<bool>(),
    ) {
        let queries = vectors.into_iter().map(|(vector, k, threshold)| question(vector, k, threshold)).collect();
        let asked = Ask { queries, team: team.map(team_of).unwrap_or_default(), partial, ..ask() };
        prop_assert_eq!(Ask::decode(&asked.encode().unwrap()), Ok(asked));
        let [a, b, c, d] = counts.map(u64::from);
        let usage = Usage { vectors_scored: a, store_bytes: b, cache_misses: c, waves: d, leaves: a, leaves_failed: c, ..Usage::default() };
        let answers = numbers.iter().map(|hits| hits.iter().map(|(n, distance)| hit(*n, *distance)).collect()).collect();
        let part = Part { answers, usage };
        let again = Part::decode(&part.encode().unwrap(), part.answers.len()).unwrap();
        prop_assert_eq!(shown(&again), shown(&part));
        prop_assert!(Part::decode(&part.encode().unwrap(), part.answers.len() + 1).is_err());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let asked = Ask { team: team_of((3, 2, 64, 1)), ..ask() };
        let frames = [asked.encode().unwrap(), Part { answers: vec![vec![hit(1, 0.5), hit(2, 1.5)], vec![]], usage: Usage::default() }.encode().unwrap()];
        for frame in frames {
            let cut = &frame[..cut.index(frame.len())];
            prop_assert!(Ask::decode(cut).is_err() && Part::decode(cut, 2).is_err());
            let mut damaged = frame.clone();
            damaged[at.index(frame.len())] = byte;
            // What still can be read can be written.
            if let Ok(ask) = Ask::decode(&damaged) {
                prop_assert_eq!(Ask::decode(&ask.encode().unwrap()), Ok(ask));
            }
            if let Ok(part) = Part::decode(&damaged, 2) {
                prop_assert!(part.encode().is_ok());
            }
        }
    }

    #[test]
    fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), begins in any::<bool>()) {
        for magic in [*b"CRNQ\x02", *b"CRNA\x02"] {
            let bytes = if begins { [&magic[..], &bytes].concat() } else { bytes.clone() };
            let _ = Ask::decode(&bytes);
            let _ = Part::decode(&bytes, 1);
        }
    }
}

#[test]
fn another_version_is_named_and_asked_elsewhere() {
    let mut frame = ask().encode().unwrap();
    frame[4] = 9;
    let error = Ask::decode(&frame).unwrap_err();
    assert_eq!(error.to_string(), "frame version 9 is unknown, this version of Cairn reads 4");
    assert!(matches!(Error::from(error), Error::Elsewhere(_)));
    assert_eq!(Ask::decode(b"GET / HTTP/1.1").unwrap_err(), FrameError::Magic);
    let longer = [ask().encode().unwrap(), vec![0]].concat();
    assert!(Ask::decode(&longer).unwrap_err().to_string().contains("1 bytes follow"));
    let many = Ask { queries: vec![question(vec![0.5; 1 << 16], 1, None); 300], ..ask() };
    assert!(matches!(many.encode().unwrap_err(), FrameError::TooLarge { limit: ASK_BYTES_MAX, .. }));
}

/// What a leaf of a test does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u64),
    Fail(u64),
    Refuse,
    Hang,
}

/// Counts a request as stopped unless it comes to its end.
struct Stops(Arc<AtomicUsize>, bool);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(!self.1), Relaxed);
    }
}

#[derive(Debug, Default)]
struct Fake {
    does: HashMap<String, Does>,
    asked: Arc<Mutex<Vec<(String, u128)>>>,
    stopped: Arc<AtomicUsize>,
    began: Option<Instant>,
}

impl Transport for Fake {
    fn send<'a>(&'a self, url: &'a str, frame: Bytes) -> BoxFuture<'a, std::result::Result<Bytes, Failure>> {
        let at = self.began.unwrap().elapsed().as_millis();
        self.asked.lock().unwrap().push((url.to_owned(), at));
        let stops = Stops(Arc::clone(&self.stopped), false);
        async move {
            let mut stops = stops;
            let ask = Ask::decode(&frame).unwrap();
            let after = |millis| tokio::time::sleep(Duration::from_millis(millis));
            let answer = match self.does[url] {
                Does::Answer(millis) => {
                    after(millis).await;
                    let segments = Usage { segments: ask.segments.len() as u64, ..Usage::default() };
                    let answers = ask.queries.iter().map(|_| vec![hit(8, 0.5)]).collect();
                    Ok(Part { answers, usage: segments }.encode().unwrap().into())
                }
                Does::Fail(millis) => {
                    after(millis).await;
                    Err(Failure::Failed("status 503: busy".into()))
                }
                Does::Refuse => Err(Failure::Refused(Error::Invalid("no".into()))),
                Does::Hang => std::future::pending().await,
            };
            stops.1 = true;
            answer
        }
        .boxed()
    }
}

struct Race {
    fanout: Fanout,
    asked: Arc<Mutex<Vec<(String, u128)>>>,
    stopped: Arc<AtomicUsize>,
}

/// Four leaves in the order in which the first one's group asks them.
fn race(does: [Does; 4]) -> Race {
    let names = ["http://a", "http://b", "http://c", "http://d"];
    let order = place::order(&names, 0);
    let does = order.iter().zip(does).map(|(at, does)| (names[*at].to_owned(), does)).collect();
    let fake = Fake { does, began: Some(Instant::now()), ..Fake::default() };
    let (asked, stopped) = (Arc::clone(&fake.asked), Arc::clone(&fake.stopped));
    Race { fanout: Fanout::new(names.map(ToOwned::to_owned), Arc::new(fake)), asked, stopped }
}

impl Race {
    async fn first(&self, limit: u64) -> Raced {
        let names: Vec<&str> = self.fanout.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
        let frame = (ask().encode().unwrap().into(), 2);
        race::first(
            self.fanout.field(&self.fanout.endpoints),
            &place::order(&names, 0),
            frame,
            Duration::from_millis(limit),
        )
        .await
    }

    /// When each was asked, in order.
    fn times(&self) -> Vec<u128> {
        self.asked.lock().unwrap().drain(..).map(|(_, at)| at).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_leaf_is_asked_alone() {
    let one = race([Does::Answer(499), Does::Answer(0), Does::Hang, Does::Hang]);
    assert!(one.first(10_000).await.is_ok());
    assert_eq!(one.times(), [0]);
    assert_eq!(one.stopped.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_leaf_is_overtaken_and_stopped() {
    let one = race([Does::Hang, Does::Answer(30), Does::Hang, Does::Hang]);
    let began = Instant::now();
    assert!(one.first(10_000).await.is_ok());
    assert_eq!(began.elapsed().as_millis(), 530);
    assert_eq!((one.times(), one.stopped.load(Relaxed)), (vec![0, 500], 1));
    let took = async || {
        let began = Instant::now();
        one.first(10_000).await.unwrap();
        began.elapsed().as_millis()
    };
    assert_eq!([took().await, took().await], [530, 530]);
    // Three times is too often: for a second it is asked last.
    for _ in 0..8 {
        assert_eq!(took().await, 30);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    // The stand-in has shown what can be expected: twice that.
    assert_eq!([took().await, took().await, took().await, took().await], [90, 90, 90, 30]);

    let slow = race([Does::Answer(900), Does::Hang, Does::Hang, Does::Hang]);
    assert!(slow.first(10_000).await.is_ok(), "the first may win after all");
    assert_eq!((slow.times(), slow.stopped.load(Relaxed)), (vec![0, 500], 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_overtaken_without_hedging_but_the_failed_are_replaced() {
    let mut one = race([Does::Answer(5_000), Does::Answer(0), Does::Hang, Does::Hang]);
    one.fanout.hedges = 0;
    assert!(one.first(10_000).await.is_ok());
    assert_eq!(one.times(), [0]);
    let mut one = race([Does::Fail(7), Does::Answer(3), Does::Hang, Does::Hang]);
    one.fanout.hedges = 0;
    assert!(one.first(10_000).await.is_ok());
    assert_eq!(one.times(), [0, 7]);
}

#[tokio::test(start_paused = true)]
async fn failures_go_on_at_once_to_every_other() {
    let one = race([Does::Fail(0), Does::Fail(7), Does::Fail(0), Does::Answer(3)]);
    assert!(one.first(10_000).await.is_ok());
    assert_eq!(one.times(), [0, 0, 7, 7]);
    // Those that failed a moment ago come last.
    assert!(one.first(10_000).await.is_ok());
    assert_eq!(one.times(), [10]);

    let none = race([Does::Fail(0), Does::Fail(1), Does::Fail(2), Does::Fail(3)]);
    assert!(matches!(none.first(10_000).await, Err(Failure::Failed(why)) if why.contains("503")));
    assert_eq!(none.times(), [0, 0, 1, 3]);
    let wrong = race([Does::Refuse, Does::Answer(0), Does::Answer(0), Does::Answer(0)]);
    assert!(matches!(wrong.first(10_000).await, Err(Failure::Refused(_))));
    assert_eq!(wrong.times(), [0], "what is wrong is wrong everywhere");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_it() {
    let one = race([Does::Hang, Does::Hang, Does::Hang, Does::Hang]);
    let began = Instant::now();
    assert!(matches!(one.first(1_200).await, Err(Failure::Failed(why)) if why.contains("1200 ms")));
    assert_eq!((began.elapsed().as_millis(), one.stopped.load(Relaxed)), (1_200, 3));
    assert_eq!(one.times(), [0, 500, 1_000], "two more at most because one is slow");
}

#[tokio::test(start_paused = true)]
async fn every_segment_is_asked_for_once_and_what_is_lost_is_said() {
    let all = race([Does::Answer(1), Does::Answer(2), Does::Answer(3), Does::Answer(4)]);
    let gathered = all.fanout.gather(&ask()).await.unwrap();
    let segments: u64 = gathered.parts.iter().map(|part| part.usage.segments).sum();
    assert_eq!((segments, gathered.asked, gathered.parts.len()), (40, 4, 4));
    assert_eq!(all.times().len(), 4, "at most one request for each leaf");
    assert_eq!(gathered.complete(false).unwrap().1, 0);

    // A group is lost only where everyone fails, here by taking too long: the request's own deadline says so.
    let hung = race([Does::Answer(1), Does::Hang, Does::Hang, Does::Hang]);
    for _ in 0..3 {
        // The one that answers is known as fast; the others have stopped answering.
        hung.fanout.endpoints.iter().for_each(|endpoint| endpoint.answered(Duration::from_millis(1)));
    }
    let gather = || async { deadline::within(Duration::from_millis(400), hung.fanout.gather(&ask())).await.unwrap() };
    let began = Instant::now();
    let gathered = gather().await;
    assert_eq!(began.elapsed().as_millis(), 360, "a tenth is left for the merge");
    assert_eq!((gathered.asked, gathered.parts.len(), gathered.lost), (4, 1, 3));
    let error = gathered.complete(false).unwrap_err();
    assert!(error.public().contains("3 of 4 leaves did not answer"), "{error}");
    assert!(!error.public().contains("http://"), "an address is nobody's business: {error}");
    let (parts, lost) = gather().await.complete(true).unwrap();
    assert_eq!((parts.len(), lost), (1, 3));

    let none = race([Does::Fail(0), Does::Fail(0), Does::Fail(0), Does::Fail(0)]);
    let gathered = none.fanout.gather(&ask()).await.unwrap();
    assert!(gathered.complete(true).is_err(), "nothing is no part of an answer");
    let wrong = race([Does::Refuse, Does::Refuse, Does::Refuse, Does::Refuse]);
    assert!(matches!(wrong.fanout.gather(&ask()).await, Err(Error::Invalid(_))));
}

/// Of a request: who was asked, for how many segments, how many members its team had, and the depth.
type Asked = (String, usize, usize, u8);

/// Leaves that are all sub-roots: what a root asks of one it does with the same frames, and so on down.
#[derive(Clone, Debug, Default)]
struct Forest {
    /// Those that are gone.
    dead: Vec<String>,
    /// Those that never come to the end of a search of their own.
    hung: Vec<String>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Transport for Forest {
    fn send<'a>(&'a self, url: &'a str, frame: Bytes) -> BoxFuture<'a, std::result::Result<Bytes, Failure>> {
        async move {
            let ask = Ask::decode(&frame).unwrap();
            let team = &ask.team;
            let log = (url.to_owned(), ask.segments.len(), team.members, team.depth);
            self.asked.lock().unwrap().push(log);
            if self.dead.iter().any(|dead| dead == url) {
                return Err(Failure::Failed("connection refused".into()));
            }
            if team.leaves.is_empty() && self.hung.iter().any(|hung| hung == url) {
                return std::future::pending().await;
            }
            if team.leaves.is_empty() {
                let segments = Usage { segments: ask.segments.len() as u64, ..Usage::default() };
                let answers = ask.queries.iter().map(|_| vec![]).collect();
                return Ok(Part { answers, usage: segments }.encode().unwrap().into());
            }
            let fanout = Fanout {
                members: team.members,
                width: team.width,
                depth: Some(team.depth),
                ..Fanout::new(team.leaves.iter().map(|leaf| leaf.0.clone()), Arc::new(self.clone()))
            };
            let failed = |error: Error| Failure::Failed(error.to_string());
            let gathered = deadline::within(ask.limit, fanout.gather(&ask)).await.map_err(failed)?;
            let asked = gathered.asked;
            let (parts, leaves_failed) = gathered.complete(ask.partial).map_err(failed)?;
            let answers = ask.queries.iter().map(|_| vec![]).collect();
            let usage = Usage { leaves: asked, leaves_failed, ..spent(&parts) };
            Ok(Part { answers, usage }.encode().unwrap().into())
        }
        .boxed()
    }
}

fn forest(leaves: usize, width: usize, dead: &[usize]) -> (Fanout, Forest) {
    let url = |number: usize| format!("http://10.0.{}.{}:6333", number / 200, number % 200);
    let forest = Forest { dead: dead.iter().map(|&number| url(number)).collect(), ..Forest::default() };
    let fanout = Fanout { width, ..Fanout::new((0..leaves).map(url), Arc::new(forest.clone())) };
    (fanout, forest)
}

fn many_segments() -> Ask {
    Ask { segments: (0..3_000).map(|number| format!("01J{number:023}")).collect(), ..ask() }
}

#[tokio::test(start_paused = true)]
async fn a_tree_asks_every_leaf_for_what_it_would_be_asked_for_without_and_nobody_asks_too_many() {
    let placed = |log: &[Asked]| {
        let mut leaves: Vec<(String, usize)> =
            log.iter().filter(|asked| asked.2 == 0).map(|asked| (asked.0.clone(), asked.1)).collect();
        leaves.sort();
        leaves
    };
    for (leaves, width, levels) in [(5, 2, 2), (8, 2, 2), (9, 3, 1), (200, 2, 3), (300, 64, 1), (64, 64, 0)] {
        let (flat, alone) = forest(leaves, 1_024, &[]);
        flat.gather(&many_segments()).await.unwrap();
        let (fanout, forest) = forest(leaves, width, &[]);
        let gathered = fanout.gather(&many_segments()).await.unwrap();
        let segments: u64 = gathered.parts.iter().map(|part| part.usage.segments).sum();
        assert_eq!((segments, gathered.asked, gathered.lost), (3_000, leaves as u64, 0));
        assert_eq!(gathered.parts.len(), leaves.min(width));
        let log = forest.asked.lock().unwrap();
        assert_eq!(placed(&log), placed(&alone.asked.lock().unwrap()), "{leaves} leaves, {width} wide");
        let deepest = log.iter().filter(|asked| asked.2 > 0).map(|asked| asked.3 + 1).max().unwrap_or(0);
        assert_eq!(deepest, levels, "{leaves} leaves, {width} wide");
        // Only the lowest ask more, where there may be no more levels.
        assert!(
            log.iter()
                .all(|asked| asked.3 == 0 || asked.2 <= width.pow(u32::from(asked.3) + 1).max(leaves.div_ceil(width)))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_sub_root_is_replaced_and_what_its_team_lost_is_said() {
    // One that would be a sub-root, and one below it.
    for dead in [&[0][..], &[1], &[0, 1], &[0, 4, 7]] {
        let (fanout, forest) = forest(8, 2, dead);
        let gathered = fanout.gather(&many_segments()).await.unwrap();
        let segments: u64 = gathered.parts.iter().map(|part| part.usage.segments).sum();
        assert_eq!((segments, gathered.lost), (3_000, 0), "{dead:?}");
        assert!(forest.asked.lock().unwrap().iter().any(|asked| forest.dead.contains(&asked.0)));
    }
    // Nobody is left.
    let (fanout, _) = forest(8, 2, &[0, 1, 2, 3, 4, 5, 6, 7]);
    let gathered = fanout.gather(&Ask { partial: true, ..many_segments() }).await.unwrap();
    assert_eq!((gathered.asked, gathered.lost, gathered.parts.len()), (8, 8, 0));
    assert!(gathered.complete(true).unwrap_err().to_string().contains("8 of 8 leaves"));
}

#[tokio::test(start_paused = true)]
async fn what_a_sub_root_waits_for_in_vain_is_missing_in_a_part_and_fails_a_whole() {
    let (_, forest_of) = forest(8, 2, &[]);
    let forest = Forest { hung: (1..8).map(|number| format!("http://10.0.0.{number}:6333")).collect(), ..forest_of };
    let urls = (0..8).map(|number| format!("http://10.0.0.{number}:6333"));
    let fanout = Fanout { width: 2, ..Fanout::new(urls, Arc::new(forest)) };
    let gather = |partial| {
        let ask = Ask { partial, ..many_segments() };
        let fanout = &fanout;
        async move { deadline::within(Duration::from_secs(4), fanout.gather(&ask)).await.unwrap() }
    };
    let part = gather(true).await;
    let (lost, found) = (part.lost, part.parts.len());
    assert!((1..8).contains(&lost) && found > 0 && part.asked == 8, "{lost} lost, {found} parts");
    let (parts, failed) = part.complete(true).unwrap();
    let segments: u64 = parts.iter().map(|part| part.usage.segments).sum();
    assert!(failed == lost && segments > 0 && segments < 3_000);
    assert!(gather(false).await.complete(false).unwrap_err().to_string().contains("of 8 leaves did not answer"));
}

#[test]
fn a_team_that_makes_no_sense_is_refused() {
    let refused = |team: Team| Ask::decode(&Ask { team, ..ask() }.encode().unwrap()).unwrap_err().to_string();
    let sound = team_of((3, 2, 64, 2));
    for (team, why) in [
        (Team { depth: 3, ..sound.clone() }, "depth 3"),
        (Team { members: 0, ..sound.clone() }, "0 of 5 members"),
        (Team { members: 6, ..sound.clone() }, "6 of 5 members"),
        (Team { width: 1, ..sound.clone() }, "width 1"),
        (
            Team { leaves: vec![crate::settings::LeafUrl("file:///etc/passwd".into())], members: 1, ..sound.clone() },
            "expected http",
        ),
        (team_of((1_024, 1, 64, 0)), "1025 leaves"),
    ] {
        let error = refused(team);
        assert!(error.contains("the team") && error.contains(why), "{error}");
    }
}
