//! A collection's life: reindexed behind a gate, gone back, pinned, cloned, read by servers that run all the while.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Finished, Index, Metric, Place, Program, Random, Serve, Server, on_every_lasting_store};

on_every_lasting_store!(
    a_reindex_is_gated_and_gone_back_from,
    snapshots_and_clones_outlive_what_they_came_from,
    killed_anywhere_a_reindex_leaves_the_old_version,
);

/// `cairn reindex` of a corpus.
fn reindex(place: &Place, corpus: &Corpus, more: &[&str]) -> Program {
    let name = format!("again-{}", corpus.points.len());
    corpus.write(place.folder(), &name);
    let file = |extension: &str| place.folder().join(format!("{name}.{extension}")).display().to_string();
    let program = Program::cairn().env(place.env()).args(["reindex", "--store", place.url(), "--collection", "stones"]);
    let program = program.args(["--input", &file("npy"), "--ids", &file("ids"), "--payload", &file("jsonl")]);
    program.args(more.iter().copied())
}

/// A command of one or two words; its store comes last.
fn cairn(place: &Place, args: &[&str]) -> Finished {
    Program::cairn().env(place.env()).args(args.iter().copied()).args(["--store", place.url()]).run()
}

fn parsed(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

#[track_caller]
fn same_answers(server: &Server, collection: &str, corpus: &Corpus) {
    assert_eq!(server.count(collection), corpus.points.len() as u64);
    for query in &corpus.queries[..3] {
        let ranked = corpus.ranked(Metric::Cosine, query, |_| true).into_iter();
        assert_eq!(server.exact_ids(collection, query, 10), ranked.take(10).map(|(id, _)| id).collect::<Vec<_>>());
    }
}

fn a_reindex_is_gated_and_gone_back_from(place: &Place) {
    let [first, second, few] =
        [(400, "first"), (430, "second"), (300, "few")].map(|(n, edition)| Corpus::new(n, 12, edition));
    place.index(&first, &Index::default());
    let server = place.serve(&Serve::default());
    same_answers(&server, "stones", &first);

    let refused = reindex(place, &few, &[]).run();
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    refused.refused(&["300 points, 400 are served", "0.750", "nothing was published"]);
    same_answers(&server, "stones", &first);

    let done = reindex(place, &second, &["--json", "--recall-samples", "50"]).run().ok();
    let report = parsed(&done);
    assert_eq!((&report["points"], &report["gate"]["recall"]), (&json!(430), &json!(1.0)), "{report}");
    same_answers(&server, "stones", &second);

    let listed = parsed(&cairn(place, &["rollback", "--collection", "stones", "--list", "--json"]).ok());
    let rows = listed.as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["points"].as_u64().unwrap()).collect::<Vec<_>>(), [400, 430]);
    assert_eq!((&rows[1]["served"], &rows[1]["generation"]), (&json!(true), &report["generation"]));
    let table = cairn(place, &["rollback", "--collection", "stones", "--list"]).ok().stdout;
    assert!(table.contains(rows[0]["since"].as_str().unwrap()), "{table}");

    let from = ["rollback", "--collection", "stones", "--from", report["generation"].as_str().unwrap()];
    cairn(place, &from).ok();
    same_answers(&server, "stones", &first);
    cairn(place, &from).refused(&[report["generation"].as_str().unwrap()]);
    cairn(place, &["rollback", "--collection", "stones"]).refused(&["served nothing before"]);
    cairn(place, &["rollback", "--collection", "stones", "--to", report["generation"].as_str().unwrap()]).ok();
    same_answers(&server, "stones", &second);
}

fn snapshots_and_clones_outlive_what_they_came_from(place: &Place) {
    let [first, second] = [(300, "first"), (350, "second")].map(|(n, edition)| Corpus::new(n, 12, edition));
    place.index(&first, &Index::default());
    cairn(place, &["snapshot", "create", "monday", "--collection", "stones"]).ok();
    place.index(&second, &Index { replace: true, ..Index::default() });
    cairn(place, &["snapshot", "create", "monday", "--collection", "stones"]).refused(&["monday"]);
    let listed = parsed(&cairn(place, &["snapshot", "list", "--collection", "stones", "--json"]).ok());
    assert_eq!((&listed[0]["name"], &listed[0]["points"]), (&json!("monday"), &json!(300)));

    let segments = place.segments();
    cairn(place, &["clone", "stones", "copy"]).ok();
    cairn(place, &["clone", "stones", "old", "--as-of", "snapshot:monday"]).ok();
    cairn(place, &["clone", "stones", "copy"]).refused(&["copy", "exists"]);
    cairn(place, &["clone", "stones", "none", "--as-of", "time:2020-01-01"]).refused(&["does not reach back"]);
    assert_eq!(place.segments(), segments, "nothing is copied");
    let server = place.serve(&Serve::default());
    same_answers(&server, "copy", &second);
    same_answers(&server, "old", &first);

    cairn(place, &["rollback", "--collection", "stones", "--as-of", "snapshot:monday"]).ok();
    same_answers(&server, "stones", &first);
    same_answers(&server, "copy", &second);
    server.delete("/collections/stones").ok();
    for server in [server, place.serve(&Serve::default())] {
        same_answers(&server, "copy", &second);
        same_answers(&server, "old", &first);
        server.get("/collections/stones").refused(404, &["stones"]);
    }
    let server = place.serve(&Serve::default());
    for (clone, left) in [("copy", true), ("old", false)] {
        server.delete(&format!("/collections/{clone}")).ok();
        assert_eq!(place.keys().iter().any(|key| key.ends_with(".seg")), left, "{:?}", place.keys());
    }
}

/// Goes back to the first generation, whether a reindex that was killed has published another or not.
///
/// Its last request may still be on its way, and arrives a moment later or not at all.
#[track_caller]
fn settle(place: &Place, server: &Server, ended: bool) {
    if !ended {
        thread::sleep(Duration::from_millis(250));
    }
    match server.count("stones") {
        400 => assert!(!ended, "it ended well and is not served"),
        700 => {
            cairn(place, &["rollback", "--collection", "stones"]).ok();
        }
        other => panic!("half a generation: {other}"),
    }
}

fn killed_anywhere_a_reindex_leaves_the_old_version(place: &Place) {
    let [first, second] = [(400, "first"), (700, "second")].map(|(n, edition)| Corpus::new(n, 12, edition));
    place.index(&first, &Index { shards: 3, ..Index::default() });
    let server = place.serve(&Serve::default());
    let mut random = Random(77);
    let mut killed = 0;
    for round in 0..10 {
        let before = place.keys().len();
        let mut program = reindex(place, &second, &[]).spawn(&place.folder().join("killed.log"));
        let ended = loop {
            if let Some(code) = program.ended() {
                assert_eq!(code, Some(0), "{}", program.output());
                break true;
            }
            if place.keys().len() >= before + round % 8 {
                thread::sleep(Duration::from_micros(random.below(4_000) as u64));
                program.kill();
                break false;
            }
        };
        killed += usize::from(!ended);
        let fresh = place.serve(&Serve::default());
        settle(place, &server, ended);
        same_answers(&server, "stones", &first);
        same_answers(&fresh, "stones", &first);
    }
    assert!(killed > 0, "it was never killed in time");
    reindex(place, &second, &[]).run().ok();
    same_answers(&server, "stones", &second);
}
