//! Distance arithmetic, one table of functions per instruction set.
//!
//! `scalar` is the meaning: plain loops that anyone can check. The other tables compute the same sums in another
//! order, so their integer results are equal and their float results differ by rounding only; `tests` holds every
//! table against exact arithmetic. The choice is made once per process ([`get`]): a search takes the table, or single
//! functions out of it, and pays one indirect call per distance.
//!
//! | table | needs | notes |
//! |---|---|---|
//! | `scalar` | nothing | the oracle |
//! | `avx2` | AVX2, FMA, F16C | u8 through 16-bit multiply-add |
//! | `avx512` | AVX-512 F, BW, VL, DQ, VNNI | masked tails, `vpdpbusd` |
//! | `neon` | NEON, FP16 | u8 through widening multiplies |
//! | `neon-dotprod` | the same and DotProd | `udot`, `sdot` |
//!
//! # Slices of unequal length
//!
//! A bug of the caller: debug builds assert. Release builds compute over the shorter length, never out of bounds.
//!
//! # Codes
//!
//! [`Kernel::dot_u4_i8`], [`Kernel::distances_u4_i8`] and [`Kernel::dot_u8_i16`] read nibbles in *blocks* of [`BLOCK_BYTES`] bytes;
//! the last block may be shorter. Byte `j` of a block has two nibbles: its low four bits times value `j` of the query's 64
//! values for that block, its high four bits times value `j + 32`. So the query is always whole blocks, and in the last one
//! what has no byte is never read by meaning: it may be anything, and is zero.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
pub mod fastscan;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;
pub mod tile;
mod turn;

use std::fmt;
use std::sync::LazyLock;

use half::f16;

use codes::{Blocks, blocks};
pub use codes::{CodeDistances, CodeTable, CodeTerms, FACTORS_BYTES, factors};
pub use turn::Turn;

/// Dimensions in one block of nibble codes.
pub const BLOCK_DIMS: usize = 64;
/// Bytes of one block of nibble codes.
pub const BLOCK_BYTES: usize = BLOCK_DIMS / 2;
/// Bytes that one [`prefetch`] touches at most: past this the hardware has seen the stream.
const PREFETCH_BYTES_MAX: usize = 1024;
/// Bytes of a cache line, or a divisor of it.
pub const LINE_BYTES: usize = 64;

/// A distance over two vectors of one type.
pub type Pair<A, B, T> = fn(&[A], &[B]) -> T;

/// The distance functions of one instruction set.
///
/// Float results are sums of f32 products in an unspecified order: relative error below `len * 2^-23` of the sum of
/// absolute terms. `u8` results are exact up to 65,536 dimensions, and so are the code products.
pub struct Kernel {
    /// The instruction set, for logs and benches.
    pub name: &'static str,
    /// Inner product.
    pub dot_f32: Pair<f32, f32, f32>,
    /// Squared L2.
    pub l2_f32: Pair<f32, f32, f32>,
    /// L1.
    pub l1_f32: Pair<f32, f32, f32>,
    /// Inner product, stored against stored.
    pub dot_f16: Pair<f16, f16, f32>,
    /// Squared L2, stored against stored.
    pub l2_f16: Pair<f16, f16, f32>,
    /// L1, stored against stored.
    pub l1_f16: Pair<f16, f16, f32>,
    /// Inner product, query against stored.
    pub dot_f32_f16: Pair<f32, f16, f32>,
    /// Squared L2, query against stored.
    pub l2_f32_f16: Pair<f32, f16, f32>,
    /// L1, query against stored.
    pub l1_f32_f16: Pair<f32, f16, f32>,
    /// Inner product.
    pub dot_u8: Pair<u8, u8, u32>,
    /// Squared L2.
    pub l2_u8: Pair<u8, u8, u32>,
    /// L1.
    pub l1_u8: Pair<u8, u8, u32>,
    /// Nibble codes (0 to 15, in blocks) times a query.
    pub dot_u4_i8: Pair<u8, i8, i32>,
    /// Distances of many rows of one table by that product, with what they share done once; see [`CodeDistances`].
    pub distances_u4_i8: CodeDistances,
    /// 8-bit codes times a 16-bit query, both as two planes; see [`CodeProduct`].
    pub dot_u8_i16: CodeProduct,
    /// Ranks out of packed gaps; see [`Unpack`].
    pub unpack: Unpack,
    /// One round of the codec's rotation.
    pub turn: Turn,
    /// Its inverse.
    pub turn_back: Turn,
}

