//! Requests that are wrong, and exactly what is said to them.

use bytesize::ByteSize;
use cairn_model::{Distance, limits};
use serde_json::json;

use super::fixture::{Fixture, http_settings, points, request, schema};
use crate::{
    http::DeadlineAt,
    settings::{SearchSettings, Secret},
};

async fn fixture() -> Fixture {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 2), &points(10)).await;
    fixture.publish("named", &schema("image", Distance::Dot, 1), &points(4)).await;
    fixture
}

const QUERY: &str = "/collections/c/points/query";

#[tokio::test]
async fn each_mistake_has_its_words() {
    let fixture = fixture().await;
    let unsupported = "is not supported yet by this version of Cairn";
    let table: &[(&str, &str, &str, u16, String)] = &[
        // Names.
        ("POST", "/collections/nope/points/query", "{}", 404, "Not found: Collection `nope` doesn't exist!".into()),
        ("GET", "/collections/nope", "", 404, "Not found: Collection `nope` doesn't exist!".into()),
        ("GET", "/collections/a%2Fb", "", 422, "Validation error in path parameters: [name: collection name cannot contain \"/\" char]".into()),
        ("GET", "/collections/..", "", 422, "Validation error in path parameters: [name: collection name cannot be \"..\"]".into()),
        ("PUT", "/collections/%00", "{}", 422, "Validation error in path parameters: [name: collection name cannot contain \"\\u{0}\" char]".into()),
        ("PUT", "/collections/c", r#"{"vectors":{"size":4,"distance":"Dot"}}"#, 409, "Wrong input: Collection `c` already exists!".into()),
        ("GET", "/collections/%ff", "", 400, "Wrong input: the request's path cannot be read".into()),
        // JSON.
        ("POST", QUERY, "", 400, "Format error in JSON body: EOF while parsing a value at line 1 column 0".into()),
        ("POST", QUERY, "{", 400, "Format error in JSON body: EOF while parsing an object at line 1 column 1".into()),
        ("POST", QUERY, r#"{"colour":1}"#, 400, "Format error in JSON body: unknown field `colour`, expected one of `query`, `using`, `filter`, `params`, `score_threshold`, `limit`, `offset`, `with_vector`, `with_vectors`, `with_payload`, `prefetch`, `lookup_from`, `shard_key`, `explain` at line 1 column 9".into()),
        ("POST", QUERY, r#"{"params":{"ef":1}}"#, 400, "Format error in JSON body: unknown field `ef`, expected one of `hnsw_ef`, `exact`, `recall`, `max_cost`, `plan`, `partial`, `as_of`, `quantization`, `indexed_only`, `acorn`, `idf` at line 1 column 15".into()),
        ("POST", QUERY, r#"{"query":[1,1e999,0,0]}"#, 400, "Format error in JSON body: number out of range at line 1 column 17".into()),
        ("POST", QUERY, r#"{"query":[1,1e39,0,0]}"#, 400, "Format error in JSON body: vector element 1e39 is not a finite 32-bit float at line 1 column 16".into()),
        ("POST", QUERY, r#"{"query":[1,NaN,0,0]}"#, 400, "Format error in JSON body: expected value at line 1 column 13".into()),
        ("POST", QUERY, r#"{"limit":-1}"#, 400, "Format error in JSON body: invalid value: integer `-1`, expected usize at line 1 column 11".into()),
        ("POST", QUERY, r#"{"filter":{"must":[{"key":"a","matches":1}]}}"#, 400, "Format error in JSON body: filter.must[0].matches: unknown field, expected match, range, geo_bounding_box, geo_radius, geo_polygon, values_count, is_empty or is_null at line 1 column 45".into()),
        ("POST", QUERY, r#"{"query":"123"}"#, 400, "Format error in JSON body: value 123 is not a valid point ID, valid values are either an unsigned integer or a UUID at line 1 column 14".into()),
        // Ranges.
        ("POST", QUERY, r#"{"limit":0}"#, 422, "Validation error in JSON body: [internal.limit: value 0 invalid, must be 1 or larger]".into()),
        ("POST", QUERY, r#"{"limit":100001}"#, 422, "Validation error in JSON body: [internal.limit: value 100001 invalid, limit plus offset must be 100000 or smaller]".into()),
        ("POST", QUERY, r#"{"offset":18446744073709551615}"#, 422, "Validation error in JSON body: [internal.limit: value 10 invalid, limit plus offset must be 100000 or smaller]".into()),
        ("POST", QUERY, r#"{"params":{"hnsw_ef":0}}"#, 422, "Validation error in JSON body: [internal.params.hnsw_ef: value 0 invalid, must be 1 or larger]".into()),
        ("POST", QUERY, r#"{"params":{"quantization":{"oversampling":0.5}}}"#, 422, "Validation error in JSON body: [internal.params.quantization.oversampling: value 0.5 invalid, must be 1.0 or larger]".into()),
        ("POST", QUERY, r#"{"params":{"recall":1.5}}"#, 422, "Validation error in JSON body: [internal.params.recall: value 1.5 invalid, must be from 0.5 to 0.999]".into()),
        ("PUT", "/collections/q", r#"{"vectors":{"size":4,"distance":"Dot"},"quantization_config":{"scalar":{"type":"int8","quantile":0.25}}}"#, 422, "Validation error in JSON body: [quantization_config.scalar.quantile: value 0.25 invalid, must be from 0.5 to 1.0]".into()),
        ("POST", QUERY, r#"{"score_threshold":1e39}"#,
            400,
            "Format error in JSON body: number out of range at line 1 column 23".into(),
        ),
        ("POST", "/collections/c/points/query/batch", r#"{"searches":[{},{"limit":0}]}"#, 422, "Validation error in JSON body: [searches[1].internal.limit: value 0 invalid, must be 1 or larger]".into()),
        ("POST", "/collections/c/points/query/batch", r#"{"searches":[{"limit":60000},{"limit":60000}]}"#, 422, "Validation error in JSON body: [searches: limits and offsets add up to 120000, must be 100000 or smaller]".into()),
        ("POST", "/collections/c/points/search", r#"{"vector":[1,2,3,4],"limit":0}"#, 422, "Validation error in JSON body: [search_request.limit: value 0 invalid, must be 1 or larger]".into()),
        ("POST", "/collections/c/points/search", r#"{"vector":[1,2,3,4]}"#, 400, "Format error in JSON body: missing field `limit` at line 1 column 20".into()),
        ("POST", QUERY, r#"{"filter":{"must":[{"key":"a"}]}}"#, 422, "Validation error in JSON body: [internal.filter.must[0]: At least one field condition must be specified]".into()),
        ("POST", "/collections/c/points/search", r#"{"vector":[1,2,3,4],"limit":1,"filter":{"must":{"slice":{"index":4,"total":4}}}}"#, 422, "Validation error in JSON body: [search_request.filter.must[0].slice.index: value 4 invalid, must be smaller than total 4]".into()),
        ("POST", "/collections/c/points/scroll", r#"{"filter":{"must":[{"slice":{"index":0,"total":0}}]}}"#, 422, "Validation error in JSON body: [scroll_request.filter.must[0].slice.total: value 0 invalid, must be 1 or larger]".into()),
        ("POST", "/collections/c/points/count", r#"{"filter":{"min_should":{"conditions":[],"min_count":0}}}"#, 422, "Validation error in JSON body: [count_request.filter.min_should.min_count: value 0 invalid, must be 1 or larger]".into()),
        ("POST", "/collections/c/points/count", r#"{"filter":{"must":{"key":"a","geo_radius":{"center":{"lon":0,"lat":95},"radius":1}}}}"#, 400, "Format error in JSON body: filter.must.geo_radius.center: expected lat = 95.0 within [-90, 90] and lon = 0.0 within [-180, 180] at line 1 column 85".into()),
        ("POST", "/collections/c/points/scroll", r#"{"limit":0}"#, 422, "Validation error in JSON body: [scroll_request.limit: value 0 invalid, must be 1 or larger]".into()),
        ("POST", "/collections/c/points/scroll?timeout=0", "{}", 422, "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]".into()),
        // What contradicts the collection.
        ("POST", QUERY, r#"{"query":[1,2,3]}"#, 400, "Wrong input: Vector dimension error: expected dim: 4, got 3".into()),
        ("POST", QUERY, r#"{"query":[]}"#, 400, "Wrong input: Vector dimension error: expected dim: 4, got 0".into()),
        ("POST", QUERY, r#"{"query":[1,2,3,4],"using":"x"}"#, 400, "Wrong input: Vector with name x is not configured in this collection".into()),
        ("POST", QUERY, r#"{"with_vector":["x"]}"#, 400, "Wrong input: Not existing vector name error: x".into()),
        ("POST", "/collections/c/points/search", r#"{"vector":{"name":"x","vector":[1,2,3,4]},"limit":1}"#, 400, "Wrong input: Vector with name x is not configured in this collection".into()),
        ("POST", "/collections/named/points/query", r#"{"query":[1,2,3,4],"using":"x"}"#, 400, "Wrong input: Vector with name `x` is not configured in this collection, available names: image".into()),
        ("POST", "/collections/named/points/query", r#"{"query":[1,2,3,4]}"#, 400, "Wrong input: Collection requires specified vector name in the request, available names: image".into()),
        ("POST", QUERY, r#"{"query":999}"#, 404, "Not found: No point with id 999 found".into()),
        ("GET", "/collections/c/points/999", "", 404, "Not found: Point with id 999 does not exists!".into()),
        ("GET", "/collections/c/points/abc", "", 400, "Wrong input: Can not recognize \"abc\" as point id".into()),
        // What this version does not do.
        ("POST", QUERY, r#"{"prefetch":{"query":[1,2,3,4]},"query":{"fusion":"rrf"}}"#, 400, format!("Wrong input: `prefetch` {unsupported}")),
        ("POST", QUERY, r#"{"query":{"fusion":"rrf"}}"#, 400, format!("Wrong input: `query.fusion` {unsupported}")),
        ("POST", QUERY, r#"{"query":{"recommend":{"positive":[1]}}}"#, 400, format!("Wrong input: `query.recommend` {unsupported}")),
        ("POST", QUERY, r#"{"lookup_from":{"collection":"x"}}"#, 400, format!("Wrong input: `lookup_from` {unsupported}")),
        ("PUT", "/collections/c/index", r#"{"field_name":"a"}"#, 400, "Wrong input: Can't auto-detect field type, please specify `field_schema` in the request".into()),
        ("POST", "/collections/c/points/scroll", r#"{"order_by":"n","offset":3}"#, 400, "Wrong input: Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value".into()),
        ("POST", "/collections/c/points/scroll", r#"{"order_by":{"key":"n","start_from":"soon"}}"#, 400, "Format error in JSON body: invalid value: string \"soon\", expected a number or an RFC 3339 datetime at line 1 column 42".into()),
        ("POST", "/collections/c/facet", "{}", 400, "Format error in JSON body: missing field `key` at line 1 column 2".into()),
        ("POST", "/collections/c/facet", r#"{"key":"a","limit":0}"#, 422, "Validation error in JSON body: [facet_request.limit: value 0 invalid, must be 1 or larger]".into()),
        ("POST", "/collections/c/facet", r#"{"key":"a","filter":{"must":{"key":"b"}}}"#, 422, "Validation error in JSON body: [facet_request.filter.must[0]: At least one field condition must be specified]".into()),
        ("POST", "/collections/nope/facet", r#"{"key":"a"}"#, 404, "Not found: Collection `nope` doesn't exist!".into()),
        // What is not there.
        ("GET", "/nope", "", 404, "Not found: no endpoint GET /nope".into()),
        ("POST", "/collections/c/facets", "{}", 404, "Not found: no endpoint POST /collections/c/facets".into()),
        ("DELETE", "/collections/c/points/query", "", 405, "Method DELETE is not allowed for /collections/c/points/query".into()),
    ];
    for (method, path, body, status, message) in table {
        let answer = fixture.call(method, path, *body).await;
        assert_eq!(
            (answer.status, &answer.body["status"]["error"]),
            (*status, &json!(message)),
            "{method} {path} {body}"
        );
        assert!(answer.body["time"].is_f64() && answer.body.get("result").is_none(), "{}", answer.body);
    }
}

#[tokio::test]
async fn sizes_are_limited() {
    let small = Fixture::with(
        crate::HttpSettings { max_body: ByteSize(100), ..http_settings() },
        SearchSettings { max_answer: Some(ByteSize(1_000)), ..SearchSettings::default() },
    )
    .await;
    small.publish("c", &schema("", Distance::Dot, 1), &points(50)).await;
    let too_large = "Payload error: JSON payload is larger than allowed (limit: 100 bytes)";
    let answer = small.call("POST", QUERY, " ".repeat(101)).await;
    assert_eq!((answer.status, &answer.body["status"]["error"]), (413, &json!(too_large)));
    let mut declared = request("POST", QUERY, "");
    declared.headers_mut().insert("content-length", 101.into());
    let too_large = "Payload error: JSON payload (101 bytes) is larger than allowed (limit: 100 bytes)";
    let answer = small.send(declared).await;
    assert_eq!((answer.status, &answer.body["status"]["error"]), (413, &json!(too_large)));
    let answer = small.call("POST", "/collections/c/points/scroll", r#"{"limit":50}"#).await;
    let message =
        "Payload error: the answer would be larger than 1000 bytes: ask for fewer points, or select payload fields";
    assert_eq!((answer.status, &answer.body["status"]["error"]), (413, &json!(message)));
    assert_eq!(small.call("POST", "/collections/c/points/scroll", r#"{"limit":2}"#).await.status, 200);

    let large = fixture().await;
    let ids: Vec<usize> = (0..=limits::IDS_MAX).collect();
    let answer = large.call("POST", "/collections/c/points", json!({"ids": ids}).to_string()).await;
    let message =
        "Validation error in JSON body: [point_request.ids: 100001 IDs are given, at most 100000 are allowed]";
    assert_eq!((answer.status, &answer.body["status"]["error"]), (422, &json!(message)));
    let searches = vec![json!({}); limits::BATCH_MAX + 1];
    let answer =
        large.call("POST", "/collections/c/points/query/batch", json!({"searches": searches}).to_string()).await;
    let message = "Validation error in JSON body: [searches: 1001 searches are given, at most 1000 are allowed]";
    assert_eq!((answer.status, &answer.body["status"]["error"]), (422, &json!(message)));
}

#[tokio::test]
async fn keys_open_what_they_should() {
    let settings = crate::HttpSettings {
        api_key: Some(Secret("full".into())),
        read_only_api_key: Some(Secret("read".into())),
        ..http_settings()
    };
    let fixture = Fixture::with(settings, SearchSettings::default()).await;
    let none = "Must provide an API key or an Authorization bearer token";
    let wrong = "Invalid API key or JWT";
    let forbidden = "Forbidden: Global manage access is required";
    let create = r#"{"vectors":{"size":4,"distance":"Dot"}}"#;
    for (method, path, header, value, status, message) in [
        ("GET", "/collections", "x", "y", 401, none),
        ("GET", "/collections", "api-key", "", 401, wrong),
        ("GET", "/collections", "api-key", "ful", 401, wrong),
        ("GET", "/collections", "authorization", "Basic full", 401, none),
        ("GET", "/metrics", "x", "y", 401, none),
        ("GET", "/collections", "api-key", "full", 200, ""),
        ("GET", "/collections", "authorization", "Bearer full", 200, ""),
        ("GET", "/collections", "authorization", "bearer read", 200, ""),
        ("PUT", "/collections/c", "api-key", "read", 403, forbidden),
        ("PUT", "/collections/c", "api-key", "full", 200, ""),
        ("POST", "/collections/c/points/count", "api-key", "read", 200, ""),
        ("POST", "/collections/c/points/delete", "api-key", "read", 403, forbidden),
        ("DELETE", "/collections/c", "api-key", "read", 403, forbidden),
        ("DELETE", "/collections/c", "api-key", "full", 200, ""),
        ("GET", "/", "x", "y", 200, ""),
        ("GET", "/healthz", "x", "y", 200, ""),
        ("GET", "/readyz", "x", "y", 200, ""),
    ] {
        let mut sent = request(method, path, if method == "PUT" { create } else { "{}" });
        sent.headers_mut().insert(header, value.parse().unwrap());
        let answer = fixture.send(sent).await;
        assert_eq!(answer.status, status, "{method} {path} {header}: {value}: {}", answer.body);
        if !message.is_empty() {
            assert_eq!(answer.body["status"]["error"], message);
        }
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_408() {
    let fixture = fixture().await;
    let mut late = request("POST", QUERY, "{}");
    late.extensions_mut().insert(DeadlineAt(std::time::Instant::now()));
    let answer = fixture.send(late).await;
    assert_eq!(answer.status, 408, "{}", answer.body);
    assert_eq!(answer.body["status"]["error"], "Timeout error: the request was stopped after 0 seconds");
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_says_nothing_of_its_address() {
    let options = cairn_storage::StoreOptions {
        endpoint: Some("http://127.0.0.1:9".into()),
        region: Some("nowhere".into()),
        access_key_id: Some("k".into()),
        secret_access_key: Some("s".into()),
        request_timeout_ms: Some(300),
        no_hedge: false,
    };
    let store = cairn_storage::Store::open("s3://bucket/prefix", &options).await.unwrap();
    let fixture = Fixture::over(store, http_settings(), SearchSettings::default());
    for (method, path) in [("GET", "/readyz"), ("GET", "/collections"), ("POST", QUERY)] {
        let answer = fixture.call(method, path, "{}").await;
        let message = "Service unavailable: the store did not answer, please retry";
        assert_eq!((answer.status, &answer.body["status"]["error"]), (503, &json!(message)));
    }
    assert_eq!(fixture.call("GET", "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn a_corrupt_segment_is_named() {
    let fixture = Fixture::empty().await;
    let (schema, points) = (schema("", Distance::Dot, 1), points(10));
    let catalog = cairn_storage::Catalog::new(fixture.store.clone());
    let name = cairn_model::CollectionName::parse("c").unwrap();
    let generation = catalog.begin(&name, &schema);
    let mut bytes = super::fixture::segment(&schema, &points.iter().collect::<Vec<_>>());
    let half = bytes.len() / 2;
    bytes.truncate(half);
    let entry = super::fixture::entry("01ARZ3NDEKTSV4RRFFQ69G5FAV", 10, &bytes);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap();
    catalog.publish(&generation, vec![vec![entry]], cairn_storage::Expect::Absent).await.unwrap();
    let answer = fixture.call("POST", QUERY, r#"{"query":[1,2,3,4]}"#).await;
    let message = answer.body["status"]["error"].as_str().unwrap();
    assert_eq!(answer.status, 500);
    let start = "Service internal error: segment 01ARZ3NDEKTSV4RRFFQ69G5FAV: corrupt segment: section ";
    assert!(message.starts_with(start), "{message}");
}
