//! A collection several times as large as the memory and the disk that its server may take is answered as by one that has plenty.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Serve, Server, files_below, on_every_lasting_store};

on_every_lasting_store!(
    a_server_smaller_than_its_collection_answers_as_a_large_one,
    a_server_smaller_than_two_segments_answers_as_a_large_one,
);

const BUDGET_BYTES: u64 = 8_000_000;
/// So that a third of them fit.
const SHARDS: u32 = 12;

fn a_server_smaller_than_its_collection_answers_as_a_large_one(place: &Place) {
    let corpus = Corpus::new(8_000, 512, "first");
    place.index(&corpus, &Index { shards: SHARDS, ..Index::default() });
    let collection_bytes: u64 = place.segments().iter().map(|key| place.read(key).len() as u64).sum();
    assert!(collection_bytes > 5 * BUDGET_BYTES / 2, "{collection_bytes} bytes are too few to prove anything");

    let cache_dir = place.folder().join("small");
    let budget = BUDGET_BYTES.to_string();
    let small = place.serve(&Serve {
        cache_dir: Some(&cache_dir),
        cache_bytes: Some(BUDGET_BYTES),
        more: &["--memory", &budget, "--heads-bytes", "500kB", "--ranges-bytes", "500kB"],
    });
    let large = place.serve(&Serve::default());
    let lima = json!({"must": [{"key": "city", "match": {"value": "Lima"}}]});
    let ids: Vec<&Value> = corpus.points.iter().step_by(501).map(|point| &point.id).collect();
    let mut found = 0;
    for query in &corpus.queries[..6] {
        let asked = [
            ("query", json!({"query": query, "limit": 20, "with_payload": true, "params": {"exact": true}})),
            ("query", json!({"query": query, "limit": 20, "filter": lima, "params": {"exact": true}})),
            ("query", json!({"query": query, "params": {"plan": "whole"}, "with_vector": true})),
            ("query", json!({"query": query, "params": {"plan": "ranges"}, "with_payload": ["row"]})),
            ("count", json!({"filter": lima})),
            ("scroll", json!({"limit": 30, "filter": lima, "with_payload": true})),
            ("", json!({"ids": ids, "with_payload": true, "with_vector": true})),
        ];
        for (path, body) in asked {
            let path = format!("/collections/stones/points/{path}");
            let path = path.trim_end_matches('/');
            assert_eq!(small.post(path, &body).ok().result(), large.post(path, &body).ok().result(), "{path} {body}");
            let kept: u64 =
                files_below(&cache_dir).iter().map(|file| fs::metadata(file).map_or(0, |found| found.len())).sum();
            assert!(kept <= BUDGET_BYTES + 65_536, "{kept} bytes on disk");
        }
        // As its budgets are: some segments are here, others are read by ranges or fetched.
        let reply = small.query("stones", &json!({"query": query, "limit": 10})).ok();
        let truth = corpus.ranked(Metric::Cosine, query, |_| true);
        found += reply.points().iter().filter(|point| truth[..10].iter().any(|(id, _)| *id == point["id"])).count();
    }
    assert!(found >= 57, "{found} of 60");
}

/// Bytes that a server's cache takes of its disk at one moment: files, and those that are removed and still mapped.
fn taken_bytes(server: &Server, cache_dir: &Path) -> u64 {
    // Looking takes time, in which one is let go for another. What is found twice was there in between, all of it at once.
    let (before, after) = (taken(server, cache_dir), taken(server, cache_dir));
    before.iter().filter_map(|(inode, bytes)| Some(*bytes.min(after.get(inode)?))).sum()
}

/// Sizes of the files of `cache_dir`, and of those that `server` maps although they are removed, by inode: one that is mapped more than
/// once takes its space once.
fn taken(server: &Server, cache_dir: &Path) -> HashMap<u64, u64> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.process().unwrap())).unwrap_or_default();
    let dir = cache_dir.to_str().unwrap();
    let removed = maps.lines().filter(|line| line.contains(dir) && line.ends_with("(deleted)"));
    let removed = removed.map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        (words.nth(3).unwrap().parse().unwrap(), end - start)
    });
    let named = files_below(cache_dir).into_iter().filter_map(|file| fs::metadata(file).ok());
    // A download has its whole length before there is room for it, and takes its space as it is written.
    removed.chain(named.map(|file| (file.ino(), file.len().min(file.blocks() * 512)))).collect()
}

