//! The codec against exact arithmetic: geometry, error bounds, recall, and records that lie.

#![expect(clippy::cast_possible_truncation, reason = "the oracle rounds to f32 at its end")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const DIMS: [usize; 7] = [1, 3, 64, 100, 384, 784, 1536];
const METRICS: [Distance; 3] = [Distance::Euclid, Distance::Dot, Distance::Cosine];

/// Repeatable numbers of the standard normal distribution (xorshift and Box-Muller).
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
    fn sample(&mut self) -> f32 {
        ((-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }
    fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.sample()).collect()
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn normalised(vector: &[f32]) -> Vec<f32> {
    let norm = product(vector, vector).sqrt() as f32;
    vector.iter().map(|v| v / norm).collect()
}

fn exact(distance: Distance, x: &[f32], q: &[f32]) -> f64 {
    match distance {
        Distance::Euclid => product(&minus(x, q), &minus(x, q)),
        _ => -product(x, q),
    }
}

fn records(codec: &Codec, vector: &[f32]) -> (Vec<u8>, Vec<u8>) {
    let mut high = vec![0; codec.high_bytes()];
    let mut low = vec![0; codec.low_bytes()];
    codec.encode(vector, &mut Scratch::default(), &mut high, &mut low);
    (high, low)
}

fn f32_at(record: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(record[at..at + 4].try_into().unwrap())
}

/// A dimension's 8-bit code, read as the layout says.
fn code_at(high: &[u8], low: &[u8], dim: usize) -> u8 {
    let padded = 2 * (high.len() - 8);
    let half = (padded - dim / 64 * 64).min(64) / 2;
    let at = dim / 64 * 32 + dim % 64 % half;
    let (high, low) = (high[8 + at], low[4 + at]);
    if dim % 64 < half { (high & 15) << 4 | low & 15 } else { high & 0xF0 | low >> 4 }
}

fn padded(dim: usize) -> usize {
    dim.next_multiple_of(CODES_MULTIPLE)
}

#[test]
fn rotation_keeps_lengths_and_angles() {
    let mut normal = Normal(1);
    for dim in DIMS {
        let rotation = Rotation::new(padded(dim), 42);
        let (mut a, mut b) = (normal.vector(dim), normal.vector(dim));
        a[0] += 10.0;
        b[0] += 10.0;
        let before = (product(&a, &a), product(&b, &b), product(&a, &b));
        for vector in [&mut a, &mut b] {
            vector.resize(padded(dim), 0.0);
            rotation.apply(vector);
        }
        let after = (product(&a, &a), product(&b, &b), product(&a, &b));
        let tolerance = 1e-5 * (before.0 + before.1);
        assert!((before.0 - after.0).abs() < tolerance, "dim {dim}: {before:?} {after:?}");
        assert!((before.1 - after.1).abs() < tolerance, "dim {dim}: {before:?} {after:?}");
        assert!((before.2 - after.2).abs() < tolerance, "dim {dim}: {before:?} {after:?}");
    }
}

#[test]
fn rotation_spreads_a_single_component() {
    for dim in [64, 112, 192, 384, 784, 1536] {
        let padded = padded(dim);
        let rotation = Rotation::new(padded, 7);
        for at in [0, dim / 2, dim - 1] {
            let mut vector = vec![0.0; padded];
            vector[at] = 1.0;
            rotation.apply(&mut vector);
            let largest = vector.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            // A random direction of this many dimensions rarely has a component above five standard deviations.
            assert!(largest < 6.0 / (padded as f32).sqrt(), "dim {dim}, component {at}: {largest}");
        }
    }
}

#[test]
fn seeds_differ_and_repeat() {
    let vector = Normal(3).vector(100);
    let encoded = |seed| records(&Codec::new(Distance::Euclid, vec![0.5; 100], seed).unwrap(), &vector);
    assert_eq!(encoded(1), encoded(1));
    assert_ne!(encoded(1), encoded(2));
}

/// Every CPU and every build must write these bytes: a build is repeatable only if its codes are.
#[test]
fn records_are_the_same_everywhere() {
    for (multiple, digest) in
        [(CODES_MULTIPLE_V1, 10_699_659_338_644_638_706), (CODES_MULTIPLE, 10_688_204_717_278_445_219)]
    {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for dim in [1, 100, 384, 1536] {
            let value = |i: usize, prime: usize| (i * prime % 257) as f32 / 64.0 - 2.0;
            let centre = (0..dim).map(|i| value(i, 31) / 8.0).collect();
            let codec = Codec::of_multiple(Distance::Dot, centre, 77, multiple).unwrap();
            for prime in [101, 7919] {
                let (high, low) = records(&codec, &(0..dim).map(|i| value(i, prime)).collect::<Vec<_>>());
                hash.update(&high);
                hash.update(&low);
            }
        }
        assert_eq!(hash.digest(), digest, "codes in multiples of {multiple}");
    }
}

#[test]
fn decoding_gives_nearly_the_vector_back() {
    let mut normal = Normal(14);
    for (dim, distance) in DIMS.into_iter().flat_map(|dim| METRICS.map(|distance| (dim, distance))) {
        let (centre, x) = (normal.vector(dim), normal.vector(dim));
        let codec = Codec::new(distance, centre.clone(), 5).unwrap();
        let (high, low) = records(&codec, &x);
        let mut scratch = Scratch::default();
        let decoded = codec.decode(&high, &low, &mut scratch);
        assert_eq!(decoded.len(), dim);
        let (offset, off) = (minus(&x, &centre), minus(&x, decoded));
        let share = (product(&off, &off) / product(&offset, &offset)).sqrt();
        assert!(share < 0.02, "{distance:?} {dim}: {share} of the residual is lost");
        for len in [0, 7, high.len() - 1] {
            assert_eq!(codec.decode(&high[..len], &low, &mut scratch), vec![0.0; dim]);
        }
        let broken = vec![255; low.len()];
        assert!(codec.decode(&high, &broken, &mut scratch).iter().all(|value| value.is_finite()));
    }
}

/// The layout's own formulas, evaluated slowly on the bytes, against the encoder's factors and the query's estimates.
#[test]
fn records_are_what_the_layout_says() {
    let mut normal = Normal(4);
    for (dim, distance) in DIMS.into_iter().flat_map(|dim| METRICS.map(|distance| (dim, distance))) {
        let (centre, x, q) = (normal.vector(dim), normal.vector(dim), normal.vector(dim));
        let codec = Codec::new(distance, centre.clone(), 5).unwrap();
        let (high, low) = records(&codec, &x);
        let padded = padded(dim);
        let rotated = |vector: &[f32]| {
            let mut vector = vector.to_vec();
            vector.resize(padded, 0.0);
            codec.rotation.apply(&mut vector);
            vector
        };
        let offset = minus(&x, &centre);
        let r = rotated(&offset);
        let levels: Vec<f32> = (0..padded).map(|i| f32::from(code_at(&high, &low, i)) - 127.5).collect();
        let highs: Vec<f32> = (0..padded).map(|i| f32::from(code_at(&high, &low, i) >> 4) - 7.5).collect();
        let close = |got: f32, expected: f64, size: f64| (f64::from(got) - expected).abs() <= 1e-5 * size;
        let (f4, f8) = (product(&r, &r) / product(&highs, &r), product(&r, &r) / product(&levels, &r));
        assert!(close(f32_at(&high, 0), f4, f4), "{distance:?} {dim}: f4");
        assert!(close(f32_at(&low, 0), f8, f8), "{distance:?} {dim}: f8");
        let size = product(&offset, &offset) + product(&centre, &centre) + product(&q, &q);
        let bias = if distance == Distance::Euclid { product(&offset, &offset) } else { product(&offset, &centre) };
        assert!(close(f32_at(&high, 4), bias, size), "{distance:?} {dim}: bias");
        let share = if distance == Distance::Euclid { 1.0 } else { product(&q, &centre) / product(&centre, &centre) };
        let y = rotated(&q.iter().zip(&centre).map(|(q, c)| q - share as f32 * c).collect::<Vec<_>>());
        let expected = |inner: f64| match distance {
            Distance::Euclid => bias + product(&minus(&q, &centre), &minus(&q, &centre)) - 2.0 * inner,
            _ => -(inner + share * bias + product(&q, &centre)),
        };
        let query = codec.query(&q);
        // The query's own steps: 1/127 and 1/32,639 of its largest component, each half a step off.
        let step = y.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs()))) * product(&r, &r).sqrt() * 3.0;
        let (coarse, fine) = (query.coarse(&high), query.fine(&high, &low));
        let off = (f64::from(coarse) - expected(f4 * product(&highs, &y))).abs();
        assert!(off < step / 127.0 + 1e-5 * size, "{distance:?} {dim}: coarse {coarse} is {off} off");
        let off = (f64::from(fine) - expected(f8 * product(&levels, &y))).abs();
        assert!(off < step / 32_639.0 + 1e-5 * size, "{distance:?} {dim}: fine {fine} is {off} off");
    }
}

