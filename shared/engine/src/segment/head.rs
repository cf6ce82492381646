//! The head section: what a reader must know before it can use any other of its group. See FORMAT.md.

use cairn_model::{Comparator, Datatype, Distance, HnswConfig, MultivectorConfig, Preset, VectorParams, limits};

use super::layout::{f32_at, u32_at, u64_at};
use crate::{
    Error, Result,
    codec::{CODES_MULTIPLE, CODES_MULTIPLE_V1},
};

/// How vectors are scored while searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecKind {
    /// By the originals: there are no code sections.
    Originals,
    /// By rotated 8-bit codes in two nibble planes, as many as there are dimensions, rounded up to a multiple of 64: files of version 1.
    NibblesOf64,
    /// The same, rounded up to a multiple of 16.
    Nibbles,
}

impl CodecKind {
    /// What the number of codes is rounded up to; `None` where there are none.
    pub(super) const fn multiple(self) -> Option<usize> {
        match self {
            Self::Originals => None,
            Self::NibblesOf64 => Some(CODES_MULTIPLE_V1),
            Self::Nibbles => Some(CODES_MULTIPLE),
        }
    }
}

/// The flag of a segment that keeps no originals.
const NO_ORIGINALS: u8 = 1;

/// What the head of a group says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum GroupHead {
    /// A dense vector that is searched.
    Dense(Head),
    /// Vectors that are stored and not searched.
    Values(ValuesHead),
    /// Points alone: no dense vector is had by all of them.
    Points,
}

/// The head of vectors that are stored and not searched.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValuesHead {
    /// The vectors' name.
    pub(super) name: String,
    /// Which they are.
    pub(super) kind: ValuesKind,
}

/// Vectors that are stored and not searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValuesKind {
    /// Several vectors a point. Of the parameters, a file has size, distance and datatype.
    Multi(VectorParams),
    /// A few of many dimensions.
    Sparse,
}

/// Decoded head of a dense vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// The vector's name.
    pub(super) name: String,
    /// Its parameters.
    pub(super) params: VectorParams,
    /// How it is scored.
    pub(super) codec: CodecKind,
    /// The codec's rotation.
    pub(super) seed: u64,
    /// Clusters.
    pub(super) clusters: u32,
    /// The codec's centre, `dim` values.
    pub(super) centre: Vec<f32>,
}

/// Bytes before the centre.
const FIXED_BYTES: usize = 64;
const SECTION: &str = "head";

// What stands in place of a codec where there is no dense vector.
const POINTS: u8 = 3;
const MULTI: u8 = 4;
const SPARSE: u8 = 5;

impl GroupHead {
    /// The section's bytes.
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Dense(head) => head.encode(),
            Self::Values(head) => head.encode(),
            Self::Points => {
                let mut bytes = vec![0; FIXED_BYTES];
                bytes[6] = POINTS;
                bytes
            }
        }
    }

    /// Reads the section, whose checksum was checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for any value out of its range.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.get(6) {
            Some(&POINTS) if bytes.len() == FIXED_BYTES => Ok(Self::Points),
            Some(&POINTS) => Err(Error::corrupt(SECTION, bytes.len(), "wrong length")),
            Some(&(MULTI | SPARSE)) => ValuesHead::decode(bytes).map(Self::Values),
            _ => Head::decode(bytes).map(Self::Dense),
        }
    }
}

