//! `cairn serve`: Qdrant's HTTP API over a store.

use std::sync::Arc;

use anyhow::Result;
use cairn_searcher::{Searcher, Settings, serve_over};

use crate::{beside::IndexerArgs, progress::stop_signal};

/// Serve a store's collections over Qdrant's HTTP API.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn serve --store ./data
  cairn serve --store s3://bucket/cairn --listen 0.0.0.0:6333 --api-key SECRET --cache-dir /var/cache/cairn --cache-bytes 50GB

One that only answers, where `cairn compact` runs elsewhere:
  cairn serve --store s3://bucket/cairn --no-indexer

One server that has others search, and such another:
  cairn serve --store s3://bucket/cairn --leaves http://10.0.0.1:6333,http://10.0.0.2:6333 --leaf-api-key SECRET
  cairn serve --store s3://bucket/cairn --role leaf --listen 10.0.0.1:6333 --api-key SECRET

Then, with any Qdrant client:
  curl http://127.0.0.1:6333/collections")]
pub(crate) struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    indexer: IndexerArgs,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { settings, indexer } = args;
    let searcher = Searcher::open(&settings.store, &settings.search).await?.with_fanout(&settings.fanout)?;
    let searcher = Arc::new(searcher);
    let _indexer = indexer.start(&searcher);
    Ok(serve_over(searcher, settings, stop_signal()).await?)
}
