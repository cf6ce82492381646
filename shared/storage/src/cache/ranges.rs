//! Parts of segments that lie in the store: heads, and ranges that queries asked for.
//!
//! A segment is opened from its head and searched by ranges while its file is not here. Heads are few, small and wanted by every query, so they
//! have a budget of their own and are evicted last; ranges go least recently used first. What is fetched is kept as it came: an answer that
//! spans two neighbouring ranges is asked for again as one.
//!
//! Heads are verified by their checksum. Ranges have none of their own (the file's covers all of it): the transport's is relied on, and every
//! access to them is checked against their bounds, as everywhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use xxhash_rust::xxh3::Xxh3;

use super::Wanted;
use crate::{Collection, Error, HeadEntry, Result, SegmentEntry, Store, store::Key};

/// Most bytes that one request may bring of one segment; beyond, the whole segment is the better plan.
pub const BROUGHT_BYTES_MAX: u64 = 64 << 20;
/// Most bytes that one request may hold of one segment, its head included, however many waves it takes.
pub const HELD_BYTES_MAX: u64 = 2 * BROUGHT_BYTES_MAX;
/// Ranges of one wave are joined until there are no more than this many of one segment: of many requests in parallel, one is always slow.
pub const RANGES_PER_WAVE: usize = 12;
/// The largest gap that is read to save a request, at most; less where the store is quick to answer.
const GAP_BYTES_MAX: u64 = 128 << 10;
const GAP_BYTES_MIN: u64 = 4 << 10;
/// Gaps when there are too many ranges.
const GAP_BYTES_LAST: u64 = 1 << 20;
/// So many bytes of such gaps are read along however little is wanted.
const ALONG_BYTES_MIN: u64 = 1 << 20;
/// A range that is longer is fetched in parts, in parallel.
const PART_BYTES: u64 = 4 << 20;
/// Requests of one segment in flight.
const REQUESTS_IN_FLIGHT: usize = 32;

/// Bytes of a segment that are at hand: its head and more. Cheap to clone; never changes.
#[derive(Clone, Debug)]
pub struct Ranges {
    file_bytes: u64,
    /// By offset.
    blocks: Arc<[(u64, Bytes)]>,
}

impl Ranges {
    /// Bytes of the whole file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The bytes at `offset..offset + len`, if one block has them.
    #[must_use]
    pub fn get(&self, offset: u64, len: u64) -> Option<&[u8]> {
        // Blocks may overlap, so an earlier one may reach farther; there are few.
        let before = self.blocks.partition_point(|(start, _)| *start <= offset);
        self.blocks[..before].iter().rev().find_map(|(start, bytes)| {
            let at = usize::try_from(offset - start).ok()?;
            bytes.get(at..at.checked_add(usize::try_from(len).ok()?)?)
        })
    }

    /// Bytes that are at hand.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn with(&self, more: Vec<(u64, Bytes)>) -> Self {
        let mut blocks: Vec<(u64, Bytes)> = self.blocks.iter().cloned().chain(more).collect();
        blocks.sort_by_key(|(offset, bytes)| (*offset, bytes.len()));
        Self { file_bytes: self.file_bytes, blocks: blocks.into() }
    }
}

/// Where a segment's parts are.
#[derive(Clone, Debug)]
pub struct Place {
    key: Key,
    address: String,
    name: String,
    bytes: u64,
}

/// Parts of segments in memory.
#[derive(Debug)]
pub struct RangeCache {
    heads_bytes_max: u64,
    ranges_bytes_max: u64,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    segments: HashMap<String, Parts>,
    heads_bytes: u64,
    ranges_bytes: u64,
    clock: u64,
}

#[derive(Debug, Default)]
struct Parts {
    head: Option<(Ranges, u64)>,
    head_used: u64,
    /// By offset: bytes and last use.
    ranges: BTreeMap<u64, (Bytes, u64)>,
}

/// What opening a segment from its head gave.
#[derive(Debug)]
pub struct Opened {
    /// Its head, and the fields that were asked for.
    pub ranges: Ranges,
    /// For bringing more.
    pub place: Place,
    /// Whether the head was here already.
    pub hit: bool,
}

