//! What a user does, on every store.

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Point, Serve, Server, on_every_store};

on_every_store!(
    exact_queries_are_brute_force,
    default_queries_find_what_brute_force_finds,
    filters_are_the_naive_predicate,
    queries_select_page_and_cut,
    batches_and_the_older_endpoints_agree,
    scroll_reaches_every_point_once,
    scroll_orders_and_facets_count,
    retrieve_gives_what_was_put_in,
    collections_come_and_go,
);

const DIM: usize = 20;

fn served(place: &Place, options: &Index<'_>) -> (Corpus, Server) {
    let corpus = Corpus::new(700, DIM, "first");
    place.index(&corpus, options);
    (corpus, place.serve(&Serve::default()))
}

fn close(got: f64, expected: f64) -> bool {
    (got - expected).abs() <= 1e-4 * expected.abs().max(1.0)
}

/// The points of an answer against the oracle's ranking, allowing for ties.
#[track_caller]
fn assert_ranked(points: &[Value], ranked: &[(Value, f64)], context: &str) {
    assert!(points.len() <= ranked.len(), "{context}: {} points, {} can match", points.len(), ranked.len());
    for (at, point) in points.iter().enumerate() {
        let score = point["score"].as_f64().unwrap();
        assert!(close(score, ranked[at].1), "{context}: hit {at} scores {score}, brute force {}", ranked[at].1);
        let known = ranked.iter().find(|(id, _)| *id == point["id"]);
        let (_, expected) = known.unwrap_or_else(|| panic!("{context}: {} does not match", point["id"]));
        assert!(close(score, *expected), "{context}: {} scores {score}, not {expected}", point["id"]);
    }
}

fn exact_queries_are_brute_force(place: &Place) {
    let corpus = Corpus::new(400, DIM, "first");
    for metric in Metric::ALL {
        place.index(&corpus, &Index { collection: metric.flag(), metric, ..Index::default() });
    }
    let server = place.serve(&Serve::default());
    for metric in Metric::ALL {
        for query in &corpus.queries {
            let body = json!({"query": query, "limit": 15, "params": {"exact": true}});
            let reply = server.query(metric.flag(), &body).ok();
            assert_eq!(reply.points().len(), 15);
            assert_ranked(reply.points(), &corpus.ranked(metric, query, |_| true), metric.flag());
        }
    }
}

fn default_queries_find_what_brute_force_finds(place: &Place) {
    let (corpus, server) = served(place, &Index { metric: Metric::Euclid, shards: 3, ..Index::default() });
    let (mut found, mut wanted) = (0, 0);
    for query in &corpus.queries {
        let ranked = corpus.ranked(Metric::Euclid, query, |_| true);
        let reply = server.query("stones", &json!({"query": {"nearest": query}})).ok();
        assert_eq!(reply.points().len(), 10, "Qdrant's default limit");
        found += reply.points().iter().filter(|point| ranked[..10].iter().any(|(id, _)| *id == point["id"])).count();
        wanted += 10;
    }
    assert!(found * 100 >= wanted * 98, "recall {found} of {wanted}");
}

/// A filter in Qdrant's words, and what it means.
type Meaning = (Value, fn(&Point) -> bool);

