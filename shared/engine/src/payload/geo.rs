//! Places and areas: which places an area contains, and between which coordinates it lies.
//!
//! The `geo` crate could say the first, and brings triangulation, spatial indexes and boolean operations with it. What is
//! wanted of it is the haversine formula and the crossing number; only the side of a line on which a point lies
//! needs care, and that is `robust`'s business.

use cairn_model::{
    Range,
    filter::{GeoArea, GeoBox, GeoCircle, GeoPoint, GeoPolygon},
};
use robust::{Coord, orient2d};
use serde_json::Value;

/// The earth's mean radius (IUGG).
const RADIUS_M: f64 = 6_371_008.8;
/// Degrees by which bounds of a circle are wider than computed, so that rounding leaves nothing out: a centimetre or so.
const SLACK_DEGREES: f64 = 1e-7;

/// The place that a payload's value is: an object with numbers `lon` and `lat` that exist on the earth.
pub(super) fn place(value: &Value) -> Option<GeoPoint> {
    let object = value.as_object()?;
    GeoPoint::new(object.get("lon")?.as_f64()?, object.get("lat")?.as_f64()?)
}

/// Whether `place` lies inside `area`, whose edge is not part of it.
pub(super) fn contains(area: &GeoArea, place: GeoPoint) -> bool {
    match area {
        GeoArea::Box(area) => {
            let (west, east) = (area.top_left.lon, area.bottom_right.lon);
            let between =
                if west > east { place.lon > west || place.lon < east } else { west < place.lon && place.lon < east };
            between && area.bottom_right.lat < place.lat && place.lat < area.top_left.lat
        }
        GeoArea::Circle(circle) => distance_m(circle.center, place) < circle.radius_m,
        GeoArea::Polygon(polygon) => {
            side(&polygon.exterior, place) == Side::Inside
                && polygon.interiors.iter().all(|hole| side(hole, place) == Side::Outside)
        }
    }
}

/// Metres along a great circle, by the haversine formula.
fn distance_m(a: GeoPoint, b: GeoPoint) -> f64 {
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let cosines = a.lat.to_radians().cos() * b.lat.to_radians().cos();
    let haversine = cosines.mul_add(half(a.lon, b.lon), half(a.lat, b.lat));
    2.0 * RADIUS_M * haversine.sqrt().min(1.0).asin()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Inside,
    Edge,
    Outside,
}

