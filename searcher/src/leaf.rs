//! One open segment, and the set of those that are open: cached bytes in, hits and records out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cairn_engine::{
    self as engine, Watch,
    hot::{Hot, Memory},
    payload::Ordered,
    segment::{Along, Found, Segment, Source, Strategy},
};
use cairn_model::{CollectionSchema, Edition, Filter, Order, Path, PointId, Scalar, Usage, VectorQuery, Vectors};
use cairn_storage::{
    Cached, SegmentEntry,
    cache::{
        HugePages, Ranges,
        ranges::{self, Place},
    },
};
use roaring::RoaringBitmap;

use crate::{
    error::{Error, Result, gather},
    heat::{Expand, Grant, Heat},
    request::Record,
    select::{PayloadSelector, VectorSelector},
    workers::{Stop, Workers},
};

/// A segment that can be searched.
pub struct Leaf {
    id: String,
    shard: u32,
    bytes: u64,
    /// Of which edition of the schema its vectors are.
    edition: Edition,
    /// Where its bytes begin: tells them from a later mapping of the same segment.
    address: usize,
    segment: Segment,
    /// For a segment whose file is not here.
    far: Option<Far>,
}

/// What is at hand of a segment whose file is not here.
#[derive(Clone, Debug)]
pub struct Far {
    /// Where the rest is.
    pub place: Place,
    /// What is at hand.
    pub ranges: Ranges,
}

/// Ranges as the engine reads them.
struct Sparse(Ranges);

impl Source for Sparse {
    fn len(&self) -> u64 {
        self.0.file_bytes()
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        self.0.get(offset, len)
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("id", &self.id).field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// A hit of one leaf on its way to the merge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Internal distance: smaller is nearer.
    pub distance: f32,
    /// The point's id.
    pub id: PointId,
    /// Which leaf, by its place in the request's list.
    pub leaf: usize,
    /// Row in that leaf.
    pub ordinal: u32,
}

/// Which parts of a record to read.
#[derive(Clone, Copy, Debug)]
pub struct Selectors<'a> {
    /// Payload.
    pub payload: &'a PayloadSelector,
    /// Vectors.
    pub vector: &'a VectorSelector,
}

impl Leaf {
    /// Opens a segment's bytes and checks that they are what the manifest and the schema say.
    fn open(bytes: Cached, shard: u32, entry: &SegmentEntry, schema: &CollectionSchema) -> Result<Self> {
        let address = bytes.as_ref().as_ptr().addr();
        Self::checked(Arc::new(bytes), (address, None), (shard, entry), schema)
    }

    /// The same from a head.
    fn open_far(opened: ranges::Opened, shard: u32, entry: &SegmentEntry, schema: &CollectionSchema) -> Result<Self> {
        let ranges::Opened { ranges, place, .. } = opened;
        let source = Arc::new(Sparse(ranges.clone()));
        Self::checked(source, (0, Some(Far { place, ranges })), (shard, entry), schema)
    }

    fn checked(
        source: Arc<dyn Source>,
        (address, far): (usize, Option<Far>),
        (shard, entry): (u32, &SegmentEntry),
        schema: &CollectionSchema,
    ) -> Result<Self> {
        let wrong = |error| Error::segment(&entry.id, error);
        let segment = match Segment::open(source) {
            // A head has all that opening takes: one that lacks some of it was not made by us.
            Err(engine::Error::Absent(_)) => Err(engine::Error::corrupt("head", 0, "its bundle has not all of it")),
            opened => opened,
        };
        let segment = segment.map_err(wrong)?;
        let contradiction = if let Some(why) = segment.contradicts(schema, entry.edition) {
            Some(why)
        } else if u64::from(segment.len()) != entry.points {
            Some(format!("{} points, the manifest says {}", segment.len(), entry.points))
        } else {
            None
        };
        if let Some(why) = contradiction {
            return Err(wrong(engine::Error::corrupt("head", 0, why)));
        }
        let (id, edition) = (entry.id.clone(), entry.edition);
        Ok(Self { id, shard, bytes: entry.bytes, edition, address, segment, far })
    }

    /// The segment's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes of the segment's file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is at hand, of a segment whose file is not here.
    #[must_use]
    pub fn far(&self) -> Option<&Far> {
        self.far.as_ref()
    }

    /// Whether the segment's file is not here.
    #[must_use]
    pub fn is_far(&self) -> bool {
        self.far.is_some()
    }

    /// The same segment with other bytes at hand.
    #[must_use]
    pub fn over(&self, ranges: Ranges) -> Self {
        let far = self.far.as_ref().map(|far| Far { place: far.place.clone(), ranges: ranges.clone() });
        Self { id: self.id.clone(), segment: self.segment.over(Arc::new(Sparse(ranges))), far, ..*self }
    }

