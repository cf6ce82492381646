use proptest::prelude::*;

use super::*;
use crate::{Error, Result, source::Region};

fn section(rows: &[String]) -> Vec<u8> {
    let mut writer = RowsWriter::new();
    rows.iter().for_each(|row| writer.push(row).unwrap());
    writer.finish()
}

fn row() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("{}".to_owned()),
        4 => "\\PC{0,40}".prop_map(|text| serde_json::json!({ "text": text }).to_string()),
        1 => (0usize..40_000).prop_map(|bytes| serde_json::json!({ "x": "ab".repeat(bytes / 2) }).to_string()),
    ]
}

fn touch_everything(bytes: &[u8], points: u32) {
    if let Ok(rows) = Rows::open(Region::whole(&bytes, SECTION), points) {
        let _ = rows.verify();
        for ordinal in 0..points + 2 {
            let _ = rows.get(ordinal);
        }
        let _ = rows.each(0..points, |_, _| Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back(given in proptest::collection::vec(row(), 0..60), step in 1usize..9) {
        let bytes = section(&given);
        let points = u32::try_from(given.len()).unwrap();
        let rows = Rows::open(Region::whole(&bytes, SECTION), points).unwrap();
        rows.verify().unwrap();
        for (ordinal, row) in (0..).zip(&given) {
            prop_assert_eq!(&rows.get(ordinal).unwrap(), row);
        }
        let mut seen = Vec::new();
        rows.each((0..points).step_by(step), |ordinal, text| {
            seen.push((ordinal as usize, text.to_owned()));
            Ok(())
        }).unwrap();
        prop_assert_eq!(seen, given.into_iter().enumerate().step_by(step).collect::<Vec<_>>());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        given in proptest::collection::vec(row(), 1..40),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_table in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = section(&given);
        let points = u32::try_from(given.len()).unwrap();
        touch_everything(&bytes[..cut.index(bytes.len())], points);
        let len = if in_table { bytes.len().min(HEADER_BYTES + 2 * ENTRY_BYTES) } else { bytes.len() };
        for (at, value) in flips {
            bytes[at.index(len)] = value;
        }
        touch_everything(&bytes, points);
    }
}

#[test]
fn no_rows_and_one_row_work() {
    let none = section(&[]);
    Rows::open(Region::whole(&none, SECTION), 0).unwrap().verify().unwrap();
    assert!(Rows::open(Region::whole(&none, SECTION), 0).unwrap().get(0).is_err());
    let one = section(&["{}".to_owned()]);
    assert_eq!(Rows::open(Region::whole(&one, SECTION), 1).unwrap().get(0).unwrap(), "{}");
    assert!(Rows::open(Region::whole(&one, SECTION), 2).is_err());
}

#[test]
fn a_row_at_the_limit_is_kept_and_one_above_is_refused() {
    let row = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    let large = [row(PAYLOAD_BYTES_MAX), "{}".to_owned(), row(ROW_BYTES_MAX), row(100)];
    let bytes = section(&large);
    let rows = Rows::open(Region::whole(&bytes, SECTION), 4).unwrap();
    rows.verify().unwrap();
    for (ordinal, row) in (0..).zip(&large) {
        assert!(rows.get(ordinal).unwrap() == *row);
    }
    let error = RowsWriter::new().push(&row(ROW_BYTES_MAX + 1)).unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "payload", .. }), "{error}");
}

#[test]
fn a_block_that_claims_to_be_huge_is_refused_before_it_is_unpacked() {
    let mut bytes = section(&["{}".to_owned(), "{\"a\":1}".to_owned()]);
    bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Rows::open(Region::whole(&bytes, SECTION), 2).unwrap().get(0).unwrap_err();
    assert!(error.to_string().contains("4294967295"), "{error}");
}

#[test]
fn a_visitor_can_stop() {
    let bytes = section(&vec!["{}".to_owned(); 10]);
    let mut seen = 0;
    let result: Result<()> = Rows::open(Region::whole(&bytes, SECTION), 10).unwrap().each(0..10, |_, _| {
        seen += 1;
        if seen == 3 { Err(Error::Cancelled) } else { Ok(()) }
    });
    assert_eq!((result, seen), (Err(Error::Cancelled), 3));
}
