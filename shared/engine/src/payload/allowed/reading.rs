//! Decides by reading rows.

use std::{collections::HashSet, fmt};

use cairn_model::{Filter, Payload, PointId};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::Evaluation;
use crate::{Error, Result, payload::meaning};

/// Rows that one thread reads at a time: some blocks, so that few are unpacked by two.
const ROWS_PER_TASK: usize = 1024;

impl Evaluation<'_> {
    /// Those of the points `open` for which `filter` holds. Many are read on the current rayon pool.
    pub(super) fn read(&self, filter: &Filter, open: &RoaringBitmap) -> Result<RoaringBitmap> {
        let mut keys = HashSet::new();
        meaning::add_keys(filter, &mut keys);
        let open: Vec<u32> = open.iter().collect();
        let found = if open.len() <= ROWS_PER_TASK {
            self.read_some(filter, &keys, &open)?
        } else {
            let parts: Result<Vec<Vec<u32>>> =
                open.par_chunks(ROWS_PER_TASK).map(|part| self.read_some(filter, &keys, part)).collect();
            parts?.concat()
        };
        Ok(RoaringBitmap::from_sorted_iter(found).unwrap_or_default())
    }

    fn read_some(&self, filter: &Filter, keys: &HashSet<&str>, open: &[u32]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        self.view.rows.each(open.iter().copied(), |ordinal, row| {
            if self.watch.cancelled() {
                return Err(Error::Cancelled);
            }
            let payload = Pick(keys).deserialize(&mut serde_json::Deserializer::from_str(row));
            let payload = payload.map_err(|error| Error::corrupt("payload", 0, format!("row {ordinal}: {error}")))?;
            let is_among = |ids: &[PointId]| {
                self.among.get(&ids.as_ptr().addr()).is_some_and(|ordinals| ordinals.contains(ordinal))
            };
            if meaning::holds(filter, &payload, &is_among) {
                found.push(ordinal);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Parses of an object only what is at these keys: most of a row has nothing to do with the filter.
struct Pick<'k>(&'k HashSet<&'k str>);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Payload;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Payload, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Payload, A::Error> {
        let mut payload = Payload::new();
        while let Some(key) = map.next_key_seed(PickKey(self.0))? {
            match key {
                Some(key) => {
                    payload.insert(key.to_owned(), map.next_value()?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(payload)
    }
}

/// Which of the keys comes next, if it is one of them.
struct PickKey<'k>(&'k HashSet<&'k str>);

impl<'de, 'k> DeserializeSeed<'de> for PickKey<'k> {
    type Value = Option<&'k str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'k> Visitor<'_> for PickKey<'k> {
    type Value = Option<&'k str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> std::result::Result<Self::Value, E> {
        Ok(self.0.get(key).copied())
    }
}
