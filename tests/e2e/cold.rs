//! A searcher that has nothing answers from a few byte ranges, in few waves; the counts are bounds that must not creep up.

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Program, Reply, Serve, Server, eventually, files_below, write_npy};

const DIM: usize = 64;
const SHARDS: u32 = 2;

/// What a query may cost at most.
struct Bound {
    waves: u64,
    gets: u64,
}

/// From nothing: collection.json, heads, codes, rows. With heads: codes beside the look for a newer version, rows.
const FIRST: Bound = Bound { waves: 4, gets: 40 };
const NEXT: Bound = Bound { waves: 2, gets: 38 };

fn indexed(place: &Place, metric: Metric) -> Corpus {
    let corpus = Corpus::new(8_000, DIM, "first");
    place.index(&corpus, &Index { metric, shards: SHARDS, ..Index::default() });
    corpus
}

fn cold(place: &Place) -> Server {
    place.serve(&Serve { more: &["--no-hydration"], ..Serve::default() })
}

fn body(query: &[f32], plan: &str, filter: Option<&Value>) -> Value {
    let mut body = json!({"query": query, "limit": 10, "with_payload": true, "params": {"plan": plan}});
    if let Some(filter) = filter {
        body["filter"] = filter.clone();
    }
    body
}

#[track_caller]
fn within(reply: &Reply, bound: &Bound) {
    let (waves, gets) = (reply.usage("waves"), reply.usage("gets"));
    assert!(waves <= bound.waves && gets <= bound.gets, "{waves} waves, {gets} GETs: {}", reply.body["usage"]);
}

/// The share of the true ten that were found; each with its true score and its own payload.
#[track_caller]
fn recall(corpus: &Corpus, metric: Metric, query: &[f32], reply: &Reply, keep: impl Fn(&Value) -> bool) -> f64 {
    let truth = corpus.ranked(metric, query, |point| keep(&point.payload));
    let wanted = truth.len().min(10);
    let points = reply.points();
    assert_eq!(points.len(), wanted, "{}", reply.body);
    let mut found = 0;
    for point in points {
        let original = corpus.point(&point["id"]);
        assert_eq!(point["payload"], original.payload);
        assert!(keep(&original.payload), "{point} does not match");
        let (score, truth) = (point["score"].as_f64().unwrap(), metric.score(query, &original.vector));
        assert!((score - truth).abs() < 1e-3 * truth.abs().max(1.0), "{point}: {truth}");
    }
    for (id, _) in &truth[..wanted] {
        found += usize::from(points.iter().any(|point| point["id"] == *id));
    }
    found as f64 / wanted as f64
}

fn few_waves_find_nearly_all(place: &Place, metric: Metric) {
    let corpus = indexed(place, metric);
    let mut sum = 0.0;
    for (number, query) in corpus.queries.iter().enumerate() {
        // A new process every few queries: what is counted is what one without anything asks for.
        let server = if number < 3 { Some(cold(place)) } else { None };
        let Some(server) = server else { continue };
        let first = server.query("stones", &body(query, "ranges", None)).ok();
        within(&first, &FIRST);
        let file_bytes: u64 = place.segments().iter().map(|key| place.read(key).len() as u64).sum();
        assert!(first.usage("store_bytes") < file_bytes / 2, "{} of {file_bytes}", first.usage("store_bytes"));
        sum += recall(&corpus, metric, query, &first, |_| true) / 3.0;
        let mut next = 0.0;
        for query in &corpus.queries {
            let reply = server.query("stones", &body(query, "ranges", None)).ok();
            within(&reply, &NEXT);
            next += recall(&corpus, metric, query, &reply, |_| true) / corpus.queries.len() as f64;
        }
        assert!(next >= 0.93, "recall {next}");
    }
    assert!(sum >= 0.9, "recall {sum}");
}

#[test]
fn a_cold_search_takes_four_waves_and_with_heads_two() {
    few_waves_find_nearly_all(&Place::local(), Metric::Cosine);
}