/// Errors in units of `|r| |y| / sqrt(p)`: their mean is near 0, their deviation that of 4 and 8 bits.
#[test]
fn a_joined_row_gives_both_records_back() {
    let mut random = Normal(9);
    for dim in [1, 16, 50, 64, 100, 200] {
        let codec = Codec::new(Distance::Euclid, random.vector(dim), 3).unwrap();
        let (high, low) = records(&codec, &random.vector(dim));
        let mut row = vec![0; codec.padded()];
        codec.join(&high, &low, &mut row);
        let heads = Heads::of(&high, &low);
        let (mut again_high, mut again_low) = (vec![1; high.len()], vec![1; low.len()]);
        codec.split_high(&row, &heads, &mut again_high);
        codec.split_low(&row, &heads, &mut again_low);
        assert_eq!((again_high, again_low), (high, low), "{dim} dimensions");
    }
}

#[test]
fn estimates_are_unbiased_and_tight() {
    let mut normal = Normal(6);
    for (dim, distance) in [64, 100, 384, 784, 1536].into_iter().flat_map(|dim| METRICS.map(|d| (dim, d))) {
        let prepare = |v: Vec<f32>| if distance == Distance::Cosine { normalised(&v) } else { v };
        let mut skewed = |scale: f32| {
            let mut vector = normal.vector(dim);
            vector.iter_mut().enumerate().for_each(|(i, v)| *v = scale * *v / (1.0 + i as f32 / 8.0) + 0.3);
            prepare(vector)
        };
        let centre = prepare(vec![0.3; dim]);
        let codec = Codec::new(distance, centre.clone(), 11).unwrap();
        let (mut coarse_errors, mut fine_errors) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let x = skewed(2.0);
            let (high, low) = records(&codec, &x);
            for _ in 0..4 {
                let q = skewed(1.0);
                let query = codec.query(&q);
                let gap = minus(&q, &centre);
                let times = if distance == Distance::Euclid { 2.0 } else { 1.0 };
                let offset = minus(&x, &centre);
                let unit = times * (product(&offset, &offset) * product(&gap, &gap) / padded(dim) as f64).sqrt();
                let truth = exact(distance, &x, &q);
                coarse_errors.push((f64::from(query.coarse(&high)) - truth) / unit);
                fine_errors.push((f64::from(query.fine(&high, &low)) - truth) / unit);
            }
        }
        for (what, errors, deviation_max) in [("coarse", coarse_errors, 0.15), ("fine", fine_errors, 0.015)] {
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let deviation = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
            assert!(deviation < deviation_max, "{distance:?} {dim} {what}: deviation {deviation}");
            assert!(mean.abs() < 5.0 * deviation_max / 10.0, "{distance:?} {dim} {what}: mean {mean}");
            let largest = errors.iter().fold(0.0f64, |m, e| m.max(e.abs()));
            assert!(largest < 6.0 * deviation_max, "{distance:?} {dim} {what}: largest {largest}");
        }
    }
}

