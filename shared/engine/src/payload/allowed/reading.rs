//! Decides by reading rows.

use cairn_model::{Condition, Filter};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::Evaluation;
use crate::{
    Error, Result,
    payload::{meaning, picked::Picked},
};

/// Rows that one thread reads at a time: some blocks, so that few are unpacked by two.
const ROWS_PER_TASK: usize = 1024;

impl Evaluation<'_> {
    /// Those of the points `open` for which `filter` holds. Many are read on the current rayon pool.
    pub(super) fn read(&self, filter: &Filter, open: &RoaringBitmap) -> Result<RoaringBitmap> {
        let paths = filter.paths();
        let picked = Picked::of(&paths);
        self.view.rows.at_hand(open)?;
        let open: Vec<u32> = open.iter().collect();
        let found = if open.len() <= ROWS_PER_TASK {
            self.read_some(filter, &picked, &open)?
        } else {
            let parts: Result<Vec<Vec<u32>>> =
                open.par_chunks(ROWS_PER_TASK).map(|part| self.read_some(filter, &picked, part)).collect();
            parts?.concat()
        };
        Ok(RoaringBitmap::from_sorted_iter(found).unwrap_or_default())
    }

    fn read_some(&self, filter: &Filter, picked: &Picked<'_>, open: &[u32]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        self.view.rows.each(open.iter().copied(), |ordinal, row| {
            if self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let payload = picked.read(ordinal, row)?;
            let of_point = |condition: &Condition| {
                let points = self.of_points.get(&std::ptr::from_ref(condition).addr());
                points.is_some_and(|points| points.contains(ordinal))
            };
            if meaning::holds(filter, &payload, &of_point) {
                found.push(ordinal);
            }
            Ok(())
        })?;
        Ok(found)
    }
}
