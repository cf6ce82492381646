//! Where a segment's points lie, in a few hundred bytes, and which segments a query needs by that.

use super::space::{Scale, to_unit};
use crate::{Error, Result};

/// The version of a region's bytes.
const VERSION: u8 = 1;
/// Groups of one region.
pub const GROUPS_MAX: usize = 16;
/// The recall@k that is aimed at where the request does not say.
pub const RECALL: f32 = 0.95;
/// The share of all points that is searched at most where the request does not say what recall it wants; an answer of `k` points
/// needs [`POINTS_PER_HIT`] per hit all the same.
pub const SHARE_MAX: f32 = 0.5;
/// Points that are searched at least, per hit.
pub const POINTS_PER_HIT: u64 = 4;
/// Segments and hits for which [`margin`] was measured.
const SEGMENTS: f32 = 16.0;
const HITS: f32 = 10.0;

/// Where the points of one segment lie: the centroids of a few groups of them, a byte per dimension, and how far the points spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    dim: usize,
    scale: Scale,
    /// For each group the mean of the points' squared distances from its centroid.
    spreads: Vec<f32>,
    /// `dim` bytes per group.
    centroids: Vec<u8>,
}

impl Region {
    pub(super) fn new(dim: usize, scale: Scale) -> Self {
        Self { dim, scale, spreads: Vec::new(), centroids: Vec::new() }
    }

    pub(super) fn push(&mut self, spread: f32, centroid: &[u8]) {
        self.spreads.push(spread);
        self.centroids.extend_from_slice(centroid);
    }

    /// Version, number of groups, lowest value and step as f32, then for each group its spread as f32 and `dim` bytes: little-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::try_from(self.spreads.len()).unwrap_or(u8::MAX)];
        bytes.extend(self.scale.low.to_le_bytes());
        bytes.extend(self.scale.step.to_le_bytes());
        for (spread, centroid) in self.spreads.iter().zip(self.centroids.chunks_exact(self.dim.max(1))) {
            bytes.extend(spread.to_le_bytes());
            bytes.extend(centroid);
        }
        bytes
    }

    /// Reads what [`Region::encode`] wrote, for vectors of `dim` values; `None` for what a newer version wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(bytes: &[u8], dim: usize) -> Result<Option<Self>> {
        let corrupt = |why: &str| Error::corrupt("region", 0, why);
        let Some((&[version, groups], rest)) = bytes.split_first_chunk() else { return Err(corrupt("is too short")) };
        if version != VERSION {
            return if version > VERSION { Ok(None) } else { Err(corrupt("version 0 never existed")) };
        }
        let floats = |bytes: &[u8]| bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes)).unwrap_or(f32::NAN);
        let (low, step) = (floats(rest), floats(rest.get(4..).unwrap_or_default()));
        let rest = rest.get(8..).unwrap_or_default();
        let groups = usize::from(groups);
        if !(1..=GROUPS_MAX).contains(&groups) || rest.len() != groups * (dim + 4) {
            return Err(corrupt("its length is not that of its groups"));
        }
        let mut region = Self::new(dim, Scale { low, step });
        for group in rest.chunks_exact(dim + 4) {
            region.push(floats(group), group.get(4..).unwrap_or_default());
        }
        let sound = low.is_finite() && step.is_finite() && region.spreads.iter().all(|x| x.is_finite() && *x >= 0.0);
        if sound { Ok(Some(region)) } else { Err(corrupt("a number is not finite or negative")) }
    }

    /// Squared distance of `query` from the nearest group's centroid, and the least sum of such a distance and the group's spread: what a
    /// point of it is expected to be away.
    fn distances(&self, query: &[f32]) -> (f32, f32) {
        let groups = self.spreads.iter().zip(self.centroids.chunks_exact(self.dim.max(1)));
        groups.fold((f32::INFINITY, f32::INFINITY), |least, (spread, centroid)| {
            let distance = self.scale.distance(query, centroid);
            (least.0.min(distance), least.1.min(distance + spread))
        })
    }
}

