//! Places in an area: bounded by the columns of their longitudes and latitudes.

use cairn_model::{Path, filter::GeoArea};
use roaring::RoaringBitmap;

use super::{Bounds, Evaluation, testing::numbers};
use crate::{
    Result,
    payload::{
        fields::Lookup,
        geo::{Extent, extent},
    },
};

impl Evaluation<'_> {
    /// Points with a place in `area` at `key`, of which the indexes know `lookup`.
    pub(super) fn places(&self, key: &Path, lookup: &Lookup<'_>, area: &GeoArea) -> Result<Bounds> {
        let objects = match lookup {
            Lookup::Field(field) | Lookup::Within { field, .. } => field.other()?,
            Lookup::Below(field) => field.present()?,
            Lookup::Absent => return Ok(Bounds::nothing()),
            Lookup::Unknown => self.all(),
        };
        let extent = extent(area);
        let mut near = RoaringBitmap::new();
        for coordinates in key.places() {
            near |= self.near(&coordinates, &extent)?;
        }
        Ok(Bounds::between(RoaringBitmap::new(), objects & near))
    }

    /// Points with a longitude and a latitude within `extent` at these paths, perhaps of different places.
    fn near(&self, [lon, lat]: &[Path; 2], extent: &Extent) -> Result<RoaringBitmap> {
        let within = |path: &Path, ranges: &[cairn_model::Range<f64>]| {
            Ok(match self.view.fields.lookup(path)? {
                Lookup::Field(field) | Lookup::Within { field, entered: false } => {
                    let mut found = RoaringBitmap::new();
                    for range in ranges {
                        found |= numbers(&field, range)?;
                    }
                    found
                }
                Lookup::Within { field, entered: true } | Lookup::Below(field) => field.present()?,
                Lookup::Absent => RoaringBitmap::new(),
                Lookup::Unknown => self.all(),
            })
        };
        Ok(within(lat, std::slice::from_ref(&extent.lat))? & within(lon, &extent.lon)?)
    }
}
