//! Manifests inside `collection.json`, and documents that have none.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::documents::{INLINE_BYTES_MAX, inlined, parse_collection, parse_manifest};

#[tokio::test]
async fn opening_is_one_wave_and_refreshing_is_one_get() {
    for place in [Place::memory(), Place::directory()] {
        let healthy = place.healthy();
        let v1 = healthy.create(&name("c"), &schema(5)).await.unwrap();
        let count = |usage: cairn_model::Usage| (usage.waves, usage.gets);
        let metered = || {
            let meter = Arc::new(Meter::default());
            (Catalog::new(healthy.store().metered(Arc::clone(&meter))), meter)
        };
        let (catalog, meter) = metered();
        assert_eq!(catalog.open(&name("c")).await.unwrap().manifests, v1.manifests);
        assert_eq!(count(meter.usage()), (1, 1));
        let (catalog, meter) = metered();
        assert!(catalog.refresh(&v1).await.unwrap().is_none());
        assert_eq!((count(meter.usage()), meter.usage().store_bytes), ((1, 1), 0));
        let v2 = publish(&healthy, "c", &[b"x"]).await;
        let (catalog, meter) = metered();
        let fresh = catalog.refresh(&v1).await.unwrap().unwrap();
        assert_eq!((&fresh.doc, &fresh.manifests), (&v2.doc, &v2.manifests));
        assert_eq!(count(meter.usage()), (1, 1));
        let (catalog, meter) = metered();
        assert_eq!(catalog.list().await.unwrap(), [name("c")]);
        assert_eq!(count(meter.usage()), (2, 2));
    }
}

#[tokio::test]
async fn documents_without_manifests_are_read_as_before() {
    for place in [Place::memory(), Place::directory()] {
        let healthy = place.healthy();
        let v1 = healthy.create(&name("c"), &schema(5)).await.unwrap();
        let meter = Arc::new(Meter::default());
        let catalog = Catalog::new(healthy.store().metered(Arc::clone(&meter)));
        let count = || (meter.usage().waves, meter.usage().gets);

        // Somebody with an older version rewrites what is there; and back.
        strip_manifests(&place, &v1).await;
        let old = catalog.refresh(&v1).await.unwrap().unwrap();
        assert_eq!((old.manifests.len(), old.doc.manifests.is_none()), (5, true));
        assert_eq!(count(), (1, 1), "manifests that are known are not read again");
        assert_eq!(catalog.open(&name("c")).await.unwrap().manifests, v1.manifests);
        assert_eq!(count(), (3, 7));
        assert!(catalog.refresh(&old).await.unwrap().is_none());
        assert_eq!(count(), (4, 8));
        let v2 = publish(&healthy, "c", &[b"x"]).await;
        let fresh = catalog.refresh(&old).await.unwrap().unwrap();
        assert_eq!((&fresh.doc, &fresh.manifests), (&v2.doc, &v2.manifests));
        assert_eq!(count(), (5, 9), "the new manifests came with the document");
        // The same generation, first without its manifests and then with them.
        strip_manifests(&place, &v2).await;
        let old = catalog.open(&name("c")).await.unwrap();
        let path = Path::from("collections/c/collection.json");
        place.client().put(&path, encode("", v2.doc.as_ref()).unwrap().into()).await.unwrap();
        assert!(catalog.refresh(&old).await.unwrap().unwrap().doc.manifests.is_some());
    }
}

