//! The indexer beside a server: what is written through it, or seen by it, moves into segments while it serves.
//!
//! It looks only where this process knows of writes, so that a server that nobody writes to asks the store nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cairn_indexer::{CompactJob, CompactOptions, Shared, Unwatched};
use cairn_model::CollectionName;
use cairn_searcher::{Role, Searcher};
use cairn_storage::{Catalog, catalog::collect};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often what nothing names any more is looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(3_600);

/// When what was written moves into segments.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct IndexerArgs {
    /// Leave it to others to move what is written into segments, and to delete what is replaced
    #[arg(long, env = "CAIRN_NO_INDEXER")]
    no_indexer: bool,
    /// Look so often whether what was written is worth moving
    #[arg(long, env = "CAIRN_INDEXER_EVERY", value_name = "SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    indexer_every: u64,
    /// Move what has waited in a log for so many seconds, however little it is
    #[arg(long, env = "CAIRN_INDEXER_AGE", value_name = "SECONDS", default_value_t = CompactOptions::default().fold_age_s)]
    indexer_age: u64,
}

impl IndexerArgs {
    /// Starts it, unless it is not wanted here. It stops when what comes back is dropped: whatever it is at is garbage then, and begun again
    /// by the next one.
    pub(crate) fn start(&self, searcher: &Arc<Searcher>) -> Option<DropGuard> {
        if self.no_indexer || searcher.role() == Role::Leaf {
            return None;
        }
        let cancel = CancellationToken::new();
        let beside = Beside {
            searcher: Arc::clone(searcher),
            options: CompactOptions { fold_age_s: self.indexer_age, ..CompactOptions::default() },
            cancel: cancel.clone(),
            changed: BTreeSet::new(),
        };
        tokio::spawn(beside.run(Duration::from_secs(self.indexer_every)));
        Some(cancel.drop_guard())
    }
}

struct Beside {
    searcher: Arc<Searcher>,
    options: CompactOptions,
    cancel: CancellationToken,
    /// Collections that it has changed since it last looked for garbage.
    changed: BTreeSet<CollectionName>,
}

impl Beside {
    async fn run(mut self, every: Duration) {
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut collected = Instant::now();
        let cancel = self.cancel.clone();
        while cancel.run_until_cancelled(looks.tick()).await.is_some() {
            for collection in self.searcher.tails().unfolded() {
                self.compact(collection).await;
            }
            if collected.elapsed() >= COLLECT_EVERY {
                collected = Instant::now();
                self.collect().await;
            }
        }
    }

    async fn compact(&mut self, collection: CollectionName) {
        let shared = Shared {
            cache: Arc::clone(self.searcher.cache()),
            ranges: Arc::clone(self.searcher.ranges()),
            logs: Arc::clone(self.searcher.tails().logs()),
        };
        let job = CompactJob { collection: collection.clone(), options: self.options.clone(), shared: Some(shared) };
        let compacting = cairn_indexer::compact(job, self.searcher.store(), Arc::new(Unwatched), self.cancel.clone());
        match compacting.await {
            Ok(report) if report.shards > 0 => drop(self.changed.insert(collection)),
            Ok(_) => {}
            Err(_) if self.cancel.is_cancelled() => {}
            // The log keeps what was written, and the next look tries again.
            Err(error) => tracing::warn!(%collection, %error, "what was written was not moved into segments"),
        }
    }

    async fn collect(&mut self) {
        let collections: Vec<_> = std::mem::take(&mut self.changed).into_iter().collect();
        if collections.is_empty() {
            return;
        }
        let options = collect::Options { collections, ..collect::Options::default() };
        let catalog = Catalog::new(self.searcher.store().clone());
        let collecting = self.cancel.run_until_cancelled(catalog.collect(&options, |_, _| {}));
        if let Some(Err(error)) = collecting.await {
            tracing::warn!(%error, "what nothing names any more was not deleted");
        }
    }
}
