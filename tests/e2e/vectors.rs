//! Collections of several vectors, of all kinds: whatever subset of them a point has, every server answers as a naive model does.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::fixture::{Corpus, Metric, Place, Random, Serve, Server, eventually};

mod lasting {
    use super::*;
    use crate::fixture::on_every_lasting_store;

    on_every_lasting_store!(
        any_sequence_of_operations_on_vectors_is_what_a_naive_model_says,
        leaves_search_the_vector_that_is_named,
        each_of_several_vectors_is_found_by_its_own_graph,
    );
}

/// Points have these ids, below.
const IDS: usize = 40;
const CITIES: [&str; 3] = ["Lima", "Oslo", "Quito"];

/// Dense vectors: name, dimensions, metric. The first has codes, and so a graph of them.
const DENSE: [(&str, usize, Metric); 3] =
    [("", 40, Metric::Euclid), ("bytes", 3, Metric::Manhattan), ("dot", 8, Metric::Dot)];
const ROWS: &str = "rows";
const WORDS: &str = "words";
const NAMES: [&str; 5] = ["", "bytes", "dot", ROWS, WORDS];

fn create(server: &Server, shards: u32) {
    let body = json!({
        "vectors": {
            "": {"size": 40, "distance": "Euclid"},
            "bytes": {"size": 3, "distance": "Manhattan", "datatype": "uint8"},
            "dot": {"size": 8, "distance": "Dot", "datatype": "float16", "hnsw_config": {"m": 4}},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {}},
        "shard_number": shards,
    });
    server.put("/collections/c", &body).ok();
}

/// A point as it is shown: its vectors by name, its city.
#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    vectors: Map<String, Value>,
    city: String,
}

/// What the points are, and nothing else.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<u64, Point>);

/// Numbers that every datatype holds as they are, and whose sums of products are exact.
fn dense(random: &mut Random, name: &str, dim: usize) -> Vec<f32> {
    let one = |random: &mut Random| match name {
        "bytes" => random.below(256) as f32,
        _ => (random.below(64) as f32 - 32.0) / 8.0,
    };
    (0..dim).map(|_| one(random)).collect()
}

fn vector(random: &mut Random, name: &str) -> Value {
    match name {
        ROWS => (0..1 + random.below(3)).map(|_| json!(dense(random, name, 2))).collect(),
        WORDS => {
            let indices: Vec<usize> = (0..50).filter(|_| random.below(10) == 0).collect();
            json!({"indices": indices, "values": dense(random, name, indices.len())})
        }
        _ => {
            let (_, dim, _) = DENSE.iter().find(|(dense, ..)| *dense == name).unwrap();
            json!(dense(random, name, *dim))
        }
    }
}

/// Some of the vectors, all of them or none.
fn vectors(random: &mut Random) -> Map<String, Value> {
    let odds = random.below(4);
    let some: Vec<&str> = NAMES.into_iter().filter(|_| random.below(3) < odds).collect();
    some.into_iter().map(|name| (name.to_owned(), vector(random, name))).collect()
}

/// The same in a form in which it may be written: the unnamed vector may be bare where it is the only one.
fn written(vectors: &Map<String, Value>) -> Value {
    match vectors.get("") {
        Some(unnamed) if vectors.len() == 1 => unnamed.clone(),
        _ => json!(vectors),
    }
}

