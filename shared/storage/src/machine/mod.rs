//! What the machine gives to this process: how much memory, and which share of its processors.

mod memory;

pub use memory::Memory;

/// How much nicer than the rest of the process background threads are.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Makes the calling thread give way to the process's others. On Linux niceness belongs to a thread; elsewhere it would
/// slow the whole process down, and nothing is done.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "background work at normal priority");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn niceness_is_the_threads_own() {
        // Field 19 of a thread's stat; the name before it may contain anything, and ends with the last parenthesis.
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            fields.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = nice();
        let lowered = std::thread::spawn(move || {
            lower_priority();
            nice()
        });
        assert_eq!(lowered.join().unwrap(), (before + NICENESS).min(19));
        assert_eq!(nice(), before);
    }
}
