//! The two functions under the real Lambda Runtime API: an event for the indexer, function-URL requests for the searcher.

use std::{fs, net::TcpStream, path::Path};

use serde_json::{Value, json};

use crate::fixture::{
    Corpus, Daemon, Index, Life, Metric, Place, Program, Server, binary, eventually, free_port,
    on_every_lasting_function,
};

on_every_lasting_function!(an_event_indexes_and_a_function_url_answers, wrong_events_and_requests_are_refused);

/// `cargo lambda watch --only-lambda-apis`: the Runtime API on one side, invocations and function URLs on the other.
struct Emulator {
    url: String,
    daemon: Daemon,
}

impl Emulator {
    fn start(folder: &Path) -> Self {
        let python = std::env::var("CAIRN_LAMBDA_PYTHON").expect("CAIRN_LAMBDA_PYTHON is set by tests/run");
        // It asks cargo for the names of the functions, although it is to build none.
        let package = folder.join("emulator");
        fs::create_dir_all(package.join("src")).unwrap();
        let mut manifest =
            "[workspace]\n[package]\nname = \"emulator\"\nversion = \"0.0.0\"\nedition = \"2024\"\n".to_owned();
        for name in ["indexer", "searcher"] {
            manifest += &format!("[[bin]]\nname = \"{name}\"\npath = \"src/main.rs\"\n");
        }
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::write(package.join("src/main.rs"), "fn main() {}\n").unwrap();

        let port = free_port();
        let mut program = Program::new(&Path::new(&python).with_file_name("cargo-lambda"));
        program = program.args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1"]);
        program = program.args(["--invoke-port", &port.to_string()]);
        program.0.current_dir(&package);
        let mut daemon = program.spawn(&folder.join("emulator.log"));
        eventually("the Lambda emulator listens", || {
            assert_eq!(daemon.ended(), None, "{}", daemon.output());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { url: format!("http://127.0.0.1:{port}"), daemon }
    }

    /// Starts a function of ours as Lambda would: the binary, and an environment.
    fn function(&self, name: &str, place: &Place) -> Daemon {
        let mut program = Program::new(&binary(name)).env(place.env());
        program.0.env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{name}", self.url));
        program.0.env("AWS_LAMBDA_FUNCTION_NAME", name).env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        program.0.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512").env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/cairn");
        program.0.env("AWS_LAMBDA_LOG_STREAM_NAME", "test").env("CAIRN_STORE", place.url());
        program.0.env("CAIRN_CACHE_DIR", place.folder().join("function-cache"));
        program.spawn(&place.folder().join(format!("{name}.log")))
    }
}

/// What the tests speak to; the functions live as long as it does.
struct Cloud {
    searcher: Server,
    invoke: Server,
    functions: Vec<Daemon>,
}

impl Cloud {
    fn start(place: &Place) -> Self {
        let emulator = Emulator::start(place.folder());
        let functions = vec![emulator.function("indexer", place), emulator.function("searcher", place)];
        let url = emulator.url.clone();
        let searcher = Server::at(format!("{url}/lambda-url/searcher"), Life::Process(emulator.daemon));
        Self { searcher, invoke: Server::at(url, Life::Elsewhere), functions }
    }

    fn event(&self, event: &Value) -> Value {
        self.invoke.post("/2015-03-31/functions/indexer/invocations", event).body
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

    // A container that was frozen and thawed sees what changed meanwhile.
    place.index(&Corpus::new(100, 12, "second"), &Index { metric: Metric::Euclid, replace: true, ..Index::default() });
    assert_eq!(searcher.count("stones"), 100);
}

fn wrong_events_and_requests_are_refused(place: &Place) {
    let corpus = Corpus::new(30, 4, "first");
    let file = source(place, &corpus);
    let mut cloud = Cloud::start(place);
    for (event, culprit) in [
        (json!({"collection": "stones", "distance": "dot"}), "source"),
        (json!({"source": file("npy"), "collection": "../up", "distance": "dot"}), "/"),
        (json!({"source": file("npy"), "collection": "stones", "distance": "hamming"}), "hamming"),
        (json!({"source": file("npy"), "collection": "stones", "distance": "dot", "options": {"shard": 2}}), "shard"),
        (json!({"source": file("nothing"), "collection": "stones", "distance": "dot"}), "source.nothing"),
        (json!({"source": file("jsonl"), "collection": "stones", "distance": "dot"}), "line 1"),
    ] {
        let answer = cloud.event(&event);
        let message = answer["errorMessage"].as_str().unwrap_or_else(|| panic!("{event}\nis no error: {answer}"));
        assert!(message.contains(culprit), "{event}\nnames no {culprit:?}: {message}");
    }
    cloud.searcher.query("stones", &json!({"query": [1, 2, 3, 4]})).refused(404, &["stones"]);
    let text = cloud.searcher.post_text("/collections/stones/points/query", "{");
    text.refused(400, &["Format error in JSON body"]);
    assert!(cloud.functions.iter_mut().all(|function| function.ended().is_none()), "a function ended");
}
