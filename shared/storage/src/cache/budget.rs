//! How much may be reserved at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of reservation.
const UNIT_BYTES: u64 = 1 << 20;

/// Lets downloads begin only while all that are in flight fit in the budget together, first come first served.
#[derive(Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    units_max: u32,
    bytes_max: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Self {
        // Rounded down here and up below: what is let through always fits.
        let units_max = units(bytes_max / UNIT_BYTES);
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max, bytes_max }
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Waits for its turn. What is larger than the budget waits until it is alone.
    pub(super) async fn acquire(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there always is a permit.
        Arc::clone(&self.units).acquire_many_owned(units(bytes.div_ceil(UNIT_BYTES)).min(self.units_max)).await.ok()
    }
}

fn units(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 4)
}
