//! What was written moves into segments: nothing is lost and nothing is there twice, whoever comes first and wherever it dies.

use cairn_engine::{fresh::Fresh, segment::decode_dead};
use cairn_model::{
    Change, Comparator, ErrorKind, Kind as _, MultivectorConfig, Partition, Point, SparseVectorParams, Vector, Vectors,
};
use cairn_storage::{
    Collection,
    catalog::ManifestPosition,
    log::{AppendError, KEPT_MS_MIN, Log, LogOptions, Part, Place as LogPlace},
    testing::faults::{Fault, Faults},
};
use object_store::memory::InMemory;
use roaring::RoaringBitmap;

use super::*;
use crate::{CompactJob, CompactOptions, CompactReport, compact};

const SHARDS: u32 = 2;

/// What is to be there: vectors and payloads by id.
type Model = BTreeMap<PointId, (Vectors, String)>;

/// The vectors of a row under a seed, as far as a collection has them: rows lack some, and some rows all.
fn vectors(schema: &CollectionSchema, row: usize, seed: usize) -> Vectors {
    let several = schema.vectors.len() > 1;
    let values = vector(row, seed);
    let wide = (0..40).map(|x| values[x % DIM] + x as f32).collect();
    let indices = [row, row + 1 + seed].map(|index| u32::try_from(index).unwrap()).to_vec();
    let all = [
        ("v", !several || row % 11 != 5, Vector::Dense(values.clone())),
        ("wide", row % 3 != (seed + 1) % 3, Vector::Dense(wide)),
        ("many", row % 2 == seed % 2, Vector::Multi { dim: 2, values: values[..2 + 2 * (row % 3)].to_vec() }),
        ("words", !row.is_multiple_of(5), Vector::Sparse { indices, values: values[..2].to_vec() }),
    ];
    let has = all.into_iter().filter(|(name, has, _)| *has && schema.kind(name).is_some());
    has.map(|(name, _, vector)| (name.to_owned(), vector)).collect()
}

fn params() -> VectorParams {
    VectorParams::new(u32::try_from(DIM).unwrap(), Distance::Dot)
}

async fn created(place: &Place) -> Collection {
    let mut schema = CollectionSchema::single("v", params(), SHARDS);
    schema.vectors.insert("wide".to_owned(), VectorParams::new(40, Distance::Euclid));
    let max_sim = MultivectorConfig { comparator: Comparator::MaxSim };
    schema
        .vectors
        .insert("many".to_owned(), VectorParams { multivector: Some(max_sim), ..VectorParams::new(2, Distance::Dot) });
    schema.sparse_vectors.insert("words".to_owned(), SparseVectorParams::default());
    fs::create_dir_all(place.path().join("temporary")).unwrap();
    place.catalog().create(&name(), &schema).await.unwrap()
}

fn job(place: &Place, options: CompactOptions) -> CompactJob {
    let temporary = place.path().join("temporary");
    fs::create_dir_all(&temporary).unwrap();
    let threads = std::num::NonZeroUsize::new(1);
    let options = CompactOptions { temp_dir: Some(temporary), memory: Some(ByteSize::mib(64)), threads, ..options };
    CompactJob { collection: name(), options, shared: None }
}

fn force() -> CompactOptions {
    CompactOptions { force: true, ..CompactOptions::default() }
}

async fn run(place: &Place, options: CompactOptions) -> Result<CompactReport> {
    let done = compact(job(place, options), &place.store, Arc::new(Unwatched), CancellationToken::new()).await;
    place.assert_tidy();
    done
}

fn log(catalog: &Catalog, collection: &Collection, shard: u32) -> Log {
    let generation = collection.doc.generation.clone();
    let position = ManifestPosition::new(catalog.clone(), &name(), &generation, shard);
    let place = LogPlace { collection: name(), generation, shard };
    Log::new(catalog.store().clone(), place, Arc::new(position), LogOptions::default())
}

