//! One generation, many builders: `cairn index --only-shard` killed anywhere and repeated, then published.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Program, Random, Serve, files_below, on_every_lasting_store};

on_every_lasting_store!(
    builders_are_killed_and_repeated,
    a_folder_is_built_apart_and_refused_where_it_changes,
    shards_by_space_are_left_out_only_where_they_may_be,
);

const SHARDS: usize = 3;

/// `cairn index` of the corpus `name`, as one of the builders, or what else `more` says.
fn builder(place: &Place, name: &str, more: &[&str]) -> Program {
    let file = |extension: &str| place.folder().join(format!("{name}.{extension}")).display().to_string();
    let program = Program::cairn().env(place.env()).args(["index", "--store", place.url(), "--collection", "stones"]);
    let program = program.args(["--input", &file("npy"), "--ids", &file("ids"), "--payload", &file("jsonl")]);
    program.args(["--distance", "cosine", "--replace", "--json"]).args(more.iter().copied())
}

fn published(place: &Place, generation: &str) -> crate::fixture::Finished {
    place.cairn("index", &["--collection", "stones", "--publish", generation, "--json"])
}

fn begin(place: &Place, name: &str) -> String {
    let begun = builder(place, name, &["--shards", &SHARDS.to_string(), "--begin"]).run().ok().stdout;
    let begun: Value = serde_json::from_str(&begun).unwrap();
    assert_eq!(begun["shards"].as_array().unwrap().len(), SHARDS);
    begun["generation"].as_str().unwrap().to_owned()
}

fn builders_are_killed_and_repeated(place: &Place) {
    let first = Corpus::new(300, 12, "first");
    place.index(&first, &Index { shards: 2, ..Index::default() });
    let server = place.serve(&Serve::default());
    let second = Corpus::new(700, 12, "second");
    second.write(place.folder(), "second");

    let mut random = Random(7);
    let mut killed = 0;
    for round in 0..3 {
        let generation = begin(place, "second");
        let part = |shard: usize| format!("{shard}/{SHARDS}");
        for shard in 0..SHARDS {
            let args = ["--generation", &generation, "--only-shard", &part(shard)];
            // Killed at a step of its own (an object more in the store) or anywhere between two, and then repeated.
            let (before, objects) = (place.keys().len(), random.below(3));
            let log = place.folder().join(format!("builder-{round}-{shard}.log"));
            let mut one = builder(place, "second", &args).spawn(&log);
            while one.ended().is_none() && place.keys().len() < before + objects {}
            thread::sleep(Duration::from_micros(random.below(3_000) as u64));
            killed += usize::from(one.ended().is_none());
            one.kill();
            if shard == 1 && place.keys().iter().all(|key| !key.ends_with(&format!("{generation}/1/draft.json"))) {
                published(place, &generation).refused(&["shards are not built", "1"]);
            }
            assert_eq!(server.count("stones"), if round == 0 { 300 } else { 700 });
            let report: Value = serde_json::from_str(&builder(place, "second", &args).run().ok().stdout).unwrap();
            assert_eq!(report["rows"], 700, "{report}");
        }
        for _ in 0..2 {
            let report: Value = serde_json::from_str(&published(place, &generation).ok().stdout).unwrap();
            assert_eq!(report["points"], 700, "{report}");
        }
        assert_eq!(server.count("stones"), 700);
        for query in &second.queries[..3] {
            let expected: Vec<Value> =
                second.ranked(Metric::Cosine, query, |_| true).into_iter().take(10).map(|(id, _)| id).collect();
            assert_eq!(server.exact_ids("stones", query, 10), expected);
        }
    }
    assert!(killed > 0, "no builder was killed in time");
}

fn a_folder_is_built_apart_and_refused_where_it_changes(place: &Place) {
    let remote = place.url().contains("://");
    let local = place.folder().join("points");
    std::fs::create_dir(&local).unwrap();
    let put = |name: &str, rows: std::ops::Range<u64>| {
        let lines: String = rows.map(|row| format!("{{\"id\":{row},\"vector\":[{row},1],\"row\":{row}}}\n")).collect();
        if remote {
            place.overwrite(&format!("points/{name}"), lines.into())
        } else {
            std::fs::write(local.join(name), lines).unwrap()
        }
    };
    put("a.jsonl", 0..50);
    put("b.jsonl", 50..80);
    let folder = if remote { format!("{}/points/", place.url()) } else { local.display().to_string() };
    let index = |more: &[&str]| {
        let all = ["--collection", "stones", "--input", &folder, "--distance", "dot"];
        place.cairn("index", &[&all[..], more].concat())
    };
    let generation = index(&["--shards", "2", "--begin"]).ok().stdout.trim().to_owned();
    index(&["--generation", &generation, "--only-shard", "0/2"]).ok();
    put("b.jsonl", 50..81);
    index(&["--generation", &generation, "--only-shard", "1/2"]).refused(&["another source", &generation]);
    put("b.jsonl", 50..80);
    index(&["--generation", &generation, "--only-shard", "1/2"]).ok();
    published(place, &generation).ok();
    let server = place.serve(&Serve::default());
    assert_eq!(server.count("stones"), 80);
    assert_eq!(server.exact_ids("stones", &[1.0, 0.0], 1), [79]);
    assert!(files_below(&local).len() <= 2, "the folder of the source was written to");
}

