//! Every object key there is.
//!
//! ```text
//! <root>/collections/<name>/collection.json
//! <root>/collections/<name>/<generation>/draft.json
//! <root>/collections/<name>/<generation>/<shard>/draft.json
//! <root>/collections/<name>/<generation>/<shard>/manifest.json
//! <root>/collections/<name>/<generation>/<shard>/manifests/<manifest>.json
//! <root>/collections/<name>/<generation>/<shard>/segments/<segment>.seg
//! <root>/collections/<name>/<generation>/<shard>/log/<sequence in 20 digits>.log
//! <root>/collections/<name>/<generation>/heads/<bundle>.heads
//! <root>/collections/<name>/<generation>/clones/<clone's generation>.json
//! <root>/collections/<name>/<generation>/garbage/<ulid>.json
//! <root>/collections/<name>/snapshots/<snapshot>.json
//! <root>/aliases.json
//! <root>/.cairn-probe/<ulid>
//! <root>/.cairn-probe/<ulid>/<number>
//! ```
//!
//! Generations, manifests, segments and bundles are ULIDs. In the name of a collection or snapshot every byte but ASCII letters, digits, `-`, `_` and `.`
//! is percent-encoded: what remains means nothing to any store, shell or file system. (A file system that ignores
//! case, or allows only short names, narrows the names that a *local* store can tell apart or hold.)

use std::fmt::Write as _;

use cairn_model::{CollectionName, ErrorKind};
use object_store::path::{Path, PathPart};
use ulid::Ulid;

use crate::{Error, Result};

