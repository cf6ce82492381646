//! What readers see while and after something changes in the store.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Place, Serve, Server, eventually, on_every_store};

on_every_store!(a_replacement_is_seen_whole_or_not_at_all, a_warm_refresh_is_one_wave);

mod lasting {
    use super::{a_restart_reads_the_cache, servers_of_one_store_see_each_other};
    use crate::fixture::on_every_lasting_store;
    on_every_lasting_store!(a_restart_reads_the_cache, servers_of_one_store_see_each_other);
}

/// The edition that all points of one answer agree on.
#[track_caller]
fn edition(server: &Server, body: &Value) -> String {
    let reply = server.query("stones", body).ok();
    let editions: Vec<&Value> = reply.points().iter().map(|point| &point["payload"]["edition"]).collect();
    assert!(!editions.is_empty(), "{}\nfound nothing", reply.asked);
    assert!(editions.iter().all(|edition| *edition == editions[0]), "old and new in one answer: {editions:?}");
    editions[0].as_str().unwrap().to_owned()
}

fn a_replacement_is_seen_whole_or_not_at_all(place: &Place) {
    let (first, second) = (Corpus::new(300, 8, "first"), Corpus::new(500, 8, "second"));
    let options = Index { shards: 3, ..Index::default() };
    place.index(&first, &options);
    let server = place.serve(&Serve::default());
    let body = json!({"query": first.queries[0], "limit": 300, "with_payload": ["edition"], "params": {"exact": true}});
    assert_eq!(edition(&server, &body), "first");

    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen_second = false;
                while !done.load(Ordering::Relaxed) {
                    let now = edition(&server, &body);
                    assert!(!seen_second || now == "second", "an answer went back to the old generation");
                    seen_second = now == "second";
                    let count = server.count("stones");
                    assert!(count == 300 || count == 500, "half a generation: {count} points");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The indexing overlaps with questions: at least one before it begins, and more until it has ended.
        eventually("a question was answered", || (asked.load(Ordering::Relaxed) > 0).then_some(()));
        place.index(&second, &Index { replace: true, ..options.clone() });
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(edition(&server, &body), "second", "the first question after publishing sees the new generation");
    assert_eq!(server.count("stones"), 500);
}

fn a_warm_refresh_is_one_wave(place: &Place) {
    let corpus = Corpus::new(300, 8, "first");
    place.index(&corpus, &Index { shards: 3, ..Index::default() });
    let server = place.serve(&Serve::default());
    let body = json!({"query": corpus.queries[0], "params": {"exact": true}});
    let cold = server.query("stones", &body).ok();
    assert_eq!(cold.usage("cache_misses"), 3, "every shard's segment is fetched once");
    assert!(cold.usage("store_bytes") > 300 * 8, "{}", cold.body["usage"]);

    for _ in 0..3 {
        let warm = server.query("stones", &body).ok();
        assert_eq!(warm.usage("waves"), 1, "{}", warm.body["usage"]);
        // collection.json, by a conditional GET; the manifests stand in it.
        assert_eq!(warm.usage("gets"), 1, "{}", warm.body["usage"]);
        assert_eq!((warm.usage("puts"), warm.usage("cache_misses")), (0, 0), "{}", warm.body["usage"]);
        assert_eq!(warm.usage("cache_hits"), 3, "{}", warm.body["usage"]);
        assert_eq!(warm.usage("segments"), 3, "{}", warm.body["usage"]);
        assert!(warm.usage("vectors_scored") >= 300, "{}", warm.body["usage"]);
        assert_eq!(warm.result(), cold.result());
    }
}

fn a_restart_reads_the_cache(place: &Place) {
    let corpus = Corpus::new(600, 16, "first");
    place.index(&corpus, &Index::default());
    let segment_bytes: usize = place.segments().iter().map(|key| place.read(key).len()).sum();
    let cache_dir = place.folder().join("kept");
    let options = Serve { cache_dir: Some(&cache_dir), ..Serve::default() };
    let body = json!({"query": corpus.queries[0], "limit": 20, "with_payload": true, "params": {"exact": true}});

    let server = place.serve(&options);
    let cold = server.query("stones", &body).ok();
    assert!(cold.usage("store_bytes") as usize >= segment_bytes, "{}", cold.body["usage"]);
    drop(server); // kill -9

    let server = place.serve(&options);
    let warm = server.query("stones", &body).ok();
    assert_eq!((warm.usage("cache_misses"), warm.usage("cache_hits")), (0, 2), "{}", warm.body["usage"]);
    assert!((warm.usage("store_bytes") as usize) < segment_bytes / 2, "{}", warm.body["usage"]);
    assert_eq!(warm.result(), cold.result());
}

fn servers_of_one_store_see_each_other(place: &Place) {
    let shared = place.folder().join("shared-cache");
    let options = Serve { cache_dir: Some(&shared), ..Serve::default() };
    let (one, two) = (place.serve(&options), place.serve(&options));
    one.put("/collections/pebbles", &json!({"vectors": {"size": 2, "distance": "Dot"}})).ok();
    assert_eq!(two.count("pebbles"), 0);
    two.put("/collections/pebbles", &json!({"vectors": {"size": 2, "distance": "Dot"}})).refused(409, &["pebbles"]);

    let corpus = Corpus::new(300, 8, "first");
    place.index(&corpus, &Index::default());
    let expected = one.exact_ids("stones", &corpus.queries[0], 10);
    assert_eq!(two.exact_ids("stones", &corpus.queries[0], 10), expected);
    let shorter = Corpus { points: corpus.points[..100].to_vec(), queries: corpus.queries.clone() };
    place.index(&shorter, &Index { replace: true, ..Index::default() });
    assert_eq!((one.count("stones"), two.count("stones")), (100, 100));

    two.delete("/collections/stones").ok();
    one.get("/collections/stones").refused(404, &["stones"]);
    one.query("stones", &json!({"query": corpus.queries[0]})).refused(404, &["stones"]);
    // A name that is used again is not mistaken for the old collection, whatever is in a cache.
    place.index(&corpus, &Index::default());
    assert_eq!((one.count("stones"), two.count("stones")), (300, 300));
    assert_eq!(one.exact_ids("stones", &corpus.queries[0], 10), expected);
}
