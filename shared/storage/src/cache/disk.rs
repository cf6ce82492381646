//! The cache directory.
//!
//! ```text
//! <dir>/v1/<segment>-<hash>.seg           complete and verified; its time of change is its last use
//! <dir>/v1/<segment>-<hash>.<random>.tmp  a download; as long as the file will be, locked by its process
//! ```
//!
//! Several processes may share it, and none talks to the others: a file appears complete by a rename, to which a second
//! one of the same segment does no harm; space is counted by looking, so the budget holds exactly within a process and,
//! but for files that change their names at that moment, between them; a download that died is known by its lock, which
//! the operating system gave back.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use memmap2::Mmap;
use xxhash_rust::xxh3::xxh3_64;

use super::{budget::Budget, mmap};

const LAYOUT: &str = "v1";
/// How often the last use of an open segment is written down.
const TOUCH_EVERY: Duration = Duration::from_secs(1);
/// A download without a lock (on a file system that has none) that is older than this is dead.
const TEMP_AGE_MAX: Duration = Duration::from_secs(3_600);

/// The cache directory.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    budget: Budget,
    populate: bool,
    /// What this process has mapped.
    opened: RwLock<HashMap<String, Opened>>,
    /// Who counts and takes room does it alone.
    pub(super) room: Mutex<()>,
    epoch: Instant,
    pub(super) touch_every: Duration,
    /// Free bytes of the file system.
    pub(super) free_bytes: fn(&Path) -> u64,
}

#[derive(Debug)]
struct Opened {
    bytes: Held,
    /// Milliseconds from the epoch to when its last use was written down.
    touched_ms: AtomicU64,
}

#[derive(Debug)]
enum Held {
    /// It has a file.
    Kept(Arc<Mmap>),
    /// Too large for the budget: it lives as long as somebody uses it.
    Passing(Weak<Mmap>),
}

/// A temporary file; removed when dropped.
#[derive(Debug)]
pub(super) struct Temp(Option<PathBuf>);

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Room for a download.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) file: File,
    pub(super) temp: Temp,
    /// Whether the file may stay.
    pub(super) keep: bool,
}

/// A segment's file.
#[derive(Debug)]
struct Resident {
    name: String,
    bytes: u64,
    used: SystemTime,
}

/// What a look at the directory finds.
#[derive(Debug)]
struct Contents {
    residents: Vec<Resident>,
    /// Bytes of downloads, as long as they will be.
    in_flight_bytes: u64,
    /// The part of them that takes no space on the disk yet.
    unwritten_bytes: u64,
}

