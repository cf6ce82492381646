//! Places and areas on the earth, in degrees.

/// Latitudes that there are.
const LAT_MAX: f64 = 90.0;
/// Longitudes that there are.
const LON_MAX: f64 = 180.0;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    /// Degrees east, from -180 to 180.
    pub lon: f64,
    /// Degrees north, from -90 to 90.
    pub lat: f64,
}

/// An area. Its edge is not part of it.
#[derive(Clone, Debug, PartialEq)]
pub enum GeoArea {
    /// Between two meridians and two parallels.
    Box(GeoBox),
    /// Around a place.
    Circle(GeoCircle),
    /// Inside a polygon.
    Polygon(GeoPolygon),
}

/// What lies between two meridians and two parallels; where the western one lies east of the other, across the
/// antimeridian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoBox {
    /// The north-western corner.
    pub top_left: GeoPoint,
    /// The south-eastern corner.
    pub bottom_right: GeoPoint,
}

/// What is nearer to a place than so many metres, along a great circle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoCircle {
    /// The place.
    pub center: GeoPoint,
    /// Metres.
    pub radius_m: f64,
}

/// What lies inside a ring and outside others, on the plane of longitude and latitude. Each ring has at least four
/// points, and its last is its first.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoPolygon {
    /// The outer ring.
    pub exterior: Vec<GeoPoint>,
    /// Holes.
    pub interiors: Vec<Vec<GeoPoint>>,
}

impl GeoPoint {
    /// A place; `None` when there is none such on the earth.
    #[must_use]
    pub fn new(lon: f64, lat: f64) -> Option<Self> {
        (lon.abs() <= LON_MAX && lat.abs() <= LAT_MAX).then_some(Self { lon, lat })
    }
}
