//! Collections that take writes: what is folded, who is overtaken, and what ends.

use cairn_model::{Change, Kind as _, Partition, PointId};

use super::*;
use crate::log::{AppendError, Log, LogOptions, Part, Place as LogPlace};

fn write(id: u64) -> Part {
    Part::new(vec![Change::Remove(vec![PointId::Num(id)])]).unwrap()
}

fn log(catalog: &Catalog, collection: &Collection, shard: u32) -> Log {
    let (name, generation) = (collection.doc.name.clone(), collection.doc.generation.clone());
    let position = ManifestPosition::new(catalog.clone(), &name, &generation, shard);
    let place = LogPlace { collection: name, generation, shard };
    Log::new(catalog.store().clone(), place, Arc::new(position), LogOptions::default())
}

async fn segment(catalog: &Catalog, collection: &Collection, shard: u32, seed: u64) -> SegmentEntry {
    let (file, entry) = segment_file(&content(1_000, seed));
    catalog.put_segment(&collection.generation(), shard, file.path(), &entry).await.unwrap();
    entry
}

/// A segment more in shard 1, and everything of its log before `log_position` in segments.
async fn fold(catalog: &Catalog, before: &Collection, log_position: u64, seed: u64) -> Result<Collection> {
    let mut segments = before.manifests[1].segments.clone();
    if let Some(first) = segments.first_mut() {
        first.dead = Some(DeadRows { count: 1, bitmap: vec![0; 8] });
    }
    segments.push(segment(catalog, before, 1, seed).await);
    catalog.commit_fold(before, vec![Fold { shard: 1, log_position, segments }]).await
}

#[tokio::test]
async fn a_fold_is_seen_whole_by_whoever_reads_next() {
    for inline in [true, false] {
        let place = Place::memory();
        let catalog = place.healthy();
        let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
        if !inline {
            strip_manifests(&place, &created).await;
        }
        let created = catalog.open(&name("c")).await.unwrap();
        assert!(created.doc.live && created.doc.manifests.is_some() == inline);
        let first = fold(&catalog, &created, 3, 1).await.unwrap();
        let second = fold(&catalog, &first, 5, 2).await.unwrap();
        assert_eq!(second.manifests[1].version, 3);
        assert_eq!((second.manifests[0].log_position, second.manifests[1].log_position), (0, 5));
        assert_eq!(second.points(), second.manifests[1].segments.iter().map(|entry| entry.points).sum::<u64>() - 1);
        for known in [&created, &first] {
            assert_eq!(catalog.refresh(known).await.unwrap().unwrap().manifests, second.manifests);
        }
        assert!(catalog.refresh(&second).await.unwrap().is_none());
        // Every manifest is an object of its own as well.
        strip_manifests(&place, &second).await;
        assert_eq!(read(&catalog, "c").await.unwrap().manifests, second.manifests);
        assert_eq!(catalog.refresh(&first).await.unwrap().unwrap().manifests, second.manifests);
    }
}

#[test]
fn documents_that_contradict_themselves_are_refused() {
    let (_, entry) = segment_file(b"x");
    let generation = Ulid::generate().to_string();
    let doc = |live, folded: &[(u32, &str)]| CollectionDoc {
        format: documents::FORMAT_LIVE,
        name: name("c"),
        generation: generation.clone(),
        creation: None,
        schema: schema(2),
        writer: generation.clone(),
        live,
        folded: folded.iter().map(|(shard, id)| (*shard, (*id).to_owned())).collect(),
        manifests: None,
        since_ms: None,
        origin: None,
        history: Vec::new(),
    };
    let check = |doc: &CollectionDoc| invariants::collection(doc, &name("c"));
    assert_eq!(check(&doc(true, &[(1, &generation)])), Ok(()));
    for (doc, sign) in [
        (doc(false, &[]), "format is 3, not 1"),
        (doc(true, &[(2, &generation)]), "shard 2 of 2"),
        (doc(true, &[(0, "x")]), "not a ULID"),
    ] {
        assert!(check(&doc).unwrap_err().contains(sign), "{sign}");
    }
    for (dead, sign) in [
        (DeadRows { count: entry.points + 1, bitmap: vec![] }, "of them dead"),
        (DeadRows { count: 0, bitmap: vec![0; DEAD_BYTES_MAX + 1] }, "at most 1048576 are possible"),
    ] {
        let error = invariants::segment(&SegmentEntry { dead: Some(dead), ..entry.clone() }).unwrap_err();
        assert!(error.contains(sign), "{error}");
    }
}

