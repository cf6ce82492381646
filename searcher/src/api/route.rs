//! The endpoints: one table for the router's tests and for telemetry's labels.

/// One endpoint: a method and a path with its parameters in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path.
    pub path: &'static str,
}

const fn route(method: &'static str, path: &'static str) -> Route {
    Route { method, path }
}

/// One collection.
pub const COLLECTION: &str = "/collections/{collection_name}";
/// Its points.
pub const POINTS: &str = "/collections/{collection_name}/points";
/// One point.
pub const POINT: &str = "/collections/{collection_name}/points/{id}";

/// Every endpoint that this version answers.
pub const ROUTES: [Route; 19] = [
    route("GET", "/"),
    route("GET", "/healthz"),
    route("GET", "/livez"),
    route("GET", "/readyz"),
    route("GET", "/metrics"),
    route("GET", "/telemetry"),
    route("GET", "/collections"),
    route("GET", COLLECTION),
    route("PUT", COLLECTION),
    route("DELETE", COLLECTION),
    route("GET", "/collections/{collection_name}/exists"),
    route("POST", POINTS),
    route("GET", POINT),
    route("POST", "/collections/{collection_name}/points/query"),
    route("POST", "/collections/{collection_name}/points/query/batch"),
    route("POST", "/collections/{collection_name}/points/search"),
    route("POST", "/collections/{collection_name}/points/search/batch"),
    route("POST", "/collections/{collection_name}/points/count"),
    route("POST", "/collections/{collection_name}/points/scroll"),
];

/// Qdrant's endpoints that write and that this version does not have, and what to call them.
pub const LATER: [(Route, &str); 19] = [
    (route("PUT", POINTS), "upserting points"),
    (route("POST", "/collections/{collection_name}/points/delete"), "deleting points"),
    (route("PUT", "/collections/{collection_name}/points/vectors"), "updating vectors"),
    (route("POST", "/collections/{collection_name}/points/vectors/delete"), "deleting vectors"),
    (route("POST", "/collections/{collection_name}/points/payload"), "setting payload"),
    (route("PUT", "/collections/{collection_name}/points/payload"), "overwriting payload"),
    (route("POST", "/collections/{collection_name}/points/payload/delete"), "deleting payload"),
    (route("POST", "/collections/{collection_name}/points/payload/clear"), "clearing payload"),
    (route("POST", "/collections/{collection_name}/points/batch"), "batch updates"),
    (route("PATCH", COLLECTION), "updating a collection"),
    (route("PUT", "/collections/{collection_name}/index"), "declaring a payload index"),
    (route("DELETE", "/collections/{collection_name}/index/{field_name}"), "dropping a payload index"),
    (route("PUT", "/collections/{collection_name}/vectors/{vector_name}"), "adding a vector name"),
    (route("DELETE", "/collections/{collection_name}/vectors/{vector_name}"), "deleting a vector name"),
    (route("POST", "/collections/{collection_name}/snapshots"), "creating a snapshot"),
    (route("PUT", "/collections/{collection_name}/snapshots/recover"), "recovering a snapshot"),
    (route("PUT", "/collections/{collection_name}/shards"), "creating a shard key"),
    (route("POST", "/collections/{collection_name}/shards/delete"), "deleting a shard key"),
    (route("POST", "/collections/aliases"), "changing aliases"),
];

/// Whether an endpoint changes anything; a read-only key may not call it.
#[must_use]
pub fn writes(method: &str, path: &str) -> bool {
    match method {
        "GET" | "HEAD" => false,
        "POST" => LATER.iter().any(|(later, _)| later.method == method && later.path == path),
        _ => true,
    }
}
