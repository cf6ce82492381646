//! The cache directory.
//!
//! ```text
//! <dir>/v1/<segment>-<hash>.seg            complete and verified; its time of change is its last use
//! <dir>/v1/<segment>-<hash>.<random>.part  a download: as long as the file will be and a little more, locked by its process
//! ```
//!
//! Several processes may share it, and none talks to the others: a file appears complete by a rename, to which a second
//! one of the same segment does no harm; space is counted by looking, so the budget holds exactly within a process and,
//! but for files that change their names at that moment, between them; a download that was interrupted is known by its lock, which
//! the operating system gave back. Who wants the segment next goes on with it ([`partial`](super::partial)); until then it is evicted as
//! segments are.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    budget::Budget,
    eviction::{GivenUp, Mapping},
    mmap,
    partial::{self, Partial, is_begun, is_dead},
};

const LAYOUT: &str = "v1";
/// How often the last use of an open segment is written down.
const TOUCH_EVERY: Duration = Duration::from_secs(1);

/// The cache directory.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    budget: Budget,
    populate: bool,
    /// What this process has mapped.
    opened: RwLock<HashMap<String, Opened>>,
    /// What it had mapped, and somebody still has.
    pub(super) given_up: GivenUp,
    /// Who counts and takes room does it alone.
    pub(super) room: Mutex<()>,
    epoch: (Instant, SystemTime),
    pub(super) touch_every: Duration,
    /// Free bytes of the file system.
    pub(super) free_bytes: fn(&Path) -> u64,
}

#[derive(Debug)]
struct Opened {
    bytes: Held,
    /// Milliseconds from the epoch to when its last use was written down.
    touched_ms: AtomicU64,
    /// And to its last use.
    used_ms: AtomicU64,
}

#[derive(Debug)]
enum Held {
    /// It has a file.
    Kept(Arc<Mapping>),
    /// Too large for the budget: it lives as long as somebody uses it.
    Passing(Weak<Mapping>),
}

/// Room for a download.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) partial: Partial,
    /// Whether the file may stay.
    pub(super) keep: bool,
}

/// A segment's file, or an unfinished one that nobody works on.
#[derive(Debug)]
struct Resident {
    path: PathBuf,
    /// The segment's name; `None` for an unfinished file.
    name: Option<String>,
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

impl Contents {
    fn kept_bytes(&self) -> u64 {
        self.residents.iter().map(|resident| resident.bytes).sum()
    }
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
            given_up: GivenUp::default(),
            room: Mutex::default(),
            epoch: (Instant::now(), SystemTime::now()),
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

