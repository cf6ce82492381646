//! Reads of a collection as it was: what was answered before a reindex is answered after it, cold and warm, alone and with leaves.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Place, Reply, Serve, Server, on_every_store};

on_every_store!(a_past_answers_as_it_did, what_is_no_past_is_refused);

mod lasting {
    use super::{leaves_read_the_past, snapshots_are_read_by_name};
    use crate::fixture::on_every_lasting_store;
    on_every_lasting_store!(snapshots_are_read_by_name, leaves_read_the_past);
}

const DIM: usize = 24;

fn editions() -> [Corpus; 2] {
    [(900, "first"), (1_000, "second")].map(|(count, edition)| Corpus::new(count, DIM, edition))
}

/// Every read: its path below the collection, and its body where it has one.
fn reads(corpus: &Corpus) -> Vec<(String, Option<Value>)> {
    let lima = json!({"must": [{"key": "city", "match": {"value": "Lima"}}]});
    let ids: Vec<&Value> = corpus.points.iter().step_by(97).map(|point| &point.id).collect();
    let (query, other) = (&corpus.queries[0], &corpus.queries[1]);
    let mut all =
        vec![(String::new(), None), ("/exists".to_owned(), None), (format!("/points/{}", corpus.points[0].id), None)];
    let posts = [
        ("", json!({"ids": ids, "with_payload": true, "with_vector": true})),
        ("/count", json!({})),
        ("/count", json!({"filter": lima})),
        ("/scroll", json!({"limit": 20, "filter": lima, "with_payload": ["edition", "row"]})),
        ("/query", json!({"query": query, "limit": 50, "with_payload": true, "params": {"exact": true}})),
        ("/query", json!({"query": query, "filter": lima, "with_payload": true})),
        ("/query", json!({"query": other, "params": {"plan": "ranges"}, "with_payload": true})),
        ("/query", json!({"query": corpus.points[3].id, "with_payload": ["edition"]})),
        ("/query", json!({"limit": 7, "filter": lima, "with_payload": true})),
        ("/query/batch", json!({"searches": [{"query": query}, {"query": other, "filter": lima}]})),
        ("/search", json!({"vector": query, "limit": 9, "with_payload": true})),
        ("/search/batch", json!({"searches": [{"vector": query, "limit": 9}, {"vector": other, "limit": 3}]})),
    ];
    all.extend(posts.map(|(path, body)| (format!("/points{path}"), Some(body))));
    all
}

fn read(server: &Server, (path, body): &(String, Option<Value>), as_of: Option<&str>) -> Reply {
    let parameter = as_of.map_or_else(String::new, |as_of| format!("?as_of={as_of}"));
    let path = format!("/collections/stones{path}{parameter}");
    body.as_ref().map_or_else(|| server.get(&path), |body| server.post(&path, body)).ok()
}

fn answers(server: &Server, corpus: &Corpus, as_of: Option<&str>) -> Vec<Value> {
    reads(corpus).iter().map(|asked| read(server, asked, as_of).result().clone()).collect()
}

#[track_caller]
fn same(server: &Server, corpus: &Corpus, as_of: &str, expected: &[Value]) {
    for (asked, expected) in reads(corpus).iter().zip(expected) {
        assert_eq!(read(server, asked, Some(as_of)).result(), expected, "{asked:?} as of {as_of}");
    }
}

fn generation(server: &Server) -> String {
    let info = server.get("/collections/stones").ok();
    format!("generation:{}", info.result()["cairn"]["generation"].as_str().unwrap())
}

/// A time as `as_of` takes it, apart from whatever happens before and after it.
fn now() -> String {
    thread::sleep(Duration::from_millis(5));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    thread::sleep(Duration::from_millis(5));
    format!("time:{}", cairn_model::filter::show_datetime(since.as_millis() as u64))
}

