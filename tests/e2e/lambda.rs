//! The two functions under the real Lambda Runtime API: an event for the indexer, function-URL requests for the searcher.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Life, Metric, Place, Program, Serve, Server, binary, on_every_lasting_function};

on_every_lasting_function!(
    an_event_indexes_and_a_function_url_answers,
    events_build_shards_apart_and_publish_them,
    wrong_events_and_requests_are_refused,
    functions_without_a_url_are_leaves,
);

/// What the tests speak to, as `localstack/functions` starts it.
struct Cloud<'a> {
    searcher: Server,
    indexer: Server,
    place: &'a Place,
}

fn script(name: &str) -> Program {
    Program::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("localstack").join(name))
}

/// The value of a line `export NAME=VALUE`.
fn exported(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

impl<'a> Cloud<'a> {
    fn start(place: &'a Place) -> Self {
        let dir = place.folder().join("functions").display().to_string();
        let programs = binary("cairn").parent().unwrap().display().to_string();
        let program = script("functions").env(place.env());
        let started = program.args(["--store", place.url(), "--programs", &programs, "--dir", &dir]).run().ok();
        let at = |name: &str| Server::at(exported(&started.stdout, name), Life::Elsewhere);
        Self { searcher: at("CAIRN_SEARCHER_URL"), indexer: at("CAIRN_INDEXER_URL"), place }
    }

    fn event(&self, event: &Value) -> Value {
        self.indexer.post("", event).body
    }
}

impl Drop for Cloud<'_> {
    fn drop(&mut self) {
        let dir = self.place.folder().join("functions");
        if std::thread::panicking() {
            for name in ["emulator", "searcher", "indexer"] {
                let log = fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
                eprintln!("---- the log of {name}:\n{log}");
            }
        }
        script("functions").args(["--stop", "--dir", &dir.display().to_string()]).run();
    }
}

/// Puts a corpus where the indexer function can read it: into the store where that is S3, else beside it.
fn source(place: &Place, corpus: &Corpus) -> impl Fn(&str) -> String {
    corpus.write(place.folder(), "source");
    let remote = place.url().contains("://");
    if remote {
        for extension in ["npy", "ids", "jsonl"] {
            let bytes = fs::read(place.folder().join(format!("source.{extension}"))).unwrap();
            place.overwrite(&format!("sources/source.{extension}"), bytes);
        }
    }
    let folder = if remote { format!("{}/sources", place.url()) } else { place.folder().display().to_string() };
    move |extension| format!("{folder}/source.{extension}")
}

fn an_event_indexes_and_a_function_url_answers(place: &Place) {
    let corpus = Corpus::new(300, 12, "first");
    let file = source(place, &corpus);
    let cloud = Cloud::start(place);
    let report = cloud.event(&json!({
        "source": file("npy"), "collection": "stones", "distance": "euclid",
        "options": {"ids": file("ids"), "payload": file("jsonl"), "shards": 2},
    }));
    assert_eq!((&report["points"], &report["segments"]), (&json!(300), &json!(2)), "{report}");

    let searcher = &cloud.searcher;
    assert_eq!(searcher.get("/healthz").status, 200);
    assert!(searcher.get("/").body["version"].is_string());
    for query in &corpus.queries[..5] {
        let expected: Vec<Value> =
            corpus.ranked(Metric::Euclid, query, |_| true).into_iter().take(10).map(|(id, _)| id).collect();
        assert_eq!(searcher.exact_ids("stones", query, 10), expected);
    }
    assert_eq!(searcher.count("stones"), 300);
    let id = corpus.points[2].id.as_str().unwrap();
    let point = searcher.get(&format!("/collections/stones/points/{id}")).ok();
    assert_eq!(point.result()["payload"], corpus.points[2].payload);
    searcher.put("/collections/new", &json!({"vectors": {"size": 2, "distance": "Dot"}})).ok();
    searcher.delete("/collections/new").ok();

    let pinned = cloud.event(&json!({"job": "snapshot", "collection": "stones", "name": "first"}));
    assert_eq!(pinned["points"], 300, "{pinned}");
    let clone = cloud.event(&json!({"job": "clone", "collection": "stones", "to": "copy", "as_of": "snapshot:first"}));
    assert_eq!(clone["points"], 300, "{clone}");

    // A container that was frozen and thawed sees what changed meanwhile.
    place.index(&Corpus::new(100, 12, "second"), &Index { metric: Metric::Euclid, replace: true, ..Index::default() });
    assert_eq!(searcher.count("stones"), 100);
    let back = cloud.event(&json!({"job": "rollback", "collection": "stones", "snapshot": "first"}));
    assert_eq!((&back["points"], searcher.count("stones"), searcher.count("copy")), (&json!(300), 300, 300), "{back}");
    let again = cloud.event(&json!({
        "job": "reindex", "source": file("npy"), "collection": "stones",
        "options": {"ids": file("ids"), "payload": file("jsonl"), "recall_samples": 20},
    }));
    assert_eq!((&again["gate"]["recall"], &again["gate"]["points_before"]), (&json!(1.0), &json!(300)), "{again}");
    let source = file("npy");
    let refused = cloud.event(&json!({
        "job": "reindex", "source": source, "collection": "stones", "options": {"min_points_ratio": 2},
    }));
    assert!(refused["errorMessage"].as_str().is_some_and(|message| message.contains("a ratio of 1.000")), "{refused}");
}

