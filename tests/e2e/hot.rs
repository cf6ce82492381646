//! The hot tier as a user meets it: off by default, under a budget, and never another answer.

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Serve, Server, eventually};

const DIM: usize = 48;
/// So that the small segments of tests are walked and not scanned.
const WALKED: [&str; 2] = ["--full-scan-threshold", "1"];

/// One of the hot tier's gauges.
fn gauge(server: &Server, name: &str) -> u64 {
    server.get("/telemetry").ok().result()["cairn"]["hot"][name].as_u64().unwrap()
}

/// Searches of all segments that walked an expanded graph.
fn hot_searches(server: &Server) -> u64 {
    server.get("/telemetry").ok().result()["cairn"]["strategies"]["hot"]["count"].as_u64().unwrap()
}

/// Asks all queries; the share of the nearest ten that was found among those of brute force.
fn recall(server: &Server, corpus: &Corpus, metric: Metric) -> f64 {
    let (mut found, mut wanted) = (0u32, 0u32);
    for query in &corpus.queries {
        let body = json!({"query": query, "params": {"hnsw_ef": 200}});
        let reply = server.query("stones", &body).ok();
        assert_eq!(reply.points().len(), 10);
        let ranked = corpus.ranked(metric, query, |_| true);
        for point in reply.points() {
            let known = ranked.iter().find(|(id, _)| *id == point["id"]);
            let (score, right) = (point["score"].as_f64().unwrap(), known.unwrap().1);
            assert!((score - right).abs() <= 1e-3 * right.abs().max(1.0), "scores are those of the originals: {point}");
            found += u32::from(ranked[..10].iter().any(|(id, _)| *id == point["id"]));
            wanted += 1;
        }
    }
    f64::from(found) / f64::from(wanted)
}

#[test]
fn it_is_off_until_it_is_given_a_budget() {
    let place = Place::local();
    let corpus = Corpus::new(600, DIM, "first");
    place.index(&corpus, &Index { shards: 1, more: &WALKED, ..Index::default() });
    let off = json!({"bytes": 0, "segments": 0, "expansions": 0, "drops": 0});
    // By default, and with a budget that the segment does not fit in.
    for more in [&[] as &[&str], &["--hot-bytes", "100KB"]] {
        let server = place.serve(&Serve { more, ..Serve::default() });
        for query in corpus.queries.iter().cycle().take(50) {
            server.query("stones", &json!({ "query": query })).ok();
        }
        assert_eq!(server.get("/telemetry").ok().result()["cairn"]["hot"], off, "{more:?}");
        assert_eq!(hot_searches(&server), 0);
        let metrics = server.request("GET", "/metrics").send().unwrap().text().unwrap();
        for name in ["bytes", "segments", "expansions_total", "drops_total"] {
            assert!(metrics.contains(&format!("cairn_hot_{name} 0")), "{name}\n{metrics}");
        }
    }
    place.cairn("serve", &["--hot-bytes", "lots"]).refused(&["--hot-bytes", "lots", "auto"]);
}

#[test]
fn what_is_searched_often_is_expanded_and_stays_right() {
    let place = Place::local();
    let corpus = Corpus::new(1_500, DIM, "first");
    for (metric, budget) in [(Metric::Euclid, "64MiB"), (Metric::Dot, "auto"), (Metric::Cosine, "64MiB")] {
        let options = Index { shards: 2, metric, replace: true, more: &WALKED, ..Index::default() };
        place.index(&corpus, &options);
        let server = place.serve(&Serve { more: &["--hot-bytes", budget], ..Serve::default() });
        let warm = recall(&server, &corpus, metric);
        eventually("both segments are expanded", || {
            server.query("stones", &json!({ "query": corpus.queries[0] })).ok();
            (gauge(&server, "segments") == 2).then_some(())
        });
        let before = hot_searches(&server);
        let hot = recall(&server, &corpus, metric);
        assert_eq!(hot_searches(&server), before + 2 * corpus.queries.len() as u64);
        assert!(warm > 0.97 && hot > 0.97, "{metric:?}: {warm} warm, {hot} hot");
        // At least the 8-bit code of every point and the one-bit codes of a group of neighbours.
        let bytes = gauge(&server, "bytes");
        assert!(bytes > (corpus.points.len() * (DIM + 16 * DIM / 8)) as u64 && bytes < 64 << 20, "{bytes}");
        assert_eq!((gauge(&server, "expansions"), gauge(&server, "drops")), (2, 0));
    }
}

#[test]
fn segments_that_are_replaced_leave_nothing_behind() {
    let place = Place::local();
    let (first, second) = (Corpus::new(1_200, DIM, "first"), Corpus::new(700, DIM, "second"));
    let options = Index { shards: 1, replace: true, more: &WALKED, ..Index::default() };
    place.index(&first, &options);
    let server = place.serve(&Serve { more: &["--hot-bytes", "64MiB"], ..Serve::default() });
    let expanded = |corpus: &Corpus, expansions| {
        eventually("the segment is expanded", || {
            server.query("stones", &json!({ "query": corpus.queries[0] })).ok();
            (gauge(&server, "segments") == 1 && gauge(&server, "expansions") == expansions).then_some(())
        });
        gauge(&server, "bytes")
    };
    let before = expanded(&first, 1);
    place.index(&second, &options);
    let after = expanded(&second, 2);
    assert!(after * 10 < before * 8, "{after} bytes of 700 points, {before} of 1200");
    // Filters go through the same copy, or through plans of their own.
    let answer = server.query("stones", &json!({"query": second.queries[0], "filter": {"must": []}})).ok();
    let known: Vec<&Value> = second.points.iter().map(|point| &point.id).collect();
    assert!(answer.points().iter().all(|point| known.contains(&&point["id"])));
}