fn a_past_answers_as_it_did(place: &Place) {
    let [first, second] = editions();
    place.index(&first, &Index { shards: 3, ..Index::default() });
    let server = place.serve(&Serve::default());
    let (before, past) = (answers(&server, &first, None), generation(&server));
    let time = now();
    same(&server, &first, &time, &before);
    place.index(&second, &Index { shards: 3, replace: true, ..Index::default() });
    let (after, present) = (answers(&server, &first, None), generation(&server));
    assert!(
        past != present
            && before.iter().zip(&after).all(|(before, after)| before != after || *before == json!({"exists": true}))
    );
    for as_of in [&past, &time] {
        same(&server, &first, as_of, &before);
    }
    same(&server, &first, &present, &after);
    assert_eq!(answers(&server, &first, None), after, "the present is not the past");

    // A process that has nothing.
    let cold = place.serve(&Serve::default());
    same(&cold, &first, &past, &before);
    same(&cold, &first, &now(), &after);

    // Warm, a past costs what the present does: the look whether it still is one.
    let body = json!({"query": first.queries[0], "params": {"as_of": past}});
    let reply = cold.query("stones", &body).ok();
    assert_eq!(
        (reply.usage("waves"), reply.usage("gets"), reply.usage("cache_hits")),
        (1, 1, 3),
        "{}",
        reply.body["usage"]
    );
    let batch = json!({"searches": [body, body]});
    let reply = cold.post("/collections/stones/points/query/batch", &batch).ok();
    let expected = reply.result()[0]["points"].clone();
    let url = read(&cold, &("/points/query".into(), Some(json!({"query": first.queries[0]}))), Some(&past));
    assert_eq!((&reply.result()[1]["points"], url.points()), (&expected, expected.as_array().unwrap().as_slice()));
    let explained = json!({"query": first.queries[0], "explain": true, "params": {"as_of": past}});
    let plan = cold.query("stones", &explained).ok();
    let points = |plan: &Reply| {
        plan.result()["plan"].as_array().unwrap().iter().map(|step| step["points"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(points(&plan), 900);

    cold.delete("/collections/stones").ok();
    for server in [&cold, &server] {
        server.get(&format!("/collections/stones?as_of={past}")).refused(404, &["stones"]);
        server.query("stones", &body).refused(404, &["stones"]);
    }
}

fn what_is_no_past_is_refused(place: &Place) {
    let [first, _] = editions();
    place.index(&first, &Index::default());
    let server = place.serve(&Serve::default());
    let unknown = [
        ("generation:01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("generation:x", "'x'"),
        ("snapshot:monday", "no snapshot 'monday'"),
        ("time:2020-01-01", "does not reach back"),
    ];
    let query = json!({"query": first.queries[0]});
    for (as_of, culprit) in unknown {
        for (path, body) in reads(&first).iter().filter(|(path, _)| path != "/exists") {
            let path = format!("/collections/stones{path}?as_of={as_of}");
            let reply = body.as_ref().map_or_else(|| server.get(&path), |body| server.post(&path, body));
            reply.refused(404, &["Not found", "stones", culprit]);
        }
        let exists = server.get(&format!("/collections/stones/exists?as_of={as_of}")).ok();
        assert_eq!(exists.result(), &json!({"exists": false}));
        server
            .query("stones", &json!({"query": first.queries[0], "params": {"as_of": as_of}}))
            .refused(404, &[culprit]);
    }
    for bad in
        ["", "yesterday", "snapshot:", "snapshot:..", "generation:", "time:noon", "time:1969-01-01", "as_of&as_of=x"]
    {
        for (path, body) in reads(&first) {
            let path = format!("/collections/stones{path}?as_of={bad}");
            let reply = body.as_ref().map_or_else(|| server.get(&path), |body| server.post(&path, body));
            reply.refused(400, &["as_of"]);
        }
    }
    server
        .query("stones", &json!({"query": first.queries[0], "params": {"as_of": "x"}}))
        .refused(400, &["params.as_of", "snapshot:NAME"]);
    server.query("stones", &json!({"query": first.queries[0], "params": {"as_of": 7}})).refused(400, &["string"]);
    let (one, two) = (json!({"query": first.queries[0], "params": {"as_of": "time:2026-01-01"}}), query);
    server
        .post("/collections/stones/points/query/batch", &json!({"searches": [one, two]}))
        .refused(400, &["as_of", "one version"]);
    server.post("/collections/stones/points/query?as_of=time:2026-01-02", &one).refused(400, &["as_of", "one version"]);
    server.get("/collections/pebbles?as_of=time:2026-01-02").refused(404, &["pebbles"]);
}

fn snapshots_are_read_by_name(place: &Place) {
    let [first, second] = editions();
    place.index(&first, &Index::default());
    place.cairn("snapshot", &[]).refused(&["Usage"]);
    let snapshot = |arguments: &[&str]| {
        let program =
            crate::fixture::Program::cairn().env(place.env()).args(["snapshot"]).args(arguments.iter().copied());
        program.args(["--store", place.url(), "--collection", "stones"]).run().ok();
    };
    snapshot(&["create", "monday"]);
    let server = place.serve(&Serve::default());
    let before = answers(&server, &first, None);
    place.index(&second, &Index { replace: true, ..Index::default() });
    let after = answers(&server, &first, None);
    for server in [&server, &place.serve(&Serve::default())] {
        same(server, &first, "snapshot:monday", &before);
        let reply =
            server.query("stones", &json!({"query": first.queries[0], "params": {"as_of": "snapshot:monday"}})).ok();
        assert_eq!((reply.usage("waves"), reply.usage("gets")), (1, 2), "{}", reply.body["usage"]);
    }
    // A name may come to mean something else, and nothing.
    snapshot(&["delete", "monday"]);
    server.get("/collections/stones?as_of=snapshot:monday").refused(404, &["monday"]);
    snapshot(&["create", "monday"]);
    same(&server, &first, "snapshot:monday", &after);

    let vector = serde_json::to_string(&first.queries[0]).unwrap();
    let past = generation(&server);
    let search = |more: &[&str]| {
        let arguments = ["--collection", "stones", "--vector", &vector, "--exact", "--limit", "5", "--json"];
        place.cairn("search", &[&arguments[..], more].concat())
    };
    let points = |finished: crate::fixture::Finished| {
        serde_json::from_str::<Value>(&finished.ok().stdout).unwrap()["points"].clone()
    };
    assert_eq!(points(search(&["--as-of", &past])), points(search(&[])));
    search(&["--as-of", "snapshot:tuesday"]).refused(&["tuesday"]);
    search(&["--as-of", "tuesday"]).refused(&["--as-of", "snapshot:NAME"]);
}

fn leaves_read_the_past(place: &Place) {
    let [first, second] = editions();
    place.index(&first, &Index { shards: 6, ..Index::default() });
    let leaves: Vec<Server> =
        (0..3).map(|_| place.serve(&Serve { more: &["--role", "leaf"], ..Serve::default() })).collect();
    let urls: Vec<&str> = leaves.iter().map(|leaf| leaf.url.as_str()).collect();
    let root = || place.serve(&Serve { more: &["--leaves", &urls.join(",")], ..Serve::default() });
    let (warm, one) = (root(), place.serve(&Serve::default()));
    let (before, past) = (answers(&one, &first, None), generation(&one));
    assert_eq!(answers(&warm, &first, None), before);
    place.index(&second, &Index { shards: 6, replace: true, ..Index::default() });
    let after = answers(&one, &first, None);
    for root in [&warm, &root()] {
        same(root, &first, &past, &before);
        assert_eq!(answers(root, &first, None), after);
        same(root, &first, &past, &before);
        // Root and leaves have read the past: what is left is the root's look whether it still is one.
        let reply = root.query("stones", &json!({"query": first.queries[0], "params": {"as_of": past}})).ok();
        assert_eq!((reply.usage("waves"), reply.usage("gets")), (1, 1), "{}", reply.body["usage"]);
        assert!(reply.usage("leaves") >= 1);
    }
}
