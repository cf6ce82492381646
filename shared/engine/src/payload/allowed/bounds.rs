//! What is known about a set of points before rows are read.

use roaring::RoaringBitmap;

/// What is known about a set of points.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bounds {
    /// Points that are certainly in it.
    pub(super) lower: RoaringBitmap,
    /// Points that may be in it; `None` when they are the same.
    pub(super) upper: Option<RoaringBitmap>,
}

impl Bounds {
    pub(super) fn exact(set: RoaringBitmap) -> Self {
        Self { lower: set, upper: None }
    }

    pub(super) fn nothing() -> Self {
        Self::exact(RoaringBitmap::new())
    }

    pub(super) fn between(lower: RoaringBitmap, upper: RoaringBitmap) -> Self {
        let upper = (lower != upper).then_some(upper);
        Self { lower, upper }
    }

    pub(super) fn upper(&self) -> &RoaringBitmap {
        self.upper.as_ref().unwrap_or(&self.lower)
    }

    pub(super) fn into_upper(self) -> RoaringBitmap {
        self.upper.unwrap_or(self.lower)
    }

    pub(super) fn and(self, other: Self) -> Self {
        if self.upper.is_none() && other.upper.is_none() {
            return Self::exact(self.lower & other.lower);
        }
        let upper = self.upper() & other.upper();
        Self::between(self.lower & other.lower, upper)
    }

    pub(super) fn or(self, other: Self) -> Self {
        if self.upper.is_none() && other.upper.is_none() {
            return Self::exact(self.lower | other.lower);
        }
        let upper = self.upper() | other.upper();
        Self::between(self.lower | other.lower, upper)
    }

    pub(super) fn and_not(self, other: Self) -> Self {
        if self.upper.is_none() && other.upper.is_none() {
            return Self::exact(self.lower - other.lower);
        }
        let upper = self.upper() - &other.lower;
        Self::between(self.lower - other.upper(), upper)
    }
}
