//! Ground truth: row numbers of true neighbours.

use std::{io::Read, path::Path};

use cairn_indexer::source::{Input, NpyHeader};

/// Values that a truth file may have: 10 million queries of 100 neighbours.
const VALUES_MAX: u64 = 1_000_000_000;

/// Row numbers per query; -1 pads.
pub(super) struct Truth {
    columns: usize,
    values: Vec<i64>,
}

impl Truth {
    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    pub(super) const fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn row(&self, row: usize) -> &[i64] {
        &self.values[row * self.columns..][..self.columns]
    }
}

/// Reads a two-dimensional array of 32- or 64-bit integers, or plane `index` of a three-dimensional one.
pub(super) fn read(path: &Path, index: usize) -> anyhow::Result<Truth> {
    let mut input = Input::open(path)?;
    let header = NpyHeader::read(&mut input)?;
    let name = path.display();
    anyhow::ensure!(!header.fortran_order, "{name}: columns first, expected rows first");
    let (planes, rows, columns) = match header.shape[..] {
        [rows, columns] => (1, rows, columns),
        [planes, rows, columns] => (planes, rows, columns),
        _ => anyhow::bail!("{name}: {} dimensions, expected two or three", header.shape.len()),
    };
    anyhow::ensure!((index as u64) < planes, "{name}: no plane {index}, there are {planes}");
    let count = rows.saturating_mul(columns);
    anyhow::ensure!(count.saturating_mul(planes) <= VALUES_MAX, "{name}: too large");
    let width = match header.descr.as_str() {
        "<i4" | "<u4" => 4,
        "<i8" | "<u8" => 8,
        other => anyhow::bail!("{name}: elements are {other}, expected 32- or 64-bit little-endian integers"),
    };
    let mut plane = vec![0u8; usize::try_from(count * width)?];
    for _ in 0..=index {
        input.read_exact(&mut plane).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    }
    let signed = header.descr.starts_with("<i");
    let value = |bytes: &[u8]| match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => i64::from_le_bytes(*bytes),
        (None, Some(bytes)) if signed => i64::from(i32::from_le_bytes(*bytes)),
        (None, Some(bytes)) => i64::from(u32::from_le_bytes(*bytes)),
        _ => -1,
    };
    let values = plane.chunks_exact(usize::try_from(width)?).map(value).collect();
    Ok(Truth { columns: usize::try_from(columns)?, values })
}
