//! Orders and facets over several shards and segments, against sorting and counting.

use std::collections::BTreeMap;

use cairn_model::Distance;
use serde_json::{Value, json};

use super::fixture::{Fixture, Point, points, schema};

const SCROLL: &str = "/collections/c/points/scroll";
const QUERY: &str = "/collections/c/points/query";
const FACET: &str = "/collections/c/facet";

/// Points with dates, prices that repeat, and some without a price.
async fn fixture() -> (Fixture, Vec<Point>) {
    let mut points = points(60);
    for (n, point) in (0u64..).zip(&mut points) {
        let price = match n % 5 {
            0 => Value::Null,
            1 => json!((n % 7) as f64 / 2.0),
            _ => json!(n % 7),
        };
        point.payload.insert("price".into(), price);
        point.payload.insert("at".into(), json!(format!("2024-02-{:02}", 1 + n % 28)));
        point.payload.insert("open".into(), json!(n % 4 == 0));
    }
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 3), &points).await;
    (fixture, points)
}

fn id(point: &Point) -> Value {
    serde_json::to_value(point.id).unwrap()
}

/// All values of the points at a key, as numbers, in order; by id where they are equal.
fn sorted(points: &[Point], value: impl Fn(&Point) -> Vec<f64>, descending: bool) -> Vec<(f64, Value)> {
    let mut all: Vec<_> = points.iter().flat_map(|p| value(p).into_iter().map(|v| (v, p.id))).collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    if descending {
        all.reverse();
    }
    all.into_iter().map(|(value, id)| (value, serde_json::to_value(id).unwrap())).collect()
}

fn shown(points: &Value) -> Vec<(f64, Value)> {
    let one = |point: &Value| (point["order_value"].as_f64().unwrap(), point["id"].clone());
    points.as_array().unwrap().iter().map(one).collect()
}

#[tokio::test]
async fn points_come_in_the_order_of_their_values() {
    let (fixture, points) = fixture().await;
    let price = |point: &Point| point.payload["price"].as_f64().into_iter().collect::<Vec<_>>();
    let result = fixture.post(SCROLL, json!({"order_by": "price", "limit": 100})).await;
    assert_eq!(shown(&result["points"]), sorted(&points, price, false));
    assert_eq!(result["next_page_offset"], Value::Null);
    assert!(result["points"][0]["payload"].is_object() && result["points"][0].get("vector").is_none());

    let order = json!({"key": "price", "direction": "desc", "start_from": 2.5});
    let body = json!({"order_by": order, "limit": 7, "with_payload": false, "with_vector": true});
    let result = fixture.post(SCROLL, body).await;
    let expected: Vec<_> = sorted(&points, price, true).into_iter().filter(|(v, _)| *v <= 2.5).take(7).collect();
    assert_eq!(shown(&result["points"]), expected);
    assert!(result["points"][0].get("payload").is_none() && result["points"][0]["vector"].is_array());

    let even = json!({"must": [{"key": "tag", "match": {"value": "even"}}]});
    let body = json!({"order_by": {"key": "at", "start_from": "2024-02-20T00:00:00Z"}, "filter": even, "limit": 5});
    let result = fixture.post(SCROLL, body).await;
    let micros = |point: &Point| {
        let n = point.payload["n"].as_u64().unwrap();
        let is_shown = n.is_multiple_of(2) && n % 28 >= 19;
        is_shown.then_some(1_706_745_600_000_000.0 + (n % 28) as f64 * 86_400e6).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(shown(&result["points"]), sorted(&points, micros, false)[..5]);

    // Each of several values is an entry.
    let pair = |point: &Point| {
        let n = point.payload["n"].as_f64().unwrap();
        vec![n, n + 1.0]
    };
    let result = fixture.post(SCROLL, json!({"order_by": "deep.y", "limit": 1_000})).await;
    assert_eq!(shown(&result["points"]), sorted(&points, pair, false));
    let result = fixture.post(SCROLL, json!({"order_by": "nowhere"})).await;
    assert_eq!(result["points"], json!([]));
}

#[tokio::test]
async fn queries_order_too_and_skip() {
    let (fixture, points) = fixture().await;
    let all = sorted(&points, |point| vec![point.payload["n"].as_f64().unwrap()], true);
    let order = json!({"order_by": {"key": "n", "direction": "desc"}});
    let body = json!({"query": order, "limit": 4, "offset": 3, "with_payload": ["n"]});
    let result = fixture.post(QUERY, body.clone()).await;
    assert_eq!(shown(&result["points"]), all[3..7]);
    let first = &result["points"][0];
    assert_eq!(
        (&first["score"], &first["order_value"], &first["payload"]),
        (&json!(1.0), &json!(56), &json!({"n": 56}))
    );
    let batch = json!({"searches": [{"query": [1, 0, 0, 0], "limit": 1}, body, {"limit": 2}]});
    let answers = fixture.post("/collections/c/points/query/batch", batch).await;
    assert_eq!(answers[1], result);
    assert!(answers[0]["points"][0].get("order_value").is_none());
    assert_eq!(answers[2]["points"][0]["id"], id(&points[0]));
}

#[tokio::test]
async fn facets_count_every_point() {
    let (fixture, points) = fixture().await;
    let counted = |value: &dyn Fn(&Point) -> Vec<Value>, limit: usize| {
        let mut counts: BTreeMap<String, (u64, Value)> = BTreeMap::new();
        for value in points.iter().flat_map(value) {
            // Texts that sort as the values do.
            let key = value.as_u64().map_or_else(|| value.to_string(), |number| format!("{number:09}"));
            counts.entry(key).or_insert((0, value)).0 += 1;
        }
        let mut hits: Vec<(u64, Value)> = counts.into_values().collect();
        hits.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let hit = |(count, value)| json!({"value": value, "count": count});
        Value::Array(hits.into_iter().take(limit).map(hit).collect())
    };
    let at = |key: &'static str| move |point: &Point| vec![point.payload[key].clone()];
    for key in ["tag", "at", "open", "n"] {
        let result = fixture.post(FACET, json!({"key": key, "limit": 100})).await;
        assert_eq!(result["hits"], counted(&at(key), 100), "{key}");
    }
    let result = fixture.post(FACET, json!({"key": "at", "exact": true})).await;
    assert_eq!(result["hits"], counted(&at("at"), 10), "ten by default");
    let pair = |point: &Point| point.payload["deep"]["y"].as_array().unwrap().clone();
    let result = fixture.post(FACET, json!({"key": "deep.y[]", "limit": 5})).await;
    assert_eq!(result["hits"], counted(&pair, 5));
    // Floats are not counted, null is not a value.
    let integers = |point: &Point| point.payload["price"].as_u64().map(Value::from).into_iter().collect();
    let result = fixture.post(FACET, json!({"key": "price"})).await;
    assert_eq!(result["hits"], counted(&integers, 10));

    let odd = json!({"must_not": [{"key": "tag", "match": {"value": "even"}}]});
    let few = |point: &Point| {
        let odd = point.payload["tag"] == "odd";
        odd.then(|| point.payload["open"].clone()).into_iter().collect()
    };
    let result = fixture.post(FACET, json!({"key": "open", "filter": odd})).await;
    assert_eq!(result["hits"], counted(&few, 10));
    assert_eq!(fixture.post(FACET, json!({"key": "nowhere"})).await["hits"], json!([]));
}
