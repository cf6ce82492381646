//! Bundles of segments' heads: objects that let a reader open many segments by few GETs.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cairn_model::ErrorKind;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use super::{Catalog, CollectionDoc, Generation, HEAD_BYTES_MAX, Manifest, SegmentEntry};
use crate::{
    Error, Result,
    store::{Key, Put, REQUESTS_IN_FLIGHT_MAX},
};

impl Catalog {
    /// Uploads a bundle and returns its ULID, for the entries of the segments whose heads are in it.
    ///
    /// # Errors
    /// `Invalid` for an empty bundle, `TooLarge` beyond [`HEAD_BYTES_MAX`], `Unavailable`.
    pub async fn put_heads(&self, generation: &Generation, bytes: Bytes) -> Result<String> {
        self.store.require_safe().await?;
        let refused = |kind, why: String| Err(Error::new(kind, format!("heads of '{}'", generation.name), why));
        if bytes.is_empty() {
            return refused(ErrorKind::Invalid, "a bundle without a byte".to_owned());
        }
        if bytes.len() as u64 > HEAD_BYTES_MAX {
            let why = format!("a bundle of {} bytes, at most {HEAD_BYTES_MAX} are allowed", bytes.len());
            return refused(ErrorKind::TooLarge, why);
        }
        let id = Ulid::generate().to_string();
        let key = Key::heads(&generation.name, &generation.id, &id)?;
        match self.store.put_if_absent(&key, bytes).await? {
            Put::Done(_) => Ok(id),
            Put::Refused => Err(Error::new(ErrorKind::Conflict, self.store.address(&key), "exists with other heads")),
        }
    }

    /// Every bundle is there, and long enough for the heads that lie in it, before anything names it.
    pub(super) async fn check_bundles(&self, doc: &CollectionDoc, manifests: &[Arc<Manifest>]) -> Result<()> {
        self.check_heads(doc, manifests.iter().flat_map(|manifest| &manifest.segments)).await
    }

    /// The same for the bundles with the heads of these segments.
    pub(super) async fn check_heads(
        &self,
        doc: &CollectionDoc,
        entries: impl Iterator<Item = &SegmentEntry>,
    ) -> Result<()> {
        // In the order of the segments, not of the bundles' ids: what is asked of the store must follow from a seed.
        let mut places = BTreeMap::<(bool, &str), usize>::new();
        let mut ends = Vec::<((bool, &str), u64)>::new();
        for (entry, head) in entries.filter_map(|entry| Some((entry, entry.head.as_ref()?))) {
            let bundle = (entry.own, head.bundle.as_str());
            let end = head.offset.saturating_add(head.bytes());
            let at = *places.entry(bundle).or_insert(ends.len());
            match ends.get_mut(at) {
                Some((_, known)) => *known = end.max(*known),
                None => ends.push((bundle, end)),
            }
        }
        let checks = ends.into_iter().map(|((own, bundle), end)| {
            let (name, generation) = if own { (&doc.name, doc.generation.as_str()) } else { doc.folder() };
            Ok((Key::heads(name, generation, bundle)?, end))
        });
        let checks: Vec<_> = checks.collect::<Result<_>>()?;
        let checks = checks.into_iter().map(|(key, end)| self.check_bundle(key, end));
        stream::iter(checks).buffer_unordered(REQUESTS_IN_FLIGHT_MAX).try_collect().await
    }

    async fn check_bundle(&self, key: Key, end: u64) -> Result<()> {
        match self.store.head(&key).await? {
            Some(bytes) if bytes >= end => Ok(()),
            Some(bytes) => {
                let why = format!("is {bytes} bytes long, heads are said to lie in {end}");
                Err(Error::corrupt(self.store.address(&key), why))
            }
            None => Err(Error::corrupt(self.store.address(&key), "is to be published, but was not uploaded")),
        }
    }
}
