//! The points that a filter lets pass or that are not dead, in the forms that plans want them, each made once.

use std::sync::OnceLock;

use roaring::RoaringBitmap;

use super::bits::Bits;

/// What passes of a segment's points.
pub(in crate::segment) struct Allowed {
    /// All of them, ascending, where the filter's answer came so; else there is the set from the beginning.
    few: Option<Vec<u32>>,
    set: OnceLock<RoaringBitmap>,
    points: u32,
    bits: OnceLock<Bits>,
}

impl Allowed {
    /// `None` where all of the `points` pass: that is no filter.
    pub(in crate::segment) fn new(set: RoaringBitmap, points: u32) -> Option<Self> {
        (set.len() < u64::from(points)).then(|| Self::some(set, points))
    }

    /// Fewer than all of the `points`.
    pub(in crate::segment) fn some(set: RoaringBitmap, points: u32) -> Self {
        Self { few: None, set: set.into(), points, bits: OnceLock::new() }
    }

    /// The same of ordinals that ascend.
    pub(super) fn of_few(few: &[u32], points: u32) -> Option<Self> {
        let some = || Self { few: Some(few.to_vec()), set: OnceLock::new(), points, bits: OnceLock::new() };
        (few.len() < points as usize).then(some)
    }

    pub(super) fn len(&self) -> u64 {
        self.few.as_ref().map_or_else(|| self.set().len(), |few| few.len() as u64)
    }

    /// All of them, ascending, if they are at hand so.
    pub(super) fn few(&self) -> Option<&[u32]> {
        self.few.as_deref()
    }

    pub(in crate::segment) fn set(&self) -> &RoaringBitmap {
        self.set.get_or_init(|| {
            let few = self.few.iter().flatten().copied();
            RoaringBitmap::from_sorted_iter(few).unwrap_or_default()
        })
    }

    /// The same for tests of membership. Queries of a batch share it.
    pub(super) fn bits(&self) -> &Bits {
        self.bits.get_or_init(|| match &self.few {
            Some(few) => Bits::of(few, self.points),
            None => Bits::new(self.set(), self.points),
        })
    }
}
