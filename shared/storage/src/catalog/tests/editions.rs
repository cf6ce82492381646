//! Vectors that are added to a schema and removed from it: who learns of it, and what becomes of it when whoever does it dies.

use cairn_model::{Change, Distance, PointId, VectorParams};

use super::*;
use crate::log::{AppendError, Log, LogOptions, Outcome, Part, Place as LogPlace};

const SHARDS: u32 = 2;

fn write(edition: u16) -> Part {
    Part::new(vec![Change::Remove(vec![PointId::Num(7)])]).unwrap().of_edition(edition)
}

fn log(catalog: &Catalog, collection: &Collection, shard: u32) -> Log {
    let (name, generation) = (collection.doc.name.clone(), collection.doc.generation.clone());
    let position = ManifestPosition::new(catalog.clone(), &name, &generation, shard);
    let place = LogPlace { collection: name, generation, shard };
    Log::new(catalog.store().clone(), place, Arc::new(position), LogOptions::default())
}

/// Adds a vector, or finds it there.
async fn add(catalog: &Catalog, vector: &str) -> Result<Collection> {
    let c = name("c");
    let adding = catalog.amend_vectors(&c, |schema| {
        if schema.kind(vector).is_some() {
            return Ok(false);
        }
        schema.add_vector(vector, VectorParams::new(4, Distance::Dot)).unwrap();
        Ok(true)
    });
    adding.await
}

/// The editions of all objects of a shard's log.
async fn editions(catalog: &Catalog, collection: &Collection, shard: u32) -> Vec<u16> {
    let tail = log(catalog, collection, shard).refresh().await.unwrap();
    tail.frames().iter().map(|frame| frame.edition).collect()
}

#[tokio::test]
async fn whoever_knows_an_earlier_edition_is_kept_out_of_every_log() {
    let catalog = Place::memory().healthy();
    let created = catalog.create(&name("c"), &schema(SHARDS)).await.unwrap();
    let late = [log(&catalog, &created, 0), log(&catalog, &created, 1)];
    late[0].append(write(0)).await.unwrap();
    let first = add(&catalog, "a").await.unwrap();
    assert_eq!((first.doc.format, first.doc.schema.editions.newest), (4, 1));
    add(&catalog, "a").await.unwrap();
    assert_eq!(editions(&catalog, &first, 0).await, [0, 1]);
    assert_eq!(editions(&catalog, &first, 1).await, [1], "once, however often it is asked for");
    for log in &late {
        // The put loses the race for the fence's place, reads it, and gives up.
        assert_eq!(log.append(write(0)).await.unwrap_err(), AppendError::Outdated);
        let computed = log.append_computed(0, |_| async { panic!("nothing is computed for an old schema") }).await;
        assert_eq!(computed, Err(AppendError::Outdated));
    }
    // Of writes that wait together only the old ones are refused.
    let (old, new) = tokio::join!(late[0].append(write(0)), late[0].append(write(1)));
    assert_eq!((old, new.unwrap().sequence), (Err(AppendError::Outdated), 2));
    let computed = late[1].append_computed(1, |_| async { Ok(Some(write(0))) }).await.unwrap();
    assert!(matches!(computed, Outcome::Appended(at) if at.sequence == 1));
    assert_eq!(editions(&catalog, &first, 1).await, [1, 1], "computed writes are of their writer's edition");
}

#[tokio::test]
async fn a_log_that_was_ended_and_opened_again_is_fenced() {
    let catalog = Place::memory().healthy();
    let created = catalog.create(&name("c"), &schema(SHARDS)).await.unwrap();
    let late = log(&catalog, &created, 0);
    late.append(write(0)).await.unwrap();
    let expect = Expect::Unchanged(Box::new(created.clone()));
    catalog.publish(&catalog.begin(&name("c"), &schema(SHARDS)), vec![vec![], vec![]], expect).await.unwrap();
    let back = catalog.rollback(&name("c"), None, None).await.unwrap();
    let past = |shard, log_position| Fold { shard, log_position, segments: Vec::new() };
    let opened = catalog.commit_fold(&back, vec![past(0, 2), past(1, 1)]).await.unwrap();
    let again = log(&catalog, &opened, 0);
    assert_eq!(again.append(write(0)).await.unwrap().sequence, 2);
    // What is left of the log begins with writes, and an end.
    add(&catalog, "a").await.unwrap();
    assert_eq!(again.append(write(0)).await.unwrap_err(), AppendError::Outdated);
    assert_eq!(late.append(write(0)).await.unwrap_err(), AppendError::Ended, "it knows of the end only");
}

#[tokio::test]
async fn a_collection_that_takes_no_writes_yet_needs_no_fence() {
    let catalog = Place::memory().healthy();
    let built = rebuild(&catalog, "c", 1).await.unwrap();
    let amended = add(&catalog, "a").await.unwrap();
    assert_eq!((amended.doc.live, amended.doc.format), (false, 4));
    let found = catalog.store().list(&Key::collections()).await.unwrap();
    assert!(found.iter().all(|found| !found.key.is_log()));
    // Who knows the schema of before cannot make it take writes.
    assert_eq!(catalog.enliven(&built).await.unwrap_err().kind, ErrorKind::Conflict);
    assert!(catalog.enliven(&amended).await.unwrap().doc.live);
    // Its segments are of the first edition, and no segment is of a later one than the schema.
    let mut later = amended.manifests[0].segments.clone();
    later[0].edition = 2;
    let folds = vec![Fold { shard: 0, log_position: 0, segments: later }];
    let error = catalog.commit_fold(&catalog.open(&name("c")).await.unwrap(), folds).await.unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.why.contains("is of edition 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_adds_a_vector_may_die_at_any_step() {
    let prepare = async |catalog: &Catalog| drop(catalog.create(&name("c"), &schema(SHARDS)).await.unwrap());
    at_every_step((Place::memory, &FAULTS, 8), prepare, async |trial| {
        let healthy = trial.healthy();
        let created = healthy.open(&name("c")).await.unwrap();
        let late = [log(&healthy, &created, 0), log(&healthy, &created, 1)];
        let outcome = add(&trial.faulty, "a").await;
        trial.check(&outcome);
        if outcome.is_err() {
            // It may be done or not, and only partly: repeated, it is done.
            add(&healthy, "a").await.unwrap();
        }
        assert_eq!(healthy.open(&name("c")).await.unwrap().doc.schema.editions.newest, 1);
        for log in &late {
            assert_eq!(log.append(write(0)).await.unwrap_err(), AppendError::Outdated);
        }
    })
    .await;
}
