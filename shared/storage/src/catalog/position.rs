//! How far a shard's segments go in its log, for whoever writes to it.

use async_trait::async_trait;
use cairn_model::{CollectionName, ErrorKind};

use super::Catalog;
use crate::{
    Error, Result,
    log::{Position, Standing},
};

/// The manifest of one shard of the served generation, asked for its log position.
#[derive(Clone, Debug)]
pub struct ManifestPosition {
    catalog: Catalog,
    name: CollectionName,
    generation: String,
    shard: u32,
}

impl ManifestPosition {
    /// Of this generation's shard. Sends no request.
    #[must_use]
    pub fn new(catalog: Catalog, name: &CollectionName, generation: &str, shard: u32) -> Self {
        Self { catalog, name: name.clone(), generation: generation.to_owned(), shard }
    }
}

#[async_trait]
impl Position for ManifestPosition {
    async fn standing(&self) -> Result<Standing> {
        let gone = || {
            let why = format!("does not serve generation {} (any more): open it again", self.generation);
            Error::new(ErrorKind::NotFound, format!("collection '{}'", self.name), why)
        };
        let collection = self.catalog.open(&self.name).await?;
        if collection.doc.generation != self.generation {
            return Err(gone());
        }
        let shard = usize::try_from(self.shard).unwrap_or(usize::MAX);
        collection.manifests.get(shard).map(|manifest| collection.standing(manifest)).ok_or_else(gone)
    }
}
