//! Every table against the scalar one and against exact arithmetic.

use proptest::prelude::*;

use super::*;
use crate::seed::SplitMix64;

/// Groups of random codes and constants in one order, with the signs they stand for.
struct Sample {
    signs: Vec<Vec<u32>>,
    bytes: Vec<u8>,
    constants: Vec<f32>,
    weights: Vec<f32>,
}

fn sample(order: Order, width: usize, groups: usize, seed: u64) -> Sample {
    let mut random = SplitMix64::new(seed);
    let mut sample = Sample { signs: vec![], bytes: vec![], constants: vec![], weights: vec![] };
    for _ in 0..groups {
        let mut group = vec![0; group_bytes(width)];
        for lane in 0..LANES {
            let signs: Vec<u32> = (0..width / UNIT_DIMS).map(|_| random.next() as u32).collect();
            for (unit, &signs) in group[..2 * width].as_chunks_mut().0.iter_mut().zip(&signs) {
                order.put(unit, lane, signs);
            }
            sample.signs.push(signs);
            let (constant, weight) = (random.unit() as f32 - 0.5, random.unit() as f32);
            group[2 * width + 4 * lane..][..4].copy_from_slice(&constant.to_le_bytes());
            group[2 * width + 64 + 4 * lane..][..4].copy_from_slice(&weight.to_le_bytes());
            sample.constants.push(constant);
            sample.weights.push(weight);
        }
        sample.bytes.extend(group);
    }
    sample
}

fn query(width: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..width).map(|_| (random.unit() + random.unit() + random.unit()) as f32 - 1.5).collect()
}

/// `<signs, query>`.
fn product(signs: &[u32], query: &[f32]) -> f64 {
    let sign = |i: usize| if signs[i / 32] >> (i % 32) & 1 == 1 { 1.0 } else { -1.0 };
    query.iter().enumerate().map(|(i, &value)| sign(i) * f64::from(value)).sum()
}

#[test]
fn every_byte_of_a_unit_has_one_owner() {
    for order in [Order::ByLane, Order::ByQuad] {
        let mut seen = [false; UNIT_BYTES];
        for (lane, quad) in (0..LANES).flat_map(|lane| (0..4).map(move |quad| (lane, quad))) {
            assert!(!std::mem::replace(&mut seen[order.byte(lane, quad)], true), "{order:?} {lane} {quad}");
        }
    }
}

#[test]
fn sums_are_inner_products_with_signs() {
    for table in available() {
        for (width, groups) in [(32, 1), (64, 4), (384, 2), (800, 3), (4_128, 2), (65_536, 1)] {
            let sample = sample(table.order, width, groups, 7);
            let query = query(width, 11);
            let mut bytes = Vec::new();
            let (step, low) = fill(&query, &mut bytes);
            let mut out = [0.0; GROUPS_MAX * LANES];
            let terms = Terms { base: 2.0, step, low, bound: f32::INFINITY };
            let below = (table.scan)(&sample.bytes, &bytes, &terms, &mut out);
            assert_eq!(below.count_ones() as usize, groups * LANES, "{}", table.name);
            for (lane, &sum) in out.iter().enumerate().take(groups * LANES) {
                let (constant, weight) = (f64::from(sample.constants[lane]), f64::from(sample.weights[lane]));
                let expected = 2.0 + constant - weight * product(&sample.signs[lane], &query);
                // Each quad is half a step off at most, and independent of the others.
                let room = f64::from(step) * (width as f64 / 4.0).sqrt() * 2.0 + 1e-4;
                let off = (f64::from(sum) - expected).abs();
                assert!(off < room, "{} {width} lane {lane}: {sum} is not {expected} +- {room}", table.name);
            }
        }
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    for table in available() {
        for width in [32, 2_048, 2_080, 65_536] {
            let group = sample(table.order, width, 1, 3).bytes;
            let terms = Terms { base: 0.0, step: 1.0, low: 0.0, bound: 0.0 };
            let mut out = [0.0; GROUPS_MAX * LANES];
            let mut group = group;
            group[2 * width..2 * width + 64].fill(0);
            for weight in group[2 * width + 64..2 * width + 128].as_chunks_mut::<4>().0 {
                *weight = (-1.0f32).to_le_bytes();
            }
            (table.scan)(&group, &vec![255; 4 * width], &terms, &mut out);
            assert!(
                out[..LANES].iter().all(|&sum| sum == 255.0 * width as f32 / 4.0),
                "{} {width} {out:?}",
                table.name
            );
        }
    }
}

#[test]
fn unusual_queries_have_tables() {
    for query in [vec![0.0; 64], vec![f32::MAX; 64], vec![f32::NAN; 64], vec![1e-40; 64], vec![f32::INFINITY; 64]] {
        let mut table = Vec::new();
        let (step, low) = fill(&query, &mut table);
        assert_eq!(table.len(), 256);
        assert!(step.is_finite() && low.is_finite(), "{query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lanes that are not numbers are never below a bound, and the others are what the oracle says.
    #[test]
    fn tables_agree_with_the_oracle(units in 1usize..40, groups in 1usize..=GROUPS_MAX, seed: u64, bound in -20f32..20.0, odd in 0usize..64) {
        let width = units * UNIT_DIMS;
        let query = query(width, seed ^ 1);
        let mut bytes = Vec::new();
        let (step, low) = fill(&query, &mut bytes);
        let terms = Terms { base: 1.0, step, low, bound };
        for table in available() {
            let mut sample = sample(table.order, width, groups, seed);
            let (group, lane) = (odd / LANES % groups, odd % LANES);
            let at = group * group_bytes(width) + 2 * width + 4 * lane;
            sample.bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            let (mut expected, mut got) = ([0.0; GROUPS_MAX * LANES], [0.0; GROUPS_MAX * LANES]);
            scalar::scan(table.order, &sample.bytes, &bytes, &terms, &mut expected);
            let below = (table.scan)(&sample.bytes, &bytes, &terms, &mut got);
            for lane in 0..groups * LANES {
                let (got, expected) = (got[lane], expected[lane]);
                prop_assert!(got.is_nan() == expected.is_nan());
                prop_assert!(got.is_nan() || (got - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{} {got} {expected}", table.name);
                prop_assert_eq!(below >> lane & 1 == 1, got < bound);
            }
            prop_assert_eq!(below.checked_shr((groups * LANES) as u32).unwrap_or(0), 0);
        }
    }

    #[test]
    fn edges_agree(units in 1usize..20, seed: u64) {
        let width = units * UNIT_DIMS;
        let (node, near) = (query(width, seed), query(width, !seed));
        let r: Vec<f32> = near.iter().zip(&node).map(|(near, node)| near - node).collect();
        let sum = |term: &dyn Fn(usize) -> f32| (0..width).map(|i| f64::from(term(i))).sum::<f64>();
        for table in available() {
            let mut signs = vec![0; units];
            let edge = (table.edge)(&node, &near, &mut signs);
            let positive = |i: usize| signs[i / 32] >> (i % 32) & 1 == 1;
            prop_assert!((0..width).all(|i| positive(i) == (r[i] >= 0.0)));
            let signed = |i: usize| if positive(i) { node[i] } else { -node[i] };
            for (got, expected) in [
                (edge.squared, sum(&|i| r[i] * r[i])),
                (edge.magnitude, sum(&|i| r[i].abs())),
                (edge.signs_node, sum(&signed)),
                (edge.node, sum(&|i| r[i] * node[i])),
            ] {
                prop_assert!((f64::from(got) - expected).abs() < 1e-5 * width as f64, "{} {got} {expected}", table.name);
            }
        }
    }
}
