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

fn check(tile: &Tile, rows: &[u8], width: usize, left: &[u32], right: std::ops::Range<usize>) {
    let row = |i: usize| &rows[i * width..][..width];
    let mut out = vec![0; left.len()];
    for query in right.clone() {
        (tile.gather)(rows, row(query), left, &mut out);
        let expected: Vec<i32> = left.iter().map(|&l| product(row(l as usize), row(query))).collect();
        assert_eq!(out, expected, "{} gather", tile.name);
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
fn the_largest_products_are_exact() {
    let width = 65_536;
    let mut rows = vec![255u8; 2 * width];
    rows[width..].fill(0);
    for tile in available() {
        check(&tile, &rows, width, &[0, 1], 0..2);
    }
}
