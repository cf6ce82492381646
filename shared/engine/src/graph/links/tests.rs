//! Records and sections against what was put in.

use proptest::prelude::*;

use super::{
    Links,
    header::{Entry, HEADER_BYTES, Header},
    record::{self, Plan, Planner, Shape},
    writer::write_level,
};
use crate::Error;

/// A section with nothing but level 0.
fn section(degree_max: u32, lists: &[Vec<u32>]) -> Vec<u8> {
    let nodes = lists.len() as u32;
    let mut bytes = vec![1, 2, 3];
    let origin = bytes.len();
    Header { points: nodes, entry_point: nodes / 2, levels: 1 }.encode(&mut bytes);
    bytes.resize(origin + 2 * HEADER_BYTES, 0);
    let shape = Shape::new(nodes, degree_max);
    let entry = write_level(shape, &[], &|rank, list| list.clone_from(&lists[rank as usize]), origin, &mut bytes);
    let mut encoded = Vec::new();
    entry.encode(&mut encoded);
    bytes[origin + HEADER_BYTES..][..HEADER_BYTES].copy_from_slice(&encoded);
    bytes.split_off(origin)
}

/// Lists as graphs have them: some neighbours near, some anywhere.
fn neighbours(own: u32, nodes: u32, most: usize) -> impl Strategy<Value = Vec<u32>> {
    let near = (-40i64..40).prop_map(move |step| (i64::from(own) + step).clamp(0, i64::from(nodes) - 1) as u32);
    prop::collection::btree_set(prop_oneof![2 => near, 1 => 0..nodes], 0..=most).prop_map(Vec::from_iter)
}

fn adjacency() -> impl Strategy<Value = (u32, Vec<Vec<u32>>)> {
    (1u32..150, prop_oneof![1u32..6, 1u32..80, Just(512)]).prop_flat_map(|(nodes, degree_max)| {
        let lists: Vec<_> = (0..nodes).map(|own| neighbours(own, nodes, degree_max as usize)).collect();
        (Just(degree_max), lists)
    })
}

/// The plan that is best of all runs there are.
fn best_of_all(shape: &Shape, own: u32, list: &[u32]) -> u64 {
    let width = |value: u32| u64::from(32 - value.leading_zeros());
    let widest = |list: &[u32]| list.windows(2).map(|pair| width(pair[1] - pair[0] - 1)).max().unwrap_or(0);
    let rank_bits = width(shape.nodes - 1).max(1);
    let count_bits = width(shape.degree_max);
    let runs = (0..list.len()).flat_map(|from| (from + 1..=list.len()).map(move |to| (from, to)));
    let costs = runs.map(|(from, to)| {
        let offset = i64::from(list[from]) - i64::from(own);
        let fits = |bits: u64| bits >= rank_bits || (-(1i64 << (bits - 1))..1 << (bits - 1)).contains(&offset);
        let near_width = (widest(&list[from..to])..).find(|width| fits(width + count_bits)).unwrap();
        let near = rank_bits.min(near_width + count_bits) + (to - from - 1) as u64 * near_width;
        let far: Vec<u32> = list[..from].iter().chain(&list[to..]).copied().collect();
        let far = if far.is_empty() { 0 } else { rank_bits + (far.len() - 1) as u64 * widest(&far) };
        1 + 2 * count_bits + 12 + near + far
    });
    costs.min().unwrap_or(1 + count_bits)
}

fn round_trip(shape: &Shape, own: u32, list: &[u32]) -> Plan {
    let plan = Planner::default().plan(shape, own, list);
    let mut record = vec![0; plan.bytes()];
    plan.write(shape, own, list, &mut record);
    let mut read = vec![7; 3];
    record::read(shape, own, &record, crate::kernel::get().unpack, &mut read).unwrap();
    read.sort_unstable();
    assert_eq!(read, list);
    assert_eq!(record::length(shape, &record), Ok(plan.bits));
    plan
}

