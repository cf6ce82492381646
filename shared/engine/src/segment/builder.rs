//! Collects points, orders them, builds codes, graph and indexes, and writes the file.

use std::io::Write;

use cairn_model::{Datatype, Distance, Payload, PointId, VectorParams, limits};
use rayon::{ThreadPool, prelude::*};

use super::{
    calibration::{Measured, Parts},
    clusters::{self, ClustersView},
    head::{CodecKind, Head},
    layout::{SectionKind, VERSION},
    ranking::Ranking,
    vectors::Vectors,
    writer::Writer,
};
use crate::{
    Error, Phase, Result, Watch,
    cluster::{self, Clusters, Rows},
    codec::{Codec, Heads, HighRecords, Scratch},
    graph::{self, Clustered, Coded, Effort, Links, Pairs},
    payload::{fields::FieldsWriter, ids, ordinal_ids, rows::RowsWriter},
};

/// From so many points on, the graph is built from clusters. Below, insertion takes a fraction of a second.
///
/// Not under Dot where lengths vary: clusters are made by L2, which is no guide to the largest inner products then. On MNIST under Dot, recall@10
/// at ef 64 is .954 from clusters, .970 by insertion, with a quarter fewer distances.
const CLUSTERED_POINTS_MIN: usize = 1_024;
/// Rows encoded by one task.
const ENCODE_CHUNK: usize = 256;
/// Rows whose records are in memory at a time.
const ENCODE_ROWS: usize = 32 * ENCODE_CHUNK;

/// Collects points, then writes one segment.
#[derive(Debug)]
pub struct Builder {
    name: String,
    params: VectorParams,
    seed: u64,
    ids: Vec<PointId>,
    vectors: Vectors,
    payloads: String,
    /// End of each payload in `payloads`; equal to the one before for a point without payload.
    payload_ends: Vec<usize>,
}

/// All points' codes, in ordinal order.
struct Codes {
    codec: Codec,
    /// What the records have beside their codes.
    heads: Vec<Heads>,
    /// Both planes, to build the graph on. Whole records are in memory only a few at a time.
    coded: Coded,
    /// The clusters' centroids likewise.
    centroids: Coded,
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Points in the segment.
    pub points: u64,
    /// Bytes written.
    pub bytes: u64,
    /// xxh3-64 of all bytes written.
    pub checksum: u64,
}