    /// The same segment in which these rows count no more.
    #[must_use]
    pub fn without(&self, rows: Arc<RoaringBitmap>) -> Self {
        Self { id: self.id.clone(), segment: self.segment.without(rows), far: self.far.clone(), ..*self }
    }

    /// The same segment with those of its vectors that a schema shows.
    #[must_use]
    pub fn showing(&self, schema: &CollectionSchema) -> Self {
        let segment = self.segment.showing(schema, self.edition);
        Self { id: self.id.clone(), segment, far: self.far.clone(), ..*self }
    }

    /// The rows of those of these points that are here, whether they count or not.
    ///
    /// # Errors
    /// When the segment is corrupt.
    pub fn ordinals_of(&self, ids: &mut dyn Iterator<Item = PointId>) -> Result<RoaringBitmap> {
        self.segment.ordinals_of(ids).map_err(|error| self.wrong(error))
    }

    /// The shard that the segment belongs to.
    #[must_use]
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// Whether searches of this vector would use the segment's hot copy: it is one of the first vector alone.
    #[must_use]
    pub fn expands(&self, using: &str) -> bool {
        !self.is_far() && self.segment.vector_name() == Some(using) && self.segment.shows(using)
    }

    fn wrong(&self, error: engine::Error) -> Error {
        Error::segment(&self.id, error)
    }

    /// For each query the nearest points, nearest first; `at` is this leaf's place in the request's list, `hot` its hot copy, `along` what
    /// will be shown of the hits.
    ///
    /// # Errors
    /// As `Segment::search_batch`, or `Segment::search_ranges`.
    pub fn search(
        &self,
        at: usize,
        queries: &[VectorQuery],
        (hot, along): (Option<&<Self as Expand>::Hot>, Along),
        watch: &dyn Watch,
    ) -> Result<Vec<(Vec<Candidate>, Strategy, Usage)>> {
        if self.is_far() {
            let one = |query: &VectorQuery| {
                let found = self.segment.search_ranges(query, along, watch).map_err(|error| self.wrong(error))?;
                self.candidates(at, found)
            };
            return gather(queries.iter().map(one).collect());
        }
        let found = self.segment.search_batch(queries, hot, watch).map_err(|error| self.wrong(error))?;
        found.into_iter().map(|found| self.candidates(at, found)).collect()
    }

    fn candidates(&self, at: usize, found: Found) -> Result<(Vec<Candidate>, Strategy, Usage)> {
        let candidate = |hit: engine::segment::Hit| {
            let id = self.segment.id(hit.ordinal).map_err(|error| self.wrong(error))?;
            // Infinities of huge elements can cancel out to NaN, which has no place in an order: as far as can be.
            let distance = if hit.distance.is_nan() { f32::INFINITY } else { hit.distance };
            Ok(Candidate { distance, id, leaf: at, ordinal: hit.ordinal })
        };
        let candidates = found.hits.into_iter().map(candidate).collect::<Result<_>>()?;
        Ok((candidates, found.strategy, found.usage))
    }

    /// The row of a point, if it is here and counts.
    ///
    /// # Errors
    /// When the segment is corrupt.
    pub fn find(&self, id: PointId) -> Result<Option<u32>> {
        self.segment.ordinal(id).map_err(|error| self.wrong(error))
    }

    /// The stored vectors of a row that are selected, as far as it has them.
    ///
    /// # Errors
    /// When the segment is corrupt.
    pub fn vectors(&self, ordinal: u32, selector: &VectorSelector) -> Result<Vectors> {
        self.segment.vectors(ordinal, &|name| selector.shows(name)).map_err(|error| self.wrong(error))
    }

    /// How many points match and count.
    ///
    /// # Errors
    /// As `Segment::count`.
    pub fn count(&self, filter: Option<&Filter>, watch: &dyn Watch) -> Result<u64> {
        self.segment.count(filter, watch).map_err(|error| self.wrong(error))
    }

