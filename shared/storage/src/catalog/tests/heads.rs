//! Bundles of heads.

use bytes::Bytes;

use super::*;
use crate::catalog::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, HEAD_RANGES_MAX};

/// A head of a segment file of ten bytes.
pub(super) fn head(bundle: &str) -> HeadEntry {
    HeadEntry {
        bundle: bundle.to_owned(),
        offset: 3,
        ranges: vec![(0, 2), (2, 3), (9, 1)],
        checksum: "00000000000000ff".to_owned(),
        fields: [("a.b".to_owned(), (4, 6))].into(),
    }
}

#[tokio::test]
async fn a_bundle_is_published_with_its_segments_and_deleted_with_them() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let generation = catalog.begin(&name("c"), &schema(1));
        let (file, mut entry) = segment_file(b"0123456789");
        catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap();
        let bundle = catalog.put_heads(&generation, Bytes::from_static(b"xyz012349")).await.unwrap();
        entry.head = Some(head(&bundle));
        let published = catalog.publish(&generation, vec![vec![entry]], Expect::Absent).await.unwrap();

        let read = catalog.open(&name("c")).await.unwrap();
        assert_eq!(read.manifests, published.manifests);
        strip_manifests(&place, &published).await;
        let read = catalog.open(&name("c")).await.unwrap();
        assert_eq!(read.manifests, published.manifests);
        let (_, entry) = read.segments().next().unwrap();
        let found = entry.head.as_ref().unwrap();
        assert_eq!((found.bytes(), found.checksum_value().unwrap()), (6, 255));
        let key = read.heads_key(entry, found).unwrap();
        assert!(key.as_str().ends_with(&format!("{}/heads/{bundle}.heads", generation.id)));
        let bytes = catalog.store().get_range(&key, found.offset..found.offset + found.bytes(), 9).await.unwrap();
        assert_eq!(bytes, &b"012349"[..]);

        assert!(catalog.delete(&name("c")).await.unwrap());
        assert_eq!(catalog.store().head(&key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_bundle_that_is_missing_or_too_short_is_not_published() {
    let catalog = Place::memory().healthy();
    let generation = catalog.begin(&name("c"), &schema(1));
    let (file, entry) = segment_file(b"0123456789");
    catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap();
    let short = catalog.put_heads(&generation, Bytes::from_static(b"xyz01234")).await.unwrap();
    let absent = Ulid::generate().to_string();
    for (bundle, sign) in [(short, "8 bytes long, heads are said to lie in 9"), (absent, "not uploaded")] {
        let entry = SegmentEntry { head: Some(head(&bundle)), ..entry.clone() };
        let error = catalog.publish(&generation, vec![vec![entry]], Expect::Absent).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        assert!(error.what.contains(&bundle) && error.why.contains(sign), "{error}");
    }
    let error = catalog.put_heads(&generation, Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let large = vec![0; usize::try_from(HEAD_BYTES_MAX).unwrap() + 1];
    let error = catalog.put_heads(&generation, large.into()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
}

#[tokio::test]
async fn impossible_heads_are_neither_published_nor_read() {
    let place = Place::memory();
    let catalog = place.healthy();
    let generation = catalog.begin(&name("c"), &schema(1));
    let (file, entry) = segment_file(b"0123456789");
    catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap();
    let published = catalog.publish(&generation, vec![vec![entry.clone()]], Expect::Absent).await.unwrap();
    let sound = head(&Ulid::nil().to_string());
    let with = |edit: &dyn Fn(&mut HeadEntry)| {
        let mut head = sound.clone();
        edit(&mut head);
        SegmentEntry { head: Some(head), ..entry.clone() }
    };
    let fields = (0..=HEAD_FIELDS_MAX).map(|n| (n.to_string(), (0, 1)));
    type Edit<'a> = &'a dyn Fn(&mut HeadEntry);
    let cases: [(Edit<'_>, &str); 14] = [
        (&|h| h.bundle = "../x".to_owned(), "not a ULID"),
        (&|h| h.checksum = "FF".to_owned(), "hexadecimal"),
        (&|h| h.ranges.clear(), "0 ranges"),
        (&|h| h.ranges = vec![(0, 1); HEAD_RANGES_MAX + 1], "65 ranges"),
        (&|h| h.ranges = vec![(2, 0)], "0 bytes at 2"),
        (&|h| h.ranges = vec![(9, 2)], "2 bytes at 9 in a file of 10"),
        (&|h| h.ranges = vec![(u64::MAX, 2)], "in a file of 10"),
        (&|h| h.ranges = vec![(3, 2), (0, 1)], "overlap or go back, at 0"),
        (&|h| h.ranges = vec![(0, 3), (2, 1)], "overlap or go back, at 2"),
        (&|h| h.offset = u64::MAX, "of its bundle"),
        (&|h| h.offset = HEAD_BYTES_MAX - 5, "of its bundle"),
        (&|h| h.fields = fields.clone().collect(), "65 fields"),
        (&|h| h.fields = [("x".to_owned(), (5, 6))].into(), "field 'x' with 6 bytes at 5"),
        (&|h| h.fields = [("x".repeat(2_000), (5, 1))].into(), "2000 bytes"),
    ];
    let path = Path::from(format!("collections/c/{}/0/manifest.json", generation.id));
    strip_manifests(&place, &published).await;
    for (edit, sign) in cases {
        let entry = with(edit);
        let error = catalog.publish(&generation, vec![vec![entry.clone()]], Expect::Absent).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.why.contains(sign), "'{sign}' is not in: {error}");
        let manifest = Manifest { segments: vec![entry], ..published.manifests[0].as_ref().clone() };
        place.client().put(&path, encode("", &manifest).unwrap().into()).await.unwrap();
        let error = catalog.open(&name("c")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        assert!(error.why.contains(sign), "'{sign}' is not in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_heads_may_die_at_any_step() {
    at_every_step(
        (Place::memory, &FAULTS, 4),
        async |_| (),
        async |trial| {
            let healthy = trial.healthy();
            let outcome = with_heads(&trial.faulty).await;
            trial.check(&outcome);
            match read(&healthy, "c").await {
                Ok(collection) => {
                    let (_, entry) = collection.segments().next().unwrap();
                    let head = entry.head.as_ref().unwrap();
                    let key = collection.heads_key(entry, head).unwrap();
                    assert_eq!(healthy.store().head(&key).await.unwrap(), Some(9));
                }
                Err(error) => {
                    assert_eq!((error.kind, outcome.is_err()), (ErrorKind::NotFound, true), "{error}");
                    with_heads(&healthy).await.unwrap();
                }
            }
        },
    )
    .await;
}

async fn with_heads(catalog: &Catalog) -> Result<Collection> {
    let generation = catalog.begin(&name("c"), &schema(1));
    let (file, mut entry) = segment_file(b"0123456789");
    catalog.put_segment(&generation, 0, file.path(), &entry).await?;
    entry.head = Some(head(&catalog.put_heads(&generation, Bytes::from_static(b"xyz012349")).await?));
    catalog.publish(&generation, vec![vec![entry]], Expect::Absent).await
}
