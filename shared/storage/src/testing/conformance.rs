//! What every backend must do, as one battery. A failed check panics with what was expected.
//!
//! Call [`check`] with an empty store (or a fresh prefix of a bucket); it cleans up only part of what it writes.

use std::{io::Write as _, sync::Arc};

use bytes::Bytes;
use cairn_model::{Change, CollectionName, CollectionSchema, Distance, ErrorKind, PointId, VectorParams};
use futures::future::join_all;
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Cache, CacheOptions, Catalog, Collection, Expect, Meter, SegmentEntry, Store,
    catalog::ManifestPosition,
    log::{AppendError, Log, LogOptions, Part, Place},
    store::{Fetched, Key, Object, Put, Version},
};

/// The whole battery.
///
/// # Panics
/// When the store does something else.
pub async fn check(store: &Store) {
    store.ping().await.expect("an empty store answers");
    store.probe().await.expect("the store honours conditions");
    conditional_puts(store).await;
    reads(store).await;
    races(store, 8, 10).await;
    catalog(store).await;
    publish_races(store, 8, 5).await;
    segments(store).await;
    log(store).await;
}

/// A schema for tests.
#[must_use]
pub fn schema(shard_count: u32) -> CollectionSchema {
    CollectionSchema::single("", VectorParams::new(4, Distance::Dot), shard_count)
}

/// A collection's name for tests.
#[must_use]
pub fn name(text: &str) -> CollectionName {
    CollectionName::parse(text).expect("a valid name")
}

/// So many bytes that look random, the same for the same seed.
#[must_use]
pub fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let words = (0..bytes.div_ceil(8) as u64).map(|n| xxh3_64(&(n ^ seed.rotate_left(32)).to_le_bytes()));
    let mut content: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    content.truncate(bytes);
    content
}

/// A segment file and its entry.
///
/// # Panics
/// When the temporary directory cannot be written.
#[must_use]
pub fn segment_file(content: &[u8]) -> (tempfile::NamedTempFile, SegmentEntry) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content).expect("a temporary file can be written");
    let entry = SegmentEntry {
        id: Ulid::generate().to_string(),
        points: 1,
        bytes: content.len() as u64,
        checksum: format!("{:016x}", xxh3_64(content)),
        head: None,
        region: None,
        dead: None,
        own: false,
        edition: 0,
    };
    (file, entry)
}

/// Publishes a collection of these segments, all in shard 0.
///
/// # Panics
/// When the store fails.
pub async fn publish(catalog: &Catalog, collection: &str, contents: &[&[u8]]) -> Collection {
    let generation = catalog.begin(&name(collection), &schema(1));
    let mut entries = Vec::new();
    for content in contents {
        let (file, entry) = segment_file(content);
        catalog.put_segment(&generation, 0, file.path(), &entry).await.expect("a segment is uploaded");
        entries.push(entry);
    }
    let expect = match catalog.open(&generation.name).await {
        Ok(before) => Expect::Unchanged(Box::new(before)),
        Err(_) => Expect::Absent,
    };
    catalog.publish(&generation, vec![entries], expect).await.expect("a generation is published")
}

fn found(fetched: Fetched) -> Object {
    match fetched {
        Fetched::Found(object) => object,
        other => panic!("expected an object, got {other:?}"),
    }
}

fn done(put: Put) -> Version {
    match put {
        Put::Done(version) => version,
        Put::Refused => panic!("a put was refused although its condition holds"),
    }
}

async fn conditional_puts(store: &Store) {
    let key = Key::probe(Ulid::generate());
    assert!(matches!(store.get(&key, None, 10).await.expect("get"), Fetched::Absent));
    assert_eq!(store.head(&key).await.expect("head"), None);
    let first = done(store.put_if_absent(&key, Bytes::from_static(b"first")).await.expect("put"));
    assert!(matches!(store.put_if_absent(&key, Bytes::from_static(b"other")).await.expect("put"), Put::Refused));
    // Our own content is there: that is what a lost reply looks like.
    done(store.put_if_absent(&key, Bytes::from_static(b"first")).await.expect("put"));
    assert!(matches!(store.get(&key, Some(&first), 10).await.expect("get"), Fetched::Unchanged));
    let second = done(store.compare_and_swap(&key, Bytes::from_static(b"second"), &first).await.expect("swap"));
    assert!(matches!(
        store.compare_and_swap(&key, Bytes::from_static(b"x"), &first).await.expect("swap"),
        Put::Refused
    ));
    let object = found(store.get(&key, Some(&first), 10).await.expect("get"));
    assert_eq!((object.bytes.as_ref(), &object.version), (b"second".as_slice(), &second));
    // The same content again is the same version where versions are hashes, and a new one elsewhere; never a conflict.
    done(store.compare_and_swap(&key, Bytes::from_static(b"second"), &second).await.expect("swap"));
    store.delete(&key).await.expect("delete");
    store.delete(&key).await.expect("deleting nothing is fine");
    assert!(matches!(
        store.compare_and_swap(&key, Bytes::from_static(b"x"), &second).await.expect("swap"),
        Put::Refused
    ));
    assert_eq!(store.head(&key).await.expect("head"), None, "a refused swap creates nothing");
}