const COLLECTIONS: &str = "collections";
const ALIASES: &str = "aliases.json";
const COLLECTION_DOC: &str = "collection.json";
const MANIFEST: &str = "manifest.json";
const CLONES: &str = "clones";
const GARBAGE: &str = "garbage";
const DRAFT: &str = "draft.json";
const HEADS: &str = "heads";
const PROBES: &str = ".cairn-probe";

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

    /// A manifest that replaced a shard's first one.
    ///
    /// # Errors
    /// `Corrupt` when `generation` or `manifest` is no ULID.
    pub fn later_manifest(name: &CollectionName, generation: &str, shard: u32, manifest: &str) -> Result<Self> {
        let manifest = ulid("manifest", manifest)?;
        Ok(Self(format!("{}/{shard}/manifests/{manifest}.json", Self::generation(name, generation)?.0)))
    }

    /// What the builders of a generation agreed on.
    ///
    /// # Errors
    /// `Corrupt` when `generation` is no ULID.
    pub fn draft(name: &CollectionName, generation: &str) -> Result<Self> {
        Ok(Self(format!("{}/{DRAFT}", Self::generation(name, generation)?.0)))
    }

    /// What one of them finished: a shard.
    ///
    /// # Errors
    /// `Corrupt` when `generation` is no ULID.
    pub fn shard_draft(name: &CollectionName, generation: &str, shard: u32) -> Result<Self> {
        Ok(Self(format!("{}/{shard}/{DRAFT}", Self::generation(name, generation)?.0)))
    }

    /// A segment file.
    ///
    /// # Errors
    /// `Corrupt` when `generation` or `segment` is no ULID.
    pub fn segment(name: &CollectionName, generation: &str, shard: u32, segment: &str) -> Result<Self> {
        let segment = ulid("segment", segment)?;
        Ok(Self(format!("{}/{shard}/segments/{segment}.seg", Self::generation(name, generation)?.0)))
    }

    /// A log object. Twenty digits hold every sequence number, so that names sort as numbers do.
    ///
    /// # Errors
    /// `Corrupt` when `generation` is no ULID.
    pub fn log(name: &CollectionName, generation: &str, shard: u32, sequence: u64) -> Result<Self> {
        Ok(Self(format!("{}/{shard}/log/{sequence:020}.log", Self::generation(name, generation)?.0)))
    }

    /// A bundle of segments' heads.
    ///
    /// # Errors
    /// `Corrupt` when `generation` or `bundle` is no ULID.
    pub fn heads(name: &CollectionName, generation: &str, bundle: &str) -> Result<Self> {
        let bundle = ulid("bundle", bundle)?;
        Ok(Self(format!("{}/{HEADS}/{bundle}.heads", Self::generation(name, generation)?.0)))
    }

    /// The mark of a clone that uses the objects of this generation.
    ///
    /// # Errors
    /// `Corrupt` when `generation` or `clone` is no ULID.
    pub fn clone_mark(name: &CollectionName, generation: &str, clone: &str) -> Result<Self> {
        let clone = ulid("generation", clone)?;
        Ok(Self(format!("{}/{CLONES}/{clone}.json", Self::generation(name, generation)?.0)))
    }

    /// Whether this is such a mark.
    #[must_use]
    pub fn marks_clone(&self) -> bool {
        self.0.split('/').nth(3) == Some(CLONES)
    }

    /// What the collector found in a generation.
    ///
    /// # Errors
    /// `Corrupt` when `generation` is no ULID.
    pub fn garbage(name: &CollectionName, generation: &str, id: Ulid) -> Result<Self> {
        Ok(Self(format!("{}/{GARBAGE}/{id}.json", Self::generation(name, generation)?.0)))
    }

    /// What this object of a generation is; `None` for what is none of ours.
    #[must_use]
    pub fn piece(&self) -> Option<Piece> {
        let parts: Vec<_> = self.0.split('/').skip(3).collect();
        let id = |file: &str, extension: &str| ulid_of(file.strip_suffix(extension)?.strip_suffix('.')?);
        // One spelling of each number: others are not ours.
        let shard = |text: &str| text.parse::<u32>().ok().filter(|shard| shard.to_string() == text);
        Some(match parts[..] {
            [DRAFT] => Piece::Draft,
            [HEADS, file] => Piece::Heads(id(file, "heads")?),
            [CLONES, file] => Piece::CloneMark(id(file, "json")?),
            [GARBAGE, file] => Piece::Garbage(id(file, "json")?),
            [part, DRAFT] => Piece::ShardDraft(shard(part)?),
            [part, MANIFEST] => Piece::Manifest(shard(part)?, None),
            [part, "manifests", file] => Piece::Manifest(shard(part)?, Some(id(file, "json")?)),
            [part, "segments", file] => Piece::Segment(shard(part)?, id(file, "seg")?),
            [part, "log", file] => {
                let digits = file.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                Piece::Log(shard(part)?, digits.parse().ok().filter(|_| is_number)?)
            }
            _ => return None,
        })
    }

    /// The rest of this key below a folder; all of it where it is elsewhere.
    #[must_use]
    pub fn below(&self, folder: &Self) -> &str {
        self.0.strip_prefix(&folder.0).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&self.0)
    }

    /// Whether this is an object of a log.
    #[must_use]
    pub fn is_log(&self) -> bool {
        self.0.split('/').nth(4) == Some("log")
    }

    /// The folder of a collection's snapshots.
    #[must_use]
    pub fn snapshots(name: &CollectionName) -> Self {
        Self(format!("{}/snapshots", Self::collection_folder(name).0))
    }

    /// A snapshot, whose name follows the rules of collections' names.
    ///
    /// # Errors
    /// `Invalid` when it does not.
    pub fn snapshot(name: &CollectionName, snapshot: &str) -> Result<Self> {
        let snapshot = CollectionName::parse(snapshot)
            .map_err(|why| Error::new(ErrorKind::Invalid, format!("snapshot '{}'", snapshot.escape_debug()), why))?;
        Ok(Self(format!("{}/{}.json", Self::snapshots(name).0, encode(snapshot.as_str()))))
    }

    /// The other names of collections.
    #[must_use]
    pub fn aliases() -> Self {
        Self(ALIASES.to_owned())
    }

    /// The folder of everything that tries out a store.
    #[must_use]
    pub fn probes() -> Self {
        Self(PROBES.to_owned())
    }

    /// Where a store is tried out before it is trusted: an object, or a folder of them.
    #[must_use]
    pub fn probe(id: Ulid) -> Self {
        Self(format!("{PROBES}/{id}"))
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

/// An object of a generation, without saying of which. Shards are numbers, everything else is a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// What its builders agreed on.
    Draft,
    /// What one of them finished.
    ShardDraft(u32),
    /// A shard's manifest: the first one, or a later one.
    Manifest(u32, Option<Ulid>),
    /// A segment.
    Segment(u32, Ulid),
    /// A bundle of heads.
    Heads(Ulid),
    /// An object of a shard's log.
    Log(u32, u64),
    /// The mark of a clone.
    CloneMark(Ulid),
    /// What the collector found.
    Garbage(Ulid),
}

