//! Every object key there is.
//!
//! ```text
//! <root>/collections/<name>/collection.json
//! <root>/collections/<name>/<generation>/<shard>/manifest.json
//! <root>/collections/<name>/<generation>/<shard>/segments/<segment>.seg
//! <root>/.cairn-probe/<ulid>
//! ```
//!
//! Generations and segments are ULIDs. In a collection's name every byte but ASCII letters, digits, `-`, `_` and `.`
//! is percent-encoded: what remains means nothing to any store, shell or file system. (A file system that ignores
//! case, or allows only short names, narrows the names that a *local* store can tell apart or hold.)

use std::fmt::Write as _;

use cairn_model::CollectionName;
use object_store::path::{Path, PathPart};
use ulid::Ulid;

use crate::{Error, Result};

const COLLECTIONS: &str = "collections";
const COLLECTION_DOC: &str = "collection.json";
const MANIFEST: &str = "manifest.json";

/// The key of one object, or of a folder of objects, relative to the store's root. Only this file makes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The folder of all collections.
    #[must_use]
    pub fn collections() -> Self {
        Self(COLLECTIONS.to_owned())
    }

    /// A collection's folder.
    #[must_use]
    pub fn collection_folder(name: &CollectionName) -> Self {
        Self(format!("{COLLECTIONS}/{}", encode(name.as_str())))
    }

    /// `collection.json`.
    #[must_use]
    pub fn collection(name: &CollectionName) -> Self {
        Self(format!("{}/{COLLECTION_DOC}", Self::collection_folder(name).0))
    }

    /// A generation's folder.
    ///
    /// # Errors
    /// `Corrupt` when `generation` is no ULID.
    pub fn generation(name: &CollectionName, generation: &str) -> Result<Self> {
        Ok(Self(format!("{}/{}", Self::collection_folder(name).0, ulid("generation", generation)?)))
    }

    /// A shard's manifest.
    ///
    /// # Errors
    /// `Corrupt` when `generation` is no ULID.
    pub fn manifest(name: &CollectionName, generation: &str, shard: u32) -> Result<Self> {
        Ok(Self(format!("{}/{shard}/{MANIFEST}", Self::generation(name, generation)?.0)))
    }

    /// A segment file.
    ///
    /// # Errors
    /// `Corrupt` when `generation` or `segment` is no ULID.
    pub fn segment(name: &CollectionName, generation: &str, shard: u32, segment: &str) -> Result<Self> {
        let segment = ulid("segment", segment)?;
        Ok(Self(format!("{}/{shard}/segments/{segment}.seg", Self::generation(name, generation)?.0)))
    }

    /// Where a store is tried out before it is trusted.
    #[must_use]
    pub fn probe(id: Ulid) -> Self {
        Self(format!(".cairn-probe/{id}"))
    }

    /// An object that a listing found below this folder.
    pub(super) fn join(&self, rest: &str) -> Self {
        Self(format!("{}/{rest}", self.0))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the object is in a store with this root.
    pub(super) fn under(&self, root: &Path) -> Path {
        // Parts are encoded already, here or by whoever wrote a listed key: parsing never encodes a second time.
        let part = |part| PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part));
        self.0.split('/').map(part).fold(root.clone(), |path, part| path.join(part))
    }
}

/// The collection whose folder has this name; `None` for a folder that no collection of ours can have.
#[must_use]
pub fn collection_of_folder(folder: &str) -> Option<CollectionName> {
    let name = CollectionName::parse(decode(folder)?).ok()?;
    // One name, one folder: another spelling of the same name is somebody else's.
    (encode(name.as_str()) == folder).then_some(name)
}

/// Checks a ULID that becomes part of a key: 26 characters of upper-case Crockford base 32.
pub(crate) fn ulid<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match Ulid::from_string(text) {
        Ok(id) if id.to_string() == text => Ok(text),
        _ => Err(Error::corrupt(format!("{what} '{}'", text.escape_debug()), "is not a ULID in its usual spelling")),
    }
}

fn encode(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut key, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            key.push(char::from(byte));
        } else {
            let _ = write!(key, "%{byte:02X}");
        }
        key
    })
}

fn decode(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_as_documented() {
        let name = CollectionName::parse("a b").unwrap();
        let id = "01J00000000000000000000000";
        assert_eq!(Key::collection(&name).as_str(), "collections/a%20b/collection.json");
        assert_eq!(
            Key::manifest(&name, id, 7).unwrap().as_str(),
            "collections/a%20b/01J00000000000000000000000/7/manifest.json"
        );
        let segment = Key::segment(&name, id, 7, id).unwrap();
        assert_eq!(
            segment.under(&Path::from("root/x")).as_ref(),
            format!("root/x/collections/a%20b/{id}/7/segments/{id}.seg")
        );
    }

    #[test]
    fn what_is_no_ulid_becomes_no_key() {
        let name = CollectionName::parse("a").unwrap();
        for bad in ["", "..", "../../etc", "01j00000000000000000000000", "81J00000000000000000000000", "01J0"] {
            let error = Key::generation(&name, bad).unwrap_err();
            assert_eq!(error.kind, cairn_model::ErrorKind::Corrupt, "{bad}");
        }
    }

    #[test]
    fn foreign_folders_are_no_collections() {
        for foreign in ["%2e%2E", "a%2Fb", "%", "%4", "%zz", "a b", "%61", "%FF"] {
            assert_eq!(collection_of_folder(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_its_own_folder_and_comes_back(text in "\\PC{1,60}") {
            if let Ok(name) = CollectionName::parse(text) {
                let folder = encode(name.as_str());
                prop_assert!(folder.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b)));
                prop_assert_eq!(collection_of_folder(&folder), Some(name));
            }
        }
    }
}
