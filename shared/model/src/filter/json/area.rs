//! Areas on the earth.

use serde_json::Value;

use super::{
    FilterError, Parser, Result, fail,
    reading::{float, object, only, required},
};
use crate::{
    filter::{GeoArea, GeoBox, GeoCircle, GeoPoint, GeoPolygon},
    limits::GEO_POINTS_MAX,
};

/// Points of a ring at least: a triangle's, and the first once more.
const RING_POINTS_MIN: usize = 4;

impl Parser {
    /// The area of a `geo_bounding_box`, a `geo_radius` or a `geo_polygon`.
    pub(super) fn area(&mut self, name: &str, json: &Value, at: &str) -> Result<GeoArea> {
        let map = object(json, at)?;
        let inside = |name: &str| Ok((required(map, name, at)?, format!("{at}.{name}")));
        let place = |name: &str| inside(name).and_then(|(json, at)| point(json, &at));
        match name {
            "geo_bounding_box" => {
                only(map, at, &["top_left", "bottom_right"])?;
                Ok(GeoArea::Box(GeoBox { top_left: place("top_left")?, bottom_right: place("bottom_right")? }))
            }
            "geo_radius" => {
                only(map, at, &["center", "radius"])?;
                Ok(GeoArea::Circle(GeoCircle { center: place("center")?, radius_m: float(map, "radius", at)? }))
            }
            _ => {
                only(map, at, &["exterior", "interiors"])?;
                let (exterior, exterior_at) = inside("exterior")?;
                let exterior = self.ring(exterior, &exterior_at)?;
                let interiors = match map.get("interiors") {
                    None | Some(Value::Null) => Vec::new(),
                    Some(Value::Array(rings)) => {
                        let each = rings.iter().enumerate();
                        each.map(|(i, ring)| self.ring(ring, &format!("{at}.interiors[{i}]"))).collect::<Result<_>>()?
                    }
                    Some(_) => return fail(&format!("{at}.interiors"), "expected an array"),
                };
                Ok(GeoArea::Polygon(GeoPolygon { exterior, interiors }))
            }
        }
    }

    fn ring(&mut self, json: &Value, at: &str) -> Result<Vec<GeoPoint>> {
        let map = object(json, at)?;
        only(map, at, &["points"])?;
        let points = required(map, "points", at)?;
        let at = format!("{at}.points");
        let Some(points) = points.as_array() else { return fail(&at, "expected an array") };
        self.geo_points += points.len();
        if self.geo_points > GEO_POINTS_MAX {
            return fail(&at, format!("the polygons of a filter may have at most {GEO_POINTS_MAX} points"));
        }
        let each = points.iter().enumerate();
        let ring: Vec<GeoPoint> = each.map(|(i, json)| point(json, &format!("{at}[{i}]"))).collect::<Result<_>>()?;
        if ring.len() < RING_POINTS_MIN {
            return fail(&at, format!("polygon invalid, the size must be at least 4, got {}", ring.len()));
        }
        if ring.first() != ring.last() {
            let why = "polygon invalid, the first and the last points should be the same to form a closed line";
            return fail(&at, why);
        }
        Ok(ring)
    }
}

fn point(json: &Value, at: &str) -> Result<GeoPoint> {
    let map = object(json, at)?;
    only(map, at, &["lon", "lat"])?;
    let (lon, lat) = (float(map, "lon", at)?, float(map, "lat", at)?);
    GeoPoint::new(lon, lat).ok_or_else(|| FilterError {
        at: at.to_owned(),
        why: format!("expected lat = {lat:?} within [-90, 90] and lon = {lon:?} within [-180, 180]"),
    })
}