fn a_server_smaller_than_two_segments_answers_as_a_large_one(place: &Place) {
    let corpus = Corpus::new(5_000, 512, "first");
    place.index(&corpus, &Index { shards: 6, ..Index::default() });
    let largest = place.segments().iter().map(|key| place.read(key).len() as u64).max().unwrap();
    assert!(largest > 1 << 20, "segments of {largest} bytes are never read by ranges");
    let (cache_dir, leaf_dir) = (place.folder().join("small"), place.folder().join("leaf"));
    let (bytes_max, budget) = (largest * 3 / 2, (largest * 3 / 2).to_string());
    // What is fetched in the background takes the place of what a query still has mapped, which then comes on top until the query ends.
    let more = ["--memory", &budget, "--heads-bytes", "1MB", "--ranges-bytes", "1MB", "--no-hydration"];
    let serve = |dir, more: &[&str]| place.serve(&Serve { cache_dir: Some(dir), cache_bytes: Some(bytes_max), more });
    let small = serve(&cache_dir, &more);
    let leaf = serve(&leaf_dir, &[&more[..], &["--role", "leaf"]].concat());
    let root = place.serve(&Serve { more: &["--leaves", &leaf.url], ..Serve::default() });
    let large = place.serve(&Serve::default());

    let lima = json!({"must": [{"key": "city", "match": {"value": "Lima"}}]});
    let ids: Vec<&Value> =
        corpus.points.iter().step_by(401).chain(&corpus.points[..2]).map(|point| &point.id).collect();
    let (query, other) = (&corpus.queries[0], &corpus.queries[1]);
    let id = &corpus.points[7].id;
    let whole = json!({"plan": "whole", "exact": true});
    let asked = [
        ("query", json!({"query": query, "limit": 50, "with_payload": true, "params": whole})),
        ("query", json!({"query": query, "limit": 7, "offset": 9, "with_vector": true, "params": {"plan": "whole"}})),
        (
            "query",
            json!({"query": query, "limit": 9, "offset": 3, "filter": lima, "params": whole, "score_threshold": 0.01}),
        ),
        ("query", json!({"query": id, "limit": 20, "params": whole})),
        ("query", json!({"limit": 8, "offset": 5, "filter": lima, "params": whole})),
        (
            "query/batch",
            json!({"searches": [{"query": query, "params": whole}, {"query": id, "with_payload": true, "params": whole},
            {"limit": 3, "params": whole}, {"query": other, "filter": lima, "limit": 3, "with_vector": true, "params": whole}]}),
        ),
        ("count", json!({"filter": lima})),
        ("scroll", json!({"limit": 30, "filter": lima, "with_payload": true})),
        ("scroll", json!({"limit": 6_000})),
        ("", json!({"ids": ids, "with_payload": true, "with_vector": true})),
    ];
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Relaxed) {
                most = most.max(taken_bytes(&small, &cache_dir)).max(taken_bytes(&leaf, &leaf_dir));
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        // The flag is raised when a comparison panics, too.
        let asking = scope.spawn(|| {
            for (path, body) in &asked {
                let path = format!("/collections/stones/points/{path}");
                let path = path.trim_end_matches('/');
                let expected = large.post(path, body).ok();
                for server in [&small, &root] {
                    assert_eq!(server.post(path, body).ok().result(), expected.result(), "{path} {body}");
                }
            }
            let reply = small.query("stones", &asked[0].1).ok();
            assert_eq!(reply.usage("segments"), 6, "{}", reply.body["usage"]);
            assert!(reply.usage("cache_misses") >= 5, "one can have been here: {}", reply.body["usage"]);
            let missing = small.query("stones", &json!({"query": 999_999_999, "params": whole}));
            let message = large.query("stones", &json!({"query": 999_999_999, "params": whole}));
            assert_eq!((missing.status, missing.message()), (message.status, message.message()));
            // Nobody waits for this one: what it took is given back, and the next one is answered.
            let left = small.request("POST", "/collections/stones/points/query").json(&asked[0].1);
            let _ = left.timeout(Duration::from_millis(30)).send();
            assert_eq!(small.query("stones", &asked[0].1).ok().points().len(), 50);
        });
        let asked = asking.join();
        over.store(true, Relaxed);
        let most = watching.join().unwrap();
        asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        most
    });
    assert!(
        (largest / 2..=bytes_max + 65_536).contains(&most),
        "{most} bytes of disk at once, {bytes_max} are allowed"
    );
}
