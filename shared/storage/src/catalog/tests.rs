use std::{fmt, path::Path as FilePath};

use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path};

mod aliases;
mod creation;
mod editions;
mod fold;
mod heads;
mod inline;
mod past;
pub(super) mod reachable;

use super::{documents::encode, *};
use crate::{
    Cache, CacheOptions, Meter, StoreOptions,
    testing::{
        conformance::{content, name, publish, schema, segment_file},
        faults::{Fault, Faults},
    },
};

mod draft;

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

/// Makes `collection.json` what older versions wrote: without the manifests.
async fn strip_manifests(place: &Place, collection: &Collection) {
    let doc = CollectionDoc { manifests: None, ..collection.doc.as_ref().clone() };
    let path = Path::from(format!("collections/{}/collection.json", doc.name));
    place.client().put(&path, encode("", &doc).unwrap().into()).await.unwrap();
}

const FAULTS: [Fault; 4] = [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter];

fn dies(fault: Fault) -> bool {
    matches!(fault, Fault::DieBefore | Fault::DieAfter)
}

/// A store of which one operation goes wrong: the `step`th of whoever goes through [`Trial::faulty`].
struct Trial {
    place: Place,
    fault: Fault,
    step: u64,
    faulty: Catalog,
}

impl Trial {
    /// Somebody without faults.
    fn healthy(&self) -> Catalog {
        self.place.healthy()
    }

    /// Only who dies may fail.
    fn check<T: fmt::Debug>(&self, outcome: &Result<T>) {
        assert!(outcome.is_ok() || dies(self.fault), "it was not survived: {outcome:?}");
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {:?} at step {}", self.fault, self.step);
        }
    }
}

