//! The router on a socket.

use std::{
    future::{Future, IntoFuture},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{Router, serve::ListenerExt};
use tokio::net::TcpListener;

use super::router;
use crate::{
    error::{Error, Result},
    searcher::Searcher,
    settings::{HttpSettings, Settings},
};

/// How long requests in flight may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// A bound socket and the router behind it.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Binds the socket for an open searcher.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub async fn over(searcher: Arc<Searcher>, settings: HttpSettings) -> Result<Self> {
        let address = settings.listen;
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, router: router(searcher, settings) })
    }

    /// Where it listens; the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then lets requests in flight finish for a while.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let address = self.address;
        let (told, stop) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async move {
            shutdown.await;
            tracing::info!("stopping");
            let _ = told.send(());
        };
        let listener = self.listener.tap_io(|stream| {
            // Answers are written in one piece: waiting for more to send only adds latency.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
        });
        let serving = axum::serve(listener, self.router).with_graceful_shutdown(shutdown).into_future();
        let grace = async move {
            let stopped = stop.await;
            if stopped.is_err() {
                // The server ended by itself; its result is what counts.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = serving => result.map_err(|source| Error::Listen { address, source }),
            () = grace => {
                tracing::warn!("requests were still running {} seconds after the signal", GRACE.as_secs());
                Ok(())
            }
        }
    }
}

/// Opens, binds, prints the address, and serves until `shutdown` is ready.
///
/// # Errors
/// When the store, the cache or the address cannot be used; as [`Server::run`].
pub async fn serve(settings: Settings, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let searcher = Searcher::open(&settings.store, &settings.search).await?.with_fanout(&settings.fanout)?;
    serve_over(Arc::new(searcher), settings, shutdown).await
}

/// The same over an open searcher of these settings.
///
/// # Errors
/// As [`Server::over`] and [`Server::run`].
pub async fn serve_over(
    searcher: Arc<Searcher>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let store = settings.store.store;
    let server = Server::over(searcher, settings.http).await?;
    let address = server.address();
    tracing::info!(%address, "listening");
    println!("Cairn serves {store} on http://{address}");
    server.run(shutdown).await
}