impl Scale {
    /// Squared distance from a coded centroid, summed in a fixed order: root and leaves must choose alike.
    fn distance(self, query: &[f32], centroid: &[u8]) -> f32 {
        const LANES: usize = 16;
        let mut sums = [0.0f32; LANES];
        for (query, centroid) in query.chunks(LANES).zip(centroid.chunks(LANES)) {
            for ((sum, x), byte) in sums.iter_mut().zip(query).zip(centroid) {
                let difference = x - (self.low + self.step * f32::from(*byte));
                *sum += difference * difference;
            }
        }
        sums.iter().sum()
    }
}

/// How much farther than the nearest region's a region's centroid may be, over what the nearest region's points are expected to be
/// away.
///
/// Fitted to what `CVE`, `products`, `movies` and MNIST need in 16 and 64 regions for recalls from 0.8 to 0.99 at 10 and 100 hits. How many
/// regions that makes is the query's own doing: few where it lies in the midst of one, most where it lies far from all.
fn margin(recall: f32, regions: usize, k: usize) -> f32 {
    // Minus the logarithm of what may be missed: by points on its curve, because every machine must come to the same.
    const MISSED: [(f32, f32); 7] =
        [(0.5, 0.011), (0.8, 0.071), (0.9, 0.117), (0.95, 0.163), (0.98, 0.223), (0.99, 0.269), (0.999, 0.421)];
    let at = MISSED.iter().position(|point| recall <= point.0).unwrap_or(MISSED.len() - 1);
    let (high, low) = (MISSED[at], MISSED[at.saturating_sub(1)]);
    let share = if high.0 > low.0 { ((recall - low.0) / (high.0 - low.0)).clamp(0.0, 1.0) } else { 1.0 };
    let base = low.1 + (high.1 - low.1) * share;
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let (regions, hits) = ((regions as f32 / SEGMENTS).max(1.0), (k as f32 / HITS).max(1.0));
    // Slow growth, as measured, by square roots: they are the same on every machine.
    let fourth = |x: f32| x.sqrt().sqrt();
    base * fourth(regions) * fourth(hits).sqrt()
}

/// What a query is about.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The vector.
    pub query: &'a [f32],
    /// Whether only directions count.
    pub unit: bool,
    /// How many hits.
    pub k: usize,
    /// The recall that was asked for.
    pub recall: Option<f32>,
}

