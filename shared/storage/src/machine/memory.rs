//! How much memory this process may still take.
//!
//! Three bounds hold at once: what the machine has available, the limits of the control groups around the process
//! (version 2 or 1), and inside Lambda the function's size. Pages of files count towards a control group's use, but the
//! kernel gives them back before it refuses memory: they are taken as free here, as `MemAvailable` takes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names the variable that says how many MiB a Lambda function has.
const LAMBDA_VARIABLE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";

/// Numbers from here on, like version 1's largest and version 2's "max", mean no limit.
const UNLIMITED: u64 = 1 << 60;

/// Where to read what there is.
#[derive(Clone, Debug)]
pub struct Memory {
    /// What stands for `/`.
    root: PathBuf,
    /// The process's own bound: the function's size, or what it was told.
    own_bytes_max: Option<u64>,
}

/// One control group's limit and use.
struct Group {
    limit: u64,
    used: u64,
}

impl Memory {
    /// This process's.
    #[must_use]
    pub fn here() -> Self {
        let mib = std::env::var(LAMBDA_VARIABLE).ok().and_then(|mib| mib.parse::<u64>().ok());
        Self { root: PathBuf::from("/"), own_bytes_max: mib.map(|mib| mib << 20) }
    }

    /// That of a copy of `/proc` and `/sys` under `root`, for tests.
    #[must_use]
    pub fn under(root: &Path, lambda_bytes: Option<u64>) -> Self {
        Self { root: root.to_owned(), own_bytes_max: lambda_bytes }
    }

    /// The same, when this process is to take no more than so many bytes.
    #[must_use]
    pub fn within(self, bytes_max: u64) -> Self {
        let least = self.own_bytes_max.map_or(bytes_max, |own| own.min(bytes_max));
        Self { own_bytes_max: Some(least), ..self }
    }

    /// The most that this process may ever have beside what others take now: the least of the machine's available memory,
    /// the control groups' limits and the function's size. `None` where the system does not say.
    #[must_use]
    pub fn most_bytes(&self) -> Option<u64> {
        let groups = self.groups().into_iter().map(|group| group.limit);
        groups.chain(self.available_bytes()).chain(self.own_bytes_max).min()
    }

    /// What may be taken from now on before something must give: the least of the machine's available memory, what each
    /// control group leaves, and what is left of the function's size. `None` where the system does not say.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        let groups = self.groups().into_iter().map(|group| group.limit.saturating_sub(group.used));
        let function = self.own_bytes_max.map(|size| size.saturating_sub(self.own_bytes().unwrap_or(0)));
        groups.chain(self.available_bytes()).chain(function).min()
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// `MemAvailable` of Linux.
    fn available_bytes(&self) -> Option<u64> {
        kibibytes(&self.read("proc/meminfo")?, "MemAvailable:")
    }

    /// What this process holds that is in no file: the function's own size counts nothing else that stays.
    fn own_bytes(&self) -> Option<u64> {
        kibibytes(&self.read("proc/self/status")?, "RssAnon:")
    }

    /// The control groups around this process that have a limit, inner ones first.
    fn groups(&self) -> Vec<Group> {
        let text = self.read("proc/self/cgroup").unwrap_or_default();
        let mut found = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let version_2 = controllers.is_empty();
            if !version_2 && !controllers.split(',').any(|controller| controller == "memory") {
                continue;
            }
            let mount = if version_2 { "sys/fs/cgroup" } else { "sys/fs/cgroup/memory" };
            // Limits of outer groups hold as well. Inside a container the group's path may not exist below its own root.
            for ancestor in Path::new(group.trim_start_matches('/')).ancestors() {
                found.extend(self.group(&Path::new(mount).join(ancestor), version_2));
            }
        }
        found
    }

    fn group(&self, folder: &Path, version_2: bool) -> Option<Group> {
        let number = |file: &str| self.read(folder.join(file))?.trim().parse::<u64>().ok();
        let limited = |file: &str| number(file).filter(|&bytes| bytes < UNLIMITED);
        let (limit, used, cached) = if version_2 {
            // Above `high` the kernel takes memory back by force, which is as good as a limit.
            let limit = [limited("memory.max"), limited("memory.high")].into_iter().flatten().min();
            (limit, number("memory.current"), ["inactive_file", "active_file"])
        } else {
            let used = number("memory.usage_in_bytes");
            (limited("memory.limit_in_bytes"), used, ["total_inactive_file", "total_active_file"])
        };
        let stat = self.read(folder.join("memory.stat")).unwrap_or_default();
        let value = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            if cached.contains(&name) { value.trim().parse::<u64>().ok() } else { None }
        };
        let cached: u64 = stat.lines().filter_map(value).fold(0, u64::saturating_add);
        Some(Group { limit: limit?, used: used.unwrap_or(0).saturating_sub(cached) })
    }
}