impl RangeCache {
    /// Nothing yet; at most so many bytes of heads and of other ranges later.
    #[must_use]
    pub fn new(heads_bytes_max: u64, ranges_bytes_max: u64) -> Self {
        Self { heads_bytes_max, ranges_bytes_max, books: Mutex::default() }
    }

    /// Bytes of heads and of other ranges that are kept.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let books = self.lock();
        (books.heads_bytes, books.ranges_bytes)
    }

    /// The head of a segment, with the indexes of those `fields` whose place its entry knows. One wave, or none.
    ///
    /// # Errors
    /// `Corrupt` names the bundle; `Invalid` when the entry has no head; `NotFound`, `Unavailable`.
    pub async fn open(
        &self,
        store: &Store,
        collection: &Collection,
        (shard, entry): (u32, &SegmentEntry),
        fields: &[&str],
    ) -> Result<Opened> {
        let wanted = Wanted::new(store, collection, shard, entry)?;
        let Some(head) = &entry.head else {
            return Err(Error::corrupt(&wanted.address, "has no head in its manifest"));
        };
        let Wanted { key, address, name, bytes, .. } = wanted;
        let place = Place { key, address, name, bytes };
        let known = self.head(&place.name);
        let hit = known.is_some();
        let has = |range: &Range<u64>| {
            known.as_ref().is_some_and(|head| head.get(range.start, range.end - range.start).is_some())
        };
        let fields: Vec<Range<u64>> = fields
            .iter()
            .filter_map(|field| head.fields.get(*field))
            .map(|(offset, len)| *offset..offset.saturating_add(*len))
            .filter(|range| !range.is_empty() && range.end <= place.bytes && !has(range))
            .filter(|range| {
                !head.ranges.iter().any(|(offset, len)| *offset <= range.start && range.end <= offset + len)
            })
            .collect();
        let empty = Ranges { file_bytes: place.bytes, blocks: Arc::new([]) };
        let fetching = async {
            match known {
                Some(known) => Ok(known),
                None => {
                    let fetched = fetch_head(store, &collection.heads_key(entry, head)?, head, place.bytes).await?;
                    self.keep_head(&place.name, &fetched);
                    Ok(fetched)
                }
            }
        };
        let (opened, more) = tokio::join!(fetching, self.bring(store, &place, &empty, fields));
        let (opened, more) = (opened?, more?);
        let ranges = if more.blocks.is_empty() { opened } else { opened.with(more.blocks.to_vec()) };
        Ok(Opened { ranges, place, hit })
    }

    /// Whether a segment's head is here.
    ///
    /// # Errors
    /// `Corrupt` when the entry contradicts itself.
    pub fn has_head(
        &self,
        store: &Store,
        collection: &Collection,
        (shard, entry): (u32, &SegmentEntry),
    ) -> Result<bool> {
        let wanted = Wanted::new(store, collection, shard, entry)?;
        Ok(self.lock().segments.get(&wanted.name).is_some_and(|parts| parts.head.is_some()))
    }

    /// `have` and the `missing` ranges of its file. One wave, or none.
    ///
    /// # Errors
    /// `TooLarge` when that is too much for ranges; `Corrupt` when a range leaves the file; `NotFound`, `Unavailable`.
    pub async fn bring(&self, store: &Store, place: &Place, have: &Ranges, missing: Vec<Range<u64>>) -> Result<Ranges> {
        if let Some(range) = missing.iter().find(|range| range.start > range.end || range.end > place.bytes) {
            let why = format!("bytes {}-{} of {} were asked for", range.start, range.end, place.bytes);
            return Err(Error::corrupt(&place.address, why));
        }
        let (mut blocks, missing) = self.kept(&place.name, missing);
        let pace = store.pace();
        let gap = pace.bytes_per_trip().clamp(GAP_BYTES_MIN, GAP_BYTES_MAX);
        let wanted = joined(missing, gap);
        let bytes: u64 = wanted.iter().map(|range| range.end - range.start).sum();
        let held = have.bytes();
        if bytes > BROUGHT_BYTES_MAX || held.saturating_add(bytes) > HELD_BYTES_MAX {
            let why = format!("{bytes} bytes of it are needed, at most {BROUGHT_BYTES_MAX} are read as ranges");
            return Err(Error::new(cairn_model::ErrorKind::TooLarge, &place.address, why));
        }
        let fetched: Vec<(u64, Bytes)> = stream::iter(wanted)
            .map(|range| async move { Ok::<_, Error>((range.start, fetch(store, place, range).await?)) })
            .buffered(REQUESTS_IN_FLIGHT)
            .try_collect()
            .await?;
        self.keep(&place.name, &fetched);
        blocks.extend(fetched);
        Ok(have.with(blocks))
    }

    /// Forgets the ranges of a segment whose file is here now. Its head stays: the file may be evicted.
    pub fn forget_ranges(&self, place: &Place) {
        let mut books = self.lock();
        if let Some(parts) = books.segments.get_mut(&place.name) {
            let freed: u64 = std::mem::take(&mut parts.ranges).values().map(|(bytes, _)| bytes.len() as u64).sum();
            books.ranges_bytes -= freed;
        }
    }

    /// Gives up ranges, then heads, until no more than so many bytes are kept in all: memory is short.
    pub fn shrink(&self, bytes_max: u64) {
        let mut books = self.lock();
        let ranges_max = bytes_max.saturating_sub(books.heads_bytes);
        books.evict_ranges(ranges_max);
        let heads_max = bytes_max.saturating_sub(books.ranges_bytes);
        books.evict_heads(heads_max);
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self, name: &str) -> Option<Ranges> {
        let mut books = self.lock();
        books.clock += 1;
        let now = books.clock;
        let parts = books.segments.get_mut(name)?;
        parts.head_used = now;
        parts.head.as_ref().map(|(ranges, _)| ranges.clone())
    }

    fn keep_head(&self, name: &str, head: &Ranges) {
        let bytes = head.bytes();
        if bytes > self.heads_bytes_max {
            return;
        }
        let mut books = self.lock();
        books.clock += 1;
        let now = books.clock;
        let parts = books.segments.entry(name.to_owned()).or_default();
        parts.head_used = now;
        let before = parts.head.replace((head.clone(), bytes)).map_or(0, |(_, bytes)| bytes);
        books.heads_bytes = books.heads_bytes + bytes - before;
        books.evict_heads(self.heads_bytes_max);
    }

    /// Those of `missing` that are kept, and the others.
    fn kept(&self, name: &str, missing: Vec<Range<u64>>) -> (Vec<(u64, Bytes)>, Vec<Range<u64>>) {
        let mut books = self.lock();
        books.clock += 1;
        let now = books.clock;
        let Some(parts) = books.segments.get_mut(name) else { return (Vec::new(), missing) };
        let mut found: BTreeMap<u64, Bytes> = BTreeMap::new();
        let mut others = Vec::new();
        for range in missing {
            let mut before = parts.ranges.range_mut(..=range.start).rev();
            // The nearest block that begins before it: an earlier one that reaches farther is not worth a search.
            match before.next().filter(|(start, (bytes, _))| *start + bytes.len() as u64 >= range.end) {
                Some((start, (bytes, used))) => {
                    *used = now;
                    found.insert(*start, bytes.clone());
                }
                None => others.push(range),
            }
        }
        (found.into_iter().collect(), others)
    }

    fn keep(&self, name: &str, fetched: &[(u64, Bytes)]) {
        let bytes: u64 = fetched.iter().map(|(_, block)| block.len() as u64).sum();
        if bytes == 0 || bytes > self.ranges_bytes_max {
            return;
        }
        let mut books = self.lock();
        books.clock += 1;
        let now = books.clock;
        let parts = books.segments.entry(name.to_owned()).or_default();
        let mut replaced = 0;
        for (offset, block) in fetched {
            replaced += parts.ranges.insert(*offset, (block.clone(), now)).map_or(0, |(block, _)| block.len() as u64);
        }
        books.ranges_bytes = books.ranges_bytes + bytes - replaced;
        books.evict_ranges(self.ranges_bytes_max);
    }
}

