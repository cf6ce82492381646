mod fold;
mod heads;
mod lifecycle;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cairn_engine::segment::Segment;
use cairn_model::{CollectionName, CollectionSchema, Datatype, Distance, HnswConfig, Payload, PointId, VectorParams};
use cairn_storage::{Cache, CacheOptions, Catalog, Store, StoreOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use bytesize::ByteSize;

use crate::{Error, IndexJob, IndexOptions, Progress, Report, Result, Stage, Unwatched, index};

mod shards;
mod space;

const DIM: usize = 6;

fn id(row: usize) -> PointId {
    if row % 3 == 2 {
        PointId::Uuid(uuid::Uuid::from_u128(row as u128 * 0x9E37_79B9_7F4A_7C15))
    } else {
        PointId::Num(row as u64 * 7)
    }
}

fn vector(row: usize, seed: usize) -> Vec<f32> {
    (0..DIM).map(|x| ((row * 31 + x * 17 + seed) % 97) as f32 / 97.0).collect()
}

fn payload(row: usize) -> String {
    if row.is_multiple_of(4) { String::new() } else { format!("{{\"row\":{row},\"name\":\"n{row}\"}}") }
}

/// A folder with a source, temporary files, and perhaps a store.
struct Place {
    folder: TempDir,
    store: Store,
}

impl Place {
    async fn memory() -> Self {
        Self::at("memory://").await
    }

    async fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("store").display().to_string();
        Self { folder, store: Store::open(&url, &StoreOptions::default()).await.unwrap() }
    }

    async fn at(url: &str) -> Self {
        let store = Store::open(url, &StoreOptions::default()).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), store }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A job over a JSONL file of `rows` points.
    fn job(&self, rows: usize, seed: usize) -> IndexJob {
        let mut text = String::new();
        for row in 0..rows {
            let (id, vector) = (serde_json::to_string(&id(row)).unwrap(), vector(row, seed));
            write!(text, "{{\"id\":{id},\"vector\":{vector:?}").unwrap();
            match payload(row).as_str() {
                "" => text.push_str("}\n"),
                payload => writeln!(text, ",\"payload\":{payload}}}").unwrap(),
            }
        }
        self.job_of(&text)
    }

    fn job_of(&self, jsonl: &str) -> IndexJob {
        let input = self.path().join("source.jsonl");
        fs::write(&input, jsonl).unwrap();
        let temporary = self.path().join("temporary");
        fs::create_dir_all(&temporary).unwrap();
        IndexJob {
            collection: name(),
            input: input.display().to_string(),
            distance: Some(Distance::Dot),
            options: IndexOptions {
                shards: Some(3),
                temp_dir: Some(temporary),
                memory: Some(ByteSize(64 << 20)),
                threads: std::num::NonZeroUsize::new(2),
                ..IndexOptions::default()
            },
            store_options: StoreOptions::default(),
        }
    }

    async fn index(&self, job: IndexJob) -> Result<Report> {
        let done = index(job, &self.store, Arc::new(Unwatched), CancellationToken::new()).await;
        self.assert_tidy();
        done
    }

    #[track_caller]
    fn assert_tidy(&self) {
        let left: Vec<_> = fs::read_dir(self.path().join("temporary")).unwrap().collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }

    fn catalog(&self) -> Catalog {
        Catalog::new(self.store.clone())
    }

    /// Every point of the collection.
    async fn points(&self) -> BTreeMap<PointId, (Vec<f32>, String)> {
        let collection = self.catalog().open(&name()).await.unwrap();
        let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 30, populate: false }).unwrap();
        let mut points = BTreeMap::new();
        for manifest in &collection.manifests {
            for entry in &manifest.segments {
                let bytes = cache.segment(&self.store, &collection, manifest.shard, entry).await.unwrap();
                let segment = Segment::open(Arc::new(bytes)).unwrap();
                segment.verify().unwrap();
                assert_eq!(u64::from(segment.len()), entry.points);
                for ordinal in 0..segment.len() {
                    let id = segment.id(ordinal).unwrap();
                    assert!(collection.doc.schema.shard_of(id).is_none_or(|shard| shard == manifest.shard));
                    let row = (segment.vector(ordinal).unwrap(), segment.payload(ordinal).unwrap());
                    assert!(points.insert(id, row).is_none(), "{id} is in two segments");
                }
            }
        }
        points
    }
}

fn name() -> CollectionName {
    CollectionName::parse("stones").unwrap()
}