/// Why no segment was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The points, or a cancellation.
    #[error(transparent)]
    Build(#[from] Error),
    /// The sink.
    #[error("cannot write the segment: {0}")]
    Sink(#[from] std::io::Error),
}

impl Builder {
    /// An empty builder for vectors of `params`, under the vector's name. The same points, seed and a pool of one
    /// thread give the same file.
    #[must_use]
    pub fn new(name: &str, params: VectorParams, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            params,
            seed,
            ids: Vec::new(),
            vectors: Vectors::new(params),
            payloads: String::new(),
            payload_ends: Vec::new(),
        }
    }

    /// Adds a point. Cosine vectors are normalised (but for `uint8`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a wrong dimension, NaN or infinity, a value that does not fit the datatype, or a
    /// payload over its limit; nothing is added then. A repeated id is found by [`Builder::write`].
    pub fn push(&mut self, id: PointId, vector: &[f32], payload: Option<&Payload>) -> Result<()> {
        let json = match payload {
            Some(payload) if !payload.is_empty() => {
                serde_json::to_string(payload).map_err(|error| Error::invalid("payload", error.to_string()))?
            }
            _ => String::new(),
        };
        self.add(id, &json, |vectors| vectors.push(vector))
    }

    fn add(&mut self, id: PointId, json: &str, push: impl FnOnce(&mut Vectors) -> Result<()>) -> Result<()> {
        if self.ids.len() >= limits::SEGMENT_POINTS_MAX {
            return Err(Error::invalid("points", "too many for one segment"));
        }
        if json.len() > limits::PAYLOAD_BYTES_MAX {
            let why = format!("{} bytes of JSON, at most {} are allowed", json.len(), limits::PAYLOAD_BYTES_MAX);
            return Err(Error::invalid("payload", why));
        }
        push(&mut self.vectors)?;
        self.ids.push(id);
        self.payloads.push_str(json);
        self.payload_ends.push(self.payloads.len());
        Ok(())
    }

    /// Adds a point as [`super::Segment::vector`] and [`super::Segment::payload`] or a [`crate::fresh::Put`] give it back: the vector goes in as it is, not
    /// normalised a second time, and the payload as text, which is not read.
    ///
    /// # Errors
    /// As [`Builder::push`].
    pub fn push_stored(&mut self, id: PointId, vectors: &cairn_model::Vectors, payload: &str) -> Result<()> {
        let Some(cairn_model::Vector::Dense(vector)) = vectors.get(&self.name) else {
            return Err(Error::invalid("vector", "a point without it"));
        };
        self.add(id, if payload == "{}" { "" } else { payload }, |vectors| vectors.push_stored(vector))
    }

    /// An empty builder for points of a collection.
    #[must_use]
    pub fn of(schema: &cairn_model::CollectionSchema, seed: u64) -> Self {
        let first = schema.vectors.first_key_value();
        first.map_or_else(
            || Self::new("", VectorParams::new(1, Distance::Dot), seed),
            |(name, params)| Self::new(name, *params, seed),
        )
    }

    /// Points so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Memory that the points so far hold, in bytes, without what vectors reserve ahead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.vectors.bytes().len() + self.payloads.len() + self.ids.len() * (size_of::<PointId>() + size_of::<usize>())
    }

    /// Builds on `pool` and writes the segment.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are no points or an id occurs twice, [`Error::Cancelled`], or the sink's own.
    pub fn write(
        mut self,
        pool: &ThreadPool,
        watch: &dyn Watch,
        out: &mut (dyn Write + Send),
    ) -> std::result::Result<Built, WriteError> {
        if self.ids.is_empty() {
            return Err(Error::invalid("points", "a segment needs at least one").into());
        }
        // Fails on a repeated id before anything costly is done.
        ids::write(&self.ids)?;
        let clusters = cluster::partition(&self.vectors, self.seed, pool, watch)?;
        self.reorder(&clusters.order);
        let mut writer = Writer::new(out)?;
        let spreads = clusters::spreads(&clusters, &self.vectors, pool);
        let clusters_bytes = clusters::encode(&clusters, self.vectors.dim(), &spreads);
        let (head, codes) = self.write_codes(&clusters, pool, watch, &mut writer)?;
        let hnsw = match &codes {
            Some(Codes { coded, centroids, .. }) if coded.len() >= CLUSTERED_POINTS_MIN && self.near_is_near() => {
                let clustered = Clustered { coded, starts: &clusters.starts, centroids };
                let effort = Effort::of(self.params.preset);
                graph::build_clustered(clustered, &self.params.hnsw, effort, self.seed, pool, watch)?
            }
            Some(Codes { coded, .. }) => graph::build(coded, &self.params.hnsw, self.seed, pool, watch)?,
            None => {
                self.vectors.lift();
                graph::build(&self.vectors, &self.params.hnsw, self.seed, pool, watch)?
            }
        };
        let mut links = Vec::new();
        pool.install(|| hnsw.write(&mut links));
        drop(hnsw);
        writer.section(SectionKind::Links, &links)?;
        let mut measured = None;
        if let Some(Codes { codec, coded, heads, .. }) = codes {
            let high = high_plane(&codec, coded, &heads);
            let points = u32::try_from(self.len()).map_err(|_| Error::invalid("points", "too many"))?;
            let view = ClustersView::open(&clusters_bytes, VERSION, head.clusters, self.vectors.dim(), points)?;
            let ranking = Ranking::new(&view, self.params.distance, self.vectors.dim());
            let ranking = ranking.as_ref();
            let (high, links) = (HighRecords::new(&high, codec.high_bytes()), Links::open(&links, points)?);
            let parts = Parts { vectors: &self.vectors, codec: &codec, high, links, ranking };
            measured = Some(Measured::new(&parts, self.seed, pool, watch)?);
        }
        drop(links);
        watch.progress(Phase::Write, 0, 1);
        if self.params.originals {
            writer.section(SectionKind::Vectors, self.vectors.bytes())?;
        }
        writer.section(SectionKind::Ids, &ids::write(&self.ids)?)?;
        if let Some(ids) = ordinal_ids::write(&self.ids) {
            writer.section(SectionKind::OrdinalIds, &ids)?;
        }
        self.write_payload(&clusters, watch, &mut writer)?;
        if let Some(Measured { calibration, filtered, reading }) = measured {
            writer.section(SectionKind::Reading, &reading.encode())?;
            writer.section(SectionKind::Filters, &filtered.encode())?;
            writer.section(SectionKind::Calibration, &calibration.encode())?;
        }
        writer.section(SectionKind::Clusters, &clusters_bytes)?;
        writer.section(SectionKind::Head, &head.encode())?;
        let points = u32::try_from(self.ids.len()).map_err(|_| Error::invalid("points", "too many"))?;
        let (bytes, checksum) = writer.finish(points)?;
        watch.progress(Phase::Write, 1, 1);
        Ok(Built { points: u64::from(points), bytes, checksum })
    }

    /// Whether points that are near by L2 are near by the collection's distance.
    fn near_is_near(&self) -> bool {
        self.params.distance != Distance::Dot || self.vectors.lengths_are_alike()
    }

    /// Puts ids, vectors and payloads in cluster order.
    fn reorder(&mut self, order: &[u32]) {
        self.vectors.permute(order);
        self.ids = order.iter().map(|&row| self.ids[row as usize]).collect();
        let mut payloads = String::with_capacity(self.payloads.len());
        let mut ends = Vec::with_capacity(order.len());
        for &row in order {
            payloads.push_str(self.payload(row as usize));
            ends.push(payloads.len());
        }
        (self.payloads, self.payload_ends) = (payloads, ends);
    }

    fn payload(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.payload_ends[before]);
        &self.payloads[start..self.payload_ends[row]]
    }

    /// Encodes all vectors in parallel and writes both code sections; none for what the codec does not serve.
    fn write_codes(
        &self,
        clusters: &Clusters,
        pool: &ThreadPool,
        watch: &dyn Watch,
        writer: &mut Writer<'_>,
    ) -> std::result::Result<(Head, Option<Codes>), WriteError> {
        let coded = self.params.coded();
        if !coded && !self.params.originals {
            return Err(Error::invalid("originals", "these vectors have no codes to do without originals").into());
        }
        let mut head = Head {
            name: self.name.clone(),
            params: self.params,
            codec: if coded { CodecKind::Nibbles } else { CodecKind::Originals },
            seed: self.seed,
            clusters: u32::try_from(clusters.len()).unwrap_or(u32::MAX),
            centre: vec![0.0; self.vectors.dim()],
        };
        if !coded {
            return Ok((head, None));
        }
        head.centre = centre(clusters, self.vectors.dim());
        let codec = Codec::new(self.params.distance, head.centre.clone(), self.seed)?;
        let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
        let mut coded = Coded::with_room(&codec, self.len());
        let mut heads = Vec::with_capacity(self.len());
        let (mut high, mut low) = (Vec::new(), Vec::new());
        let mut part = writer.begin(SectionKind::CodesHigh);
        for from in (0..self.len()).step_by(ENCODE_ROWS) {
            let count = ENCODE_ROWS.min(self.len() - from);
            high.resize(count * high_bytes, 0);
            low.resize(count * low_bytes, 0);
            self.encode(&codec, from, (&mut high, &mut low), pool, watch)?;
            writer.append(&mut part, &high)?;
            coded.append(&codec, &high, &low, pool);
            let records = high.chunks_exact(high_bytes).zip(low.chunks_exact(low_bytes));
            heads.extend(records.map(|(high, low)| Heads::of(high, low)));
        }
        writer.end(&part)?;
        drop(high);
        coded.finish(&codec);
        let (rows, width) = coded.rows();
        let mut part = writer.begin(SectionKind::CodesLow);
        for (rows, heads) in rows.chunks(ENCODE_ROWS * width).zip(heads.chunks(ENCODE_ROWS)) {
            low.resize(heads.len() * low_bytes, 0);
            for ((row, heads), low) in rows.chunks_exact(width).zip(heads).zip(low.chunks_exact_mut(low_bytes)) {
                codec.split_low(&row[..codec.padded()], heads, low);
            }
            writer.append(&mut part, &low)?;
        }
        writer.end(&part)?;
        let centroids = code_centroids(&codec, &clusters.centroids, pool);
        Ok((head, Some(Codes { codec, heads, coded, centroids })))
    }

    /// Encodes the vectors from row `from` on, as many as `high` and `low` have records.
    fn encode(
        &self,
        codec: &Codec,
        from: usize,
        (high, low): (&mut [u8], &mut [u8]),
        pool: &ThreadPool,
        watch: &dyn Watch,
    ) -> Result<()> {
        let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
        let done = std::sync::atomic::AtomicUsize::new(from);
        pool.install(|| {
            high.par_chunks_mut(high_bytes * ENCODE_CHUNK)
                .zip(low.par_chunks_mut(low_bytes * ENCODE_CHUNK))
                .enumerate()
                .try_for_each(|(chunk, (high, low))| {
                    if watch.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let mut scratch = Scratch::default();
                    let mut vector = vec![0.0; codec.dim()];
                    let records = high.chunks_exact_mut(high_bytes).zip(low.chunks_exact_mut(low_bytes));
                    for (i, (high, low)) in records.enumerate() {
                        let row = u32::try_from(from + chunk * ENCODE_CHUNK + i).unwrap_or(u32::MAX);
                        self.vectors.read(row, &mut vector);
                        codec.encode(&vector, &mut scratch, high, low);
                    }
                    let done = done.fetch_add(ENCODE_CHUNK, std::sync::atomic::Ordering::Relaxed);
                    watch.progress(Phase::Encode, done.min(self.len()) as u64, self.len() as u64);
                    Ok(())
                })
        })
    }

    fn write_payload(
        &self,
        clusters: &Clusters,
        watch: &dyn Watch,
        writer: &mut Writer<'_>,
    ) -> std::result::Result<(), WriteError> {
        let mut rows = RowsWriter::new();
        let mut fields = FieldsWriter::new(&clusters.starts[..clusters.len()]);
        let none = Payload::new();
        for row in 0..self.len() {
            if row % 4_096 == 0 {
                if watch.cancelled() {
                    return Err(Error::Cancelled.into());
                }
                watch.progress(Phase::Payload, row as u64, self.len() as u64);
            }
            let ordinal = u32::try_from(row).unwrap_or(u32::MAX);
            match self.payload(row) {
                "" => {
                    rows.push("{}")?;
                    fields.push(ordinal, &none);
                }
                json => {
                    rows.push(json)?;
                    let payload = serde_json::from_str(json)
                        .map_err(|error| Error::invalid("payload", format!("row {row}: {error}")))?;
                    fields.push(ordinal, &payload);
                }
            }
        }
        writer.section(SectionKind::Rows, &rows.finish())?;
        writer.section(SectionKind::Fields, &fields.finish())?;
        Ok(())
    }
}