fn filters() -> Vec<Meaning> {
    fn city(point: &Point) -> &str {
        point.payload["city"].as_str().unwrap()
    }
    fn price(point: &Point) -> f64 {
        point.payload["price"].as_f64().unwrap()
    }
    fn row(point: &Point) -> u64 {
        point.payload["row"].as_u64().unwrap()
    }
    fn tags(point: &Point) -> Vec<&str> {
        point.payload["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect()
    }
    fn month(point: &Point) -> u32 {
        point.payload["at"].as_str().unwrap()[5..7].parse().unwrap()
    }
    let field = |key: &str, test: &str, value: Value| json!({"key": key, test: value});
    let must = |condition: Value| json!({"must": condition});
    vec![
        (must(field("city", "match", json!({"value": "Lima"}))), |p| city(p) == "Lima"),
        (must(field("row", "match", json!({"value": 17}))), |p| row(p) == 17),
        (must(field("open", "match", json!({"value": true}))), |p| row(p).is_multiple_of(4)),
        (must(field("city", "match", json!({"any": ["Lima", "Oslo"]}))), |p| matches!(city(p), "Lima" | "Oslo")),
        (must(field("city", "match", json!({"except": ["Lima", "Oslo"]}))), |p| !matches!(city(p), "Lima" | "Oslo")),
        (must(field("tags", "match", json!({"value": "t3"}))), |p| tags(p).contains(&"t3")),
        (must(field("price", "range", json!({"gte": 0.5, "lt": 60.0}))), |p| (0.5..60.0).contains(&price(p))),
        (must(field("at", "range", json!({"gte": "2024-03-01T00:00:00Z", "lt": "2024-06-01T00:00:00Z"}))), |p| {
            (3..6).contains(&month(p))
        }),
        (must(field("tags", "values_count", json!({"gte": 2}))), |p| tags(p).len() >= 2),
        (must(json!({"is_empty": {"key": "note"}})), |p| row(p) % 5 != 1),
        (must(json!({"is_null": {"key": "note"}})), |p| row(p).is_multiple_of(5)),
        (must(json!({"has_id": [1, 2, 4, 999_999]})), |p| matches!(p.id.as_u64(), Some(1 | 2 | 4))),
        (must(field("place.floor", "match", json!({"value": 3}))), |p| row(p) % 7 == 3),
        (must(field("place.doors[].colour", "match", json!({"value": "red"}))), |p| row(p).is_multiple_of(2)),
        (must(field("nowhere", "match", json!({"value": 1}))), |_| false),
        (must(field("city", "match", json!({"text": "im"}))), |p| city(p) == "Lima"),
        (must(field("city", "match", json!({"prefix": "L"}))), |p| city(p).starts_with('L')),
        (must(field("city", "match", json!({"text_any": "ern slo"}))), |p| matches!(city(p), "Bern" | "Oslo")),
        (must(json!({"has_vector": ""})), |_| true),
        (must(json!({"has_vector": "other"})), |_| false),
        (
            must(
                json!({"nested": {"key": "place.doors", "filter": must(field("colour", "match", json!({"value": "red"})))}}),
            ),
            |p| row(p).is_multiple_of(2),
        ),
        // No door has two colours.
        (
            must(json!({"nested": {"key": "place.doors", "filter": {"must": [
                field("colour", "match", json!({"value": "red"})), field("colour", "match", json!({"value": "grey"})),
            ]}}})),
            |_| false,
        ),
        (json!({"must_not": [field("city", "match", json!({"value": "Lima"}))]}), |p| city(p) != "Lima"),
        (
            json!({"should": [field("city", "match", json!({"value": "Bern"})), field("price", "range", json!({"gt": 100}))]}),
            |p| city(p) == "Bern" || price(p) > 100.0,
        ),
        (
            json!({"min_should": {"min_count": 2, "conditions": [
                field("city", "match", json!({"value": "Bern"})),
                field("open", "match", json!({"value": true})),
                field("price", "range", json!({"lt": 50})),
            ]}}),
            |p| [city(p) == "Bern", row(p).is_multiple_of(4), price(p) < 50.0].iter().filter(|&&met| met).count() >= 2,
        ),
        (
            json!({
                "must": [field("price", "range", json!({"gte": 0}))],
                "must_not": [{"must": [field("city", "match", json!({"value": "Oslo"})), field("open", "match", json!({"value": true}))]}],
                "should": [field("tags", "match", json!({"value": "t1"})), field("tags", "match", json!({"value": "t2"}))],
            }),
            |p| {
                price(p) >= 0.0
                    && !(city(p) == "Oslo" && row(p).is_multiple_of(4))
                    && (tags(p).contains(&"t1") || tags(p).contains(&"t2"))
            },
        ),
    ]
}

fn filters_are_the_naive_predicate(place: &Place) {
    let (corpus, server) = served(place, &Index::default());
    for (filter, keep) in filters() {
        let context = filter.to_string();
        let matching: Vec<Value> = corpus.points.iter().filter(|p| keep(p)).map(|p| p.id.clone()).collect();
        let body = json!({"filter": filter, "exact": true});
        let counted = server.post("/collections/stones/points/count", &body).ok();
        assert_eq!(counted.result()["count"], matching.len(), "{context}");

        let page = json!({"filter": filter, "limit": 1000, "with_payload": false});
        let scrolled = server.post("/collections/stones/points/scroll", &page).ok();
        let mut scrolled: Vec<String> = scrolled.points().iter().map(|point| point["id"].to_string()).collect();
        let mut expected: Vec<String> = matching.iter().map(Value::to_string).collect();
        scrolled.sort();
        expected.sort();
        assert_eq!(scrolled, expected, "{context}");

        for (query, exact) in corpus.queries.iter().take(4).flat_map(|query| [(query, true), (query, false)]) {
            let ranked = corpus.ranked(Metric::Cosine, query, keep);
            let body = json!({"query": query, "filter": filter, "limit": 10, "params": {"exact": exact}});
            let reply = server.query("stones", &body).ok();
            let points = reply.points();
            assert!(points.iter().all(|point| matching.contains(&point["id"])), "{context}: a hit does not match");
            if exact {
                assert_eq!(points.len(), ranked.len().min(10), "{context}");
                assert_ranked(points, &ranked, &context);
            } else if !ranked.is_empty() {
                assert!(!points.is_empty(), "{context}: nothing was found of {}", ranked.len());
            }
        }
    }
}

fn queries_select_page_and_cut(place: &Place) {
    let (corpus, server) = served(place, &Index::default());
    let query = &corpus.queries[0];
    let ranked = corpus.ranked(Metric::Cosine, query, |_| true);
    let ask = |more: Value| {
        let mut body = json!({"query": query, "limit": 5, "params": {"exact": true}});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        server.query("stones", &body).ok().points().to_vec()
    };

    let plain = ask(json!({}));
    assert!(plain.iter().all(|point| point.get("payload").is_none_or(Value::is_null)), "no payload by default");
    assert!(plain.iter().all(|point| point.get("vector").is_none_or(Value::is_null)), "no vector by default");
    assert_eq!(plain[0]["id"], ranked[0].0);

    let full = ask(json!({"with_payload": true, "with_vector": true}));
    for point in &full {
        let known = corpus.point(&point["id"]);
        assert_eq!(point["payload"], known.payload);
        let vector: Vec<f32> = serde_json::from_value(point["vector"].clone()).unwrap();
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-3, "cosine vectors come back normalised, not with norm {norm}");
        assert!(Metric::Cosine.score(&vector, &known.vector) > 0.9999);
    }
    let some = ask(json!({"with_payload": ["city", "place.floor"]}));
    for point in &some {
        let known = &corpus.point(&point["id"]).payload;
        assert_eq!(point["payload"], json!({"city": known["city"], "place": {"floor": known["place"]["floor"]}}));
    }
    let without = ask(json!({"with_payload": {"exclude": ["city", "tags"]}}));
    for point in &without {
        let mut known = corpus.point(&point["id"]).payload.clone();
        known.as_object_mut().unwrap().retain(|key, _| key != "city" && key != "tags");
        assert_eq!(point["payload"], known);
    }

    let later = ask(json!({"offset": 3}));
    assert_eq!(
        later[..2].iter().map(|p| &p["id"]).collect::<Vec<_>>(),
        plain[3..].iter().map(|p| &p["id"]).collect::<Vec<_>>()
    );
    assert!(ask(json!({"offset": 700})).is_empty());

    let bar = f64::midpoint(ranked[2].1, ranked[3].1);
    assert_eq!(ask(json!({"score_threshold": bar})).len(), 3, "only three score above {bar}");

    let by_id = ask(json!({"query": ranked[0].0}));
    let nearest = corpus.ranked(Metric::Cosine, &corpus.point(&ranked[0].0).vector, |p| p.id != ranked[0].0);
    assert_eq!(by_id[0]["id"], nearest[0].0, "a query by id leaves the point itself out");

    server.query("stones", &json!({"query": 123_456_789})).refused(404, &["123456789"]);
}