fn free_bytes(dir: &Path) -> u64 {
    // Unknown is no reason to evict: a full disk will say so itself.
    rustix::fs::statvfs(dir).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

impl Disk {
    pub(super) fn open(dir: &Path, bytes_max: u64, populate: bool) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?.join(LAYOUT);
        fs::create_dir_all(&dir)?;
        let disk = Self {
            dir,
            budget: Budget::new(bytes_max),
            populate,
            opened: RwLock::default(),
            room: Mutex::default(),
            epoch: Instant::now(),
            touch_every: TOUCH_EVERY,
            free_bytes,
        };
        disk.sweep()?;
        Ok(disk)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.seg"))
    }

    /// Removes what dead processes left half done.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") && is_dead(&path) {
                tracing::debug!(path = %path.display(), "an unfinished download is removed");
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// A segment that this process has mapped. Notes the use, and forgets the segment when its file is gone.
    pub(super) async fn opened(disk: &Arc<Self>, name: &str) -> Option<Arc<Mmap>> {
        let now_ms = u64::try_from(disk.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (bytes, touch) = {
            let opened = disk.opened.read().unwrap_or_else(PoisonError::into_inner);
            let one = opened.get(name)?;
            match &one.bytes {
                Held::Passing(bytes) => return bytes.upgrade(),
                Held::Kept(bytes) => {
                    let due = one.touched_ms.load(Relaxed) + u64::try_from(disk.touch_every.as_millis()).unwrap_or(0)
                        <= now_ms;
                    if due {
                        one.touched_ms.store(now_ms, Relaxed);
                    }
                    (Arc::clone(bytes), due)
                }
            }
        };
        if touch {
            let name = name.to_owned();
            let _ = super::with_disk(disk, move |disk| {
                disk.touch(&name);
                Ok(())
            })
            .await;
        }
        Some(bytes)
    }

    fn touch(&self, name: &str) {
        let touched = File::open(self.path(name)).and_then(|file| file.set_modified(SystemTime::now()));
        // On a read-only directory nothing is written down, and nothing is evicted either.
        if touched.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.forget(name);
        }
    }

    pub(super) fn forget(&self, name: &str) {
        self.opened.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn hold(&self, name: &str, bytes: Held) {
        let touched_ms = AtomicU64::new(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(0));
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, one| !matches!(&one.bytes, Held::Passing(bytes) if bytes.strong_count() == 0));
        opened.insert(name.to_owned(), Opened { bytes, touched_ms });
    }

    /// Maps a file that is there already, if it is what it should be; otherwise removes it.
    pub(super) fn reuse(&self, name: &str, bytes: u64, checksum: u64) -> io::Result<Option<Arc<Mmap>>> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?.len();
        let sound = if found == bytes {
            let map = mmap::map(&file, bytes)?;
            mmap::advise_verification(&map);
            Some(map).filter(|map| xxh3_64(map) == checksum)
        } else {
            None
        };
        let Some(map) = sound else {
            tracing::warn!(path = %path.display(), bytes, found, "a damaged cache file is removed and fetched again");
            fs::remove_file(&path)?;
            return Ok(None);
        };
        mmap::advise(&map, self.populate);
        let _ = file.set_modified(SystemTime::now());
        let map = Arc::new(map);
        self.hold(name, Held::Kept(Arc::clone(&map)));
        Ok(Some(map))
    }

    /// Makes room, by evicting if that helps, and creates the file to download into.
    pub(super) fn reserve(&self, name: &str, bytes: u64) -> io::Result<Reserved> {
        let _alone = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been deleted under us.
        fs::create_dir_all(&self.dir)?;
        let keep = self.make_room(bytes)?;
        if !keep {
            tracing::warn!(
                segment = name,
                bytes,
                budget_bytes = self.budget.bytes_max(),
                "a segment does not fit in the cache: every query that needs it downloads it again"
            );
        }
        let path = self.dir.join(format!("{name}.{:016x}.tmp", rand::random::<u64>()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let temp = Temp(Some(path));
        // A file system without locks is no reason to fail: the sweep goes by age there.
        let _ = file.try_lock();
        // From now on whoever counts sees all of it.
        file.set_len(bytes)?;
        Ok(Reserved { file, temp, keep })
    }

    /// Whether `needed` more bytes fit in the budget and on the disk, after evicting the least recently used segments
    /// where needed. Evicts nothing if that would not suffice.
    fn make_room(&self, needed: u64) -> io::Result<bool> {
        let Contents { mut residents, in_flight_bytes, unwritten_bytes } = self.look()?;
        let kept: u64 = residents.iter().map(|resident| resident.bytes).sum();
        let over_budget =
            kept.saturating_add(in_flight_bytes).saturating_add(needed).saturating_sub(self.budget.bytes_max());
        let over_disk = unwritten_bytes.saturating_add(needed).saturating_sub((self.free_bytes)(&self.dir));
        let mut excess = over_budget.max(over_disk);
        if excess > kept {
            return Ok(false);
        }
        residents.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        for resident in residents {
            if excess == 0 {
                break;
            }
            match fs::remove_file(self.path(&resident.name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.forget(&resident.name);
            excess = excess.saturating_sub(resident.bytes);
            tracing::debug!(segment = resident.name, bytes = resident.bytes, "evicted from the cache");
        }
        Ok(true)
    }

    /// What is in the directory: segments, and the bytes of downloads. Forgets mapped segments that others evicted, so
    /// that their space is given back.
    fn look(&self) -> io::Result<Contents> {
        let (mut residents, mut in_flight_bytes, mut unwritten_bytes) = (Vec::new(), 0u64, 0u64);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some((name, extension)) = file_name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match extension {
                "seg" => residents.push(Resident {
                    name: name.to_owned(),
                    bytes: metadata.len(),
                    used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                }),
                "tmp" => {
                    in_flight_bytes = in_flight_bytes.saturating_add(metadata.len());
                    let written = metadata.blocks().saturating_mul(512);
                    unwritten_bytes = unwritten_bytes.saturating_add(metadata.len().saturating_sub(written));
                }
                _ => {}
            }
        }
        let names: std::collections::HashSet<_> = residents.iter().map(|resident| resident.name.as_str()).collect();
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|name, one| matches!(one.bytes, Held::Passing(_)) || names.contains(name.as_str()));
        drop(opened);
        Ok(Contents { residents, in_flight_bytes, unwritten_bytes })
    }

    /// Maps a finished download and, if it may stay, renames it into place.
    pub(super) fn admit(&self, name: &str, bytes: u64, reserved: Reserved) -> io::Result<Arc<Mmap>> {
        let Reserved { file, mut temp, keep } = reserved;
        let map = mmap::map(&file, bytes)?;
        mmap::advise(&map, self.populate);
        let map = Arc::new(map);
        // A file that changes its name while another thread counts could be counted under neither.
        let _alone = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let renamed = keep
            && temp.0.as_ref().is_some_and(|path| match fs::rename(path, self.path(name)) {
                Ok(()) => true,
                Err(error) => {
                    // Whole and mapped, it serves this time.
                    tracing::warn!(path = %path.display(), %error, "a downloaded segment could not be kept");
                    false
                }
            });
        if renamed {
            temp.0 = None;
            self.hold(name, Held::Kept(Arc::clone(&map)));
        } else {
            self.hold(name, Held::Passing(Arc::downgrade(&map)));
        }
        Ok(map)
    }
}

/// Whether the process that downloads into this file is gone.
fn is_dead(temp: &Path) -> bool {
    let Ok(file) = File::open(temp) else { return false };
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => {
            let age =
                file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
            age.is_some_and(|age| age > TEMP_AGE_MAX)
        }
    }
}