#[test]
#[ignore = "needs LocalStack"]
fn localstack_a_cold_search_takes_four_waves_and_with_heads_two() {
    few_waves_find_nearly_all(&Place::localstack(), Metric::Euclid);
}

#[test]
fn a_filter_costs_no_wave_more() {
    let place = Place::local();
    let corpus = indexed(&place, Metric::Euclid);
    type Keep = fn(&Value) -> bool;
    let filters: [(Value, Keep); 3] = [
        (json!({"must": [{"key": "city", "match": {"value": "Lima"}}]}), |payload| payload["city"] == "Lima"),
        (json!({"must": [{"key": "row", "range": {"lt": 400}}]}), |payload| payload["row"].as_u64().unwrap() < 400),
        (json!({"must": [{"key": "row", "range": {"gte": 4, "lt": 9}}]}), |payload| {
            (4..9).contains(&payload["row"].as_u64().unwrap())
        }),
    ];
    for (filter, keep) in &filters {
        let server = cold(&place);
        let mut sum = 0.0;
        for (number, query) in corpus.queries.iter().enumerate() {
            let reply = server.query("stones", &body(query, "ranges", Some(filter))).ok();
            within(&reply, if number == 0 { &FIRST } else { &NEXT });
            sum += recall(&corpus, Metric::Euclid, query, &reply, keep) / corpus.queries.len() as f64;
        }
        assert!(sum >= 0.93, "{filter}: recall {sum}");
    }
}

#[test]
fn everything_else_answers_from_ranges_as_it_does_from_files() {
    let place = Place::local();
    let corpus = indexed(&place, Metric::Cosine);
    let (far, near) = (cold(&place), place.serve(&Serve::default()));
    // Fetches all files.
    near.query("stones", &body(&corpus.queries[0], "whole", None)).ok();
    let lima = json!({"must": [{"key": "city", "match": {"value": "Lima"}}]});
    let ids: Vec<&Value> = corpus.points.iter().step_by(777).map(|point| &point.id).collect();
    let asked = [
        ("points/count", json!({"exact": true, "filter": lima})),
        ("points/scroll", json!({"limit": 7, "with_payload": true, "with_vector": true})),
        ("points/scroll", json!({"limit": 7, "filter": lima, "offset": 1_000})),
        ("points", json!({"ids": ids, "with_payload": true, "with_vector": true})),
        (
            "points/query",
            json!({"query": corpus.queries[1], "limit": 5, "params": {"exact": true}, "with_payload": true}),
        ),
        ("points/query", json!({"query": corpus.points[5].id, "limit": 5, "params": {"exact": true}})),
        ("points/query", json!({"limit": 5, "filter": lima, "with_payload": ["city"]})),
    ];
    for (path, request) in asked {
        let path = format!("/collections/stones/{path}");
        let (far, near) = (far.post(&path, &request).ok(), near.post(&path, &request).ok());
        assert_eq!(far.result(), near.result(), "{path} {request}");
    }
    let batch =
        json!({"searches": corpus.queries.iter().take(5).map(|query| body(query, "ranges", None)).collect::<Vec<_>>()});
    let reply = far.post("/collections/stones/points/query/batch", &batch).ok();
    assert_eq!(reply.result().as_array().map(Vec::len), Some(5));
    assert!(reply.usage("waves") <= 2, "a batch shares its waves: {}", reply.body["usage"]);
}

