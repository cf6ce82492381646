//! Changes a collection as a whole.

use cairn_model::{Distance, ErrorKind, VectorParams};
use rand::{RngExt as _, rngs::SmallRng};

use super::{
    super::{AsOf, Expect},
    Process, pause,
    points::{self, Row, SHARDS, State, VECTOR},
};
use crate::{Result, testing::conformance::schema};

const ROUNDS: u64 = 10;
const PAUSE_S: u64 = 2_400;
const SNAPSHOTS: u64 = 2;

impl Process {
    /// Does something now and then. Returns how often it did.
    pub(super) async fn own(self) -> u64 {
        let mut random = self.world.random(self.number * 100);
        let mut changes = 0;
        for _ in 0..ROUNDS {
            pause(&mut random, PAUSE_S).await;
            let since = self.world.record.moment();
            let done = self.change(&mut random).await;
            // To go back to what is served is no way.
            let done = done.or_else(|error| if error.kind == ErrorKind::Invalid { Ok(()) } else { Err(error) });
            changes += u64::from(self.endure(done, since).is_some());
        }
        changes
    }

    async fn change(&self, random: &mut SmallRng) -> Result<()> {
        let (catalog, name) = (&self.catalog, &self.world.name);
        if !self.exists().await {
            return self.create().await;
        }
        let snapshot = format!("s{}", random.random_range(0..SNAPSHOTS));
        match random.random_range(0..15) {
            0..=2 => self.publish().await,
            3..=5 => self.roll_back(random).await,
            6 => catalog.create_snapshot(name, &snapshot, None).await.map(drop),
            7 => catalog.delete_snapshot(name, &snapshot).await.map(drop),
            8 => self.world.record.deleting(catalog.delete(name)).await.map(drop),
            9..=11 => self.amend().await,
            _ => self.amend_vectors().await,
        }
    }

    /// Whether there is such a collection; when in doubt there is.
    pub(super) async fn exists(&self) -> bool {
        self.catalog.exists(&self.world.name).await.unwrap_or(true)
    }

    pub(super) async fn create(&self) -> Result<()> {
        self.catalog.create(&self.world.name, &schema(SHARDS)).await.map(drop)
    }

    /// Builds it anew, with other points.
    async fn publish(&self) -> Result<()> {
        let (catalog, name, record) = (&self.catalog, &self.world.name, &self.world.record);
        let before = catalog.open(name).await?;
        let generation = catalog.begin(name, &schema(SHARDS));
        let mut segments = Vec::new();
        for shard in 0..SHARDS {
            let version = record.version();
            let base: State = points::ids(shard).into_iter().map(|id| (id, Row { version, vector: false })).collect();
            segments.push(vec![points::upload(catalog, &generation, shard, &base).await?]);
            record.begins((generation.id.clone(), shard), base);
        }
        catalog.publish(&generation, segments, Expect::Unchanged(Box::new(before))).await.map(drop)
    }

    async fn roll_back(&self, random: &mut SmallRng) -> Result<()> {
        let (catalog, name) = (&self.catalog, &self.world.name);
        let history = catalog.open(name).await?.doc.history.clone();
        let to = history.iter().rev().nth(random.random_range(0..3));
        let to = to.map(|served| AsOf::Generation(served.generation.clone()));
        catalog.rollback(name, to.as_ref(), None).await?;
        // Its logs were ended when it was replaced.
        self.fold(random, true).await.map(drop)
    }

    /// Notes something in the schema.
    async fn amend(&self) -> Result<()> {
        let note = self.world.record.version();
        let amended = self.catalog.amend(&self.world.name, |schema| {
            let notes = schema.metadata.get_or_insert_default();
            Ok(notes.insert(note.to_string(), note.into()).is_none())
        });
        self.world.record.is_amended(&amended.await?.doc.generation, note);
        Ok(())
    }

    /// Adds a vector, or removes it.
    async fn amend_vectors(&self) -> Result<()> {
        let amended = self.catalog.amend_vectors(&self.world.name, |schema| {
            if !schema.remove_vector(VECTOR).expect("few editions") {
                schema.add_vector(VECTOR, VectorParams::new(4, Distance::Dot)).expect("few editions");
            }
            Ok(true)
        });
        let doc = amended.await?.doc;
        self.world.record.is_succeeded(&doc.generation, doc.schema.editions.newest);
        Ok(())
    }
}
