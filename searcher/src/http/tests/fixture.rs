//! A store in memory with collections whose points are known, and a router over it.

use std::{io::Write, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
};
use bytesize::ByteSize;
use cairn_engine::{Unwatched, segment::Builder};
use cairn_model::{CollectionName, CollectionSchema, Distance, HnswConfig, Payload, PointId, VectorParams};
use cairn_storage::{Cache, CacheOptions, Catalog, Expect, SegmentEntry, Store, StoreOptions};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    Searcher,
    http::router,
    settings::{HttpSettings, SearchSettings},
};

/// Dimensions of every collection here.
pub(super) const DIM: usize = 4;

/// A point as it was given to the indexer.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) id: PointId,
    pub(super) vector: Vec<f32>,
    pub(super) payload: Payload,
}

/// Points with both kinds of ids, and with ties: every vector occurs twice.
pub(super) fn points(count: u64) -> Vec<Point> {
    let one = |n: u64| {
        let id = if n % 3 == 2 { PointId::Uuid(Uuid::from_u128(u128::from(n) << 64)) } else { PointId::Num(n) };
        let seed = n / 2;
        let element = |d: u64| ((seed * 31 + d * 17 + seed * seed * d) % 97) as f32 / 97.0 - 0.4;
        let payload = json!({"n": n, "tag": (if n.is_multiple_of(2) { "even" } else { "odd" }), "deep": {"x": n, "y": [n, n + 1]}});
        Point { id, vector: (0..DIM as u64).map(element).collect(), payload: payload.as_object().unwrap().clone() }
    };
    (0..count).map(one).collect()
}

pub(super) fn schema(name: &str, distance: Distance, shard_count: u32) -> CollectionSchema {
    let params = VectorParams {
        hnsw: HnswConfig { m: 8, ef_construct: 32, ..HnswConfig::default() },
        ..VectorParams::new(u32::try_from(DIM).unwrap(), distance)
    };
    CollectionSchema::single(name, params, shard_count)
}

pub(super) fn http_settings() -> HttpSettings {
    HttpSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        api_key: None,
        read_only_api_key: None,
        request_timeout: 60,
        max_body: ByteSize(1 << 20),
        max_requests: 64,
        no_cors: false,
    }
}

pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) searcher: Arc<Searcher>,
    pub(super) router: Router,
}

/// A status and a body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Fixture {
    pub(super) async fn empty() -> Self {
        Self::with(http_settings(), SearchSettings { threads: Some(2), ..SearchSettings::default() }).await
    }

    pub(super) async fn with(http: HttpSettings, search: SearchSettings) -> Self {
        let store = Store::open("memory://", &StoreOptions::default()).await.unwrap();
        Self::over(store, http, search)
    }

    pub(super) fn over(store: Store, http: HttpSettings, search: SearchSettings) -> Self {
        let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 28, populate: false }).unwrap();
        let searcher = Arc::new(Searcher::from_store(store.clone(), Arc::new(cache), &search).unwrap());
        let router = router(Arc::clone(&searcher), http);
        Self { store, searcher, router }
    }

    /// Publishes points as a new generation: every shard's points are split over two segments where there are enough.
    pub(super) async fn publish(&self, name: &str, schema: &CollectionSchema, points: &[Point]) {
        let catalog = Catalog::new(self.store.clone());
        let name = CollectionName::parse(name).unwrap();
        let expect = match catalog.open(&name).await {
            Ok(collection) => Expect::Unchanged(Box::new(collection)),
            Err(_) => Expect::Absent,
        };
        let generation = catalog.begin(&name, schema);
        let mut segments = Vec::new();
        for shard in 0..schema.shard_count {
            let mine: Vec<_> = points.iter().filter(|point| point.id.shard(schema.shard_count) == shard).collect();
            let mut entries = Vec::new();
            for (half, part) in mine.chunks(mine.len().div_ceil(2).max(1)).enumerate() {
                let bytes = segment(schema, part);
                let id = format!("01ARZ3NDEKTSV4RRFF{shard:04}{half:04}");
                let entry = entry(&id, part.len(), &bytes);
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                catalog.put_segment(&generation, shard, file.path(), &entry).await.unwrap();
                entries.push(entry);
            }
            segments.push(entries);
        }
        catalog.publish(&generation, segments, expect).await.unwrap();
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (status, bytes) = self.text(request).await;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        Answer { status, body }
    }

    pub(super) async fn text(&self, request: Request<Body>) -> (u16, Vec<u8>) {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: impl Into<String>) -> Answer {
        self.send(request(method, path, body)).await
    }

    /// A POST that must succeed; its result.
    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call("POST", path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        assert_eq!(answer.body["status"], "ok");
        assert!(answer.body["time"].is_f64());
        answer.body["result"].clone()
    }
}

pub(super) fn request(method: &str, path: &str, body: impl Into<String>) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::from(body.into())).unwrap()
}

pub(super) fn segment(schema: &CollectionSchema, points: &[&Point]) -> Vec<u8> {
    let (name, params) = schema.only_vector().unwrap();
    let mut builder = Builder::new(name, *params, 7);
    for point in points {
        builder.push(point.id, &point.vector, Some(&point.payload)).unwrap();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut bytes = Vec::new();
    builder.write(&pool, &Unwatched, &mut bytes).unwrap();
    bytes
}

pub(super) fn entry(id: &str, points: usize, bytes: &[u8]) -> SegmentEntry {
    let checksum = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes));
    SegmentEntry {
        id: id.to_owned(),
        points: points as u64,
        bytes: bytes.len() as u64,
        checksum,
        head: None,
        region: None,
        dead: None,
        own: false,
        edition: 0,
    }
}