    /// Removes what dead processes left and what nobody can go on with.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if is_unfinished(&path) && is_dead(&path) && !is_begun(&path) {
                tracing::debug!(path = %path.display(), "a download that had not begun is removed");
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// A segment that this process has mapped. Notes the use, and forgets the segment when its file is gone.
    pub(super) async fn opened(disk: &Arc<Self>, name: &str) -> Option<Arc<Mapping>> {
        let now_ms = disk.now_ms();
        let (bytes, touch) = {
            let opened = disk.opened.read().unwrap_or_else(PoisonError::into_inner);
            let one = opened.get(name)?;
            match &one.bytes {
                Held::Passing(bytes) => return bytes.upgrade(),
                Held::Kept(bytes) => {
                    one.used_ms.store(now_ms, Relaxed);
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

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn forget(&self, name: &str) {
        let gone = self.opened.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(Opened { bytes: Held::Kept(bytes), .. }) = gone {
            self.given_up.give_up(name, bytes);
        }
    }

    fn hold(&self, name: &str, bytes: Held) {
        let [touched_ms, used_ms] = [self.now_ms(); 2].map(AtomicU64::new);
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, one| !matches!(&one.bytes, Held::Passing(bytes) if bytes.strong_count() == 0));
        opened.insert(name.to_owned(), Opened { bytes, touched_ms, used_ms });
    }

    /// Whether a file of this length is there; whether it is sound is known when it is mapped.
    pub(super) fn has(&self, name: &str, bytes: u64) -> bool {
        fs::metadata(self.path(name)).is_ok_and(|found| found.len() == bytes)
    }

    /// Maps a file that is there already, if it is what it should be; otherwise removes it.
    pub(super) fn reuse(&self, name: &str, bytes: u64, checksum: u64) -> io::Result<Option<Arc<Mapping>>> {
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
        let map = Mapping::kept(map);
        self.hold(name, Held::Kept(Arc::clone(&map)));
        Ok(Some(map))
    }

    /// Makes room, by evicting if that helps, and creates the file to download into; with `resume`, goes on with an unfinished one if
    /// there is one.
    pub(super) fn reserve(&self, name: &str, bytes: u64, resume: bool) -> io::Result<Reserved> {
        let _alone = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been deleted under us.
        fs::create_dir_all(&self.dir)?;
        let unfinished = if resume { self.unfinished(name, bytes)? } else { None };
        // An unfinished one that is ours now is counted as in flight.
        let keep = self.make_room(if unfinished.is_some() { 0 } else { bytes })?;
        if !keep {
            tracing::warn!(
                segment = name,
                bytes,
                budget_bytes = self.budget.bytes_max(),
                "a segment does not fit in the cache: every query that needs it downloads it again"
            );
        }
        let path = || self.dir.join(format!("{name}.{:016x}.part", rand::random::<u64>()));
        let mut partial = unfinished.map_or_else(|| Partial::create(path(), bytes), Ok)?;
        partial.may_stay(keep);
        Ok(Reserved { partial, keep })
    }

    /// An unfinished file of a segment that nobody works on.
    fn unfinished(&self, name: &str, bytes: u64) -> io::Result<Option<Partial>> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let is_its = path
                .file_name()
                .and_then(|file| file.to_str()?.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('.'));
            if is_its
                && is_unfinished(&path)
                && let Some(partial) = Partial::resume(path, bytes)
            {
                return Ok(Some(partial));
            }
        }
        Ok(None)
    }

    /// Whether `needed` more bytes fit in the budget and on the disk, after evicting the least recently used segments
    /// where needed. Evicts nothing if that would not suffice.
    fn make_room(&self, needed: u64) -> io::Result<bool> {
        let contents = self.look()?;
        let kept = contents.kept_bytes();
        // What queries still hold goes with them: nothing is evicted for it unless the disk itself has no space.
        let all = kept.saturating_add(contents.in_flight_bytes).saturating_add(needed);
        let over_budget = all.saturating_sub(self.budget.bytes_max());
        let over_disk = contents.unwritten_bytes.saturating_add(needed).saturating_sub((self.free_bytes)(&self.dir));
        let excess = over_budget.max(over_disk);
        if excess > kept {
            return Ok(false);
        }
        self.evict(contents.residents, excess)?;
        Ok(true)
    }

    /// Removes the least recently used of `residents` until they are so many bytes.
    fn evict(&self, mut residents: Vec<Resident>, bytes: u64) -> io::Result<()> {
        let mut excess = bytes;
        residents.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        for resident in residents {
            if excess == 0 {
                break;
            }
            match fs::remove_file(&resident.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            resident.name.iter().for_each(|name| self.forget(name));
            excess = excess.saturating_sub(resident.bytes);
            tracing::debug!(path = %resident.path.display(), bytes = resident.bytes, "evicted from the cache");
        }
        Ok(())
    }

    /// Evicts everything: the disk is full, whatever was counted.
    pub(super) fn clear(&self) -> io::Result<()> {
        let _alone = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        self.evict(self.look()?.residents, u64::MAX)
    }

    /// Bytes of segments that may be here at once now, by the budget and by the disk.
    pub(super) fn room_bytes(&self) -> io::Result<u64> {
        let _alone = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.look()?;
        let taken = contents.in_flight_bytes.saturating_add(self.given_up.held_bytes());
        let on_disk = (self.free_bytes)(&self.dir).saturating_add(contents.kept_bytes());
        Ok(self.budget.bytes_max().saturating_sub(taken).min(on_disk.saturating_sub(contents.unwritten_bytes)))
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
                    path: entry.path(),
                    name: Some(name.to_owned()),
                    bytes: metadata.len(),
                    used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                }),
                "part" => {
                    let bytes = partial::segment_bytes(metadata.len());
                    let written = metadata.blocks().saturating_mul(512).min(bytes);
                    if is_dead(&entry.path()) {
                        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                        residents.push(Resident { path: entry.path(), name: None, bytes: written, used });
                    } else {
                        in_flight_bytes = in_flight_bytes.saturating_add(bytes);
                        unwritten_bytes = unwritten_bytes.saturating_add(bytes - written);
                    }
                }
                _ => {}
            }
        }
        let names: HashSet<_> = residents.iter().filter_map(|resident| resident.name.as_deref()).collect();
        let is_gone = |one: &Opened, name: &str| matches!(one.bytes, Held::Kept(_)) && !names.contains(name);
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = opened.extract_if(|name, one| is_gone(one, name)).collect();
        drop(opened);
        for (name, one) in gone {
            if let Held::Kept(bytes) = one.bytes {
                self.given_up.give_up(&name, bytes);
            }
        }
        // A use is written down once in a while only.
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        for resident in &mut residents {
            if let Some(one) = resident.name.as_ref().and_then(|name| opened.get(name)) {
                resident.used = resident.used.max(self.epoch.1 + Duration::from_millis(one.used_ms.load(Relaxed)));
            }
        }
        drop(opened);
        Ok(Contents { residents, in_flight_bytes, unwritten_bytes })
    }

    /// Maps a finished download and, if it may stay, renames it into place.
    pub(super) fn admit(&self, name: &str, bytes: u64, reserved: Reserved) -> io::Result<Arc<Mapping>> {
        let Reserved { mut partial, keep } = reserved;
        // Whatever happens now, it is no unfinished file any more.
        partial.may_stay(false);
        let map = mmap::map(partial.finish()?, bytes)?;
        mmap::advise(&map, self.populate);
        let map = Mapping::kept(map);
        // A file that changes its name while another thread counts could be counted under neither.
        let _alone = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let renamed = keep
            && match partial.rename(&self.path(name)) {
                Ok(()) => true,
                Err(error) => {
                    // Whole and mapped, it serves this time.
                    tracing::warn!(segment = name, %error, "a downloaded segment could not be kept");
                    false
                }
            };
        if renamed {
            self.hold(name, Held::Kept(Arc::clone(&map)));
        } else {
            self.given_up.pass(&map);
            self.hold(name, Held::Passing(Arc::downgrade(&map)));
        }
        Ok(map)
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}
