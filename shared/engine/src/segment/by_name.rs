//! A point's vectors by name.

use std::ops::Range;

use cairn_model::{Vector, Vectors};
use roaring::RoaringBitmap;

use super::{Segment, groups::Held};
use crate::{Error, Result, payload::Holders, source::Region};

impl Segment {
    /// The first vector of a row, as stored, widened to f32; where no originals are kept, the vector that its code stands for.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Absent`]; [`Error::Invalid`] where no dense vector is had by all points.
    pub fn vector(&self, ordinal: u32) -> Result<Vec<f32>> {
        self.must_first()?.vector(ordinal)
    }

    /// Those of a row's vectors that are shown and whose names are wanted, as stored, widened to f32. The row may lack any.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Absent`], which names all that can be known to be needed, of all wanted vectors.
    pub fn vectors(&self, ordinal: u32, wanted: &dyn Fn(&str) -> bool) -> Result<Vectors> {
        let wanted = |name: &str| wanted(name) && self.shows(name);
        let mut found = Vectors::new();
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut add = |name: &str, read: Result<Option<Vector>>| match read {
            Ok(vector) => {
                found.extend(vector.map(|vector| (name.to_owned(), vector)));
                Ok(())
            }
            Err(Error::Absent(ranges)) => {
                missing.extend(ranges);
                Ok(())
            }
            Err(error) => Err(error),
        };
        for held in self.groups.held(&self.file) {
            let held = held?;
            if wanted(held.dense.name()) {
                add(held.dense.name(), held.vector(ordinal).map(|vector| vector.map(Vector::Dense)))?;
            }
        }
        for values in self.groups.values(&self.file) {
            let (head, values) = values?;
            if wanted(&head.name) {
                add(&head.name, values.get(ordinal))?;
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(Error::Absent(missing)) }
    }
}

impl Held<'_> {
    /// The vector of a point, if it has it.
    fn vector(&self, ordinal: u32) -> Result<Option<Vec<f32>>> {
        let row = match &self.further {
            None => Some(ordinal),
            Some(further) => further.places.row(ordinal)?,
        };
        row.map(|row| self.dense.vector(row)).transpose()
    }
}

impl Holders for Segment {
    fn holders(&self, name: &str) -> Result<RoaringBitmap> {
        if !self.shows(name) {
            return Ok(RoaringBitmap::new());
        }
        for held in self.groups.held(&self.file) {
            let held = held?;
            if held.dense.name() == name {
                return match &held.further {
                    None => {
                        let mut all = RoaringBitmap::new();
                        all.insert_range(0..self.len());
                        Ok(all)
                    }
                    Some(further) => further.places.holders(),
                };
            }
        }
        for values in self.groups.values(&self.file) {
            let (head, values) = values?;
            if head.name == name {
                return values.holders();
            }
        }
        Ok(RoaringBitmap::new())
    }

    fn needed(&self, name: &str) -> Result<Option<Region<'_>>> {
        if !self.shows(name) {
            return Ok(None);
        }
        for held in self.groups.held(&self.file) {
            let held = held?;
            if held.dense.name() == name {
                return Ok(held.further.map(|further| further.places.rows()));
            }
        }
        for values in self.groups.values(&self.file) {
            let (head, values) = values?;
            if head.name == name {
                return Ok(Some(values.offsets()));
            }
        }
        Ok(None)
    }
}
