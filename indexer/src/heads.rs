//! Copies of segments' heads, gathered in bundles: whoever reads the collection for the first time opens many segments by one GET.
//!
//! A head is taken from the finished file before it is removed. Bundles are uploaded before anything is published: a job that dies
//! in between leaves segments that nothing names, and the next job, which builds anew, takes their successors' heads anew.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use cairn_engine::segment::Segment;
use cairn_storage::{
    Catalog, Generation, HeadEntry, SegmentEntry,
    cache::MappedFile,
    catalog::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, HEAD_RANGES_MAX},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result, pool::joined};

/// Heads are gathered until a bundle would be longer than this; a longer head has a bundle of its own.
const BUNDLE_BYTES_MAX: usize = 16 << 20;
/// A smaller segment is read whole as soon as its head.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// A head that waits for its bundle.
#[derive(Debug, PartialEq)]
struct Head {
    bytes: Vec<u8>,
    ranges: Vec<(u64, u64)>,
    fields: BTreeMap<String, (u64, u64)>,
}

/// Gathers the heads of one generation.
pub(crate) struct Heads<'a> {
    catalog: &'a Catalog,
    generation: &'a Generation,
    bundle: Vec<u8>,
    bundle_bytes_max: usize,
    /// Where each head of the bundle belongs: lane, number of the segment in it, and all of its entry but the bundle's id.
    waiting: Vec<(usize, usize, HeadEntry)>,
}

impl<'a> Heads<'a> {
    pub(crate) fn new(catalog: &'a Catalog, generation: &'a Generation) -> Self {
        Self { catalog, generation, bundle: Vec::new(), bundle_bytes_max: BUNDLE_BYTES_MAX, waiting: Vec::new() }
    }

    /// Takes the head of the segment that was put last into `segments[lane]`, whose file is still at `path`; uploads a bundle
    /// when one is full.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Engine`], [`Error::Storage`].
    pub(crate) async fn take(&mut self, path: &Path, lane: usize, segments: &mut [Vec<SegmentEntry>]) -> Result<()> {
        let Some(entry) = segments[lane].last() else { return Ok(()) };
        if entry.bytes < SEGMENT_BYTES_MIN {
            return Ok(());
        }
        let path = path.to_owned();
        let head = joined(tokio::task::spawn_blocking(move || head(&path))).await?;
        match head {
            Some(head) => self.add(head, lane, segments).await,
            None => Ok(()),
        }
    }

    async fn add(&mut self, head: Head, lane: usize, segments: &mut [Vec<SegmentEntry>]) -> Result<()> {
        if self.bundle.len() + head.bytes.len() > self.bundle_bytes_max {
            self.finish(segments).await?;
        }
        let entry = HeadEntry {
            bundle: String::new(),
            offset: self.bundle.len() as u64,
            ranges: head.ranges,
            checksum: format!("{:016x}", xxh3_64(&head.bytes)),
            fields: head.fields,
        };
        self.bundle.extend_from_slice(&head.bytes);
        self.waiting.push((lane, segments[lane].len() - 1, entry));
        Ok(())
    }

    /// Uploads what has been gathered, and names it in the entries.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(crate) async fn finish(&mut self, segments: &mut [Vec<SegmentEntry>]) -> Result<()> {
        if self.bundle.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.bundle));
        let bundle = self.catalog.put_heads(self.generation, bytes).await?;
        for (lane, number, head) in self.waiting.drain(..) {
            segments[lane][number].head = Some(HeadEntry { bundle: bundle.clone(), ..head });
        }
        Ok(())
    }
}

/// The head of a finished segment file; `None` for one that no entry can describe.
fn head(path: &Path) -> Result<Option<Head>> {
    let file = Arc::new(MappedFile::open(path, false).map_err(|error| Error::disk(path, error))?);
    let parts = Segment::open(Arc::clone(&file) as _)?.head()?;
    let all: &[u8] = file.as_ref().as_ref();
    Ok(copy(all, &parts.ranges, &parts.fields))
}