#[tokio::test]
async fn whoever_is_overtaken_changes_nothing() {
    let catalog = Place::memory().healthy();
    let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
    let folded = fold(&catalog, &created, 3, 1).await.unwrap();
    let error = fold(&catalog, &created, 9, 2).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(catalog.open(&name("c")).await.unwrap().manifests, folded.manifests);
    let error = fold(&catalog, &folded, 2, 3).await.unwrap_err();
    assert_eq!((error.kind, error.why.contains("is at 3")), (ErrorKind::Invalid, true), "{error}");
    let missing = segment_file(b"x").1;
    let missing = Fold { shard: 0, log_position: 0, segments: vec![missing] };
    let error = catalog.commit_fold(&folded, vec![missing.clone()]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    let error = catalog.commit_fold(&folded, vec![Fold { shard: 2, ..missing }]).await.unwrap_err();
    assert!(error.why.contains("no shard 2"), "{error}");
    assert_eq!(catalog.open(&name("c")).await.unwrap().manifests, folded.manifests);
}

#[tokio::test]
async fn a_bulk_build_takes_writes_once_it_says_so() {
    let catalog = Place::memory().healthy();
    let built = publish(&catalog, "c", &[b"x"]).await;
    let error = catalog.commit_fold(&built, Vec::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let (a, b) = tokio::join!(catalog.enliven(&built), catalog.enliven(&built));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.doc.live && b.doc.live && catalog.refresh(&built).await.unwrap().unwrap().doc.live);
    let again = catalog.enliven(&catalog.open(&name("c")).await.unwrap()).await.unwrap();
    assert!(again.doc.writer == a.doc.writer || again.doc.writer == b.doc.writer, "nothing was written");

    let mut by_space = schema(1);
    by_space.partition = Partition::Space;
    by_space.vectors.values_mut().for_each(|params| params.distance = cairn_model::Distance::Cosine);
    let created = catalog.create(&name("space"), &by_space).await.unwrap();
    assert!(!created.doc.live);
    assert_eq!(catalog.enliven(&created).await.unwrap_err().kind, ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_replaces_a_collection_ends_its_logs_first() {
    let catalog = Place::memory().healthy();
    let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
    let (late, sleeping) = (log(&catalog, &created, 1), log(&catalog, &created, 0));
    late.append(write(1)).await.unwrap();
    // Others fold and change the schema meanwhile: only the latter is in the way.
    let folded = fold(&catalog, &created, 1, 1).await.unwrap();
    let generation = catalog.begin(&name("c"), &schema(2));
    let expect = Expect::Unchanged(Box::new(created.clone()));
    catalog.publish(&generation, vec![vec![], vec![]], expect).await.unwrap();
    assert_eq!(late.append(write(2)).await.unwrap_err(), AppendError::Ended);
    let error = sleeping.append(write(2)).await.unwrap_err();
    assert_eq!((error.kind(), matches!(error, AppendError::Failed(_))), (ErrorKind::NotFound, true), "{error}");
    let error = fold(&catalog, &folded, 2, 2).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");

    let past = catalog.open_as_of(&name("c"), &AsOf::Generation(created.doc.generation.clone())).await.unwrap();
    assert_eq!(past.manifests, folded.manifests);
    // Gone back to, it is as it was, and takes writes when the end of its log is folded.
    let back = catalog.rollback(&name("c"), None, None).await.unwrap();
    assert_eq!((back.manifests.clone(), back.doc.live), (folded.manifests, true));
    let log = log(&catalog, &back, 1);
    assert_eq!(log.append(write(3)).await.unwrap_err(), AppendError::Ended);
    let back = fold(&catalog, &back, 2, 3).await.unwrap();
    log.fold(back.standing(&back.manifests[1]), tokio::time::Instant::now());
    assert_eq!(log.append(write(3)).await.unwrap().sequence, 2);
    assert_eq!(back.manifests[1].log_position, 2);
}

#[tokio::test]
async fn a_snapshot_is_gone_back_to_without_what_was_written_after_it() {
    let catalog = Place::memory().healthy();
    let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
    let folded = fold(&catalog, &created, 0, 1).await.unwrap();
    let snapshot = catalog.create_snapshot(&name("c"), "s", None).await.unwrap();
    assert_eq!(catalog.create_snapshot(&name("c"), "s", None).await.unwrap(), snapshot, "again is fine");
    let log_before = log(&catalog, &folded, 1);
    log_before.append(write(1)).await.unwrap();
    let later = fold(&catalog, &folded, 1, 2).await.unwrap();
    let error = catalog.create_snapshot(&name("c"), "s", None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "the same name for something else: {error}");

    let to = AsOf::Snapshot("s".to_owned());
    let back = catalog.rollback(&name("c"), Some(&to), Some(&later.doc.generation)).await.unwrap();
    assert!(back.segments().eq(folded.segments()) && back.doc.live && back.doc.generation != later.doc.generation);
    assert_eq!(log_before.append(write(2)).await.unwrap_err(), AppendError::Ended);
    let log_after = log(&catalog, &back, 1);
    assert_eq!(log_after.append(write(3)).await.unwrap().sequence, 0, "its log begins at the beginning");
    read(&catalog, "c").await.unwrap();
    let folded = fold(&catalog, &back, 1, 3).await.unwrap();
    assert_eq!(folded.segments().filter(|(_, entry)| entry.own).count(), 1);
    read(&catalog, "c").await.unwrap();
    // What it was made of is at hand as well.
    let past = catalog.open_as_of(&name("c"), &AsOf::Generation(later.doc.generation.clone())).await.unwrap();
    assert!(past.segments().eq(later.segments()));
    assert!(catalog.delete(&name("c")).await.unwrap());
    let left = catalog.store().list(&Key::collections()).await.unwrap();
    assert!(left.iter().all(|found| found.key.is_log()), "{left:?}");
}

#[tokio::test]
async fn a_time_is_not_gone_back_to_when_its_generation_was_written_to_afterwards() {
    static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1_000);
    let later = || NOW.fetch_add(1_000, std::sync::atomic::Ordering::SeqCst);
    let catalog = Place::memory().healthy().with_clock(|| NOW.load(std::sync::atomic::Ordering::SeqCst));
    let c = name("c");
    let first = catalog.create(&c, &schema(2)).await.unwrap();
    let generation = AsOf::Generation(first.doc.generation.clone());
    let rebuild = async || {
        later();
        let expect = Expect::Unchanged(Box::new(catalog.open(&c).await.unwrap()));
        catalog.publish(&catalog.begin(&c, &schema(2)), vec![vec![], vec![]], expect).await.unwrap()
    };
    rebuild().await;
    later();
    let back = catalog.rollback(&c, Some(&AsOf::Time(1_500)), None).await.unwrap();
    assert_eq!(back.doc.generation, first.doc.generation, "nobody wrote to it meanwhile");
    // Its log ended at 0, is opened again, and takes a write.
    let opened = fold(&catalog, &back, 1, 1).await.unwrap();
    assert_eq!(log(&catalog, &opened, 1).append(write(1)).await.unwrap().sequence, 1);
    rebuild().await;
    later();
    let past = catalog.open_as_of(&c, &AsOf::Time(1_500)).await.unwrap();
    assert_eq!(past.manifests, first.manifests, "it can be read");
    let error = catalog.rollback(&c, Some(&AsOf::Time(1_500)), None).await.unwrap_err();
    assert_eq!((error.kind, error.why.contains("how it was left last")), (ErrorKind::Unsupported, true), "{error}");
    let back = catalog.rollback(&c, Some(&AsOf::Time(3_500)), None).await.unwrap();
    assert_eq!(back.manifests, opened.manifests);
    rebuild().await;
    assert_eq!(catalog.rollback(&c, Some(&generation), None).await.unwrap().manifests, opened.manifests);
}

#[tokio::test]
async fn a_deleted_collection_takes_no_writes() {
    let place = Place::memory();
    let catalog = place.healthy();
    let created = catalog.create(&name("c"), &schema(1)).await.unwrap();
    let log = log(&catalog, &created, 0);
    log.append(write(1)).await.unwrap();
    assert!(catalog.delete(&name("c")).await.unwrap());
    assert_eq!(log.append(write(2)).await.unwrap_err(), AppendError::Ended);
    let again = catalog.create(&name("c"), &schema(1)).await.unwrap();
    assert_ne!(again.doc.generation, created.doc.generation);
    assert_eq!(again.manifests[0].log_position, 0);
}

#[tokio::test]
async fn a_clone_that_is_written_to_has_folders_of_both() {
    let catalog = Place::memory().healthy();
    let origin = publish(&catalog, "c", &[b"x", b"y"]).await;
    let clone = catalog.clone_collection(&name("c"), &name("d"), None).await.unwrap();
    let clone = catalog.enliven(&clone).await.unwrap();
    let shards = origin.doc.schema.shard_count;
    let mut segments = clone.manifests[0].segments.clone();
    segments.push(segment(&catalog, &clone, 0, 9).await);
    let folded = catalog.commit_fold(&clone, vec![Fold { shard: 0, log_position: 0, segments }]).await.unwrap();
    assert_eq!(folded.segments().filter(|(_, entry)| entry.own).count(), 1);
    assert_eq!(read(&catalog, "d").await.unwrap().segments().count(), origin.segments().count() + 1);
    assert_eq!(shards, folded.doc.schema.shard_count);
    let error = catalog.clone_collection(&name("d"), &name("e"), None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn schemas_are_changed_one_after_another() {
    let catalog = Place::memory().healthy();
    let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
    let c = name("c");
    let change = |m: u32| {
        let (catalog, c) = (&catalog, &c);
        async move {
            let changing = catalog.amend(c, |schema| {
                schema.vectors.values_mut().for_each(|params| params.hnsw.m += m);
                Ok(m > 0)
            });
            changing.await.unwrap()
        }
    };
    futures::join!(change(1), change(2), change(4));
    let m = |collection: &Collection| collection.doc.schema.vectors.values().next().unwrap().hnsw.m;
    let after = catalog.open(&name("c")).await.unwrap();
    assert_eq!(m(&after), m(&created) + 7);
    assert_eq!(change(0).await.doc.writer, after.doc.writer);
    let refused = catalog.amend(&c, |schema| {
        schema.vectors.values_mut().for_each(|params| params.size = 0);
        Ok(true)
    });
    assert_eq!(refused.await.unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_may_die_at_any_step() {
    let prepare = async |catalog: &Catalog| drop(catalog.create(&name("c"), &schema(2)).await.unwrap());
    at_every_step((Place::memory, &FAULTS, 2), prepare, async |trial| {
        let healthy = trial.healthy();
        let created = healthy.open(&name("c")).await.unwrap();
        let entry = segment(&healthy, &created, 1, 1).await;
        let folds = vec![Fold { shard: 1, log_position: 4, segments: vec![entry] }];
        let outcome = trial.faulty.commit_fold(&created, folds.clone()).await;
        trial.check(&outcome);
        let after = read(&healthy, "c").await.unwrap();
        if after.doc.writer == created.doc.writer {
            assert!(outcome.is_err());
            healthy.commit_fold(&created, folds).await.unwrap();
        } else {
            assert_eq!((after.manifests[1].log_position, after.segments().count()), (4, 1));
            assert_eq!(healthy.commit_fold(&created, folds).await.unwrap_err().kind, ErrorKind::Conflict);
        }
    })
    .await;
}
