//! Collections that are written to: whatever is done through the API, every server answers as a naive model does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fixture::{Metric, Place, Program, Random, Serve, Server, eventually, on_every_store, write_npy};

on_every_store!(
    writes_are_seen_by_the_next_read_anywhere,
    a_bulk_build_is_written_to,
    writes_that_cannot_be_are_refused_whole,
);

mod lasting {
    use super::*;
    use crate::fixture::on_every_lasting_store;

    on_every_lasting_store!(
        any_sequence_of_operations_is_what_a_naive_model_says,
        a_server_moves_what_is_written_into_segments,
        leaves_need_not_know_of_logs,
        killed_anywhere_no_acknowledged_write_is_lost,
        whoever_knows_nothing_looks_at_logs_while_segments_are_opened,
        a_snapshot_is_what_was_written_until_then,
        what_was_gone_back_to_takes_writes_again,
        whoever_writes_too_much_is_told_when_to_come_again,
    );
}

const DIM: usize = 40;
const CITIES: [&str; 4] = ["Lima", "Oslo", "Quito", "Rome"];

type Payload = serde_json::Map<String, Value>;

/// What the points are, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    points: BTreeMap<u64, (Vec<f32>, Payload)>,
}

fn vector(random: &mut Random) -> Vec<f32> {
    (0..DIM).map(|_| random.normal()).collect()
}

fn payload(random: &mut Random) -> Payload {
    let mut payload = Payload::new();
    payload.insert("city".into(), json!(CITIES[random.below(4)]));
    payload.insert("n".into(), json!(random.below(10)));
    if random.below(3) == 0 {
        payload.insert("more".into(), json!({"deep": [random.below(5)]}));
    }
    payload
}

fn points(collection: &str, rest: &str) -> String {
    format!("/collections/{collection}/points{rest}?wait=true")
}

fn create(server: &Server, collection: &str, shards: u32) {
    let body = json!({"vectors": {"size": DIM, "distance": "Euclid"}, "shard_number": shards});
    server.put(&format!("/collections/{collection}"), &body).ok();
}

/// Writes so many points, each with a vector of its own.
fn write(server: &Server, collection: &str, ids: std::ops::Range<u64>) {
    let body: Vec<Value> = ids.map(|id| json!({"id": id, "vector": vector(&mut Random(id))})).collect();
    server.put(&points(collection, ""), &json!({ "points": body })).ok();
}

impl Model {
    fn matching(&self, city: &str) -> Vec<u64> {
        self.points
            .iter()
            .filter(|(_, (_, payload))| payload.get("city") == Some(&json!(city)))
            .map(|(id, _)| *id)
            .collect()
    }