proptest! {
    #[test]
    fn sections_round_trip((degree_max, lists) in adjacency()) {
        let bytes = section(degree_max, &lists);
        let links = Links::open(&bytes, lists.len() as u32).unwrap();
        let mut read = Vec::new();
        for (ordinal, list) in (0u32..).zip(&lists) {
            links.neighbours(ordinal, &mut read).unwrap();
            read.sort_unstable();
            prop_assert_eq!(&read, list);
        }
        prop_assert_eq!(links.link_count(), lists.iter().map(|list| list.len() as u64).sum::<u64>());
        let self_linked = (0u32..).zip(&lists).any(|(own, list)| list.contains(&own));
        prop_assert_eq!(links.verify().is_err(), self_linked);
    }

    #[test]
    fn records_round_trip_up_to_the_largest_ordinals(
        (nodes, own, list) in prop_oneof![Just(u32::MAX), Just(1u32 << 20), 1u32..5_000]
            .prop_flat_map(|nodes| (Just(nodes), 0..nodes))
            .prop_flat_map(|(nodes, own)| (Just(nodes), Just(own), neighbours(own, nodes, 40))),
        degree_max in 40u32..600,
    ) {
        let shape = Shape::new(nodes, degree_max);
        let plan = round_trip(&shape, own, &list);
        // Only maximal runs are tried: others may save a few bits of the far group's width, seldom and little.
        let best = best_of_all(&shape, own, &list);
        prop_assert!(plan.bits >= best && plan.bits <= best + best / 4 + 8, "{} bits, best {best}", plan.bits);
    }

    #[test]
    fn random_bytes_are_read_or_refused(
        record in prop_oneof![prop::collection::vec(any::<u8>(), 0..80), prop::collection::vec(any::<u8>(), 64)],
        (nodes, degree_max) in (1u32.., 1u32..65_536),
        own in any::<prop::sample::Index>(),
    ) {
        let shape = Shape::new(nodes, degree_max);
        let mut list = Vec::new();
        for kernel in crate::kernel::available() {
            if record::read(&shape, own.index(nodes as usize) as u32, &record, kernel.unpack, &mut list).is_ok() {
                prop_assert!(list.len() <= degree_max as usize && list.iter().all(|&rank| rank < nodes));
                let _ = record::length(&shape, &record);
            }
        }
    }
}

#[test]
fn extreme_lists_round_trip() {
    let shape = Shape::new(u32::MAX, 64);
    for own in [0, 1, 1 << 31, u32::MAX - 1] {
        for list in [vec![], vec![0], vec![u32::MAX - 1], vec![0, u32::MAX - 1], vec![0, 1, 1 << 31, u32::MAX - 2]] {
            round_trip(&shape, own, &list);
        }
    }
    round_trip(&Shape::new(1, 1), 0, &[]);
    let consecutive: Vec<u32> = (1_000..1_064).collect();
    assert!(round_trip(&shape, 999, &consecutive).bits < 50, "gaps of nothing cost nothing");
}

#[test]
fn long_lists_overflow_and_short_lines_are_short() {
    let list = |own: u32, degree: u32| (1..=degree).map(|step| (own + step * 7_919) % 20_000).collect::<Vec<_>>();
    let mostly_short: Vec<Vec<u32>> = (0..20_000).map(|own| list(own, if own % 100 == 0 { 32 } else { 4 })).collect();
    let bytes = section(32, &mostly_short);
    let links = Links::open(&bytes, 20_000).unwrap();
    links.verify().unwrap();
    assert_eq!((links.line_bytes().0, links.line_bytes().1 > 0), (32, true));
    let all_long: Vec<Vec<u32>> = (0..20_000).map(|own| list(own, 32)).collect();
    assert_eq!(Links::open(&section(32, &all_long), 20_000).unwrap().line_bytes(), (64, 0));
}

#[test]
fn headers_that_contradict_are_refused_by_place() {
    let lists: Vec<Vec<u32>> = (0..100).map(|own| vec![(own + 1) % 100, (own + 50) % 100]).collect();
    let good = section(4, &lists);
    assert!(Links::open(&good, 100).is_ok());
    let at = |bytes: &[u8], points| match Links::open(bytes, points) {
        Err(Error::Corrupt { section: "links", at, .. }) => Some(at),
        _ => None,
    };
    assert_eq!(at(&good, 99), Some(0), "another segment's links");
    assert_eq!(at(&good[..good.len() - 1], 100), Some(good.len() as u64 - 1));
    assert_eq!(at(&[&good[..], &[0]].concat(), 100), Some(good.len() as u64));
    assert_eq!(at(&[], 100), Some(0));
    for (place, value, expected) in [
        (4, 100, 4),
        (8, 0, 8),
        (8, 33, 8),
        (20, 1, 20),
        (64, 0, 64),
        (64, 99, 64),
        (68, 0, 68),
        (72, 0, 72),
        (72, 65, 72),
        (80, 1, 80),
        (88, 1, 88),
        (96, 201, 96),
    ] {
        let mut bad = good.clone();
        bad[place] = value;
        let found = at(&bad, 100);
        assert!(found == Some(expected) || place == 96, "byte {place} = {value}: {found:?}");
        assert!(Links::open(&bad, 100).and_then(|links| links.verify()).is_err(), "byte {place} = {value}");
    }
    // `entry` decodes what `encode` wrote.
    let entry = Entry::decode(&good, 0).unwrap();
    let mut encoded = Vec::new();
    entry.encode(&mut encoded);
    assert_eq!(encoded, good[HEADER_BYTES..2 * HEADER_BYTES]);
}