/// The share of the true ten nearest in the first `within` by `estimate`.
fn recall(truth: &[f64], estimate: &[f32], within: usize) -> f64 {
    let mut by_truth: Vec<usize> = (0..truth.len()).collect();
    by_truth.sort_by(|&a, &b| truth[a].total_cmp(&truth[b]));
    let mut by_estimate: Vec<usize> = (0..truth.len()).collect();
    by_estimate.sort_by(|&a, &b| estimate[a].total_cmp(&estimate[b]));
    let found: BTreeSet<_> = by_estimate[..within].iter().collect();
    by_truth[..10].iter().filter(|at| found.contains(at)).count() as f64 / 10.0
}

#[test]
fn recall_on_clusters() {
    for (dim, distance) in [(96, Distance::Euclid), (384, Distance::Cosine), (200, Distance::Dot)] {
        let mut normal = Normal(8);
        let centres: Vec<_> = (0..30).map(|_| normal.vector(dim)).collect();
        // A low-dimensional spread inside each cluster, as real embeddings have, and a little noise.
        let axes: Vec<_> = (0..12).map(|_| normal.vector(dim)).collect();
        let mut point = |cluster: usize| {
            let mut vector = centres[cluster % centres.len()].clone();
            for axis in &axes {
                let along = 0.5 * normal.sample();
                vector.iter_mut().zip(axis).for_each(|(v, a)| *v += along * a);
            }
            vector.iter_mut().for_each(|v| *v += 0.1 * normal.sample() + 0.4);
            if distance == Distance::Cosine { normalised(&vector) } else { vector }
        };
        let points: Vec<_> = (0..3000).map(&mut point).collect();
        let queries: Vec<_> = (0..40).map(&mut point).collect();
        let mean = (0..dim).map(|i| points.iter().map(|p| p[i]).sum::<f32>() / points.len() as f32).collect();
        let codec = Codec::new(distance, mean, 3).unwrap();
        let codes: Vec<_> = points.iter().map(|p| records(&codec, p)).collect();
        let (mut coarse, mut fine) = (0.0, 0.0);
        for q in &queries {
            let query = codec.query(q);
            let truth: Vec<_> = points.iter().map(|p| exact(distance, p, q)).collect();
            let estimates: Vec<_> = codes.iter().map(|(high, _)| query.coarse(high)).collect();
            coarse += recall(&truth, &estimates, 20) / queries.len() as f64;
            let estimates: Vec<_> = codes.iter().map(|(high, low)| query.fine(high, low)).collect();
            fine += recall(&truth, &estimates, 10) / queries.len() as f64;
        }
        assert!(coarse >= 0.99, "{distance:?} {dim}: coarse recall@10 within 20 is {coarse}");
        assert!(fine >= 0.97, "{distance:?} {dim}: fine recall@10 is {fine}");
    }
}

