//! The endpoints: one table for the router's tests and for telemetry's labels.

/// One endpoint: a method and a path with its parameters in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path.
    pub path: &'static str,
    /// Whether it changes anything.
    pub writes: bool,
}

/// A `POST` may do either.
const fn route(method: &'static str, path: &'static str) -> Route {
    let writes = !matches!(method.as_bytes(), b"GET" | b"POST");
    Route { method, path, writes }
}

const fn writing(method: &'static str, path: &'static str) -> Route {
    Route { method, path, writes: true }
}

/// One collection.
pub const COLLECTION: &str = "/collections/{collection_name}";
/// Its points.
pub const POINTS: &str = "/collections/{collection_name}/points";
/// One point.
pub const POINT: &str = "/collections/{collection_name}/points/{id}";

/// Every endpoint that this version answers.
pub const ROUTES: [Route; 36] = [
    route("GET", "/"),
    route("GET", "/healthz"),
    route("GET", "/livez"),
    route("GET", "/readyz"),
    route("GET", "/metrics"),
    route("GET", "/telemetry"),
    route("POST", "/internal/v1/search"),
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
    route("POST", "/collections/{collection_name}/facet"),
    writing("PATCH", COLLECTION),
    writing("PUT", "/collections/{collection_name}/index"),
    writing("DELETE", "/collections/{collection_name}/index/{field_name}"),
    route("GET", "/aliases"),
    route("GET", "/collections/{collection_name}/aliases"),
    writing("POST", "/collections/aliases"),
    writing("PUT", POINTS),
    writing("POST", "/collections/{collection_name}/points/delete"),
    writing("POST", "/collections/{collection_name}/points/payload"),
    writing("PUT", "/collections/{collection_name}/points/payload"),
    writing("POST", "/collections/{collection_name}/points/payload/delete"),
    writing("POST", "/collections/{collection_name}/points/payload/clear"),
    writing("PUT", "/collections/{collection_name}/points/vectors"),
    writing("POST", "/collections/{collection_name}/points/vectors/delete"),
    writing("POST", "/collections/{collection_name}/points/batch"),
];

/// Qdrant's endpoints that write and that this version does not have, and what to call them.
pub const LATER: [(Route, &str); 6] = [
    (writing("PUT", "/collections/{collection_name}/vectors/{vector_name}"), "adding a vector name"),
    (writing("DELETE", "/collections/{collection_name}/vectors/{vector_name}"), "deleting a vector name"),
    (writing("POST", "/collections/{collection_name}/snapshots"), "creating a snapshot"),
    (writing("PUT", "/collections/{collection_name}/snapshots/recover"), "recovering a snapshot"),
    (writing("PUT", "/collections/{collection_name}/shards"), "creating a shard key"),
    (writing("POST", "/collections/{collection_name}/shards/delete"), "deleting a shard key"),
];

/// Whether an endpoint changes anything; a read-only key may not call it.
#[must_use]
pub fn writes(method: &str, path: &str) -> bool {
    let known = ROUTES.into_iter().chain(LATER.map(|(route, _)| route));
    let route = known.into_iter().find(|route| route.method == method && route.path == path);
    route.map_or(!matches!(method, "GET" | "HEAD" | "POST"), |route| route.writes)
}
