//! What is measured: vectors from a file, and the segment that is built of them.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use cairn_engine::{
    Unwatched,
    hot::{Hot, Memory},
    segment::{self, Builder, Segment},
};
use cairn_indexer::{
    Progress as _, Stage,
    source::{self, Batch, Files},
};
use cairn_model::{CollectionSchema, HnswConfig, Payload, PointId, VectorParams};
use cairn_storage::cache::{HugePages, MappedFile};

use super::{Args, peak::Peak};
use crate::progress::Progress;

/// The first vectors of one file.
pub(super) struct Matrix {
    pub(super) dim: usize,
    values: Vec<f32>,
}

impl Matrix {
    pub(super) fn read(input: &Path, rows_max: usize) -> anyhow::Result<Self> {
        let mut source = source::open(&Files { input, ids: None, payload: None })?;
        let mut matrix = Self { dim: source.layout().dim, values: Vec::new() };
        let mut batch = Batch::default();
        while matrix.rows() < rows_max && source.next(&mut batch)? {
            matrix.values.extend_from_slice(&batch.vectors);
        }
        matrix.values.truncate(rows_max.saturating_mul(matrix.dim));
        Ok(matrix)
    }

    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }
}

/// A segment, and what building it took.
pub(super) struct Built {
    pub(super) segment: Segment,
    /// Its file, and what was written there.
    pub(super) path: PathBuf,
    pub(super) written: segment::Built,
    /// Seconds without those that reading the source took.
    pub(super) seconds: f64,
    pub(super) threads: u32,
    /// Most memory that the process held while it built, in bytes; `None` where the system does not say.
    pub(super) peak_bytes: Option<u64>,
}

/// Builds a segment in `folder` as the indexer does, and maps it as a searcher does.
pub(super) fn build(args: &Args, queries: &Matrix, folder: &Path, progress: &Progress) -> anyhow::Result<Built> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.build_threads.map_or(cores, |threads| threads as usize);
    let pool = cairn_indexer::build_pool(threads)?;
    let peak = Peak::begin();
    let (builder, pushing) = fill(args, queries, progress)?;
    let start = Instant::now();
    let path = folder.join("bench.seg");
    let mut out = BufWriter::new(File::create(&path)?);
    let written = builder.write(&pool, progress, &mut out)?;
    out.flush()?;
    drop(out);
    let seconds = (pushing + start.elapsed()).as_secs_f64();
    let peak_bytes = peak.bytes();
    let mapped = MappedFile::open(&path, true)?;
    let segment = Segment::open(Arc::new(mapped))?;
    Ok(Built { segment, path, written, seconds, threads: u32::try_from(threads)?, peak_bytes })
}

/// The schema of a collection of such vectors.
pub(super) fn schema(params: VectorParams) -> CollectionSchema {
    CollectionSchema::single("", params, 1)
}

/// A segment expanded in memory, and what that took.
pub(super) struct Expanded {
    pub(super) hot: Hot,
    pub(super) seconds: f64,
}

impl Expanded {
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub(super) fn bytes_per_vector(&self) -> f64 {
        self.hot.bytes() as f64 / f64::from(self.hot.len())
    }
}

/// Expands a segment as a searcher does, on `threads` threads.
pub(super) fn expand(segment: &Segment, threads: u32) -> anyhow::Result<Expanded> {
    let pool = cairn_indexer::build_pool(threads as usize)?;
    let mut refused = None;
    let memory = |bytes| match HugePages::new(bytes) {
        Ok(pages) => Some(Box::new(pages) as Box<dyn Memory>),
        Err(error) => {
            refused = Some(error);
            None
        }
    };
    let start = Instant::now();
    let hot = segment.expand(memory, &pool, &Unwatched)?;
    let seconds = start.elapsed().as_secs_f64();
    match (hot, refused) {
        (Some(hot), _) => Ok(Expanded { hot, seconds }),
        (None, Some(error)) => Err(error).context("no memory to expand the segment in"),
        (None, None) => anyhow::bail!("--tier hot: there are no codes of these vectors to expand; use warm"),
    }
}

/// A builder that holds the base file, and the time that it took apart from reading.
fn fill(args: &Args, queries: &Matrix, progress: &Progress) -> anyhow::Result<(Builder, Duration)> {
    let mut source = source::open(&Files { input: &args.base, ids: None, payload: args.payload.as_deref() })?;
    let layout = source.layout();
    anyhow::ensure!(
        layout.dim == queries.dim,
        "{} has {} dimensions, {} has {}",
        args.base.display(),
        layout.dim,
        args.queries.display(),
        queries.dim
    );
    let params = VectorParams {
        datatype: args.datatype.unwrap_or(layout.element.datatype()),
        hnsw: HnswConfig { m: args.m, ef_construct: args.ef_construct, full_scan_threshold: args.full_scan_threshold },
        originals: args.originals,
        preset: args.preset,
        ..VectorParams::new(u32::try_from(layout.dim)?, args.distance)
    };
    schema(params).validate()?;
    let mut builder = Builder::new("", params, args.seed);
    let mut batch = Batch::default();
    let mut pushing = Duration::ZERO;
    while source.next(&mut batch)? {
        let start = Instant::now();
        for (i, vector) in batch.vectors.chunks_exact(layout.dim).enumerate() {
            let payload: Option<Payload> = match batch.payloads.get(i).map(String::as_str) {
                None | Some("") => None,
                Some(json) => Some(serde_json::from_str(json)?),
            };
            builder.push(PointId::Num(builder.len() as u64), vector, payload.as_ref())?;
        }
        pushing += start.elapsed();
        let rows = builder.len() as u64;
        progress.progress(Stage::Read, rows, layout.rows.unwrap_or(rows));
    }
    Ok((builder, pushing))
}
