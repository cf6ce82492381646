//! Tests of the log. `frames` is about bytes, the others about many writers and faults.

mod faults;
mod frames;
mod group;
mod races;
mod simulation;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use cairn_model::{Change, PointId};
use object_store::{ObjectStore, memory::InMemory};

use super::*;
use crate::testing::{conformance::name, faults::Faults};

/// A manifest that has just a position.
#[derive(Default)]
struct At(AtomicU64);

#[async_trait]
impl Position for At {
    async fn standing(&self) -> Result<Standing> {
        Ok(at(self.0.load(SeqCst)))
    }
}

/// A collection of the first edition, with this position.
fn at(position: u64) -> Standing {
    Standing { position, edition: 0 }
}

fn place(shard: u32) -> Place {
    Place { collection: name("c"), generation: "01J00000000000000000000000".to_owned(), shard }
}

fn options(writer: u64) -> LogOptions {
    LogOptions { writer: Some(Ulid::from_parts(1, u128::from(writer))), seed: writer, ..LogOptions::default() }
}

fn log_over(objects: &Arc<InMemory>, position: &Arc<At>, writer: u64) -> Log {
    let store = Faults::new(Arc::clone(objects) as Arc<dyn ObjectStore>).into_store();
    Log::new(store, place(0), Arc::clone(position) as Arc<dyn Position>, options(writer))
}

/// A write that can be recognised.
fn write(number: u64) -> Part {
    Part::new(vec![Change::Remove(vec![PointId::Num(number)])]).unwrap()
}

/// The number of a write.
fn number(changes: &[Change]) -> u64 {
    match changes {
        [Change::Remove(ids)] => match ids.as_slice() {
            [PointId::Num(number)] => *number,
            other => panic!("no write of the tests': {other:?}"),
        },
        other => panic!("no write of the tests': {other:?}"),
    }
}

/// All writes of these objects: number, and where.
fn writes(frames: &[Arc<Frame>]) -> Vec<(u64, Appended)> {
    let parts = frames.iter().flat_map(|frame| {
        (0..).zip(&frame.parts).map(|(part, changes)| (number(changes), Appended { sequence: frame.sequence, part }))
    });
    parts.collect()
}

/// What somebody finds who knows nothing yet.
async fn found(objects: &Arc<InMemory>) -> Vec<(u64, Appended)> {
    let reader = log_over(objects, &Arc::default(), 99);
    writes(reader.refresh().await.unwrap().frames())
}