/// Unpacks gaps of `width` bits, at most [`UNPACK_WIDTH_MAX`], from bit `at` of a line: `out[0]` is `first`, each next value the one before, the
/// next gap and 1, modulo 2^32. Gives the largest value. Bits after the line's end are anything.
pub type Unpack = fn(line: &[u8; LINE_BYTES], at: usize, width: u32, first: u32, out: &mut [u32]) -> u32;
/// The widest gap that [`Kernel::unpack`] reads: with up to seven bits before it, it lies within four bytes.
pub const UNPACK_WIDTH_MAX: u32 = 25;

/// `sum (16 high_i + low_i) * (256 query_i + rest_i)` over the nibble planes `high` and `low` and the query planes `query`
/// and `rest`, all in blocks.
pub type CodeProduct = fn(high: &[u8], low: &[u8], query: &[i8], rest: &[i8]) -> i64;

impl Kernel {
    /// Cosine of the angle between two byte vectors, in 0 to 1; 0 where one of them is zero.
    pub fn cosine_u8(&self, a: &[u8], b: &[u8]) -> f32 {
        let norms = f64::from((self.dot_u8)(a, a)) * f64::from((self.dot_u8)(b, b));
        if norms == 0.0 {
            return 0.0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let cosine = (f64::from((self.dot_u8)(a, b)) / norms.sqrt()) as f32;
        cosine
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every table that this CPU can run, from `scalar` to the best.
static TABLES: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    let mut tables = vec![scalar::table()];
    #[cfg(target_arch = "x86_64")]
    {
        tables.extend(avx2::detect());
        tables.extend(avx512::detect());
    }
    #[cfg(target_arch = "aarch64")]
    {
        tables.extend(neon::detect());
        tables.extend(neon::detect_dotprod());
    }
    tables
});

/// The best table for this CPU.
pub fn get() -> &'static Kernel {
    let tables: &'static [Kernel] = &TABLES;
    tables.last().expect("scalar is always there")
}

/// Every table that this CPU can run, `scalar` first, the best last; for tests and benches.
pub fn available() -> Vec<&'static Kernel> {
    TABLES.iter().collect()
}

/// Asks the CPU to bring the first kilobyte of `bytes` near. A hint: results never depend on it.
///
/// Into the second-level cache where that can be said: a hop wants more lines at once than the first level can wait for, and what it then loads
/// from the second costs little. 2 to 5% more searches per second than the first level on CVE and MNIST.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    prefetch_all(&bytes[..bytes.len().min(PREFETCH_BYTES_MAX)]);
}

/// The same for all of `bytes`.
#[inline]
pub fn prefetch_all(bytes: &[u8]) {
    let range = bytes.as_ptr_range();
    // From the beginning of the first line on, so that each line is asked for once.
    let mut line = range.start.wrapping_sub(range.start.addr() % LINE_BYTES);
    while line < range.end {
        prefetch_line(line);
        line = line.wrapping_add(LINE_BYTES);
    }
}

#[inline]
fn prefetch_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "an intrinsic over an address")]
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    #[expect(unsafe_code, reason = "the intrinsic is not stable")]
    // SAFETY: a prefetch never faults, whatever the address, and changes no state that the compiler knows of.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// An integer with the order of floats, NaN last.
#[inline]
pub(crate) const fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    // IEEE 754 floats order like sign-magnitude integers: flip all bits of negatives, the sign of the others.
    let negative = 0u32.wrapping_sub(bits >> 31);
    bits ^ (negative | 1 << 31)
}

/// The float of an [`ordered`] integer.
#[inline]
pub(crate) const fn unordered(ordered: u32) -> f32 {
    let positive = 0u32.wrapping_sub(ordered >> 31);
    f32::from_bits(ordered ^ (!positive | 1 << 31))
}

/// The common length of two slices, which should be equal.
#[inline]
fn common<'a, A, B>(a: &'a [A], b: &'a [B]) -> (&'a [A], &'a [B]) {
    debug_assert_eq!(a.len(), b.len(), "vectors of different lengths");
    let len = a.len().min(b.len());
    (&a[..len], &b[..len])
}

/// `tail` with zeros behind it: zeros on both sides add nothing to any distance.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(dead_code, reason = "no SIMD here"))]
#[inline]
fn zero_filled<T: Copy, const N: usize>(tail: &[T], zero: T) -> [T; N] {
    let mut lanes = [zero; N];
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane = *value;
    }
    lanes
}
