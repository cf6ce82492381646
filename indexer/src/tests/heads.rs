//! Copies of heads in bundles.

use cairn_storage::testing::faults::{Fault, Faults};
use object_store::memory::InMemory;
use xxhash_rust::xxh3::xxh3_64;

use super::*;

/// Points with long payloads, so that every segment is worth a head.
fn long(rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        writeln!(text, "{{\"id\":{row},\"vector\":{:?},\"name\":\"n{row}\",\"at\":{row}}}", vector(row, 1)).unwrap();
    }
    text
}

#[tokio::test]
async fn every_head_is_a_copy_of_what_the_file_says() {
    for place in [Place::memory().await, Place::local().await] {
        let mut job = place.job_of(&long(6_000));
        job.options.shards = Some(3);
        place.index(job).await.unwrap();
        let collection = place.catalog().open(&name()).await.unwrap();
        let mut bundles = std::collections::BTreeSet::new();
        for (shard, entry) in collection.segments() {
            let head = entry.head.as_ref().unwrap_or_else(|| panic!("{} bytes without a head", entry.bytes));
            let heads = collection.heads_key(entry, head).unwrap();
            let bundle_bytes = place.store.head(&heads).await.unwrap().unwrap();
            let copy =
                place.store.get_range(&heads, head.offset..head.offset + head.bytes(), bundle_bytes).await.unwrap();
            assert_eq!(xxh3_64(&copy), head.checksum_value().unwrap());
            let key = collection.segment_key(shard, entry).unwrap();
            let file = place.store.get_range(&key, 0..entry.bytes, entry.bytes).await.unwrap();
            let at = |offset| usize::try_from(offset).unwrap();
            let ranges = head.ranges.iter().map(|&(offset, bytes)| &file[at(offset)..at(offset + bytes)]);
            let parts = ranges.collect::<Vec<_>>().concat();
            assert!(parts == copy, "the copy differs");
            let expected = Segment::open(Arc::new(file.clone())).unwrap().head().unwrap();
            let names: Vec<_> = head.fields.keys().cloned().collect();
            assert_eq!(names, expected.fields.keys().cloned().collect::<Vec<_>>());
            assert_eq!(names, ["at", "name"]);
            assert!(head.bytes() < entry.bytes / 2, "{} of {}", head.bytes(), entry.bytes);
            bundles.insert(head.bundle.clone());
        }
        assert_eq!(bundles.len(), 1, "small heads share a bundle");
    }
}

#[tokio::test]
async fn small_segments_have_no_head() {
    let place = Place::memory().await;
    place.index(place.job(60, 1)).await.unwrap();
    let collection = place.catalog().open(&name()).await.unwrap();
    assert!(collection.segments().all(|(_, entry)| entry.head.is_none() && entry.bytes < 64 << 10));
    let keys = place.store.list(&cairn_storage::store::Key::collections()).await.unwrap();
    assert!(keys.iter().all(|found| !found.key.as_str().contains("/heads/")), "no bundle without a head");
}

/// A job that meets a fault at every step of its requests: what is published names no head that is not there, and the job can be
/// run again over what the dead one left.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_heads_may_die_at_any_step() {
    for fault in [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter] {
        for step in 0.. {
            let objects = Arc::new(InMemory::new());
            let healthy = Faults::new(Arc::clone(&objects) as _).into_store();
            let place = Place { folder: tempfile::tempdir().unwrap(), store: healthy };
            let mut job = place.job_of(&long(1_500));
            job.options.shards = Some(1);
            let faults = Faults::new(objects).at(step, fault);
            let steps = faults.steps();
            let outcome = index(job.clone(), &faults.into_store(), Arc::new(Unwatched), CancellationToken::new()).await;
            place.assert_tidy();
            let dies = matches!(fault, Fault::DieBefore | Fault::DieAfter);
            assert!(outcome.is_ok() || dies, "{fault:?} at {step}: {outcome:?}");
            if place.catalog().open(&name()).await.is_err() {
                assert!(outcome.is_err(), "{fault:?} at {step}");
                place.index(job).await.unwrap();
            }
            let collection = place.catalog().open(&name()).await.unwrap();
            let (_, entry) = collection.segments().next().unwrap();
            let head = entry.head.as_ref().unwrap();
            let key = collection.heads_key(entry, head).unwrap();
            let copy = place.store.get_range(&key, 0..head.bytes(), head.bytes()).await.unwrap();
            assert_eq!(xxh3_64(&copy), head.checksum_value().unwrap(), "{fault:?} at {step}");
            if steps.count() <= step {
                assert!(step >= 8, "{step} steps");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_was_built_elsewhere_is_published_with_its_head_and_only_once() {
    let place = Place::memory().await;
    let params = VectorParams::new(u32::try_from(DIM).unwrap(), Distance::Dot);
    let mut builder = cairn_engine::segment::Builder::new("", params, 1);
    for row in 0..6_000 {
        builder.push(PointId::Num(row as u64), &vector(row, 1), None).unwrap();
    }
    let pool = crate::build_pool(1).unwrap();
    let mut bytes = Vec::new();
    let built = builder.write(&pool, &cairn_engine::Unwatched, &mut bytes).unwrap();
    let file = place.path().join("built.seg");
    fs::write(&file, &bytes).unwrap();
    let schema = CollectionSchema::single("", params, 1);

    let damaged = cairn_engine::segment::Built { checksum: built.checksum ^ 1, ..built };
    let error = crate::publish_file(&place.store, (&name(), &schema), (&file, &damaged)).await.unwrap_err();
    assert_eq!(cairn_model::Kind::kind(&error), cairn_model::ErrorKind::Corrupt);
    assert!(place.catalog().open(&name()).await.is_err(), "nothing is published");

    crate::publish_file(&place.store, (&name(), &schema), (&file, &built)).await.unwrap();
    let collection = place.catalog().open(&name()).await.unwrap();
    assert_eq!(collection.points(), 6_000);
    let (shard, entry) = collection.segments().next().unwrap();
    let head = entry.head.as_ref().unwrap();
    let key = collection.segment_key(shard, entry).unwrap();
    assert!(place.store.get_range(&key, 0..entry.bytes, entry.bytes).await.unwrap() == bytes);
    let heads = collection.heads_key(entry, head).unwrap();
    let copy = place.store.get_range(&heads, 0..head.bytes(), head.bytes()).await.unwrap();
    assert_eq!(xxh3_64(&copy), head.checksum_value().unwrap());

    let error = crate::publish_file(&place.store, (&name(), &schema), (&file, &built)).await.unwrap_err();
    assert_eq!(cairn_model::Kind::kind(&error), cairn_model::ErrorKind::Conflict);
}
