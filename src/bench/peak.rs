//! The most memory that a process held.

use std::fs;

/// A stretch of time whose peak is asked for.
pub(super) struct Peak;

impl Peak {
    /// Begins. What was held before is forgotten where the system allows it (Linux: the high water mark is set back to what is
    /// held now); where it does not, the peak is that of the whole process so far.
    pub(super) fn begin() -> Self {
        // The only way to set the mark back; without the right to it the mark just stays.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self
    }

    /// The peak since then, pages of mapped files included.
    pub(super) fn bytes(&self) -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_large_allocation_shows() {
        const BYTES: usize = 192 << 20;
        let peak = Peak::begin();
        let before = peak.bytes().unwrap();
        // Written to, so that it is there.
        let held = std::hint::black_box(vec![1u8; BYTES]);
        let after = peak.bytes().unwrap();
        assert_eq!(held.len(), BYTES);
        // Other tests of this process may give memory back meanwhile, so not quite all of it.
        assert!(after >= before && after >= BYTES as u64, "{before} {after}");
    }
}
