//! Wrong questions and wrong files: each is refused with a clear error that names the culprit, and nothing is half-written.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Program, Serve, Server, write_npy};

const DIM: usize = 6;

fn served(place: &Place) -> (Corpus, Server) {
    let corpus = Corpus::new(50, DIM, "first");
    place.index(&corpus, &Index { metric: Metric::Dot, ..Index::default() });
    (corpus, place.serve(&Serve::default()))
}

/// Bodies of `points/query`, the status, and what the message must name.
fn bad_queries() -> Vec<(Value, u16, &'static [&'static str])> {
    let query = json!([1, 2, 3, 4, 5, 6]);
    vec![
        (json!({"query": [1, 2, 3]}), 400, &["dimension", "expected dim: 6", "got 3"]),
        (json!({"query": []}), 400, &[]),
        (json!({"query": [1, 2, 3, 4, 5, 1e39]}), 400, &[]),
        (json!({"query": "pebble"}), 400, &["pebble"]),
        (json!({"query": -1}), 400, &["-1"]),
        (json!({"query": {"nearest": [1, 2]}}), 400, &["6", "2"]),
        (json!({"query": {"recommend": {"positive": [1]}}}), 400, &["recommend"]),
        (json!({"query": query, "limit": 0}), 422, &["limit", "value 0 invalid, must be 1 or larger"]),
        (json!({"query": query, "limit": -1}), 400, &["-1"]),
        (json!({"query": query, "limit": 1_000_000_000_000_u64}), 422, &["limit", "1000000000000"]),
        (json!({"query": query, "offset": 1_000_000_000_000_u64}), 422, &["offset", "100000"]),
        (json!({"query": query, "limit": "ten"}), 400, &["ten"]),
        (json!({"query": query, "using": "gravel"}), 400, &["gravel"]),
        (json!({"query": query, "params": {"hnsw_ef": 4_000_000_000_u64}}), 422, &["hnsw_ef"]),
        (json!({"query": query, "filter": {"mast": []}}), 400, &["mast"]),
        (json!({"query": query, "filter": {"must": [{"key": "a", "mutch": {"value": 1}}]}}), 400, &["mutch"]),
        (json!({"query": query, "filter": {"must": [{"key": "a", "range": {"gte": "x"}}]}}), 400, &["range.gte"]),
        (json!({"query": query, "filter": {"must": [{"key": "", "match": {"value": 1}}]}}), 400, &["key"]),
        (json!({"query": query, "filter": {"must": [{"has_id": ["pebble"]}]}}), 400, &["pebble"]),
        (json!({"query": query, "with_payload": 7}), 400, &["`7`", "include"]),
        (json!({"query": query, "score_threshold": "high"}), 400, &["high"]),
    ]
}

