//! A cache directory that fails makes queries slower, or fail with an error that says why. Never wrong.

use std::{fs, path::Path};

use serde_json::Value;

use crate::fixture::{Corpus, Index, Place, Program, Serve, Server, files_below};

const DIM: usize = 24;

fn indexed(place: &Place) -> (Corpus, Vec<Vec<Value>>) {
    let corpus = Corpus::new(900, DIM, "first");
    place.index(&corpus, &Index::default());
    let server = place.serve(&Serve::default());
    let expected = corpus.queries.iter().map(|query| server.exact_ids("stones", query, 10)).collect();
    (corpus, expected)
}

/// Every answer is right, or an error of the server's own that names what is wrong. Counts the right ones.
#[track_caller]
fn never_wrong(server: &Server, corpus: &Corpus, expected: &[Vec<Value>], culprits: &[&str]) -> usize {
    let mut right = 0;
    for (query, expected) in corpus.queries.iter().zip(expected) {
        let body = serde_json::json!({"query": query, "limit": 10, "params": {"exact": true}});
        let reply = server.query("stones", &body);
        if reply.status == 200 {
            let ids: Vec<Value> = reply.points().iter().map(|point| point["id"].clone()).collect();
            assert_eq!(ids, *expected);
            right += 1;
        } else {
            assert!(matches!(reply.status, 500 | 503), "{}\n{}", reply.asked, reply.body);
            let message = reply.message();
            assert!(culprits.iter().any(|culprit| message.contains(culprit)), "names none of {culprits:?}: {message}");
        }
    }
    right
}

#[test]
fn a_budget_smaller_than_a_segment_still_answers() {
    let place = Place::local();
    let (corpus, expected) = indexed(&place);
    let cache_dir = place.folder().join("tiny");
    let server = place.serve(&Serve { cache_dir: Some(&cache_dir), cache_bytes: Some(1), ..Serve::default() });
    let right = never_wrong(&server, &corpus, &expected, &["cache"]);
    assert_eq!(right, corpus.queries.len(), "a small budget makes queries slower, it does not fail them");
    let kept: u64 = files_below(&cache_dir).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let largest = place.segments().iter().map(|key| place.read(key).len()).max().unwrap();
    assert!(kept <= 2 * largest as u64, "{kept} bytes are kept under a budget of 1");
}

#[test]
fn eviction_keeps_to_the_budget() {
    let place = Place::local();
    let corpus = Corpus::new(900, DIM, "first");
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        place.index(&corpus, &Index { collection: name, shards: 1, ..Index::default() });
    }
    let one = place.read(&place.segments()[0]).len() as u64;
    let cache_dir = place.folder().join("small");
    let budget = one * 5 / 2;
    let server = place.serve(&Serve { cache_dir: Some(&cache_dir), cache_bytes: Some(budget), ..Serve::default() });
    let expected = server.exact_ids("a", &corpus.queries[0], 10);
    for name in names.iter().cycle().take(20) {
        assert_eq!(server.exact_ids(name, &corpus.queries[0], 10), expected);
        let kept: u64 = files_below(&cache_dir).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(kept <= budget + 65_536, "{kept} bytes are kept under a budget of {budget}");
    }
}

#[test]
fn a_cache_directory_that_is_deleted_under_us_comes_back() {
    let place = Place::local();
    let (corpus, expected) = indexed(&place);
    let cache_dir = place.folder().join("deleted");
    let server = place.serve(&Serve { cache_dir: Some(&cache_dir), ..Serve::default() });
    assert_eq!(never_wrong(&server, &corpus, &expected, &[]), corpus.queries.len());
    fs::remove_dir_all(&cache_dir).unwrap();
    never_wrong(&server, &corpus, &expected, &["cache", "deleted"]);
    // Something that is not cached yet has to be written into a directory that is gone.
    place.index(&corpus, &Index { replace: true, ..Index::default() });
    let right = never_wrong(&server, &corpus, &expected, &["cache", "deleted"]);
    assert!(right > 0, "the directory is made again");
}

#[test]
fn a_cache_directory_that_cannot_be_written_is_an_error_or_only_slow() {
    let place = Place::local();
    let (corpus, expected) = indexed(&place);
    // Not even root writes into /proc; `a file` is no directory.
    fs::write(place.folder().join("a file"), "x").unwrap();
    for cache_dir in [Path::new("/proc/cairn").to_owned(), place.folder().join("a file").join("cache")] {
        refuses_or_answers(&place, &corpus, &expected, &cache_dir, &cache_dir.display().to_string());
    }
    // Root is not kept out by this one: then it is simply a cache.
    let closed = place.folder().join("closed");
    fs::create_dir(&closed).unwrap();
    let mut permissions = fs::metadata(&closed).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&closed, permissions).unwrap();
    refuses_or_answers(&place, &corpus, &expected, &closed, "closed");
}

/// The program may refuse to start, naming the directory; if it starts, it is never wrong.
fn refuses_or_answers(place: &Place, corpus: &Corpus, expected: &[Vec<Value>], cache_dir: &Path, culprit: &str) {
    let shown = cache_dir.display().to_string();
    let vector = serde_json::to_string(&corpus.queries[0]).unwrap();
    let args = ["--collection", "stones", "--vector", &vector, "--exact", "--json", "--cache-dir", &shown];
    let finished = place.cairn("search", &args);
    if finished.code != Some(0) {
        finished.refused(&[culprit]);
        return;
    }
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    let ids: Vec<Value> = answer["points"].as_array().unwrap().iter().map(|point| point["id"].clone()).collect();
    assert_eq!(ids, expected[0]);
    let server = place.serve(&Serve { cache_dir: Some(cache_dir), ..Serve::default() });
    never_wrong(&server, corpus, expected, &[culprit]);
}

/// A limit on the size of files stands in for a disk without space: both fail in `write`.
#[test]
fn a_full_disk_is_an_error_or_only_slow() {
    let place = Place::local();
    let (corpus, expected) = indexed(&place);
    let largest = place.segments().iter().map(|key| place.read(key).len()).max().unwrap();
    assert!(largest > 65_536, "a segment of {largest} bytes is not stopped by the limit");
    let cache_dir = place.folder().join("full");
    // 64 blocks of 512 or 1024 bytes; without the trap the signal would kill before the error is seen.
    let script = r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#;
    let mut program = Program::new(Path::new("/bin/sh")).args(["-c", script, env!("CARGO_BIN_EXE_cairn"), "serve"]);
    program = program.args(["--store", place.url(), "--cache-dir", &cache_dir.display().to_string()]);
    let server = Server::start(program, &place.folder().join("full.log"));
    never_wrong(&server, &corpus, &expected, &["cache", "full", "File too large", "seg"]);
}