impl Books {
    fn evict_ranges(&mut self, bytes_max: u64) {
        if self.ranges_bytes <= bytes_max {
            return;
        }
        let all = self.segments.iter().flat_map(|(name, parts)| {
            parts.ranges.iter().map(|(offset, (bytes, used))| (*used, name.clone(), *offset, bytes.len() as u64))
        });
        let mut oldest: Vec<(u64, String, u64, u64)> = all.collect();
        oldest.sort_unstable();
        for (_, name, offset, bytes) in oldest {
            if self.ranges_bytes <= bytes_max {
                break;
            }
            if let Some(parts) = self.segments.get_mut(&name) {
                parts.ranges.remove(&offset);
                self.ranges_bytes -= bytes;
            }
        }
        self.segments.retain(|_, parts| parts.head.is_some() || !parts.ranges.is_empty());
    }

    fn evict_heads(&mut self, bytes_max: u64) {
        while self.heads_bytes > bytes_max {
            let with_head = self.segments.iter_mut().filter(|(_, parts)| parts.head.is_some());
            let Some((_, oldest)) = with_head.min_by_key(|(_, parts)| parts.head_used) else { break };
            self.heads_bytes -= oldest.head.take().map_or(0, |(_, bytes)| bytes);
        }
        self.segments.retain(|_, parts| parts.head.is_some() || !parts.ranges.is_empty());
    }
}