#[track_caller]
fn check(points: &BTreeMap<PointId, (Vec<f32>, String)>, rows: usize, seed: usize) {
    assert_eq!(points.len(), rows);
    for row in 0..rows {
        let (found, text) = &points[&id(row)];
        assert_eq!(*found, vector(row, seed), "row {row}");
        let expected = match payload(row).as_str() {
            "" => Payload::new(),
            text => serde_json::from_str(text).unwrap(),
        };
        assert_eq!(serde_json::from_str::<Payload>(text).unwrap(), expected, "row {row}");
    }
}

#[tokio::test]
async fn points_come_back_from_every_store() {
    for place in [Place::memory().await, Place::local().await] {
        let report = place.index(place.job(500, 1)).await.unwrap();
        assert_eq!((report.points, report.segments, report.replaced, report.spilled_bytes), (500, 3, false, 0));
        assert_eq!(report.schema.only_vector().unwrap().1.datatype, Datatype::Float32);
        check(&place.points().await, 500, 1);
    }
}

#[tokio::test]
async fn points_are_replaced_only_on_demand() {
    let place = Place::local().await;
    place.index(place.job(40, 1)).await.unwrap();
    let error = place.index(place.job(50, 2)).await.unwrap_err();
    assert!(matches!(error, Error::Occupied { points: 40, .. }), "{error}");
    assert!(error.to_string().contains("stones") && error.to_string().contains("--replace"));
    check(&place.points().await, 40, 1);

    let mut job = place.job(50, 2);
    job.options.replace = true;
    // Another schema is no obstacle: it is a new generation. What is not said stays as it was.
    job.options.m = Some(8);
    job.options.shards = None;
    job.distance = None;
    let report = place.index(job).await.unwrap();
    assert!(report.replaced);
    assert_eq!((report.schema.shard_count, report.schema.only_vector().unwrap().1.hnsw.m), (3, 8));
    check(&place.points().await, 50, 2);
}

#[tokio::test]
async fn an_empty_collection_is_filled_as_it_was_created() {
    let place = Place::memory().await;
    let hnsw = HnswConfig { m: 12, ..HnswConfig::default() };
    let params = VectorParams { datatype: Datatype::Float16, hnsw, ..VectorParams::new(6, Distance::Euclid) };
    place.catalog().create(&name(), &CollectionSchema::single("v", params, 2)).await.unwrap();
    let mut job = place.job(30, 1);
    job.options.shards = None;
    let error = place.index(job.clone()).await.unwrap_err();
    assert!(error.to_string().contains("distance: the collection was created with Euclid"), "{error}");
    job.distance = None;
    let report = place.index(job).await.unwrap();
    assert_eq!(report.schema, CollectionSchema::single("v", params, 2));
    assert_eq!(place.points().await.len(), 30);
}

#[tokio::test]
async fn nothing_of_a_bad_source_is_published() {
    let place = Place::local().await;
    let twice = "{\"id\":5,\"vector\":[1]}\n{\"id\":4,\"vector\":[1]}\n{\"id\":5,\"vector\":[2]}\n";
    let error = place.index(place.job_of(twice)).await.unwrap_err();
    assert!(error.to_string().ends_with("source.jsonl: point id 5 occurs twice, in rows 0 and 2"), "{error}");
    let error = place.index(place.job_of("{\"vector\":[1]}\n{\"vector\":[1,2]}")).await.unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    let mut job = place.job_of("{\"vector\":[1.5]}");
    job.options.datatype = Some(Datatype::Uint8);
    let error = place.index(job).await.unwrap_err();
    assert!(matches!(error, Error::Point { id: PointId::Num(0), .. }), "{error}");
    // JSON that no number type holds is noticed when the payload is read, before anything is published.
    for wild in ["1e999".to_owned(), format!("{}{}", "[".repeat(1_000), "]".repeat(1_000))] {
        let text = format!("{{\"vector\":[1],\"id\":3,\"x\":{wild}}}");
        let error = place.index(place.job_of(&text)).await.unwrap_err();
        assert!(error.to_string().contains("point 3: payload"), "{error}");
    }
    let mut job = place.job(3, 1);
    job.distance = None;
    assert!(place.index(job).await.unwrap_err().to_string().starts_with("distance: is needed"));
    let mut job = place.job(3, 1);
    job.options.shards = Some(0);
    assert!(place.index(job).await.unwrap_err().to_string().starts_with("shard_number"));
    assert!(place.catalog().list().await.unwrap().is_empty());
}

/// Cancels at a stage.
struct Canceller {
    at: fn(Stage) -> bool,
    token: CancellationToken,
    reached: AtomicBool,
}

