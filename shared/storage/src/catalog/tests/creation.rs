//! Creations: what was pinned of a collection that was deleted is no snapshot of the one that was created anew under its name.

use std::time::Duration;

use serde_json::Value;

use super::*;

const SNAPSHOT: &str = "collections/c/snapshots/s.json";
/// Longer than everything that others do meanwhile, and shorter than a request may take.
const SLOW: Fault = Fault::Delay(Duration::from_secs(5));

fn snapshot() -> AsOf {
    AsOf::Snapshot("s".to_owned())
}

async fn raw(place: &Place, path: &str) -> bytes::Bytes {
    place.client().get(&Path::from(path)).await.unwrap().bytes().await.unwrap()
}

/// Takes a field out of a document, as older versions wrote it.
async fn strip(place: &Place, path: &str, pointer: &str, field: &str) {
    let mut document: Value = serde_json::from_slice(&raw(place, path).await).unwrap();
    let fields = document.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    assert!(fields.remove(field).is_some());
    place.client().put(&Path::from(path), document.to_string().into()).await.unwrap();
}

/// A collection that was deleted and created anew, and a snapshot `s` of the first one that arrives after that.
async fn late(place: &Place) -> (Collection, Collection) {
    let catalog = place.healthy();
    let first = rebuild(&catalog, "c", 1).await.unwrap();
    catalog.create_snapshot(&name("c"), "s", None).await.unwrap();
    let put = raw(place, SNAPSHOT).await;
    assert!(catalog.delete(&name("c")).await.unwrap());
    let second = rebuild(&catalog, "c", 2).await.unwrap();
    place.client().put(&Path::from(SNAPSHOT), put.into()).await.unwrap();
    (first, second)
}

