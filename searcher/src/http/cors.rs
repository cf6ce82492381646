//! What browsers are told: pages of any origin may ask.

use tower_http::cors::{AllowHeaders, Any, CorsLayer};

/// Lets scripts of all pages call and read everything, as Qdrant does. A key is what protects a server: browsers add none by themselves, and it is
/// asked for all the same, but for the question of a browser whether it may ask.
pub(super) fn anyone() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        // Those that are asked for: a wildcard would not let `Authorization` pass.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
}