fn copy(file: &[u8], ranges: &[Range<u64>], fields: &BTreeMap<String, Range<u64>>) -> Option<Head> {
    let pair = |range: &Range<u64>| (range.start, range.end.saturating_sub(range.start));
    let bytes_in_all = ranges.iter().map(|range| pair(range).1).fold(0, u64::saturating_add);
    if ranges.is_empty() || ranges.len() > HEAD_RANGES_MAX || bytes_in_all > HEAD_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    for range in ranges {
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        bytes.extend_from_slice(file.get(start..end)?);
    }
    let fields = fields.iter().take(HEAD_FIELDS_MAX).map(|(path, range)| (path.clone(), pair(range))).collect();
    Some(Head { bytes, ranges: ranges.iter().map(pair).collect(), fields })
}

#[cfg(test)]
mod tests {
    use cairn_model::{CollectionName, CollectionSchema, Distance, VectorParams};
    use cairn_storage::{Store, StoreOptions};

    use super::*;

    #[tokio::test]
    async fn a_full_bundle_is_followed_by_another_and_a_long_head_is_alone() {
        let store = Store::open("memory://", &StoreOptions::default()).await.unwrap();
        let catalog = Catalog::new(store.clone());
        let schema = CollectionSchema::single("", VectorParams::new(4, Distance::Dot), 2);
        let generation = catalog.begin(&CollectionName::parse("c").unwrap(), &schema);
        let mut heads = Heads { bundle_bytes_max: 100, ..Heads::new(&catalog, &generation) };
        let mut segments = vec![Vec::new(), Vec::new()];
        let lengths = [40u8, 50, 20, 200, 1, 99];
        for (n, length) in (0..).zip(lengths) {
            let (lane, entry) = (
                usize::from(n % 2),
                SegmentEntry {
                    id: ulid::Ulid::generate().to_string(),
                    points: 1,
                    bytes: 1_000,
                    checksum: "0".repeat(16),
                    head: None,
                    region: None,
                    dead: None,
                    own: false,
                    edition: 0,
                },
            );
            segments[lane].push(entry);
            let head = Head {
                bytes: vec![n; usize::from(length)],
                ranges: vec![(7, u64::from(length))],
                fields: BTreeMap::new(),
            };
            heads.add(head, lane, &mut segments).await.unwrap();
        }
        heads.finish(&mut segments).await.unwrap();
        let mut bundles = Vec::new();
        for (n, length) in (0..).zip(lengths) {
            let head = segments[usize::from(n % 2)][usize::from(n / 2)].head.as_ref().unwrap();
            let key = cairn_storage::store::Key::heads(&generation.name, &generation.id, &head.bundle).unwrap();
            let bytes = store.head(&key).await.unwrap().unwrap();
            let copy = store.get_range(&key, head.offset..head.offset + head.bytes(), bytes).await.unwrap();
            assert_eq!(copy, vec![n; usize::from(length)]);
            assert_eq!(head.checksum_value().unwrap(), xxh3_64(&copy));
            bundles.push((head.bundle.clone(), bytes));
        }
        let sizes: Vec<_> = bundles.iter().map(|bundle| bundle.1).collect();
        assert_eq!(sizes, [90, 90, 20, 200, 100, 100]);
        assert!(bundles[0] == bundles[1] && bundles[4] == bundles[5]);
    }

    #[test]
    fn what_no_entry_can_describe_has_no_head() {
        let file: Vec<u8> = (0..=99).collect();
        let no_fields = BTreeMap::new();
        let head = copy(&file, &[0..2, 98..100], &[("a".to_owned(), 10..20)].into()).unwrap();
        assert_eq!((head.bytes.as_slice(), head.ranges), (&[0, 1, 98, 99][..], vec![(0, 2), (98, 2)]));
        assert_eq!(head.fields, [("a".to_owned(), (10, 10))].into());
        let scattered: Vec<_> = (0..=HEAD_RANGES_MAX as u64).map(|at| at..at + 1).collect();
        let (outside, few) = (90..101, 0..2);
        for ranges in [&[][..], &scattered, std::slice::from_ref(&outside)] {
            assert_eq!(copy(&file, ranges, &no_fields), None);
        }
        let fields = (0..100).map(|n| (format!("{n:03}"), n..n + 1)).collect();
        let head = copy(&file, std::slice::from_ref(&few), &fields).unwrap();
        assert_eq!(head.fields.len(), HEAD_FIELDS_MAX, "the list may be incomplete");
        assert!(head.fields.contains_key("000"));
    }
}