fn wrong_events_and_requests_are_refused(place: &Place) {
    let corpus = Corpus::new(30, 4, "first");
    let file = source(place, &corpus);
    let cloud = Cloud::start(place);
    for (event, culprit) in [
        (json!({"collection": "stones", "distance": "dot"}), "source"),
        (json!({"source": file("npy"), "collection": "../up", "distance": "dot"}), "/"),
        (json!({"source": file("npy"), "collection": "stones", "distance": "hamming"}), "hamming"),
        (json!({"source": file("npy"), "collection": "stones", "distance": "dot", "options": {"shard": 2}}), "shard"),
        (json!({"job": "rollback", "collection": "stones"}), "twice"),
        (json!({"job": "reindexx", "collection": "stones"}), "reindexx"),
        (json!({"job": "clone", "collection": "stones", "to": "copy"}), "stones"),
        (json!({"source": file("nothing"), "collection": "stones", "distance": "dot"}), "source.nothing"),
        (json!({"source": file("jsonl"), "collection": "stones", "distance": "dot"}), "line 1"),
        (json!({"job": "sing", "source": file("npy"), "collection": "stones"}), "sing"),
        (json!({"job": "publish", "collection": "stones", "generation": "01J00000000000000000000000"}), "no shard"),
        (json!({"job": "begin", "source": file("npy"), "collection": "stones"}), "shards"),
    ] {
        let answer = cloud.event(&event);
        let message = answer["errorMessage"].as_str().unwrap_or_else(|| panic!("{event}\nis no error: {answer}"));
        assert!(message.contains(culprit), "{event}\nnames no {culprit:?}: {message}");
    }
    cloud.searcher.query("stones", &json!({"query": [1, 2, 3, 4]})).refused(404, &["stones"]);
    let text = cloud.searcher.post_text("/collections/stones/points/query", "{");
    text.refused(400, &["Format error in JSON body"]);
    // None of this ended a function.
    cloud.searcher.get("/collections").ok();
    let event = json!({"source": file("npy"), "collection": "stones", "distance": "dot"});
    assert_eq!(cloud.event(&event)["points"], 30);
}

/// What the state machine in `infra/shards.tf` sends, in its order and out of it.
fn events_build_shards_apart_and_publish_them(place: &Place) {
    let corpus = Corpus::new(300, 12, "first");
    let file = source(place, &corpus);
    let cloud = Cloud::start(place);
    let mut event = json!({
        "job": "begin", "source": file("npy"), "collection": "stones", "distance": "euclid",
        "options": {"ids": file("ids"), "payload": file("jsonl"), "shards": 3},
    });
    let begun = cloud.event(&event);
    assert_eq!(begun["shards"], json!([0, 1, 2]), "{begun}");
    let publish = json!({"job": "publish", "collection": "stones", "generation": begun["generation"]});
    event["job"] = "shard".into();
    event["generation"] = begun["generation"].clone();
    let mut points = 0;
    for (shard, built) in [(1, true), (1, false), (0, true)] {
        event["shard"] = shard.into();
        let report = cloud.event(&event);
        assert_eq!((&report["built"], &report["rows"]), (&json!(built), &json!(300)), "{report}");
        points += if built { report["points"].as_u64().unwrap() } else { 0 };
    }
    let early = cloud.event(&publish);
    assert!(early["errorMessage"].as_str().unwrap().contains("1 of 3 shards are not built: 2"), "{early}");
    assert_eq!(early["errorType"], "Conflict");
    event["shard"] = 2.into();
    points += cloud.event(&event)["points"].as_u64().unwrap();
    assert_eq!(points, 300);
    for _ in 0..2 {
        let report = cloud.event(&publish);
        assert_eq!((&report["points"], &report["segments"]), (&json!(300), &json!(3)), "{report}");
    }
    for query in &corpus.queries[..3] {
        let expected: Vec<Value> =
            corpus.ranked(Metric::Euclid, query, |_| true).into_iter().take(10).map(|(id, _)| id).collect();
        assert_eq!(cloud.searcher.exact_ids("stones", query, 10), expected);
    }
}

