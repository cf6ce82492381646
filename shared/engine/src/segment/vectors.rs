//! Original vectors in their declared datatype, as the builder collects them.

use cairn_model::{Datatype, Distance, VectorParams};
use half::f16;

use crate::{
    Error, Result,
    cluster::Rows,
    graph::Pairs,
    kernel::{self, Kernel},
};

#[cfg(target_endian = "big")]
compile_error!("segments are little-endian and read in place");

/// Growing vectors of one datatype, row after row.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    params: VectorParams,
    values: Values,
    kernel: &'static Kernel,
    /// Added to minus the inner product while a graph is built; see [`Vectors::lift`].
    lift: f32,
}

#[derive(Clone, Debug)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    U8(Vec<u8>),
}

impl Values {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::U8(values) => values,
        }
    }
}

impl Vectors {
    pub(super) fn new(params: VectorParams) -> Self {
        let values = match params.datatype {
            Datatype::Float32 => Values::F32(Vec::new()),
            Datatype::Float16 => Values::F16(Vec::new()),
            Datatype::Uint8 => Values::U8(Vec::new()),
        };
        Self { params, values, kernel: kernel::get(), lift: 0.0 }
    }

    pub(super) const fn params(&self) -> VectorParams {
        self.params
    }

    pub(super) const fn dim(&self) -> usize {
        self.params.size as usize
    }

    pub(super) fn len(&self) -> usize {
        let values = match &self.values {
            Values::F32(values) => values.len(),
            Values::F16(values) => values.len(),
            Values::U8(values) => values.len(),
        };
        values / self.dim()
    }

    /// Checks and converts one vector. Cosine vectors are normalised, but for `uint8`, which cannot hold them.
    pub(super) fn push(&mut self, vector: &[f32]) -> Result<()> {
        check(vector, self.dim())?;
        let normalised = normalised(vector, self.params);
        self.append(normalised.as_deref().unwrap_or(vector))
    }

    /// The same for a vector that was stored before.
    pub(super) fn push_stored(&mut self, vector: &[f32]) -> Result<()> {
        check(vector, self.dim())?;
        self.append(vector)
    }

    fn append(&mut self, vector: &[f32]) -> Result<()> {
        match &mut self.values {
            Values::F32(values) => values.extend_from_slice(vector),
            Values::F16(values) => {
                if let Some(i) = vector.iter().position(|&x| !f16::from_f32(x).is_finite()) {
                    return Err(Error::invalid("vector", format!("element {i} is {}, beyond float16", vector[i])));
                }
                values.extend(vector.iter().map(|&x| f16::from_f32(x)));
            }
            Values::U8(values) => {
                if let Some(i) = vector.iter().position(|&x| !(0.0..=255.0).contains(&x) || x.fract() != 0.0) {
                    return Err(Error::invalid("vector", format!("element {i} is {}, not a uint8", vector[i])));
                }
                values.extend(vector.iter().map(|&x| quantize_u8(x)));
            }
        }
        Ok(())
    }

    /// Drops all rows but the first ones.
    pub(super) fn truncate(&mut self, rows: usize) {
        let values = rows * self.dim();
        match &mut self.values {
            Values::F32(kept) => kept.truncate(values),
            Values::F16(kept) => kept.truncate(values),
            Values::U8(kept) => kept.truncate(values),
        }
    }

    /// Reorders the rows in place, so that row `order[i]` becomes row `i`.
    pub(super) fn permute(&mut self, order: &[u32]) {
        let dim = self.dim();
        match &mut self.values {
            Values::F32(values) => permute_rows(values, dim, order),
            Values::F16(values) => permute_rows(values, dim, order),
            Values::U8(values) => permute_rows(values, dim, order),
        }
    }

    /// Makes distances between stored points at least 0, as the graph's pruning by ratio wants them: for inner products
    /// by adding the largest squared length, which no inner product exceeds. For unit vectors that is half the squared L2.
    pub(super) fn lift(&mut self) {
        if !self.params.distance.larger_is_better() {
            return;
        }
        let rows = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.lift = (0..rows).fold(0.0, |largest: f32, row| largest.max(0.0 - self.stored_distance(row, row)));
    }

    /// Whether, under Dot, all squared lengths are within a fifth of the largest.
    pub(super) fn lengths_are_alike(&self) -> bool {
        let rows = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let squares = (0..rows).map(|row| 0.0 - self.stored_distance(row, row));
        let (least, most) = squares.fold((f32::INFINITY, 0.0f32), |(least, most), x| (least.min(x), most.max(x)));
        least >= 0.8 * most
    }

