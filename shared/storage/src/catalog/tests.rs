use std::path::Path as FilePath;

use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path};

use super::{
    documents::{encode, parse_collection, parse_manifest},
    *,
};
use crate::{
    Cache, CacheOptions, Meter, StoreOptions,
    testing::{
        conformance::{content, name, publish, schema, segment_file},
        faults::{Fault, Faults},
    },
};

/// A place that survives the process that writes to it.
enum Place {
    Memory(Arc<InMemory>),
    Directory(tempfile::TempDir),
}

impl Place {
    fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    fn client(&self) -> Arc<dyn ObjectStore> {
        match self {
            Self::Memory(memory) => Arc::clone(memory) as _,
            Self::Directory(dir) => crate::store::local_client(dir.path()),
        }
    }

    /// Somebody without faults.
    fn healthy(&self) -> Catalog {
        Catalog::new(Faults::new(self.client()).into_store())
    }
}

const FAULTS: [Fault; 4] = [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter];

fn dies(fault: Fault) -> bool {
    matches!(fault, Fault::DieBefore | Fault::DieAfter)
}

/// Two segments per shard, built and published over whatever there is.
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
        for n in 0..2 {
            let (file, entry) = segment_file(&content(1_000, seed * 10 + n));
            catalog.put_segment(&generation, shard, file.path(), &entry).await?;
            entries.push(entry);
        }
    }
    catalog.publish(&generation, segments, expect).await
}

/// What a reader gets: every segment is there and whole.
async fn read(catalog: &Catalog, collection: &str) -> Result<Collection> {
    let collection = catalog.open(&name(collection)).await?;
    let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 20, populate: false })?;
    for (shard, entry) in collection.segments() {
        cache.segment(catalog.store(), &collection, shard, entry).await?;
    }
    Ok(collection)
}

