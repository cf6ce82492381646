//! `cairn serve`: Qdrant's HTTP API over a store.

use anyhow::Result;
use cairn_searcher::Settings;

use crate::progress::stop_signal;

/// Serve a store's collections over Qdrant's HTTP API.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn serve --store ./data
  cairn serve --store s3://bucket/cairn --listen 0.0.0.0:6333 --api-key SECRET --cache-dir /var/cache/cairn --cache-bytes 50GB

Then, with any Qdrant client:
  curl http://127.0.0.1:6333/collections")]
pub(crate) struct Args {
    #[command(flatten)]
    settings: Settings,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    Ok(cairn_searcher::serve(args.settings, stop_signal()).await?)
}