    /// One operation of each kind, here and there.
    fn change(&mut self, server: &Server, random: &mut Random) {
        let mut id = || random.below(60) as u64;
        let ids: Vec<u64> = (0..3).map(|_| id()).filter(|id| self.points.contains_key(id)).collect();
        let city = CITIES[random.below(4)];
        let filter = json!({"must": [{"key": "city", "match": {"value": city}}]});
        // An empty list is no request.
        let by_filter = ids.is_empty() || random.below(4) == 0;
        let selected = if by_filter { self.matching(city) } else { ids.clone() };
        let of = |mut body: Value| {
            if by_filter {
                body["filter"] = filter.clone()
            } else {
                body["points"] = json!(ids)
            };
            body
        };
        let name = "c";
        let mut each = |change: &dyn Fn(&mut Payload)| {
            selected.iter().for_each(|id| change(&mut self.points.get_mut(id).unwrap().1));
        };
        match random.below(10) {
            0..=2 => {
                let written: Vec<(u64, Vec<f32>, Payload)> = (0..1 + random.below(8))
                    .map(|_| (random.below(60) as u64, vector(random), payload(random)))
                    .collect();
                let body: Vec<Value> = written
                    .iter()
                    .map(|(id, vector, payload)| json!({"id": id, "vector": vector, "payload": payload}))
                    .collect();
                server.put(&points(name, ""), &json!({ "points": body })).ok();
                self.points.extend(written.into_iter().map(|(id, vector, payload)| (id, (vector, payload))));
            }
            3 => {
                server.post(&points(name, "/delete"), &of(json!({}))).ok();
                selected.iter().for_each(|id| drop(self.points.remove(id)));
            }
            4 => {
                server.post(&points(name, "/payload"), &of(json!({"payload": {"n": 77, "more": null}}))).ok();
                each(&|payload| {
                    payload.insert("n".into(), json!(77));
                    payload.remove("more");
                });
            }
            5 => {
                server.put(&points(name, "/payload"), &of(json!({"payload": {"city": "Oslo"}}))).ok();
                each(&|payload| *payload = Payload::from_iter([("city".to_owned(), json!("Oslo"))]));
            }
            6 => {
                server.post(&points(name, "/payload/delete"), &of(json!({"keys": ["n"]}))).ok();
                each(&|payload| drop(payload.remove("n")));
            }
            7 => {
                server.post(&points(name, "/payload/clear"), &of(json!({}))).ok();
                each(&Payload::clear);
            }
            8 => {
                let new: Vec<(u64, Vec<f32>)> = ids.iter().map(|id| (*id, vector(random))).collect();
                let body: Vec<Value> = new.iter().map(|(id, vector)| json!({"id": id, "vector": vector})).collect();
                if !body.is_empty() {
                    server.put(&points(name, "/vectors"), &json!({ "points": body })).ok();
                }
                new.into_iter().for_each(|(id, vector)| self.points.get_mut(&id).unwrap().0 = vector);
            }
            _ => self.batch(server, random, city),
        }
    }

    /// Operations that depend on one another, at one place of the log.
    fn batch(&mut self, server: &Server, random: &mut Random, city: &str) {
        let (id, new) = (random.below(60) as u64, vector(random));
        let filter = json!({"must": [{"key": "city", "match": {"value": city}}]});
        let body = json!({"operations": [
            {"upsert": {"points": [{"id": id, "vector": new, "payload": {"city": city}}]}},
            {"set_payload": {"payload": {"x": true}, "key": "more", "filter": filter}},
            {"delete": {"points": [(id + 1) % 60]}},
        ]});
        let reply = server.post(&points("c", "/batch"), &body).ok();
        assert_eq!(reply.result().as_array().unwrap().len(), 3);
        self.points.insert(id, (new, Payload::from_iter([("city".to_owned(), json!(city))])));
        for id in self.matching(city) {
            let payload = &mut self.points.get_mut(&id).unwrap().1;
            let more = payload.entry("more").or_insert_with(|| json!({}));
            more["x"] = json!(true);
        }
        self.points.remove(&((id + 1) % 60));
    }