/// Which of some segments a query needs, by their points and regions. One without a region is always needed.
#[must_use]
pub fn choose(segments: &[(u64, Option<Region>)], wanted: Wanted<'_>) -> Vec<bool> {
    let mut query = wanted.query.to_vec();
    if wanted.unit {
        to_unit(&mut query);
    }
    let away: Vec<Option<(f32, f32)>> =
        segments.iter().map(|(_, region)| region.as_ref().map(|region| region.distances(&query))).collect();
    let mut chosen: Vec<bool> = away.iter().map(Option::is_none).collect();
    let mut ranked: Vec<(f32, usize)> =
        away.iter().zip(0..).filter_map(|(away, at)| Some((away.as_ref()?.0, at))).collect();
    ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let Some(&(first, _)) = ranked.first() else { return chosen };
    let expected = away.iter().flatten().map(|away| away.1).fold(f32::INFINITY, f32::min);
    let within = first + margin(wanted.recall.unwrap_or(RECALL), ranked.len(), wanted.k) * expected;
    let total: u64 = segments.iter().map(|segment| segment.0).fold(0, u64::saturating_add);
    let least = (wanted.k as u64).saturating_mul(POINTS_PER_HIT);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of points"
    )]
    let most = if wanted.recall.is_some() { u64::MAX } else { (total as f64 * f64::from(SHARE_MAX)) as u64 };
    let mut points = 0u64;
    for (distance, at) in ranked {
        let more = points.saturating_add(segments[at].0);
        if points >= least && (distance > within || more > most) {
            break;
        }
        (chosen[at], points) = (true, more);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCALE: Scale = Scale { low: 0.0, step: 1.0 };

    /// A region of one group in two dimensions.
    fn at(x: u8, y: u8, spread: f32) -> Option<Region> {
        let mut region = Region::new(2, SCALE);
        region.push(spread, &[x, y]);
        Some(region)
    }

    fn chosen(segments: &[(u64, Option<Region>)], query: [f32; 2], k: usize, recall: Option<f32>) -> Vec<usize> {
        let chosen = choose(segments, Wanted { query: &query, unit: false, k, recall });
        (0..segments.len()).filter(|&at| chosen[at]).collect()
    }

    #[test]
    fn the_nearest_are_chosen_and_more_where_more_is_wanted() {
        let row = |spread| -> Vec<(u64, Option<Region>)> { (0..10).map(|x| (100, at(x * 10, 0, spread))).collect() };
        let segments = row(400.0);
        assert_eq!(chosen(&segments, [0.0, 0.0], 10, Some(0.5)), [0]);
        let some = chosen(&segments, [0.0, 0.0], 10, Some(0.95));
        let more = chosen(&segments, [0.0, 0.0], 10, Some(0.999));
        assert!(some.len() < more.len() && more.len() < 10, "{some:?} {more:?}");
        // Far from all of them, all are about as near.
        assert_eq!(chosen(&segments, [50.0, 2_000.0], 10, Some(0.9)).len(), 10);
        // So many only where it was asked for.
        assert_eq!(chosen(&segments, [50.0, 2_000.0], 10, None).len(), 5);
        // But never fewer than an answer needs.
        assert_eq!(chosen(&segments, [0.0, 0.0], 100, None), [0, 1, 2, 3]);
        assert_eq!(chosen(&row(0.0), [0.0, 0.0], 900, None).len(), 10);
        assert!(chosen(&[], [0.0, 0.0], 1, None).is_empty());
    }

    #[test]
    fn what_is_not_known_is_searched() {
        let segments = vec![(1_000, at(0, 0, 1.0)), (10, None), (1_000, at(200, 200, 1.0))];
        assert_eq!(chosen(&segments, [0.0, 0.0], 1, None), [0, 1]);
        assert_eq!(chosen(&[(5, None)], [0.0, 0.0], 1, None), [0]);
    }

    #[test]
    fn newer_bytes_are_not_known_and_damaged_ones_are_refused() {
        let bytes = at(1, 2, 0.5).unwrap().encode();
        assert_eq!(Region::decode(&bytes, 2), Ok(at(1, 2, 0.5)));
        let mut newer = bytes.clone();
        newer[0] = VERSION + 1;
        assert_eq!(Region::decode(&newer, 2), Ok(None));
        for wrong in [&bytes[..bytes.len() - 1], &[], &[0, 0], &[VERSION, 1], &[VERSION, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(Region::decode(wrong, 2).is_err(), "{wrong:?}");
        }
        assert!(Region::decode(&bytes, 3).is_err());
        let endless = at(1, 2, f32::INFINITY).unwrap().encode();
        assert!(Region::decode(&endless, 2).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), dim in 1usize..9) {
            if let Ok(Some(region)) = Region::decode(&bytes, dim) {
                prop_assert_eq!(region.encode(), bytes);
            }
        }

        #[test]
        fn margins_grow(recall in 0.5f32..0.99, regions in 1usize..1_000, k in 1usize..1_000) {
            let margin_of = margin(recall, regions, k);
            prop_assert!(margin_of > 0.0);
            prop_assert!(margin(recall + 0.009, regions, k) >= margin_of);
            prop_assert!(margin(recall, regions * 2, k) >= margin_of && margin(recall, regions, k * 2) >= margin_of);
        }
    }
}
