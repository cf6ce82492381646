//! What writes cost: acknowledged upserts, batches, reads over a growing tail, and what folding writes again. See README.md.
//!
//! The searcher that serves, without HTTP, over a local directory, near and with a constant delay before each answer of the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cairn_indexer::{CompactJob, CompactOptions, Shared, Unwatched};
use cairn_model::{
    CollectionName, CollectionSchema, Distance, Operation, Payload, Point, PointId, UpdateMode, Vector, VectorParams,
};
use cairn_searcher::{Request, SearchSettings, Searcher, update::UpdateParams};
use cairn_storage::{Cache, CacheOptions, Store, StoreOptions, store::Delays};
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;

type Result<T> = anyhow::Result<T>;

const DIM: u32 = 384;
const DELAY_MS: f64 = 30.0;
const CLIENTS: [usize; 3] = [1, 8, 64];
const TAILS: [u64; 6] = [0, 100, 1_000, 5_000, 20_000, 50_000];
/// How long each number of clients writes, at most.
const SECONDS: Duration = Duration::from_secs(4);
/// Objects of a log after which they stop as well: nobody folds here, and one more than 4,096 is refused.
const PUTS_MAX: u64 = 4_000;
const BATCH: u64 = 1_000;
const POINTS: u64 = 40_000;

struct Setting {
    name: &'static str,
    delays: Option<Delays>,
}

/// A collection that nobody wrote to yet, and who answers for it.
struct Bench {
    searcher: Arc<Searcher>,
    store: Store,
    name: CollectionName,
    next: AtomicU64,
    _folder: tempfile::TempDir,
}

fn vector(id: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(id);
    (0..DIM).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn upsert(ids: std::ops::Range<u64>) -> Operation {
    let point = |id: u64| {
        let payload = Payload::from_iter([("n".to_owned(), (id % 100).into())]);
        Point { id: PointId::Num(id), vectors: [(String::new(), Vector::Dense(vector(id)))].into(), payload }
    };
    Operation::Upsert { points: ids.map(point).collect(), mode: UpdateMode::Upsert, filter: None }
}

impl Bench {
    async fn new(delays: Option<Delays>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = format!("file://{}", folder.path().join("store").display());
        let near = Store::open(&url, &StoreOptions::default()).await?;
        let store = delays.map_or(near.clone(), |delays| near.far(delays, 1));
        let options = CacheOptions { dir: Some(folder.path().join("cache")), bytes_max: 1 << 40, populate: false };
        let searcher =
            Searcher::from_store(store.clone(), Arc::new(Cache::open(options)?), &SearchSettings::default())?;
        let name = CollectionName::parse("c").map_err(anyhow::Error::msg)?;
        let schema = CollectionSchema::single("", VectorParams::new(DIM, Distance::Cosine), 1);
        searcher.create(&name, &schema).await?;
        Ok(Self { searcher: Arc::new(searcher), store, name, next: AtomicU64::new(0), _folder: folder })
    }

    /// Writes so many new points and waits until they are durable.
    async fn write(&self, points: u64) -> Result<()> {
        let from = self.next.fetch_add(points, Relaxed);
        let params = UpdateParams { wait: true, timeout: None };
        self.searcher.update(&self.name, vec![upsert(from..from + points)], params).await?;
        Ok(())
    }

    async fn fold(&self, force: bool) -> Result<cairn_indexer::CompactReport> {
        let shared = Shared {
            cache: Arc::clone(self.searcher.cache()),
            ranges: Arc::clone(self.searcher.ranges()),
            logs: Arc::clone(self.searcher.tails().logs()),
        };
        let options = CompactOptions { force, ..CompactOptions::default() };
        let job = CompactJob { collection: self.name.clone(), options, shared: Some(shared) };
        Ok(cairn_indexer::compact(job, &self.store, Arc::new(Unwatched), CancellationToken::new()).await?)
    }
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Single points, each acknowledged before its client writes the next.
async fn upserts(setting: &Setting) -> Result<()> {
    for clients in CLIENTS {
        let bench = Arc::new(Bench::new(setting.delays).await?);
        bench.write(1).await?;
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let client = |_| {
            let (bench, stop) = (Arc::clone(&bench), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Relaxed) && bench.searcher.tails().logs().counters().puts < PUTS_MAX {
                    let start = Instant::now();
                    bench.write(1).await?;
                    times.push(start.elapsed());
                }
                anyhow::Ok(times)
            })
        };
        let mut running = join_all((0..clients).map(client));
        let done = tokio::select! {
            done = &mut running => done,
            () = tokio::time::sleep(SECONDS) => {
                stop.store(true, Relaxed);
                running.await
            }
        };
        let mut times = Vec::new();
        for client in done {
            times.extend(client??);
        }
        let seconds = began.elapsed().as_secs_f64();
        times.sort_unstable();
        let counters = bench.searcher.tails().logs().counters();
        #[expect(clippy::cast_precision_loss, reason = "shown")]
        let (per_second, puts) = (times.len() as f64 / seconds, counters.puts as f64 / counters.appended as f64);
        println!(
            "| {} | {clients} | {per_second:.0} | {:.2} | {:.2} | {puts:.3} |",
            setting.name,
            percentile(&times, 0.5),
            percentile(&times, 0.99)
        );
    }
    Ok(())
}