/// The collection whose folder has this name; `None` for a folder that no collection of ours can have.
#[must_use]
pub fn collection_of_folder(folder: &str) -> Option<CollectionName> {
    let name = CollectionName::parse(decode(folder)?).ok()?;
    // One name, one folder: another spelling of the same name is somebody else's.
    (encode(name.as_str()) == folder).then_some(name)
}

/// The snapshot whose object this is; `None` for what is none of ours.
pub(crate) fn snapshot_of_key(key: &Key) -> Option<String> {
    let (_, file) = key.0.rsplit_once('/')?;
    let name = decode(file.strip_suffix(".json")?)?;
    CollectionName::parse(name.clone()).is_ok().then_some(name)
}

/// Checks a ULID that becomes part of a key: 26 characters of upper-case Crockford base 32.
pub(crate) fn ulid<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match ulid_of(text) {
        Some(_) => Ok(text),
        None => Err(Error::corrupt(format!("{what} '{}'", text.escape_debug()), "is not a ULID in its usual spelling")),
    }
}

/// A ULID in its usual spelling.
pub(crate) fn ulid_of(text: &str) -> Option<Ulid> {
    Ulid::from_string(text).ok().filter(|id| id.to_string() == text)
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
        let log = Key::log(&name, id, 7, u64::MAX).unwrap();
        assert_eq!(log.as_str(), format!("collections/a%20b/{id}/7/log/18446744073709551615.log"));
        assert!(Key::log(&name, id, 7, 2).unwrap().as_str() < Key::log(&name, id, 7, 10).unwrap().as_str());
        let heads = Key::heads(&name, id, id).unwrap();
        assert_eq!(heads.as_str(), format!("collections/a%20b/{id}/heads/{id}.heads"));
    }

    #[test]
    fn what_is_no_ulid_becomes_no_key() {
        let name = CollectionName::parse("a").unwrap();
        for bad in ["", "..", "../../etc", "01j00000000000000000000000", "81J00000000000000000000000", "01J0"] {
            let error = Key::generation(&name, bad).unwrap_err();
            assert_eq!(error.kind, cairn_model::ErrorKind::Corrupt, "{bad}");
            assert!(Key::heads(&name, "01J00000000000000000000000", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_pieces_of_a_generation_are_known_by_their_keys() {
        let (name, text) = (CollectionName::parse("a b").unwrap(), "01J00000000000000000000000");
        let id = ulid_of(text).unwrap();
        for (key, piece) in [
            (Key::draft(&name, text), Piece::Draft),
            (Key::shard_draft(&name, text, 7), Piece::ShardDraft(7)),
            (Key::manifest(&name, text, 0), Piece::Manifest(0, None)),
            (Key::later_manifest(&name, text, 7, text), Piece::Manifest(7, Some(id))),
            (Key::segment(&name, text, 7, text), Piece::Segment(7, id)),
            (Key::heads(&name, text, text), Piece::Heads(id)),
            (Key::log(&name, text, 7, u64::MAX), Piece::Log(7, u64::MAX)),
            (Key::clone_mark(&name, text, text), Piece::CloneMark(id)),
            (Key::garbage(&name, text, id), Piece::Garbage(id)),
        ] {
            let key = key.unwrap();
            assert_eq!(key.piece(), Some(piece), "{key:?}");
            let generation = Key::generation(&name, text).unwrap();
            assert_eq!(generation.join(key.below(&generation)), key);
        }
        for foreign in [
            "",
            "notes.txt",
            "07/manifest.json",
            "7/manifest.json/x",
            "7/segments/x.seg",
            "7/segments/01J00000000000000000000000.SEG",
            "7/segments/01j00000000000000000000000.seg",
            "7/log/1.log",
            "7/log/+0000000000000000001.log",
            "7/log/99999999999999999999.log",
            "clones/.json",
        ] {
            assert_eq!(Key::generation(&name, text).unwrap().join(foreign).piece(), None, "{foreign}");
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