impl ValuesHead {
    /// The section's bytes: 64 fixed ones, the name.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_BYTES];
        match &self.kind {
            ValuesKind::Multi(params) => {
                bytes[..4].copy_from_slice(&params.size.to_le_bytes());
                bytes[4..7].copy_from_slice(&[
                    distance_number(params.distance),
                    datatype_number(params.datatype),
                    MULTI,
                ]);
            }
            ValuesKind::Sparse => bytes[6] = SPARSE,
        }
        let name_bytes = u32::try_from(self.name.len()).unwrap_or(u32::MAX);
        bytes[32..36].copy_from_slice(&name_bytes.to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < FIXED_BYTES {
            return Err(Error::corrupt(SECTION, bytes.len(), "cut off"));
        }
        let kind = if bytes[6] == SPARSE {
            if bytes[..6] != [0; 6] {
                return Err(Error::corrupt(SECTION, 0, "a sparse vector with dimensions"));
            }
            ValuesKind::Sparse
        } else {
            let (distance, datatype) = metric(bytes)?;
            let multivector = Some(MultivectorConfig { comparator: Comparator::MaxSim });
            ValuesKind::Multi(VectorParams { datatype, multivector, ..VectorParams::new(size(bytes)?, distance) })
        };
        Ok(Self { name: name(bytes, FIXED_BYTES)?, kind })
    }
}

/// Distance and datatype of a head that has `FIXED_BYTES` bytes at least.
fn metric(bytes: &[u8]) -> Result<(Distance, Datatype)> {
    let distance = Distance::ALL.into_iter().find(|&d| distance_number(d) == bytes[4]);
    let datatype = [Datatype::Float32, Datatype::Float16, Datatype::Uint8]
        .into_iter()
        .find(|&datatype| datatype_number(datatype) == bytes[5]);
    distance.zip(datatype).ok_or_else(|| Error::corrupt(SECTION, 4, "unknown distance or datatype"))
}

/// Dimensions.
fn size(bytes: &[u8]) -> Result<u32> {
    match u32_at(bytes, 0) {
        size if size == 0 || size as usize > limits::DIM_MAX => {
            Err(Error::corrupt(SECTION, 0, format!("{size} dimensions")))
        }
        size => Ok(size),
    }
}

/// The name, which is all from `at` on.
fn name(bytes: &[u8], at: usize) -> Result<String> {
    let name_bytes = u32_at(bytes, 32) as usize;
    if name_bytes > limits::NAME_BYTES_MAX || bytes.len() != at + name_bytes {
        return Err(Error::corrupt(SECTION, 32, "wrong length"));
    }
    let name = std::str::from_utf8(&bytes[at..]).map_err(|_| Error::corrupt(SECTION, at, "the name is not UTF-8"))?;
    Ok(name.to_owned())
}