    /// Everything that can be read is as the model has it.
    #[track_caller]
    fn check(&self, server: &Server, random: &mut Random) {
        let reply = server.post("/collections/c/points/scroll", &json!({"limit": 100, "with_vector": true})).ok();
        let shown: BTreeMap<u64, (Vec<f32>, Payload)> = reply
            .points()
            .iter()
            .map(|point| {
                let vector = point["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
                (point["id"].as_u64().unwrap(), (vector, point["payload"].as_object().unwrap().clone()))
            })
            .collect();
        assert_eq!(shown, self.points);
        assert_eq!(server.count("c"), self.points.len() as u64);
        let info = server.get("/collections/c").ok();
        assert_eq!(info.result()["points_count"], json!(self.points.len()));
        let city = CITIES[random.below(4)];
        let filter = json!({"must": [{"key": "city", "match": {"value": city}}]});
        let matching = self.matching(city);
        let counted = server.post("/collections/c/points/count", &json!({"filter": filter})).ok();
        assert_eq!(counted.result()["count"], json!(matching.len()));
        let query = vector(random);
        for (filter, among) in [(json!({}), self.points.keys().copied().collect()), (filter, matching)] {
            let mut ranked: Vec<(f64, u64)> =
                among.into_iter().map(|id| (Metric::Euclid.score(&query, &self.points[&id].0), id)).collect();
            ranked.sort_by(|a, b| a.partial_cmp(b).unwrap());
            for exact in [true, false] {
                let body = json!({"query": query, "limit": 8, "filter": filter, "params": {"exact": exact}});
                let reply = server.query("c", &body).ok();
                let found: Vec<u64> = reply.points().iter().map(|point| point["id"].as_u64().unwrap()).collect();
                let expected: Vec<u64> = ranked.iter().take(8).map(|(_, id)| *id).collect();
                assert_eq!(found, expected, "{body}");
            }
        }
        let id = random.below(60) as u64;
        let reply = server.post("/collections/c/points", &json!({"ids": [id]})).ok();
        assert_eq!(reply.result().as_array().unwrap().len(), usize::from(self.points.contains_key(&id)));
    }
}

fn any_sequence_of_operations_is_what_a_naive_model_says(place: &Place) {
    let (writer, other) = (place.serve(&Serve::default()), place.serve(&Serve::default()));
    create(&writer, "c", 3);
    let mut random = Random(0x5eed);
    let mut model = Model::default();
    for step in 0..120 {
        if step % 20 == 19 {
            // What was written moves into segments now and then; readers and writers need not know.
            place.cairn("compact", &["c", "--force"]).ok();
        }
        let server = if random.below(2) == 0 { &writer } else { &other };
        model.change(server, &mut random);
        let server = if random.below(2) == 0 { &writer } else { &other };
        if step % 3 == 0 {
            model.check(server, &mut random);
        }
    }
    model.check(&place.serve(&Serve::default()), &mut random);
}

fn writes_are_seen_by_the_next_read_anywhere(place: &Place) {
    let servers = [place.serve(&Serve::default()), place.serve(&Serve::default())];
    create(&servers[0], "c", 1);
    let mut random = Random(3);
    for id in 0..20u64 {
        let [writer, reader] = if id % 2 == 0 { [0, 1] } else { [1, 0] };
        let body = json!({"points": [{"id": id, "vector": vector(&mut random), "payload": {"n": id}}]});
        let reply = servers[writer].put(&points("c", ""), &body).ok();
        assert_eq!(reply.result()["status"], json!("completed"));
        let reply = servers[reader].get(&format!("/collections/c/points/{id}")).ok();
        assert_eq!(reply.result()["payload"], json!({"n": id}));
        assert_eq!(servers[reader].count("c"), id + 1);
    }
    // Once everything is known, a read is one wave: is there a newer version, and is there more in the log?
    let reply = servers[0].query("c", &json!({"query": vector(&mut random)})).ok();
    assert_eq!((reply.usage("waves"), reply.usage("gets")), (1, 2), "{}", reply.body["usage"]);
}

fn a_bulk_build_is_written_to(place: &Place) {
    use crate::fixture::{Corpus, Index};
    let corpus = Corpus::new(300, DIM, "first");
    place.index(&corpus, &Index { shards: 2, ..Index::default() });
    let (writer, reader) = (place.serve(&Serve::default()), place.serve(&Serve::default()));
    assert_eq!(reader.count("stones"), 300);
    let (gone, query) = (&corpus.points[5], &corpus.queries[0]);
    writer.post(&points("stones", "/delete"), &json!({"points": [gone.id]})).ok();
    assert_eq!(reader.count("stones"), 299);
    let ranked = corpus.ranked(Metric::Cosine, query, |point| point.id != gone.id);
    let expected: Vec<Value> = ranked.iter().take(10).map(|(id, _)| id.clone()).collect();
    assert_eq!(reader.exact_ids("stones", query, 10), expected);
    // The nearest is moved to the query itself, and the second nearest written anew at the farthest.
    let away: Vec<f32> = query.iter().map(|x| -x).collect();
    let body =
        json!({"points": [{"id": expected[1], "vector": away, "payload": {}}, {"id": 777_777, "vector": query}]});
    writer.put(&points("stones", ""), &body).ok();
    let found = reader.exact_ids("stones", query, 10);
    assert_eq!((&found[0], &found[1]), (&json!(777_777), &expected[0]));
    assert!(!found.contains(&expected[1]));
    assert_eq!(reader.count("stones"), 300);
    let change = json!({"payload": {"seen": true}, "points": [expected[0]]});
    writer.post(&points("stones", "/payload"), &change).ok();
    let seen = json!({"filter": {"must": [{"key": "seen", "match": {"value": true}}]}});
    let reply = reader.post("/collections/stones/points/scroll", &seen).ok();
    assert_eq!(reply.points().len(), 1);
    assert_eq!(reply.points()[0]["payload"]["city"], corpus.point(&expected[0]).payload["city"]);
}

fn a_server_moves_what_is_written_into_segments(place: &Place) {
    let more = ["--indexer-every", "1", "--indexer-age", "0"];
    let server = place.serve(&Serve { more: &more, ..Serve::default() });
    let idle = place.serve(&Serve { more: &["--no-indexer"], ..Serve::default() });
    create(&server, "c", 2);
    let mut random = Random(8);
    let mut model = Model::default();
    let folds = || place.keys().iter().filter(|key| key.contains("/manifests/")).count();
    for _ in 0..3 {
        let before = folds();
        for _ in 0..8 {
            model.change(&server, &mut random);
        }
        eventually("what was written is in segments", || {
            model.check(&server, &mut random);
            (folds() > before).then_some(())
        });
        model.check(&idle, &mut random);
    }
}

fn whoever_knows_nothing_looks_at_logs_while_segments_are_opened(place: &Place) {
    let writer = place.serve(&Serve { more: &["--no-indexer"], ..Serve::default() });
    create(&writer, "c", 1);
    let mut random = Random(5);
    let query = json!({"query": vector(&mut random), "limit": 3});
    let write = |random: &mut Random, id: u64| {
        writer.put(&points("c", ""), &json!({"points": [{"id": id, "vector": vector(random)}]})).ok();
    };
    (0..5).for_each(|id| write(&mut random, id));
    place.cairn("compact", &["c", "--force"]).ok();
    let first = |waves: u64, what: &str| {
        let dir = place.folder().join(what);
        let reader = place.serve(&Serve { cache_dir: Some(&dir), ..Serve::default() });
        let reply = reader.query("c", &query).ok();
        assert_eq!(reply.points().len(), 3);
        // Near as the store is, what is asked at once may be answered one after the other, and counts as a wave more.
        let waves = waves..=waves + 1;
        assert!(waves.contains(&reply.usage("waves")), "{what}: {}", reply.body["usage"]);
        reply.usage("gets")
    };
    // collection.json; then the segment, while the log says that it holds nothing.
    assert_eq!(first(2, "folded"), 3);
    write(&mut random, 7);
    // The log's one object, and that nothing follows it.
    first(3, "written");
}

fn a_snapshot_is_what_was_written_until_then(place: &Place) {
    let server = place.serve(&Serve { more: &["--no-indexer"], ..Serve::default() });
    create(&server, "c", 2);
    let write = |from, to| write(&server, "c", from..to);
    write(0, 10);
    let create = ["snapshot", "create", "ten", "--collection", "c", "--store", place.url()];
    Program::cairn().env(place.env()).args(create).run().ok();
    place.cairn("clone", &["c", "d"]).ok();
    write(10, 14);
    server.post(&points("c", "/delete"), &json!({"points": [0, 1, 2]})).ok();
    assert_eq!((server.count("c"), server.count("d")), (11, 10));
    let past = server.post("/collections/c/points/count?as_of=snapshot:ten", &json!({})).ok();
    assert_eq!(past.result()["count"], json!(10));
    place.cairn("rollback", &["--collection", "c", "--as-of", "snapshot:ten"]).ok();
    assert_eq!(server.count("c"), 10);
    write(20, 21);
    assert_eq!((server.count("c"), server.count("d")), (11, 10));
    // The clone goes its own way.
    server.post(&points("d", "/delete"), &json!({"points": [5]})).ok();
    place.cairn("compact", &["c", "d", "--force"]).ok();
    assert_eq!((server.count("c"), server.count("d")), (11, 9));
    place.cairn("gc", &["--dry-run"]).ok();
}

fn what_was_gone_back_to_takes_writes_again(place: &Place) {
    let server = place.serve(&Serve { more: &["--no-indexer"], ..Serve::default() });
    create(&server, "c", 2);
    let write = |from, to| write(&server, "c", from..to);
    write(0, 10);
    let vectors: Vec<Vec<f32>> = (0..50).map(|id| vector(&mut Random(id))).collect();
    let file = place.folder().join("replacement.npy");
    write_npy(&file, &vectors);
    place.cairn("index", &["--collection", "c", "--input", file.to_str().unwrap(), "--replace"]).ok();
    assert_eq!(server.count("c"), 50);
    write(100, 103);
    // Each of them was ended when the other was published or gone back to, with writes that were in no segment yet.
    place.cairn("rollback", &["--collection", "c"]).ok();
    assert_eq!(server.count("c"), 10);
    write(20, 25);
    assert_eq!(server.count("c"), 15);
    let history = place.cairn("rollback", &["--collection", "c", "--list", "--json"]).ok().stdout;
    let history: Vec<Value> = serde_json::from_str(&history).unwrap();
    let replacement = history.iter().find(|served| served["points"] == json!(50)).unwrap();
    let replacement = replacement["generation"].as_str().unwrap();
    place.cairn("rollback", &["--collection", "c", "--to", replacement]).ok();
    assert_eq!(server.count("c"), 53);
    write(200, 201);
    assert_eq!(server.count("c"), 54);
    place.cairn("compact", &["c", "--force"]).ok();
    assert_eq!(server.count("c"), 54);
}

fn whoever_writes_too_much_is_told_when_to_come_again(place: &Place) {
    let server = place.serve(&Serve { more: &["--no-indexer", "--tail-bytes", "2kB"], ..Serve::default() });
    create(&server, "c", 1);
    let mut random = Random(6);
    let mut write = |id: u64| {
        let body = json!({"points": [{"id": id, "vector": vector(&mut random)}]});
        server.request("PUT", &points("c", "")).json(&body).send().unwrap()
    };
    let refused = (0..100).map(|id| (id, write(id))).find(|(_, reply)| !reply.status().is_success());
    let (id, refused) = refused.expect("a tail of a hundred points is longer than it may be");
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(server.count("c"), id, "what was refused is not there");
    place.cairn("compact", &["c", "--force"]).ok();
    eventually("the manifest is looked at again", || write(id).status().is_success().then_some(()));
    assert_eq!(server.count("c"), id + 1);
}

fn leaves_need_not_know_of_logs(place: &Place) {
    let leaf = |name: &str| {
        let dir = place.folder().join(name);
        let more = ["--role", "leaf"];
        place.serve(&Serve { cache_dir: Some(&dir), more: &more, ..Serve::default() })
    };
    let leaves = [leaf("one"), leaf("two")];
    let urls = leaves.each_ref().map(|leaf| leaf.url.as_str()).join(",");
    let root = place.serve(&Serve { more: &["--leaves", &urls, "--no-indexer"], ..Serve::default() });
    create(&root, "c", 3);
    let mut random = Random(21);
    let mut model = Model::default();
    for step in 0..24 {
        model.change(&root, &mut random);
        if step % 8 == 3 {
            place.cairn("compact", &["c", "--force"]).ok();
        }
        if step % 3 == 0 {
            model.check(&root, &mut random);
        }
    }
}

/// Eight servers, each with somebody who writes, and each moves what was written into segments; one is killed on the way.
fn killed_anywhere_no_acknowledged_write_is_lost(place: &Place) {
    const WRITERS: u64 = 8;
    let more = ["--indexer-every", "1", "--indexer-age", "0"];
    let mut servers: Vec<Server> =
        (0..WRITERS).map(|_| place.serve(&Serve { more: &more, ..Serve::default() })).collect();
    create(&servers[0], "c", 2);
    let victim = servers.remove(3);
    let pid = i32::try_from(victim.process().unwrap()).unwrap();
    let write = |server: &Server, writer: u64, n: u64| {
        let mut random = Random(writer * 1_000 + n);
        let body = json!({"points": [{"id": writer * 1_000 + n, "vector": vector(&mut random), "payload": {"n": n}}]});
        let sent = server.request("PUT", &points("c", "")).json(&body).send();
        sent.is_ok_and(|reply| reply.status().is_success())
    };
    let acknowledged: Vec<u64> = std::thread::scope(|scope| {
        let write = &write;
        let killed = scope.spawn(move || {
            let mut acknowledged = Vec::new();
            // It dies with a write on its way, after as many as chance has it.
            for n in 0..5 + u64::from(std::process::id() % 20) {
                acknowledged.extend(write(&victim, 3, n).then_some(3_000 + n));
            }
            let last = scope.spawn(move || write(&victim, 3, 999).then_some(3_999));
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
                .unwrap();
            acknowledged.extend(last.join().unwrap());
            acknowledged
        });
        let others = servers.iter().zip((0..WRITERS).filter(|writer| *writer != 3)).map(|(server, writer)| {
            scope.spawn(move || {
                (0..40).filter(|n| write(server, writer, *n)).map(|n| writer * 1_000 + n).collect::<Vec<u64>>()
            })
        });
        let others: Vec<_> = others.collect();
        let alive = others.into_iter().flat_map(|writer| writer.join().unwrap());
        let mut all: Vec<u64> = alive.collect();
        assert!(all.len() >= 270, "{} of 280 were acknowledged by those that live", all.len());
        all.extend(killed.join().unwrap());
        all
    });
    place.cairn("compact", &["c", "--force"]).ok();
    for reader in [&servers[0], &place.serve(&Serve::default())] {
        let body = json!({"limit": 1_000, "with_vector": true});
        let reply = reader.post("/collections/c/points/scroll", &body).ok();
        let shown: BTreeMap<u64, &Value> =
            reply.points().iter().map(|point| (point["id"].as_u64().unwrap(), point)).collect();
        assert_eq!(shown.len(), reply.points().len(), "a point is there twice");
        for id in &acknowledged {
            let point = shown.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is not there"));
            assert_eq!(point["payload"]["n"], json!(id % 1_000));
        }
        // What was not acknowledged may be there or not: at most what was on its way when the process died.
        assert!(shown.len() <= acknowledged.len() + 11, "{} of {}", shown.len(), acknowledged.len());
    }
}

fn writes_that_cannot_be_are_refused_whole(place: &Place) {
    let server = place.serve(&Serve::default());
    create(&server, "c", 2);
    let good = vec![0.5; DIM];
    let body = json!({"points": [{"id": 1, "vector": good}, {"id": 2, "vector": [1.0]}]});
    server.put(&points("c", ""), &body).refused(400, &["expected dim: 40, got 1"]);
    assert_eq!(server.count("c"), 0);
    server
        .put(&points("missing", ""), &json!({"points": [{"id": 1, "vector": good}]}))
        .refused(404, &["`missing` doesn't exist"]);
    let body = json!({"payload": {"a": 1}, "points": [9]});
    server.post(&points("c", "/payload"), &body).refused(404, &["No point with id 9 found"]);
    server.put(&points("c", "/vectors"), &json!({"points": [{"id": 9, "vector": good}]})).refused(404, &["id 9"]);
    // Of what is not there nothing can be deleted, which is no error.
    server.post(&points("c", "/delete"), &json!({"points": [9]})).ok();
    let body = json!({"points": [{"id": 3, "vector": good}], "update_mode": "update_only"});
    server.put(&points("c", ""), &body).ok();
    assert_eq!(server.count("c"), 0);
    let body = json!({"points": [{"id": 3, "vector": good, "payload": {"v": 1}}], "update_mode": "insert_only"});
    server.put(&points("c", ""), &body).ok();
    let body = json!({"points": [{"id": 3, "vector": good, "payload": {"v": 2}}], "update_mode": "insert_only"});
    server.put(&points("c", ""), &body).ok();
    assert_eq!(server.get("/collections/c/points/3").ok().result()["payload"], json!({"v": 1}));
    let when = |v: u64| json!({"must": [{"key": "v", "match": {"value": v}}]});
    for (expected, v) in [(1, 7), (3, 1)] {
        let body = json!({"points": [{"id": 3, "vector": good, "payload": {"v": 3}}], "update_filter": when(v)});
        server.put(&points("c", ""), &body).ok();
        assert_eq!(server.get("/collections/c/points/3").ok().result()["payload"], json!({"v": expected}));
    }
}
