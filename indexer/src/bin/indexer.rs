//! The indexer as a Lambda function: one event, one job.

use std::{process::ExitCode, sync::Arc};

use cairn_indexer::{Event, Progress, Report, Stage, index};
use cairn_model::Kind as _;
use cairn_storage::{Store, StoreOptions};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const USAGE: &str = r#"This is Cairn's indexer as an AWS Lambda function; outside Lambda use `cairn index`.

It takes one event per job and answers with a report:

  {"source": "s3://bucket/points.parquet", "collection": "docs", "distance": "cosine",
   "store": "s3://bucket/cairn", "options": {"shards": 2, "replace": true}}

`store` defaults to the environment's CAIRN_STORE. `options` are the flags of `cairn index` with _ for -:
ids, payload, datatype, vector_name, shards, m, ef_construct, full_scan_threshold, replace, memory, threads, seed, temp_dir.
"#;

fn main() -> ExitCode {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    }
    let filter = EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(lambda_runtime::run(service_fn(handle))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the runtime ended");
            ExitCode::FAILURE
        }
    }
}

async fn handle(event: LambdaEvent<serde_json::Value>) -> Result<Report, Diagnostic> {
    run(event.payload).await.map_err(|error| {
        tracing::error!(kind = ?error.kind(), %error, "the job failed");
        Diagnostic { error_type: format!("{:?}", error.kind()), error_message: error.to_string() }
    })
}

async fn run(event: serde_json::Value) -> cairn_indexer::Result<Report> {
    let (url, job) = Event::parse(event)?.into_job(std::env::var("CAIRN_STORE").ok())?;
    tracing::info!(collection = %job.collection, source = %job.input, store = %url, "starting");
    let store = Store::open(&url, &StoreOptions::default()).await?;
    // Lambda has no way to cancel: at its deadline it freezes the process, and nothing was published.
    index(job, &store, Arc::new(Log), CancellationToken::new()).await
}

/// Logs whole stages; their parts only at the debug level.
struct Log;

impl Progress for Log {
    fn progress(&self, stage: Stage, done: u64, total: u64) {
        if done == total {
            tracing::info!(?stage, done, "finished");
        } else {
            tracing::trace!(?stage, done, total);
        }
    }
}
