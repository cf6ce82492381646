//! The indexer as a Lambda function: one event, one job.

use std::{process::ExitCode, sync::Arc};

use cairn_indexer::{Event, Job, Progress, Stage, answer};
use cairn_model::Kind as _;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const USAGE: &str = r#"This is Cairn's indexer as an AWS Lambda function; outside Lambda use `cairn index`.

It takes one event per job and answers with a report:

  {"source": "s3://bucket/points.parquet", "collection": "docs", "distance": "cosine",
   "store": "s3://bucket/cairn", "options": {"shards": 2, "replace": true}}

A source that ends in / is a folder of files. `store` defaults to the environment's CAIRN_STORE. `options` are the flags of `cairn index` with _ for -:
ids, payload, datatype, vector_name, shards, m, ef_construct, full_scan_threshold, replace, memory, threads, seed, temp_dir.

For data past one function, three jobs in turn (infra/ has the state machine that sends them):

  {"job": "begin", ... as above}                              -> {"generation": "01J...", "shards": [0, 1, ...]}
  {"job": "shard", "generation": "01J...", "shard": 0, ... as above}             for every shard, in parallel
  {"job": "publish", "generation": "01J...", "collection": "docs"}

Other jobs, which fit a schedule; README has what each does:

  {"job": "reindex", "collection": "docs", "source": "s3://bucket/points.parquet", "options": {"min_recall": 0.95}}
  {"job": "rollback", "collection": "docs", "from": "GENERATION"}        or "to": "GENERATION", or "snapshot": "NAME"
  {"job": "snapshot", "collection": "docs", "name": "before-the-sale"}   or without a name; "delete": true deletes it
  {"job": "clone", "collection": "docs", "to": "docs-test", "as_of": "snapshot:before-the-sale"}
  {"job": "compact", "collection": "docs", "options": {"fold_age_s": 60}}
  {"job": "gc", "grace": "24h"}                                          deletes what nothing has named for that long
  {"job": "doctor", "quick": true}                                       is the store safe, and how fast is it?
"#;

fn main() -> ExitCode {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    }
    cairn_indexer::give_memory_back();
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

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    run(event.payload).await.map_err(|error| {
        tracing::error!(kind = ?error.kind(), %error, "the job failed");
        Diagnostic { error_type: format!("{:?}", error.kind()), error_message: error.to_string() }
    })
}

async fn run(event: Value) -> cairn_indexer::Result<Value> {
    if let Some(job) = Job::parse(&event)? {
        return job.run(std::env::var("CAIRN_STORE").ok(), Arc::new(Log), CancellationToken::new()).await;
    }
    // Lambda has no way to cancel: at its deadline it freezes the process, and nothing was published.
    answer(Event::parse(event)?, std::env::var("CAIRN_STORE").ok(), Arc::new(Log), CancellationToken::new()).await
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
