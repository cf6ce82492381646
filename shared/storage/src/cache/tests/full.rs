//! Disks that are smaller than they say, and files that are gone and still mapped.

use std::sync::Mutex;

use super::*;

/// Directories that take no more than so many bytes.
static SMALL: Mutex<Vec<(PathBuf, u64)>> = Mutex::new(Vec::new());

/// Bytes that a directory's files take, those that are removed and still mapped included.
fn taken(dir: &Path) -> u64 {
    let named: u64 = fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512)
        .sum();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let removed = maps.lines().filter(|line| line.ends_with("(deleted)") && line.contains(dir.to_str().unwrap()));
    let bytes = |line: &str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        u64::from_str_radix(end, 16).unwrap() - u64::from_str_radix(start, 16).unwrap()
    };
    named + removed.map(bytes).sum::<u64>()
}

/// What a write of so many bytes beside a file says.
pub(in super::super) fn check(path: Option<&Path>, bytes: u64) -> io::Result<()> {
    let Some(dir) = path.and_then(Path::parent) else { return Ok(()) };
    let small = SMALL.lock().unwrap().iter().find(|(small, _)| small == dir).map(|(_, bytes)| *bytes);
    if small.is_some_and(|small| taken(dir) + bytes > small) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// A cache on a disk that takes two segments of a MiB and says that it has plenty.
fn on_small_disk(dir: &Path) -> Cache {
    SMALL.lock().unwrap().push((dir.join("v1"), 2 * MIB as u64 + 64 * KIB as u64));
    open(Some(dir), 100 * MIB).with_fallback(MIB as u64 - 1)
}

async fn held(fixture: &Fixture, cache: &Cache, n: usize) -> Cached {
    cache.segment(&fixture.store, &fixture.collection, 0, fixture.entry(n)).await.unwrap()
}

#[tokio::test]
async fn a_disk_that_proves_full_has_all_evicted_and_is_tried_once_more() {
    let (fixture, dir) = (Fixture::new(&[MIB; 5]).await, tempfile::tempdir().unwrap());
    let cache = on_small_disk(dir.path());
    fixture.get(&cache, 0).await;
    fixture.get(&cache, 1).await;
    assert_eq!(fixture.get(&cache, 2).await, (false, 2), "it was fetched twice");
    assert_eq!((files(dir.path(), "seg").len(), files(dir.path(), "part").len()), (1, 0));
    assert_eq!(fixture.get(&cache, 2).await, (true, 0));

    let two = [held(&fixture, &cache, 2).await, held(&fixture, &cache, 3).await];
    assert_eq!(cache.held_bytes(), 0, "they are kept");
    let error = fixture.fail(&cache, 4).await;
    assert_eq!(error.kind, ErrorKind::Full, "{error}");
    assert!(error.why.contains("more space") && error.why.contains("do not fit"), "{error}");
    assert_eq!((files(dir.path(), "seg").len(), files(dir.path(), "part").len()), (0, 0), "all went, nothing is left");
    assert_eq!(cache.held_bytes(), 2 * MIB as u64, "and takes its space as long as somebody reads it");
    assert!(two.iter().all(|one| !one.is_kept()));
    assert!(two[0].as_ref() == fixture.contents[2] && two[1].as_ref() == fixture.contents[3]);
    drop(two);
    assert_eq!(cache.held_bytes(), 0);
    assert!(!fixture.get(&cache, 4).await.0);
    assert!(fixture.get(&cache, 4).await.0, "it is kept");
}

#[tokio::test]
async fn who_keeps_bytes_is_told_when_they_are_given_up() {
    for on_disk in [true, false] {
        let (fixture, dir) = (Fixture::new(&[MIB; 4]).await, tempfile::tempdir().unwrap());
        let cache = open(on_disk.then_some(dir.path()), 2 * MIB);
        let (told, kept) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (telling, letting_go) = (Arc::clone(&told), Arc::clone(&kept));
        cache.on_eviction(Arc::new(move |id: &str| {
            telling.lock().unwrap().push(id.to_owned());
            letting_go.lock().unwrap().clear();
        }));
        let first = held(&fixture, &cache, 0).await;
        kept.lock().unwrap().push(first);
        fixture.get(&cache, 1).await;
        assert_eq!((cache.room_bytes().await, cache.held_bytes()), (2 * MIB as u64, 0), "all of it can be evicted");
        let query = held(&fixture, &cache, 1).await;
        fixture.get(&cache, 2).await;
        assert_eq!(*told.lock().unwrap(), [fixture.entry(0).id.clone()]);
        assert_eq!(cache.held_bytes(), 0, "it was let go");
        fixture.get(&cache, 3).await;
        assert_eq!(*told.lock().unwrap(), [0, 1].map(|n| fixture.entry(n).id.clone()));
        assert_eq!(cache.held_bytes(), MIB as u64, "a query reads it");
        assert_eq!(cache.room_bytes().await, MIB as u64);
        assert!(!query.is_kept());
        drop(query);
        assert_eq!((cache.room_bytes().await, cache.held_bytes()), (2 * MIB as u64, 0));
    }
}

#[tokio::test]
async fn what_others_removed_is_given_up() {
    let (fixture, dir) = (Fixture::new(&[MIB; 2]).await, tempfile::tempdir().unwrap());
    let cache = open(Some(dir.path()), 2 * MIB);
    let query = held(&fixture, &cache, 0).await;
    files(dir.path(), "seg").iter().for_each(|file| fs::remove_file(file).unwrap());
    fixture.get(&cache, 1).await;
    assert_eq!(cache.held_bytes(), MIB as u64);
    assert!(!query.is_kept());
}

#[tokio::test]
async fn uses_that_were_not_written_down_count() {
    let (fixture, dir) = (Fixture::new(&[MIB; 3]).await, tempfile::tempdir().unwrap());
    let mut cache = open(Some(dir.path()), 2 * MIB);
    // As between two times of writing it down.
    Arc::get_mut(cache.disk.as_mut().unwrap()).unwrap().touch_every = Duration::from_secs(3_600);
    fixture.get(&cache, 0).await;
    fixture.get(&cache, 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(fixture.get(&cache, 0).await.0);
    fixture.get(&cache, 2).await;
    assert!(fixture.get(&cache, 0).await.0, "the other one was evicted");
}
