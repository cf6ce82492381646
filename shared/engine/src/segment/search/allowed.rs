//! The points that a filter lets pass or that are not dead, in the forms that plans want them, each made once.

use std::sync::OnceLock;

use roaring::RoaringBitmap;

use super::bits::Bits;

/// What passes of a segment's points.
pub(in crate::segment) struct Allowed {
    set: RoaringBitmap,
    points: u32,
    bits: OnceLock<Bits>,
}

impl Allowed {
    /// `None` where all of the `points` pass: that is no filter.
    pub(in crate::segment) fn new(set: RoaringBitmap, points: u32) -> Option<Self> {
        (set.len() < u64::from(points)).then(|| Self::some(set, points))
    }

    /// Fewer than all of the `points`.
    pub(in crate::segment) const fn some(set: RoaringBitmap, points: u32) -> Self {
        Self { set, points, bits: OnceLock::new() }
    }

    pub(in crate::segment) const fn set(&self) -> &RoaringBitmap {
        &self.set
    }

    /// The same for tests of membership. Queries of a batch share it.
    pub(super) fn bits(&self) -> &Bits {
        self.bits.get_or_init(|| Bits::new(&self.set, self.points))
    }
}