async fn reads(store: &Store) {
    let key = Key::probe(Ulid::generate());
    let bytes = content(100_000, 1);
    done(store.put_if_absent(&key, bytes.clone().into()).await.expect("put"));
    assert_eq!(store.head(&key).await.expect("head"), Some(100_000));
    let meter = Arc::new(Meter::default());
    let metered = store.metered(Arc::clone(&meter));
    let part = metered.get_range(&key, 500..70_000, 100_000).await.expect("range");
    assert_eq!(part, &bytes[500..70_000]);
    assert_eq!((meter.usage().gets, meter.usage().store_bytes, meter.usage().waves), (1, 69_500, 1));
    for (range, size) in [(0..10, 99_999), (99_000..100_001, 100_001), (200_000..200_010, 300_000)] {
        let error = store.get_range(&key, range.clone(), size).await.expect_err("another size");
        assert_eq!(error.kind, ErrorKind::Corrupt, "{range:?}: {error}");
        assert!(error.why.contains("100000 bytes long"), "{error}");
    }
    let error = store.get_range(&Key::probe(Ulid::nil()), 0..1, 1).await.expect_err("no object");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let error = store.get(&key, None, 99_999).await.expect_err("too large");
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    store.delete(&key).await.expect("delete");
}

/// Tasks increment a counter by compare-and-swap: no increment is lost.
async fn races(store: &Store, tasks: u64, rounds: u64) {
    let key = Key::probe(Ulid::generate());
    let creations = join_all((0..tasks).map(|task| {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move { store.put_if_absent(&key, format!("0 by {task}").into()).await.expect("put") })
    }));
    let winners = creations.await.into_iter().filter(|put| matches!(put, Ok(Put::Done(_)))).count();
    assert_eq!(winners, 1, "of all who create, one does");
    let increments = join_all((0..tasks).map(|task| {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move {
            for round in 0..rounds {
                loop {
                    let object = found(store.get(&key, None, 100).await.expect("get"));
                    let text = String::from_utf8_lossy(&object.bytes).into_owned();
                    let count: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                    let next = format!("{} by {task} in {round}", count + 1);
                    let swapped = store.compare_and_swap(&key, next.into(), &object.version).await.expect("swap");
                    if matches!(swapped, Put::Done(_)) {
                        break;
                    }
                }
            }
        })
    }));
    assert!(increments.await.into_iter().all(|task| task.is_ok()));
    let object = found(store.get(&key, None, 100).await.expect("get"));
    let text = String::from_utf8_lossy(&object.bytes).into_owned();
    assert!(text.starts_with(&format!("{} by", tasks * rounds)), "{} increments gave '{text}'", tasks * rounds);
    store.delete(&key).await.expect("delete");
}

async fn catalog(store: &Store) {
    let catalog = Catalog::new(store.clone());
    assert_eq!(catalog.list().await.expect("list"), []);
    let names = [name("größe & co"), name("plain")];
    for name in &names {
        let error = catalog.open(name).await.expect_err("no such collection");
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        let created = catalog.create(name, &schema(3)).await.expect("create");
        assert_eq!((created.points(), created.manifests.len()), (0, 3));
        let error = catalog.create(name, &schema(3)).await.expect_err("exists");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    }
    let mut listed = names.to_vec();
    listed.sort();
    assert_eq!(catalog.list().await.expect("list"), listed);
    let known = catalog.open(&names[1]).await.expect("open");
    let meter = Arc::new(Meter::default());
    let metered = Catalog::new(store.metered(Arc::clone(&meter)));
    assert!(metered.refresh(&known).await.expect("refresh").is_none());
    let usage = meter.usage();
    assert_eq!((usage.waves, usage.gets, usage.store_bytes), (1, 1, 0), "an unchanged collection is one empty answer");

    let generation = catalog.begin(&names[1], &schema(2));
    let (file, entry) = segment_file(&content(1_000, 2));
    catalog.put_segment(&generation, 1, file.path(), &entry).await.expect("segment");
    assert!(catalog.refresh(&known).await.expect("refresh").is_none(), "an unpublished generation is not seen");
    let segments = vec![vec![], vec![entry.clone()]];
    let expect = Expect::Unchanged(Box::new(known.clone()));
    let published = catalog.publish(&generation, segments.clone(), expect.clone()).await.expect("publish");
    let repeated =
        catalog.publish(&generation, segments.clone(), expect.clone()).await.expect("publishing again is fine");
    assert_eq!(published.doc, repeated.doc);
    let fresh = catalog.refresh(&known).await.expect("refresh").expect("something new");
    assert_eq!((&fresh.doc, &fresh.manifests), (&published.doc, &published.manifests));
    assert!(catalog.refresh(&fresh).await.expect("refresh").is_none());
    assert!(
        catalog.refresh(&published).await.expect("refresh").is_none(),
        "what publish returns is the newest version"
    );
    let late = catalog.begin(&names[1], &schema(2));
    let error = catalog.publish(&late, vec![vec![], vec![]], expect).await.expect_err("lost the race");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");

    assert!(catalog.delete(&names[1]).await.expect("delete"));
    assert!(!catalog.delete(&names[1]).await.expect("delete"));
    assert_eq!(catalog.refresh(&fresh).await.expect_err("deleted").kind, ErrorKind::NotFound);
    assert_eq!(store.head(&published.segment_key(1, &entry).expect("key")).await.expect("head"), None);
    assert_eq!(catalog.list().await.expect("list"), names[..1]);
    assert!(catalog.delete(&names[0]).await.expect("delete"));
}

