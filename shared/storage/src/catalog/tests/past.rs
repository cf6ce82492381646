//! History, rollback, snapshots and clones.

use super::*;
use crate::catalog::{HISTORY_MAX, Origin};

/// Two versions of a collection whose segments differ.
async fn two_versions(catalog: &Catalog) -> (Collection, Collection) {
    let first = rebuild(catalog, "c", 1).await.unwrap();
    (first, rebuild(catalog, "c", 2).await.unwrap())
}

/// Reads all segments of a past.
async fn read_as_of(catalog: &Catalog, as_of: &AsOf) -> Result<Collection> {
    let collection = catalog.open_as_of(&name("c"), as_of).await?;
    whole(catalog, &collection).await?;
    Ok(collection)
}

/// Every segment is there and whole.
async fn whole(catalog: &Catalog, collection: &Collection) -> Result<()> {
    let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 20, populate: false })?;
    for (shard, entry) in collection.segments() {
        cache.segment(catalog.store(), collection, shard, entry).await?;
    }
    Ok(())
}

fn generation(collection: &Collection) -> &str {
    &collection.doc.generation
}

fn history(collection: &Collection) -> Vec<&str> {
    collection.doc.history.iter().map(|served| served.generation.as_str()).collect()
}

#[tokio::test]
async fn what_the_history_forgot_a_snapshot_keeps_under_both_its_names() {
    let catalog = Place::memory().healthy();
    let first = rebuild(&catalog, "c", 1).await.unwrap();
    catalog.create_snapshot(&name("c"), "kept", None).await.unwrap();
    let as_of = AsOf::Generation(generation(&first).to_owned());
    let none = |_: &str| None;
    for round in 0..=HISTORY_MAX {
        let newest = rebuild(&catalog, "c", 2 + round as u64).await.unwrap();
        let past = catalog.open_past(&newest, &as_of, none).await.unwrap();
        assert_eq!((generation(&past), &past.manifests), (generation(&first), &first.manifests), "round {round}");
    }
    let newest = read(&catalog, "c").await.unwrap();
    assert!(!history(&newest).contains(&generation(&first)));
    let pinned = catalog.open_pinned_by(&name("c"), "kept", none).await.unwrap();
    let by_name = pinned.of(&newest).unwrap();
    assert_eq!((generation(&by_name), by_name.is_read_only()), (generation(&first), true));
    // What was read before is not read again, and whose name it is is asked every time.
    let known = |asked: &str| (asked == generation(&first)).then(|| Arc::clone(&by_name));
    assert!(Arc::ptr_eq(&catalog.open_past(&newest, &as_of, known).await.unwrap(), &by_name));
    let pinned = catalog.open_pinned_by(&name("c"), "kept", known).await.unwrap();
    assert!(Arc::ptr_eq(&pinned.of(&newest).unwrap(), &by_name));
    catalog.delete_snapshot(&name("c"), "kept").await.unwrap();
    assert_eq!(catalog.open_past(&newest, &as_of, known).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(catalog.open_pinned_by(&name("c"), "kept", known).await.unwrap_err().kind, ErrorKind::NotFound);
    let now = AsOf::Time(u64::MAX);
    assert_eq!(generation(&catalog.open_past(&newest, &now, none).await.unwrap()), generation(&newest));
}

#[tokio::test]
async fn going_back_is_one_swap_and_stays_in_the_history() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let (first, second) = two_versions(&catalog).await;
        assert_eq!(history(&second), [generation(&first)]);
        let entry = &second.doc.history[0];
        assert_eq!((entry.points, entry.bytes, entry.since_ms), (4, 4_000, first.doc.since_ms.unwrap()));

        let back = catalog.rollback(&name("c"), None, None).await.unwrap();
        assert_eq!((generation(&back), &back.manifests), (generation(&first), &first.manifests));
        assert_eq!(history(&back), [generation(&first), generation(&second)]);
        assert_eq!(read(&catalog, "c").await.unwrap().doc, back.doc);
        assert!(catalog.refresh(&back).await.unwrap().is_none());
        assert_eq!(catalog.refresh(&second).await.unwrap().unwrap().doc, back.doc);
        let error = catalog.rollback(&name("c"), None, None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "two in a row do not go forth: {error}");

        let to = AsOf::Generation(generation(&second).to_owned());
        let error = catalog.rollback(&name("c"), Some(&to), Some(generation(&second))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        let forth = catalog.rollback(&name("c"), Some(&to), Some(generation(&first))).await.unwrap();
        assert_eq!((generation(&forth), forth.doc.history.len()), (generation(&second), 3));
        let error = catalog.rollback(&name("c"), Some(&to), None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        let unknown = AsOf::Generation(Ulid::nil().to_string());
        let error = catalog.rollback(&name("c"), Some(&unknown), None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert_eq!(catalog.rollback(&name("d"), None, None).await.unwrap_err().kind, ErrorKind::NotFound);

        // Whoever publishes again what was gone back from does not undo that.
        catalog.rollback(&name("c"), None, None).await.unwrap();
        let now = catalog.open(&name("c")).await.unwrap();
        let segments = second.manifests.iter().map(|manifest| manifest.segments.clone()).collect();
        let late = Generation { id: generation(&second).to_owned(), name: name("c"), schema: schema(2) };
        let error = catalog.publish(&late, segments, Expect::Unchanged(Box::new(now))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");

        // Somebody else was faster.
        let third = rebuild(&catalog, "c", 3).await.unwrap();
        let generation = catalog.begin(&name("c"), &schema(2));
        let late = Expect::Unchanged(Box::new(forth));
        let error = catalog.publish(&generation, vec![vec![], vec![]], late).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert_eq!(read(&catalog, "c").await.unwrap().doc, third.doc);
    }
}

#[tokio::test]
async fn a_generation_whose_objects_are_gone_is_not_gone_back_to() {
    for object in ["0/manifest.json", "1/segments"] {
        let place = Place::memory();
        let catalog = place.healthy();
        let (first, second) = two_versions(&catalog).await;
        let folder = format!("collections/c/{}/{object}", generation(&first));
        let found = catalog.store().list(&Key::generation(&name("c"), generation(&first)).unwrap()).await.unwrap();
        let gone = found.iter().find(|found| found.key.as_str().starts_with(&folder)).unwrap();
        catalog.store().delete(&gone.key).await.unwrap();
        let error = catalog.rollback(&name("c"), None, None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert!(error.what.contains(object), "{error}");
        assert_eq!(read(&catalog, "c").await.unwrap().doc, second.doc);
    }
}

#[tokio::test]
async fn a_history_is_bounded_and_times_do_not_go_back() {
    static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let now = std::sync::atomic::Ordering::SeqCst;
    let catalog = Place::memory().healthy().with_clock(|| NOW.load(std::sync::atomic::Ordering::SeqCst));
    let mut published = Vec::new();
    for n in 0..HISTORY_MAX as u64 + 3 {
        // The third writer's clock is behind.
        NOW.store(if n == 2 { 5 } else { 1_000 * (n + 1) }, now);
        published.push(rebuild(&catalog, "c", n).await.unwrap());
    }
    let last = published.last().unwrap();
    assert_eq!(history(last), published[2..published.len() - 1].iter().map(generation).collect::<Vec<_>>());
    assert_eq!(published[2].doc.since_ms, Some(2_000));
    for (time, expected) in [(2_000, 2), (3_999, 2), (4_000, 3), (10_500, 9), (u64::MAX, published.len() - 1)] {
        let past = read_as_of(&catalog, &AsOf::Time(time)).await.unwrap();
        assert_eq!(generation(&past), generation(&published[expected]), "at {time}");
    }
    let error = catalog.open_as_of(&name("c"), &AsOf::Time(1_999)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.why.contains("does not reach back"), "{error}");

    // Older documents have no time; they say when their writer began.
    let place = Place::memory();
    let catalog = place.healthy();
    let old = rebuild(&catalog, "c", 1).await.unwrap();
    let path = Path::from("collections/c/collection.json");
    let doc = CollectionDoc { since_ms: None, ..old.doc.as_ref().clone() };
    place.client().put(&path, encode("", &doc).unwrap().into()).await.unwrap();
    let new = rebuild(&catalog, "c", 2).await.unwrap();
    let begun = Ulid::from_string(generation(&old)).unwrap().timestamp_ms();
    assert_eq!(new.doc.history[0].since_ms, begun);
    assert_eq!(generation(&read_as_of(&catalog, &AsOf::Time(begun)).await.unwrap()), generation(&old));
}

#[tokio::test]
async fn a_past_is_read_only() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let (first, second) = two_versions(&catalog).await;
        for (at, expected) in [(&first, &first), (&second, &second)] {
            let past = read_as_of(&catalog, &AsOf::Generation(generation(at).to_owned())).await.unwrap();
            assert_eq!((past.is_read_only(), &past.manifests), (true, &expected.manifests));
            assert_eq!(past.doc.schema, expected.doc.schema);
            rebuild(&catalog, "d", 1).await.unwrap();
            assert!(catalog.refresh(&past).await.unwrap().is_none());
            let begun = catalog.begin(&name("c"), &schema(2));
            let over = Expect::Unchanged(Box::new(past));
            let error = catalog.publish(&begun, vec![vec![], vec![]], over).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        }
        assert_eq!(read(&catalog, "c").await.unwrap().doc, second.doc);
    }
}

#[tokio::test]
async fn snapshots_pin_what_the_history_forgets() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let (first, second) = two_versions(&catalog).await;
        let of = AsOf::Generation(generation(&first).to_owned());
        let pinned = catalog.create_snapshot(&name("c"), "größe/1", Some(&of)).await;
        assert_eq!(pinned.unwrap_err().kind, ErrorKind::Invalid, "a name that is no name");
        let pinned = catalog.create_snapshot(&name("c"), "größe 1", Some(&of)).await.unwrap();
        assert_eq!((pinned.points, pinned.bytes, pinned.collection.history.len()), (4, 4_000, 0));
        let again = catalog.create_snapshot(&name("c"), "größe 1", Some(&of)).await.unwrap();
        assert_eq!(again, pinned, "safe to repeat");
        let error = catalog.create_snapshot(&name("c"), "größe 1", None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert!(error.why.contains(generation(&first)), "{error}");
        let now = catalog.create_snapshot(&name("c"), "now", None).await.unwrap();
        assert_eq!(now.collection.generation, generation(&second));
        let listed = catalog.list_snapshots(&name("c")).await.unwrap();
        assert_eq!(listed, [pinned.clone(), now]);

        let as_of = AsOf::Snapshot("größe 1".to_owned());
        let past = read_as_of(&catalog, &as_of).await.unwrap();
        assert_eq!((past.is_read_only(), &past.manifests), (true, &first.manifests));
        let back = catalog.rollback(&name("c"), Some(&as_of), None).await.unwrap();
        assert_eq!((generation(&back), back.doc.history.len()), (generation(&first), 2));

        assert!(catalog.delete_snapshot(&name("c"), "now").await.unwrap());
        assert!(!catalog.delete_snapshot(&name("c"), "now").await.unwrap());
        let error = catalog.open_as_of(&name("c"), &AsOf::Snapshot("now".to_owned())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        for missing in [
            catalog.create_snapshot(&name("d"), "s", None).await.unwrap_err(),
            catalog.list_snapshots(&name("d")).await.unwrap_err(),
        ] {
            assert_eq!(missing.kind, ErrorKind::NotFound, "{missing}");
        }
        let path = Path::from("collections/c/snapshots/bad.json");
        let bad = serde_json::to_vec(&pinned).unwrap();
        place.client().put(&path, bad.into()).await.unwrap();
        let error = catalog.list_snapshots(&name("c")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        assert!(error.what.contains("bad.json"), "{error}");

        assert!(catalog.delete(&name("c")).await.unwrap());
        let left = catalog.store().list(&Key::collections()).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_clone_copies_nothing_and_outlives_its_origin() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let (first, second) = two_versions(&catalog).await;
        let meter = Arc::new(Meter::default());
        let metered = Catalog::new(catalog.store().metered(Arc::clone(&meter)));
        let clone = metered.clone_collection(&name("c"), &name("d"), None).await.unwrap();
        assert!(meter.usage().store_bytes < 16 << 10, "{:?}", meter.usage());
        let origin = Origin { collection: name("c"), generation: generation(&second).to_owned() };
        assert_eq!((clone.doc.origin.as_ref(), clone.points()), (Some(&origin), 4));
        let error = catalog.clone_collection(&name("c"), &name("d"), None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert_eq!(read(&catalog, "d").await.unwrap().doc, clone.doc);

        // A clone's clone, and one of a past; each names where the segments are.
        let again = catalog.clone_collection(&name("d"), &name("e"), None).await.unwrap();
        assert_eq!(again.doc.origin, Some(origin));
        let of = AsOf::Generation(generation(&first).to_owned());
        let old = catalog.clone_collection(&name("c"), &name("f"), Some(&of)).await.unwrap();
        whole(&catalog, &old).await.unwrap();

        // They go their own ways, and back.
        let own = rebuild(&catalog, "d", 7).await.unwrap();
        assert_eq!((own.doc.origin.as_ref(), own.doc.history.len()), (None, 1));
        let back = catalog.rollback(&name("d"), None, None).await.unwrap();
        assert_eq!((&back.doc.origin, &back.manifests), (&clone.doc.origin, &clone.manifests));
        assert!(back.segments().eq(second.segments()));
        assert_eq!(read(&catalog, "c").await.unwrap().doc, second.doc);

        // Whoever is deleted, the others stay whole; with the last of them their objects go.
        assert!(catalog.delete(&name("c")).await.unwrap());
        assert_eq!(catalog.list().await.unwrap(), ["d", "e", "f"].map(name));
        for clone in ["d", "e", "f"] {
            read(&catalog, clone).await.unwrap();
            assert!(catalog.delete(&name(clone)).await.unwrap());
        }
        let left = catalog.store().list(&Key::collections()).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(catalog.clone_collection(&name("c"), &name("d"), None).await.unwrap_err().kind, ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn an_origin_that_is_used_by_no_clone_any_more_is_its_collections_own_again() {
    let catalog = Place::memory().healthy();
    let (_, second) = two_versions(&catalog).await;
    catalog.clone_collection(&name("c"), &name("d"), None).await.unwrap();
    catalog.delete(&name("d")).await.unwrap();
    assert_eq!(read(&catalog, "c").await.unwrap().doc, second.doc);
    catalog.delete(&name("c")).await.unwrap();
    assert!(catalog.store().list(&Key::collections()).await.unwrap().is_empty());
}

/// Two versions of a collection, and then a job with each fault at every step; after each, it can be run again and ends well. `done` panics when the
/// store is in a state that it must not be in, and says whether the job is done.
async fn run_or_repeat<T: std::fmt::Debug>(
    run: impl AsyncFn(&Catalog) -> Result<T>,
    done: impl AsyncFn(&Catalog) -> bool,
) {
    let prepare = async |catalog: &Catalog| drop(two_versions(catalog).await);
    at_every_step((Place::memory, &FAULTS, 6), prepare, async |trial| {
        let healthy = trial.healthy();
        let outcome = run(&trial.faulty).await;
        trial.check(&outcome);
        read(&healthy, "c").await.unwrap();
        if !done(&healthy).await {
            assert!(outcome.is_err(), "it ended well and is not done");
            run(&healthy).await.unwrap();
            assert!(done(&healthy).await, "after it was done again");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_may_die_at_any_step() {
    let done = async |catalog: &Catalog| {
        let now = read(catalog, "c").await.unwrap();
        assert!((1..=2).contains(&now.doc.history.len()));
        now.doc.history.len() == 2
    };
    run_or_repeat(async |catalog| catalog.rollback(&name("c"), None, None).await, done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_may_die_at_any_step() {
    let done = async |catalog: &Catalog| {
        let found = catalog.list_snapshots(&name("c")).await.unwrap();
        assert!(found.len() <= 1);
        if !found.is_empty() {
            read_as_of(catalog, &AsOf::Snapshot("s".to_owned())).await.unwrap();
        }
        !found.is_empty()
    };
    run_or_repeat(async |catalog| catalog.create_snapshot(&name("c"), "s", None).await, done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_may_die_at_any_step() {
    let done = async |catalog: &Catalog| match read(catalog, "d").await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
            false
        }
    };
    run_or_repeat(async |catalog| catalog.clone_collection(&name("c"), &name("d"), None).await, done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_an_origin_may_die_at_any_step() {
    let prepare = async |catalog: &Catalog| {
        two_versions(catalog).await;
        catalog.create_snapshot(&name("c"), "s", None).await.unwrap();
        catalog.clone_collection(&name("c"), &name("d"), None).await.unwrap();
    };
    at_every_step((Place::memory, &FAULTS, 6), prepare, async |trial| {
        let healthy = trial.healthy();
        let clone = healthy.open(&name("d")).await.unwrap();
        trial.check(&trial.faulty.delete(&name("c")).await);
        assert_eq!(read(&healthy, "d").await.unwrap().doc, clone.doc);
    })
    .await;
}

/// A clone, or a snapshot, and a deletion of what it comes from at once, one of them slow at every step in turn: whatever the
/// order of their requests, what exists in the end is whole, and nothing is left of what does not.
#[tokio::test(flavor = "multi_thread")]
async fn clones_and_snapshots_race_with_deletions() {
    let (c, d, e) = (name("c"), name("d"), name("e"));
    for fault in [Fault::Delay(std::time::Duration::from_millis(4)), Fault::Busy] {
        for step in 0..16 {
            for (slow_deletion, of_a_clone) in [(false, false), (false, true), (true, false), (true, true)] {
                let place = Place::memory();
                let healthy = place.healthy();
                two_versions(&healthy).await;
                if of_a_clone {
                    // The last collection that uses these segments is the one that is deleted.
                    healthy.clone_collection(&c, &d, None).await.unwrap();
                    healthy.delete(&c).await.unwrap();
                }
                let from = if of_a_clone { &d } else { &c };
                let slow = || Catalog::new(Faults::new(place.client()).at(step, fault).into_store());
                let (jobs, deleter) = if slow_deletion { (place.healthy(), slow()) } else { (slow(), place.healthy()) };
                let (cloned, pinned, deleted) = tokio::join!(
                    jobs.clone_collection(from, &e, None),
                    jobs.create_snapshot(from, "s", None),
                    deleter.delete(from)
                );
                assert!(deleted.unwrap());
                drop(pinned);
                match cloned {
                    Ok(_) => drop(read(&healthy, "e").await.unwrap()),
                    Err(_) => assert_eq!(healthy.open(&e).await.unwrap_err().kind, ErrorKind::NotFound),
                }
                let left = healthy.store().list(&Key::snapshots(from)).await.unwrap();
                assert!(left.is_empty(), "a snapshot of nothing: {left:?}");
            }
        }
    }
}

/// What was taken after a first rollback is behind an end in the log, where readers stop who begin before it.
#[tokio::test]
async fn going_back_to_the_predecessor_means_how_it_was_left_last() {
    let catalog = Place::memory().healthy();
    let c = name("c");
    let first = catalog.create(&c, &schema(1)).await.unwrap();
    let second = catalog.begin(&c, &schema(1));
    catalog.publish(&second, vec![Vec::new()], Expect::Unchanged(Box::new(first.clone()))).await.unwrap();
    let back = catalog.rollback(&c, None, None).await.unwrap();
    assert_eq!(back.doc.generation, first.doc.generation);
    // The log ended at 0, and is opened again.
    catalog.commit_fold(&back, vec![Fold { shard: 0, log_position: 1, segments: Vec::new() }]).await.unwrap();
    catalog.rollback(&c, Some(&AsOf::Generation(second.id)), None).await.unwrap();
    let again = catalog.rollback(&c, None, None).await.unwrap();
    assert_eq!((&again.doc.generation, again.manifests[0].log_position), (&first.doc.generation, 1));
}
