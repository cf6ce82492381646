//! One dense vector while a segment is built: its rows are collected, ordered, encoded, linked and written as a group of sections.

use cairn_model::{Distance, VectorParams};
use rayon::{ThreadPool, prelude::*};

use super::{
    builder::WriteError,
    calibration::{Measured, Parts},
    clusters::{self, ClustersView},
    head::{CodecKind, GroupHead, Head},
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
};

/// From so many rows on, the graph is built from clusters. Below, insertion takes a fraction of a second.
///
/// Not under Dot where lengths vary: clusters are made by L2, which is no guide to the largest inner products then. On MNIST under Dot, recall@10
/// at ef 64 is .954 from clusters, .970 by insertion, with a quarter fewer distances.
const CLUSTERED_POINTS_MIN: usize = 1_024;
/// Rows encoded by one task.
const ENCODE_CHUNK: usize = 256;
/// Rows whose records are in memory at a time.
const ENCODE_ROWS: usize = 32 * ENCODE_CHUNK;

/// Where and how a segment is built.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) pool: &'a ThreadPool,
    pub(super) watch: &'a dyn Watch,
    pub(super) seed: u64,
}

/// The vectors of one name: rows, at first in the order in which they were added.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    vectors: Vectors,
    /// Of each row the point, by the order of pushing.
    points: Vec<u32>,
}

/// All rows' codes, in their order.
struct Codes {
    codec: Codec,
    /// What the records have beside their codes.
    heads: Vec<Heads>,
    /// Both planes, to build the graph on. Whole records are in memory only a few at a time.
    coded: Coded,
    /// The clusters' centroids likewise.
    centroids: Coded,
}

/// The small sections of a group, which a file has at its end.
pub(super) type Small = Vec<(SectionKind, Vec<u8>)>;

impl Column {
    pub(super) fn new(name: String, params: VectorParams) -> Self {
        let params = VectorParams { hnsw: params.hnsw.built(), ..params };
        Self { name, vectors: Vectors::new(params), points: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Memory that the rows hold, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.vectors.bytes().len() + size_of_val(self.points.as_slice())
    }

    /// Adds the vector of a point, the latest so far, which was stored before if it comes `again`.
    ///
    /// # Errors
    /// [`Error::Invalid`]; nothing is added then.
    pub(super) fn push(&mut self, point: u32, vector: &[f32], again: bool) -> Result<()> {
        if again {
            self.vectors.push_stored(vector)?
        } else {
            self.vectors.push(vector)?
        }
        self.points.push(point);
        Ok(())
    }

    /// Takes back the vector of a point, if it was the latest.
    pub(super) fn pop(&mut self, point: u32) {
        if self.points.pop_if(|latest| *latest == point).is_some() {
            self.vectors.truncate(self.points.len());
        }
    }

    /// Puts the rows in the order of their clusters.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(super) fn order(&mut self, site: &Site<'_>) -> Result<Clusters> {
        let clusters = cluster::partition(&self.vectors, site.seed, site.pool, site.watch)?;
        self.vectors.permute(&clusters.order);
        self.points = clusters.order.iter().map(|&row| self.points[row as usize]).collect();
        Ok(clusters)
    }

    /// Of each row the point, by the order of pushing.
    pub(super) fn points(&self) -> &[u32] {
        &self.points
    }

    /// Builds codes and graph of the rows, which are in the order of `clusters`, and writes the large sections; what is small is given back.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Cancelled`], or the sink's own.
    pub(super) fn write(
        mut self,
        group: u16,
        clusters: &Clusters,
        site: &Site<'_>,
        writer: &mut Writer<'_>,
    ) -> std::result::Result<Small, WriteError> {
        let params = self.vectors.params();
        let (pool, watch) = (site.pool, site.watch);
        let spreads = clusters::spreads(clusters, &self.vectors, pool);
        let clusters_bytes = clusters::encode(clusters, self.vectors.dim(), &spreads);
        let (head, codes) = self.write_codes(group, clusters, site, writer)?;
        let hnsw = match &codes {
            Some(Codes { coded, centroids, .. }) if coded.len() >= CLUSTERED_POINTS_MIN && self.near_is_near() => {
                let clustered = Clustered { coded, starts: &clusters.starts, centroids };
                graph::build_clustered(clustered, &params.hnsw, Effort::of(params.preset), site.seed, pool, watch)?
            }
            Some(Codes { coded, .. }) => graph::build(coded, &params.hnsw, site.seed, pool, watch)?,
            None => {
                self.vectors.lift();
                graph::build(&self.vectors, &params.hnsw, site.seed, pool, watch)?
            }
        };
        let mut links = Vec::new();
        pool.install(|| hnsw.write(&mut links));
        drop(hnsw);
        writer.section(group, SectionKind::Links, &links)?;
        let mut small = Small::new();
        if let Some(Codes { codec, coded, heads, .. }) = codes {
            let high = high_plane(&codec, coded, &heads);
            let rows = u32::try_from(self.len()).map_err(|_| Error::invalid("points", "too many"))?;
            let view = ClustersView::open(&clusters_bytes, VERSION, head.clusters, self.vectors.dim(), rows)?;
            let ranking = Ranking::new(&view, params.distance, self.vectors.dim());
            let ranking = ranking.as_ref();
            let (high, links) = (HighRecords::new(&high, codec.high_bytes()), Links::open(&links, rows)?);
            let parts = Parts { vectors: &self.vectors, codec: &codec, high, links, ranking };
            let Measured { calibration, filtered, reading } = Measured::new(&parts, site.seed, pool, watch)?;
            small.push((SectionKind::Reading, reading.encode()));
            small.push((SectionKind::Filters, filtered.encode()));
            small.push((SectionKind::Calibration, calibration.encode()));
        }
        drop(links);
        if params.originals {
            writer.section(group, SectionKind::Vectors, self.vectors.bytes())?;
        }
        small.push((SectionKind::Clusters, clusters_bytes));
        small.push((SectionKind::Head, GroupHead::Dense(head).encode()));
        Ok(small)
    }

