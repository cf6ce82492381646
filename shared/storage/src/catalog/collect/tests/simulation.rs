//! Collections are made, changed, pinned, cloned and deleted at random, by some who die on the way, while collectors run.
//!
//! `CAIRN_COLLECT_SEEDS=N` runs so many seeds, `CAIRN_COLLECT_SEED=N` only that one.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::Instant;

use super::{
    super::super::{
        AsOf,
        tests::reachable::{log_objects, named, unnamed},
    },
    *,
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const ROUNDS: u32 = 30;
/// What time may pass between two rounds, in minutes.
const PAUSES_MIN: [u64; 5] = [0, 1, 20, 9 * 60, 30 * 60];

/// What one of those does who work with collections.
#[derive(Clone, Debug)]
enum Act {
    Create(usize),
    Rebuild(usize, u64),
    RollBack(usize, usize),
    Snapshot(usize, u32),
    DropSnapshot(usize, u32),
    Clone(usize, usize, Option<u32>),
    Delete(usize),
    Enliven(usize),
    Write(usize, u32),
    Fold(usize, u32, u64),
    Collect,
}

impl Act {
    fn random(random: &mut SmallRng) -> Self {
        let (which, other) = (random.random_range(0..NAMES.len()), random.random_range(0..NAMES.len()));
        let (shard, seed, snapshot) = (random.random_range(0..2), random.random(), random.random_range(0..3));
        match random.random_range(0..24) {
            0 => Self::Create(which),
            1..=4 => Self::Rebuild(which, seed),
            5 | 6 => Self::RollBack(which, random.random_range(0..4)),
            7 | 8 => Self::Snapshot(which, snapshot),
            9 => Self::DropSnapshot(which, snapshot),
            10 | 11 => Self::Clone(which, other, random.random_bool(0.3).then_some(snapshot)),
            12 => Self::Delete(which),
            13 => Self::Enliven(which),
            14..=17 => Self::Write(which, shard),
            18..=21 => Self::Fold(which, shard, seed),
            _ => Self::Collect,
        }
    }

    /// Whether it comes to pass does not matter: what is not possible now is refused.
    async fn carry_out(self, catalog: &Catalog) -> Result<()> {
        let name = |which: usize| name(NAMES[which]);
        let snapshot = |number: u32| format!("s{number}");
        match self {
            Self::Create(which) => catalog.create(&name(which), &schema(2)).await.map(|_| ()),
            Self::Rebuild(which, seed) => rebuild(catalog, NAMES[which], seed).await.map(|_| ()),
            Self::RollBack(which, back) => {
                let history = catalog.open(&name(which)).await?.doc.history.clone();
                let to = history.iter().rev().nth(back).map(|served| AsOf::Generation(served.generation.clone()));
                catalog.rollback(&name(which), to.as_ref(), None).await.map(|_| ())
            }
            Self::Snapshot(which, number) => {
                catalog.create_snapshot(&name(which), &snapshot(number), None).await.map(|_| ())
            }
            Self::DropSnapshot(which, number) => {
                catalog.delete_snapshot(&name(which), &snapshot(number)).await.map(|_| ())
            }
            Self::Clone(from, to, of) => {
                let of = of.map(|number| AsOf::Snapshot(snapshot(number)));
                catalog.clone_collection(&name(from), &name(to), of.as_ref()).await.map(|_| ())
            }
            Self::Delete(which) => catalog.delete(&name(which)).await.map(|_| ()),
            Self::Enliven(which) => catalog.enliven(&catalog.open(&name(which)).await?).await.map(|_| ()),
            Self::Write(which, shard) => {
                let collection = catalog.open(&name(which)).await?;
                if collection.doc.live {
                    let _ = log(catalog, &collection, shard).append(write(1)).await;
                }
                Ok(())
            }
            Self::Fold(which, shard, seed) => fold(catalog, NAMES[which], shard, seed).await.map(|_| ()),
            Self::Collect => catalog.collect(&Options::default(), |_, _| ()).await.map(|_| ()),
        }
    }
}

/// Somebody who read a collection some time ago.
struct Reader {
    since: Instant,
    collection: Collection,
}

struct Simulation {
    world: World,
    random: SmallRng,
    readers: Vec<Reader>,
    /// The highest number ever put, by log.
    written: BTreeMap<String, u64>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let (random, written) = (SmallRng::seed_from_u64(seed), BTreeMap::new());
        Self { world: World::new(seed), random, readers: Vec::new(), written }
    }

    /// Several at once, each with a fault of its own or none; a collector among them.
    async fn round(&mut self) {
        let mut acts: Vec<_> = (0..self.random.random_range(1..4)).map(|_| Act::random(&mut self.random)).collect();
        acts.push(Act::Collect);
        for act in &acts {
            // Who deletes a collection means its readers too.
            if let Act::Delete(which) = act {
                let name = name(NAMES[*which]);
                self.readers.retain(|reader| reader.collection.doc.name != name);
            }
        }
        let random = &mut self.random;
        let acts: Vec<_> = acts
            .into_iter()
            .map(|act| {
                let mut faults = self.world.faults();
                if random.random_bool(0.4) {
                    let fault = FAULTS[random.random_range(0..FAULTS.len())];
                    // After the probe of the store.
                    faults = faults.at(random.random_range(7..60), fault);
                }
                let catalog = Catalog::new(faults.into_store());
                async move { act.carry_out(&catalog).await }
            })
            .collect();
        join_all(acts).await;
    }

    /// Whatever is named is there, and what a reader had within the grace period as well.
    async fn check(&mut self) {
        let catalog = self.world.catalog();
        let keys = self.world.keys().await;
        let there: BTreeSet<_> = keys.iter().cloned().collect();
        let (named, logs) = named(&catalog).await;
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "named and gone: {missing:#?}");
        let found = log_objects(&keys);
        for (folder, numbers) in &found {
            let highest = self.written.entry(folder.clone()).or_default();
            *highest = numbers.last().copied().unwrap_or_default().max(*highest);
        }
        for (folder, floor) in &logs {
            let Some(highest) = self.written.get(folder) else { continue };
            let gap = (*floor..=*highest).find(|number| !found.get(folder).is_some_and(|all| all.contains(number)));
            assert_eq!(gap, None, "{folder} is read from {floor} to {highest}");
        }

        self.readers.retain(|reader| reader.since.elapsed() < Duration::from_millis(GRACE_MS));
        for Reader { collection, .. } in &self.readers {
            for (shard, entry) in collection.segments() {
                let key = collection.segment_key(shard, entry).unwrap();
                assert!(there.contains(key.as_str()), "a reader misses {}", key.as_str());
            }
        }
        for name in catalog.list().await.unwrap() {
            let collection = catalog.open(&name).await.unwrap();
            self.readers.push(Reader { since: Instant::now(), collection });
        }
    }

    async fn run(mut self) -> u64 {
        for _ in 0..ROUNDS {
            self.round().await;
            self.check().await;
            let pause = PAUSES_MIN[self.random.random_range(0..PAUSES_MIN.len())];
            advance(Duration::from_secs(pause * 60)).await;
        }
        // Nobody does anything any more.
        let settled = self.world.settle().await;
        assert!(settled.skipped.is_empty(), "{settled:#?}");
        self.readers.clear();
        self.check().await;
        let left = unnamed(&self.world.catalog(), self.world.keys().await).await;
        assert!(left.is_empty(), "nothing names these: {left:#?}");
        settled.deleted.objects
    }
}

#[test]
fn nothing_named_goes_and_nothing_else_stays() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("CAIRN_COLLECT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CAIRN_COLLECT_SEEDS").unwrap_or(40),
    };
    let mut deleted = 0;
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let outcome = std::panic::catch_unwind(|| runtime.block_on(async { Simulation::new(seed).run().await }));
        deleted += outcome.unwrap_or_else(|_| panic!("CAIRN_COLLECT_SEED={seed} replays this"));
    }
    assert!(deleted > 0);
}