/// What the README tells people to run.
#[test]
#[ignore = "needs cargo-lambda and LocalStack: run tests/run"]
fn the_serverless_shape_on_a_laptop() {
    let place = Place::local();
    let programs = binary("cairn").parent().unwrap().display().to_string();
    let dir = place.folder().join("serverless").display().to_string();
    let shown = script("serverless").args(["--once", "--programs", &programs, "--dir", &dir]).run().ok().stdout;
    assert!(shown.contains("\"points\":3500"), "{shown}");
    let answer = shown.split_once("/collections/cve/points/query").unwrap().1;
    // The record that the question is about, as `cairn demo` marks it.
    assert!(answer.contains("  3245  "), "{shown}");
    for left in ["functions", "localstack"] {
        let pids = crate::fixture::files_below(&Path::new(&dir).join(left));
        assert!(pids.iter().all(|path| !path.to_string_lossy().ends_with("pid")), "left running: {pids:?}");
    }
}

fn functions_without_a_url_are_leaves(place: &Place) {
    let corpus = Corpus::new(300, 12, "first");
    place.index(&corpus, &Index { shards: 6, ..Index::default() });
    let cloud = Cloud::start(place);
    let one = place.serve(&Serve::default());
    let (endpoint, name) = cloud.searcher.url.split_once("/lambda-url/").unwrap();
    let root = |leaves: &str, number: usize| {
        let mut env = place.env().to_vec();
        let ours = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
        for (name, value) in ours {
            if env.iter().all(|(known, _)| known != name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        let cache = place.folder().join(format!("root-cache-{number}")).display().to_string();
        let program = Program::cairn().env(&env).args(["serve", "--store", place.url(), "--cache-dir", &cache]);
        let program = program.args(["--leaves", leaves, "--lambda-endpoint", endpoint, "--request-timeout", "20"]);
        Server::start(program, &place.folder().join(format!("root-{number}.log")))
    };
    let leaf = format!("lambda:{name}");
    let by_invoke = root(&leaf, 0);
    for query in &corpus.queries[..3] {
        for body in [
            json!({"query": query, "limit": 300, "params": {"exact": true}, "with_payload": true, "with_vector": true}),
            json!({"query": query, "filter": {"must": [{"key": "city", "match": {"value": "Oslo"}}]}}),
            json!({"query": corpus.points[5].id, "limit": 7}),
        ] {
            let (expected, got) = (one.query("stones", &body).ok(), by_invoke.query("stones", &body).ok());
            assert_eq!(got.result(), expected.result(), "{body}");
            assert_eq!(got.usage("leaves"), 1);
        }
    }
    // Beside a server, and what is wrong in the same words.
    let server = place.serve(&Serve { more: &["--role", "leaf"], ..Serve::default() });
    let both = root(&format!("{leaf},{}", server.url), 1);
    let body = json!({"query": corpus.queries[0], "limit": 300, "params": {"exact": true}});
    assert_eq!(both.query("stones", &body).ok().result(), one.query("stones", &body).ok().result());
    let wrong = json!({"query": [1.0]});
    assert_eq!(by_invoke.query("stones", &wrong).message(), one.query("stones", &wrong).message());

    // An event that Lambda would not take is refused before it is sent.
    let searches: Vec<Value> = (0..1_000)
        .map(|_| {
            json!({"query": corpus.queries[0], "limit": 1,
        "filter": {"must": [{"key": "city", "match": {"any": vec!["a very long name of a city"; 200]}}]}})
        })
        .collect();
    let batch = json!({"searches": searches});
    by_invoke.post("/collections/stones/points/query/batch", &batch).refused(413, &["Lambda takes 6291456"]);
}