/// The only snapshot is `s`, of this collection, and it can be read.
async fn pins(catalog: &Catalog, of: &Collection) {
    let all = catalog.list_snapshots(&name("c")).await.unwrap();
    let all: Vec<_> = all.iter().map(|found| (found.name.as_str(), &found.collection.generation)).collect();
    assert_eq!(all, [("s", &of.doc.generation)]);
    let past = catalog.open_as_of(&name("c"), &snapshot()).await.unwrap();
    assert!(past.segments().eq(of.segments()));
    catalog.check_segments(&past.doc, &past.manifests).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_arrives_late_is_none_of_what_was_created_anew() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let (first, second) = late(&place).await;
        assert_ne!(first.doc.creation, second.doc.creation);
        let c = name("c");
        assert_eq!(catalog.list_snapshots(&c).await.unwrap(), []);
        let generation = AsOf::Generation(first.doc.generation.clone());
        let none = |_: &str| None;
        let newest = catalog.open(&c).await.unwrap();
        for past in [snapshot(), generation] {
            for error in [
                catalog.open_as_of(&c, &past).await.unwrap_err(),
                catalog.open_past(&newest, &past, none).await.unwrap_err(),
                catalog.rollback(&c, Some(&past), None).await.unwrap_err(),
                catalog.clone_collection(&c, &name("d"), Some(&past)).await.unwrap_err(),
                catalog.create_snapshot(&c, "other", Some(&past)).await.unwrap_err(),
            ] {
                assert_eq!((error.kind, error.what.as_str()), (ErrorKind::NotFound, "collection 'c'"), "{error}");
            }
        }
        let pinned = catalog.open_pinned_by(&c, "s", none).await.unwrap();
        let error = pinned.of(&newest).unwrap_err();
        assert!(error.kind == ErrorKind::NotFound && error.why.contains("no snapshot 's'"), "{error}");

        // Its name is free.
        let made = catalog.create_snapshot(&c, "s", None).await.unwrap();
        assert_eq!(made.collection.creation, second.doc.creation);
        assert_eq!(catalog.create_snapshot(&c, "s", None).await.unwrap(), made, "safe to repeat");
        pins(&catalog, &second).await;
        assert!(catalog.open_pinned_by(&c, "s", none).await.unwrap().of(&newest).is_ok());

        assert!(catalog.delete(&c).await.unwrap());
        let left = catalog.store().list(&Key::collections()).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_past_by_the_name_of_a_snapshot_is_opened_by_one_wave() {
    let place = Place::memory();
    let catalog = place.healthy();
    rebuild(&catalog, "c", 1).await.unwrap();
    catalog.create_snapshot(&name("c"), "s", None).await.unwrap();
    let meter = Arc::new(Meter::default());
    let metered = Catalog::new(catalog.store().metered(Arc::clone(&meter)));
    metered.open_as_of(&name("c"), &snapshot()).await.unwrap();
    assert_eq!((meter.usage().waves, meter.usage().gets), (1, 2));
    metered.list_snapshots(&name("c")).await.unwrap();
    assert_eq!((meter.usage().waves, meter.usage().gets), (3, 5));
}

#[tokio::test]
async fn a_creation_lasts_until_the_deletion() {
    let catalog = Place::memory().healthy();
    let c = name("c");
    let created = catalog.create(&c, &schema(2)).await.unwrap();
    let creation = created.doc.creation.clone();
    assert!(creation.is_some());
    let empty = |shard| Fold { shard, log_position: 0, segments: Vec::new() };
    let folded = catalog.commit_fold(&created, vec![empty(0), empty(1)]).await.unwrap();
    let pinned = catalog.create_snapshot(&c, "s", None).await.unwrap();
    let noted = |schema: &mut cairn_model::CollectionSchema| {
        schema.metadata.get_or_insert_default().insert("note".to_owned(), 1.into());
        Ok(true)
    };
    let amended = catalog.amend(&c, noted).await.unwrap();
    let rebuilt = rebuild(&catalog, "c", 1).await.unwrap();
    let enlivened = catalog.enliven(&rebuilt).await.unwrap();
    let back = catalog.rollback(&c, None, None).await.unwrap();
    // As a generation of its own, because the snapshot is of one that takes writes.
    let again = catalog.rollback(&c, Some(&snapshot()), None).await.unwrap();
    assert!(again.doc.origin.is_some());
    let read = catalog.open(&c).await.unwrap();
    let past = catalog.open_as_of(&c, &AsOf::Generation(rebuilt.doc.generation.clone())).await.unwrap();
    for one in [&folded, &amended, &rebuilt, &enlivened, &back, &again, &read, &past] {
        assert_eq!(one.doc.creation, creation);
    }
    assert_eq!(pinned.collection.creation, creation);

    let clone = catalog.clone_collection(&c, &name("d"), None).await.unwrap();
    assert!(clone.doc.creation.is_some() && clone.doc.creation != creation);
    assert!(catalog.delete(&c).await.unwrap());
    let anew = catalog.create(&c, &schema(2)).await.unwrap();
    assert!(anew.doc.creation.is_some() && anew.doc.creation != creation);
}

#[tokio::test]
async fn documents_of_older_versions_are_of_any_creation() {
    let c = name("c");
    for (of_snapshot, of_collection) in [(true, true), (true, false), (false, true)] {
        let place = Place::memory();
        let catalog = place.healthy();
        let first = rebuild(&catalog, "c", 1).await.unwrap();
        catalog.create_snapshot(&c, "s", None).await.unwrap();
        if of_snapshot {
            strip(&place, SNAPSHOT, "/collection", "creation").await;
        }
        if of_collection {
            strip(&place, "collections/c/collection.json", "", "creation").await;
        }
        pins(&catalog, &first).await;
        // What replaces it says no more, so that what was pinned by both versions stays.
        let second = rebuild(&catalog, "c", 2).await.unwrap();
        assert_eq!(second.doc.creation.is_none(), of_collection);
        pins(&catalog, &first).await;
        let error = catalog.create_snapshot(&c, "s", None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        let back = catalog.rollback(&c, Some(&snapshot()), None).await.unwrap();
        assert_eq!((&back.doc.generation, &back.doc.creation), (&first.doc.generation, &second.doc.creation));
    }
    let place = Place::memory();
    rebuild(&place.healthy(), "c", 1).await.unwrap();
    let path = Path::from("collections/c/collection.json");
    let mut document: Value = serde_json::from_slice(&raw(&place, path.as_ref()).await).unwrap();
    document["creation"] = "first".into();
    place.client().put(&path, document.to_string().into()).await.unwrap();
    let error = place.healthy().open(&c).await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.why.contains("creation 'first': is not a ULID"), "{error}");
}

#[tokio::test]
async fn the_name_of_a_late_snapshot_may_be_taken_with_a_fault_at_any_step() {
    at_every_step(
        (Place::memory, &FAULTS, 12),
        async |_| (),
        async |trial| {
            let healthy = trial.healthy();
            let (_, second) = late(&trial.place).await;
            let outcome = trial.faulty.create_snapshot(&name("c"), "s", None).await;
            trial.check(&outcome);
            let all = healthy.list_snapshots(&name("c")).await.unwrap();
            match &outcome {
                Ok(made) => assert_eq!(all, std::slice::from_ref(made)),
                Err(_) => assert!(all.len() <= 1),
            }
            let again = healthy.create_snapshot(&name("c"), "s", None).await.unwrap();
            assert!(outcome.is_err() || outcome.unwrap() == again);
            pins(&healthy, &second).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_deletion_sweeps_late_snapshots_too_with_a_fault_at_any_step() {
    at_every_step(
        (Place::memory, &FAULTS, 10),
        async |_| (),
        async |trial| {
            let healthy = trial.healthy();
            late(&trial.place).await;
            healthy.create_snapshot(&name("c"), "t", None).await.unwrap();
            let outcome = trial.faulty.delete(&name("c")).await;
            trial.check(&outcome);
            if !dies(trial.fault) {
                let left = healthy.store().list(&Key::collections()).await.unwrap();
                assert!(left.is_empty(), "{left:?}");
            }
            // Whatever is left of them is of no other collection.
            if !healthy.exists(&name("c")).await.unwrap() {
                rebuild(&healthy, "c", 3).await.unwrap();
                assert_eq!(healthy.list_snapshots(&name("c")).await.unwrap(), []);
            }
        },
    )
    .await;
}

/// Deletes a collection, slowly at one step, while somebody creates it anew and pins that. Whether that was possible, and how many steps there are.
async fn pin_behind_a_deletion(step: u64) -> (bool, u64) {
    let place = Place::memory();
    let healthy = place.healthy();
    rebuild(&healthy, "c", 1).await.unwrap();
    healthy.create_snapshot(&name("c"), "s", None).await.unwrap();
    let faults = Faults::new(place.client()).at(step, SLOW);
    let steps = faults.steps();
    let slow = Catalog::new(faults.into_store());
    let anew = async {
        while healthy.exists(&name("c")).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let anew = rebuild(&healthy, "c", 2).await.unwrap();
        (healthy.create_snapshot(&name("c"), "s", None).await, anew)
    };
    let of_it = name("c");
    let (deleted, (made, anew)) = tokio::join!(slow.delete(&of_it), anew);
    assert!(deleted.unwrap());
    if let Err(error) = &made {
        assert_eq!(error.kind, ErrorKind::Conflict, "slow at {step}: {error}");
        // It was just being deleted.
        healthy.create_snapshot(&name("c"), "s", None).await.unwrap();
    }
    pins(&healthy, &anew).await;
    (made.is_ok(), steps.count())
}

#[tokio::test(start_paused = true)]
async fn a_deletion_leaves_the_snapshots_of_what_was_created_anew_meanwhile() {
    let mut refused = 0;
    for step in 0.. {
        let (is_made, steps) = pin_behind_a_deletion(step).await;
        refused += u64::from(!is_made);
        if steps <= step {
            assert!(step >= 10 && refused <= 1, "{step} steps, {refused} refused");
            break;
        }
    }
}

/// Pins a collection, slowly at one step, while somebody deletes it, creates it anew if `is_anew`, and pins that. How many steps there are.
async fn pin_too_late(step: u64, is_anew: bool) -> u64 {
    let place = Place::memory();
    let healthy = place.healthy();
    rebuild(&healthy, "c", 1).await.unwrap();
    let faults = Faults::new(place.client()).at(step, SLOW);
    let steps = faults.steps();
    let slow = Catalog::new(faults.into_store());
    let other = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        healthy.delete(&name("c")).await.unwrap();
        if is_anew {
            rebuild(&healthy, "c", 2).await.unwrap();
            healthy.create_snapshot(&name("c"), "s", None).await.unwrap();
        }
    };
    let of_it = name("c");
    let (late, ()) = tokio::join!(slow.create_snapshot(&of_it, "s", None), other);
    if let Err(error) = late {
        assert_eq!(error.kind, ErrorKind::NotFound, "slow at {step}: {error}");
    }
    if is_anew {
        pins(&healthy, &healthy.open(&name("c")).await.unwrap()).await;
    } else {
        let left = healthy.store().list(&Key::snapshots(&name("c"))).await.unwrap();
        assert!(left.is_empty(), "slow at {step}: a snapshot of nothing: {left:?}");
    }
    steps.count()
}

/// Whoever learns that what he pinned is gone takes away what he put, and nothing from those who pinned what is there now.
#[tokio::test(start_paused = true)]
async fn who_pins_too_late_leaves_nothing_but_the_snapshots_of_others() {
    for is_anew in [true, false] {
        for step in 0.. {
            if pin_too_late(step, is_anew).await <= step {
                assert!(step >= 8, "{step} steps");
                break;
            }
        }
    }
}
