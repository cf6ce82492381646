//! Snapshots whose put was on its way while their collection was deleted and created anew.

use std::collections::BTreeSet;

use super::{super::super::tests::reachable::named, *};
use crate::catalog::AsOf;

const LATE: Duration = Duration::from_secs(60);
const SLOW: Fault = Fault::Delay(Duration::from_secs(5));

async fn names(catalog: &Catalog) -> Vec<String> {
    catalog.list_snapshots(&name("c")).await.unwrap().into_iter().map(|found| found.name).collect()
}

/// Whatever is named is there.
async fn check(world: &World, case: &str) {
    let there: BTreeSet<_> = world.keys().await.into_iter().collect();
    let (named, _) = named(&world.catalog()).await;
    let missing: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty(), "{case}: named and gone: {missing:#?}");
}

/// A collection `c` that was deleted and created anew, a snapshot `s` of the first one that arrived after that a while ago, and `t` of the second.
async fn stale(seed: u64) -> World {
    let world = World::new(seed);
    let catalog = world.catalog();
    rebuild(&catalog, "c", 1).await.unwrap();
    catalog.create_snapshot(&name("c"), "s", None).await.unwrap();
    let key = Key::snapshot(&name("c"), "s").unwrap();
    let path = Path::from(key.as_str());
    let put = world.objects.get(&path).await.unwrap().bytes().await.unwrap();
    assert!(catalog.delete(&name("c")).await.unwrap());
    rebuild(&catalog, "c", 2).await.unwrap();
    world.dated.put(&path, put.into()).await.unwrap();
    catalog.create_snapshot(&name("c"), "t", None).await.unwrap();
    // The history forgets what `t` pins.
    rebuild(&catalog, "c", 3).await.unwrap();
    pass(GRACE_MS).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_arrives_after_its_collection_names_nothing_and_goes() {
    let mut arrived = 0;
    for step in 0.. {
        let world = World::new(step);
        let catalog = world.catalog();
        rebuild(&catalog, "c", 1).await.unwrap();
        let faults = world.faults().at(step, Fault::Late(LATE));
        let steps = faults.steps();
        let case = format!("late at {step}");
        Catalog::new(faults.into_store()).create_snapshot(&name("c"), "s", None).await.expect(&case);
        assert!(catalog.delete(&name("c")).await.unwrap());
        rebuild(&catalog, "c", 2).await.unwrap();
        catalog.create_snapshot(&name("c"), "t", None).await.unwrap();
        tokio::time::sleep(LATE).await;
        arrived += count(&world.keys().await, "/s.json");
        assert_eq!(names(&catalog).await, ["t"], "{case}");
        check(&world, &case).await;

        // Like anything else it may be young.
        let (report, _) = world.collect(&Options::default()).await;
        assert!(report.deleted.objects == 0 && report.skipped.is_empty(), "{case}: {report:?}");
        pass(GRACE_MS).await;
        let all = world.settle().await;
        assert!(all.skipped.is_empty(), "{case}: {all:?}");
        let keys = world.keys().await;
        assert_eq!((count(&keys, "/s.json"), count(&keys, "/t.json")), (0, 1), "{case}");
        check(&world, &case).await;
        if steps.count() <= step {
            break;
        }
    }
    assert_eq!(arrived, 1, "the put of a snapshot is one step");
}

/// What a deletion left that died is garbage at once, although a stale snapshot names it; and that the manifests of one are gone is nobody's concern.
#[tokio::test(start_paused = true)]
async fn a_stale_snapshot_holds_nothing_up() {
    for is_half in [true, false] {
        let world = World::new(3);
        let catalog = world.catalog();
        let (c, first) = (name("c"), rebuild(&catalog, "c", 1).await.unwrap());
        catalog.create_snapshot(&c, "s", None).await.unwrap();
        let key = Key::snapshot(&c, "s").unwrap();
        let (found, version) = catalog.read_snapshot(&c, "s").await.unwrap();
        let mut apart = found.as_ref().clone();
        apart.collection.manifests = None;
        let apart = super::super::super::documents::encode("", &apart).unwrap();
        if is_half {
            catalog.store().delete(&Key::collection(&c)).await.unwrap();
            catalog.store().compare_and_swap(&key, apart, &version).await.unwrap();
        } else {
            assert!(catalog.delete(&c).await.unwrap());
            catalog.store().put_if_absent(&key, apart).await.unwrap();
        }
        rebuild(&catalog, "c", 2).await.unwrap();
        let (report, seen) = world.collect(&Options::default()).await;
        assert!(report.skipped.is_empty(), "{report:?}");
        let folder = format!("/{}/", first.doc.generation);
        let of_first: Vec<_> = seen.iter().filter(|(key, _)| key.contains(&folder)).map(|(_, fate)| *fate).collect();
        // Two segments, their heads and their manifests, none of them named.
        assert_eq!(of_first, vec![Fate::Young; if is_half { 6 } else { 0 }], "{seen:#?}");
        pass(GRACE_MS).await;
        world.collect(&Options::default()).await;
        assert_eq!(count(&world.keys().await, "/s.json"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_of_stale_snapshots_and_leaves_them() {
    let world = stale(1).await;
    let before = world.keys().await;
    let (foretold, seen) = world.collect(&Options { dry_run: true, ..Options::default() }).await;
    assert_eq!(world.keys().await, before);
    let stale = Key::snapshot(&name("c"), "s").unwrap();
    assert_eq!((foretold.deleted.objects, seen.get(stale.as_str())), (1, Some(&Fate::Deleted)), "{seen:#?}");
    let (report, gone) = world.collect(&Options::default()).await;
    assert_eq!((&report, &gone), (&foretold, &seen));
    assert_eq!(count(&world.keys().await, "/s.json"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_collector_of_stale_snapshots_may_die_at_any_step() {
    for fault in FAULTS {
        for step in 0.. {
            let world = stale(step).await;
            let catalog = world.catalog();
            let faults = world.faults().at(step, fault);
            let steps = faults.steps();
            let outcome = Catalog::new(faults.into_store()).collect(&Options::default(), |_, _| ()).await;
            let case = format!("{fault:?} at {step}");
            let dies = matches!(fault, Fault::DieBefore | Fault::DieAfter) && steps.count() > step;
            assert_eq!(outcome.is_err(), dies, "{case}: {outcome:?}");
            assert_eq!(names(&catalog).await, ["t"], "{case}");
            assert!(dies || count(&world.keys().await, "/s.json") == 0, "{case}");
            // What died at it may have condemned it: then its name is taken until the next run, or until somebody deletes it.
            match catalog.create_snapshot(&name("c"), "s", None).await {
                Ok(_) => assert_eq!(names(&catalog).await, ["s", "t"], "{case}"),
                Err(error) => {
                    assert!(dies && error.kind == ErrorKind::Conflict, "{case}: {error}");
                    assert!(error.why.contains("being deleted"), "{case}: {error}");
                    assert!(catalog.delete_snapshot(&name("c"), "s").await.unwrap());
                    catalog.create_snapshot(&name("c"), "s", None).await.expect(&case);
                }
            }
            pass(GRACE_MS).await;
            world.settle().await;
            assert_eq!(names(&catalog).await, ["s", "t"], "{case}");
            check(&world, &case).await;
            if steps.count() <= step {
                assert!(step >= 15, "{step} steps");
                break;
            }
        }
    }
}

/// A collector that left a condemned one behind is followed by one that deletes it.
#[tokio::test(start_paused = true)]
async fn what_is_condemned_is_no_snapshot_and_goes() {
    let world = stale(2).await;
    let catalog = world.catalog();
    let (found, version) = catalog.read_snapshot(&name("c"), "t").await.unwrap();
    let condemned = super::super::super::Snapshot { condemned: true, ..found.as_ref().clone() };
    let key = Key::snapshot(&name("c"), "t").unwrap();
    let content = super::super::super::documents::encode("", &condemned).unwrap();
    assert!(matches!(catalog.store().compare_and_swap(&key, content, &version).await.unwrap(), Put::Done(_)));
    assert_eq!(names(&catalog).await, [""; 0]);
    let error = catalog.open_as_of(&name("c"), &AsOf::Snapshot("t".to_owned())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let (report, _) = world.collect(&Options::default()).await;
    assert!(report.waiting.objects > 0 && count(&world.keys().await, "/t.json") == 1, "{report:?}");
    pass(GRACE_MS).await;
    world.settle().await;
    assert_eq!(count(&world.keys().await, "/t.json"), 0);
}

/// One collects, and one takes the name of what is collected, each slow at every step in turn: what was acknowledged stays.
#[tokio::test(start_paused = true)]
async fn who_takes_the_name_of_a_stale_snapshot_keeps_it() {
    let mut refused = 0;
    for is_collector_slow in [false, true] {
        for step in 0.. {
            let world = stale(step).await;
            let faults = world.faults().at(step, SLOW);
            let steps = faults.steps();
            let (slow, quick) = (Catalog::new(faults.into_store()), world.catalog());
            let (collector, maker) = if is_collector_slow { (&slow, &quick) } else { (&quick, &slow) };
            let later = async {
                // In the middle of the other's pause.
                tokio::time::sleep(Duration::from_secs(u64::from(is_collector_slow))).await;
                maker.create_snapshot(&name("c"), "s", None).await
            };
            let collected = async {
                tokio::time::sleep(Duration::from_secs(u64::from(!is_collector_slow))).await;
                collector.collect(&Options::default(), |_, _| ()).await.unwrap()
            };
            let (made, report) = tokio::join!(later, collected);
            let case = format!("collector {is_collector_slow}, slow at {step}: {made:?}");
            assert!(report.skipped.is_empty(), "{case}: {report:?}");
            if let Err(error) = made {
                assert_eq!(error.kind, ErrorKind::Conflict, "{case}");
                refused += 1;
                quick.create_snapshot(&name("c"), "s", None).await.expect(&case);
            }
            assert_eq!(names(&quick).await, ["s", "t"], "{case}");
            pass(GRACE_MS).await;
            world.settle().await;
            assert_eq!(names(&quick).await, ["s", "t"], "{case}");
            check(&world, &case).await;
            if steps.count() <= step {
                assert!(step >= 8, "{step} steps");
                break;
            }
        }
    }
    assert!(refused <= 2, "{refused} were refused, where the deletion of what was condemned is slow");
}
