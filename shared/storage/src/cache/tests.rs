pub(super) mod full;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use object_store::{ObjectStoreExt as _, memory::InMemory};

use super::*;
use crate::{
    Catalog, Meter, StoreOptions,
    testing::{
        conformance::{content, name, publish},
        faults::{Fault, Faults, Steps},
    },
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A collection of segments in memory, behind a client whose faults can be set.
struct Fixture {
    memory: Arc<InMemory>,
    store: Store,
    steps: Steps,
    collection: Collection,
    contents: Vec<Vec<u8>>,
}

impl Fixture {
    async fn new(sizes: &[usize]) -> Self {
        let contents: Vec<_> = sizes.iter().zip(1..).map(|(&bytes, seed)| content(bytes, seed)).collect();
        let memory = Arc::new(InMemory::new());
        let faults = Faults::new(Arc::clone(&memory) as _);
        let steps = faults.steps();
        let store = faults.into_store();
        let slices: Vec<_> = contents.iter().map(Vec::as_slice).collect();
        let collection = publish(&Catalog::new(store.clone()), "c", &slices).await;
        Self { memory, store, steps, collection, contents }
    }

    fn entry(&self, n: usize) -> &SegmentEntry {
        &self.collection.manifests[0].segments[n]
    }

    /// Fetches a segment and checks its bytes. Whether it was there, and how many GETs it took.
    async fn get(&self, cache: &Cache, n: usize) -> (bool, u64) {
        let meter = Arc::new(Meter::default());
        let store = self.store.metered(Arc::clone(&meter));
        let cached = cache.segment(&store, &self.collection, 0, self.entry(n)).await.unwrap();
        assert!(cached.as_ref() == self.contents[n], "segment {n} has other bytes");
        assert_eq!(cached.as_ref().as_ptr() as usize % 4096, 0, "it begins at a page boundary");
        (cached.hit, meter.usage().gets)
    }

    async fn fail(&self, cache: &Cache, n: usize) -> Error {
        cache.segment(&self.store, &self.collection, 0, self.entry(n)).await.unwrap_err()
    }
}

fn open(dir: Option<&Path>, bytes_max: usize) -> Cache {
    let options = CacheOptions { dir: dir.map(Path::to_owned), bytes_max: bytes_max as u64, populate: true };
    let mut cache = Cache::open(options).unwrap();
    if let Some(disk) = &mut cache.disk {
        Arc::get_mut(disk).unwrap().touch_every = Duration::ZERO;
    }
    cache
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("v1")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_second_process_finds_what_a_first_one_fetched() {
    let (fixture, dir) = (Fixture::new(&[MIB, 20 * MIB + 1]).await, tempfile::tempdir().unwrap());
    let cache = open(Some(dir.path()), 64 * MIB);
    assert_eq!(fixture.get(&cache, 0).await, (false, 1));
    assert_eq!(fixture.get(&cache, 1).await, (false, 3), "8 MiB each");
    assert_eq!(fixture.get(&cache, 1).await, (true, 0));
    assert_eq!(fixture.get(&open(Some(dir.path()), 64 * MIB), 1).await, (true, 0));
    assert_eq!((files(dir.path(), "seg").len(), files(dir.path(), "part").len()), (2, 0));
}

#[tokio::test]
async fn damaged_files_are_fetched_again() {
    let (fixture, dir) = (Fixture::new(&[100 * KIB]).await, tempfile::tempdir().unwrap());
    fixture.get(&open(Some(dir.path()), MIB), 0).await;
    let file = files(dir.path(), "seg").remove(0);
    let damages: [fn(&Path); 4] = [
        |file| fs::write(file, b"").unwrap(),
        |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(50_000).unwrap(),
        |file| fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"x").unwrap(),
        |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[70_000] ^= 4;
            fs::write(file, bytes).unwrap();
        },
    ];
    for damage in damages {
        damage(&file);
        assert_eq!(fixture.get(&open(Some(dir.path()), MIB), 0).await, (false, 1));
        assert_eq!(fixture.get(&open(Some(dir.path()), MIB), 0).await, (true, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_one_downloads() {
    for on_disk in [true, false] {
        let (fixture, dir) = (Arc::new(Fixture::new(&[20 * MIB]).await), tempfile::tempdir().unwrap());
        let cache = Arc::new(open(on_disk.then_some(dir.path()), 64 * MIB));
        fixture.steps.set_always(Some(Fault::Delay(Duration::from_millis(20))));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (fixture, cache) = (Arc::clone(&fixture), Arc::clone(&cache));
                tokio::spawn(async move { fixture.get(&cache, 0).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == (false, 3)).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == (true, 0)).count(), 15, "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_takes_over_from_who_leaves_and_shares_a_failure() {
    let (fixture, dir) = (Arc::new(Fixture::new(&[MIB]).await), tempfile::tempdir().unwrap());
    let cache = Arc::new(open(Some(dir.path()), 64 * MIB));
    let ask = || {
        let (fixture, cache) = (Arc::clone(&fixture), Arc::clone(&cache));
        tokio::spawn(async move { cache.segment(&fixture.store, &fixture.collection, 0, fixture.entry(0)).await })
    };
    // The leader never gets an answer and is cancelled.
    fixture.steps.set_always(Some(Fault::Hang));
    let leader = ask();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waiter = ask();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.steps.set_always(None);
    leader.abort();
    assert!(!waiter.await.unwrap().unwrap().hit);
    assert_eq!(files(dir.path(), "part"), Vec::<PathBuf>::new(), "the leader's file is gone");

    // A failure is everybody's, and is found out once.
    cache
        .disk
        .as_ref()
        .unwrap()
        .forget(&Wanted::new(&fixture.store, &fixture.collection, 0, fixture.entry(0)).unwrap().name);
    fs::remove_file(files(dir.path(), "seg").remove(0)).unwrap();
    fixture.steps.set_always(Some(Fault::Busy));
    let before = fixture.steps.count();
    let waiters: Vec<_> = (0..8).map(|_| ask()).collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap_err().kind, ErrorKind::Unavailable);
    }
    let attempts = fixture.steps.count() - before;
    assert!(attempts <= 3 * 10, "{attempts} attempts for 8 who waited");
    fixture.steps.set_always(None);
    assert!(!ask().await.unwrap().unwrap().hit, "a failure is not remembered");
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    for on_disk in [true, false] {
        let (fixture, dir) = (Fixture::new(&[MIB; 5]).await, tempfile::tempdir().unwrap());
        let cache = open(on_disk.then_some(dir.path()), 3 * MIB);
        for n in [0, 1, 2] {
            assert!(!fixture.get(&cache, n).await.0);
        }
        assert!(fixture.get(&cache, 0).await.0);
        assert!(!fixture.get(&cache, 3).await.0, "evicts 1");
        assert!(fixture.get(&cache, 0).await.0);
        assert!(fixture.get(&cache, 2).await.0);
        assert!(!fixture.get(&cache, 1).await.0, "evicts 3");
        assert!(!fixture.get(&cache, 3).await.0, "evicts 0");
        assert!(fixture.get(&cache, 2).await.0);
    }
}

#[tokio::test]
async fn recency_and_budget_hold_across_processes() {
    let (fixture, dir) = (Fixture::new(&[MIB; 4]).await, tempfile::tempdir().unwrap());
    let (first, second) = (open(Some(dir.path()), 2 * MIB), open(Some(dir.path()), 2 * MIB));
    fixture.get(&first, 0).await;
    fixture.get(&first, 1).await;
    assert!(fixture.get(&second, 0).await.0, "the second process uses 0 last");
    assert!(!fixture.get(&second, 2).await.0, "and evicts 1, which the first one has mapped");
    // The first one still serves it once, notes that its file is gone, and fetches it the next time.
    assert!(fixture.get(&first, 1).await.0);
    assert!(!fixture.get(&first, 1).await.0);
    assert_eq!(files(dir.path(), "seg").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_holds_under_load() {
    let (fixture, dir) = (Arc::new(Fixture::new(&[MIB; 10]).await), tempfile::tempdir().unwrap());
    let cache = Arc::new(open(Some(dir.path()), 3 * MIB + 1));
    let tasks: Vec<_> = (0..40)
        .map(|task| {
            let (fixture, cache) = (Arc::clone(&fixture), Arc::clone(&cache));
            tokio::spawn(async move {
                for round in 0..5 {
                    fixture.get(&cache, (task * 7 + round * 3) % 10).await;
                }
            })
        })
        .collect();
    let (watched, disk) = (dir.path().join("v1"), Arc::clone(cache.disk.as_ref().unwrap()));
    let watcher = tokio::task::spawn_blocking(move || {
        let mut most = 0;
        for _ in 0..200 {
            let alone = disk.room.lock().unwrap();
            let entries = fs::read_dir(&watched).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
            // Of an unfinished file a byte says what is written.
            most = most.max(entries.map(|metadata| metadata.len() / MIB as u64 * MIB as u64).sum::<u64>());
            drop(alone);
            std::thread::sleep(Duration::from_millis(1));
        }
        most
    });
    for task in tasks {
        task.await.unwrap();
    }
    let most = watcher.await.unwrap();
    assert!((1..=3 * MIB as u64).contains(&most), "{most} bytes at once");
    let after = files(dir.path(), "seg");
    assert!(after.len() <= 3 && files(dir.path(), "part").is_empty(), "{after:?}");
}

#[tokio::test]
async fn what_is_larger_than_the_budget_passes_through() {
    let (fixture, dir) = (Fixture::new(&[MIB, 5 * MIB]).await, tempfile::tempdir().unwrap());
    let cache = open(Some(dir.path()), 2 * MIB);
    fixture.get(&cache, 0).await;
    let large = cache.segment(&fixture.store, &fixture.collection, 0, fixture.entry(1)).await.unwrap();
    assert!(!large.hit && large.as_ref() == fixture.contents[1]);
    assert!(fixture.get(&cache, 1).await.0, "shared while somebody uses it");
    assert_eq!((files(dir.path(), "seg").len(), files(dir.path(), "part").len()), (1, 0), "nothing was evicted for it");
    assert!(fixture.get(&cache, 0).await.0);
    drop(large);
    assert!(!fixture.get(&cache, 1).await.0, "and gone afterwards");

    let error = fixture.fail(&open(None, 2 * MIB), 1).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.why.contains("5242880 bytes do not fit in the 2097152") && error.why.contains("budget"), "{error}");
    let options = CacheOptions { dir: None, bytes_max: 0, populate: false };
    assert_eq!(Cache::open(options).unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_full_disk_evicts_or_falls_back_to_memory() {
    let (fixture, dir) = (Fixture::new(&[MIB; 3]).await, tempfile::tempdir().unwrap());
    let mut cache = open(Some(dir.path()), 100 * MIB);
    fixture.get(&cache, 0).await;
    fixture.get(&cache, 1).await;
    Arc::get_mut(cache.disk.as_mut().unwrap()).unwrap().free_bytes = |_| 0;
    assert!(!fixture.get(&cache, 2).await.0);
    assert_eq!(files(dir.path(), "seg").len(), 2, "the oldest made room");
    assert!(fixture.get(&cache, 1).await.0);
}

#[tokio::test]
async fn a_directory_that_is_deleted_is_made_again() {
    let (fixture, dir) = (Fixture::new(&[MIB; 2]).await, tempfile::tempdir().unwrap());
    let cache = open(Some(dir.path()), 3 * MIB);
    fixture.get(&cache, 0).await;
    let held = cache.segment(&fixture.store, &fixture.collection, 0, fixture.entry(0)).await.unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(held.as_ref() == fixture.contents[0]);
    assert!(!fixture.get(&cache, 1).await.0);
    assert!(fixture.get(&cache, 1).await.0);
    assert!(!fixture.get(&cache, 0).await.0);
    assert_eq!(files(dir.path(), "seg").len(), 2);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_replaced_by_memory() {
    let (fixture, dir) = (Fixture::new(&[MIB, MIB, 3 * MIB]).await, tempfile::tempdir().unwrap());
    let cache = open(Some(dir.path()), 2 * MIB);
    fixture.get(&cache, 0).await;
    // Not even root can create a file there.
    fs::remove_dir_all(dir.path().join("v1")).unwrap();
    symlink("/proc/self/fdinfo", dir.path().join("v1")).unwrap();
    assert!(!fixture.get(&cache, 1).await.0);
    assert!(fixture.get(&cache, 1).await.0, "kept in memory");
    let error = fixture.fail(&cache, 2).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let shown = dir.path().display().to_string();
    assert!(error.why.contains(&shown) && error.why.contains("repair"), "{error}");
    let error = fixture.fail(&open(Some(dir.path()), 2 * MIB).with_fallback(MIB as u64 - 1), 1).await;
    assert!(
        error.kind == ErrorKind::Unavailable && error.why.contains("1048576 bytes do not fit in the 1048575"),
        "{error}"
    );
    // A file where the directory should be is said at once.
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let options = CacheOptions { dir: Some(file.clone()), bytes_max: 1, populate: false };
    let error = Cache::open(options).unwrap_err();
    assert!(error.what.contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn what_the_store_has_wrong_is_named() {
    for on_disk in [true, false] {
        let (fixture, dir) = (Fixture::new(&[MIB, 10 * MIB]).await, tempfile::tempdir().unwrap());
        let cache = open(on_disk.then_some(dir.path()), 64 * MIB);
        for n in [0, 1] {
            let key = fixture.collection.segment_key(0, fixture.entry(n)).unwrap();
            let path = object_store::path::Path::from(key.as_str());
            let mut flipped = fixture.contents[n].clone();
            flipped[MIB / 2] ^= 1;
            for (wrong, sign) in [
                (flipped, "checksum"),
                (fixture.contents[n][..MIB - 1].to_vec(), "1048575 bytes long"),
                (Vec::new(), "0 bytes long"),
            ] {
                fixture.memory.put(&path, wrong.into()).await.unwrap();
                let error = fixture.fail(&cache, n).await;
                assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
                assert!(error.what.contains(key.as_str()) && error.why.contains(sign), "{error}");
            }
            fixture.memory.delete(&path).await.unwrap();
            let error = fixture.fail(&cache, n).await;
            assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
            fixture.memory.put(&path, fixture.contents[n].clone().into()).await.unwrap();
            assert!(!fixture.get(&cache, n).await.0);
        }
        if on_disk {
            assert!(files(dir.path(), "part").is_empty());
        }
    }
}

#[tokio::test]
async fn absurd_entries_are_refused() {
    let (fixture, dir) = (Fixture::new(&[KIB]).await, tempfile::tempdir().unwrap());
    for dir in [Some(dir.path()), None] {
        let cache = open(dir, MIB);
        let sound = fixture.entry(0).clone();
        for entry in [
            SegmentEntry { id: "../../../etc/passwd".to_owned(), ..sound.clone() },
            SegmentEntry { checksum: "x".to_owned(), ..sound.clone() },
            SegmentEntry { bytes: 0, ..sound.clone() },
            SegmentEntry { bytes: u64::MAX, ..sound.clone() },
            SegmentEntry { bytes: 1 << 50, ..sound.clone() },
        ] {
            let error = cache.segment(&fixture.store, &fixture.collection, 0, &entry).await.unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Unavailable), "{error}");
        }
    }
}

/// The process that is killed by the next test.
#[tokio::test]
async fn killed_child() {
    let Ok(dir) = std::env::var("CAIRN_TEST_KILLED_DIR") else { return };
    let dir = Path::new(&dir);
    let store = Store::open(dir.join("store").to_str().unwrap(), &StoreOptions::default()).await.unwrap();
    let collection = Catalog::new(store).open(&name("c")).await.unwrap();
    let client = Faults::new(crate::store::local_client(&dir.join("store")));
    // After so many answers there is never one again.
    let answers: u64 = std::env::var("CAIRN_TEST_KILLED_AFTER").unwrap().parse().unwrap();
    let slow = (answers..answers + 9).fold(client, |client, step| client.at(step, Fault::Hang)).into_store();
    let cache = open(Some(&dir.join("cache")), 64 * MIB);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!("downloading");
    });
    let _ = cache.segment(&slow, &collection, 0, &collection.manifests[0].segments[0]).await;
}

/// A process that downloads, and hangs after so many parts.
fn downloading(dir: &Path, parts: u64) -> std::process::Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cache::tests::killed_child", "--nocapture"])
        .env("CAIRN_TEST_KILLED_DIR", dir)
        .env("CAIRN_TEST_KILLED_AFTER", parts.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(std::result::Result::ok).any(|line| line.contains("downloading")), "the child ended early");
    child
}

/// How many parts of the only unfinished file are written.
fn written(dir: &Path) -> usize {
    let unfinished = files(dir, "part");
    let [file] = &*unfinished else { panic!("{unfinished:?}") };
    let bytes = fs::read(file).unwrap();
    let whole = usize::try_from(partial::segment_bytes(bytes.len() as u64)).unwrap();
    bytes[whole..].iter().filter(|mark| **mark == 1).count()
}

/// Six parts.
const INTERRUPTED_BYTES: usize = 40 * MIB + 77;

#[tokio::test]
async fn after_a_fault_only_what_is_missing_is_fetched() {
    let fixture = Fixture::new(&[INTERRUPTED_BYTES]).await;
    for step in 0..6 {
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            let dir = tempfile::tempdir().unwrap();
            let cache = open(Some(dir.path()), 64 * MIB);
            let meter = Arc::new(Meter::default());
            let faulty = Faults::new(Arc::clone(&fixture.memory) as _).at(step, fault).into_store();
            let faulty = faulty.metered(Arc::clone(&meter));
            let error = cache.segment(&faulty, &fixture.collection, 0, fixture.entry(0)).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            let first = meter.usage().store_bytes;
            let kept = if step == 0 { 0 } else { written(dir.path()) };
            assert!(
                kept >= usize::try_from(first / RANGE_BYTES).unwrap(),
                "step {step}: {kept} parts of {first} bytes"
            );

            // Another process with the same directory.
            let cache = if step % 2 == 0 { cache } else { open(Some(dir.path()), 64 * MIB) };
            let meter = Arc::new(Meter::default());
            let store = fixture.store.metered(Arc::clone(&meter));
            let cached = cache.segment(&store, &fixture.collection, 0, fixture.entry(0)).await.unwrap();
            assert!(!cached.hit && cached.as_ref() == fixture.contents[0], "step {step}");
            let second = meter.usage();
            assert_eq!(second.gets, 6 - kept as u64, "step {step}");
            assert!(
                first + second.store_bytes <= INTERRUPTED_BYTES as u64 + RANGE_BYTES,
                "step {step}: {first} and {second:?}"
            );
            assert_eq!((files(dir.path(), "seg").len(), files(dir.path(), "part").len()), (1, 0));
            assert_eq!(fixture.get(&open(Some(dir.path()), 64 * MIB), 0).await, (true, 0), "it is what it should be");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cancelled_leaves_what_he_has() {
    let (fixture, dir) = (Arc::new(Fixture::new(&[INTERRUPTED_BYTES]).await), tempfile::tempdir().unwrap());
    let cache = Arc::new(open(Some(dir.path()), 64 * MIB));
    // The third part never comes: the others do.
    let slow = Faults::new(Arc::clone(&fixture.memory) as _).at(2, Fault::Hang).into_store();
    let asking = {
        let (fixture, cache) = (Arc::clone(&fixture), Arc::clone(&cache));
        tokio::spawn(async move { cache.segment(&slow, &fixture.collection, 0, fixture.entry(0)).await.map(|_| ()) })
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while files(dir.path(), "part").is_empty() || written(dir.path()) < 5 {
        assert!(std::time::Instant::now() < deadline, "{:?}", files(dir.path(), "part"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(fixture.get(&cache, 0).await, (false, 1), "the part that never came");
    assert!(files(dir.path(), "part").is_empty());
}

#[tokio::test]
async fn what_a_killed_process_fetched_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store").to_str().unwrap(), &StoreOptions::default()).await.unwrap();
    let bytes = content(INTERRUPTED_BYTES, 1);
    let collection = publish(&Catalog::new(store.clone()), "c", &[&bytes]).await;
    let mut child = downloading(dir.path(), 3);
    let cached = dir.path().join("cache");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while written(&cached) < 3 {
        assert!(std::time::Instant::now() < deadline, "{} parts", written(&cached));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let entry = &collection.manifests[0].segments[0];
    // Under the address that the child knows it by.
    let store = Faults::new(crate::store::local_client(&dir.path().join("store"))).into_store();
    let fetch = async |cache: &Cache| {
        let meter = Arc::new(Meter::default());
        let segment = cache.segment(&store.metered(Arc::clone(&meter)), &collection, 0, entry).await.unwrap();
        assert!(segment.as_ref() == bytes);
        meter.usage().gets
    };
    // While he lives his file is his.
    let (cache, other) = (open(Some(&cached), 128 * MIB), dir.path().join("other"));
    assert_eq!((written(&cached), fetch(&cache).await, written(&cached)), (3, 6, 3));
    child.kill().unwrap();
    child.wait().unwrap();
    fs::create_dir_all(other.join("v1")).unwrap();
    let unfinished = files(&cached, "part").remove(0);
    fs::rename(&unfinished, other.join("v1").join(unfinished.file_name().unwrap())).unwrap();
    assert_eq!(fetch(&open(Some(&other), 64 * MIB)).await, 3, "what he had is not fetched again");
}

#[tokio::test]
async fn a_damaged_unfinished_file_is_begun_anew() {
    let fixture = Fixture::new(&[INTERRUPTED_BYTES]).await;
    type Damage = fn(&Path);
    let damages: [(Damage, u64); 3] = [
        // The checksum tells when all else is there: what was missing, and then everything.
        (|file| flip(file, 100), 3 + 6),
        (|file| flip(file, 8 * MIB + 5), 3 + 6),
        (|file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(9 << 20).unwrap(), 6),
    ];
    for (damage, gets) in damages {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faults::new(Arc::clone(&fixture.memory) as _).at(3, Fault::DieBefore).into_store();
        let cache = open(Some(dir.path()), 64 * MIB);
        cache.segment(&faulty, &fixture.collection, 0, fixture.entry(0)).await.unwrap_err();
        assert_eq!(written(dir.path()), 3);
        damage(&files(dir.path(), "part")[0]);
        assert_eq!(fixture.get(&cache, 0).await, (false, gets));
        assert!(files(dir.path(), "part").is_empty());
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn unfinished_files_make_room_as_segments_do() {
    let fixture = Fixture::new(&[INTERRUPTED_BYTES, 30 * MIB]).await;
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faults::new(Arc::clone(&fixture.memory) as _).at(3, Fault::DieBefore).into_store();
    let cache = open(Some(dir.path()), 48 * MIB);
    cache.segment(&faulty, &fixture.collection, 0, fixture.entry(0)).await.unwrap_err();
    assert_eq!(written(dir.path()), 3);
    assert!(!fixture.get(&cache, 1).await.0);
    assert_eq!((files(dir.path(), "seg").len(), files(dir.path(), "part").len()), (1, 0));
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store").to_str().unwrap(), &StoreOptions::default()).await.unwrap();
    let bytes = content(100 * KIB, 1);
    let collection = publish(&Catalog::new(store.clone()), "c", &[&bytes]).await;
    let mut child = downloading(dir.path(), 0);
    let cached = dir.path().join("cache");
    assert_eq!(files(&cached, "part").len(), 1);
    drop(open(Some(&cached), MIB));
    assert_eq!(files(&cached, "part").len(), 1, "a download that lives is left alone");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files(&cached, "part").len(), 1);
    let cache = open(Some(&cached), MIB);
    assert_eq!(files(&cached, "part").len(), 0);
    let segment = cache.segment(&store, &collection, 0, &collection.manifests[0].segments[0]).await.unwrap();
    assert!(segment.as_ref() == bytes);
}

#[test]
fn a_cache_can_be_shared() {
    fn check<T: Send + Sync + 'static>() {}
    fn check_future<F: Future + Send>(
        _: impl Fn(&'static Cache, &'static Store, &'static Collection, &'static SegmentEntry) -> F,
    ) {
    }
    check::<Cache>();
    check::<Cached>();
    check_future(|cache, store, collection, entry| cache.segment(store, collection, 0, entry));
}