fn batches_and_the_older_endpoints_agree(place: &Place) {
    let (corpus, server) = served(place, &Index { vector_name: "stone", ..Index::default() });
    let searches: Vec<Value> = corpus.queries[..3]
        .iter()
        .map(|query| json!({"query": query, "using": "stone", "limit": 4, "params": {"exact": true}}))
        .collect();
    let batch = server.post("/collections/stones/points/query/batch", &json!({"searches": searches})).ok();
    for (at, search) in searches.iter().enumerate() {
        let one = server.query("stones", search).ok();
        assert_eq!(batch.result()[at]["points"], one.result()["points"]);

        let vector = json!({"name": "stone", "vector": search["query"]});
        let body = json!({"vector": vector, "limit": 4, "params": {"exact": true}});
        let older = server.post("/collections/stones/points/search", &body).ok();
        assert_eq!(older.result(), &one.result()["points"]);
        let older = server.post("/collections/stones/points/search/batch", &json!({"searches": [body]})).ok();
        assert_eq!(older.result()[0], one.result()["points"]);
    }
    let named =
        server.query("stones", &json!({"query": corpus.queries[0], "using": "stone", "with_vector": ["stone"]}));
    let named = named.ok();
    let vector = &named.points()[0]["vector"]["stone"];
    assert_eq!(vector.as_array().map(Vec::len), Some(DIM), "{vector}");
    server.query("stones", &json!({"query": corpus.queries[0], "using": "gravel"})).refused(400, &["gravel"]);
}