    /// Whether rows that are near by L2 are near by the collection's distance.
    fn near_is_near(&self) -> bool {
        self.vectors.params().distance != Distance::Dot || self.vectors.lengths_are_alike()
    }

    /// Encodes all vectors in parallel and writes both code sections; none for what the codec does not serve.
    fn write_codes(
        &self,
        group: u16,
        clusters: &Clusters,
        site: &Site<'_>,
        writer: &mut Writer<'_>,
    ) -> std::result::Result<(Head, Option<Codes>), WriteError> {
        let coded = self.vectors.params().coded();
        if !coded && !self.vectors.params().originals {
            return Err(Error::invalid("originals", "these vectors have no codes to do without originals").into());
        }
        let mut head = Head {
            name: self.name.clone(),
            params: self.vectors.params(),
            codec: if coded { CodecKind::Nibbles } else { CodecKind::Originals },
            seed: site.seed,
            clusters: u32::try_from(clusters.len()).unwrap_or(u32::MAX),
            centre: vec![0.0; self.vectors.dim()],
        };
        if !coded {
            return Ok((head, None));
        }
        head.centre = centre(clusters, self.vectors.dim());
        let codec = Codec::new(self.vectors.params().distance, head.centre.clone(), site.seed)?;
        let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
        let mut coded = Coded::with_room(&codec, self.vectors.len());
        let mut heads = Vec::with_capacity(self.vectors.len());
        let (mut high, mut low) = (Vec::new(), Vec::new());
        let mut part = writer.begin(group, SectionKind::CodesHigh);
        for from in (0..self.vectors.len()).step_by(ENCODE_ROWS) {
            let count = ENCODE_ROWS.min(self.vectors.len() - from);
            high.resize(count * high_bytes, 0);
            low.resize(count * low_bytes, 0);
            self.encode(&codec, from, (&mut high, &mut low), site)?;
            writer.append(&mut part, &high)?;
            coded.append(&codec, &high, &low, site.pool);
            let records = high.chunks_exact(high_bytes).zip(low.chunks_exact(low_bytes));
            heads.extend(records.map(|(high, low)| Heads::of(high, low)));
        }
        writer.end(&part)?;
        drop(high);
        coded.finish(&codec);
        let (rows, width) = coded.rows();
        let mut part = writer.begin(group, SectionKind::CodesLow);
        for (rows, heads) in rows.chunks(ENCODE_ROWS * width).zip(heads.chunks(ENCODE_ROWS)) {
            low.resize(heads.len() * low_bytes, 0);
            for ((row, heads), low) in rows.chunks_exact(width).zip(heads).zip(low.chunks_exact_mut(low_bytes)) {
                codec.split_low(&row[..codec.padded()], heads, low);
            }
            writer.append(&mut part, &low)?;
        }
        writer.end(&part)?;
        let centroids = code_centroids(&codec, &clusters.centroids, site.pool);
        Ok((head, Some(Codes { codec, heads, coded, centroids })))
    }

    /// Encodes the vectors from row `from` on, as many as `high` and `low` have records.
    fn encode(&self, codec: &Codec, from: usize, (high, low): (&mut [u8], &mut [u8]), site: &Site<'_>) -> Result<()> {
        let (high_bytes, low_bytes) = (codec.high_bytes(), codec.low_bytes());
        let done = std::sync::atomic::AtomicUsize::new(from);
        site.pool.install(|| {
            high.par_chunks_mut(high_bytes * ENCODE_CHUNK)
                .zip(low.par_chunks_mut(low_bytes * ENCODE_CHUNK))
                .enumerate()
                .try_for_each(|(chunk, (high, low))| {
                    if site.watch.cancelled() {
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
                    site.watch.progress(Phase::Encode, done.min(self.vectors.len()) as u64, self.vectors.len() as u64);
                    Ok(())
                })
        })
    }
}

/// The high records of all rows, in the memory of their rows: a record is never longer than a row.
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