/// Tries something with each of the faults at each step in turn, until it has fewer steps; it should have `least` and more. What `prepare` does to
/// the store goes well.
async fn at_every_step(
    (place, faults, least): (fn() -> Place, &[Fault], u64),
    prepare: impl AsyncFn(&Catalog),
    attempt: impl AsyncFn(&Trial),
) {
    for &fault in faults {
        for step in 0.. {
            let place = place();
            prepare(&place.healthy()).await;
            let faults = Faults::new(place.client()).at(step, fault);
            let steps = faults.steps();
            let trial = Trial { place, fault, step, faulty: Catalog::new(faults.into_store()) };
            attempt(&trial).await;
            if steps.count() <= step {
                assert!(step >= least, "{fault:?}: {step} steps");
                break;
            }
        }
    }
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

/// Rebuilds a collection with one of the faults at every step in turn.
async fn rebuild_with_faults(place: fn() -> Place, faults: &[Fault]) {
    let prepare = async |catalog: &Catalog| drop(rebuild(catalog, "c", 1).await.unwrap());
    at_every_step((place, faults, 20), prepare, async |trial| {
        let healthy = trial.healthy();
        let before = read(&healthy, "c").await.unwrap();
        let outcome = rebuild(&trial.faulty, "c", 2).await;
        trial.check(&outcome);
        let after = read(&healthy, "c").await.unwrap();
        match &outcome {
            Ok(published) => assert_eq!(published.doc, after.doc),
            Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable, "{error}"),
        }
        if after.doc.generation == before.doc.generation {
            assert!(outcome.is_err());
            assert!(healthy.refresh(&before).await.unwrap().is_none());
        } else {
            assert_eq!(healthy.refresh(&before).await.unwrap().unwrap().manifests, after.manifests);
        }
        let again = rebuild(&healthy, "c", 3).await.unwrap();
        assert_eq!(read(&healthy, "c").await.unwrap().doc, again.doc);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_may_die_at_any_step() {
    rebuild_with_faults(Place::memory, &FAULTS).await;
    rebuild_with_faults(Place::directory, &[Fault::LostReply, Fault::DieAfter]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_may_die_at_any_step() {
    at_every_step(
        (Place::memory, &FAULTS, 2),
        async |_| (),
        async |trial| {
            let healthy = trial.healthy();
            let outcome = trial.faulty.create(&name("c"), &schema(2)).await;
            trial.check(&outcome);
            match read(&healthy, "c").await {
                Ok(created) => assert_eq!(created.points(), 0),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
                    assert!(outcome.is_err());
                    assert_eq!(healthy.list().await.unwrap(), []);
                    healthy.create(&name("c"), &schema(2)).await.unwrap();
                }
            }
            assert_eq!(healthy.list().await.unwrap(), [name("c")]);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_may_die_at_any_step() {
    let prepare = async |catalog: &Catalog| drop(rebuild(catalog, "c", 1).await.unwrap());
    at_every_step((Place::memory, &FAULTS, 8), prepare, async |trial| {
        let healthy = trial.healthy();
        trial.check(&trial.faulty.delete(&name("c")).await);
        if let Err(error) = read(&healthy, "c").await {
            assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        }
        healthy.delete(&name("c")).await.unwrap();
        assert_eq!(healthy.list().await.unwrap(), []);
        rebuild(&healthy, "c", 2).await.unwrap();
        read(&healthy, "c").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_survives_faults() {
    let bytes = content(20 << 20, 7);
    let (file, entry) = segment_file(&bytes);
    at_every_step(
        (Place::memory, &FAULTS, 3),
        async |_| (),
        async |trial| {
            let generation = trial.faulty.begin(&name("c"), &schema(1));
            let outcome = trial.faulty.put_segment(&generation, 0, file.path(), &entry).await;
            trial.check(&outcome);
            if outcome.is_ok() {
                let healthy = trial.healthy();
                let published = healthy.publish(&generation, vec![vec![entry.clone()]], Expect::Absent).await.unwrap();
                assert_eq!(read_bytes(&healthy, &published).await, bytes);
            }
        },
    )
    .await;
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
async fn damaged_documents_are_named() {
    let place = Place::memory();
    let catalog = place.healthy();
    strip_manifests(&place, &publish(&catalog, "c", &[b"x"]).await).await;
    let collection = catalog.open(&name("c")).await.unwrap();
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
    let by_space = |format: u32| {
        let mut schema = doc.schema.clone();
        schema.partition = cairn_model::Partition::Space;
        for params in schema.vectors.values_mut() {
            params.distance = cairn_model::Distance::Cosine;
        }
        edited(serde_json::from_slice(&doc_with("schema", serde_json::json!(schema))).unwrap(), "format", format.into())
    };
    use ErrorKind::{Corrupt, Unsupported};
    let cases = [
        (&doc_path, b"{\"format\": 1, \"na".to_vec(), Corrupt, "EOF"),
        (&doc_path, b"[]".to_vec(), Corrupt, "no document"),
        (&doc_path, b"<html>".to_vec(), Corrupt, "line 1"),
        (&doc_path, doc_with("format", 5.into()), Unsupported, "format 5"),
        (&doc_path, doc_with("format", 4.into()), Corrupt, "format is 4, not 1"),
        (&doc_path, doc_with("format", 3.into()), Corrupt, "format is 3, not 1"),
        (&doc_path, doc_with("format", 2.into()), Corrupt, "format is 2, not 1"),
        (&doc_path, by_space(1), Corrupt, "format is 1, not 2"),
        (&doc_path, by_space(5), Unsupported, "format 5"),
        (&doc_path, doc_with("format", 0.into()), Corrupt, "format 0"),
        (&doc_path, doc_with("name", "d".into()), Corrupt, "belongs to collection 'd'"),
        (&doc_path, doc_with("name", "a/b".into()), Corrupt, "cannot contain"),
        (&doc_path, doc_with("generation", "../../x".into()), Corrupt, "not a ULID"),
        (&doc_path, doc_with("writer", "me".into()), Corrupt, "not a ULID"),
        (&doc_path, doc_with("schema", serde_json::json!({"vectors": {}, "shard_count": 0})), Corrupt, "shard_number"),
        (&manifest_path, Vec::new(), Corrupt, "EOF"),
        (&manifest_path, manifest_with("format", 9.into()), Unsupported, "update Cairn"),
        (&manifest_path, manifest_with("shard", 1.into()), Corrupt, "belongs to shard 1"),
        (&manifest_path, manifest_with("version", 0.into()), Corrupt, "version is 0"),
        (&manifest_path, manifest_with("version", (-1).into()), Corrupt, "invalid value"),
        (&manifest_path, manifest_with("segments", vec![segment.clone(), segment.clone()].into()), Corrupt, "twice"),
        (&manifest_path, segment_with("id", "01J0".into()), Corrupt, "not a ULID"),
        (&manifest_path, segment_with("checksum", "+123456789abcdef".into()), Corrupt, "hexadecimal"),
        (&manifest_path, segment_with("bytes", 0.into()), Corrupt, "is empty"),
        (&manifest_path, segment_with("region", "a b".into()), Corrupt, "Invalid"),
        (&manifest_path, segment_with("region", "A".repeat(360_000).into()), Corrupt, "a region of 270000 bytes"),
        (&manifest_path, segment_with("points", u64::MAX.into()), Corrupt, "at most"),
    ];
    let client = place.client();
    for (path, bytes, kind, sign) in cases {
        let sound = client.get(path).await.unwrap().bytes().await.unwrap();
        client.put(path, bytes.into()).await.unwrap();
        let mut errors = vec![catalog.open(&name("c")).await.unwrap_err()];
        // A manifest that is known is not read again.
        match catalog.refresh(&collection).await {
            Ok(_) => assert_eq!(*path, manifest_path),
            Err(error) => errors.push(error),
        }
        for error in errors {
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
    // Its log stays, so that late writers find its end.
    assert!(!dir.path().join("a/collections/c/collection.json").exists());
    let generation = b.begin(&name("d"), &schema(1));
    b.publish(&generation, vec![vec![]], Expect::Absent).await.unwrap();
    b.delete(&name("d")).await.unwrap();
    assert!(!dir.path().join("b/collections").exists(), "a directory keeps no empty folders");
}