/// Batches as `upload_points` sends them, then everything into segments.
async fn batches(setting: &Setting) -> Result<()> {
    let bench = Bench::new(setting.delays).await?;
    let start = Instant::now();
    let mut folding = Duration::ZERO;
    let (mut built, mut rewritten, mut folds) = (0, 0, 0);
    while bench.next.load(Relaxed) < POINTS {
        bench.write(BATCH).await?;
        let force = bench.next.load(Relaxed) >= POINTS;
        let began = Instant::now();
        let report = bench.fold(force).await?;
        folding += began.elapsed();
        folds += u64::from(report.shards > 0);
        built += report.points_folded + report.points_rewritten;
        rewritten += report.points_rewritten;
    }
    let all = start.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "shown")]
    let rate = |time: Duration| POINTS as f64 / time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "shown")]
    let amplification = built as f64 / POINTS as f64;
    println!(
        "| {} | {POINTS} | {:.0} | {:.0} | {folds} | {rewritten} | {amplification:.2} |",
        setting.name,
        rate(all - folding),
        rate(all)
    );
    Ok(())
}

/// One search at a time while the log grows.
async fn tails(setting: &Setting) -> Result<()> {
    let bench = Bench::new(setting.delays).await?;
    bench.write(BATCH).await?;
    bench.fold(true).await?;
    let folded = bench.next.load(Relaxed);
    for tail in TAILS {
        while bench.next.load(Relaxed) - folded < tail {
            bench.write(BATCH.min(tail - (bench.next.load(Relaxed) - folded))).await?;
        }
        let mut times = Vec::new();
        for n in 0..60 {
            let request = Request::nearest(vector(u64::MAX - n), 10);
            let start = Instant::now();
            bench.searcher.query(&bench.name.clone().into(), &request).await?;
            times.push(start.elapsed());
        }
        // The first finds what is new.
        times.drain(..5);
        times.sort_unstable();
        println!("| {} | {tail} | {:.2} | {:.2} |", setting.name, percentile(&times, 0.5), percentile(&times, 0.99));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let delays = Delays::new([DELAY_MS, DELAY_MS], [80.0, 600.0])?;
    let settings =
        [Setting { name: "local directory", delays: None }, Setting { name: "30 ms a request", delays: Some(delays) }];
    println!(
        "| store | clients | acknowledged upserts a second | p50 ms | p99 ms | PUTs per write |\n|---|---|---|---|---|---|"
    );
    for setting in &settings {
        upserts(setting).await?;
    }
    println!(
        "\n| store | points, by {BATCH} | points a second, to the log | with folding | folds | points rewritten | write amplification |\n|---|---|---|---|---|---|---|"
    );
    for setting in &settings {
        batches(setting).await?;
    }
    println!("\n| store | points in the tail | search p50 ms | p99 ms |\n|---|---|---|---|");
    for setting in &settings {
        tails(setting).await?;
    }
    Ok(())
}