#[test]
fn what_was_read_by_ranges_is_fetched_behind_the_answer() {
    let place = Place::local();
    let corpus = indexed(&place, Metric::Cosine);
    let cache_dir = place.folder().join("filled");
    let server = place.serve(&Serve { cache_dir: Some(&cache_dir), ..Serve::default() });
    let first = server.query("stones", &body(&corpus.queries[0], "auto", None)).ok();
    assert!(first.usage("waves") <= 4, "{}", first.body["usage"]);
    eventually("all segments are here", || {
        let here = files_below(&cache_dir).iter().filter(|file| file.extension().is_some_and(|e| e == "seg")).count();
        (here == SHARDS as usize).then_some(())
    });
    for query in &corpus.queries {
        let reply = server.query("stones", &body(query, "auto", None)).ok();
        assert_eq!((reply.usage("waves"), reply.usage("gets")), (1, 1), "{}", reply.body["usage"]);
        assert_eq!(reply.usage("cache_hits"), u64::from(SHARDS));
        assert!(recall(&corpus, Metric::Cosine, query, &reply, |_| true) >= 0.8);
    }
}

#[test]
fn a_cache_too_small_for_any_segment_answers_by_ranges() {
    let place = Place::local();
    let corpus = indexed(&place, Metric::Cosine);
    let server = place.serve(&Serve { cache_bytes: Some(1 << 20), ..Serve::default() });
    let mut sum = 0.0;
    for query in &corpus.queries {
        let reply = server.query("stones", &body(query, "auto", None)).ok();
        assert!(reply.usage("waves") <= 4);
        sum += recall(&corpus, Metric::Cosine, query, &reply, |_| true) / corpus.queries.len() as f64;
    }
    assert!(sum >= 0.93, "recall {sum}");
}

#[test]
fn a_bundle_of_heads_that_is_damaged_or_gone_is_named() {
    let place = Place::local();
    let corpus = indexed(&place, Metric::Cosine);
    let heads: Vec<String> = place.keys().into_iter().filter(|key| key.ends_with(".heads")).collect();
    assert!(!heads.is_empty());
    for key in &heads {
        let mut bytes = place.read(key);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        place.overwrite(key, bytes);
    }
    let query = body(&corpus.queries[0], "ranges", None);
    cold(&place).query("stones", &query).refused(500, &["checksum"]);
    // The files do not need them.
    cold(&place).query("stones", &body(&corpus.queries[0], "whole", None)).ok();
    heads.iter().for_each(|key| place.remove(key));
    let reply = cold(&place).query("stones", &query);
    assert!(matches!(reply.status, 500 | 503), "{}", reply.body);
}

#[test]
fn receipts_say_what_a_query_took_and_explain_what_it_would() {
    let place = Place::local();
    let corpus = indexed(&place, Metric::Cosine);
    let server = place.serve(&Serve { more: &["--no-hydration", "--price-gets", "1000000"], ..Serve::default() });
    let query = body(&corpus.queries[0], "ranges", None);
    let mut asked = query.clone();
    asked["explain"] = json!(true);
    let plan = server.query("stones", &asked).ok();
    let (steps, estimate) = (plan.result()["plan"].as_array().unwrap(), &plan.result()["estimate"]);
    assert_eq!(steps.len(), SHARDS as usize);
    assert!(steps.iter().all(|step| step["read"] == "ranges" && step["waves"] == 4), "{}", plan.body);
    assert!(plan.usage("gets") <= 1 && plan.usage("vectors_scored") == 0, "it did not run: {}", plan.body["usage"]);
    let reply = server.query("stones", &query).ok();
    // A GET costs a dollar here.
    assert_eq!(reply.usage("cost_nanodollars"), reply.usage("gets") * 1_000_000_000);
    assert!(reply.usage("cpu_us") > 0);
    assert!(reply.usage("gets") <= estimate["gets"].as_u64().unwrap(), "{}", plan.body);
    assert!(reply.usage("waves") <= estimate["waves"].as_u64().unwrap());
    let mut dear = query.clone();
    dear["params"]["max_cost"] = json!(1.5);
    let refused = server.query("stones", &dear).refused(400, &["estimated to cost", "max_cost is 1.5"]);
    assert!(refused.body.get("result").is_none());
    dear["params"]["max_cost"] = json!(1_000.0);
    server.query("stones", &dear).ok();
    dear["params"]["max_cost"] = json!(-1.0);
    server.query("stones", &dear).refused(422, &["params.max_cost"]);
    // With everything here, only the look for a newer version is paid for.
    server.query("stones", &body(&corpus.queries[0], "whole", None)).ok();
    asked["params"]["plan"] = json!("auto");
    let plan = server.query("stones", &asked).ok();
    assert!(plan.result()["plan"].as_array().unwrap().iter().all(|step| step["read"] == "here"), "{}", plan.body);
    assert_eq!((plan.result()["cost_usd"].as_f64(), &plan.result()["estimate"]["gets"]), (Some(1.0), &json!(1)));
}