/// Rebuilds a collection with one fault at every step in turn. Returns how many steps there are.
async fn rebuild_with_fault_at_every_step(place: impl Fn() -> Place, fault: Fault) -> u64 {
    for step in 0.. {
        let place = place();
        let healthy = place.healthy();
        let before = rebuild(&healthy, "c", 1).await.unwrap();
        let faults = Faults::new(place.client()).at(step, fault);
        let steps = faults.steps();
        let outcome = rebuild(&Catalog::new(faults.into_store()), "c", 2).await;

        let after = read(&healthy, "c").await.unwrap_or_else(|error| panic!("{fault:?} at {step}: {error}"));
        match &outcome {
            Ok(published) => assert_eq!(published.doc, after.doc, "{fault:?} at {step}"),
            Err(error) => {
                assert!(dies(fault), "{fault:?} at {step} was not survived: {error}");
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            }
        }
        if after.doc.generation == before.doc.generation {
            assert!(outcome.is_err());
            assert!(healthy.refresh(&before).await.unwrap().is_none());
        } else {
            assert_eq!(healthy.refresh(&before).await.unwrap().unwrap().manifests, after.manifests);
        }
        let again = rebuild(&healthy, "c", 3).await.unwrap();
        assert_eq!(read(&healthy, "c").await.unwrap().doc, again.doc);
        if steps.count() <= step {
            return step;
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_may_die_at_any_step() {
    for fault in FAULTS {
        let steps = rebuild_with_fault_at_every_step(Place::memory, fault).await;
        assert!(steps >= 20, "{steps}");
    }
    for fault in [Fault::LostReply, Fault::DieAfter] {
        rebuild_with_fault_at_every_step(Place::directory, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_may_die_at_any_step() {
    for fault in FAULTS {
        for step in 0.. {
            let place = Place::memory();
            let healthy = place.healthy();
            let faults = Faults::new(place.client()).at(step, fault);
            let steps = faults.steps();
            let outcome = Catalog::new(faults.into_store()).create(&name("c"), &schema(2)).await;
            assert!(outcome.is_ok() || dies(fault), "{fault:?} at {step}: {outcome:?}");
            match read(&healthy, "c").await {
                Ok(created) => assert_eq!(created.points(), 0),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::NotFound, "{fault:?} at {step}: {error}");
                    assert!(outcome.is_err());
                    assert_eq!(healthy.list().await.unwrap(), []);
                    healthy.create(&name("c"), &schema(2)).await.unwrap();
                }
            }
            assert_eq!(healthy.list().await.unwrap(), [name("c")]);
            if steps.count() <= step {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_may_die_at_any_step() {
    for fault in FAULTS {
        for step in 0.. {
            let place = Place::memory();
            let healthy = place.healthy();
            rebuild(&healthy, "c", 1).await.unwrap();
            let faults = Faults::new(place.client()).at(step, fault);
            let steps = faults.steps();
            let outcome = Catalog::new(faults.into_store()).delete(&name("c")).await;
            assert!(outcome.is_ok() || dies(fault), "{fault:?} at {step}: {outcome:?}");
            if let Err(error) = read(&healthy, "c").await {
                assert_eq!(error.kind, ErrorKind::NotFound, "{fault:?} at {step}: {error}");
            }
            healthy.delete(&name("c")).await.unwrap();
            assert_eq!(healthy.list().await.unwrap(), []);
            rebuild(&healthy, "c", 2).await.unwrap();
            read(&healthy, "c").await.unwrap();
            if steps.count() <= step {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_survives_faults() {
    let bytes = content(20 << 20, 7);
    let (file, entry) = segment_file(&bytes);
    for fault in FAULTS {
        for step in 0.. {
            let place = Place::memory();
            let faults = Faults::new(place.client()).at(step, fault);
            let steps = faults.steps();
            let catalog = Catalog::new(faults.into_store());
            let generation = catalog.begin(&name("c"), &schema(1));
            let outcome = catalog.put_segment(&generation, 0, file.path(), &entry).await;
            assert!(outcome.is_ok() || dies(fault), "{fault:?} at {step}: {outcome:?}");
            let healthy = place.healthy();
            if outcome.is_ok() {
                let published = healthy.publish(&generation, vec![vec![entry.clone()]], Expect::Absent).await.unwrap();
                assert_eq!(read_bytes(&healthy, &published).await, bytes);
            }
            if steps.count() <= step {
                break;
            }
        }
    }
}

async fn read_bytes(catalog: &Catalog, collection: &Collection) -> Vec<u8> {
    let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 30, populate: false }).unwrap();
    let (shard, entry) = collection.segments().next().unwrap();
    cache.segment(catalog.store(), collection, shard, entry).await.unwrap().as_ref().to_vec()
}

#[tokio::test]
async fn a_segment_that_is_not_what_was_announced_is_refused() {
    let place = Place::memory();
    let catalog = place.healthy();
    let generation = catalog.begin(&name("c"), &schema(1));
    for bytes in [1_000, 9 << 20] {
        let (file, entry) = segment_file(&content(bytes, 1));
        let checksum = SegmentEntry { checksum: "00000000000000ff".to_owned(), ..entry.clone() };
        let length = SegmentEntry { bytes: entry.bytes + 1, ..entry.clone() };
        for wrong in [checksum, length] {
            let error = catalog.put_segment(&generation, 0, file.path(), &wrong).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        }
        let error = catalog.publish(&generation, vec![vec![entry]], Expect::Absent).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "nothing was left in the store: {error}");
        assert!(error.why.contains("not uploaded"), "{error}");
        assert_eq!(catalog.open(&name("c")).await.unwrap_err().kind, ErrorKind::NotFound);
    }
    let (_, entry) = segment_file(b"x");
    let error = catalog.put_segment(&generation, 0, FilePath::new("/no/such/file"), &entry).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    let error = catalog.put_segment(&generation, 1, FilePath::new("/no/such/file"), &entry).await.unwrap_err();
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::Invalid, "shard 1 of 1"));
}

#[tokio::test]
async fn impossible_generations_are_not_published() {
    let catalog = Place::memory().healthy();
    let (_, entry) = segment_file(b"x");
    let generation = catalog.begin(&name("c"), &schema(2));
    let twice = vec![vec![entry.clone()], vec![entry.clone()]];
    let empty = vec![vec![SegmentEntry { bytes: 0, ..entry.clone() }], vec![]];
    let unnamed = vec![vec![SegmentEntry { id: "../x".to_owned(), ..entry.clone() }], vec![]];
    let huge = vec![vec![SegmentEntry { points: 1 << 33, ..entry.clone() }], vec![]];
    for (segments, sign) in [
        (vec![vec![]], "1 manifests for 2 shards"),
        (twice, "is in two shards"),
        (empty, "is empty"),
        (unnamed, "not a ULID"),
        (huge, "at most"),
    ] {
        let error = catalog.publish(&generation, segments, Expect::Absent).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(sign), "{error}");
    }
    let error = catalog.create(&name("c"), &schema(0)).await.unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (ErrorKind::Invalid, "shard_number"));
    let other = catalog.create(&name("other"), &schema(2)).await.unwrap();
    let error =
        catalog.publish(&generation, vec![vec![], vec![]], Expect::Unchanged(Box::new(other))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert_eq!(catalog.list().await.unwrap(), [name("other")]);
}

#[tokio::test]
async fn opening_is_two_waves_and_refreshing_is_one() {
    for place in [Place::memory(), Place::directory()] {
        let healthy = place.healthy();
        let v1 = healthy.create(&name("c"), &schema(5)).await.unwrap();
        let count = |usage: cairn_model::Usage| (usage.waves, usage.gets);
        let metered = || {
            let meter = Arc::new(Meter::default());
            (Catalog::new(healthy.store().metered(Arc::clone(&meter))), meter)
        };
        let (catalog, meter) = metered();
        catalog.open(&name("c")).await.unwrap();
        assert_eq!(count(meter.usage()), (2, 6));
        let (catalog, meter) = metered();
        assert!(catalog.refresh(&v1).await.unwrap().is_none());
        assert_eq!(count(meter.usage()), (1, 6));
        assert_eq!(meter.usage().store_bytes, 0);
        let v2 = publish(&healthy, "c", &[b"x"]).await;
        let (catalog, meter) = metered();
        assert_eq!(catalog.refresh(&v1).await.unwrap().unwrap().doc, v2.doc);
        assert_eq!(count(meter.usage()), (2, 6 + 1));
        let (catalog, meter) = metered();
        assert_eq!(catalog.list().await.unwrap(), [name("c")]);
        assert_eq!(count(meter.usage()), (2, 2));
    }
}

#[tokio::test]
async fn damaged_documents_are_named() {
    let place = Place::memory();
    let catalog = place.healthy();
    let collection = publish(&catalog, "c", &[b"x"]).await;
    let (doc, manifest) = (collection.doc.as_ref(), collection.manifests[0].as_ref());
    let doc_path = Path::from("collections/c/collection.json");
    let manifest_path = Path::from(format!("collections/c/{}/0/manifest.json", doc.generation));
    let json = |value: &serde_json::Value| serde_json::to_vec(value).unwrap();
    let edited = |document: serde_json::Value, field: &str, value: serde_json::Value| {
        let mut document = document;
        document[field] = value;
        json(&document)
    };
    let doc_with = |field, value| edited(serde_json::to_value(doc).unwrap(), field, value);
    let manifest_with = |field, value| edited(serde_json::to_value(manifest).unwrap(), field, value);
    let segment = serde_json::to_value(&manifest.segments[0]).unwrap();
    let segment_with = |field, value| {
        let segment: serde_json::Value = serde_json::from_slice(&edited(segment.clone(), field, value)).unwrap();
        manifest_with("segments", [segment].into())
    };
    use ErrorKind::{Corrupt, Unsupported};
    let cases = [
        (&doc_path, b"{\"format\": 1, \"na".to_vec(), Corrupt, "EOF"),
        (&doc_path, b"[]".to_vec(), Corrupt, "no document"),
        (&doc_path, b"<html>".to_vec(), Corrupt, "line 1"),
        (&doc_path, doc_with("format", 2.into()), Unsupported, "format 2"),
        (&doc_path, doc_with("format", 0.into()), Corrupt, "format 0"),
        (&doc_path, doc_with("name", "d".into()), Corrupt, "belongs to collection 'd'"),
        (&doc_path, doc_with("name", "a/b".into()), Corrupt, "cannot contain"),
        (&doc_path, doc_with("generation", "../../x".into()), Corrupt, "not a ULID"),
        (&doc_path, doc_with("writer", "me".into()), Corrupt, "not a ULID"),
        (&doc_path, doc_with("schema", serde_json::json!({"vectors": {}, "shard_count": 1})), Corrupt, "exactly one"),
        (&manifest_path, Vec::new(), Corrupt, "EOF"),
        (&manifest_path, manifest_with("format", 9.into()), Unsupported, "update Cairn"),
        (&manifest_path, manifest_with("shard", 1.into()), Corrupt, "belongs to shard 1"),
        (&manifest_path, manifest_with("version", 0.into()), Corrupt, "version is 0"),
        (&manifest_path, manifest_with("version", (-1).into()), Corrupt, "invalid value"),
        (&manifest_path, manifest_with("segments", vec![segment.clone(), segment.clone()].into()), Corrupt, "twice"),
        (&manifest_path, segment_with("id", "01J0".into()), Corrupt, "not a ULID"),
        (&manifest_path, segment_with("checksum", "+123456789abcdef".into()), Corrupt, "hexadecimal"),
        (&manifest_path, segment_with("bytes", 0.into()), Corrupt, "is empty"),
        (&manifest_path, segment_with("points", u64::MAX.into()), Corrupt, "at most"),
    ];
    let client = place.client();
    for (path, bytes, kind, sign) in cases {
        let sound = client.get(path).await.unwrap().bytes().await.unwrap();
        client.put(path, bytes.into()).await.unwrap();
        for error in [catalog.open(&name("c")).await.unwrap_err(), catalog.refresh(&collection).await.unwrap_err()] {
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.what.contains(path.as_ref()), "{error}");
            assert!(error.why.contains(sign), "'{sign}' is not in: {error}");
        }
        client.put(path, sound.into()).await.unwrap();
        catalog.open(&name("c")).await.unwrap();
    }
    client.delete(&manifest_path).await.unwrap();
    let error = catalog.open(&name("c")).await.unwrap_err();
    assert_eq!(error.kind, Corrupt, "{error}");
    assert!(error.what.contains(manifest_path.as_ref()) && error.why.contains("missing"), "{error}");
    // Even so it can be deleted.
    client.put(&doc_path, b"rubbish".as_slice().into()).await.unwrap();
    assert!(catalog.delete(&name("c")).await.unwrap());
    assert_eq!(catalog.list().await.unwrap(), []);
}

#[tokio::test]
async fn foreign_things_in_the_store_are_no_collections() {
    let place = Place::memory();
    let client = place.client();
    for foreign in ["collections/readme.txt", "collections/notes/a.txt", "collections/a%2Fb/collection.json", "other/x"]
    {
        client.put(&Path::parse(foreign).unwrap(), b"x".as_slice().into()).await.unwrap();
    }
    assert_eq!(place.healthy().list().await.unwrap(), []);
}

#[tokio::test]
async fn one_store_may_hold_several_roots() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let open = |path: &FilePath| format!("file://{}", path.display());
    let a = Catalog::new(Store::open(&open(&a), &options).await.unwrap());
    let b = Catalog::new(Store::open(&open(&b), &options).await.unwrap());
    a.create(&name("c"), &schema(1)).await.unwrap();
    assert_eq!((a.list().await.unwrap(), b.list().await.unwrap()), (vec![name("c")], vec![]));
    assert!(dir.path().join("a/collections/c/collection.json").is_file());
    a.delete(&name("c")).await.unwrap();
    assert!(!dir.path().join("a/collections").exists(), "a directory keeps no empty folders");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No bytes, however damaged, make a document panic; what is accepted is what would be written.
        #[test]
        fn mutated_documents_are_refused_or_sound(at in 0usize..400, byte: u8, cut in 0usize..400) {
            let generation = "01J00000000000000000000000".to_owned();
            let doc = CollectionDoc {
                format: FORMAT, name: name("c"), generation: generation.clone(), schema: schema(2), writer: generation.clone(),
            };
            let (_, entry) = segment_file(b"x");
            let manifest = Manifest { format: FORMAT, shard: 1, version: 1, writer: generation, log_position: 0, segments: vec![entry] };
            for (bytes, is_doc) in [(encode("", &doc).unwrap(), true), (encode("", &manifest).unwrap(), false)] {
                let mut bytes = bytes.to_vec();
                let length = bytes.len();
                bytes[at % length] = byte;
                bytes.truncate(length - (cut % 3) * (cut % length) / 3);
                if is_doc {
                    if let Ok(doc) = parse_collection("a", &name("c"), &bytes) {
                        prop_assert_eq!(invariants::collection(&doc, &name("c")), Ok(()));
                    }
                } else if let Ok(manifest) = parse_manifest("a", 1, &bytes) {
                    prop_assert_eq!(invariants::manifest(&manifest, 1), Ok(()));
                }
            }
        }
    }
}
