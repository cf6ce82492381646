//! The part of a stored row that some paths lead into.

use std::{collections::HashSet, fmt};

use cairn_model::{Path, Payload, Step};
use roaring::RoaringBitmap;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::View;
use crate::{Error, Result, Watch};

/// The first keys of some paths: what else a payload has makes no difference to them.
pub(super) struct Picked<'k>(HashSet<&'k str>);

impl<'k> Picked<'k> {
    pub(super) fn of(paths: impl IntoIterator<Item = &'k Path>) -> Self {
        let first = |path: &'k Path| match path.steps().first() {
            Some(Step::Key(key)) => Some(key.as_str()),
            _ => None,
        };
        Self(paths.into_iter().filter_map(first).collect())
    }

    /// What a row's text has at these keys.
    pub(super) fn read(&self, ordinal: u32, row: &str) -> Result<Payload> {
        let payload = Pick(&self.0).deserialize(&mut serde_json::Deserializer::from_str(row));
        payload.map_err(|error| Error::corrupt("payload", 0, format!("row {ordinal}: {error}")))
    }
}

/// Calls `visit` with what the rows of some points have at the first key of `path`.
///
/// # Errors
/// `Corrupt`, `Absent`, `Cancelled`; what `visit` returns.
pub(super) fn each_row(
    (view, watch): (&View<'_>, &dyn Watch),
    path: &Path,
    points: &RoaringBitmap,
    mut visit: impl FnMut(u32, &Payload) -> Result<()>,
) -> Result<()> {
    let picked = Picked::of([path]);
    view.rows.at_hand(points)?;
    view.rows.each(points, |ordinal, row| {
        if watch.cancelled() {
            return Err(Error::Cancelled);
        }
        visit(ordinal, &picked.read(ordinal, row)?)
    })
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
