//! Collects points, orders them, builds codes, graphs and indexes, and writes the file.

use std::io::Write;

use cairn_model::{CollectionSchema, Payload, PointId, Vector, VectorKind, VectorParams, Vectors, limits};
use rayon::ThreadPool;

use super::{
    column::{Column, Site, Small},
    head::{GroupHead, ValuesKind},
    layout::{MAIN, SectionKind},
    places,
    values::ValuesColumn,
    writer::Writer,
};
use crate::{
    Error, Phase, Result, Watch,
    cluster::Clusters,
    payload::{fields::FieldsWriter, ids, ordinal_ids, rows::RowsWriter},
};

/// Collects points, then writes one segment.
#[derive(Debug)]
pub struct Builder {
    seed: u64,
    ids: Vec<PointId>,
    /// Dense vectors, by name.
    columns: Vec<Column>,
    /// The others.
    values: Vec<ValuesColumn>,
    payloads: String,
    /// End of each payload in `payloads`; equal to the one before for a point without payload.
    payload_ends: Vec<usize>,
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
    /// An empty builder for points of a collection. The same points, seed and a pool of one thread give the same file.
    #[must_use]
    pub fn of(schema: &CollectionSchema, seed: u64) -> Self {
        let mut builder = Self {
            seed,
            ids: Vec::new(),
            columns: Vec::new(),
            values: Vec::new(),
            payloads: String::new(),
            payload_ends: Vec::new(),
        };
        for (name, kind) in schema.kinds() {
            let name = name.to_owned();
            match kind {
                VectorKind::Dense(params) => builder.columns.push(Column::new(name, *params)),
                VectorKind::Multi(params) => {
                    builder.values.push(ValuesColumn::new(name, ValuesKind::Multi(*params)));
                }
                VectorKind::Sparse(_) => builder.values.push(ValuesColumn::new(name, ValuesKind::Sparse)),
            }
        }
        builder
    }

    /// An empty builder for points of one dense vector.
    #[must_use]
    pub fn new(name: &str, params: VectorParams, seed: u64) -> Self {
        Self::of(&CollectionSchema::single(name, params, 1), seed)
    }

    /// Adds a point that has the first of the dense vectors and no other. Cosine vectors are normalised (but for `uint8`).
    ///
    /// # Errors
    /// As [`Builder::push_point`].
    pub fn push(&mut self, id: PointId, vector: &[f32], payload: Option<&Payload>) -> Result<()> {
        let json = text_of(payload)?;
        self.add(id, &json, |builder, point| {
            let column = builder.columns.first_mut();
            column.ok_or_else(|| Error::invalid("vector", "no dense one is collected"))?.push(point, vector, false)
        })
    }

    /// Adds a point with any of the vectors, or none. Cosine vectors are normalised (but for `uint8`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector that the collection does not have, or of another kind there, a wrong dimension, NaN or infinity, a value that
    /// does not fit the datatype, or a payload over its limit; nothing is added then. A repeated id is found by [`Builder::write`].
    pub fn push_point(&mut self, id: PointId, vectors: &Vectors, payload: Option<&Payload>) -> Result<()> {
        let json = text_of(payload)?;
        self.add(id, &json, |builder, point| builder.put(point, vectors, false))
    }

    /// Adds a point as [`super::Segment::vectors`] and [`super::Segment::payload`] or a [`crate::fresh::Put`] give it back: the vectors go in as they are,
    /// not normalised a second time, and the payload as text, which is not read.
    ///
    /// # Errors
    /// As [`Builder::push_point`].
    pub fn push_stored(&mut self, id: PointId, vectors: &Vectors, payload: &str) -> Result<()> {
        let json = if payload == "{}" { "" } else { payload };
        self.add(id, json, |builder, point| builder.put(point, vectors, true))
    }

    fn add(&mut self, id: PointId, json: &str, push: impl FnOnce(&mut Self, u32) -> Result<()>) -> Result<()> {
        let point = u32::try_from(self.ids.len()).ok().filter(|&point| (point as usize) < limits::SEGMENT_POINTS_MAX);
        let point = point.ok_or_else(|| Error::invalid("points", "too many for one segment"))?;
        if json.len() > limits::PAYLOAD_BYTES_MAX {
            let why = format!("{} bytes of JSON, at most {} are allowed", json.len(), limits::PAYLOAD_BYTES_MAX);
            return Err(Error::invalid("payload", why));
        }
        if let Err(error) = push(self, point) {
            // Of several vectors some may be there already.
            self.columns.iter_mut().for_each(|column| column.pop(point));
            self.values.iter_mut().for_each(|column| column.pop(point));
            return Err(error);
        }
        self.ids.push(id);
        self.payloads.push_str(json);
        self.payload_ends.push(self.payloads.len());
        Ok(())
    }

