//! Point ids.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A point's id: an unsigned integer or a UUID, as in Qdrant. Integers sort before UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointId {
    /// An unsigned 64-bit integer.
    Num(u64),
    /// A UUID of any version.
    Uuid(Uuid),
}

/// A text that is no point id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value {0} is not a valid point ID, valid values are either an unsigned integer or a UUID")]
pub struct ParseIdError(pub String);

impl PointId {
    /// The shard of `shard_count` that holds this point. Stable for ever: xxh3-64 of the id's
    /// little-endian (integer) or big-endian (UUID) bytes, modulo the count.
    #[must_use]
    pub fn shard(&self, shard_count: u32) -> u32 {
        let hash = match self {
            Self::Num(number) => xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes()),
            Self::Uuid(uuid) => xxhash_rust::xxh3::xxh3_64(uuid.as_bytes()),
        };
        u32::try_from(hash % u64::from(shard_count.max(1))).unwrap_or(0)
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Num(number) => number.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

impl std::str::FromStr for PointId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Num(number));
        }
        Uuid::try_parse(text).map(Self::Uuid).map_err(|_| ParseIdError(text.to_owned()))
    }
}

impl Serialize for PointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Num(number) => serializer.serialize_u64(*number),
            Self::Uuid(uuid) => serializer.collect_str(uuid),
        }
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = PointId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a point ID: an unsigned integer or a UUID")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PointId, E> {
                Ok(PointId::Num(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PointId, E> {
                // A string of digits is no id in Qdrant: only the JSON type decides.
                Uuid::try_parse(text).map(PointId::Uuid).map_err(|_| E::custom(ParseIdError(text.to_owned())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_and_write_as_qdrant_does() {
        let id: PointId = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(id, PointId::Num(u64::MAX));
        let id: PointId = serde_json::from_str("\"936DA01F9ABD4d9d80C702AF85C822A8\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"936da01f-9abd-4d9d-80c7-02af85c822a8\"");
        for bad in ["-1", "1.5", "\"12\"", "\"x\"", "null"] {
            assert!(serde_json::from_str::<PointId>(bad).is_err(), "{bad}");
        }
        assert!("abc".parse::<PointId>().unwrap_err().to_string().contains("abc"));
    }

    #[test]
    fn shards_are_stable_and_spread() {
        let mut counts = [0u32; 4];
        for number in 0..4_000 {
            counts[PointId::Num(number).shard(4) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (900..1_100).contains(&c)), "{counts:?}");
        // A committed value: changing the hash would lose every point of an existing collection.
        assert_eq!(
            PointId::Num(42).shard(1_000_000),
            (xxhash_rust::xxh3::xxh3_64(&[42, 0, 0, 0, 0, 0, 0, 0]) % 1_000_000) as u32
        );
    }

    #[test]
    fn numbers_sort_before_uuids() {
        assert!(PointId::Num(u64::MAX) < PointId::Uuid(Uuid::nil()));
    }
}