fn floats(vector: &Value) -> Vec<f32> {
    vector.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn by_city(city: &str) -> Value {
    json!({"must": [{"key": "city", "match": {"value": city}}]})
}

fn path(rest: &str) -> String {
    format!("/collections/c/points{rest}?wait=true")
}

impl Model {
    fn ids(&self, passes: impl Fn(&Point) -> bool) -> Vec<u64> {
        self.0.iter().filter(|(_, point)| passes(point)).map(|(id, _)| *id).collect()
    }

    fn some_ids(&self, random: &mut Random) -> Vec<u64> {
        (0..3).map(|_| random.below(IDS) as u64).filter(|id| self.0.contains_key(id)).collect()
    }

    fn update(&mut self, changes: &[(u64, Map<String, Value>)]) {
        for (id, vectors) in changes {
            self.0.get_mut(id).unwrap().vectors.extend(vectors.clone());
        }
    }

    fn delete_vectors(&mut self, ids: &[u64], names: &[&str]) {
        for id in ids {
            self.0.get_mut(id).unwrap().vectors.retain(|name, _| !names.contains(&name.as_str()));
        }
    }

    /// One operation, here and there.
    fn change(&mut self, server: &Server, random: &mut Random) {
        let ids = self.some_ids(random);
        let city = CITIES[random.below(3)];
        match random.below(10) {
            0..=2 => {
                let written: Vec<(u64, Point)> = (0..1 + random.below(6))
                    .map(|_| (random.below(IDS) as u64, Point { vectors: vectors(random), city: city.to_owned() }))
                    .collect();
                self.upsert(server, written);
            }
            3 | 4 if !ids.is_empty() => {
                let changes: Vec<_> = ids.iter().map(|id| (*id, vectors(random))).collect();
                let body = |(id, vectors): &(u64, Map<String, Value>)| json!({"id": id, "vector": written(vectors)});
                let points: Vec<Value> = changes.iter().map(body).collect();
                server.put(&path("/vectors"), &json!({ "points": points })).ok();
                self.update(&changes);
            }
            5 if !ids.is_empty() => {
                let names = [NAMES[random.below(5)], NAMES[random.below(5)]];
                server.post(&path("/vectors/delete"), &json!({"points": ids, "vector": names})).ok();
                self.delete_vectors(&ids, &names);
            }
            6 => {
                let (name, has) = (NAMES[random.below(5)], NAMES[random.below(5)]);
                let filter = json!({"must": [{"has_vector": has}, {"key": "city", "match": {"value": city}}]});
                server.post(&path("/vectors/delete"), &json!({"filter": filter, "vector": [name]})).ok();
                let ids = self.ids(|point| point.city == city && point.vectors.contains_key(has));
                self.delete_vectors(&ids, &[name]);
            }
            7 if !ids.is_empty() => {
                server.put(&path("/payload"), &json!({"payload": {"city": city}, "points": ids})).ok();
                ids.iter().for_each(|id| self.0.get_mut(id).unwrap().city = city.to_owned());
            }
            8 => self.renew(server, random),
            _ => self.batch(server, random, city),
        }
    }

    /// Removes a vector from the collection, and adds it again: no point has it then. Other servers learn that by themselves.
    fn renew(&mut self, server: &Server, random: &mut Random) {
        let (name, config) = match random.below(4) {
            0 => ("bytes", json!({"dense": {"size": 3, "distance": "Manhattan", "datatype": "uint8"}})),
            1 => ("dot", json!({"dense": {"size": 8, "distance": "Dot", "datatype": "float16"}})),
            2 => (
                ROWS,
                json!({"dense": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}),
            ),
            _ => (WORDS, json!({"sparse": {}})),
        };
        let path = format!("/collections/c/vectors/{name}?wait=true");
        server.delete(&path).ok();
        server.delete(&path).ok();
        server.put(&path, &config).ok();
        server.put(&path, &config).ok();
        self.delete_vectors(&self.ids(|_| true), &[name]);
    }

    fn upsert(&mut self, server: &Server, points: Vec<(u64, Point)>) {
        let body = |(id, point): &(u64, Point)| json!({"id": id, "vector": written(&point.vectors), "payload": {"city": point.city}});
        let body: Vec<Value> = points.iter().map(body).collect();
        server.put(&path(""), &json!({ "points": body })).ok();
        self.0.extend(points);
    }

    /// Operations that depend on one another, at one place of the log.
    fn batch(&mut self, server: &Server, random: &mut Random, city: &str) {
        let id = random.below(IDS) as u64;
        let point = Point { vectors: vectors(random), city: city.to_owned() };
        let (change, name) = (vectors(random), NAMES[random.below(5)]);
        let body = json!({"operations": [
            {"upsert": {"points": [{"id": id, "vector": written(&point.vectors), "payload": {"city": city}}]}},
            {"update_vectors": {"points": [{"id": id, "vector": written(&change)}]}},
            {"delete_vectors": {"filter": by_city(city), "vector": [name]}},
            {"delete": {"points": [(id as usize + 1) % IDS]}},
        ]});
        server.post(&path("/batch"), &body).ok();
        self.0.insert(id, point);
        self.update(&[(id, change)]);
        self.delete_vectors(&self.ids(|point| point.city == city), &[name]);
        self.0.remove(&((id + 1) % IDS as u64));
    }

    /// Everything that can be read is as the model has it.
    #[track_caller]
    fn check(&self, server: &Server, random: &mut Random) {
        let some = NAMES[random.below(5)];
        for (selected, names) in [(json!(true), NAMES.to_vec()), (json!([some, ROWS]), vec![some, ROWS])] {
            let body = json!({"limit": 100, "with_vector": selected});
            let reply = server.post("/collections/c/points/scroll", &body).ok();
            let shown: Vec<(Value, Value, Value)> = reply
                .points()
                .iter()
                .map(|point| (point["id"].clone(), point["vector"].clone(), point["payload"]["city"].clone()))
                .collect();
            let expected: Vec<(Value, Value, Value)> =
                self.0.iter().map(|(id, point)| (json!(id), point.shown(&names), json!(point.city))).collect();
            assert_eq!(shown, expected, "{body}");
        }
        for name in NAMES {
            let filter = json!({"must": [{"has_vector": name}], "must_not": [by_city(CITIES[0])]});
            let reply = server.post("/collections/c/points/count", &json!({ "filter": filter })).ok();
            let expected = self.ids(|point| point.vectors.contains_key(name) && point.city != CITIES[0]).len();
            assert_eq!(reply.result()["count"], json!(expected), "{name}");
        }
        self.check_queries(server, random);
    }

    #[track_caller]
    fn check_queries(&self, server: &Server, random: &mut Random) {
        let city = CITIES[random.below(3)];
        let mut searches = Vec::new();
        let mut expected = Vec::new();
        for (name, dim, metric) in DENSE {
            let query = dense(random, name, dim);
            for filter in [json!({}), by_city(city)] {
                let among = |point: &Point| filter == json!({}) || point.city == city;
                let ranked = self.ranked((name, metric), &query, among);
                for exact in [true, false] {
                    let body = json!({"query": query, "using": name, "limit": 6, "filter": filter, "params": {"exact": exact}});
                    let reply = server.query("c", &body).ok();
                    assert_hits(reply.points(), &ranked[..ranked.len().min(6)], exact, &body);
                    searches.push(body);
                    expected.push(ranked.clone());
                }
            }
            self.check_by_point(server, random, (name, metric));
        }
        let reply = server.post("/collections/c/points/query/batch", &json!({ "searches": searches })).ok();
        for ((answer, ranked), body) in reply.result().as_array().unwrap().iter().zip(&expected).zip(&searches) {
            let exact = body["params"]["exact"] == json!(true);
            assert_hits(answer["points"].as_array().unwrap(), &ranked[..ranked.len().min(6)], exact, body);
        }
    }

    /// Points near a point, by one of its vectors, which it may lack.
    #[track_caller]
    fn check_by_point(&self, server: &Server, random: &mut Random, (name, metric): (&str, Metric)) {
        let Some((id, point)) = self.0.iter().nth(random.below(IDS)) else { return };
        let body = json!({"query": id, "using": name, "limit": 5, "params": {"exact": true}});
        let reply = server.query("c", &body);
        let Some(own) = point.vectors.get(name) else {
            reply.refused(404, &[&format!("Vector with name \"{name}\" for point not found")]);
            return;
        };
        let mut ranked = self.ranked((name, metric), &floats(own), |_| true);
        ranked.retain(|(other, _)| other != id);
        assert_hits(reply.ok().points(), &ranked[..ranked.len().min(5)], true, &body);
    }

    fn ranked(&self, (name, metric): (&str, Metric), query: &[f32], among: impl Fn(&Point) -> bool) -> Vec<(u64, f64)> {
        let scored = self.0.iter().filter(|(_, point)| among(point)).filter_map(|(id, point)| {
            let own = point.vectors.get(name)?;
            Some((*id, metric.score(query, &floats(own))))
        });
        let mut ranked: Vec<(u64, f64)> = scored.collect();
        let key = |score: f64| if metric.ascending() { score } else { -score };
        ranked.sort_by(|a, b| key(a.1).total_cmp(&key(b.1)).then(a.0.cmp(&b.0)));
        ranked
    }
}

impl Point {
    /// How its vectors of these names are shown.
    fn shown(&self, names: &[&str]) -> Value {
        let selected = self.vectors.iter().filter(|(name, _)| names.contains(&name.as_str()));
        written(&selected.map(|(name, vector)| (name.clone(), vector.clone())).collect())
    }
}

/// Scores are those of the best; exact answers have their very points, equal scores by id.
#[track_caller]
fn assert_hits(points: &[Value], ranked: &[(u64, f64)], exact: bool, body: &Value) {
    assert_eq!(points.len(), ranked.len(), "{body}");
    for (point, (id, score)) in points.iter().zip(ranked) {
        let found = point["score"].as_f64().unwrap();
        assert!((found - score).abs() <= 1e-5 * score.abs().max(1.0), "{body}: {point} instead of {id}, {score}");
        assert!(!exact || point["id"] == json!(id), "{body}: {point} instead of {id}, {score}");
    }
}

fn any_sequence_of_operations_on_vectors_is_what_a_naive_model_says(place: &Place) {
    let (writer, other) = (place.serve(&Serve::default()), place.serve(&Serve::default()));
    create(&writer, 2);
    let mut random = Random(0xfeed);
    let mut model = Model::default();
    for step in 0..90 {
        if step % 15 == 14 {
            place.cairn("compact", &["c", "--force"]).ok();
        }
        let [server, reader] = [random.below(2), random.below(2)].map(|n| if n == 0 { &writer } else { &other });
        model.change(server, &mut random);
        if step % 3 == 0 {
            model.check(reader, &mut random);
        }
    }
    model.check(&place.serve(&Serve::default()), &mut random);
    place.cairn("compact", &["c", "--force"]).ok();
    let cold = place.folder().join("cold");
    model.check(&place.serve(&Serve { cache_dir: Some(&cold), ..Serve::default() }), &mut random);
}

fn leaves_search_the_vector_that_is_named(place: &Place) {
    let leaf = |name: &str| {
        let dir = place.folder().join(name);
        place.serve(&Serve { cache_dir: Some(&dir), more: &["--role", "leaf"], ..Serve::default() })
    };
    let leaves = [leaf("one"), leaf("two")];
    let urls = leaves.each_ref().map(|leaf| leaf.url.as_str()).join(",");
    let root = place.serve(&Serve { more: &["--leaves", &urls, "--no-indexer"], ..Serve::default() });
    create(&root, 3);
    let mut random = Random(22);
    let mut model = Model::default();
    for step in 0..18 {
        model.change(&root, &mut random);
        if step % 6 == 5 {
            place.cairn("compact", &["c", "--force"]).ok();
        }
        if step % 3 == 2 {
            model.check(&root, &mut random);
        }
    }
}

/// Points have stones, and three of four have a grain as well.
struct Quarry {
    stones: Corpus,
    grains: Corpus,
}

impl Quarry {
    const POINTS: usize = 1_600;

    fn new() -> Self {
        Self { stones: Corpus::new(Self::POINTS, 48, "first"), grains: Corpus::new(Self::POINTS, 40, "second") }
    }

    fn has_grain(row: u64) -> bool {
        !row.is_multiple_of(4)
    }

    fn write(&self, server: &Server) {
        let walked =
            |size, distance| json!({"size": size, "distance": distance, "hnsw_config": {"full_scan_threshold": 10}});
        let body = json!({"vectors": {"stone": walked(48, "Euclid"), "grain": walked(40, "Cosine")}});
        server.put("/collections/c", &body).ok();
        let rows: Vec<_> = self.stones.points.iter().zip(&self.grains.points).collect();
        for some in rows.chunks(400) {
            let points = some.iter().map(|(stone, grain)| {
                let mut vector = json!({ "stone": stone.vector });
                if Self::has_grain(stone.payload["row"].as_u64().unwrap()) {
                    vector["grain"] = json!(grain.vector);
                }
                json!({"id": stone.id, "vector": vector, "payload": {"row": stone.payload["row"], "city": stone.payload["city"]}})
            });
            server.put(&path(""), &json!({"points": points.collect::<Vec<_>>()})).ok();
        }
    }

    /// Asks all queries of both vectors, with a filter and without: the share of the nearest ten that was found among those of brute force.
    #[track_caller]
    fn recall(&self, server: &Server, plan: &str) -> f64 {
        let (mut found, mut wanted) = (0u32, 0u32);
        for (name, corpus, metric) in [("stone", &self.stones, Metric::Euclid), ("grain", &self.grains, Metric::Cosine)]
        {
            for (at, query) in corpus.queries.iter().enumerate() {
                let filter = if at % 2 == 0 { json!({}) } else { by_city("Lima") };
                let ranked = corpus.ranked(metric, query, |point| {
                    let has = name == "stone" || Self::has_grain(point.payload["row"].as_u64().unwrap());
                    has && (at % 2 == 0 || point.payload["city"] == "Lima")
                });
                let params = json!({"hnsw_ef": 200, "plan": plan});
                let body = json!({"query": query, "using": name, "filter": filter, "params": params});
                let reply = server.query("c", &body).ok();
                assert_eq!(reply.points().len(), 10, "{body}");
                for point in reply.points() {
                    let known = ranked.iter().find(|(id, _)| *id == point["id"]);
                    let (score, right) = (point["score"].as_f64().unwrap(), known.unwrap().1);
                    assert!((score - right).abs() <= 1e-3 * right.abs().max(1.0), "{body}: {point}, not {right}");
                    found += u32::from(ranked[..10].iter().any(|(id, _)| *id == point["id"]));
                    wanted += 1;
                }
            }
        }
        f64::from(found) / f64::from(wanted)
    }
}

fn each_of_several_vectors_is_found_by_its_own_graph(place: &Place) {
    let quarry = Quarry::new();
    let server = place.serve(&Serve { more: &["--no-indexer", "--hot-bytes", "64MiB"], ..Serve::default() });
    quarry.write(&server);
    assert!(quarry.recall(&server, "auto") > 0.999, "what is in memory is all looked at");
    place.cairn("compact", &["c", "--force"]).ok();
    assert!(quarry.recall(&server, "auto") > 0.97);
    let telemetry = |field: fn(&Value) -> &Value| {
        let reply = server.get("/telemetry").ok();
        field(&reply.result()["cairn"]).as_u64().unwrap()
    };
    let query = |name: &str, corpus: &Corpus| {
        server.query("c", &json!({"query": corpus.queries[0], "using": name, "params": {"hnsw_ef": 200}})).ok();
    };
    eventually("the graph of the vector that all points have is expanded", || {
        query("stone", &quarry.stones);
        (telemetry(|cairn| &cairn["hot"]["segments"]) > 0).then_some(())
    });
    let hot_searches = || telemetry(|cairn| &cairn["strategies"]["hot"]["count"]);
    let before = hot_searches();
    query("grain", &quarry.grains);
    assert_eq!(hot_searches(), before, "the other vector is searched by its own graph");
    query("stone", &quarry.stones);
    assert!(hot_searches() > before);
    assert!(quarry.recall(&server, "auto") > 0.97);
    for plan in ["ranges", "whole"] {
        let cold = place.folder().join(plan);
        let server = place.serve(&Serve { cache_dir: Some(&cold), more: &["--no-indexer"], ..Serve::default() });
        let recall = quarry.recall(&server, plan);
        assert!(recall > 0.95, "{plan}: {recall}");
    }
}