/// Writes some rows under a seed, and removes others, each shard's in one object of its log.
async fn write(catalog: &Catalog, model: &mut Model, (puts, seed): (&[usize], usize), removed: &[usize]) {
    let collection = catalog.open(&name()).await.unwrap();
    for shard in 0..SHARDS {
        let of_shard = |row: &&usize| id(**row).shard(SHARDS) == shard;
        let point = |row: &usize| Point {
            id: id(*row),
            vectors: vectors(&collection.doc.schema, *row, seed),
            payload: serde_json::from_str(&format!("{{\"row\":{row},\"seed\":{seed}}}")).unwrap(),
        };
        let points: Vec<Point> = puts.iter().filter(of_shard).map(point).collect();
        let ids: Vec<PointId> = removed.iter().filter(of_shard).map(|row| id(*row)).collect();
        if points.is_empty() && ids.is_empty() {
            continue;
        }
        let part = Part::new(vec![Change::Put(points), Change::Remove(ids)]).unwrap();
        log(catalog, &collection, shard).append(part).await.unwrap();
    }
    for row in puts {
        model.insert(
            id(*row),
            (vectors(&collection.doc.schema, *row, seed), format!("{{\"row\":{row},\"seed\":{seed}}}")),
        );
    }
    removed.iter().for_each(|row| drop(model.remove(&id(*row))));
}

/// Everything that a reader finds, and how many of the points are in segments.
async fn found(place: &Place) -> (Model, usize) {
    let catalog = place.catalog();
    let collection = catalog.open(&name()).await.unwrap();
    let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 30, populate: false }).unwrap();
    let (mut points, mut folded) = (Model::new(), 0);
    for manifest in &collection.manifests {
        let shard = manifest.shard;
        let log = log(&catalog, &collection, shard);
        log.fold(collection.standing(manifest), tokio::time::Instant::now());
        let mut fresh = Fresh::new(&collection.doc.schema);
        for frame in log.refresh().await.unwrap().since(manifest.log_position).unwrap() {
            for change in frame.parts.iter().flat_map(|part| part.iter()) {
                fresh.apply((frame.sequence, frame.edition), change).unwrap();
            }
        }
        for entry in &manifest.segments {
            let bytes = cache.segment(&place.store, &collection, shard, entry).await.unwrap();
            let segment = Segment::open(Arc::new(bytes)).unwrap();
            segment.verify().unwrap();
            let dead = entry
                .dead
                .as_ref()
                .map_or_else(RoaringBitmap::new, |dead| decode_dead(&dead.bitmap, dead.count).unwrap());
            let segment = segment.without(Arc::new(dead));
            assert!(segment.live_len() > 0 && u64::from(segment.live_len()) == entry.live_points());
            let visited = segment.each(|id, vectors, payload| {
                assert_eq!(id.shard(SHARDS), shard);
                folded += 1;
                if fresh.get(id).is_none() {
                    let before = points.insert(id, (vectors.clone(), payload.to_owned()));
                    assert!(before.is_none(), "{id} is in two segments");
                }
                Ok::<_, cairn_engine::Error>(())
            });
            visited.unwrap();
        }
        for (id, put) in fresh.points() {
            assert!(points.insert(id, (put.vectors(&|_| true), put.payload_text().unwrap())).is_none());
        }
    }
    (points, folded)
}