fn scroll_reaches_every_point_once(place: &Place) {
    let (corpus, server) = served(place, &Index { shards: 3, ..Index::default() });
    let mut ids = Vec::new();
    let mut offset = Value::Null;
    loop {
        let body = json!({"limit": 64, "offset": offset, "with_vector": true});
        let reply = server.post("/collections/stones/points/scroll", &body).ok();
        for point in reply.points() {
            assert_eq!(point["payload"], corpus.point(&point["id"]).payload);
            assert_eq!(point["vector"].as_array().unwrap().len(), DIM);
            ids.push(point["id"].clone());
        }
        assert!(reply.points().len() <= 64);
        offset = reply.result()["next_page_offset"].clone();
        if offset.is_null() {
            break;
        }
    }
    assert_eq!(ids, corpus.ids_in_order(), "integers first, then UUIDs, each once");
    let page = server.post("/collections/stones/points/scroll", &json!({})).ok();
    assert_eq!(page.points().len(), 10, "Qdrant's default limit");
}

fn scroll_orders_and_facets_count(place: &Place) {
    let (corpus, server) = served(place, &Index { shards: 3, ..Index::default() });
    let field = |test: &str, value: Value| json!({"key": "city", test: value});
    let lima = json!({"must": [field("match", json!({"value": "Lima"}))]});
    let city = |point: &&Point| point.payload["city"] == "Lima";

    // Rows ascend with the points, prices with rows, and no two are equal.
    let body =
        json!({"order_by": {"key": "price", "direction": "desc", "start_from": 120}, "filter": lima, "limit": 9});
    let reply = server.post("/collections/stones/points/scroll", &body).ok();
    let mut expected: Vec<&Point> = corpus.points.iter().filter(city).collect();
    expected.retain(|point| point.payload["price"].as_f64().unwrap() <= 120.0);
    expected.reverse();
    assert_eq!(reply.points().len(), 9);
    for (point, expected) in reply.points().iter().zip(expected) {
        assert_eq!((&point["id"], &point["order_value"]), (&expected.id, &expected.payload["price"]));
        assert_eq!(point["payload"], expected.payload);
    }
    assert!(reply.result()["next_page_offset"].is_null());
    let refused = json!({"order_by": "price", "offset": 3});
    server.post("/collections/stones/points/scroll", &refused).refused(400, &["offset", "order_by"]);
    let reply = server.query("stones", &json!({"query": {"order_by": "at"}, "limit": 1})).ok();
    assert_eq!(reply.points()[0]["order_value"], 1_704_110_400_000_000_i64);

    let reply = server.post("/collections/stones/facet", &json!({"key": "tags", "filter": lima})).ok();
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for point in corpus.points.iter().filter(city) {
        let tags = point.payload["tags"].as_array().unwrap().iter().filter_map(Value::as_str);
        tags.for_each(|tag| *counts.entry(tag).or_default() += 1);
    }
    let mut expected: Vec<(&str, u64)> = counts.into_iter().collect();
    expected.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let expected: Vec<Value> = expected.iter().map(|(tag, count)| json!({"value": tag, "count": count})).collect();
    assert_eq!(reply.result()["hits"], json!(expected));
    server.post("/collections/nowhere/facet", &json!({"key": "tags"})).refused(404, &["nowhere"]);
}