impl Progress for Canceller {
    fn progress(&self, stage: Stage, _: u64, _: u64) {
        if (self.at)(stage) {
            self.reached.store(true, Ordering::Relaxed);
            self.token.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_the_old_version() {
    let stages: [fn(Stage) -> bool; 3] = [
        |stage| stage == Stage::Read,
        |stage| matches!(stage, Stage::Build { phase: cairn_engine::Phase::Graph, .. }),
        |stage| stage == Stage::Upload,
    ];
    for at in stages {
        let place = Place::local().await;
        place.index(place.job(20, 1)).await.unwrap();
        let token = CancellationToken::new();
        let canceller = Arc::new(Canceller { at, token: token.clone(), reached: AtomicBool::new(false) });
        let mut job = place.job(3_000, 2);
        job.options.replace = true;
        let ended = index(job.clone(), &place.store, Arc::clone(&canceller) as Arc<dyn Progress>, token).await;
        assert!(canceller.reached.load(Ordering::Relaxed));
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        place.assert_tidy();
        check(&place.points().await, 20, 1);

        // And it can be run again over whatever was left.
        place.index(job).await.unwrap();
        check(&place.points().await, 3_000, 2);
    }
}

#[tokio::test]
async fn a_temporary_directory_that_is_not_there_is_named() {
    let place = Place::memory().await;
    let mut job = place.job(3, 1);
    job.options.temp_dir = Some("/nowhere/at/all".into());
    let error = index(job, &place.store, Arc::new(Unwatched), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[cfg(target_os = "linux")]
mod bound {
    use std::{io::BufWriter, io::Write as _, process::Command};

    use super::*;

    const VARIABLE: &str = "CAIRN_TEST_MEMORY_BOUND";
    const ROWS: usize = 16_000;
    const PAYLOAD_BYTES: usize = 16 << 10;
    /// What the process needs besides the bound: the program itself in its unoptimised form, threads, and the store's buffers.
    const PROGRAM_BYTES: u64 = 48 << 20;

    /// A source of 250 MB in shuffled order, four times the bound: rows and ids spill, shards become several segments.
    fn source(folder: &Path) {
        let mut out = BufWriter::new(fs::File::create(folder.join("source.jsonl")).unwrap());
        let mut state = 1u64;
        for row in 0..ROWS {
            let id = (row * 7_919) % ROWS;
            write!(out, "{{\"id\":{id},\"vector\":[{},{}],\"text\":\"", row % 89, row % 97).unwrap();
            for _ in 0..PAYLOAD_BYTES / 16 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                write!(out, "{state:016x}").unwrap();
            }
            writeln!(out, "\"}}").unwrap();
        }
    }

    fn peak_bytes() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }

    #[test]
    fn the_memory_bound_holds_for_a_source_four_times_as_large() {
        let folder = tempfile::tempdir().unwrap();
        source(folder.path());
        // A process of its own: the peak of this one may come from other tests.
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "tests::bound::child", "--ignored", "--nocapture"]).env(VARIABLE, folder.path());
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
        print!("{text}");
    }

    #[test]
    #[ignore = "run by the test above in a process of its own"]
    fn child() {
        let Some(folder) = std::env::var_os(VARIABLE) else { return };
        let folder = Path::new(&folder);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let report = runtime.block_on(async {
            let url = folder.join("store").display().to_string();
            let store = Store::open(&url, &StoreOptions::default()).await.unwrap();
            let job = IndexJob {
                collection: name(),
                input: folder.join("source.jsonl").display().to_string(),
                distance: Some(Distance::Euclid),
                options: IndexOptions {
                    shards: Some(2),
                    memory: Some(ByteSize(64 << 20)),
                    threads: std::num::NonZeroUsize::new(2),
                    temp_dir: Some(folder.to_owned()),
                    ..IndexOptions::default()
                },
                store_options: StoreOptions::default(),
            };
            index(job, &store, Arc::new(Unwatched), CancellationToken::new()).await.unwrap()
        });
        let peak = peak_bytes();
        println!(
            "peak {} of a bound of {}, {} segments",
            ByteSize(peak),
            ByteSize(report.memory_bytes),
            report.segments
        );
        assert_eq!(report.points, ROWS as u64);
        assert!(report.segments > 4 && report.spilled_bytes > 200 << 20, "{report:?}");
        assert!(peak < report.memory_bytes + PROGRAM_BYTES, "a peak of {}", ByteSize(peak));
    }
}
