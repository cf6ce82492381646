//! What documents name in one generation's folder.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use cairn_model::{CollectionName, ErrorKind};

use super::super::{
    Catalog, CollectionDoc, DOCUMENT_BYTES_MAX, Manifest, clone::Mark, commit::overtaken, documents::parse, open::Known,
};
use crate::{
    Error, Result,
    store::{
        Fetched, Key,
        keys::{Piece, snapshot_of_key, ulid_of},
    },
};

/// How often documents are read again that change meanwhile.
const READS_MAX: u32 = 8;

/// One generation's folder: whose, and which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    pub(super) name: &'a CollectionName,
    pub(super) generation: &'a str,
}

/// What is named there.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whether a document names the generation itself.
    pub(super) is_named: bool,
    files: HashSet<Piece>,
    /// By shard: the lowest log position of all documents by which its log may be read.
    floors: BTreeMap<u32, u64>,
    /// Marks of clones that are there.
    clones: HashSet<Piece>,
    /// A mark whose clone is not there may be that of one which is on its way, and will name what it found.
    is_any_clone_absent: bool,
}

impl Names {
    /// Reads everything that may name something in the folder; `marks` were listed there before.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` when it is not known what a document names; `Conflict` when they change all the time; `Unavailable`.
    pub(super) async fn read(catalog: &Catalog, folder: Folder<'_>, marks: &[Key]) -> Result<Self> {
        let mut names = Self::default();
        for doc in catalog.documents(folder.name).await? {
            names.pin(catalog, folder, doc).await?;
        }
        for key in marks {
            let Some(Piece::CloneMark(clone)) = key.piece() else { continue };
            let mut is_there = false;
            for doc in catalog.documents_of_clone(key).await? {
                is_there |= doc.generation == clone.to_string();
                names.pin(catalog, folder, doc).await?;
            }
            if is_there {
                names.clones.insert(Piece::CloneMark(clone));
            } else {
                names.is_any_clone_absent = true;
            }
        }
        Ok(names)
    }

    /// Whether this is named.
    pub(super) fn has(&self, piece: Piece) -> bool {
        match piece {
            Piece::Log(shard, sequence) => self.floor(shard) <= sequence,
            Piece::CloneMark(_) => self.clones.contains(&piece),
            Piece::Segment(..) | Piece::Heads(_) => self.is_any_clone_absent || self.files.contains(&piece),
            _ => self.files.contains(&piece),
        }
    }

    /// The first sequence number of a shard's log that somebody may read.
    pub(super) fn floor(&self, shard: u32) -> u64 {
        self.floors.get(&shard).copied().unwrap_or(u64::MAX)
    }

    /// What one document names in the folder.
    async fn pin(&mut self, catalog: &Catalog, folder: Folder<'_>, doc: CollectionDoc) -> Result<()> {
        let is_own = (&doc.name, doc.generation.as_str()) == (folder.name, folder.generation);
        if !is_own && doc.folder() != (folder.name, folder.generation) {
            return Ok(());
        }
        self.is_named |= is_own;
        let manifests = match &doc.manifests {
            Some(manifests) => manifests.clone(),
            None => catalog.all_manifests(&doc).await?,
        };
        for manifest in &manifests {
            let shard = manifest.shard;
            if is_own {
                let id = doc.folded.get(&shard).map(|id| id_of(id)).transpose()?;
                self.files.insert(Piece::Manifest(shard, id));
            }
            if is_own && doc.live {
                let floor = self.floors.entry(shard).or_insert(u64::MAX);
                *floor = manifest.log_position.min(*floor);
            }
            for entry in
                manifest.segments.iter().filter(|entry| doc.folder_of(entry) == (folder.name, folder.generation))
            {
                self.files.insert(Piece::Segment(shard, id_of(&entry.id)?));
                if let Some(head) = &entry.head {
                    self.files.insert(Piece::Heads(id_of(&head.bundle)?));
                }
            }
        }
        Ok(())
    }
}

fn id_of(text: &str) -> Result<ulid::Ulid> {
    ulid_of(text).ok_or_else(|| Error::corrupt(format!("'{}'", text.escape_debug()), "is no ULID"))
}

impl Catalog {
    /// All documents of a collection at one moment: what it serves, served, and pins. None when there is no such collection.
    async fn documents(&self, name: &CollectionName) -> Result<Vec<CollectionDoc>> {
        'again: for _ in 0..READS_MAX {
            let Known::New((doc, version)) = self.read_doc(name, None).await? else { return Ok(Vec::new()) };
            let mut docs = Vec::new();
            for found in self.store.list(&Key::snapshots(name)).await? {
                let Some(snapshot) = snapshot_of_key(&found.key) else { continue };
                match self.read_snapshot(name, &snapshot).await {
                    Ok((found, _)) if !found.is_of(&doc) => {}
                    // Whatever goes on from a snapshot goes on from its segments.
                    Ok((found, _)) => docs.push(CollectionDoc { live: false, ..found.collection.clone() }),
                    // Another snapshot may pin the same by now.
                    Err(error) if error.kind == ErrorKind::NotFound => continue 'again,
                    Err(error) => return Err(error),
                }
            }
            if !matches!(self.read_doc(name, Some(&version)).await?, Known::Unchanged) {
                continue;
            }
            docs.extend(doc.history.iter().map(|served| doc.of(served.clone())));
            docs.push(Arc::unwrap_or_clone(doc));
            return Ok(docs);
        }
        Err(overtaken(name))
    }

    /// The documents of the clone whose mark this is; none when the mark or the clone is gone.
    async fn documents_of_clone(&self, mark: &Key) -> Result<Vec<CollectionDoc>> {
        match self.store.get(mark, None, DOCUMENT_BYTES_MAX).await? {
            Fetched::Found(object) => {
                let mark: Mark = parse(&self.store.address(mark), &object.bytes)?;
                self.documents(&mark.collection).await
            }
            Fetched::Absent | Fetched::Unchanged => Ok(Vec::new()),
        }
    }

    async fn all_manifests(&self, doc: &CollectionDoc) -> Result<Vec<Arc<Manifest>>> {
        let manifests = self.read_manifests(doc, None).await?;
        let missing = || {
            let what = format!("generation {} of collection '{}'", doc.generation, doc.name);
            Error::corrupt(what, "has lost a manifest, so what it names is not known")
        };
        manifests.into_iter().map(|manifest| manifest.ok_or_else(missing)).collect()
    }
}