/// Writers replace a collection: one wins every round, and readers see whole versions only.
async fn publish_races(store: &Store, tasks: usize, rounds: usize) {
    let catalog = Catalog::new(store.clone());
    let name = name("raced");
    let mut current = catalog.create(&name, &schema(2)).await.expect("create");
    for _ in 0..rounds {
        let attempts = join_all((0..tasks).map(|_| {
            let (catalog, known) = (catalog.clone(), current.clone());
            tokio::spawn(async move {
                let generation = catalog.begin(&known.doc.name, &known.doc.schema);
                let expect = Expect::Unchanged(Box::new(known));
                catalog.publish(&generation, vec![vec![], vec![]], expect).await
            })
        }));
        let (mut winners, mut losers) = (Vec::new(), 0);
        for attempt in attempts.await {
            match attempt.expect("no panic") {
                Ok(collection) => winners.push(collection),
                Err(error) if error.kind == ErrorKind::Conflict => losers += 1,
                Err(error) => panic!("neither won nor lost: {error}"),
            }
        }
        assert_eq!((winners.len(), losers), (1, tasks - 1));
        current = catalog.refresh(&current).await.expect("refresh").expect("a new version");
        assert_eq!(current.doc, winners[0].doc);
    }
    assert!(catalog.delete(&name).await.expect("delete"));
}

/// Segments of one range, of several, and of several parts come back whole through the cache.
async fn segments(store: &Store) {
    let catalog = Catalog::new(store.clone());
    let contents: Vec<_> = [(1, 3), (9 << 20, 4), (20_000_001, 5)].map(|(bytes, seed)| content(bytes, seed)).into();
    let slices: Vec<_> = contents.iter().map(Vec::as_slice).collect();
    let collection = publish(&catalog, "with segments", &slices).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    for dir in [None, Some(dir.path().to_owned())] {
        let cache = Cache::open(CacheOptions { dir, bytes_max: 1 << 30, populate: false }).expect("cache");
        for hit in [false, true] {
            for (content, (shard, entry)) in contents.iter().zip(collection.segments()) {
                let cached = cache.segment(store, &collection, shard, entry).await.expect("segment");
                assert_eq!(cached.hit, hit);
                assert!(cached.as_ref() == content.as_slice(), "{} bytes differ", content.len());
            }
        }
    }
    assert!(catalog.delete(&collection.doc.name).await.expect("delete"));
}

/// Four logs of one shard, as four processes would have them, write at once: every write is found once, where its writer was told.
///
/// # Panics
/// When the store does something else.
pub async fn log(store: &Store) {
    let catalog = Catalog::new(store.clone());
    let collection = catalog.create(&name("written"), &schema(1)).await.expect("create");
    let generation = &collection.doc.generation;
    let open = || {
        let position = ManifestPosition::new(catalog.clone(), &collection.doc.name, generation, 0);
        let place = Place { collection: collection.doc.name.clone(), generation: generation.clone(), shard: 0 };
        Log::new(store.clone(), place, Arc::new(position), LogOptions::default())
    };
    let write = |number| Part::new(vec![Change::Remove(vec![PointId::Num(number)])]).expect("a valid write");
    let logs: Vec<_> = (0..4).map(|_| open()).collect();
    let told = join_all((0..40).zip(logs.iter().cycle()).map(|(number, log)| {
        let log = log.clone();
        let part = write(number);
        tokio::spawn(async move { (log.append(part.clone()).await.expect("append"), part) })
    }));
    let told: Vec<_> = told.await.into_iter().map(|task| task.expect("no panic")).collect();
    let tail = open().refresh().await.expect("refresh");
    assert_eq!(tail.first(), 0);
    assert_eq!(tail.frames().iter().map(|frame| frame.parts.len()).sum::<usize>(), told.len());
    for (at, part) in &told {
        let frame = &tail.frames()[usize::try_from(at.sequence).expect("few objects")];
        assert_eq!(&frame.parts[at.part as usize], part.changes(), "{at:?}");
    }
    logs[0].end().await.expect("end");
    for log in &logs {
        assert_eq!(log.append(write(99)).await, Err(AppendError::Ended));
    }
    assert!(catalog.delete(&collection.doc.name).await.expect("delete"));
}