#[test]
fn wrong_questions_are_refused() {
    let place = Place::local();
    let (_, server) = served(&place);
    for (body, status, culprits) in bad_queries() {
        server.query("stones", &body).refused(status, culprits);
    }
    let path = "/collections/stones/points/query";
    server.post_text(path, "{\"query\": [1, 2").refused(400, &["Format error in JSON body"]);
    server.post_text(path, "{\"query\": [NaN, 1, 2, 3, 4, 5]}").refused(400, &["Format error in JSON body"]);
    server.post_text(path, "").refused(400, &[]);
    server.post_text(path, "[".repeat(100_000)).refused(400, &["Format error in JSON body"]);
    let depth = 200;
    let nested = format!("{}{}{}", r#"{"must":"#.repeat(depth), r#"{"has_id":[1]}"#, "}".repeat(depth));
    server.post_text(path, format!(r#"{{"query":[1,2,3,4,5,6],"filter":{nested}}}"#)).refused(400, &[]);
    let many: Vec<Value> = (0..5_000).map(|n| json!({"key": "a", "match": {"value": n}})).collect();
    server.query("stones", &json!({"query": [1, 2, 3, 4, 5, 6], "filter": {"should": many}})).refused(400, &["4096"]);

    let scroll = "/collections/stones/points/scroll";
    server.post(scroll, &json!({"limit": 0})).refused(422, &["limit"]);
    server.post(scroll, &json!({"offset": "pebble"})).refused(400, &["pebble"]);
    server.post("/collections/stones/points", &json!({})).refused(400, &["ids"]);
    server.post("/collections/stones/points/query/batch", &json!({"searches": {}})).refused(400, &["sequence"]);
    let searches: Vec<Value> = (0..2_000).map(|_| json!({"query": 1})).collect();
    let reply = server.post("/collections/stones/points/query/batch", &json!({"searches": searches}));
    assert!(matches!(reply.status, 400 | 422), "{} {}", reply.status, reply.body);
    assert!(reply.message().contains("1000"), "{}", reply.message());

    // After all of it the server is well.
    assert_eq!(server.count("stones"), 50);
}

#[test]
fn unknown_fields_are_named() {
    let place = Place::local();
    let (_, server) = served(&place);
    let query = json!([1, 2, 3, 4, 5, 6]);
    for (path, body) in [
        ("points/query", json!({"query": query, "limitt": 3})),
        ("points/query", json!({"query": query, "params": {"limitt": 3}})),
        ("points/scroll", json!({"limitt": 3})),
        ("points/count", json!({"limitt": true})),
    ] {
        server.post(&format!("/collections/stones/{path}"), &body).refused(400, &["limitt"]);
    }
    let schema = json!({"vectors": {"size": 4, "distance": "Dot", "limitt": 1}});
    server.put("/collections/new", &schema).refused(400, &["limitt"]);
    server.get("/collections/new").refused(404, &["new"]);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let place = Place::local();
    let (_, server) = served(&place);
    // The announcement is enough: not one byte of the body is sent.
    let address = server.url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).unwrap();
    let head = "POST /collections/stones/points/query HTTP/1.1\r\nhost: cairn\r\ncontent-type: application/json\r\n";
    write!(socket, "{head}content-length: {}\r\nconnection: close\r\n\r\n", 33 << 20).unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.contains("33554432"), "the limit is stated: {reply}");

    // The largest body that is allowed is read.
    let padding = " ".repeat((32 << 20) - 64);
    let body = format!("{{\"query\": [1, 2, 3, 4, 5, 6],{padding}\"limit\": 3}}");
    assert_eq!(server.post_text("/collections/stones/points/query", body).ok().points().len(), 3);
}

#[test]
fn names_that_would_leave_their_folder_are_refused() {
    let place = Place::local();
    let server = place.serve(&Serve::default());
    let schema = json!({"vectors": {"size": 4, "distance": "Dot"}});
    let long = "x".repeat(256);
    for (name, culprit) in [
        ("..%2Fescape", "/"),
        ("a%2Fb", "/"),
        ("a%5Cb", "\\"),
        ("a%00b", "0"),
        ("a%3Fb", "?"),
        ("a%2525b", "%"),
        (&long, "256"),
    ] {
        server.put(&format!("/collections/{name}"), &schema).refused(422, &[culprit]);
        let read = server.get(&format!("/collections/{name}"));
        assert!(matches!(read.status, 400 | 404 | 422), "{name}: {} {}", read.status, read.body);
    }
    assert!(place.keys().is_empty(), "{:?}", place.keys());
    let outside: Vec<_> = fs::read_dir(place.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!outside.iter().any(|name| name == "escape"), "{outside:?}");

    for name in ["../escape", "..", "a/b", ""] {
        let args = ["--collection", name, "--vector", "[1]"];
        place.cairn("search", &args).refused(&["collection name"]);
    }
}

#[test]
fn schemas_that_cannot_be_are_refused() {
    let place = Place::local();
    let server = place.serve(&Serve::default());
    for (body, culprit) in [
        (json!({"vectors": {"size": 0, "distance": "Dot"}}), "size"),
        (json!({"vectors": {"size": 65_537, "distance": "Dot"}}), "size"),
        (json!({"vectors": {"size": 4, "distance": "Hamming"}}), "Hamming"),
        (json!({"vectors": {"size": 4}}), "distance"),
        (json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 0}), "shard_number"),
        (json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 100_000}), "shard_number"),
        (
            json!({"vectors": {"a": {"size": 4, "distance": "Dot"}, "b": {"size": 0, "distance": "Dot"}}}),
            "vectors.b.size",
        ),
        (json!({"vectors": {"a": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {"a": {}}}), "sparse_vectors.a"),
        (json!({"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"s": {"modifier": "tf"}}}), "tf"),
        (json!({"vectors": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 1_000_000}}}), "m"),
        (json!({"vectors": {"size": 4, "distance": "Dot"}, "hnsw_config": {"full_scan_threshold": 9}}), "10 or larger"),
        (json!({"vectors": {"size": 4, "distance": "Dot"}, "wal_config": {"wal_capacity_mb": 0}}), "wal_config"),
        (
            json!({"vectors": {"size": 4, "distance": "Dot"}, "optimizers_config": {"deleted_threshold": 1.5}}),
            "from 0.0 to 1.0",
        ),
        (
            json!({"vectors": {"size": 4, "distance": "Dot"}, "strict_mode_config": {"enabled": true}}),
            "strict_mode_config",
        ),
    ] {
        let reply = server.put("/collections/new", &body);
        assert!(matches!(reply.status, 400 | 422), "{body}: {} {}", reply.status, reply.body);
        assert!(reply.message().contains(culprit), "{body}: names no {culprit}: {}", reply.message());
    }
    assert!(place.keys().is_empty(), "{:?}", place.keys());
}

