//! Damaged files: an error or any answer, never a panic, and verifying finds every flipped byte.

use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::segment::{
    Along,
    layout::{ENTRY_BYTES, FOOTER_BYTES, Section, SectionKind},
};

/// Uses everything a reader can do; any answer is fine, a panic is not.
fn exercise(bytes: Vec<u8>) {
    let Ok(segment) = Segment::open(Arc::new(bytes)) else { return };
    let _ = segment.verify();
    let _ = segment.describe();
    let _ = segment.head();
    let filter = |value: serde_json::Value| Some(Filter::from_json(&value).unwrap());
    let filters = [
        None,
        filter(json!({
            "should": [{"key": "cat", "match": {"value": "c1"}}, {"key": "x", "range": {"gt": 10}}],
            "must_not": [{"key": "half", "match": {"value": true}}, {"is_empty": {"key": "n"}}],
        })),
        filter(
            json!({"should": [{"has_vector": "a"}, {"has_vector": several::MULTI}, {"has_vector": several::SPARSE}]}),
        ),
    ];
    let dead = segment.without(Arc::new([0, 3, 5].into()));
    for filter in filters {
        for (name, params) in segment.dense() {
            for exact in [true, false] {
                let asked = several::asking(name, vec![0.5; params.size as usize], filter.clone(), exact);
                let _ = (segment.search(&asked, &Unwatched), dead.search(&asked, &Unwatched));
                let _ = segment.search_ranges(&asked, Along::default(), &Unwatched);
            }
        }
        let _ = segment.count(filter.as_ref(), &Unwatched);
        let _ = segment.scroll(None, filter.as_ref(), 10, &Unwatched);
    }
    for ordinal in [0, 1, 2, segment.len() - 1, segment.len()] {
        let _ = (segment.id(ordinal), segment.payload(ordinal), segment.vector(ordinal));
        let _ = segment.vectors(ordinal, &|_| true);
    }
}

fn single() -> Vec<u8> {
    Sample::new(300, 36, Datatype::Float32, 10).bytes(params(36, Distance::Euclid, Datatype::Float32))
}

/// A file with a first vector or without one, a further one with codes and one without, and both that are not searched.
fn several(first: bool) -> Vec<u8> {
    let dense = [
        ("a", params(33, Distance::Euclid, Datatype::Float32)),
        ("b", params(34, Distance::Cosine, Datatype::Float16)),
        ("c", params(3, Distance::Manhattan, Datatype::Uint8)),
    ];
    let shares =
        [("a", if first { 1.0 } else { 0.7 }), ("b", 0.5), ("c", 0.3), (several::MULTI, 0.5), (several::SPARSE, 0.9)];
    several::Model::new(several::schema(&dense, true), 120, &shares, 6).bytes()
}

fn files() -> &'static [Vec<u8>; 3] {
    static FILES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    FILES.get_or_init(|| [single(), several(true), several(false)])
}

fn sections(bytes: &[u8]) -> Vec<Section> {
    Segment::open(Arc::new(bytes.to_vec())).unwrap().file.sections().to_vec()
}