/// Segment files in the store, whether something names them or not.
async fn files(store: &Store) -> usize {
    let all = store.list(&cairn_storage::store::Key::collections()).await.unwrap();
    all.iter().filter(|found| found.key.as_str().ends_with(".seg")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_become_segments_and_every_round_adds_up() {
    for place in [Place::memory().await, Place::local().await] {
        created(&place).await;
        let (catalog, mut model) = (place.catalog(), Model::new());
        let (mut folded, mut built) = (0, 0);
        for round in 0..14 {
            let puts: Vec<usize> = (0..30 + round).map(|n| (n * 7 + round * 13) % 240).collect();
            let removed: Vec<usize> = (0..round).map(|n| (n * 11 + round) % 240).collect();
            write(&catalog, &mut model, (&puts, round), &removed).await;
            // Some rows twice before anything is folded.
            if round % 3 == 0 {
                write(&catalog, &mut model, (&puts[..5], round + 100), &[]).await;
            }
            assert_eq!(found(&place).await.0, model, "round {round}");
            let report = run(&place, force()).await.unwrap();
            assert_eq!((report.shards, report.attempts), (u64::from(SHARDS), 1));
            assert!(report.frames >= 2 && report.tail_bytes > 0 && report.bytes_written > 0);
            folded += report.points_folded;
            built += report.points_folded + report.points_rewritten;
            let (points, in_segments) = found(&place).await;
            assert!(points == model && in_segments == model.len(), "round {round}");
            let collection = catalog.open(&name()).await.unwrap();
            assert_eq!(collection.points(), model.len() as u64);
            for manifest in &collection.manifests {
                assert!(manifest.segments.len() <= 3 * 4, "{}", manifest.segments.len());
            }
            let idle = run(&place, force()).await.unwrap();
            assert_eq!((idle.shards, idle.segments_built, idle.write_amplification), (0, 0, None));
        }
        assert!(built > folded && built < 5 * folded, "{built} {folded}");
        // Without points there are no segments, and their rows are in none.
        let all: Vec<usize> = (0..240).collect();
        write(&catalog, &mut model, (&[], 0), &all).await;
        let report = run(&place, force()).await.unwrap();
        assert_eq!((report.segments_built, report.points_deleted), (0, 240));
        assert!(catalog.open(&name()).await.unwrap().segments().next().is_none() && model.is_empty());
    }
}

/// A collection that was built in bulk and is written to afterwards; its segments have heads, which is how their ids are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_built_takes_writes_and_loses_its_dead() {
    let place = Place::memory().await;
    let mut index = place.job(0, 1);
    let mut text = String::new();
    let mut model = Model::new();
    let schema = CollectionSchema::single("v", params(), SHARDS);
    for row in 0..9_000 {
        let values = vector(row, 1);
        let payload = format!("{{\"long\":\"{}\",\"row\":{row}}}", "x".repeat(row % 50));
        writeln!(
            text,
            "{{\"id\":{},\"vector\":{values:?},\"payload\":{payload}}}",
            serde_json::to_string(&id(row)).unwrap()
        )
        .unwrap();
        model.insert(id(row), (vectors(&schema, row, 1), payload));
    }
    fs::write(&index.input, &text).unwrap();
    index.options.shards = Some(SHARDS);
    index.options.vector_name = Some("v".to_owned());
    place.index(index).await.unwrap();
    let catalog = place.catalog();
    let built = catalog.open(&name()).await.unwrap();
    assert!(built.segments().all(|(_, entry)| entry.head.is_some()));
    // Nothing was written, so there is nothing to do, and it is not said that there might be.
    assert_eq!(run(&place, force()).await.unwrap().shards, 0);
    let live = catalog.enliven(&built).await.unwrap();
    assert_eq!(run(&place, force()).await.unwrap().shards, 0);
    write(&catalog, &mut model, (&(0..9_000).step_by(90).collect::<Vec<_>>(), 2), &[1, 2, 3]).await;
    let report = run(&place, force()).await.unwrap();
    assert_eq!((report.points_folded, report.points_deleted, report.segments_merged), (100, 3, 0));
    assert_eq!(report.write_amplification, Some(1.0));
    let folded = catalog.open(&name()).await.unwrap();
    let dead: u64 = folded.segments().filter_map(|(_, entry)| entry.dead.as_ref()).map(|dead| dead.count).sum();
    assert_eq!((dead, folded.points(), folded.doc.generation.clone()), (103, 8_997, live.doc.generation.clone()));
    assert!(found(&place).await.0 == model);
    // More than a fifth of every segment is dead: it is written anew.
    write(&catalog, &mut model, (&[], 0), &(2_000..4_500).collect::<Vec<_>>()).await;
    let report = run(&place, force()).await.unwrap();
    assert_eq!((report.segments_merged, report.segments_built, report.points_folded), (4, 4, 0));
    let after = catalog.open(&name()).await.unwrap();
    assert!(after.segments().all(|(_, entry)| entry.dead.is_none() && entry.points == entry.live_points()));
    let (points, in_segments) = found(&place).await;
    assert!(points == model && in_segments == model.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_worth_it_waits_until_it_is_old() {
    let place = Place::memory().await;
    created(&place).await;
    let mut model = Model::new();
    write(&place.catalog(), &mut model, (&[1, 2, 3, 4, 5, 6], 1), &[]).await;
    let patient = CompactOptions { fold_age_s: 3_600, ..CompactOptions::default() };
    let report = run(&place, patient.clone()).await.unwrap();
    assert_eq!((report.shards, report.frames, report.segments_built), (0, 0, 0));
    assert_eq!(found(&place).await, (model.clone(), 0));
    let points = CompactOptions { fold_points: 4, ..patient };
    let report = run(&place, points).await.unwrap();
    let many = (0..SHARDS).filter(|shard| (1..7).filter(|row| id(*row).shard(SHARDS) == *shard).count() >= 4).count();
    assert_eq!(report.shards, many as u64);
    let old = CompactOptions { fold_age_s: 0, ..CompactOptions::default() };
    run(&place, old).await.unwrap();
    assert_eq!(found(&place).await, (model.clone(), model.len()));
}

#[tokio::test]
async fn a_collection_partitioned_by_space_is_refused() {
    let place = Place::memory().await;
    let params = VectorParams { distance: Distance::Euclid, ..params() };
    let schema = CollectionSchema { partition: Partition::Space, ..CollectionSchema::single("v", params, SHARDS) };
    place
        .catalog()
        .publish(&place.catalog().begin(&name(), &schema), vec![vec![]; 2], cairn_storage::Expect::Absent)
        .await
        .unwrap();
    let error = run(&place, force()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("partitioned by space") && error.to_string().contains("cairn reindex"),
        "{error}"
    );
    let error = run(&Place::memory().await, force()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_and_writers_lose_nothing() {
    let place = Place::memory().await;
    created(&place).await;
    let (catalog, mut model) = (place.catalog(), Model::new());
    for round in 0..6 {
        let puts: Vec<usize> = (0..40).map(|n| (n * 5 + round * 17) % 150).collect();
        write(&catalog, &mut model, (&puts, round), &[round, round + 20]).await;
        let at_once = || compact(job(&place, force()), &place.store, Arc::new(Unwatched), CancellationToken::new());
        let (others, removed): (Vec<usize>, [usize; 1]) = ((200..220).collect(), [round + 40]);
        let (first, second, ()) =
            tokio::join!(at_once(), at_once(), write(&catalog, &mut model, (&others, round), &removed));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(first.points_folded + second.points_folded >= 38, "{first:?} {second:?}");
        assert_eq!(found(&place).await.0, model, "round {round}");
    }
    run(&place, force()).await.unwrap();
    assert_eq!(found(&place).await, (model.clone(), model.len()));
}

/// Does something the first time that a segment was uploaded.
struct Overtaken<F>(AtomicBool, F);

impl<F: Fn() + Send + Sync> Progress for Overtaken<F> {
    fn progress(&self, stage: Stage, _: u64, _: u64) {
        if stage == Stage::Upload && !self.0.swap(true, Ordering::SeqCst) {
            (self.1)();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_overtaken_keeps_what_still_holds() {
    for folds_too in [false, true] {
        let place = Place::memory().await;
        created(&place).await;
        let mut model = Model::new();
        write(&place.catalog(), &mut model, (&(0..60).collect::<Vec<_>>(), 1), &[]).await;
        let (store, other) = (place.store.clone(), job(&place, force()));
        let overtake = move || {
            let (store, other) = (store.clone(), other.clone());
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let catalog = Catalog::new(store.clone());
                    if folds_too {
                        compact(other, &store, Arc::new(Unwatched), CancellationToken::new()).await.unwrap();
                    } else {
                        // Another version of the document that says nothing new.
                        catalog.commit_fold(&catalog.open(&name()).await.unwrap(), Vec::new()).await.unwrap();
                    }
                });
            });
            thread.join().unwrap();
        };
        let progress = Arc::new(Overtaken(AtomicBool::new(false), overtake));
        let report = compact(job(&place, force()), &place.store, progress, CancellationToken::new()).await.unwrap();
        assert_eq!(found(&place).await, (model.clone(), model.len()));
        assert_eq!(report.attempts, 2);
        if folds_too {
            assert_eq!((report.shards, report.points_folded), (0, 0), "the other one did it all");
        } else {
            assert_eq!((report.points_folded, files(&place.store).await), (60, 2), "nothing was built twice");
        }
    }
}

/// Whoever ended the logs may be about to replace the collection; or have died, or have come back to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_log_is_opened_once_its_end_is_old_or_it_was_gone_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Store::open(dir.to_str().unwrap(), &StoreOptions::default()).await.unwrap();
    let place = Place { folder, store };
    created(&place).await;
    let (catalog, mut model) = (place.catalog(), Model::new());
    write(&catalog, &mut model, (&[1, 2, 3, 4, 5, 6], 1), &[]).await;
    let end = async || {
        let collection = catalog.open(&name()).await.unwrap();
        for shard in 0..SHARDS {
            log(&catalog, &collection, shard).end().await.unwrap();
        }
    };
    let is_ended = async || {
        let collection = catalog.open(&name()).await.unwrap();
        log(&catalog, &collection, 0).append(Part::new(vec![Change::Remove(vec![id(99)])]).unwrap()).await
            == Err(AppendError::Ended)
    };
    end().await;
    run(&place, force()).await.unwrap();
    assert_eq!(found(&place).await, (model.clone(), model.len()));
    assert!(is_ended().await, "a moment ago");

    let old = std::time::SystemTime::now() - std::time::Duration::from_millis(KEPT_MS_MIN + 60_000);
    let generation = catalog.open(&name()).await.unwrap().doc.generation.clone();
    for shard in 0..SHARDS {
        for file in fs::read_dir(dir.join(format!("collections/{}/{generation}/{shard}/log", name()))).unwrap() {
            fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(old).unwrap();
        }
    }
    let report = run(&place, CompactOptions::default()).await.unwrap();
    assert_eq!((report.shards, report.frames), (u64::from(SHARDS), 0));
    write(&catalog, &mut model, (&[7, 8, 9], 2), &[1]).await;
    assert_eq!(found(&place).await.0, model);

    end().await;
    assert!(is_ended().await);
    run(&place, CompactOptions { opens: true, ..CompactOptions::default() }).await.unwrap();
    write(&catalog, &mut model, (&[9, 10], 3), &[]).await;
    run(&place, force()).await.unwrap();
    assert_eq!(found(&place).await, (model.clone(), model.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_die_at_any_step() {
    for fault in [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter] {
        for step in 0.. {
            let objects = Arc::new(InMemory::new());
            let healthy = Faults::new(Arc::clone(&objects) as _).into_store();
            let place = Place { folder: tempfile::tempdir().unwrap(), store: healthy };
            created(&place).await;
            let (catalog, mut model) = (place.catalog(), Model::new());
            // So that there is something to merge and something dead.
            for round in 0..3 {
                write(&catalog, &mut model, (&(round * 20..round * 20 + 22).collect::<Vec<_>>(), round), &[]).await;
                run(&place, force()).await.unwrap();
            }
            write(&catalog, &mut model, (&(50..75).collect::<Vec<_>>(), 9), &[3]).await;
            let faults = Faults::new(objects).at(step, fault);
            let steps = faults.steps();
            let faulty = faults.into_store();
            let outcome = compact(job(&place, force()), &faulty, Arc::new(Unwatched), CancellationToken::new()).await;
            place.assert_tidy();
            let dies = matches!(fault, Fault::DieBefore | Fault::DieAfter);
            assert!(outcome.is_ok() || dies, "{fault:?} at {step}: {outcome:?}");
            assert_eq!(found(&place).await.0, model, "{fault:?} at {step}");
            run(&place, force()).await.unwrap();
            assert_eq!(found(&place).await, (model.clone(), model.len()), "{fault:?} at {step}");
            if steps.count() <= step {
                assert!(step >= 8, "{step} steps");
                break;
            }
        }
    }
}