#[tokio::test]
async fn many_segments_stand_in_manifests_of_their_own() {
    let place = Place::memory();
    let catalog = place.healthy();
    let generation = catalog.begin(&name("c"), &schema(1));
    let (file, entry) = segment_file(b"x");
    let mut entries = Vec::new();
    for _ in 0..INLINE_BYTES_MAX / 80 {
        let entry = SegmentEntry { id: Ulid::generate().to_string(), ..entry.clone() };
        catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap();
        entries.push(entry);
    }
    let large = catalog.publish(&generation, vec![entries.clone()], Expect::Absent).await.unwrap();
    assert!(large.doc.manifests.is_none());
    let opened = catalog.open(&name("c")).await.unwrap();
    assert_eq!((&opened.doc, &opened.manifests), (&large.doc, &large.manifests));
    assert!(catalog.refresh(&large).await.unwrap().is_none());
    assert!(inlined(&large.manifests).is_none());
    entries.truncate(entries.len() / 2);
    assert!(inlined(&[Arc::new(Manifest { segments: entries, ..large.manifests[0].as_ref().clone() })]).is_some());
}

#[tokio::test]
async fn a_document_that_contradicts_itself_is_corrupt() {
    let place = Place::memory();
    let catalog = place.healthy();
    let sound = catalog.create(&name("c"), &schema(2)).await.unwrap();
    let (_, entry) = segment_file(b"x");
    let entry = serde_json::to_value(entry).unwrap();
    let path = Path::from("collections/c/collection.json");
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut doc = serde_json::to_value(sound.doc.as_ref()).unwrap();
        edit(&mut doc["manifests"]);
        serde_json::to_vec(&doc).unwrap()
    };
    type Edit<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Edit<'_>, &str); 8] = [
        (&|m| *m = json!([]), "0 manifests for 2 shards"),
        (&|m| m[1]["shard"] = json!(0), "belongs to shard 0"),
        (&|m| m.as_array_mut().unwrap().truncate(1), "1 manifests for 2 shards"),
        (&|m| m[0]["version"] = json!(0), "version is 0"),
        (&|m| m[0]["format"] = json!(2), "format is 2"),
        (&|m| m[0]["segments"] = json!([entry, entry]), "listed twice"),
        (&|m| (m[0]["segments"], m[1]["segments"]) = (json!([entry]), json!([entry])), "in two shards"),
        (&|m| *m = json!(7), "invalid type"),
    ];
    for (edit, sign) in cases {
        place.client().put(&path, edited(edit).into()).await.unwrap();
        for error in [catalog.open(&name("c")).await.unwrap_err(), catalog.refresh(&sound).await.unwrap_err()] {
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
            assert!(error.what.contains("collection.json") && error.why.contains(sign), "'{sign}': {error}");
        }
    }
    place.client().put(&path, edited(&|m| *m = Value::Null).into()).await.unwrap();
    assert_eq!(catalog.open(&name("c")).await.unwrap().manifests, sound.manifests, "null is absent");
}

proptest! {
    /// No bytes, however damaged, make a document panic; what is accepted is what would be written.
    #[test]
    fn mutated_documents_are_refused_or_sound(at in 0usize..1_200, byte: u8, cut in 0usize..1_200) {
        let generation = "01J00000000000000000000000".to_owned();
        let (_, mut entry) = segment_file(b"0123456789");
        entry.head = Some(heads::head(&generation));
        entry.dead = Some(DeadRows { count: entry.points / 2, bitmap: vec![1, 2, 3] });
        let manifest = |shard| Manifest {
            format: FORMAT, shard, version: 1, writer: generation.clone(), log_position: 0,
            segments: if shard == 1 { vec![entry.clone()] } else { vec![] },
        };
        let manifests = Some(vec![Arc::new(manifest(0)), Arc::new(manifest(1))]);
        let doc = CollectionDoc {
            format: documents::FORMAT_LIVE, name: name("c"), generation: generation.clone(), schema: schema(2), writer: generation.clone(),
            manifests, since_ms: Some(5), origin: None, history: Vec::new(), live: true, creation: Some(generation.clone()),
            folded: [(1, generation.clone())].into(),
        };
        parse_collection("a", &name("c"), &encode("", &doc).unwrap()).unwrap();
        for (bytes, is_doc) in [(encode("", &doc).unwrap(), true), (encode("", &manifest(1)).unwrap(), false)] {
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