/// Ranges so that each of `ranges` lies in one, with gaps of at most `gap` bytes read along; where there would be too many, the smallest of the
/// larger gaps too, but no more in all than half of what is wanted: in a large file, ranges that lie far apart would bring most of it.
fn joined(mut ranges: Vec<Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut near: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match near.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => near.push(range),
        }
    }
    let mut along = near.iter().map(|range| range.end - range.start).sum::<u64>() / 2;
    along = along.max(ALONG_BYTES_MIN);
    // Each with the start of the range that follows it.
    let mut gaps: Vec<(u64, u64)> = near.windows(2).map(|pair| (pair[1].start - pair[0].end, pair[1].start)).collect();
    gaps.sort_unstable();
    let bridged: BTreeSet<u64> = gaps
        .into_iter()
        .take(near.len().saturating_sub(RANGES_PER_WAVE))
        .take_while(|(gap, _)| {
            let pays = *gap <= GAP_BYTES_LAST.min(along);
            along = along.saturating_sub(*gap);
            pays
        })
        .map(|(_, start)| start)
        .collect();
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in near {
        match joined.last_mut() {
            Some(last) if bridged.contains(&range.start) => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

async fn fetch(store: &Store, place: &Place, range: Range<u64>) -> Result<Bytes> {
    if range.end - range.start <= PART_BYTES {
        return store.get_range(&place.key, range, place.bytes).await;
    }
    let parts = (0..)
        .map(|n| range.start + n * PART_BYTES)
        .take_while(|start| *start < range.end)
        .map(|start| store.get_range(&place.key, start..range.end.min(start + PART_BYTES), place.bytes));
    let parts: Vec<Bytes> = stream::iter(parts.collect::<Vec<_>>()).buffered(REQUESTS_IN_FLIGHT).try_collect().await?;
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    Ok(whole.freeze())
}

async fn fetch_head(store: &Store, key: &Key, head: &HeadEntry, file_bytes: u64) -> Result<Ranges> {
    let end = head.offset.saturating_add(head.bytes());
    let bytes = store.get_part(key, head.offset..end).await?;
    let mut hash = Xxh3::new();
    hash.update(&bytes);
    let (found, expected) = (hash.digest(), head.checksum_value()?);
    if found != expected {
        let why = format!("has a head with the checksum {found:016x}, its manifest says {expected:016x}");
        return Err(Error::corrupt(store.address(key), why));
    }
    let mut at = 0;
    let blocks = head.ranges.iter().map(|&(offset, len)| {
        let start = at;
        at += usize::try_from(len).unwrap_or(usize::MAX);
        (offset, bytes.slice(start..at))
    });
    Ok(Ranges { file_bytes, blocks: blocks.collect() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path};
    use proptest::prelude::*;

    use super::*;
    use crate::{Meter, store::Retry};

    const FILE_BYTES: usize = 3 << 20;

    fn content(range: Range<u64>) -> Vec<u8> {
        range.map(|at| (at * 31 % 251) as u8).collect()
    }

    fn place(name: &str) -> Place {
        let key = Key::collections();
        Place { address: key.as_str().to_owned(), key, name: name.to_owned(), bytes: FILE_BYTES as u64 }
    }

    async fn store() -> (Store, Arc<Meter>) {
        let objects = InMemory::new();
        let path = Path::from(Key::collections().as_str());
        objects.put(&path, content(0..FILE_BYTES as u64).into()).await.unwrap();
        let meter = Arc::new(Meter::default());
        let store = Store::over(Arc::new(objects), "memory://", Retry::new(Duration::from_secs(5), 1));
        (store.metered(Arc::clone(&meter)), meter)
    }

    fn nothing() -> Ranges {
        Ranges { file_bytes: FILE_BYTES as u64, blocks: Arc::new([]) }
    }

    #[tokio::test]
    async fn what_is_asked_for_comes_in_one_wave_and_is_kept() {
        let ((store, meter), cache) = (store().await, RangeCache::new(1 << 20, 8 << 20));
        let asked = vec![10..20, 15..400, 1_000_000..1_000_900, 2_000_000..2_000_001, 0..10];
        let found = cache.bring(&store, &place("a"), &nothing(), asked.clone()).await.unwrap();
        for range in &asked {
            let bytes = found.get(range.start, range.end - range.start);
            assert_eq!(bytes, Some(&*content(range.clone())), "{range:?}");
        }
        let usage = meter.usage();
        assert_eq!((usage.waves, usage.gets), (1, 3), "near ranges are joined, far ones are not");
        let again = cache.bring(&store, &place("a"), &nothing(), asked).await.unwrap();
        assert_eq!((meter.usage().gets, again.get(15, 385).is_some()), (3, true), "nothing is asked for twice");
        // Another segment's ranges are its own.
        cache.bring(&store, &place("b"), &nothing(), vec![Range { start: 0, end: 4 }]).await.unwrap();
        assert_eq!(meter.usage().gets, 4);
        cache.forget_ranges(&place("a"));
        cache.bring(&store, &place("a"), &nothing(), vec![Range { start: 0, end: 4 }]).await.unwrap();
        assert_eq!(meter.usage().gets, 5);
    }

    #[tokio::test]
    async fn what_leaves_the_file_or_is_too_much_is_refused() {
        let ((store, meter), cache) = (store().await, RangeCache::new(1 << 20, 1 << 20));
        let beyond = Range { start: FILE_BYTES as u64 - 1, end: FILE_BYTES as u64 + 1 };
        let error = cache.bring(&store, &place("a"), &nothing(), vec![beyond]).await.unwrap_err();
        assert_eq!(error.kind, cairn_model::ErrorKind::Corrupt);
        let huge = Place { bytes: u64::MAX, ..place("a") };
        let all = Range { start: 0, end: BROUGHT_BYTES_MAX + 1 };
        let error = cache.bring(&store, &huge, &nothing(), vec![all]).await.unwrap_err();
        assert_eq!((error.kind, meter.usage().gets), (cairn_model::ErrorKind::TooLarge, 0));
        // What was brought before counts as well.
        let much = nothing().with(vec![(0, Bytes::from(vec![0; usize::try_from(HELD_BYTES_MAX).unwrap()]))]);
        let more = Range { start: HELD_BYTES_MAX + 1, end: HELD_BYTES_MAX + 2 };
        let error = cache.bring(&store, &huge, &much, vec![more]).await.unwrap_err();
        assert_eq!((error.kind, meter.usage().gets), (cairn_model::ErrorKind::TooLarge, 0));
        // Larger than the budget: it serves and is not kept.
        let some = Range { start: 0, end: 2 << 20 };
        let found = cache.bring(&store, &place("a"), &nothing(), vec![some]).await.unwrap();
        assert!(found.get(2_000_000, 9).is_some() && cache.bytes() == (0, 0));
    }

    #[test]
    fn ranges_go_before_heads_and_the_least_recently_used_first() {
        let cache = RangeCache::new(2_500, 2_500);
        let block = |offset: u64| (offset, Bytes::from(vec![1; 1_000]));
        let head = || nothing().with(vec![block(0)]);
        for name in ["a", "b"] {
            cache.keep_head(name, &head());
            cache.keep(name, &[block(5_000)]);
        }
        assert_eq!(cache.bytes(), (2_000, 2_000));
        let one = |start| vec![Range { start, end: start + 10 }];
        assert_eq!(cache.kept("a", one(5_000)).0.len(), 1, "used again");
        cache.keep("b", &[block(9_000)]);
        let kept = |name, start| !cache.kept(name, one(start)).0.is_empty();
        assert_eq!((kept("a", 5_000), kept("b", 5_000), kept("b", 9_000)), (true, false, true));
        assert!(cache.head("a").is_some());
        cache.keep_head("c", &head());
        assert_eq!((cache.head("a").is_some(), cache.head("b").is_some(), cache.bytes().0), (true, false, 2_000));
        cache.shrink(2_400);
        assert_eq!(cache.bytes(), (2_000, 0), "memory is short: ranges go first");
        cache.shrink(1_000);
        assert_eq!(cache.bytes(), (1_000, 0));
        cache.shrink(0);
        assert_eq!(cache.bytes(), (0, 0));
        assert!(cache.lock().segments.is_empty());
    }

    #[test]
    fn what_is_read_along_is_bounded_by_what_is_wanted() {
        let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        // Ranges of `len` bytes, `step` apart.
        let spread = |len: u64, step: u64| (0..100).map(|i| i * step..i * step + len).collect::<Vec<_>>();
        // Few bytes, near one another: they are joined until they are few ranges.
        assert!(joined(spread(500, 10_000), GAP_BYTES_MIN).len() <= RANGES_PER_WAVE);
        // Far apart, only so many gaps are read that no more comes than half as much again as is wanted, or a little.
        for (len, step) in [(200_000, 1_000_000), (1_000, 400_000), (1_000, 10_000_000)] {
            let wanted = spread(len, step);
            let found = joined(wanted.clone(), GAP_BYTES_MIN);
            assert!(bytes(&found) <= bytes(&wanted) + (bytes(&wanted) / 2).max(ALONG_BYTES_MIN), "{len} {step}");
            assert!(wanted.iter().all(|one| found.iter().any(|all| all.start <= one.start && one.end <= all.end)));
        }
        // Gaps that differ: the smallest go first.
        let found = joined((0..20).map(|i| i * i * 10_000..i * i * 10_000 + 100).collect(), GAP_BYTES_MIN);
        assert_eq!((found[0].end, found.len()), (640_100, RANGES_PER_WAVE));
    }

    proptest! {
        #[test]
        fn every_range_lies_in_one_that_is_fetched(
            asked in prop::collection::vec((0u64..3_000_000, 1u64..5_000), 1..60), gap in 0u64..200_000,
        ) {
            let ranges: Vec<Range<u64>> = asked.iter().map(|(start, len)| *start..start + len).collect();
            let joined = joined(ranges.clone(), gap);
            prop_assert!(joined.windows(2).all(|pair| pair[0].end < pair[1].start));
            for range in &ranges {
                prop_assert!(joined.iter().any(|one| one.start <= range.start && range.end <= one.end));
            }
            let blocks = joined.iter().map(|range| (range.start, Bytes::from(content(range.clone())))).collect();
            let all = nothing().with(blocks);
            for range in ranges {
                let len = range.end - range.start;
                let expected = content(range.clone());
                prop_assert_eq!(all.get(range.start, len), Some(&*expected));
            }
        }
    }
}
