//! The searcher as a program: an HTTP server, or a Lambda function where Lambda's runtime says so.

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{extract::Request, middleware, response::Response};
use cairn_searcher::{LAMBDA_VARIABLE, Searcher, Settings, http::DeadlineAt, router, serve};
use clap::Parser;
use lambda_http::RequestExt;
use tracing_subscriber::EnvFilter;

/// Answers Qdrant's HTTP API from segments in a bucket.
#[derive(Debug, Parser)]
#[command(name = "searcher", version)]
struct Command {
    #[command(flatten)]
    settings: Settings,
    /// What to log: a level, or directives such as cairn_searcher=debug
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// Log lines as JSON (always in Lambda)
    #[arg(long, env = "CAIRN_LOG_JSON")]
    log_json: bool,
}

/// What a function keeps of its time to answer that it was too slow.
const MARGIN: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    let in_lambda = std::env::var_os(LAMBDA_VARIABLE).is_some();
    log(&command, in_lambda);
    let ended = if in_lambda {
        lambda(command.settings).await
    } else {
        serve(command.settings, asked_to_stop()).await.map_err(Into::into)
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn log(command: &Command, in_lambda: bool) {
    let filter = EnvFilter::builder().parse_lossy(&command.log);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if in_lambda || command.log_json {
        // Lambda stamps every line itself, but a line that is read elsewhere needs its own time too.
        lines.json().flatten_event(true).with_current_span(false).init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// The router under Lambda's runtime, for function URLs and HTTP APIs.
async fn lambda(settings: Settings) -> Result<(), lambda_http::Error> {
    let searcher = Searcher::open(&settings.store, &settings.search).await?.with_fanout(&settings.fanout)?;
    let searcher = Arc::new(searcher);
    let router = router(searcher, settings.http).layer(middleware::from_fn(until_the_function_ends));
    lambda_http::run(router).await
}

/// Gives the request the deadline of the invocation that brought it.
async fn until_the_function_ends(mut request: Request, next: middleware::Next) -> Response {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let deadline = request.lambda_context_ref().map(|context| Duration::from_millis(context.deadline));
    // Lambda invokes nothing whose time is over; a local stand-in that knows no deadline sends one long past.
    if let Some(left) = deadline.and_then(|deadline| deadline.checked_sub(now)).filter(|left| !left.is_zero()) {
        request.extensions_mut().insert(DeadlineAt(Instant::now() + left.saturating_sub(MARGIN)));
    }
    next.run(request).await
}

/// Ready at Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
