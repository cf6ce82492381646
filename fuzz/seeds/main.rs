//! Writes the corpora that fuzzing starts from: small, valid, and with every feature of their format.
//!
//! usage: cargo run --example fuzz-seeds -- FOLDER      one folder per target is made below it

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cairn_engine::{Unwatched, segment::Builder};
use cairn_model::{Datatype, Distance, HnswConfig, PointId, VectorParams};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: fuzz-seeds FOLDER"))?);
    segments(&folder.join("segment_open"))?;
    filters(&folder.join("filter_json"))?;
    npy(&folder.join("npy"))?;
    jsonl(&folder.join("jsonl"))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes)
}

fn payload(row: usize) -> Value {
    let city = ["Bern", "Lhasa", "Lima"][row % 3];
    json!({
        "city": city, "row": row, "price": row as f64 / 4.0, "open": row.is_multiple_of(2),
        "at": format!("2024-{:02}-03T04:05:06Z", 1 + row % 12), "tags": (0..row % 4).collect::<Vec<_>>(),
        "place": {"floor": row % 5}, "note": if row.is_multiple_of(5) { Value::Null } else { json!("a longer text that is no keyword") },
    })
}

fn segments(folder: &Path) -> io::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(io::Error::other)?;
    let distances = [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan];
    for (at, distance) in distances.into_iter().enumerate() {
        for (datatype, points) in [(Datatype::Float32, 1), (Datatype::Float16, 40), (Datatype::Uint8, 90)] {
            let hnsw =
                HnswConfig { m: 4, ef_construct: 16, full_scan_threshold: if points == 90 { 0 } else { 10_000 } };
            let name = if at == 0 { "" } else { "stone" };
            let params = VectorParams { datatype, hnsw, ..VectorParams::new(9, distance) };
            let mut builder = Builder::new(name, params, 7);
            for row in 0..points {
                let vector: Vec<f32> = (0..9).map(|d| ((row * 37 + d * 11) % 101) as f32).collect();
                let id = if row % 3 == 2 { format!("{row:032x}").parse() } else { row.to_string().parse() };
                let id: PointId = id.map_err(io::Error::other)?;
                let payload = payload(row);
                builder.push(id, &vector, payload.as_object()).map_err(io::Error::other)?;
            }
            let mut bytes = Vec::new();
            builder.write(&pool, &Unwatched, &mut bytes).map_err(io::Error::other)?;
            write(folder, &format!("{distance:?}-{datatype:?}-{points}"), &bytes)?;
        }
    }
    Ok(())
}

fn filters(folder: &Path) -> io::Result<()> {
    let all = [
        json!({"must": [{"key": "a.b[].c", "match": {"value": "x"}}, {"key": "a", "match": {"any": [1, 2]}}]}),
        json!({"should": {"key": "a", "match": {"except": ["x"]}}, "must_not": [{"has_id": [1, "00000000-0000-4000-8000-000000000001"]}]}),
        json!({"min_should": {"min_count": 1, "conditions": [{"is_empty": {"key": "a"}}, {"is_null": {"key": "b"}}]}}),
        json!({"must": [{"key": "a", "range": {"gt": 1, "gte": null, "lt": 2.5e3, "lte": -4}}]}),
        json!({"must": [{"key": "a", "range": {"gte": "2024-01-02T03:04:05.6Z"}}, {"key": "a", "values_count": {"gt": 1}}]}),
        json!({"must": [{"must": [{"should": [{"must_not": []}]}]}]}),
    ];
    for (at, filter) in all.iter().enumerate() {
        write(folder, &at.to_string(), filter.to_string().as_bytes())?;
    }
    Ok(())
}

fn npy(folder: &Path) -> io::Result<()> {
    for (descr, shape, element_bytes) in
        [("<f4", "(3, 2)", 4), ("<f2", "(3, 2)", 2), ("|u1", "(3, 2)", 1), ("<i8", "(6,)", 8), ("<u4", "(6,)", 4)]
    {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let length = u16::try_from(header.len()).map_err(io::Error::other)?.to_le_bytes();
        let data: Vec<u8> = (0..6 * element_bytes).map(|byte: u8| byte).collect();
        let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &data].concat();
        write(folder, &descr[1..], &bytes)?;
    }
    Ok(())
}

fn jsonl(folder: &Path) -> io::Result<()> {
    let points =
        "{\"id\": 1, \"vector\": [0.5, -1e3]}\n\n{\"id\": 2, \"vector\": [1, 2], \"payload\": {\"a\": [null, {}]}}\n";
    write(folder, "points", points.as_bytes())?;
    write(
        folder,
        "flat",
        b"{\"vector\": [1], \"a\": \"\\u00e9\", \"b\": {\"c\": [1, 2]}}\n{\"a\": 1, \"vector\": [2]}",
    )?;
    write(folder, "payloads", b"{\"a\": 1}\nnull\n{}\n")?;
    write(folder, "ids", b"7\n00000000-0000-4000-8000-000000000001\n0123456789abcdef0123456789abcdef\n")
}
