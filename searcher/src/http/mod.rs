//! The HTTP surface: one axum router, run by hyper or by Lambda's runtime.

mod aliases;
mod answer;
mod auth;
mod body;
mod cluster;
mod collections;
mod cors;
mod guard;
mod internal;
mod parameters;
mod points;
mod query;
mod server;
mod service;
mod update;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware,
    routing::{MethodFilter, MethodRouter, delete, get, on, patch, post, put},
};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

pub use guard::DeadlineAt;
pub use server::{Server, serve, serve_over};

use crate::{
    api::route::{CLUSTERED, COLLECTION, LATER, POINT, POINTS, VECTOR},
    error::Error,
    fanout,
    searcher::Searcher,
    settings::{HttpSettings, Role},
};

/// What every handler can reach.
#[derive(Debug)]
struct App {
    searcher: Arc<Searcher>,
    settings: HttpSettings,
    admission: Semaphore,
}

type Shared = axum::extract::State<Arc<App>>;

/// The router of all endpoints.
pub fn router(searcher: Arc<Searcher>, settings: HttpSettings) -> Router {
    let admission = Semaphore::new(settings.max_requests);
    let role = searcher.role;
    let app = Arc::new(App { searcher, settings, admission });
    let mut router = Router::new()
        .route(fanout::PATH, post(internal::search))
        .route("/", get(service::root))
        .route("/healthz", get(service::alive))
        .route("/livez", get(service::alive))
        .route("/readyz", get(service::ready))
        .route("/metrics", get(service::metrics))
        .route("/telemetry", get(service::telemetry));
    if role == Role::All {
        router = router.merge(collections_routes());
    }
    // The first layer is the innermost.
    router = router
        .fallback(|request: Request| async move {
            answer::failure(404, format!("Not found: no endpoint {} {}", request.method(), request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            answer::failure(405, format!("Method {} is not allowed for {}", request.method(), request.uri().path()))
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::deadline))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::admission))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), auth::check))
        .layer(CatchPanicLayer::custom(|panic| {
            answer::error(&Error::Internal(crate::workers::panic_text(&panic).into()))
        }));
    if !app.settings.no_cors {
        router = router.layer(cors::anyone());
    }
    router.layer(middleware::from_fn_with_state(Arc::clone(&app), guard::measure)).with_state(app)
}

/// What Qdrant's clients call.
fn collections_routes() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/collections", get(collections::list))
        .route("/aliases", get(aliases::all))
        .route("/collections/aliases", post(aliases::change))
        .route("/collections/{collection_name}/aliases", get(aliases::of_collection))
        .route(COLLECTION, get(collections::info).put(collections::create).delete(collections::delete))
        .route(COLLECTION, patch(collections::update))
        .route("/collections/{collection_name}/index", put(collections::create_index))
        .route("/collections/{collection_name}/index/{field_name}", delete(collections::delete_index))
        .route(VECTOR, put(collections::add_vector).delete(collections::remove_vector))
        .route("/collections/{collection_name}/exists", get(collections::exists))
        .route(POINTS, post(points::retrieve))
        .route(POINT, get(points::point))
        .route("/collections/{collection_name}/points/query", post(query::query))
        .route("/collections/{collection_name}/points/query/batch", post(query::query_batch))
        .route("/collections/{collection_name}/points/search", post(query::search))
        .route("/collections/{collection_name}/points/search/batch", post(query::search_batch))
        .route("/collections/{collection_name}/points/count", post(points::count))
        .route("/collections/{collection_name}/points/scroll", post(points::scroll))
        .route("/collections/{collection_name}/facet", post(points::facet))
        .route("/cluster", get(cluster::status))
        .route("/collections/{collection_name}/cluster", get(cluster::of_collection))
        .route("/collections/{collection_name}/optimizations", get(cluster::optimizations))
        .route("/issues", get(cluster::issues).delete(cluster::clear_issues))
        .merge(update::routes());
    let later = LATER.map(|(route, what)| (route, Error::Later as fn(&'static str) -> Error, what));
    let clustered = CLUSTERED.map(|(route, what)| (route, Error::Standalone as fn(&'static str) -> Error, what));
    for (route, error, what) in later.into_iter().chain(clustered) {
        router = router.route(route.path, refusing(route.method, move || error(what)));
    }
    router
}

/// An endpoint that says why it does nothing.
fn refusing(method: &str, why: impl Fn() -> Error + Clone + Send + Sync + 'static) -> MethodRouter<Arc<App>> {
    let filter = match method {
        "GET" => MethodFilter::GET,
        "PUT" => MethodFilter::PUT,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::POST,
    };
    on(filter, move || async move { Err::<(), Error>(why()) })
}

#[cfg(test)]
mod tests;