fn shards_by_space_are_left_out_only_where_they_may_be(place: &Place) {
    const SHARDS: u64 = 12;
    let corpus = Corpus::new(1_200, 16, "first");
    place.index(&corpus, &Index { collection: "plain", shards: 12, ..Index::default() });
    place.index(&corpus, &Index { shards: 12, more: &["--partition", "space"], ..Index::default() });
    let one = place.serve(&Serve::default());
    let leaves: Vec<_> =
        (0..3).map(|_| place.serve(&Serve { more: &["--role", "leaf"], ..Serve::default() })).collect();
    let urls: Vec<&str> = leaves.iter().map(|leaf| leaf.url.as_str()).collect();
    let root = place.serve(&Serve { more: &["--leaves", &urls.join(",")], ..Serve::default() });

    let filter = json!({"must": [{"key": "city", "match": {"value": "Oslo"}}]});
    let (mut found, mut searched) = (0, 0);
    for (at, query) in corpus.queries.iter().enumerate() {
        let id = &corpus.points[at * 31].id;
        // Whatever demands all of them has all of them.
        for body in [
            json!({"query": query, "limit": 50, "params": {"exact": true}, "with_payload": true}),
            json!({"query": query, "limit": 1_200}),
            json!({"query": query, "limit": 10, "filter": filter, "with_vector": true}),
            json!({"query": id, "limit": 10, "params": {"exact": true}}),
            json!({"limit": 7, "filter": filter}),
        ] {
            let plain = one.query("plain", &body).ok();
            let (alone, apart) = (one.query("stones", &body).ok(), root.query("stones", &body).ok());
            assert_eq!((alone.result(), apart.result()), (plain.result(), plain.result()), "{body}");
            assert_eq!((alone.usage("segments_skipped"), apart.usage("segments_skipped")), (0, 0), "{body}");
        }
        let body = json!({"ids": [id], "with_vector": true, "with_payload": true});
        let retrieved = one.post("/collections/stones/points", &body).ok();
        assert_eq!(retrieved.result(), one.post("/collections/plain/points", &body).ok().result());
        assert_eq!(retrieved.result().as_array().unwrap().len(), 1);

        // The others say what they left out, alike wherever they are answered.
        let bodies = [
            json!({"query": query}),
            json!({"query": query, "params": {"recall": 0.99}}),
            json!({"query": id}),
            json!({"query": id, "limit": 3, "params": {"recall": 0.8}}),
        ];
        for body in &bodies {
            let (alone, apart) = (one.query("stones", body).ok(), root.query("stones", body).ok());
            assert_eq!(alone.result(), apart.result(), "{body}");
            for usage in [&alone, &apart] {
                assert_eq!(usage.usage("segments") + usage.usage("segments_skipped"), SHARDS, "{body}");
            }
        }
        let batch = json!({"searches": bodies});
        let together =
            |server: &crate::fixture::Server| server.post("/collections/stones/points/query/batch", &batch).ok();
        let (alone, apart) = (together(&one), together(&root));
        assert_eq!(alone.result(), apart.result());
        for (answer, body) in alone.result().as_array().unwrap().iter().zip(&bodies) {
            assert_eq!(answer, one.query("stones", body).ok().result(), "a query depends on those beside it: {body}");
        }
        assert_eq!(alone.usage("segments"), apart.usage("segments"));
        assert_eq!(alone.usage("segments_skipped"), apart.usage("segments_skipped"));

        let reply = one.query("stones", &bodies[0]).ok();
        let explained = one.query("stones", &json!({"query": query, "explain": true})).ok();
        let plan = explained.result()["plan"].as_array().unwrap();
        assert_eq!(plan.len() as u64, reply.usage("segments"));
        assert_eq!(explained.result()["estimate"]["segments_skipped"], reply.usage("segments_skipped"));
        let exact = one.exact_ids("stones", query, 10);
        found += reply.points().iter().filter(|point| exact.contains(&point["id"])).count();
        searched += reply.usage("segments");
    }
    assert!(found >= 180, "{found} of 200");
    assert!(searched <= 20 * SHARDS / 2, "{searched} segments in 20 queries");
    for server in [&one, &root] {
        assert_eq!((server.count("stones"), server.count("plain")), (1_200, 1_200));
        let scroll = server.post("/collections/stones/points/scroll", &json!({"limit": 1_200})).ok();
        let ids: Vec<Value> = scroll.points().iter().map(|point| point["id"].clone()).collect();
        assert_eq!(ids, corpus.ids_in_order());
    }
    // Far segments of which nothing is here: the point whose vector is wanted is looked for in all of them at once.
    place.index(&corpus, &Index { collection: "far", shards: 2, more: &["--partition", "space"], ..Index::default() });
    for (at, query) in corpus.queries.iter().take(3).enumerate() {
        for query in [json!(query), corpus.points[at * 31].id.clone()] {
            let body =
                |plan: &str| json!({"query": query, "params": {"exact": true, "plan": plan}, "with_payload": true});
            let cold = place.serve(&Serve { more: &["--no-hydration"], ..Serve::default() });
            let (far, near) = (cold.query("far", &body("ranges")).ok(), one.query("far", &body("whole")).ok());
            assert_eq!(far.result(), near.result());
            assert_eq!(near.result(), one.query("plain", &body("auto")).ok().result());
            let tiers = &far.body["usage"]["cairn"]["tier_bytes"];
            assert!(tiers["cold"].as_u64() > Some(0) && tiers["warm"] == 0, "{tiers}");
            assert!(far.usage("waves") <= 6, "{}", far.body["usage"]);
        }
    }
    place
        .cairn("index", &["--collection", "x", "--input", "x.npy", "--partition", "volume"])
        .refused(&["hash or space"]);
}
