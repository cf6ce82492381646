mod simulation;
mod stale;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cairn_model::{Change, PointId};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path};
use tokio::time::advance;

use super::{
    super::{Collection, Expect, Fold, ManifestPosition, SegmentEntry},
    *,
};
use crate::{
    log::{Log, LogOptions, Part, Place},
    testing::{
        conformance::{content, name, schema, segment_file},
        dated::Dated,
        faults::{Fault, Faults},
    },
};

const FAULTS: [Fault; 4] = [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter];

/// A store whose clock is the test's.
struct World {
    objects: Arc<InMemory>,
    dated: Arc<Dated>,
}

impl World {
    fn new(seed: u64) -> Self {
        let objects = Arc::new(InMemory::new());
        Self { dated: Arc::new(Dated::new(Arc::clone(&objects) as _, seed)), objects }
    }

    fn catalog(&self) -> Catalog {
        Catalog::new(self.faults().into_store())
    }

    fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.dated) as _)
    }

    async fn keys(&self) -> Vec<String> {
        self.objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
    }

    /// A run, and every object that it told of.
    async fn collect(&self, options: &Options) -> (Report, BTreeMap<String, Fate>) {
        let mut seen = BTreeMap::new();
        let watch = |found: &Found, fate| {
            assert!(seen.insert(found.key.as_str().to_owned(), fate).is_none(), "{found:?} is told of twice");
        };
        let report = self.catalog().collect(options, watch).await.unwrap();
        (report, seen)
    }

    /// Runs until nothing is left to wait for.
    async fn settle(&self) -> Report {
        let mut all = Report::default();
        for _ in 0..6 {
            let (report, _) = self.collect(&Options::default()).await;
            all.deleted.objects += report.deleted.objects;
            all.skipped.extend(report.skipped);
            pass(GRACE_MS).await;
        }
        all
    }
}

/// Lets that much time pass, and what clocks may be wrong by.
async fn pass(ms: u64) {
    advance(Duration::from_millis(ms + CLOCK_MS)).await;
}

fn write(id: u64) -> Part {
    Part::new(vec![Change::Remove(vec![PointId::Num(id)])]).unwrap()
}

fn log(catalog: &Catalog, collection: &Collection, shard: u32) -> Log {
    let (name, generation) = (collection.doc.name.clone(), collection.doc.generation.clone());
    let position = ManifestPosition::new(catalog.clone(), &name, &generation, shard);
    let place = Place { collection: name, generation, shard };
    Log::new(catalog.store().clone(), place, Arc::new(position), LogOptions { seed: 1, ..LogOptions::default() })
}

async fn segment(catalog: &Catalog, collection: &Collection, shard: u32, seed: u64) -> Result<SegmentEntry> {
    let (file, mut entry) = segment_file(&content(100, seed));
    let generation = collection.generation();
    entry.head = Some(head(&catalog.put_heads(&generation, Bytes::from_static(b"head")).await?));
    catalog.put_segment(&generation, shard, file.path(), &entry).await?;
    Ok(entry)
}

fn head(bundle: &str) -> super::super::HeadEntry {
    let (bundle, checksum) = (bundle.to_owned(), format!("{:016x}", 1));
    super::super::HeadEntry { bundle, offset: 0, ranges: vec![(0, 4)], checksum, fields: BTreeMap::new() }
}

/// A segment in each of two shards, published over whatever there is.
async fn rebuild(catalog: &Catalog, collection: &str, seed: u64) -> Result<Collection> {
    let name = name(collection);
    let expect = match catalog.open(&name).await {
        Ok(before) => Expect::Unchanged(Box::new(before)),
        Err(error) if error.kind == ErrorKind::NotFound => Expect::Absent,
        Err(error) => return Err(error),
    };
    let generation = catalog.begin(&name, &schema(2));
    let mut segments = vec![Vec::new(), Vec::new()];
    for (shard, entries) in (0..).zip(&mut segments) {
        let (file, mut entry) = segment_file(&content(100, seed));
        entry.head = Some(head(&catalog.put_heads(&generation, Bytes::from_static(b"head")).await?));
        catalog.put_segment(&generation, shard, file.path(), &entry).await?;
        entries.push(entry);
    }
    catalog.publish(&generation, segments, expect).await
}

