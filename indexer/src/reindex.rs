//! `reindex`: a collection built anew from its source, with its schema, and published if it is good enough.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use bytesize::ByteSize;
use cairn_model::CollectionName;
use cairn_storage::{Catalog, Store, StoreOptions};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Figures, Gate, IndexJob, IndexOptions, Progress, Report, Result, index::run};

/// Options of a reindex, under the flags' names with `_` for `-` in an event.
#[derive(Clone, Debug, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct ReindexOptions {
    /// File of ids, row by row: .npy of integers, or text with one id (integer or UUID) per line
    #[arg(long, value_name = "FILE")]
    pub ids: Option<String>,
    /// File of payloads, row by row: one JSON object per line (.jsonl, also .gz or .zst)
    #[arg(long, value_name = "FILE")]
    pub payload: Option<String>,
    /// Publish only when the source has at least so many points for every point that is served
    #[arg(long, value_name = "RATIO", default_value_t = Self::default().min_points_ratio)]
    pub min_points_ratio: f64,
    /// Publish only when recall@10 at the default search settings, measured on sampled points, is at least this
    #[arg(long, value_name = "RECALL", default_value_t = Self::default().min_recall)]
    pub min_recall: f64,
    /// Points to measure recall on: each costs one exact search over the new generation. 0, with --min-recall 0, measures nothing
    #[arg(long, value_name = "N", default_value_t = Self::default().recall_samples)]
    pub recall_samples: usize,
    /// Memory bound, like 512MiB or 4GB. Default: half of what is available
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,
    /// Threads that build and measure. Default: one for every core that the process may use
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of the build's randomness, and of the sample
    #[arg(long, default_value_t)]
    pub seed: u64,
    /// Directory for temporary files. Default: the system's
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
}

impl Default for ReindexOptions {
    fn default() -> Self {
        Self {
            ids: None,
            payload: None,
            min_points_ratio: 0.9,
            min_recall: 0.9,
            recall_samples: 200,
            memory: None,
            threads: None,
            seed: 0,
            temp_dir: None,
        }
    }
}

/// A collection to be built anew.
#[derive(Clone, Debug)]
pub struct ReindexJob {
    /// The collection, which exists.
    pub collection: CollectionName,
    /// File of vectors: a local path, or a URL like `s3://bucket/key`.
    pub input: String,
    /// The rest.
    pub options: ReindexOptions,
    /// How to reach sources that are URLs.
    pub store_options: StoreOptions,
}

/// What was published, and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReindexReport {
    /// As of an index job.
    #[serde(flatten)]
    pub report: Report,
    /// What the gate saw.
    pub gate: Option<Figures>,
}

/// Runs a job. The generation that was served stays in the store and in the history.
///
/// # Errors
/// `NotFound` without the collection; [`Error::Refused`](crate::Error::Refused) when the new generation does not pass the gate;
/// [`Error::Invalid`](crate::Error::Invalid) when the source does not fit the schema; `Conflict` when somebody else publishes
/// meanwhile; else as [`index()`](crate::index()). Nothing is published in all these cases.
pub async fn reindex(
    job: ReindexJob,
    store: &Store,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<ReindexReport> {
    let ReindexJob { collection, input, options, store_options } = job;
    let gate = Gate {
        points_ratio_min: options.min_points_ratio,
        recall_min: options.min_recall,
        samples: options.recall_samples,
    };
    gate.check()?;
    Catalog::new(store.clone()).open(&collection).await?;
    let job = IndexJob {
        collection,
        input,
        distance: None,
        options: IndexOptions {
            ids: options.ids,
            payload: options.payload,
            memory: options.memory,
            threads: options.threads,
            seed: options.seed,
            temp_dir: options.temp_dir,
            replace: true,
            keep_schema: true,
            ..IndexOptions::default()
        },
        store_options,
    };
    let (report, gate) = run(job, store, (progress, cancel), Some(gate)).await?;
    Ok(ReindexReport { report, gate })
}
