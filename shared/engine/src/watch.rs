//! How a caller watches and stops long work.

/// The stages of building a segment, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Ordering points by cluster.
    Cluster,
    /// Quantizing vectors.
    Encode,
    /// Inserting points into the graph.
    Graph,
    /// Measuring what recall which width of search gives.
    Calibrate,
    /// Indexing payload fields and packing rows.
    Payload,
    /// Writing the file.
    Write,
}

/// The caller's eyes and hand on long work. Called often and from many threads: be quick.
pub trait Watch: Sync {
    /// Whether to stop; the work then ends with [`crate::Error::Cancelled`].
    fn cancelled(&self) -> bool {
        false
    }

    /// `done` of `total` units of `phase` are done.
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        let _ = (phase, done, total);
    }
}

/// Nobody watches, nobody stops.
pub struct Unwatched;

impl Watch for Unwatched {}

/// A flag that cancels.
impl Watch for std::sync::atomic::AtomicBool {
    fn cancelled(&self) -> bool {
        self.load(std::sync::atomic::Ordering::Relaxed)
    }
}
