//! The meaning: plain loops.

use super::{Edge, FastScan, GROUPS_MAX, LANES, Order, Terms, groups, split};

pub(super) fn table() -> FastScan {
    FastScan { name: "scalar", order: Order::ByQuad, scan: |a, b, c, d| scan(Order::ByQuad, a, b, c, d), edge }
}

/// Any order, so that every table has its oracle.
pub(super) fn scan(
    order: Order,
    bytes: &[u8],
    table: &[u8],
    terms: &Terms,
    out: &mut [f32; GROUPS_MAX * LANES],
) -> u64 {
    let mut below = 0;
    for (at, group) in groups(bytes, table).enumerate() {
        let (units, constants, weights) = split(group);
        for lane in 0..LANES {
            let mut sum = 0u32;
            for (unit, table) in units.iter().zip(table.as_chunks::<128>().0) {
                for quad in 0..4 {
                    let byte = usize::from(unit[order.byte(lane, quad)]);
                    sum += u32::from(table[16 * quad + byte % 16]) + u32::from(table[64 + 16 * quad + byte / 16]);
                }
            }
            let constant = f32_at(constants, lane);
            let weight = f32_at(weights, lane);
            #[expect(clippy::cast_precision_loss, reason = "far finer than the estimate")]
            let product = terms.step * sum as f32 + terms.low;
            let estimate = terms.base + (constant - weight * product);
            out[at * LANES + lane] = estimate;
            below |= u64::from(estimate < terms.bound) << (at * LANES + lane);
        }
    }
    below
}

pub(super) fn f32_at(lanes: &[u8; 64], lane: usize) -> f32 {
    f32::from_le_bytes(lanes.as_chunks().0[lane])
}

fn edge(node: &[f32], near: &[f32], signs: &mut [u32]) -> Edge {
    super::edge(node, near, signs)
}
