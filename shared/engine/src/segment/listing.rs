//! Points of a segment by their values, without a query.

use std::collections::BTreeMap;

use cairn_model::{Filter, Order, Path, Scalar};

use super::Segment;
use crate::{
    Result, Watch,
    payload::{self, Ordered},
};

impl Segment {
    /// The first `limit` of the points that match, in an order.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Absent`], [`crate::Error::Cancelled`].
    pub fn ordered(
        &self,
        order: &Order,
        filter: Option<&Filter>,
        limit: usize,
        watch: &dyn Watch,
    ) -> Result<Vec<Ordered>> {
        let allowed = self.allowed(filter, watch)?;
        payload::ordered(order, allowed.as_deref(), limit, &self.view()?, watch)
    }

    /// How many of the points that match have each value at `key`.
    ///
    /// # Errors
    /// As [`Segment::ordered`]; [`crate::Error::Invalid`] when there are too many values.
    pub fn facet(&self, key: &Path, filter: Option<&Filter>, watch: &dyn Watch) -> Result<BTreeMap<Scalar, u64>> {
        let allowed = self.allowed(filter, watch)?;
        payload::facet(key, allowed.as_deref(), &self.view()?, watch)
    }
}