#[test]
fn vectors_at_the_centre_and_at_zero() {
    for distance in METRICS {
        for dim in [1, 65, 384] {
            let centre = vec![0.25; dim];
            let codec = Codec::new(distance, centre.clone(), 9).unwrap();
            let q: Vec<f32> = Normal(10).vector(dim);
            let query = codec.query(&q);
            let (high, low) = records(&codec, &centre);
            assert_eq!((f32_at(&high, 0), f32_at(&low, 0)), (0.0, 0.0));
            for x in [centre.clone(), vec![0.0; dim], vec![-3.0; dim]] {
                let (high, low) = records(&codec, &x);
                let truth = exact(distance, &x, &q);
                let size = (product(&q, &q) + 1.0) * (product(&x, &x) + product(&centre, &centre)).max(1.0).sqrt();
                assert!((f64::from(query.fine(&high, &low)) - truth).abs() < 0.02 * size, "{distance:?} {dim} {x:?}");
                assert!((f64::from(query.coarse(&high)) - truth).abs() < 0.2 * size, "{distance:?} {dim} {x:?}");
            }
            // The query may be the centre, too, or zero.
            for q in [centre, vec![0.0; dim]] {
                let query = codec.query(&q);
                let (high, low) = records(&codec, &vec![1.0; dim]);
                let truth = exact(distance, &vec![1.0; dim], &q);
                let size = dim as f64;
                assert!((f64::from(query.fine(&high, &low)) - truth).abs() < 1e-2 * size, "{distance:?} {dim} {q:?}");
            }
        }
    }
}