/// On which side of a ring a place lies: how often a ray from it to the east crosses the ring is odd inside.
fn side(ring: &[GeoPoint], place: GeoPoint) -> Side {
    let coord = |point: GeoPoint| Coord { x: point.lon, y: point.lat };
    let mut inside = false;
    for edge in ring.windows(2) {
        let (a, b) = (edge[0], edge[1]);
        let (low, high) = if a.lat <= b.lat { (a, b) } else { (b, a) };
        if place.lat < low.lat || place.lat > high.lat {
            continue;
        }
        let turn = orient2d(coord(low), coord(high), coord(place));
        if turn == 0.0 && a.lon.min(b.lon) <= place.lon && place.lon <= a.lon.max(b.lon) {
            return Side::Edge;
        }
        // An edge has its lower end and not its upper one, so that a ray through a corner crosses once or twice, and one along an
        // edge does not cross it. The place is west of the edge when it is on the left of the way up.
        if low.lat <= place.lat && place.lat < high.lat && turn > 0.0 {
            inside = !inside;
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// Coordinates between which all of an area lies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Extent {
    pub(super) lat: Range<f64>,
    /// Two of them across the antimeridian.
    pub(super) lon: Vec<Range<f64>>,
}

fn between(low: f64, high: f64) -> Range<f64> {
    Range { gte: Some(low), lte: Some(high), ..Range::default() }
}

pub(super) fn extent(area: &GeoArea) -> Extent {
    match area {
        GeoArea::Box(GeoBox { top_left, bottom_right }) => {
            let (west, east) = (top_left.lon, bottom_right.lon);
            let lon =
                if west > east { vec![between(west, 180.0), between(-180.0, east)] } else { vec![between(west, east)] };
            Extent { lat: between(bottom_right.lat, top_left.lat), lon }
        }
        GeoArea::Circle(GeoCircle { center, radius_m }) => {
            let angle = radius_m / RADIUS_M;
            let reach = angle.to_degrees() + SLACK_DEGREES;
            let lat = between(center.lat - reach, center.lat + reach);
            let around = between(-180.0, 180.0);
            // Around a pole, or almost, every longitude is near.
            if center.lat.abs() + reach >= 90.0 - SLACK_DEGREES || angle < 0.0 {
                return Extent { lat, lon: vec![around] };
            }
            let sine = angle.sin() / center.lat.to_radians().cos();
            // The further from the equator, the more a rounding of the sine means.
            let reach = sine.min(1.0).asin().to_degrees() * (1.0 + 1e-6) + SLACK_DEGREES;
            let (west, east) = (center.lon - reach, center.lon + reach);
            let across = west < -180.0 || east > 180.0;
            Extent { lat, lon: vec![if across { around } else { between(west, east) }] }
        }
        GeoArea::Polygon(GeoPolygon { exterior, .. }) => {
            let bounds = |value: fn(&GeoPoint) -> f64| {
                let low = exterior.iter().map(value).fold(f64::INFINITY, f64::min);
                between(low, exterior.iter().map(value).fold(f64::NEG_INFINITY, f64::max))
            };
            Extent { lat: bounds(|point| point.lat), lon: vec![bounds(|point| point.lon)] }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lon: f64, lat: f64) -> GeoPoint {
        GeoPoint::new(lon, lat).unwrap()
    }

    #[test]
    fn distances_are_those_of_the_sphere() {
        let (berlin, moscow) = (at(13.4050, 52.5200), at(37.6173, 55.7558));
        assert!((distance_m(berlin, moscow) - 1_608_000.0).abs() < 5_000.0);
        assert!((distance_m(at(0.0, 0.0), at(180.0, 0.0)) - std::f64::consts::PI * RADIUS_M).abs() < 1.0);
        assert_eq!(distance_m(berlin, berlin), 0.0);
        assert!(distance_m(at(179.9, 0.0), at(-179.9, 0.0)) < 23_000.0);
    }

    #[test]
    fn edges_are_outside_and_boxes_cross_the_antimeridian() {
        let area = |west, east| GeoArea::Box(GeoBox { top_left: at(west, 10.0), bottom_right: at(east, -10.0) });
        assert!(contains(&area(0.0, 5.0), at(1.0, 1.0)) && !contains(&area(0.0, 5.0), at(0.0, 1.0)));
        assert!(!contains(&area(0.0, 5.0), at(1.0, 10.0)));
        assert!(contains(&area(170.0, -170.0), at(180.0, 1.0)) && contains(&area(170.0, -170.0), at(-175.0, 1.0)));
        assert!(!contains(&area(170.0, -170.0), at(0.0, 1.0)));
        let circle = GeoArea::Circle(GeoCircle { center: at(0.0, 0.0), radius_m: 0.0 });
        assert!(!contains(&circle, at(0.0, 0.0)));
    }

    #[test]
    fn polygons_have_holes_and_corners() {
        let square =
            |low: f64, high: f64| vec![at(low, low), at(low, high), at(high, high), at(high, low), at(low, low)];
        let polygon = |interiors| GeoArea::Polygon(GeoPolygon { exterior: square(0.0, 10.0), interiors });
        let (whole, holed) = (polygon(vec![]), polygon(vec![square(4.0, 6.0)]));
        assert!(contains(&whole, at(5.0, 5.0)) && !contains(&holed, at(5.0, 5.0)));
        assert!(contains(&holed, at(5.0, 7.0)) && contains(&holed, at(1.0, 5.0)));
        for edge in
            [at(0.0, 5.0), at(5.0, 0.0), at(10.0, 10.0), at(5.0, 10.0), at(11.0, 5.0), at(-1.0, 0.0), at(5.0, 11.0)]
        {
            assert!(!contains(&whole, edge), "{edge:?}");
        }
        assert!(!contains(&holed, at(4.0, 5.0)));
        // A ray through a tip, and along a flat side.
        let star = [at(0.0, 0.0), at(2.0, 4.0), at(4.0, 0.0), at(6.0, 4.0), at(6.0, -4.0), at(0.0, 0.0)].to_vec();
        let star = GeoArea::Polygon(GeoPolygon { exterior: star, interiors: vec![] });
        assert!(contains(&star, at(2.0, 1.0)) && contains(&star, at(5.0, 0.0)) && !contains(&star, at(4.0, 3.0)));
        assert!(!contains(&star, at(-1.0, 0.0)) && !contains(&star, at(1.0, 4.0)));
    }

    fn place() -> impl Strategy<Value = GeoPoint> {
        let degrees = |most: f64| prop_oneof![3 => -most..=most, 1 => proptest::sample::select(vec![-most, most, 0.0, most - 1e-3, 1.0])];
        (degrees(180.0), degrees(90.0)).prop_map(|(lon, lat)| at(lon, lat))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_area_lies_in_its_extent(
            corners in proptest::collection::vec(place(), 3..8),
            radius_m in prop_oneof![0.0..1e3, 0.0..2e6, 0.0..2.1e7],
            nearby in proptest::collection::vec((-1.0..1.0f64, -1.0..1.0f64), 30),
        ) {
            let center = corners[0];
            let mut exterior = corners.clone();
            exterior.push(center);
            let areas = [
                GeoArea::Box(GeoBox { top_left: center, bottom_right: corners[1] }),
                GeoArea::Circle(GeoCircle { center, radius_m }),
                GeoArea::Polygon(GeoPolygon { exterior, interiors: vec![] }),
            ];
            let reach = (radius_m / RADIUS_M).to_degrees() * 1.1 + 1e-3;
            let wrapped = |lon: f64| if lon > 180.0 { lon - 360.0 } else if lon < -180.0 { lon + 360.0 } else { lon };
            let near = |(x, y): &(f64, f64)| {
                let lat = (center.lat + y * reach).clamp(-90.0, 90.0);
                let wide = (reach / lat.to_radians().cos().max(1e-9)).min(180.0);
                at(wrapped(center.lon + x * wide), lat)
            };
            for place in nearby.iter().map(near).chain(corners.iter().copied()) {
                for area in &areas {
                    let Extent { lat, lon } = extent(area);
                    let within = lat.contains(place.lat) && lon.iter().any(|lon| lon.contains(place.lon));
                    prop_assert!(within || !contains(area, place), "{area:?} has {place:?}");
                }
            }
        }
    }
}
