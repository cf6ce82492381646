//! Writes the corpora that fuzzing starts from: small, valid, and with every feature of their format.
//!
//! usage: cargo run --example fuzz-seeds -- FOLDER      one folder per target is made below it

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_engine::{Unwatched, segment::Builder};
use cairn_model::{
    Change, CollectionName, CollectionSchema, Comparator, Datatype, Distance, HnswConfig, MultivectorConfig, Payload,
    PointId, SearchParams, SparseVectorParams, Usage, Vector, VectorParams, VectorQuery, Vectors,
};
use cairn_searcher::{
    PayloadSelector, Record, VectorSelector,
    fanout::{Ask, Hit, Part, Question, Team},
};
use cairn_storage::log::Frame;
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: fuzz-seeds FOLDER"))?);
    segments(&folder.join("segment_open"))?;
    filters(&folder.join("filter_json"))?;
    updates(&folder.join("update_json"))?;
    requests(&folder.join("requests"))?;
    npy(&folder.join("npy"))?;
    jsonl(&folder.join("jsonl"))?;
    frames(&folder.join("frame"))?;
    logs(&folder.join("log"))
}

fn frames(folder: &Path) -> io::Result<()> {
    let filter = json!({"must": [{"key": "city", "match": {"any": ["Bern"]}}, {"has_id": [1]}],
        "must_not": [{"is_null": {"key": "note"}}], "should": [{"key": "price", "range": {"gte": 0.5}}],
        "min_should": {"conditions": [{"key": "at", "range": {"lt": "2024-03-01"}}], "min_count": 1}});
    let query = VectorQuery {
        using: "stone".to_owned(),
        vector: vec![0.5, -2.0],
        filter: Some(serde_json::from_value(filter)?),
        k: 3,
        params: SearchParams { ef: Some(64), recall: Some(0.9), ..SearchParams::default() },
        score_threshold: Some(0.25),
    };
    let question = Question { query, payload: PayloadSelector::All, vector: VectorSelector::All };
    let ask = Ask {
        collection: CollectionName::parse("stones").map_err(io::Error::other)?,
        generation: "01J00000000000000000000000".to_owned(),
        version: "01J00000000000000000000002".to_owned(),
        limit: Duration::from_secs(1),
        segments: vec!["01J00000000000000000000001".to_owned()],
        shadows: vec![(
            0,
            serde_json::from_str(r#"[3, "550e8400-e29b-41d4-a716-446655440000"]"#).map_err(io::Error::other)?,
        )],
        team: Team::default(),
        partial: false,
        queries: vec![question],
    };
    write(folder, "ask", &ask.encode().map_err(io::Error::other)?)?;
    let leaf = |number: u8| format!("http://10.0.0.{number}:6333").parse().map_err(io::Error::other);
    let team = Team { leaves: vec![leaf(1)?, leaf(2)?, leaf(3)?], members: 2, width: 2, depth: 1 };
    write(folder, "ask-team", &Ask { team, partial: true, ..ask }.encode().map_err(io::Error::other)?)?;
    let hit = |id: PointId| -> io::Result<Hit> {
        let payload = Some(serde_json::value::to_raw_value(&payload(1))?);
        let sparse = Vector::Sparse { indices: vec![3, 9], values: vec![0.5, 2.0] };
        let multi = Vector::Multi { dim: 2, values: vec![1.0, 2.0, 3.0, 4.0] };
        let dense = Vector::Dense(vec![1.0, 2.0]);
        let named = [("stone", dense), ("many", multi), ("words", sparse)];
        let vectors = Some(named.map(|(name, vector)| (name.to_owned(), vector)).into());
        Ok(Hit { distance: 0.5, record: Record { id, payload, vectors } })
    };
    let uuid: PointId = format!("{:032x}", 7).parse().map_err(io::Error::other)?;
    let part = Part { answers: vec![vec![hit(PointId::Num(3))?, hit(uuid)?]], usage: Usage::default() };
    write(folder, "part", &part.encode().map_err(io::Error::other)?)
}

/// Objects of a log: each change alone, all together, and the end.
fn logs(folder: &Path) -> io::Result<()> {
    let uuid: PointId = format!("{:032x}", 7).parse().map_err(io::Error::other)?;
    let vectors = Vectors::from([
        (String::new(), Vector::Dense(vec![0.5, -1.0])),
        ("m".to_owned(), Vector::Multi { dim: 2, values: vec![1.0; 4] }),
        ("s".to_owned(), Vector::Sparse { indices: vec![1, 9], values: vec![1.0, 2.0] }),
    ]);
    let fields = payload(3).as_object().cloned().unwrap_or_default();
    let point = cairn_model::Point { id: PointId::Num(3), vectors, payload: fields };
    let bare = cairn_model::Point { id: uuid, vectors: Vectors::new(), payload: Payload::default() };
    let changes = vec![Change::Put(vec![point, bare]), Change::Remove(vec![PointId::Num(1), uuid])];
    let mut parts: Vec<Vec<Vec<Change>>> = changes.iter().map(|one| vec![vec![one.clone()]]).collect();
    parts.extend([vec![changes.clone(), changes], vec![]]);
    for (at, parts) in parts.into_iter().enumerate() {
        let parts = parts.into_iter().map(Into::into).collect();
        let frame = Frame { sequence: 5, nonce: 1, parts, ..Frame::default() };
        write(folder, &at.to_string(), &frame.encode().map_err(io::Error::other)?)?;
    }
    Ok(())
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
    for first in [true, false] {
        let mut bytes = Vec::new();
        several(first)?.write(&pool, &Unwatched, &mut bytes).map_err(io::Error::other)?;
        write(folder, if first { "several" } else { "several-without-a-first" }, &bytes)?;
    }
    Ok(())
}

/// Points with vectors of every kind, one of which all have, or none.
fn several(first: bool) -> io::Result<Builder> {
    let with = |size, distance, datatype| VectorParams { datatype, ..VectorParams::new(size, distance) };
    let multivector = Some(MultivectorConfig { comparator: Comparator::MaxSim });
    let mut schema = CollectionSchema::single("stone", with(9, Distance::Euclid, Datatype::Float32), 1);
    schema.vectors.extend([
        ("edge".to_owned(), with(33, Distance::Cosine, Datatype::Float16)),
        ("tone".to_owned(), with(3, Distance::Manhattan, Datatype::Uint8)),
        ("many".to_owned(), VectorParams { multivector, ..with(2, Distance::Dot, Datatype::Float32) }),
    ]);
    schema.sparse_vectors.insert("words".to_owned(), SparseVectorParams::default());
    let mut builder = Builder::of(&schema, 7);
    for row in 0..60u32 {
        let values = |count: u32| (0..count).map(|d| ((row * 37 + d * 11) % 101) as f32).collect::<Vec<f32>>();
        let all = [
            ("stone", Vector::Dense(values(9)), first || row != 7),
            ("edge", Vector::Dense(values(33)), row % 3 > 0),
            ("tone", Vector::Dense(values(3)), row % 4 == 0),
            ("many", Vector::Multi { dim: 2, values: values(2 + row % 3 * 2) }, row % 2 == 0),
            ("words", Vector::Sparse { indices: (row..row + row % 4).collect(), values: values(row % 4) }, row % 5 > 0),
        ];
        let had = all.into_iter().filter(|(_, _, had)| *had);
        let vectors: Vectors = had.map(|(name, vector, _)| (name.to_owned(), vector)).collect();
        let payload = payload(row as usize);
        builder.push_point(PointId::Num(row.into()), &vectors, payload.as_object()).map_err(io::Error::other)?;
    }
    Ok(builder)
}

fn filters(folder: &Path) -> io::Result<()> {
    let all = [
        json!({"must": [{"key": "a.b[].c", "match": {"value": "x"}}, {"key": "a", "match": {"any": [1, 2]}}]}),
        json!({"should": {"key": "a", "match": {"except": ["x"]}}, "must_not": [{"has_id": [1, "00000000-0000-4000-8000-000000000001"]}]}),
        json!({"min_should": {"min_count": 1, "conditions": [{"is_empty": {"key": "a"}}, {"is_null": {"key": "b"}}]}}),
        json!({"must": [{"key": "a", "range": {"gt": 1, "gte": null, "lt": 2.5e3, "lte": -4}}]}),
        json!({"must": [{"key": "a", "range": {"gte": "2024-01-02T03:04:05.6Z"}}, {"key": "a", "values_count": {"gt": 1}}]}),
        json!({"must": [{"must": [{"should": [{"must_not": []}]}]}]}),
        json!({"must": [{"has_vector": "image"}, {"slice": {"index": 1, "total": 3}}]}),
        json!({"must": {"nested": {"key": "a.b", "filter": {"must": [{"key": "c", "match": {"value": "x"}}]}}}}),
        json!({"should": [{"key": "t", "match": {"text": "text"}}, {"key": "t", "match": {"text_any": "no 01"}},
            {"key": "t", "match": {"phrase": "some text"}}, {"key": "t", "match": {"prefix": "So"}}]}),
        json!({"must": {"key": "a", "geo_bounding_box": {"top_left": {"lon": 8, "lat": 48}, "bottom_right": {"lon": 9, "lat": 46}}}}),
        json!({"must": {"key": "a", "geo_radius": {"center": {"lon": 8.4, "lat": 47.1}, "radius": 1e5}}}),
        json!({"must": {"key": "places", "geo_polygon": {
            "exterior": {"points": [{"lon": -1, "lat": -1}, {"lon": 1, "lat": -1}, {"lon": 0, "lat": 1}, {"lon": -1, "lat": -1}]},
            "interiors": [{"points": [{"lon": 0, "lat": 0}, {"lon": 0.1, "lat": 0}, {"lon": 0, "lat": 0.1}, {"lon": 0, "lat": 0}]}]}}}),
    ];
    for (at, filter) in all.iter().enumerate() {
        write(folder, &at.to_string(), filter.to_string().as_bytes())?;
    }
    Ok(())
}

fn updates(folder: &Path) -> io::Result<()> {
    let filter = json!({"must": [{"key": "a", "match": {"value": 1}}]});
    let ids = json!([1, "936DA01F9ABD4d9d80C702AF85C822A8"]);
    let upsert = json!({"points": [{"id": 1, "vector": [0.5, -1], "payload": {"a": [1]}}, {"id": 2, "vector": {"": [1, 2]}}],
        "update_mode": "insert_only", "update_filter": filter});
    let columns = json!({"batch": {"ids": ids, "vectors": {"": [[1, 2], [3, 4]]}, "payloads": [null, {"a": 1}]}});
    let set = json!({"payload": {"a": {"b": 2}}, "points": ids, "key": "x[].y"});
    let delete_payload = json!({"keys": ["a", "b[0].c"], "filter": filter});
    let update_vectors = json!({"points": [{"id": 1, "vector": {"": [1, 2]}}], "update_filter": filter});
    let delete_vectors = json!({"vector": ["", "s"], "points": ids, "filter": filter});
    let others = json!({"points": [{"id": 1, "vector": [[1, 2], [3, 4]]},
        {"id": 2, "vector": {"s": {"indices": [9, 2], "values": [1, 2]}, "t": {"text": "x", "model": "m"}}}]});
    let batch = json!({"operations": [{"upsert": upsert}, {"upsert": columns}, {"delete": {"points": ids}},
        {"set_payload": set}, {"overwrite_payload": set}, {"delete_payload": delete_payload},
        {"clear_payload": {"filter": filter}}, {"update_vectors": update_vectors}, {"delete_vectors": delete_vectors}]});
    let all = [upsert, columns, set, delete_payload, update_vectors, delete_vectors, others, batch];
    all.iter().enumerate().try_for_each(|(at, body)| write(folder, &at.to_string(), body.to_string().as_bytes()))
}

/// A byte that says which request it is, and its body.
fn requests(folder: &Path) -> io::Result<()> {
    let filter = json!({"must": [{"key": "city", "match": {"value": "Bern"}}]});
    let all = [
        (0, json!({"limit": 3, "filter": filter, "offset": 4, "with_payload": ["city"], "with_vector": true})),
        (0, json!({"order_by": "price"})),
        (0, json!({"order_by": {"key": "at", "direction": "desc", "start_from": "2024-02-03T00:00:00Z"}})),
        (1, json!({"key": "place.doors[].colour", "limit": 5, "filter": filter, "exact": true})),
        (2, json!({"filter": filter, "exact": false})),
        (3, json!({"ids": [1, "00000000-0000-4000-8000-000000000001"], "with_payload": {"exclude": ["a"]}})),
        (4, json!({"query": [0.5, 1], "params": {"hnsw_ef": 9, "exact": true}, "score_threshold": 0.5})),
        (4, json!({"query": {"order_by": {"key": "price", "start_from": 2.5}}, "offset": 1})),
        (4, json!({"query": {"nearest": 7}, "using": "image", "filter": filter})),
        (5, json!({"searches": [{"query": [1]}, {"limit": 2}]})),
        (6, json!({"vector": {"name": "image", "vector": [1, 2]}, "limit": 3, "offset": 1})),
    ];
    for (at, (kind, body)) in all.iter().enumerate() {
        write(folder, &at.to_string(), &[&[*kind], body.to_string().as_bytes()].concat())?;
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