#[test]
fn huge_and_tiny_values_stay_numbers() {
    let mut normal = Normal(12);
    for (distance, dim) in METRICS.into_iter().flat_map(|d| [100, 1536].map(|dim| (d, dim))) {
        for magnitude in [1e18f32, 1e-18, 1e-42, 3e38] {
            let codec = Codec::new(distance, vec![0.0; dim], 13).unwrap();
            let scaled = |v: Vec<f32>| v.iter().map(|v| (v * magnitude / 8.0).clamp(-3e38, 3e38)).collect::<Vec<_>>();
            let (x, q) = (scaled(normal.vector(dim)), scaled(normal.vector(dim)));
            let (high, low) = records(&codec, &x);
            let query = codec.query(&q);
            for (record, at) in [(&high, 0), (&high, 4), (&low, 0)] {
                assert!(f32_at(record, at).is_finite(), "{distance:?} {dim} {magnitude}");
            }
            let (coarse, fine) = (query.coarse(&high), query.fine(&high, &low));
            assert!(!coarse.is_nan() && !fine.is_nan(), "{distance:?} {dim} {magnitude}: {coarse} {fine}");
            let truth = exact(distance, &x, &q);
            if truth.abs() > 1e-37 && truth.abs() < 1e38 {
                let size = (product(&x, &x) * product(&q, &q)).sqrt();
                assert!(
                    (f64::from(fine) - truth).abs() < 0.01 * size,
                    "{distance:?} {dim} {magnitude}: {fine} {truth}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let why = |result: Result<Codec>| result.unwrap_err().to_string();
    assert!(why(Codec::new(Distance::Manhattan, vec![0.0; 4], 0)).contains("Manhattan"));
    assert!(why(Codec::new(Distance::Dot, vec![0.0, f32::NAN], 0)).contains("component 1"));
    assert!(why(Codec::new(Distance::Dot, vec![], 0)).contains("centre"));
}

#[test]
fn damaged_records_are_far_not_fatal() {
    let codec = Codec::new(Distance::Euclid, vec![0.0; 100], 1).unwrap();
    let (high, low) = records(&codec, &vec![1.0; 100]);
    let query = codec.query(&vec![0.5; 100]);
    for len in 0..high.len() {
        assert_eq!(query.coarse(&high[..len]), f32::INFINITY);
        assert_eq!(query.fine(&high[..len], &low), f32::INFINITY);
    }
    for len in 0..low.len() {
        assert_eq!(query.fine(&high, &low[..len]), f32::INFINITY);
    }
    assert_eq!(query.coarse(&[high.clone(), vec![0; 32]].concat()), f32::INFINITY);
    for factor in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for at in [0, 4] {
            let (mut high, mut low) = (high.clone(), low.clone());
            high[at..at + 4].copy_from_slice(&factor.to_le_bytes());
            low[..4].copy_from_slice(&factor.to_le_bytes());
            assert!(!query.coarse(&high).is_nan());
            assert!(!query.fine(&high, &low).is_nan());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The integer products are equal, so the distances are, bit for bit.
    #[test]
    fn kernels_agree(
        (x, q, centre) in (1usize..300).prop_flat_map(|dim| {
            let vector = || prop::collection::vec(-100f32..100.0, dim);
            (vector(), vector(), vector())
        }),
        seed: u64,
    ) {
        for distance in METRICS {
            let codec = Codec::new(distance, centre.clone(), seed).unwrap();
            let (high, low) = records(&codec, &x);
            let scalar = codec.query_on(&q, kernel::available()[0]);
            for kernel in kernel::available() {
                let query = codec.query_on(&q, kernel);
                prop_assert_eq!(query.coarse(&high).to_bits(), scalar.coarse(&high).to_bits(), "{}", kernel.name);
                prop_assert_eq!(query.fine(&high, &low).to_bits(), scalar.fine(&high, &low).to_bits(), "{}", kernel.name);
                let section = [high.clone(), records(&codec, &q).0].concat();
                let section = HighRecords::new(&section, codec.high_bytes());
                // Every number of rows, in any order, also such that are not there.
                let ordinals = [0, 1, 1, 0, 7, 0, u32::MAX, 1, 0];
                for count in 0..ordinals.len() {
                    let mut out = vec![0.0; count];
                    query.coarse_all(&section, &ordinals[..count], &mut out);
                    for (&ordinal, out) in ordinals.iter().zip(out) {
                        prop_assert_eq!(out.to_bits(), scalar.coarse(section.get(ordinal)).to_bits(), "{}", kernel.name);
                    }
                }
            }
        }
    }

    /// Any bytes of the right length are scored without harm, and by all kernels alike.
    #[test]
    fn any_bytes_are_scored(bytes in prop::collection::vec(any::<u8>(), 40 + 36), q in prop::collection::vec(-1e30f32..1e30, 50)) {
        let codec = Codec::new(Distance::Dot, vec![1.0; 50], 0).unwrap();
        let (high, low) = bytes.split_at(40);
        for kernel in kernel::available() {
            let query = codec.query_on(&q, kernel);
            prop_assert!(!query.coarse(high).is_nan());
            prop_assert!(!query.fine(high, low).is_nan());
        }
    }
}
