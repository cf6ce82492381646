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
/// One of its vectors.
pub const VECTOR: &str = "/collections/{collection_name}/vectors/{vector_name}";

const SNAPSHOTS: &str = "/collections/{collection_name}/snapshots";
const SNAPSHOT: &str = "/collections/{collection_name}/snapshots/{snapshot_name}";
const SHARD_SNAPSHOTS: &str = "/collections/{collection_name}/shards/{shard_id}/snapshots";
const SHARD_SNAPSHOT: &str = "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}";

/// Every endpoint that this version answers.
pub const ROUTES: [Route; 43] = [
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
    writing("PUT", VECTOR),
    writing("DELETE", VECTOR),
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
    route("GET", "/cluster"),
    route("GET", "/collections/{collection_name}/cluster"),
    route("GET", "/collections/{collection_name}/optimizations"),
    route("GET", "/issues"),
    writing("DELETE", "/issues"),
];

/// Qdrant's endpoints that this version does not have, and what to call them.
pub const LATER: [(Route, &str); 31] = [
    (route("POST", "/collections/{collection_name}/points/query/groups"), "querying in groups"),
    (route("POST", "/collections/{collection_name}/points/search/groups"), "searching in groups"),
    (route("POST", "/collections/{collection_name}/points/search/matrix/pairs"), "a matrix of distances"),
    (route("POST", "/collections/{collection_name}/points/search/matrix/offsets"), "a matrix of distances"),
    (route("POST", "/collections/{collection_name}/points/recommend"), "recommending points"),
    (route("POST", "/collections/{collection_name}/points/recommend/batch"), "recommending points"),
    (route("POST", "/collections/{collection_name}/points/recommend/groups"), "recommending points"),
    (route("POST", "/collections/{collection_name}/points/discover"), "discovering points"),
    (route("POST", "/collections/{collection_name}/points/discover/batch"), "discovering points"),
    (route("GET", "/quotas"), "showing quotas"),
    (writing("PUT", "/quotas"), "setting quotas"),
    (route("GET", "/collections/{collection_name}/shards"), "listing shard keys"),
    (writing("PUT", "/collections/{collection_name}/shards"), "creating a shard key"),
    (writing("POST", "/collections/{collection_name}/shards/delete"), "deleting a shard key"),
    (route("GET", SNAPSHOTS), "listing snapshots"),
    (writing("POST", SNAPSHOTS), "creating a snapshot"),
    (route("GET", SNAPSHOT), "downloading a snapshot"),
    (writing("DELETE", SNAPSHOT), "deleting a snapshot"),
    (writing("POST", "/collections/{collection_name}/snapshots/upload"), "recovering a snapshot"),
    (writing("PUT", "/collections/{collection_name}/snapshots/recover"), "recovering a snapshot"),
    (route("GET", "/snapshots"), "listing snapshots"),
    (writing("POST", "/snapshots"), "creating a snapshot"),
    (route("GET", "/snapshots/{snapshot_name}"), "downloading a snapshot"),
    (writing("DELETE", "/snapshots/{snapshot_name}"), "deleting a snapshot"),
    (route("GET", "/collections/{collection_name}/shards/{shard_id}/snapshot"), "downloading a snapshot"),
    (route("GET", SHARD_SNAPSHOTS), "listing snapshots"),
    (writing("POST", SHARD_SNAPSHOTS), "creating a snapshot"),
    (route("GET", SHARD_SNAPSHOT), "downloading a snapshot"),
    (writing("DELETE", SHARD_SNAPSHOT), "deleting a snapshot"),
    (writing("POST", "/collections/{collection_name}/shards/{shard_id}/snapshots/upload"), "recovering a snapshot"),
    (writing("PUT", "/collections/{collection_name}/shards/{shard_id}/snapshots/recover"), "recovering a snapshot"),
];

/// Qdrant's endpoints for what only a cluster has, and what they do to it.
pub const CLUSTERED: [(Route, &str); 4] = [
    (writing("POST", "/collections/{collection_name}/cluster"), "moving shards between peers"),
    (route("GET", "/cluster/telemetry"), "telemetry of all peers"),
    (writing("POST", "/cluster/recover"), "recovering a peer"),
    (writing("DELETE", "/cluster/peer/{peer_id}"), "removing a peer"),
];

/// Every endpoint with an answer of its own, be it that there is nothing of the kind.
pub fn known() -> impl Iterator<Item = Route> {
    let absent = LATER.into_iter().chain(CLUSTERED).map(|(route, _)| route);
    ROUTES.into_iter().chain(absent)
}

/// Whether an endpoint changes anything; a read-only key may not call it.
#[must_use]
pub fn writes(method: &str, path: &str) -> bool {
    let route = known().find(|route| route.method == method && route.path == path);
    route.map_or(!matches!(method, "GET" | "HEAD" | "POST"), |route| route.writes)
}
