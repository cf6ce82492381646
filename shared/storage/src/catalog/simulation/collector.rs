//! Collects, and looks whether what is named is there.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::TryStreamExt as _;
use object_store::ObjectStore as _;
use tokio::time::sleep;

use super::{
    super::{
        Catalog,
        collect::{GRACE_MS_MIN, Options},
        tests::reachable::{log_objects, named, unnamed},
    },
    Process, World, pause,
};
use crate::testing::faults::Faults;

const ROUNDS: u64 = 16;
const PAUSE_S: u64 = 1_600;
/// Longer than an indexer sleeps, and everything that it does besides.
const GRACE_MS: u64 = 2 * GRACE_MS_MIN;
/// Runs after which nothing is left to wait for.
const SETTLED: u64 = 6;

fn options() -> Options {
    Options { grace_ms: GRACE_MS, ..Options::default() }
}

/// What is there at one moment: nobody else does anything before it is known.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

impl Process {
    /// Collects now and then. Returns how much.
    pub(super) async fn collect(self) -> u64 {
        let mut random = self.world.random(self.number * 100);
        let mut deleted = 0;
        for _ in 0..ROUNDS {
            pause(&mut random, PAUSE_S).await;
            let since = self.world.record.moment();
            let report = self.catalog.collect(&options(), |_, _| ()).await;
            if let Some(report) = self.endure(report, since) {
                deleted += report.deleted.objects;
                for error in report.skipped {
                    self.endure::<()>(Err(error), since);
                }
            }
            at_once(self.world.check());
        }
        deleted
    }
}

impl World {
    /// Without faults, and without waiting for anything.
    fn observer(&self) -> Catalog {
        Catalog::new(Faults::new(Arc::clone(&self.bucket.objects) as _).into_store())
    }

    async fn keys(&self) -> Vec<String> {
        let all = self.bucket.objects.list(None).map_ok(|meta| meta.location.to_string());
        all.try_collect().await.unwrap()
    }

    /// Whatever is named is there.
    async fn check(&self) {
        let (keys, (named, logs)) = (self.keys().await, named(&self.observer()).await);
        let there: BTreeSet<_> = keys.iter().cloned().collect();
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "named and gone: {missing:#?}");
        let found = log_objects(&keys);
        for (folder, floor) in logs {
            let parts: Vec<_> = folder.split('/').collect();
            let shard = (parts[2].to_owned(), parts[3].parse().unwrap());
            let gap = (floor..self.record.log_len(&shard))
                .find(|number| !found.get(&folder).is_some_and(|all| all.contains(number)));
            assert_eq!(gap, None, "{folder} is read from {floor} on");
        }
    }

    /// Collects until nothing is left to wait for. Returns how much was deleted.
    pub(super) async fn settle(self: &Arc<Self>) -> u64 {
        let collector = self.healthy(94);
        let mut deleted = 0;
        for _ in 0..SETTLED {
            let report = collector.catalog.collect(&options(), |_, _| ()).await.unwrap();
            assert!(report.skipped.is_empty(), "{report:#?}");
            deleted += report.deleted.objects;
            sleep(Duration::from_millis(2 * GRACE_MS)).await;
        }
        self.check().await;
        let left = unnamed(&self.observer(), self.keys().await).await;
        assert!(left.is_empty(), "nothing names these: {left:#?}");
        deleted
    }
}
