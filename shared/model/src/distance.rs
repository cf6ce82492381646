//! Distances and the number formats of stored vectors.

use serde::{Deserialize, Serialize};

/// How two vectors of a collection are compared. Qdrant's names.
///
/// Inside Cairn a *distance* is always smaller-is-nearer:
///
/// | metric | distance | score shown to the user |
/// |---|---|---|
/// | `Cosine` | minus the inner product of the normalised vectors | inner product, descending |
/// | `Dot` | minus the inner product | inner product, descending |
/// | `Euclid` | squared L2 | L2 (the root), ascending |
/// | `Manhattan` | L1 | L1, ascending |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distance {
    /// Angle between vectors; vectors are stored normalised.
    Cosine,
    /// Straight-line distance.
    Euclid,
    /// Inner product.
    Dot,
    /// Sum of absolute differences.
    Manhattan,
}

impl Distance {
    /// All metrics, for tests and tables.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Euclid, Self::Dot, Self::Manhattan];

    /// The score a user sees for an internal distance.
    #[must_use]
    pub fn score(self, distance: f32) -> f32 {
        match self {
            // `0.0 - d` rather than `-d`, so that a distance of 0 shows as 0 and not as -0.
            Self::Cosine | Self::Dot => 0.0 - distance,
            Self::Euclid => distance.max(0.0).sqrt(),
            Self::Manhattan => distance,
        }
    }

    /// The internal distance at which a user's score lies; the inverse of [`Distance::score`].
    #[must_use]
    pub fn distance(self, score: f32) -> f32 {
        match self {
            Self::Cosine | Self::Dot => 0.0 - score,
            Self::Euclid => score.max(0.0) * score.max(0.0),
            Self::Manhattan => score,
        }
    }

    /// Whether a larger score is a better one.
    #[must_use]
    pub const fn larger_is_better(self) -> bool {
        matches!(self, Self::Cosine | Self::Dot)
    }

    /// Whether `score` is better than `threshold`; as in Qdrant, one that equals it does not pass.
    #[must_use]
    pub fn passes(self, score: f32, threshold: f32) -> bool {
        if self.larger_is_better() { score > threshold } else { score < threshold }
    }
}

impl std::str::FromStr for Distance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "cosine" | "cos" => Ok(Self::Cosine),
            "dot" | "ip" => Ok(Self::Dot),
            "euclid" | "l2" => Ok(Self::Euclid),
            "manhattan" | "l1" => Ok(Self::Manhattan),
            _ => Err(format!("unknown distance '{text}': expected cosine, dot, euclid or manhattan")),
        }
    }
}

/// The number format in which original vectors are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datatype {
    /// IEEE single precision.
    #[default]
    Float32,
    /// IEEE half precision.
    Float16,
    /// Unsigned bytes, 0 to 255.
    Uint8,
}

impl Datatype {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
            Self::Uint8 => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_and_distance_are_inverse() {
        for metric in Distance::ALL {
            for score in [0.0f32, 0.25, 1.0, 7.5] {
                assert!((metric.score(metric.distance(score)) - score).abs() < 1e-6, "{metric:?} {score}");
            }
        }
        assert!(Distance::Dot.score(0.0).is_sign_positive());
    }

    #[test]
    fn a_threshold_is_passed_by_what_is_better() {
        for metric in Distance::ALL {
            let expected = if metric.larger_is_better() { [false, false, true] } else { [true, false, false] };
            assert_eq!([-0.5, 0.0, 0.5].map(|score| metric.passes(score, 0.0)), expected, "{metric:?}");
        }
    }

    #[test]
    fn names_parse() {
        assert_eq!("l2".parse(), Ok(Distance::Euclid));
        assert!("hamming".parse::<Distance>().unwrap_err().contains("hamming"));
    }
}
