//! The C allocator, told to give memory back.
//!
//! glibc serves large blocks from mappings of their own, which go back to the system when they are freed; but with every one that is freed it raises the
//! size from which blocks count as large, up to 32 MiB, and from then on a build's vectors and codes come from heaps that keep holes. A bound of 64 MiB
//! was exceeded by 57 in the fifth segment. A fixed size is a matter of the environment, which is read before `main`. See docs/decisions.

/// Read by glibc when a program starts.
const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";
/// Blocks from this size on have mappings of their own: few are made for one point or query, and all that a whole segment needs.
const LARGE_BYTES: &str = "262144";

/// Starts this very program again, as the same process, with an allocator that gives back what large blocks took; returns where it has one
/// already, where the system is none with glibc, or where it cannot be done. To be called first of all.
pub fn give_memory_back() {
    if std::env::var_os(VARIABLE).is_some() || !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt;
        let mut arguments = std::env::args_os();
        let mut command = std::process::Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        // It only comes back if it failed, and then more memory is all that is lost.
        drop(command.args(arguments).env(VARIABLE, LARGE_BYTES).exec());
    }
}