    fn put(&mut self, point: u32, vectors: &Vectors, again: bool) -> Result<()> {
        for (name, vector) in vectors {
            if let Some(column) = self.columns.iter_mut().find(|column| column.name() == name) {
                let Vector::Dense(vector) = vector else {
                    return Err(Error::invalid("vector", "of another kind than the collection's"));
                };
                column.push(point, vector, again)?;
            } else if let Some(column) = self.values.iter_mut().find(|column| column.head().name == *name) {
                column.push(point, vector, again)?;
            } else {
                return Err(Error::invalid("vector", format!("a point has a vector '{}'", name.escape_debug())));
            }
        }
        Ok(())
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
        let columns: usize = self.columns.iter().map(Column::bytes).sum();
        let values: usize = self.values.iter().map(ValuesColumn::bytes).sum();
        columns + values + self.payloads.len() + self.ids.len() * (size_of::<PointId>() + size_of::<usize>())
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
        let points = u32::try_from(self.len()).map_err(|_| Error::invalid("points", "too many"))?;
        let site = Site { pool, watch, seed: self.seed };
        let (first, further) = self.columns_by_group();
        let first = first.map(|mut column| column.order(&site).map(|clusters| (column, clusters))).transpose()?;
        // By ordinal the point, by the order of pushing.
        let order: Vec<u32> =
            first.as_ref().map_or_else(|| (0..points).collect(), |(first, _)| first.points().to_vec());
        self.reorder(&order);
        let mut writer = Writer::new(out)?;
        let (small, starts) = match first {
            Some((column, clusters)) => {
                let small = column.write(MAIN, &clusters, &site, &mut writer)?;
                (small, clusters.starts[..clusters.len()].to_vec())
            }
            None => (vec![(SectionKind::Head, GroupHead::Points.encode())], vec![0]),
        };
        watch.progress(Phase::Write, 0, 1);
        writer.section(MAIN, SectionKind::Ids, &ids::write(&self.ids)?)?;
        if let Some(ids) = ordinal_ids::write(&self.ids) {
            writer.section(MAIN, SectionKind::OrdinalIds, &ids)?;
        }
        self.write_payload(&starts, watch, &mut writer)?;
        let mut groups = write_further(further, &order, &site, &mut writer)?;
        let first_of_values = groups.len() + 1;
        for (at, column) in self.values.iter().filter(|column| !column.is_empty()).enumerate() {
            column.write(group_number(first_of_values + at)?, &order, &mut writer)?;
            groups.push(vec![(SectionKind::Head, GroupHead::Values(column.head().clone()).encode())]);
        }
        // What a reader needs first comes last, and of it the first vector's.
        for (at, small) in groups.into_iter().enumerate() {
            write_small(group_number(at + 1)?, small, &mut writer)?;
        }
        write_small(MAIN, small, &mut writer)?;
        let (bytes, checksum) = writer.finish(points)?;
        watch.progress(Phase::Write, 1, 1);
        Ok(Built { points: u64::from(points), bytes, checksum })
    }

    /// The first vector, which all points have, if there is one, and the others that some point has.
    fn columns_by_group(&mut self) -> (Option<Column>, Vec<Column>) {
        let mut columns = std::mem::take(&mut self.columns);
        let first = columns.iter().position(|column| column.len() == self.len()).map(|at| columns.remove(at));
        columns.retain(|column| column.len() > 0);
        (first, columns)
    }

    /// Puts ids and payloads in order.
    fn reorder(&mut self, order: &[u32]) {
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

    fn write_payload(
        &self,
        starts: &[u32],
        watch: &dyn Watch,
        writer: &mut Writer<'_>,
    ) -> std::result::Result<(), WriteError> {
        let mut rows = RowsWriter::new();
        let mut fields = FieldsWriter::new(starts);
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
        writer.section(MAIN, SectionKind::Rows, &rows.finish())?;
        writer.section(MAIN, SectionKind::Fields, &fields.finish())?;
        Ok(())
    }
}

/// The payload as JSON; empty when it is.
fn text_of(payload: Option<&Payload>) -> Result<String> {
    match payload {
        Some(payload) if !payload.is_empty() => {
            serde_json::to_string(payload).map_err(|error| Error::invalid("payload", error.to_string()))
        }
        _ => Ok(String::new()),
    }
}

fn group_number(number: usize) -> Result<u16> {
    u16::try_from(number).map_err(|_| Error::invalid("vectors", "too many"))
}

/// Writes the large sections of the further vectors, one vector after another; the small ones of each are given back. `order` gives the point, by
/// the order of pushing, of each ordinal.
fn write_further(
    columns: Vec<Column>,
    order: &[u32],
    site: &Site<'_>,
    writer: &mut Writer<'_>,
) -> std::result::Result<Vec<Small>, WriteError> {
    let mut of_points = vec![0u32; if columns.is_empty() { 0 } else { order.len() }];
    for (ordinal, &point) in (0u32..).zip(order).take(of_points.len()) {
        of_points[point as usize] = ordinal;
    }
    let mut groups = Vec::with_capacity(columns.len());
    for (at, mut column) in columns.into_iter().enumerate() {
        let group = group_number(at + 1)?;
        let clusters: Clusters = column.order(site)?;
        let ordinals: Vec<u32> = column.points().iter().map(|&point| of_points[point as usize]).collect();
        groups.push(column.write(group, &clusters, site, writer)?);
        let points = u32::try_from(order.len()).map_err(|_| Error::invalid("points", "too many"))?;
        writer.section(group, SectionKind::Places, &places::encode(&ordinals, points))?;
    }
    Ok(groups)
}

fn write_small(group: u16, small: Small, writer: &mut Writer<'_>) -> std::io::Result<()> {
    small.into_iter().try_for_each(|(kind, bytes)| writer.section(group, kind, &bytes))
}