#[test]
fn paths_and_methods_that_do_not_exist_are_refused() {
    let place = Place::local();
    let server = place.serve(&Serve::default());
    assert_eq!(server.get("/nowhere").status, 404);
    assert_eq!(server.delete("/collections").status, 405);
    assert_eq!(server.get("/../../etc/passwd").status, 404);
}

#[test]
fn a_key_is_asked_for_and_compared() {
    let place = Place::local();
    let mut server = Server::start(
        Program::cairn().args(["serve", "--store", place.url(), "--api-key", "granite"]),
        &place.folder().join("keyed.log"),
    );
    for key in [None, Some("granit"), Some("granite2"), Some("")] {
        server.api_key = key.map(ToOwned::to_owned);
        assert!(matches!(server.get("/collections").status, 401 | 403), "{key:?}");
        let create = server.put("/collections/new", &json!({"vectors": {"size": 4, "distance": "Dot"}}));
        assert!(matches!(create.status, 401 | 403), "{key:?}");
    }
    server.api_key = Some("granite".into());
    server.get("/collections").ok();
    server.api_key = None;
    let bearer = server.request("GET", "/collections").header("authorization", "Bearer granite").send().unwrap();
    assert_eq!(bearer.status().as_u16(), 200);
    assert_eq!(server.get("/healthz").status, 200, "a load balancer has no key");
}