/// Moves everything of a shard's log into one more segment, which takes the place of the first one if there are several.
async fn fold(catalog: &Catalog, collection: &str, shard: u32, seed: u64) -> Result<Collection> {
    let before = catalog.open(&name(collection)).await?;
    let log = log(catalog, &before, shard);
    log.fold(before.standing(&before.manifests[shard as usize]), tokio::time::Instant::now());
    let tail = log.refresh().await?;
    let mut segments = before.manifests[shard as usize].segments.clone();
    if segments.len() > 1 {
        segments.remove(0);
    }
    segments.push(segment(catalog, &before, shard, seed).await?);
    catalog.commit_fold(&before, vec![Fold { shard, log_position: tail.next(), segments }]).await
}

fn count(keys: &[String], sign: &str) -> usize {
    keys.iter().filter(|key| key.contains(sign)).count()
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_that_readers_would_feel_is_refused() {
    let options = Options { grace_ms: GRACE_MS_MIN - 1, ..Options::default() };
    let error = World::new(0).catalog().collect(&options, |_, _| ()).await.unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (ErrorKind::Invalid, "grace period"));
}

#[tokio::test(start_paused = true)]
async fn what_a_fold_replaced_stays_for_the_grace_period_and_goes() {
    let world = World::new(1);
    let catalog = world.catalog();
    catalog.create(&name("c"), &schema(2)).await.unwrap();
    for seed in 0..2 {
        fold(&catalog, "c", 1, seed).await.unwrap();
    }
    pass(10 * GRACE_MS).await;
    // However old they are, they were named until just now.
    fold(&catalog, "c", 1, 7).await.unwrap();
    let before = world.keys().await;
    let (report, seen) = world.collect(&Options::default()).await;
    // The first and two later manifests of shard 1, a segment and its head.
    assert_eq!((report.deleted.objects, report.waiting.objects), (0, 5), "{seen:#?}");
    assert_eq!(world.keys().await.len(), before.len() + 1, "what was found is written down");
    pass(GRACE_MS / 2).await;
    assert_eq!(world.collect(&Options::default()).await.0.deleted.objects, 0);
    pass(GRACE_MS / 2).await;

    // A dry run tells what would go, and changes nothing.
    let before = world.keys().await;
    let (foretold, seen) = world.collect(&Options { dry_run: true, ..Options::default() }).await;
    assert_eq!(world.keys().await, before);
    let (report, gone) = world.collect(&Options::default()).await;
    assert_eq!((&report, &gone), (&foretold, &seen));
    assert_eq!((report.deleted.objects, report.waiting.objects, report.collections, report.generations), (5, 0, 1, 1));
    assert!(gone.values().all(|fate| *fate == Fate::Deleted));
    let after = world.keys().await;
    assert_eq!(after.len() + 6, before.len(), "with the record of it");
    assert_eq!((count(&after, ".seg"), count(&after, "garbage")), (2, 0));
    assert_eq!(report.named.objects + 1, after.len() as u64, "all but collection.json");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_folded_all_the_time_is_collected_after_a_quarter_of_an_hour() {
    let world = World::new(2);
    let catalog = world.catalog();
    let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
    let (written, untouched) = (log(&catalog, &created, 0), log(&catalog, &created, 1));
    untouched.append(write(0)).await.unwrap();
    let mut sizes = Vec::new();
    for round in 0..30 {
        for id in 0..10 {
            written.append(write(id)).await.unwrap();
        }
        fold(&catalog, "c", 0, round).await.unwrap();
        let before: Vec<_> = world.keys().await;
        world.collect(&Options::default()).await;
        // Nothing that was in front of the log's position for less than the time that writers may sleep.
        let gone = before.len() - world.keys().await.len().min(before.len());
        assert!(round > 3 || gone == 0, "{round}: {gone}");
        sizes.push(count(&world.keys().await, "/0/log/"));
        advance(Duration::from_secs(300)).await;
    }
    assert_eq!(&sizes[..4], [10, 20, 30, 40]);
    assert!(sizes[10..].iter().all(|size| *size == 40), "{sizes:?}");
    assert_eq!(count(&world.keys().await, "/1/log/"), 1, "what is in no segment stays");
    assert_eq!(written.append(write(1)).await.unwrap().sequence, 300);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_is_building_is_left_alone_and_what_they_left_is_not() {
    let world = World::new(3);
    let catalog = world.catalog();
    rebuild(&catalog, "c", 1).await.unwrap();
    let generation = catalog.begin(&name("c"), &schema(1));
    let other = catalog.begin(&name("new"), &schema(1));
    let mut entries = Vec::new();
    for seed in 0..4 {
        let (file, entry) = segment_file(&content(100, seed));
        catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap();
        entries.push(entry);
        let (file, entry) = segment_file(&content(100, seed));
        catalog.put_segment(&other, 0, file.path(), &entry).await.unwrap();
        pass(GRACE_MS * 3 / 4).await;
        assert_eq!(world.collect(&Options::default()).await.0.young.objects, 2 * (seed + 1));
    }
    let expect = Expect::Unchanged(Box::new(catalog.open(&name("c")).await.unwrap()));
    catalog.publish(&generation, vec![entries], expect).await.unwrap();
    // The other builder is dead.
    let all = world.settle().await;
    assert_eq!((all.deleted.objects, &all.skipped[..]), (4, &[][..]));
    let keys = world.keys().await;
    assert_eq!((count(&keys, "collections/new/"), count(&keys, ".seg"), count(&keys, "garbage")), (0, 6, 0));
    assert_eq!(catalog.open(&name("c")).await.unwrap().segments().count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_clone_keeps_what_it_uses_and_a_dead_one_only_for_a_while() {
    let world = World::new(4);
    let catalog = world.catalog();
    rebuild(&catalog, "c", 1).await.unwrap();
    let clone = catalog.clone_collection(&name("c"), &name("d"), None).await.unwrap();
    assert!(catalog.delete(&name("c")).await.unwrap());
    // A clone that was never made.
    let mark = Key::clone_mark(&name("c"), clone.doc.folder().1, &Ulid::generate().to_string()).unwrap();
    let content = serde_json::json!({"format": 1, "collection": "e", "generation": Ulid::generate().to_string()});
    let content = super::super::documents::encode("", &content).unwrap();
    catalog.store().put_if_absent(&mark, content).await.unwrap();
    // It might be on its way, and then would name what it found.
    let (first, _) = world.collect(&Options::default()).await;
    assert_eq!((first.named.objects, first.waiting.objects), (7, 3));
    let all = world.settle().await;
    // The mark, and the manifests of the collection that is gone.
    assert_eq!((all.deleted.objects, &all.skipped[..]), (3, &[][..]));
    let keys = world.keys().await;
    assert_eq!((count(&keys, "/clones/"), count(&keys, ".seg"), count(&keys, ".heads")), (1, 2, 2));
    catalog.check_segments(&clone.doc, &clone.manifests).await.unwrap();

    // The clone's own deletion releases them.
    assert!(catalog.delete(&name("d")).await.unwrap());
    world.settle().await;
    assert_eq!(world.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn all_that_a_clone_on_its_way_may_name_is_kept() {
    let world = World::new(8);
    let catalog = world.catalog();
    let origin = rebuild(&catalog, "c", 1).await.unwrap();
    let mark = Key::clone_mark(&name("c"), &origin.doc.generation, &Ulid::generate().to_string()).unwrap();
    let content = serde_json::json!({"format": 1, "collection": "e", "generation": Ulid::generate().to_string()});
    catalog.store().put_if_absent(&mark, content.to_string().into()).await.unwrap();
    catalog.store().delete(&Key::collection(&name("c"))).await.unwrap();
    let (report, seen) = world.collect(&Options::default()).await;
    assert_eq!((report.named.objects, report.waiting.objects), (4, 3), "segments and heads are kept: {seen:#?}");
    world.settle().await;
    assert_eq!(world.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_left_alone() {
    let world = World::new(5);
    let catalog = world.catalog();
    let kept = rebuild(&catalog, "c", 1).await.unwrap();
    rebuild(&catalog, "d", 1).await.unwrap();
    fold(&catalog, "d", 0, 2).await.unwrap_err();
    let folder = format!("collections/c/{}", kept.doc.generation);
    let foreign =
        ["notes.txt", "collections/c/notes.txt", &format!("{folder}/0/notes.txt"), &format!("{folder}/x/y.seg")];
    for foreign in foreign {
        world.dated.put(&Path::from(foreign), "mine".into()).await.unwrap();
    }
    world.objects.put(&Path::from("collections/d/collection.json"), "{}".into()).await.unwrap();
    let before = world.keys().await;
    let all = world.settle().await;
    let skipped: Vec<_> = all.skipped.iter().map(|error| (error.kind, error.what.as_str())).collect();
    assert!(skipped.iter().all(|found| *found == (ErrorKind::Corrupt, "faulty://store/collections/d/collection.json")));
    assert_eq!((all.deleted.objects, skipped.len(), world.keys().await), (0, 6, before));
    let (report, _) = world.collect(&Options { collections: vec![name("c")], ..Options::default() }).await;
    assert_eq!((report.collections, report.foreign.objects, report.skipped.len()), (1, 2, 0));

    // A lost manifest: nobody knows what it named.
    let doc = super::super::CollectionDoc { manifests: None, ..kept.doc.as_ref().clone() };
    let path = Path::from("collections/c/collection.json");
    world.objects.put(&path, super::super::documents::encode("", &doc).unwrap().into()).await.unwrap();
    world.objects.delete(&Path::from(format!("{folder}/1/manifest.json"))).await.unwrap();
    let (report, _) = world.collect(&Options { collections: vec![name("c")], ..Options::default() }).await;
    assert!(report.skipped[0].why.contains("lost a manifest"), "{report:?}");
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["skipped"][0].as_str().unwrap().contains(&kept.doc.generation), "{json}");
}

#[tokio::test(start_paused = true)]
async fn what_examinations_and_deleted_collections_left_is_swept() {
    let world = World::new(6);
    let catalog = world.catalog();
    rebuild(&catalog, "c", 1).await.unwrap();
    catalog.create_snapshot(&name("c"), "s", None).await.unwrap();
    // A deletion that died after its first step.
    catalog.store().delete(&Key::collection(&name("c"))).await.unwrap();
    catalog.store().put_if_absent(&Key::probe(Ulid::generate()), "left".into()).await.unwrap();
    let (report, _) = world.collect(&Options::default()).await;
    assert_eq!((report.deleted.objects, report.waiting.objects, report.young.objects), (0, 2, 6));
    world.settle().await;
    assert_eq!(world.keys().await, [""; 0]);
}

/// Whatever goes wrong at whatever step: what is named stays, and the next run finishes.
#[tokio::test(start_paused = true)]
async fn a_collector_may_die_at_any_step() {
    for fault in FAULTS {
        for step in 0.. {
            let world = World::new(7);
            let catalog = world.catalog();
            let created = catalog.create(&name("c"), &schema(2)).await.unwrap();
            log(&catalog, &created, 1).append(write(1)).await.unwrap();
            for seed in 0..2 {
                fold(&catalog, "c", 1, seed).await.unwrap();
            }
            rebuild(&catalog, "left", 1).await.unwrap();
            catalog.store().delete(&Key::collection(&name("left"))).await.unwrap();
            let mut last = 0;
            for _ in 0..4 {
                let faults = world.faults().at(step, fault);
                let steps = faults.steps();
                let outcome = Catalog::new(faults.into_store()).collect(&Options::default(), |_, _| ()).await;
                let dies = matches!(fault, Fault::DieBefore | Fault::DieAfter) && steps.count() > step;
                assert_eq!(outcome.is_err(), dies, "{fault:?} at {step}: {outcome:?}");
                last = last.max(steps.count());
                let now = catalog.open(&name("c")).await.unwrap();
                catalog.check_segments(&now.doc, &now.manifests).await.unwrap();
                pass(GRACE_MS).await;
            }
            world.settle().await;
            let keys = world.keys().await;
            // collection.json, two manifests, two segments and their heads.
            assert_eq!((keys.len(), count(&keys, "left")), (7, 0), "{fault:?} at {step}: {keys:#?}");
            if last <= step {
                break;
            }
        }
    }
}