impl Head {
    /// The section's bytes: 64 fixed ones, the centre, the name.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.centre.len() * 4 + self.name.len());
        bytes.extend(self.params.size.to_le_bytes());
        bytes.push(distance_number(self.params.distance));
        bytes.push(datatype_number(self.params.datatype));
        bytes.push(match self.codec {
            CodecKind::Originals => 0,
            CodecKind::NibblesOf64 => 1,
            CodecKind::Nibbles => 2,
        });
        bytes.push(if self.params.originals { 0 } else { NO_ORIGINALS });
        bytes.extend(self.params.hnsw.m.to_le_bytes());
        bytes.extend(self.params.hnsw.ef_construct.to_le_bytes());
        bytes.extend(self.params.hnsw.full_scan_threshold.to_le_bytes());
        bytes.extend(self.clusters.to_le_bytes());
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend(u32::try_from(self.name.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.push(preset_number(self.params.preset));
        bytes.resize(FIXED_BYTES, 0);
        bytes.extend(self.centre.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |at, why: String| Error::corrupt(SECTION, at, why);
        if bytes.len() < FIXED_BYTES {
            return Err(corrupt(bytes.len(), "cut off".into()));
        }
        let (distance, datatype) = metric(bytes)?;
        let codec = match bytes[6] {
            0 => CodecKind::Originals,
            1 => CodecKind::NibblesOf64,
            2 => CodecKind::Nibbles,
            other => return Err(corrupt(6, format!("unknown codec {other}"))),
        };
        let originals = match (bytes[7], codec) {
            (0, _) => true,
            (NO_ORIGINALS, CodecKind::NibblesOf64 | CodecKind::Nibbles) => false,
            (other, _) => return Err(corrupt(7, format!("impossible flags {other}"))),
        };
        let presets = [Preset::Balanced, Preset::Recall, Preset::Speed];
        let Some(preset) = presets.into_iter().find(|&preset| preset_number(preset) == bytes[36]) else {
            return Err(corrupt(36, "unknown preset".into()));
        };
        let size = size(bytes)?;
        let dim = size as usize;
        let hnsw =
            HnswConfig { m: u32_at(bytes, 8), ef_construct: u32_at(bytes, 12), full_scan_threshold: u32_at(bytes, 16) };
        if !(2..=limits::M_MAX).contains(&hnsw.m) || hnsw.ef_construct > limits::EF_CONSTRUCT_MAX {
            return Err(corrupt(8, "impossible HNSW parameters".into()));
        }
        let name = name(bytes, FIXED_BYTES + dim * 4)?;
        let centre: Vec<f32> = (0..dim).map(|i| f32_at(bytes, FIXED_BYTES + i * 4)).collect();
        if let Some(i) = centre.iter().position(|x| !x.is_finite()) {
            return Err(corrupt(FIXED_BYTES + i * 4, "the centre is not finite".into()));
        }
        Ok(Self {
            name,
            params: VectorParams { datatype, hnsw, originals, preset, ..VectorParams::new(size, distance) },
            codec,
            seed: u64_at(bytes, 24),
            clusters: u32_at(bytes, 20),
            centre,
        })
    }
}

const fn distance_number(distance: Distance) -> u8 {
    match distance {
        Distance::Cosine => 0,
        Distance::Euclid => 1,
        Distance::Dot => 2,
        Distance::Manhattan => 3,
    }
}

const fn preset_number(preset: Preset) -> u8 {
    match preset {
        Preset::Balanced => 0,
        Preset::Recall => 1,
        Preset::Speed => 2,
    }
}

const fn datatype_number(datatype: Datatype) -> u8 {
    match datatype {
        Datatype::Float32 => 0,
        Datatype::Float16 => 1,
        Datatype::Uint8 => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip_and_bad_values_are_refused() {
        let head = Head {
            name: "größe".into(),
            params: VectorParams { datatype: Datatype::Uint8, ..VectorParams::new(3, Distance::Manhattan) },
            codec: CodecKind::Nibbles,
            seed: 0x0123_4567_89AB_CDEF,
            clusters: 9,
            centre: vec![1.0, -2.5, 0.0],
        };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Ok(head));
        for (at, value) in [(0, 4u8), (4, 9), (5, 9), (6, 9), (7, 2), (8, 1), (32, 1), (36, 3)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(Head::decode(&bad).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(Head::decode(&bytes[..len]).is_err());
        }
        let mut without = bytes.clone();
        without[7] = NO_ORIGINALS;
        assert!(!Head::decode(&without).unwrap().params.originals);
        without[6] = 0;
        assert!(Head::decode(&without).is_err(), "neither codes nor originals");
    }

    #[test]
    fn heads_without_a_dense_vector_round_trip() {
        let multivector = Some(MultivectorConfig { comparator: Comparator::MaxSim });
        let datatype = Datatype::Float16;
        let many = VectorParams { multivector, datatype, ..VectorParams::new(7, Distance::Cosine) };
        for head in [
            GroupHead::Points,
            GroupHead::Values(ValuesHead { name: "many".into(), kind: ValuesKind::Multi(many) }),
            GroupHead::Values(ValuesHead { name: String::new(), kind: ValuesKind::Sparse }),
        ] {
            let bytes = head.encode();
            assert_eq!(GroupHead::decode(&bytes), Ok(head.clone()));
            for len in 0..bytes.len() {
                assert!(GroupHead::decode(&bytes[..len]).is_err(), "{head:?}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(GroupHead::decode(&longer).is_err());
        }
        let head = GroupHead::Values(ValuesHead { name: "many".into(), kind: ValuesKind::Multi(many) });
        for (at, value) in [(0, 0u8), (2, 2), (4, 9), (5, 9), (6, 6), (32, 3), (35, 1), (64, 0xFF)] {
            let mut bad = head.encode();
            bad[at] = value;
            assert!(GroupHead::decode(&bad).is_err(), "byte {at}");
        }
    }
}