    /// The first `limit` matching points with ids at or above `from`, by id.
    ///
    /// # Errors
    /// As `Segment::scroll`.
    pub fn scroll(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<(PointId, u32)>> {
        self.segment.scroll(from, filter, limit, watch).map_err(|error| self.wrong(error))
    }

    /// The first `limit` matching points in an order of their values.
    ///
    /// # Errors
    /// As `Segment::ordered`.
    pub fn ordered(
        &self,
        order: &Order,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<Ordered>> {
        self.segment.ordered(order, filter, limit, watch).map_err(|error| self.wrong(error))
    }

    /// How many of the matching points have each value.
    ///
    /// # Errors
    /// As `Segment::facet`.
    pub fn facet(&self, key: &Path, filter: Option<&Filter>, watch: &dyn Watch) -> Result<BTreeMap<Scalar, u64>> {
        self.segment.facet(key, filter, watch).map_err(|error| self.wrong(error))
    }

    /// The selected parts of a row.
    ///
    /// # Errors
    /// When the segment is corrupt.
    pub fn record(&self, id: PointId, ordinal: u32, select: Selectors<'_>) -> Result<Record> {
        let payload = match select.payload {
            PayloadSelector::None => None,
            selector => {
                let text = self.segment.payload(ordinal).map_err(|error| self.wrong(error))?;
                let not_json = |error: serde_json::Error| engine::Error::corrupt("payload", 0, error.to_string());
                selector.apply(text).map_err(|error| self.wrong(not_json(error)))?
            }
        };
        let vectors = match select.vector {
            VectorSelector::None => None,
            selector => Some(self.vectors(ordinal, selector)?),
        };
        Ok(Record { id, payload, vectors })
    }
}

impl Expand for Leaf {
    type Hot = Hot;

    fn hot_bytes(&self) -> u64 {
        self.segment.hot_bytes_max()
    }

    fn expand(&self, pool: &rayon::ThreadPool, stop: &Stop, grant: Grant<'_>) -> Result<Option<Hot>> {
        let memory = |bytes: usize| -> Option<Box<dyn Memory>> {
            if !grant(bytes as u64) {
                return None;
            }
            let pages = HugePages::new(bytes);
            let pages = pages.inspect_err(|error| tracing::warn!(segment = self.id, %error, "no memory to expand it"));
            Some(Box::new(pages.ok()?))
        };
        self.segment.expand(memory, pool, stop).map_err(|error| self.wrong(error))
    }
}

/// The open segments of this process.
///
/// The cache is asked for a segment's bytes by every request, because that is what its notion of "recently used" lives
/// on. What is kept here is what opening made of the bytes, above all the pools of the search. It is kept while the cache
/// has the same bytes, which says when it gives them up ([`cairn_storage::Cache::on_eviction`]), and bounded by the cache's own budget, so that a
/// file that was evicted does not stay on disk because a leaf nobody asks for still has it mapped.
#[derive(Debug)]
pub struct Leaves {
    bytes_max: u64,
    far_bytes_max: u64,
    heat: Arc<Heat<Leaf>>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    leaves: HashMap<String, (Arc<Leaf>, u64)>,
    /// Of segments whose files are not here, with their last use.
    far: HashMap<String, (Arc<Leaf>, u64)>,
    /// Bytes that those hold.
    far_bytes: u64,
    bytes: u64,
    clock: u64,
}

impl Leaf {
    /// Bytes of its segment that it holds itself, when the segment's file is not here.
    fn far_bytes(&self) -> u64 {
        self.far.as_ref().map_or(0, |far| far.ranges.bytes())
    }
}

impl Open {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Closes far leaves, the least recently used first, until they hold no more than so many bytes.
    fn shrink_far(&mut self, bytes_max: u64) -> Vec<Arc<Leaf>> {
        let mut closed = Vec::new();
        while self.far_bytes > bytes_max {
            let oldest = self.far.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| id.clone());
            let Some(leaf) = oldest.and_then(|id| self.close_far(&id)) else { break };
            closed.push(leaf);
        }
        closed
    }

    fn close_far(&mut self, id: &str) -> Option<Arc<Leaf>> {
        let (leaf, _) = self.far.remove(id)?;
        self.far_bytes -= leaf.far_bytes();
        Some(leaf)
    }
}

/// A leaf, and whether its bytes were here already.
#[derive(Debug)]
pub struct Near {
    /// The leaf.
    pub leaf: Arc<Leaf>,
    /// Whether nothing had to be fetched.
    pub hit: bool,
}

impl Leaves {
    /// None open; at most `bytes_max` bytes of segments later, and far ones that hold at most `far_bytes_max` bytes, as a rule those
    /// that the cache of heads holds as well. What is closed leaves nothing in `heat`.
    #[must_use]
    pub fn new(bytes_max: u64, far_bytes_max: u64, heat: Arc<Heat<Leaf>>) -> Self {
        Self { bytes_max, far_bytes_max, heat, open: Mutex::default() }
    }

    /// Bytes of the memory that searches use again and again and that none uses at this moment.
    #[must_use]
    pub fn idle_bytes(&self) -> u64 {
        self.all().iter().map(|leaf| leaf.segment.idle_bytes() as u64).sum()
    }

    /// Gives that memory back: how many bytes that was.
    pub fn shrink(&self) -> u64 {
        self.all().iter().map(|leaf| leaf.segment.shrink() as u64).sum()
    }