    /// The internal distance of two rows.
    pub(super) fn stored_distance(&self, a: u32, b: u32) -> f32 {
        let dim = self.dim();
        let (a, b) = (a as usize * dim, b as usize * dim);
        let kernel = self.kernel;
        match &self.values {
            Values::F32(values) => float_distance(
                self.params.distance,
                (&values[a..a + dim], &values[b..b + dim]),
                (kernel.dot_f32, kernel.l2_f32, kernel.l1_f32),
            ),
            Values::F16(values) => float_distance(
                self.params.distance,
                (&values[a..a + dim], &values[b..b + dim]),
                (kernel.dot_f16, kernel.l2_f16, kernel.l1_f16),
            ),
            Values::U8(values) => byte_distance(kernel, self.params.distance, &values[a..a + dim], &values[b..b + dim]),
        }
    }

    /// All rows as the file has them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.values.bytes()
    }

    /// All values, widened to f32.
    pub(super) fn widened(&self) -> Vec<f32> {
        match &self.values {
            Values::F32(values) => values.clone(),
            Values::F16(values) => values.iter().map(|x| x.to_f32()).collect(),
            Values::U8(values) => values.iter().map(|&x| f32::from(x)).collect(),
        }
    }
}

impl Rows for Vectors {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn dim(&self) -> usize {
        Self::dim(self)
    }

    fn read(&self, row: u32, out: &mut [f32]) {
        let at = row as usize * self.dim();
        match &self.values {
            Values::F32(values) => out.copy_from_slice(&values[at..at + out.len()]),
            Values::F16(values) => {
                out.iter_mut().zip(&values[at..]).for_each(|(to, from)| *to = from.to_f32());
            }
            Values::U8(values) => out.iter_mut().zip(&values[at..]).for_each(|(to, from)| *to = f32::from(*from)),
        }
        if let Some(unit) = self.params.datatype.eq(&Datatype::Uint8).then(|| unit(out, self.params.distance)).flatten()
        {
            out.copy_from_slice(&unit);
        }
    }
}

impl Pairs for Vectors {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn distance(&self, a: u32, b: u32) -> f32 {
        // Not below 0, where rounding of the lifted product would put duplicates.
        (self.lift + self.stored_distance(a, b)).max(0.0)
    }

    fn prefetch(&self, ordinal: u32) {
        let row = self.dim() * self.params.datatype.bytes();
        let at = ordinal as usize * row;
        kernel::prefetch(&self.bytes()[at..at + row]);
    }
}

/// Checks a vector from outside.
pub(crate) fn check(vector: &[f32], dim: usize) -> Result<()> {
    if vector.len() != dim {
        return Err(Error::invalid("vector", format!("expected dim: {dim}, got {}", vector.len())));
    }
    // Without a way out in the middle the loop runs over several numbers at once.
    if vector.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Ok(());
    }
    match vector.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::invalid("vector", format!("element {i} is {}, vectors must be finite", vector[i]))),
        None => Ok(()),
    }
}

/// How far from 1 the square of a length may be that counts as 1. Normalising again what was normalised would move it by a rounding step each time;
/// Qdrant has the same bound.
const SQUARE_ERROR_MAX: f64 = 1e-6;

/// The vector of length 1, where the metric wants one and the vector is not 0 and has another length; computed in f64, so that neither
/// tiny nor huge values are lost.
pub(crate) fn unit(vector: &[f32], distance: Distance) -> Option<Vec<f32>> {
    if distance != Distance::Cosine {
        return None;
    }
    // Sums in several lanes do not wait for one another.
    let mut lanes = [0.0f64; 8];
    let (whole, rest) = vector.as_chunks::<8>();
    for values in whole {
        lanes.iter_mut().zip(values).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
    let square = lanes.iter().sum::<f64>();
    if square == 0.0 || (square - 1.0).abs() <= SQUARE_ERROR_MAX {
        return None;
    }
    let scale = 1.0 / square.sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "a component of a unit vector")]
    Some(vector.iter().map(|&x| (f64::from(x) * scale) as f32).collect())
}

fn normalised(vector: &[f32], params: VectorParams) -> Option<Vec<f32>> {
    if params.datatype == Datatype::Uint8 { None } else { unit(vector, params.distance) }
}

/// The nearest `u8`.
pub(super) fn quantize_u8(x: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and clamped to 0..=255")]
    let byte = x.round().clamp(0.0, 255.0) as u8;
    byte
}

fn permute_rows<T: Copy>(values: &mut [T], dim: usize, order: &[u32]) {
    let mut done = vec![false; order.len()];
    let mut held = Vec::with_capacity(dim);
    for first in 0..order.len() {
        if done[first] {
            continue;
        }
        // Follow the cycle that begins here; one row is held aside.
        held.clear();
        held.extend_from_slice(&values[first * dim..][..dim]);
        let mut to = first;
        loop {
            done[to] = true;
            let from = order[to] as usize;
            if from == first {
                values[to * dim..][..dim].copy_from_slice(&held);
                break;
            }
            values.copy_within(from * dim..(from + 1) * dim, to * dim);
            to = from;
        }
    }
}

pub(super) type Trio<A, B> = (fn(&[A], &[B]) -> f32, fn(&[A], &[B]) -> f32, fn(&[A], &[B]) -> f32);

