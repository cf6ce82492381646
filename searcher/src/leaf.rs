//! One open segment, and the set of those that are open: cached bytes in, hits and records out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cairn_engine::{
    self as engine, Watch,
    hot::{Hot, Memory},
    segment::{Segment, Strategy},
};
use cairn_model::{CollectionSchema, Filter, PointId, Usage, VectorQuery};
use cairn_storage::{Cached, SegmentEntry, cache::HugePages};

use crate::{
    error::{Error, Result},
    heat::{Expand, Grant, Heat},
    request::{NamedVector, Record},
    select::{PayloadSelector, VectorSelector},
    workers::{Stop, Workers},
};

/// A segment that can be searched.
pub struct Leaf {
    id: String,
    shard: u32,
    bytes: u64,
    /// Where its bytes begin: tells them from a later mapping of the same segment.
    address: usize,
    vector_name: Arc<str>,
    segment: Segment,
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
        let wrong = |error| Error::segment(&entry.id, error);
        let address = bytes.as_ref().as_ptr().addr();
        let segment = Segment::open(Arc::new(bytes)).map_err(wrong)?;
        let (name, params) = schema.vector().map_err(|error| Error::Invalid(error.to_string()))?;
        let found = segment.params();
        let contradiction = if (found.size, found.distance) != (params.size, params.distance) {
            let (found, wanted) = ((found.size, found.distance), (params.size, params.distance));
            Some(format!("vectors are {found:?}, the collection's are {wanted:?}"))
        } else if u64::from(segment.len()) != entry.points {
            Some(format!("{} points, the manifest says {}", segment.len(), entry.points))
        } else {
            None
        };
        if let Some(why) = contradiction {
            return Err(wrong(engine::Error::corrupt("head", 0, why)));
        }
        Ok(Self { id: entry.id.clone(), shard, bytes: entry.bytes, address, vector_name: name.into(), segment })
    }

    /// The segment's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The shard that the segment belongs to.
    #[must_use]
    pub fn shard(&self) -> u32 {
        self.shard
    }

    fn wrong(&self, error: engine::Error) -> Error {
        Error::segment(&self.id, error)
    }

    /// The nearest points, nearest first; `at` is this leaf's place in the request's list, `hot` its hot copy.
    ///
    /// # Errors
    /// As `Segment::search`.
    pub fn search(
        &self,
        at: usize,
        query: &VectorQuery,
        hot: Option<&<Self as Expand>::Hot>,
        watch: &dyn Watch,
    ) -> Result<(Vec<Candidate>, Strategy, Usage)> {
        let found = match hot {
            Some(hot) => self.segment.search_hot(hot, query, watch),
            None => self.segment.search(query, watch),
        };
        let found = found.map_err(|error| self.wrong(error))?;
        let candidate = |hit: engine::segment::Hit| {
            let id = self.segment.id(hit.ordinal).map_err(|error| self.wrong(error))?;
            // Infinities of huge elements can cancel out to NaN, which has no place in an order: as far as can be.
            let distance = if hit.distance.is_nan() { f32::INFINITY } else { hit.distance };
            Ok(Candidate { distance, id, leaf: at, ordinal: hit.ordinal })
        };
        let candidates = found.hits.into_iter().map(candidate).collect::<Result<_>>()?;
        Ok((candidates, found.strategy, found.usage))
    }

    /// The row of a point, if it is here.
    ///
    /// # Errors
    /// When the segment is corrupt.
    pub fn find(&self, id: PointId) -> Result<Option<u32>> {
        self.segment.ordinal(id).map_err(|error| self.wrong(error))
    }

    /// The stored vector of a row.
    ///
    /// # Errors
    /// When the segment is corrupt.
    pub fn vector(&self, ordinal: u32) -> Result<Vec<f32>> {
        self.segment.vector(ordinal).map_err(|error| self.wrong(error))
    }

    /// How many points match.
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
        let shown = match select.vector {
            VectorSelector::None => false,
            VectorSelector::All => true,
            VectorSelector::Names(names) => names.iter().any(|name| **name == *self.vector_name),
        };
        let vector = if shown {
            Some(NamedVector { name: Arc::clone(&self.vector_name), values: self.vector(ordinal)? })
        } else {
            None
        };
        Ok(Record { id, payload, vector })
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
/// has the same bytes, and bounded by the cache's own budget, so that a file that was evicted does not stay on disk
/// because a leaf nobody asks for still has it mapped.
#[derive(Debug)]
pub struct Leaves {
    bytes_max: u64,
    heat: Arc<Heat<Leaf>>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    leaves: HashMap<String, (Arc<Leaf>, u64)>,
    bytes: u64,
    clock: u64,
}

/// A leaf, and whether its bytes were here already.
#[derive(Debug)]
pub struct Opened {
    /// The leaf.
    pub leaf: Arc<Leaf>,
    /// Whether nothing had to be fetched.
    pub hit: bool,
}

impl Leaves {
    /// None open; at most `bytes_max` bytes of segments later. What is closed leaves nothing in `heat`.
    #[must_use]
    pub fn new(bytes_max: u64, heat: Arc<Heat<Leaf>>) -> Self {
        Self { bytes_max, heat, open: Mutex::default() }
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
    ) -> Result<Opened> {
        let (hit, address) = (bytes.hit, bytes.as_ref().as_ptr().addr());
        if let Some(leaf) = self.get(&entry.id).filter(|leaf| leaf.address == address) {
            return Ok(Opened { leaf, hit });
        }
        let (entry, schema) = (entry.clone(), schema.clone());
        let leaf = Arc::new(workers.run(move |_| Leaf::open(bytes, shard, &entry, &schema)).await?);
        self.insert(Arc::clone(&leaf));
        Ok(Opened { leaf, hit })
    }

    /// Closes segments that no snapshot names any more.
    pub fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut open = self.lock();
        let mut closed = Vec::new();
        for id in ids {
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
        open.clock += 1;
        let now = open.clock;
        let (leaf, used) = open.leaves.get_mut(id)?;
        *used = now;
        Some(Arc::clone(leaf))
    }

    fn insert(&self, leaf: Arc<Leaf>) {
        let mut open = self.lock();
        open.clock += 1;
        let now = open.clock;
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