/// Makes all checksums right again, as whoever damages on purpose would.
fn seal(bytes: &mut [u8]) {
    let footer = bytes.len() - FOOTER_BYTES;
    let u64_at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let table = u64_at(bytes, footer + 16) as usize;
    for entry in (table..footer).step_by(ENTRY_BYTES) {
        let (offset, len) = (u64_at(bytes, entry + 8) as usize, u64_at(bytes, entry + 16) as usize);
        let checksum = bytes.get(offset..offset.saturating_add(len)).map_or(0, xxh3_64);
        bytes[entry + 24..entry + 32].copy_from_slice(&checksum.to_le_bytes());
    }
    let checksum = xxh3_64(&bytes[table..footer]);
    bytes[footer + 24..footer + 32].copy_from_slice(&checksum.to_le_bytes());
    let checksum = xxh3_64(&bytes[footer..footer + 56]);
    bytes[footer + 56..].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn every_flipped_byte_is_found_by_verify() {
    for bytes in files() {
        for section in sections(bytes).iter().filter(|section| section.len > 0) {
            for at in [section.offset, section.offset + section.len / 2, section.offset + section.len - 1] {
                let mut bad = bytes.clone();
                bad[at as usize] ^= 0x10;
                let outcome = Segment::open(Arc::new(bad)).and_then(|segment| segment.verify());
                let error = outcome.expect_err(section.kind.name());
                assert!(error.to_string().contains(section.kind.name()), "{error}");
            }
        }
    }
}

#[test]
fn truncated_files_are_refused() {
    for bytes in files() {
        for len in (0..bytes.len()).step_by(bytes.len() / 61).chain([bytes.len() - 1]) {
            let error = Segment::open(Arc::new(bytes[..len].to_vec())).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{len}: {error}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Segment::open(Arc::new(longer)).is_err());
    }
}

#[test]
fn what_leads_from_points_to_vectors_is_verified_beyond_checksums() {
    let bytes = &files()[1];
    let whole = sections(bytes);
    for section in whole.iter().filter(|section| [SectionKind::Places, SectionKind::Values].contains(&section.kind)) {
        // Numbers of the file's tables; of values, also of the last row.
        let last = if section.kind == SectionKind::Values { [120 * 8, 121 * 8] } else { [119 * 4, section.len - 4] };
        for at in [0, 8, 40, last[0], last[1]] {
            let mut bad = bytes.clone();
            bad[(section.offset + at) as usize] ^= 1;
            seal(&mut bad);
            let error = Segment::open(Arc::new(bad)).and_then(|segment| segment.verify());
            let error = error.expect_err(&format!("{section:?} {at}"));
            assert!(error.to_string().contains(section.kind.name()), "{error}");
        }
    }
}

#[test]
fn groups_are_whole_and_of_different_names() {
    let bytes = &files()[1];
    let whole = sections(bytes);
    let heads = || whole.iter().filter(|section| section.kind == SectionKind::Head && section.group != 0);
    assert_eq!(heads().count(), 4);
    let opened = |bytes: Vec<u8>| Segment::open(Arc::new(bytes)).map(|segment| segment.file.sections().len());
    for head in heads() {
        // Names of one letter end the heads of dense vectors.
        let mut bad = bytes.clone();
        let end = (head.offset + head.len) as usize;
        if (b'b'..=b'c').contains(&bad[end - 1]) {
            bad[end - 1] = b'a';
            seal(&mut bad);
            assert!(opened(bad).unwrap_err().to_string().contains("one name"));
        }
        // The codec of another kind of group.
        for codec in [3, 4, 5, 9] {
            let mut bad = bytes.clone();
            let at = head.offset as usize + 6;
            if bad[at] != codec {
                bad[at] = codec;
                seal(&mut bad);
                assert!(opened(bad).is_err(), "{codec}");
            }
        }
    }
    // Each section of a further group, taken out of the table by making it one that may be skipped.
    let table = bytes.len() - FOOTER_BYTES - whole.len() * ENTRY_BYTES;
    for entry in (table..bytes.len() - FOOTER_BYTES).step_by(ENTRY_BYTES) {
        if bytes[entry + 2] == 0 {
            continue;
        }
        let mut bad = bytes.clone();
        bad[entry] = 200;
        seal(&mut bad);
        let required = bad[entry + 4] == 1;
        assert_eq!(opened(bad.clone()).is_err(), required);
        bad[entry + 4] = 0;
        seal(&mut bad);
        assert_eq!(opened(bad).is_err(), required, "{}", bytes[entry]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_files_never_panic(
        file in 0usize..3, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), sealed: bool,
    ) {
        let mut bytes = files()[file].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if sealed {
            // The footer as it was: where it leads elsewhere nothing else is looked at.
            let whole = &files()[file];
            let footer = whole.len() - FOOTER_BYTES;
            bytes[footer..].copy_from_slice(&whole[footer..]);
            seal(&mut bytes);
        }
        exercise(bytes);
    }

    #[test]
    fn damage_where_several_vectors_are_told_apart_never_panics(
        file in 1usize..3, section in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()]), 1..12),
    ) {
        let mut bytes = files()[file].clone();
        let told = [SectionKind::Places, SectionKind::Values, SectionKind::Head, SectionKind::Clusters];
        let sections: Vec<Section> = sections(&bytes).into_iter().filter(|section| told.contains(&section.kind)).collect();
        let section = section.get(&sections);
        for (at, value) in edits {
            let at = section.offset as usize + at.index(section.len as usize);
            bytes[at] = value;
        }
        seal(&mut bytes);
        exercise(bytes);
    }
}
