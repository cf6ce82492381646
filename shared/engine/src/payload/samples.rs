//! Random payloads and filters for tests: few keys and few values, so that they meet, and every odd one among them.

use cairn_model::{
    Condition, FieldTest, Filter, GeoArea, Match, MinShould, Path, Payload, PointId, Range, Scalar, Slice, Step,
    TextMatch,
    filter::{GeoBox, GeoCircle, GeoPoint, GeoPolygon, TextWant, Tokenizer, parse_datetime},
};
use proptest::{collection::vec, prelude::*, sample::select};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use super::{
    Holders, View,
    fields::{Fields, FieldsWriter},
    ids::{self, Ids},
    rows::{Rows, RowsWriter},
};
use crate::source::Region;

pub(super) const INTEGERS: [i64; 9] = [0, 1, 2, 3, -1, -7, i64::MIN, i64::MAX, 9_007_199_254_740_993];
pub(super) const FLOATS: [f64; 10] = [0.0, -0.0, 0.5, 1.0, 2.5, -1e308, 1e308, 5e-324, 9_007_199_254_740_992.0, 1.8e19];
pub(super) const MOMENTS: [&str; 6] = [
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "2024-01-01T12:00:00+02:00",
    "2023-12-31 23:59",
    "1969-07-20T20:17:40.5Z",
    "0001-01-01",
];

/// The vector that every point has.
pub(super) const VECTOR: &str = "image";

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(vec!["", "a", "b", "red", "größe", "日本", "2024", "null", "A red b"]).prop_map(str::to_owned),
        2 => select(MOMENTS.to_vec()).prop_map(str::to_owned),
        1 => select(vec![255, 256, 257, 300]).prop_map(|bytes| "x".repeat(bytes)),
        1 => "\\PC{0,5}",
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1 => select(vec!["größe", "d.e", "", "x[]", "q\"q", "zz"]).prop_map(str::to_owned),
    ]
}

/// Degrees, few of them, so that places are on edges and corners; one of them is off the earth.
fn coordinate() -> impl Strategy<Value = f64> {
    select(vec![-180.0, -90.0, -1.0, 0.0, 0.5, 1.0, 2.0, 90.0, 179.5, 180.0, 200.0])
}

fn place() -> impl Strategy<Value = GeoPoint> {
    (coordinate(), coordinate()).prop_filter_map("on the earth", |(lon, lat)| GeoPoint::new(lon, lat))
}

fn area() -> impl Strategy<Value = GeoArea> {
    let ring = || vec(place(), 3..5).prop_map(|ring| ring.iter().chain(&ring[..1]).copied().collect::<Vec<_>>());
    prop_oneof![
        (place(), place()).prop_map(|(top_left, bottom_right)| GeoArea::Box(GeoBox { top_left, bottom_right })),
        (place(), select(vec![-1.0, 0.0, 1e5, 2e5, 1e7, 3e7]))
            .prop_map(|(center, radius_m)| GeoArea::Circle(GeoCircle { center, radius_m })),
        (ring(), vec(ring(), 0..2))
            .prop_map(|(exterior, interiors)| GeoArea::Polygon(GeoPolygon { exterior, interiors })),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        2 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::Bool),
        4 => select(INTEGERS.to_vec()).prop_map(|number| json!(number)),
        1 => select(vec![u64::MAX, 1 << 63]).prop_map(|number| json!(number)),
        2 => select(FLOATS.to_vec()).prop_map(|number| json!(number)),
        5 => text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            4 => vec(inner.clone(), 0..5).prop_map(Value::Array),
            1 => (coordinate(), coordinate()).prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat})),
            1 => (coordinate(), inner.clone()).prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat})),
            4 => vec((key(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

pub(super) fn payload() -> impl Strategy<Value = Payload> {
    vec((key(), value()), 0..5).prop_map(|pairs| pairs.into_iter().collect())
}

pub(super) fn path() -> impl Strategy<Value = Path> {
    let step = prop_oneof![
        6 => key().prop_map(Step::Key),
        4 => Just(Step::Each),
        1 => (0usize..3).prop_map(Step::Index),
    ];
    (key(), vec(step, 0..4))
        .prop_map(|(first, rest)| rest.into_iter().fold(Path::key(first), |path, step| path.then(step)))
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        3 => text().prop_map(Scalar::Keyword),
        3 => select(INTEGERS.to_vec()).prop_map(Scalar::Integer),
        1 => any::<bool>().prop_map(Scalar::Bool),
    ]
}

fn text_match() -> impl Strategy<Value = Match> {
    let want = select(vec![TextWant::All, TextWant::Any, TextWant::Phrase]);
    let wanted = || prop_oneof![text(), select(vec!["re", "2024 01", "x", "ö", "A b"]).prop_map(str::to_owned)];
    prop_oneof![
        2 => (wanted(), want).prop_map(|(text, want)| Match::Text(TextMatch { text, want, tokens: None })),
        1 => wanted().prop_map(Match::Prefix),
    ]
}

fn range<T: Copy + std::fmt::Debug + 'static>(bounds: Vec<T>) -> impl Strategy<Value = Range<T>> {
    let bound = || proptest::option::weighted(0.4, select(bounds.clone()));
    (bound(), bound(), bound(), bound()).prop_map(|(gt, gte, lt, lte)| Range { gt, gte, lt, lte })
}

fn test() -> impl Strategy<Value = FieldTest> {
    #[expect(clippy::cast_precision_loss, reason = "ranges compare as f64")]
    let numbers = FLOATS.into_iter().chain(INTEGERS.map(|number| number as f64)).collect();
    let moments = MOMENTS.into_iter().filter_map(parse_datetime).collect();
    prop_oneof![
        3 => scalar().prop_map(|scalar| FieldTest::Match(Match::Value(scalar))),
        2 => vec(scalar(), 0..4).prop_map(|scalars| FieldTest::Match(Match::Any(scalars))),
        3 => vec(scalar(), 0..6).prop_map(|scalars| FieldTest::Match(Match::Except(scalars))),
        3 => range(numbers).prop_map(FieldTest::Range),
        2 => range(moments).prop_map(FieldTest::DatetimeRange),
        2 => range(vec![0u64, 1, 2, 3]).prop_map(FieldTest::ValuesCount),
        3 => text_match().prop_map(FieldTest::Match),
        3 => area().prop_map(FieldTest::Geo),
    ]
}

pub(super) fn id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        (0u64..40).prop_map(PointId::Num),
        (0u128..40).prop_map(|bits| PointId::Uuid(uuid::Uuid::from_u128(bits))),
    ]
}