/// `kernels` are inner product, squared L2 and L1.
pub(super) fn float_distance<A, B>(distance: Distance, (a, b): (&[A], &[B]), (dot, l2, l1): Trio<A, B>) -> f32 {
    match distance {
        Distance::Cosine | Distance::Dot => 0.0 - dot(a, b),
        Distance::Euclid => l2(a, b),
        Distance::Manhattan => l1(a, b),
    }
}

#[expect(clippy::cast_precision_loss, reason = "an f32 score; order is kept up to rounding")]
pub(super) fn byte_distance(kernel: &Kernel, distance: Distance, a: &[u8], b: &[u8]) -> f32 {
    match distance {
        Distance::Cosine => 0.0 - kernel.cosine_u8(a, b),
        Distance::Dot => 0.0 - (kernel.dot_u8)(a, b) as f32,
        Distance::Euclid => (kernel.l2_u8)(a, b) as f32,
        Distance::Manhattan => (kernel.l1_u8)(a, b) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(size: u32, distance: Distance, datatype: Datatype) -> VectorParams {
        VectorParams { datatype, ..VectorParams::new(size, distance) }
    }

    #[test]
    fn bad_vectors_are_refused_by_element() {
        let mut f16s = Vectors::new(params(2, Distance::Dot, Datatype::Float16));
        for (bad, why) in [
            (&[1.0f32] as &[f32], "expected dim: 2, got 1"),
            (&[1.0, f32::NAN], "element 1 is NaN"),
            (&[f32::INFINITY, 0.0], "element 0"),
            (&[70_000.0, 0.0], "float16"),
        ] {
            assert!(f16s.push(bad).unwrap_err().to_string().contains(why));
        }
        let mut u8s = Vectors::new(params(2, Distance::Dot, Datatype::Uint8));
        assert!(u8s.push(&[1.5, 0.0]).unwrap_err().to_string().contains("element 0 is 1.5"));
        assert!(u8s.push(&[0.0, 256.0]).is_err());
        assert_eq!(f16s.len() + u8s.len(), 0);
    }

    #[test]
    fn what_was_normalised_is_left_as_it_is() {
        let mut random = crate::seed::SplitMix64::new(7);
        for dim in [1, 2, 3, 40, 784] {
            for scale in [1e-30, 1e-3, 1.0, 7.0, 1e30] {
                let vector: Vec<f32> = (0..dim).map(|_| (random.unit() - 0.5) as f32 * scale).collect();
                let once = unit(&vector, Distance::Cosine).unwrap();
                assert_eq!(unit(&once, Distance::Cosine), None, "{dim} {scale}");
                let longer: Vec<f32> = once.iter().map(|x| x * 1.000_01).collect();
                assert!(unit(&longer, Distance::Cosine).is_some());
            }
        }
        assert_eq!(unit(&[0.0; 3], Distance::Cosine), None);
        assert_eq!(unit(&[2.0], Distance::Euclid), None);
    }

    #[test]
    fn permuting_moves_row_order_i_to_i() {
        for order in [vec![0u32, 1, 2, 3, 4], vec![4, 0, 1, 3, 2], vec![1, 2, 3, 4, 0]] {
            let mut vectors = Vectors::new(params(2, Distance::Euclid, Datatype::Float32));
            for i in 0..5u8 {
                vectors.push(&[f32::from(i), 10.0 + f32::from(i)]).unwrap();
            }
            vectors.permute(&order);
            let mut row = [0.0; 2];
            for (i, &from) in order.iter().enumerate() {
                vectors.read(i as u32, &mut row);
                assert_eq!(row, [from as f32, 10.0 + from as f32]);
            }
        }
    }

    #[test]
    fn lengths_are_alike_or_not() {
        let alike = |rows: &[[f32; 2]]| {
            let mut vectors = Vectors::new(params(2, Distance::Dot, Datatype::Float32));
            rows.iter().for_each(|row| vectors.push(row).unwrap());
            vectors.lengths_are_alike()
        };
        assert!(alike(&[[1.0, 0.0], [0.0, 1.05], [0.7, 0.7]]));
        assert!(!alike(&[[1.0, 0.0], [0.0, 2.0]]) && !alike(&[[1.0, 0.0], [0.0, 0.0]]));
    }

    #[test]
    fn cosine_vectors_are_unit_vectors_and_zero_stays_zero() {
        let mut vectors = Vectors::new(params(2, Distance::Cosine, Datatype::Float32));
        vectors.push(&[3e30, 4e30]).unwrap();
        vectors.push(&[0.0, 0.0]).unwrap();
        let mut unit = [0.0; 2];
        vectors.read(0, &mut unit);
        assert!((unit[0] - 0.6).abs() < 1e-6 && (unit[1] - 0.8).abs() < 1e-6, "{unit:?}");
        assert_eq!(vectors.stored_distance(1, 0), 0.0);
        vectors.lift();
        assert!(vectors.distance(0, 0) < 1e-6 && (vectors.distance(0, 1) - 1.0).abs() < 1e-6);
    }
}
