//! Anonymous memory on huge pages.

use std::io;

use memmap2::MmapMut;

/// Zeroed memory that begins at a page boundary, on huge pages where the system has some to give.
///
/// Random reads over hundreds of megabytes spend a good part of their time on finding out where a page of 4 KiB lies;
/// pages of 2 MiB make that cheap. Under Linux it takes `always` or `madvise` in
/// `/sys/kernel/mm/transparent_hugepage/enabled`; elsewhere, and where there are none, the pages are ordinary ones.
#[derive(Debug)]
pub struct HugePages(MmapMut);

impl HugePages {
    /// Reserves `bytes` bytes; the system provides each page when it is first written.
    ///
    /// # Errors
    /// The system has no room for them.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(bytes.max(1))?;
        // Advice: when it is refused, nothing is wrong.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for HugePages {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for HugePages {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_aligned_and_writable() {
        for bytes in [1, 4_096, 5 << 20] {
            let mut memory = HugePages::new(bytes).unwrap();
            assert_eq!(memory.as_ref().len(), bytes);
            assert!(memory.as_ref().as_ptr().addr().is_multiple_of(4_096));
            assert!(memory.as_ref().iter().all(|&byte| byte == 0));
            memory.as_mut()[bytes - 1] = 7;
            assert_eq!(memory.as_ref()[bytes - 1], 7);
        }
        assert!(HugePages::new(usize::MAX / 2).is_err());
    }
}