    /// Closes far leaves until they hold no more than so many bytes.
    pub fn shrink_far(&self, bytes_max: u64) {
        let closed = self.lock().shrink_far(bytes_max);
        drop(closed);
    }

    fn all(&self) -> Vec<Arc<Leaf>> {
        let open = self.lock();
        open.leaves.values().chain(open.far.values()).map(|(leaf, _)| Arc::clone(leaf)).collect()
    }

    /// The leaf of a manifest's entry, from bytes that the cache gave. The first time it is opened on a search thread:
    /// mapped pages are read from disk.
    ///
    /// # Errors
    /// When the segment is not what the manifest says.
    pub async fn leaf(
        &self,
        workers: &Workers,
        bytes: Cached,
        (shard, entry): (u32, &SegmentEntry),
        schema: &CollectionSchema,
    ) -> Result<Near> {
        let (hit, address) = (bytes.hit, bytes.as_ref().as_ptr().addr());
        if let Some(leaf) = self.get(&entry.id).filter(|leaf| leaf.address == address) {
            return Ok(Near { leaf, hit });
        }
        let (entry, schema) = (entry.clone(), schema.clone());
        let kept = bytes.clone();
        let leaf = Arc::new(workers.run(move |_| Leaf::open(bytes, shard, &entry, &schema)).await?);
        if kept.is_kept() {
            self.insert(Arc::clone(&leaf));
            // Given up between the two, it was not there to be closed.
            if !kept.is_kept() {
                self.close(&leaf.id);
            }
        }
        Ok(Near { leaf, hit })
    }

    /// The leaf of a segment whose file is not here. What opening its head made is kept while the head is.
    ///
    /// # Errors
    /// When the head is not what the manifest says.
    pub async fn far(
        &self,
        workers: &Workers,
        opened: ranges::Opened,
        (shard, entry): (u32, &SegmentEntry),
        schema: &CollectionSchema,
    ) -> Result<Arc<Leaf>> {
        let known = if opened.hit { self.known_far(&entry.id) } else { None };
        if let Some(leaf) = known {
            return Ok(Arc::new(leaf.over(opened.ranges)));
        }
        let (id, schema) = (entry.clone(), schema.clone());
        let leaf = Arc::new(workers.run(move |_| Leaf::open_far(opened, shard, &id, &schema)).await?);
        let mut open = self.lock();
        open.close_far(&entry.id);
        let now = open.tick();
        open.far_bytes += leaf.far_bytes();
        open.far.insert(entry.id.clone(), (Arc::clone(&leaf), now));
        let closed = open.shrink_far(self.far_bytes_max);
        drop(open);
        drop(closed);
        Ok(leaf)
    }

    fn known_far(&self, id: &str) -> Option<Arc<Leaf>> {
        let mut open = self.lock();
        let now = open.tick();
        let (leaf, used) = open.far.get_mut(id)?;
        *used = now;
        Some(Arc::clone(leaf))
    }

    /// Closes the leaf of a segment whose file is here no more.
    pub fn close(&self, id: &str) {
        let mut open = self.lock();
        let closed = open.leaves.remove(id);
        open.bytes -= closed.as_ref().map_or(0, |(leaf, _)| leaf.bytes);
        drop(open);
        if closed.is_some() {
            self.heat.forget(id);
        }
    }

    /// Closes segments that no snapshot names any more.
    pub fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut open = self.lock();
        let mut closed = Vec::new();
        for id in ids {
            open.close_far(id);
            if let Some((leaf, _)) = open.leaves.remove(id) {
                open.bytes -= leaf.bytes;
                closed.push(leaf);
            }
        }
        drop(open);
        closed.iter().for_each(|leaf| self.heat.forget(&leaf.id));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<Arc<Leaf>> {
        let mut open = self.lock();
        let now = open.tick();
        let (leaf, used) = open.leaves.get_mut(id)?;
        *used = now;
        Some(Arc::clone(leaf))
    }

    fn insert(&self, leaf: Arc<Leaf>) {
        let mut open = self.lock();
        let now = open.tick();
        open.bytes += leaf.bytes;
        let mut closed = Vec::new();
        if let Some((before, _)) = open.leaves.insert(leaf.id.clone(), (leaf, now)) {
            open.bytes -= before.bytes;
            // The same segment from other bytes: its hot copy may belong to a mapping that is gone.
            closed.push(before);
        }
        while open.bytes > self.bytes_max {
            let oldest = open.leaves.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| id.clone());
            let Some((leaf, _)) = oldest.and_then(|id| open.leaves.remove(&id)) else { break };
            open.bytes -= leaf.bytes;
            closed.push(leaf);
        }
        drop(open);
        closed.iter().for_each(|leaf| self.heat.forget(&leaf.id));
    }
}
