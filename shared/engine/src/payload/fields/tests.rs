use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::json;

use super::*;
use crate::{
    payload::samples::{Sections, path, points},
    source::Region,
};

fn section(payloads: &[serde_json::Value], cluster_starts: &[u32]) -> Vec<u8> {
    let mut writer = FieldsWriter::new(cluster_starts);
    for (ordinal, payload) in (0..).zip(payloads) {
        writer.push(ordinal, payload.as_object().unwrap());
    }
    writer.finish()
}

fn touch_everything(bytes: &[u8], points: u32) {
    let Ok(fields) = Fields::open(Region::whole(&bytes, SECTION), points) else { return };
    let _ = (fields.verify(), fields.describe());
    for name in fields.names().unwrap_or_default() {
        let Ok(Some(field)) = fields.field(name) else { continue };
        let _ = (field.present(), field.null(), field.other(), field.blank(), field.counts(|count| count > 0));
        if let Ok(Some(keywords)) = field.keywords() {
            let _ = keywords.get("red");
            let _ = keywords.each("", |_, slot| slot.clusters(&[0, 2, 4]).map(drop));
        }
        for column in [field.integers(), field.floats(), field.datetimes()].into_iter().flatten().flatten() {
            let _ = (column.find(|key| key < 1 << 63, |_| true), column.find_i64(1));
            let _ = (0..9).filter_map(|cluster| column.bounds(cluster)).count();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn sets_hold_what_the_payloads_have(points in points(0..25), path in path()) {
        let sections = Sections::new(&points, 3);
        let fields = sections.view().unwrap().fields;
        fields.verify().unwrap();
        fields.describe().unwrap();
        prop_assert!(fields.is_complete());
        let having = |test: &dyn Fn(&serde_json::Value) -> bool| -> RoaringBitmap {
            let any = |payload| path.values(payload).into_iter().any(test);
            (0..).zip(&points).filter(|(_, (_, payload))| any(payload)).map(|(ordinal, _)| ordinal).collect()
        };
        match fields.lookup(&path).unwrap() {
            Lookup::Field(field) => {
                prop_assert_eq!(field.present().unwrap(), having(&|_| true));
                prop_assert_eq!(field.filled().unwrap(), having(&|value| !value.is_null() && *value != json!([])));
                let has_object = having(&serde_json::Value::is_object);
                prop_assert!(field.other().unwrap().is_superset(&has_object));
            }
            Lookup::Absent => prop_assert!(having(&|_| true).is_empty()),
            Lookup::Within { field, .. } | Lookup::Below(field) => {
                prop_assert!(field.present().unwrap().is_superset(&having(&|_| true)));
            }
            Lookup::Unknown => prop_assert!(path.steps().iter().any(|s| matches!(s, Step::Key(key) if key.contains('"')))),
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        points in points(1..25),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let sections = Sections::new(&points, 3);
        let mut bytes = sections.fields;
        touch_everything(&bytes[..cut.index(bytes.len())], sections.points);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        touch_everything(&bytes, sections.points);
    }

    #[test]
    fn damaged_bitmaps_are_errors_too(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        seed in 1u32..50,
    ) {
        let payloads: Vec<_> = (0..3_000u32).map(|i| json!({"k": i * seed % 3, "t": format!("t{}", i % 2)})).collect();
        let mut bytes = section(&payloads, &[0, 1_000, 2_000]);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        touch_everything(&bytes, 3_000);
    }
}

#[test]
fn no_points_have_no_fields() {
    let bytes = section(&[], &[]);
    let fields = Fields::open(Region::whole(&bytes, SECTION), 0).unwrap();
    fields.verify().unwrap();
    assert!(fields.names().unwrap().is_empty());
    assert!(matches!(fields.lookup(&Path::key("a")).unwrap(), Lookup::Absent));
}

#[test]
fn names_are_paths() {
    let bytes = section(&[json!({"a": {"b": 1, "c.d": []}, "l": [{"x": 1}, [{"y": null}]], "q\"": {"z": 1}})], &[]);
    let fields = Fields::open(Region::whole(&bytes, SECTION), 1).unwrap();
    assert_eq!(
        fields.names().unwrap(),
        ["a", "a.\"c.d\"", "a.b", "l", "l[].x", "l[][].y", "q\""].map(str::to_owned)[..6]
    );
}

#[test]
fn cluster_summaries_are_those_of_the_points() {
    let starts: Vec<u32> = (0..60_000).step_by(100).collect();
    let kind = |i: u32| if (20_000..40_000).contains(&i) && i.is_multiple_of(2) { "even" } else { "odd" };
    let payloads: Vec<_> = (0..60_000u32)
        .map(|i| if i / 100 % 5 == 0 { json!({}) } else { json!({"k": kind(i), "n": i, "f": -f64::from(i) - 0.5}) })
        .collect();
    let bytes = section(&payloads, &starts);
    let fields = Fields::open(Region::whole(&bytes, SECTION), 60_000).unwrap();
    fields.verify().unwrap();
    let slot = fields.field("k").unwrap().unwrap().keywords().unwrap().unwrap().get("even").unwrap().unwrap();
    let expected: RoaringBitmap = (200..400).filter(|cluster| cluster % 5 != 0).collect();
    assert_eq!(slot.clusters(&starts).unwrap(), expected);
    let (n, f) = (fields.field("n").unwrap().unwrap(), fields.field("f").unwrap().unwrap());
    let (n, f) = (n.integers().unwrap().unwrap(), f.floats().unwrap().unwrap());
    assert_eq!(n.integer_bounds(300), None);
    assert_eq!(n.integer_bounds(301), Some((30_100, 30_199)));
    assert_eq!(f.float_bounds(301), Some((-30_199.5, -30_100.5)));
    assert_eq!(n.integer_bounds(600), None);
}

#[test]
fn clusters_may_be_empty() {
    let starts = [0, 0, 1, 1, 1];
    let bytes = section(&[json!({"n": 5}), json!({"n": 7})], &starts);
    let fields = Fields::open(Region::whole(&bytes, SECTION), 2).unwrap();
    fields.verify().unwrap();
    let column = fields.field("n").unwrap().unwrap().integers().unwrap().unwrap();
    let bounds: Vec<_> = (0..6).map(|cluster| column.integer_bounds(cluster)).collect();
    assert_eq!(bounds, [None, Some((5, 5)), None, None, Some((7, 7)), None]);
}

#[test]
fn extreme_numbers_keep_their_order() {
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
    assert!(numbers.map(column::key_of_i64).is_sorted());
    assert_eq!(numbers.map(|number| column::i64_of_key(column::key_of_i64(number))), numbers);
    let floats = [f64::NEG_INFINITY, -1e308, -1.0, -0.0, 0.0, 5e-324, 1.0, f64::INFINITY];
    assert!(floats.map(column::key_of_f64).is_sorted());
    assert_eq!(floats.map(|float| column::f64_of_key(column::key_of_f64(float)).to_bits()), floats.map(f64::to_bits));
}

#[test]
fn the_field_that_says_most_is_found() {
    let check = |path: &str, field: &str, fit: Fit| {
        let (found, found_fit) = field_for(&Path::parse(path).unwrap()).unwrap();
        assert_eq!((found.to_string().as_str(), found_fit), (field, fit), "{path}");
    };
    check("a", "a", Fit::Same);
    check("a[].b", "a[].b", Fit::Same);
    check("a[3].b", "a[].b", Fit::Within { entered: false });
    check("a[]", "a", Fit::Within { entered: true });
    check("a[0][1]", "a", Fit::Within { entered: true });
    check("a[0].b[]", "a[].b", Fit::Within { entered: true });
    let quoted = Path::key("a").then(Step::Index(0)).then(Step::Key("\"".to_owned()));
    assert_eq!(field_for(&quoted).unwrap(), (Path::key("a"), Fit::Below));
    let long = Path::key("a").then(Step::Key("x".repeat(PATH_BYTES_MAX)));
    assert_eq!(field_for(&long).unwrap(), (Path::key("a"), Fit::Below));
    assert_eq!(field_for(&Path::key("\"")), None);
}
