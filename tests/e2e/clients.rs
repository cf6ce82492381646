//! The official `qdrant-client`, and what is built on it, against `cairn serve`; and every answer against Qdrant's OpenAPI description.

use std::path::Path;

use crate::fixture::{Corpus, Index, Metric, Place, Program, Serve, Server};

/// Runs a script of `tests/clients` with the Python that `tests/tools clients` made.
fn script(name: &str, server: &Server, folder: &Path) {
    let python = std::env::var("CAIRN_CLIENTS_PYTHON").expect("CAIRN_CLIENTS_PYTHON is set by tests/run");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let mut program = Program::new(Path::new(&python)).args([&*script.display().to_string(), &server.url]);
    program = program.args([&*folder.display().to_string()]);
    program.0.envs(std::env::var("CAIRN_OPENAPI").ok().map(|path| ("CAIRN_OPENAPI", path)));
    program.0.env("PYTHONDONTWRITEBYTECODE", "1");
    let finished = program.run().ok();
    eprintln!("{}{}", finished.stdout, finished.stderr);
}

fn indexed() -> Place {
    let place = Place::local();
    let corpus = Corpus::new(500, 24, "first");
    corpus.write(place.folder(), "corpus");
    for metric in Metric::ALL {
        place.index(&corpus, &Index { collection: metric.flag(), metric, ..Index::default() });
    }
    place.index(&corpus, &Index { collection: "named", vector_name: "stone", ..Index::default() });
    place
}

#[test]
#[ignore = "needs qdrant-client: run tests/run"]
fn qdrant_client_works_unmodified() {
    let place = indexed();
    let server = place.serve(&Serve { more: &["--api-key", "granite"], ..Serve::default() });
    script("qdrant.py", &server, place.folder());
}

/// A server of an empty store runs a script.
fn on_an_empty_store(name: &str, more: &[&str]) {
    let place = Place::local();
    let server = place.serve(&Serve { more, ..Serve::default() });
    script(name, &server, place.folder());
}

#[test]
#[ignore = "needs qdrant-client: run tests/run"]
fn qdrant_client_writes_what_its_local_mode_would() {
    // Meanwhile everything that is written moves into segments as soon as can be, and segments are merged.
    on_an_empty_store("writes.py", &["--api-key", "granite", "--indexer-every", "1", "--indexer-age", "0"]);
}

#[test]
#[ignore = "needs qdrant-client: run tests/run"]
fn qdrant_client_writes_vectors_of_all_kinds() {
    on_an_empty_store("vectors.py", &["--api-key", "granite", "--indexer-every", "1", "--indexer-age", "0"]);
}

#[test]
#[ignore = "needs qdrant-client: run tests/run"]
fn qdrant_client_changes_collections_indexes_and_aliases() {
    on_an_empty_store("updates.py", &["--api-key", "granite"]);
}

#[test]
#[ignore = "needs langchain-qdrant: run tests/run"]
fn langchain_works_unmodified() {
    on_an_empty_store("langchain_store.py", &[]);
}

#[test]
#[ignore = "needs llama-index-vector-stores-qdrant: run tests/run"]
fn llama_index_works_unmodified() {
    on_an_empty_store("llama_index_store.py", &[]);
}

#[test]
#[ignore = "needs qdrant-client: run tests/run"]
fn answers_follow_the_openapi_description() {
    let place = indexed();
    let server = place.serve(&Serve::default());
    script("openapi.py", &server, place.folder());
}