/// The high records of all points, in the memory of their rows: a record is never longer than a row.
fn high_plane(codec: &Codec, coded: Coded, heads: &[Heads]) -> Vec<u8> {
    let (mut rows, width) = coded.into_rows();
    let bytes = codec.high_bytes();
    let mut codes = vec![0; codec.padded()];
    for (i, heads) in heads.iter().enumerate() {
        codes.copy_from_slice(&rows[i * width..][..codec.padded()]);
        codec.split_high(&codes, heads, &mut rows[i * bytes..][..bytes]);
    }
    rows.truncate(heads.len() * bytes);
    rows.shrink_to_fit();
    rows
}

/// The centroids as codes, to be compared with points.
fn code_centroids(codec: &Codec, centroids: &[f32], pool: &ThreadPool) -> Coded {
    let (mut high, mut low) = (Vec::new(), Vec::new());
    let mut scratch = Scratch::default();
    for centroid in centroids.chunks_exact(codec.dim()) {
        let (high_start, low_start) = (high.len(), low.len());
        high.resize(high_start + codec.high_bytes(), 0);
        low.resize(low_start + codec.low_bytes(), 0);
        codec.encode(centroid, &mut scratch, &mut high[high_start..], &mut low[low_start..]);
    }
    Coded::join(codec, &high, &low, pool)
}

/// The mean of all vectors, from the clusters' means and sizes.
fn centre(clusters: &Clusters, dim: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; dim];
    let mut total = 0.0;
    for (window, centroid) in clusters.starts.windows(2).zip(clusters.centroids.chunks_exact(dim)) {
        let weight = f64::from(window[1] - window[0]);
        total += weight;
        sum.iter_mut().zip(centroid).for_each(|(sum, &x)| *sum += weight * f64::from(x));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 values is one")]
    sum.into_iter().map(|sum| (sum / total) as f32).collect()
}

/// Bytes that one point's original vector takes.
pub(super) const fn vector_bytes(params: VectorParams) -> usize {
    params.size as usize
        * match params.datatype {
            Datatype::Float32 => 4,
            Datatype::Float16 => 2,
            Datatype::Uint8 => 1,
        }
}