fn retrieve_gives_what_was_put_in(place: &Place) {
    let (corpus, server) = served(place, &Index { metric: Metric::Dot, ..Index::default() });
    let asked: Vec<Value> = corpus.points.iter().step_by(97).map(|point| point.id.clone()).collect();
    let body = json!({"ids": asked, "with_payload": true, "with_vector": true});
    let reply = server.post("/collections/stones/points", &body).ok();
    assert_eq!(reply.result().as_array().unwrap().len(), asked.len());
    for point in reply.result().as_array().unwrap() {
        let known = corpus.point(&point["id"]);
        assert_eq!(point["payload"], known.payload);
        let vector: Vec<f32> = serde_json::from_value(point["vector"].clone()).unwrap();
        assert_eq!(vector, known.vector, "a vector that is not normalised comes back bit for bit");
    }
    let missing = server.post("/collections/stones/points", &json!({"ids": [1, 5_000_000]})).ok();
    assert_eq!(missing.result().as_array().unwrap().len(), 1);

    for id in [&corpus.points[0].id, &corpus.points[2].id] {
        let text = id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned);
        let one = server.get(&format!("/collections/stones/points/{text}")).ok();
        assert_eq!(one.result()["id"], *id);
        assert_eq!(one.result()["payload"], corpus.point(id).payload);
    }
    server.get("/collections/stones/points/5000000").refused(404, &["5000000"]);
    server.get("/collections/stones/points/pebble").refused(400, &["pebble"]);
}

fn collections_come_and_go(place: &Place) {
    let server = place.serve(&Serve::default());
    let names = |server: &Server| -> Vec<String> {
        let reply = server.get("/collections").ok();
        let listed = reply.result()["collections"].as_array().unwrap().clone();
        listed.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(&server).is_empty());
    let root = server.get("/");
    assert_eq!((root.status, root.body["version"].is_string()), (200, true), "{}", root.body);
    for probe in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.get(probe).status, 200, "{probe}");
    }

    let schema = json!({"vectors": {"size": 4, "distance": "Euclid"}, "shard_number": 2});
    assert_eq!(server.put("/collections/empty", &schema).ok().result(), &json!(true));
    server.put("/collections/empty", &schema).refused(409, &["empty"]);
    let named = json!({"vectors": {"stone": {"size": 3, "distance": "Cosine"}}});
    server.put("/collections/named", &named).ok();
    assert_eq!(names(&server), ["empty", "named"]);

    let info = server.get("/collections/empty").ok();
    assert_eq!(info.result()["status"], "green");
    assert_eq!(info.result()["points_count"], 0);
    let params = &info.result()["config"]["params"];
    assert_eq!((&params["vectors"]["size"], &params["vectors"]["distance"]), (&json!(4), &json!("Euclid")));
    assert_eq!(params["shard_number"], 2);
    let info = server.get("/collections/named").ok();
    let params = &info.result()["config"]["params"]["vectors"]["stone"];
    assert_eq!((&params["size"], &params["distance"]), (&json!(3), &json!("Cosine")));

    let exists = |name: &str| server.get(&format!("/collections/{name}/exists")).ok().result()["exists"].clone();
    assert_eq!((exists("empty"), exists("other")), (json!(true), json!(false)));

    assert_eq!(server.count("empty"), 0);
    assert!(server.query("empty", &json!({"query": [0.0, 1.0, 2.0, 3.0]})).ok().points().is_empty());
    assert!(server.post("/collections/empty/points/scroll", &json!({})).ok().points().is_empty());

    assert_eq!(server.delete("/collections/empty").ok().result(), &json!(true));
    assert_eq!(names(&server), ["named"]);
    for gone in ["empty", "never"] {
        server.get(&format!("/collections/{gone}")).refused(404, &[gone]);
        server.query(gone, &json!({"query": [0.0, 1.0, 2.0, 3.0]})).refused(404, &[gone]);
    }
    server.put("/collections/empty", &schema).ok();
    assert_eq!(names(&server), ["empty", "named"], "a name can be used again");
}