pub(super) fn filter() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        10 => (path(), vec(test(), 0..3)).prop_map(|(key, tests)| Condition::Field { key, tests }),
        2 => path().prop_map(Condition::IsEmpty),
        2 => path().prop_map(Condition::IsNull),
        1 => vec(id(), 0..20).prop_map(Condition::HasId),
        1 => select(vec![VECTOR, "other"]).prop_map(|name| Condition::HasVector(name.to_owned())),
        1 => (0u32..4, 0u32..4).prop_map(|(index, total)| Condition::Slice(Slice { index, total })),
    ];
    let condition = leaf.prop_recursive(3, 20, 4, |inner| {
        let nested = (path(), clauses(inner.clone().boxed()));
        prop_oneof![
            3 => clauses(inner.boxed()).prop_map(|filter| Condition::Filter(Box::new(filter))),
            2 => nested.prop_map(|(key, filter)| Condition::Nested { key: key.each(), filter: Box::new(filter) }),
        ]
    });
    (clauses(condition.boxed()), any::<bool>()).prop_map(|(mut filter, tokens)| {
        super::resolve(&mut filter, &|_| tokens.then(Tokenizer::default));
        filter
    })
}

fn clauses(condition: BoxedStrategy<Condition>) -> impl Strategy<Value = Filter> {
    let some = move || prop_oneof![2 => Just(Vec::new()), 3 => vec(condition.clone(), 1..4)];
    let min_should = (some(), 0usize..4).prop_map(|(conditions, min_count)| MinShould { conditions, min_count });
    (some(), some(), some(), proptest::option::weighted(0.2, min_should))
        .prop_map(|(must, should, must_not, min_should)| Filter { must, should, must_not, min_should })
}

/// Points with different ids.
pub(super) fn points(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(PointId, Payload)>> {
    vec((id(), payload()), count).prop_map(|mut points| {
        let mut seen = std::collections::HashSet::new();
        points.retain(|(id, _)| seen.insert(*id));
        points
    })
}

/// The three sections of some points.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) points: u32,
    pub(super) ids: Vec<u8>,
    pub(super) fields: Vec<u8>,
    pub(super) rows: Vec<u8>,
}

impl Sections {
    pub(super) fn new(points: &[(PointId, Payload)], cluster_points: usize) -> Self {
        let count = u32::try_from(points.len()).unwrap();
        let starts: Vec<u32> = (0..count).step_by(cluster_points).collect();
        let (mut fields, mut rows) = (FieldsWriter::new(&starts), RowsWriter::new());
        for (ordinal, (_, payload)) in (0..).zip(points) {
            fields.push(ordinal, payload);
            rows.push(&serde_json::to_string(payload).unwrap()).unwrap();
        }
        let ids: Vec<PointId> = points.iter().map(|(id, _)| *id).collect();
        let ids = ids::write(&ids).unwrap();
        Self { points: count, ids, fields: fields.finish(), rows: rows.finish() }
    }

    pub(super) fn view(&self) -> crate::Result<View<'_>> {
        let points = self.points;
        let (ids, fields) = (
            Ids::open(Region::whole(&self.ids, "section"), points)?,
            Fields::open(Region::whole(&self.fields, "section"), points)?,
        );
        Ok(View {
            points,
            vectors: self,
            ids,
            fields,
            rows: Rows::open(Region::whole(&self.rows, "section"), points)?,
            dead: None,
        })
    }
}

impl Holders for Sections {
    fn holders(&self, name: &str) -> crate::Result<RoaringBitmap> {
        Ok(if name == VECTOR { (0..self.points).collect() } else { RoaringBitmap::new() })
    }

    fn needed(&self, _: &str) -> crate::Result<Option<Region<'_>>> {
        Ok(None)
    }
}
