//! Every tile against plain loops.

use proptest::prelude::*;

use super::*;
use crate::seed::SplitMix64;

fn product(a: &[u8], b: &[u8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * (i32::from(b) - 128)).sum()
}

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    // Extremes are common.
    (0..count).map(|_| [0, 255, random.next() as u8, random.next() as u8][random.below(4) as usize]).collect()
}

/// Terms of all kinds, some that make no number.
fn terms(row: usize) -> Terms {
    let mut random = SplitMix64::new(row as u64);
    let mut part = || random.unit() as f32 - 0.5;
    let factor = [part(), 0.0, f32::MAX, f32::INFINITY][row % 5 % 4];
    Terms { factor, bias: 1e6 * part(), half: 1e3 * part(), shift: (1e4 * part()) as i32 }
}

fn check(tile: &Tile, rows: &[u8], width: usize, left: &[u32], right: std::ops::Range<usize>) {
    let row = |i: usize| &rows[i * width..][..width];
    let terms: Vec<Terms> = (0..rows.len() / width).map(terms).collect();
    let measured = Rows::new(rows, width, &terms);
    let mut out = vec![0.0; left.len()];
    for own in right.clone() {
        (tile.distances)(&measured, own as u32, left, &mut out);
        let distance = |&l: &u32| terms[l as usize].distance(terms[own], product(row(l as usize), row(own)));
        let expected: Vec<u32> = left.iter().map(|l| distance(l).to_bits()).collect();
        assert_eq!(out.iter().map(|d| d.to_bits()).collect::<Vec<_>>(), expected, "{} distances", tile.name);
    }
    let mut panel = Panel::default();
    (tile.pack)(&rows[right.start * width..right.end * width], width, &mut panel);
    assert_eq!(panel.columns(), right.len().next_multiple_of(PANEL_ROWS));
    let mut out = vec![0; left.len() * panel.columns()];
    (tile.block)(rows, left, &panel, &mut out);
    for (&l, out) in left.iter().zip(out.chunks_exact(panel.columns().max(1))) {
        let expected: Vec<i32> = right.clone().map(|r| product(row(l as usize), row(r))).collect();
        assert_eq!(out[..right.len()], expected, "{} block", tile.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn tiles_multiply(
        count in 1usize..90,
        blocks in 1usize..5,
        seed in any::<u64>(),
        left in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ends in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let width = blocks * BLOCK_DIMS;
        let rows = bytes(count * width, seed);
        let left: Vec<u32> = left.iter().map(|at| at.index(count) as u32).collect();
        let (a, b) = (ends.0.index(count + 1), ends.1.index(count + 1));
        for tile in available() {
            check(&tile, &rows, width, &left, a.min(b)..a.max(b));
        }
    }
}

#[test]
#[should_panic(expected = "an ordinal that is not a row")]
fn rows_that_are_not_there() {
    let rows = bytes(2 * BLOCK_DIMS, 1);
    let terms = [terms(0), terms(1)];
    for tile in available().into_iter().rev() {
        (tile.distances)(&Rows::new(&rows, BLOCK_DIMS, &terms), 0, &[1, 2], &mut [0.0; 2]);
    }
}

#[test]
fn the_largest_products_are_exact() {
    let width = 65_536;
    let mut rows = vec![255u8; 2 * width];
    rows[width..].fill(0);
    for tile in available() {
        check(&tile, &rows, width, &[0, 1], 0..2);
    }
}