/// Files that are no source, what `cairn index` must say about each, and nothing in the store afterwards.
#[test]
fn wrong_sources_are_refused_and_nothing_is_written() {
    let place = Place::local();
    let folder = place.folder().to_owned();
    let corpus = Corpus::new(20, 4, "first");
    corpus.write(&folder, "good");
    let path = |name: &str| folder.join(name).display().to_string();
    let good = fs::read(folder.join("good.npy")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();

    write("cut.npy", &good[..good.len() - 3]);
    write("longer.npy", &[&good[..], b"12345678"].concat());
    write("magic.npy", b"\x93NUMPX\x01\x00 and so on");
    write("empty.npy", b"");
    write("header.npy", &good[..20]);
    let mut huge = good.clone();
    let text = String::from_utf8_lossy(&huge[10..128]).replace("(20, 4)", "(99999999999, 4)");
    huge.splice(10..128, text.bytes().take(118));
    write("huge.npy", &huge);
    write("text.txt", b"1 2 3");
    write("cut.fvecs", &[&4_i32.to_le_bytes()[..], &1_f32.to_le_bytes()[..]].concat());
    write("negative.fvecs", &(-1_i32).to_le_bytes());
    for (name, value) in [("nan", f32::NAN), ("inf", f32::INFINITY)] {
        let mut vectors: Vec<Vec<f32>> = corpus.points.iter().map(|point| point.vector.clone()).collect();
        vectors[7][2] = value;
        write_npy(&folder.join(format!("{name}.npy")), &vectors);
    }
    write("uneven.jsonl", b"{\"id\": 1, \"vector\": [1, 2]}\n{\"id\": 2, \"vector\": [1, 2, 3]}\n");
    write("broken.jsonl", b"{\"id\": 1, \"vector\": [1, 2]}\n{\"id\": 2, \"vector\": [1,\n");
    write(
        "twice.jsonl",
        b"{\"id\": 5, \"vector\": [1, 2]}\n{\"id\": 6, \"vector\": [1, 3]}\n{\"id\": 5, \"vector\": [2, 2]}\n",
    );
    write("pebble.jsonl", b"{\"id\": \"pebble\", \"vector\": [1, 2]}\n");
    write("cut.parquet", b"PAR1 and nothing else");

    for (input, culprits) in [
        ("cut.npy", &["cut.npy", "byte"][..]),
        ("longer.npy", &["longer.npy"]),
        ("magic.npy", &["magic.npy"]),
        ("empty.npy", &["empty.npy"]),
        ("header.npy", &["header.npy"]),
        ("huge.npy", &["huge.npy"]),
        ("text.txt", &["text.txt", "format"]),
        ("cut.fvecs", &["cut.fvecs"]),
        ("negative.fvecs", &["negative.fvecs"]),
        ("nan.npy", &["nan.npy", "7", "finite"]),
        ("inf.npy", &["inf.npy", "7", "finite"]),
        ("uneven.jsonl", &["uneven.jsonl", "line 2"]),
        ("broken.jsonl", &["broken.jsonl", "line 2"]),
        ("twice.jsonl", &["twice.jsonl", "5", "twice"]),
        ("pebble.jsonl", &["pebble.jsonl", "line 1", "pebble"]),
        ("cut.parquet", &["cut.parquet"]),
        ("missing.npy", &["missing.npy"]),
    ] {
        let args = ["--collection", "stones", "--distance", "dot", "--input", &path(input)];
        place.cairn("index", &args).refused(culprits);
    }

    write("short.ids", b"1\n2\n3\n");
    write("twice.ids", (0..20).map(|row| format!("{}\n", row % 19)).collect::<String>().as_bytes());
    write(
        "word.ids",
        (0..20).map(|row| if row == 3 { "pebble\n".into() } else { format!("{row}\n") }).collect::<String>().as_bytes(),
    );
    write("short.jsonl", b"{}\n{}\n");
    write("list.jsonl", "[]\n".repeat(20).as_bytes());
    for (option, file, culprits) in [
        ("--ids", "short.ids", &["short.ids", "20", "3"][..]),
        ("--ids", "twice.ids", &["twice.ids", "0", "twice"]),
        ("--ids", "word.ids", &["word.ids", "line 4", "pebble"]),
        ("--payload", "short.jsonl", &["short.jsonl", "20", "2"]),
        ("--payload", "list.jsonl", &["list.jsonl", "line 1"]),
    ] {
        let args = ["--collection", "stones", "--distance", "dot", "--input", &path("good.npy"), option, &path(file)];
        place.cairn("index", &args).refused(culprits);
    }
    for (option, value) in
        [("--distance", "hamming"), ("--shards", "0"), ("--m", "257"), ("--ef-construct", "0"), ("--collection", "a/b")]
    {
        let mut args = vec!["--input".to_owned(), path("good.npy")];
        for (name, usual) in [("--distance", "dot"), ("--collection", "stones")] {
            if name != option {
                args.extend([name.to_owned(), usual.to_owned()]);
            }
        }
        args.extend([option.to_owned(), value.to_owned()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        place.cairn("index", &args).refused(&[]);
    }
    let segments = |keys: Vec<String>| keys.into_iter().filter(|key| key.ends_with(".json")).collect::<Vec<_>>();
    assert!(segments(place.keys()).is_empty(), "something was published: {:?}", place.keys());
    let server = place.serve(&Serve::default());
    assert_eq!(server.get("/collections").ok().result()["collections"], json!([]));
}

#[test]
fn an_existing_collection_is_not_replaced_by_accident() {
    let place = Place::local();
    let (corpus, server) = served(&place);
    place
        .index_program(&corpus, &Index { metric: Metric::Dot, ..Index::default() })
        .run()
        .refused(&["stones", "--replace"]);
    assert_eq!(server.count("stones"), 50);
}

#[test]
fn the_command_line_names_what_is_wrong() {
    let place = Place::local();
    let (corpus, _server) = served(&place);
    let vector = serde_json::to_string(&corpus.queries[0]).unwrap();
    for (args, culprits) in [
        (&["--collection", "stones", "--vector", "[1, 2]"][..], &["6", "2"][..]),
        (&["--collection", "stones", "--vector", "pebble"], &["--vector"]),
        (&["--collection", "stones", "--vector", "@/nowhere.json"], &["/nowhere.json"]),
        (&["--collection", "other", "--vector", &vector], &["other"]),
        (&["--collection", "stones", "--vector", &vector, "--filter", "{\"mast\": []}"], &["mast"]),
        (&["--collection", "stones", "--vector", &vector, "--filter", "{"], &["filter"]),
        (&["--collection", "stones", "--vector", &vector, "--limit", "0"], &["limit"]),
        (&["--collection", "stones"], &["--vector"]),
    ] {
        place.cairn("search", args).refused(culprits);
    }
    for (url, culprit) in [("ftp://host/x", "ftp"), ("s3://", "s3://"), ("", "store")] {
        Program::cairn().args(["inspect", "--store", url]).run().refused(&[culprit]);
    }
    Program::cairn().args(["polish"]).run().refused(&["polish"]);
}