/// The value of a line such as `MemAvailable:   123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A machine of these files.
    fn machine(files: &[(&str, String)], lambda_bytes: Option<u64>) -> (tempfile::TempDir, Memory) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let memory = Memory::under(dir.path(), lambda_bytes);
        (dir, memory)
    }

    fn available(mib: u64) -> (&'static str, String) {
        ("proc/meminfo", format!("MemTotal:  99999999 kB\nMemAvailable:   {} kB\n", mib * 1024))
    }

    #[test]
    fn this_machine_says_something_sensible() {
        let memory = Memory::here();
        if let (Some(free), Some(most)) = (memory.free_bytes(), memory.most_bytes()) {
            assert!(free > 0 && most > 0);
        }
    }

    #[test]
    fn nothing_is_known_where_nothing_is_said() {
        let (_dir, memory) = machine(&[], None);
        assert_eq!((memory.most_bytes(), memory.free_bytes()), (None, None));
        let (_dir, memory) = machine(&[("proc/meminfo", "MemAvailable: lots kB".into())], None);
        assert_eq!(memory.free_bytes(), None);
    }

    #[test]
    fn version_2_the_tightest_group_decides_and_pages_of_files_are_free() {
        let inner = "sys/fs/cgroup/outer/inner/";
        let outer = "sys/fs/cgroup/outer/";
        let file = |folder: &str, name: &str| -> &'static str { Box::leak(format!("{folder}{name}").into_boxed_str()) };
        let (_dir, memory) = machine(
            &[
                available(64_000),
                ("proc/self/cgroup", "0::/outer/inner\n".into()),
                (file(inner, "memory.max"), "max\n".into()),
                (file(inner, "memory.high"), format!("{}\n", 900 * MIB)),
                (file(inner, "memory.current"), (700 * MIB).to_string()),
                (
                    file(inner, "memory.stat"),
                    format!("anon 1\ninactive_file {}\nactive_file {}\n", 300 * MIB, 100 * MIB),
                ),
                (file(outer, "memory.max"), (1_000 * MIB).to_string()),
                (file(outer, "memory.current"), (950 * MIB).to_string()),
            ],
            None,
        );
        assert_eq!(memory.most_bytes(), Some(900 * MIB));
        // The inner group leaves 900 - (700 - 400), the outer one 1000 - 950.
        assert_eq!(memory.free_bytes(), Some(50 * MIB));
    }

    #[test]
    fn version_1_is_read_where_it_rules() {
        let folder = "sys/fs/cgroup/memory/job/";
        let file = |name: &str| -> &'static str { Box::leak(format!("{folder}{name}").into_boxed_str()) };
        let (_dir, memory) = machine(
            &[
                available(64_000),
                ("proc/self/cgroup", "5:cpu:/x\n4:memory:/job\n".into()),
                (file("memory.limit_in_bytes"), (512 * MIB).to_string()),
                (file("memory.usage_in_bytes"), (400 * MIB).to_string()),
                (file("memory.stat"), format!("total_inactive_file {}\n", 100 * MIB)),
                // The root's largest number is no limit.
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712".into()),
            ],
            None,
        );
        assert_eq!((memory.most_bytes(), memory.free_bytes()), (Some(512 * MIB), Some(212 * MIB)));
    }

    #[test]
    fn a_function_has_no_more_than_its_size() {
        let status = ("proc/self/status", format!("VmRSS: 1 kB\nRssAnon:\t{} kB\n", 100 * 1024));
        let (_dir, memory) = machine(&[available(64_000), status], Some(1_769 * MIB));
        assert_eq!((memory.most_bytes(), memory.free_bytes()), (Some(1_769 * MIB), Some(1_669 * MIB)));
        let (_dir, memory) = machine(&[available(500)], Some(1_769 * MIB));
        assert_eq!(memory.free_bytes(), Some(500 * MIB));
        let told = memory.within(400 * MIB);
        assert_eq!((told.most_bytes(), told.free_bytes()), (Some(400 * MIB), Some(400 * MIB)));
        assert_eq!(told.within(1_000 * MIB).most_bytes(), Some(400 * MIB), "the tighter bound holds");
    }
}