#[test]
fn bench_measures_the_cold_tier_over_delays() {
    const LATENCY_MS: f64 = 20.0;
    let folder = tempfile::tempdir().unwrap();
    let corpus = Corpus::new(3_000, DIM, "first");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let vectors: Vec<Vec<f32>> = corpus.points.iter().map(|point| point.vector.clone()).collect();
    write_npy(folder.path().join("base.npy").as_path(), &vectors);
    write_npy(folder.path().join("queries.npy").as_path(), &corpus.queries);
    let (base, queries) = (path("base.npy"), path("queries.npy"));
    let bench = |more: &[&str]| {
        let all = ["bench", "--base", &base, "--queries", &queries, "--distance", "euclid", "--tier", "cold"];
        Program::cairn().args(all).args(["--queries-max", "6"]).args(more.iter().copied()).run()
    };
    let report = |plan: &str| -> Value {
        // Every request waits equally long, so that a wave takes at least that.
        let far = ["--json", "--cold-latency", "20,20", "--cold-bandwidth", "80,78", "--cold-plan", plan];
        serde_json::from_str(&bench(&far).ok().stdout).unwrap()
    };
    for plan in ["ranges", "whole"] {
        let report = report(plan);
        assert_eq!(report["cold"]["plan"], plan);
        assert_eq!(report["cold"]["bandwidth_mb_s"], json!([80.0, 78.0]));
        let [empty, heads] = [0, 1].map(|at| &report["runs"][at]);
        assert_eq!((&empty["state"], &heads["state"]), (&json!("empty"), &json!("heads")), "{report}");
        for run in [empty, heads] {
            let figure = |name: &str| run[name].as_f64().unwrap();
            assert!(figure("recall") >= 0.9, "{run}");
            assert!(figure("p50_ms") >= LATENCY_MS * figure("waves") && figure("p99_ms") >= figure("p50_ms"), "{run}");
            assert!(figure("gets") >= figure("waves") && figure("waves") >= 1.0, "{run}");
            assert!(figure("waves") <= figure("waves_max") && figure("store_bytes") <= figure("store_bytes_max"));
        }
        let count = |run: &Value, name: &str| run[name].as_u64().unwrap();
        let file_bytes = count(&report, "bytes");
        if plan == "ranges" {
            assert!(count(empty, "waves_max") <= FIRST.waves && count(heads, "waves_max") <= NEXT.waves, "{report}");
            assert!(count(empty, "store_bytes") < file_bytes, "{report}");
        } else {
            // From nothing the whole file, over 80 MB/s at best; then only the look for a newer version.
            assert!(count(empty, "store_bytes") >= file_bytes && count(heads, "store_bytes") == 0, "{report}");
            assert_eq!(count(heads, "gets"), 1, "{report}");
        }
    }
    let shown = bench(&["--cold-latency", "1,1", "--recall-target", "0.8,0.95"]).ok().stdout;
    assert!(shown.contains("@0.95") && shown.contains("heads") && shown.contains("waves (max)"), "{shown}");
    bench(&["--ef", "20"]).refused(&["--recall-target"]);
    bench(&["--cold-latency", "9,3"]).refused(&["--cold-latency", "below the median"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "bench leaves nothing behind");
}
